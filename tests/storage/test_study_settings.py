"""Which runs a sweep may add to a study."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.lrsweep_launchers._core import Job, split_by_store
from lrsweep.config import (
    AppConfig,
    ConfigError,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    StudyConfig,
    TrainingConfig,
    run_id,
)
from lrsweep.records import Outcome, RunRecord
from lrsweep.storage import store
from lrsweep.storage.study_settings import refuse_changes

FOLDER = Path("results/lr")


def with_patience(patience: int | None) -> RunConfig:
    return RunConfig(training=TrainingConfig(patience=patience))


def test_changed_settings_are_refused_with_their_values_and_two_ways_out() -> None:
    requested = RunConfig(training=TrainingConfig(patience=None), model=ModelConfig(dropout=0.2))
    with pytest.raises(ConfigError) as error:
        refuse_changes(FOLDER, [asdict(RunConfig())], [requested])
    assert str(error.value) == (
        f"{FOLDER} holds runs with other settings: model.dropout 0.0 → 0.2; training.patience 5 → null. "
        "Choose a new study.name for this sweep, or add its runs to this study with study.extend=true"
    )


points = st.tuples(st.integers(0, 9), st.floats(1e-6, 1e-1))


@given(stored=st.lists(points, max_size=4), requested=st.lists(points, min_size=1, max_size=4))
def test_seeds_and_rates_may_always_be_added(stored: list[tuple[int, float]], requested: list[tuple[int, float]]) -> None:
    before, after = (
        [RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr)) for seed, lr in runs] for runs in (stored, requested)
    )
    refuse_changes(FOLDER, map(asdict, before), after)


@pytest.mark.parametrize(
    ("stored", "requested"),
    [
        ([5, 10], [20]),  # the study varies this setting already
        ([5], [5, 10]),  # the sweep varies it, and the stored value is one of its values
        ([], [10]),
    ],
)
def test_values_of_a_varied_setting_may_be_added(stored: list[int], requested: list[int]) -> None:
    refuse_changes(FOLDER, [asdict(with_patience(patience)) for patience in stored], map(with_patience, requested))


def test_a_record_from_before_a_setting_existed_has_its_default() -> None:
    older = asdict(RunConfig())
    del older["model"]["dropout"]
    refuse_changes(FOLDER, [older], [RunConfig()])
    with pytest.raises(ConfigError, match=r"model\.dropout 0\.0 → 0\.5"):
        refuse_changes(FOLDER, [older], [RunConfig(model=ModelConfig(dropout=0.5))])


# Sweeps


def job_of(folder: Path, run: RunConfig, *, study: str = "lr", extend: bool = False) -> Job:
    app = AppConfig(
        **{name: getattr(run, name) for name in vars(run)},
        study=StudyConfig(name=study, extend=extend),
        machine=MachineConfig(results_dir=str(folder)),
    )
    return Job(app, app.run, run_id(app.run))


@pytest.fixture
def stored_run(tmp_path: Path, make_record: Callable[..., RunRecord]) -> RunRecord:
    record = replace(make_record(), config=asdict(RunConfig()), run_id=run_id(RunConfig()))
    for study in ("lr", "other", "single"):
        store.save(tmp_path / study, record)
    return record


@pytest.mark.parametrize("studies", [("lr", "other"), ("other", "lr")], ids=" ".join)
def test_a_sweep_over_two_studies_that_is_refused_by_one_changes_neither(
    tmp_path: Path, stored_run: RunRecord, studies: tuple[str, str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    unchanged, changed = studies
    with pytest.raises(ConfigError, match=r"training\.patience 5 → 10"):
        split_by_store([job_of(tmp_path, RunConfig(), study=unchanged), job_of(tmp_path, with_patience(10), study=changed)])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("study", "extend"), [("lr", True), ("single", False)], ids=["study.extend", "no study"])
def test_other_settings_may_be_added_if_asked_for_or_outside_of_studies(
    tmp_path: Path, stored_run: RunRecord, study: str, extend: bool
) -> None:
    job = job_of(tmp_path, with_patience(10), study=study, extend=extend)
    assert split_by_store([job]) == ([job], [])


def test_a_failed_run_does_not_fix_the_settings_of_a_study(tmp_path: Path, stored_run: RunRecord) -> None:
    failed = replace(stored_run, outcome=Outcome(status="failed", stop_reason="error", error="no such thing"))
    store.save(tmp_path / "lr", failed)
    job = job_of(tmp_path, with_patience(10))
    assert split_by_store([job]) == ([job], [])
