"""lrsweep.storage.study_settings: which runs a sweep may add to a study, tried with real multiruns too."""

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


def refusal_of(stored: list[RunConfig], asked: list[RunConfig]) -> str | None:
    try:
        refuse_changes(FOLDER, [asdict(run) for run in stored], asked)
    except ConfigError as error:
        return str(error)
    return None


def with_patience(patience: int | None) -> RunConfig:
    return RunConfig(training=TrainingConfig(patience=patience))


def test_another_setting_is_refused_with_what_changed_and_two_ways_on() -> None:
    asked = RunConfig(training=TrainingConfig(patience=None), model=ModelConfig(dropout=0.2))
    assert refusal_of([RunConfig()], [asked]) == (
        f"{FOLDER} holds runs with other settings: model.dropout 0.0 → 0.2; training.patience 5 → null. Give this sweep a "
        "study.name of its own, or add its runs to that study with study.extend=true"
    )


@given(
    stored=st.lists(st.tuples(st.integers(0, 9), st.floats(1e-6, 1e-1)), max_size=4),
    asked=st.lists(st.tuples(st.integers(0, 9), st.floats(1e-6, 1e-1)), min_size=1, max_size=4),
)
def test_seeds_and_rates_may_always_be_added(stored: list[tuple[int, float]], asked: list[tuple[int, float]]) -> None:
    def runs(points: list[tuple[int, float]]) -> list[RunConfig]:
        return [RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr)) for seed, lr in points]

    assert refusal_of(runs(stored), runs(asked)) is None


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ([5, 10], [20]),  # an axis of the study
        ([5], [5, 10]),  # a new axis, on which what is there has its place
        ([], [10]),
    ],
)
def test_points_on_an_axis_may_be_added(stored: list[int], asked: list[int]) -> None:
    assert refusal_of(list(map(with_patience, stored)), list(map(with_patience, asked))) is None


def test_a_setting_newer_than_the_records_had_its_default() -> None:
    older = asdict(RunConfig())
    del older["model"]["dropout"]
    refuse_changes(FOLDER, [older], [RunConfig()])
    with pytest.raises(ConfigError, match=r"model\.dropout 0\.0 → 0\.5"):
        refuse_changes(FOLDER, [older], [RunConfig(model=ModelConfig(dropout=0.5))])


def job_of(folder: Path, run: RunConfig, *, name: str = "lr", extend: bool = False) -> Job:
    settings = AppConfig(
        **{name: getattr(run, name) for name in vars(run)},
        study=StudyConfig(name=name, extend=extend),
        machine=MachineConfig(results_dir=str(folder)),
    )
    return Job(settings, settings.run, run_id(settings.run))


@pytest.fixture
def stored_run(tmp_path: Path, make_record: Callable[..., RunRecord]) -> RunRecord:
    record = replace(make_record(), config=asdict(RunConfig()), run_id=run_id(RunConfig()))
    store.save(tmp_path / "lr", record)
    return record


def test_a_refused_sweep_leaves_the_study_as_it_was(tmp_path: Path, stored_run: RunRecord) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"training\.patience 5 → 10"):
        split_by_store([job_of(tmp_path, with_patience(10))])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sweep_over_two_studies_that_one_refuses_leaves_both_as_they_were(tmp_path: Path, stored_run: RunRecord) -> None:
    store.save(tmp_path / "other", stored_run)
    before = sorted(tmp_path.rglob("*"))
    for fits, changed in (("lr", "other"), ("other", "lr")):  # whichever is looked at first
        with pytest.raises(ConfigError, match=r"training\.patience 5 → 10"):
            split_by_store([job_of(tmp_path, RunConfig(), name=fits), job_of(tmp_path, with_patience(10), name=changed)])
        assert sorted(tmp_path.rglob("*")) == before


def test_extend_adds_them(tmp_path: Path, stored_run: RunRecord) -> None:
    job = job_of(tmp_path, with_patience(10), extend=True)
    assert split_by_store([job]) == ([job], [])


def test_runs_that_belong_to_no_study_hold_nothing_still(tmp_path: Path, stored_run: RunRecord) -> None:
    store.save(tmp_path / "single", stored_run)
    job = job_of(tmp_path, with_patience(10), name="single")
    assert split_by_store([job]) == ([job], [])


def test_a_failed_run_holds_nothing_still(tmp_path: Path, stored_run: RunRecord) -> None:
    failed = replace(stored_run, outcome=Outcome(status="failed", stop_reason="error", error="no such thing"))
    store.save(tmp_path / "lr", failed)
    job = job_of(tmp_path, with_patience(10))
    assert split_by_store([job]) == ([job], [])
