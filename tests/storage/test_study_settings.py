"""Which runs a sweep may add to a study."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.lrsweep_launchers._core import Job, split_by_store
from lrsweep.config import (
    AppConfig,
    ConfigError,
    LossConfig,
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
from lrsweep.storage.study_settings import refuse_new_arms

FOLDER = Path("results/lr")


def with_patience(patience: int | None, **settings: Any) -> RunConfig:
    return RunConfig(training=TrainingConfig(patience=patience), **settings)


def refuse(stored: Iterable[RunConfig], requested: Iterable[RunConfig], planned: Iterable[RunConfig] = ()) -> None:
    refuse_new_arms(FOLDER, map(asdict, stored), set(map(run_id, planned)), requested)


def test_changed_settings_are_refused_with_their_values_and_two_ways_out() -> None:
    with pytest.raises(ConfigError) as error:
        refuse([RunConfig()], [with_patience(None, model=ModelConfig(dropout=0.2))])
    assert str(error.value) == (
        f"{FOLDER} holds runs with other settings: model.dropout 0.0 → 0.2; training.patience 5 → null. Within a study only seed "
        "and optimizer.lr may change: choose a new study.name for these runs, or add them to this study with study.extend=true"
    )


def test_a_refusal_compares_with_the_most_similar_arm_and_lists_a_few_values() -> None:
    stored = [with_patience(5), with_patience(7, loss=LossConfig(name="double_softmax"))]
    with pytest.raises(ConfigError, match=r"settings: training\.patience 7 → 8\. Within"):
        refuse(stored, [with_patience(8, loss=LossConfig(name="double_softmax"))])
    with pytest.raises(ConfigError, match=r"settings: training\.patience 5 → 10, 11, 12, 13, 14, …\. Within"):
        refuse(stored, map(with_patience, range(10, 100)))


points = st.tuples(st.integers(0, 9), st.floats(1e-6, 1e-1))


@given(stored=st.lists(points, max_size=4), requested=st.lists(points, min_size=1, max_size=4))
def test_seeds_and_rates_may_always_be_added(stored: list[tuple[int, float]], requested: list[tuple[int, float]]) -> None:
    before, after = (
        [RunConfig(seed=seed, optimizer=OptimizerConfig(lr=lr)) for seed, lr in runs] for runs in (stored, requested)
    )
    refuse(before, after)


ANY_RUNS = st.lists(
    st.builds(
        lambda seed, lr, patience, dropout: with_patience(
            patience, seed=seed, optimizer=OptimizerConfig(lr=lr), model=ModelConfig(dropout=dropout)
        ),
        st.integers(0, 1),
        st.sampled_from([1e-3, 1e-2]),
        st.sampled_from([5, 10, None]),
        st.sampled_from([0.0, 0.5]),
    ),
    max_size=4,
)


@given(stored=ANY_RUNS, planned=ANY_RUNS, requested=ANY_RUNS)
def test_only_arms_of_finished_and_planned_runs_are_accepted(
    stored: list[RunConfig], planned: list[RunConfig], requested: list[RunConfig]
) -> None:
    """The rule in other words: with the seed and the rate set to one value, every requested run equals a finished one."""

    def arms(runs: list[RunConfig]) -> set[str]:
        return {run_id(replace(run, seed=0, optimizer=OptimizerConfig())) for run in runs}

    is_planned = arms([run for run in requested if run in planned])
    if stored and arms(requested) - arms(stored) - is_planned:
        with pytest.raises(ConfigError, match=r"study\.extend=true"):
            refuse(stored, requested, planned)
    else:
        refuse(stored, requested, planned)


def test_a_record_from_before_a_setting_existed_has_its_default() -> None:
    older = asdict(RunConfig())
    del older["model"]["dropout"]
    refuse_new_arms(FOLDER, [older], set(), [RunConfig()])
    with pytest.raises(ConfigError, match=r"model\.dropout 0\.0 → 0\.5"):
        refuse_new_arms(FOLDER, [older], set(), [RunConfig(model=ModelConfig(dropout=0.5))])


# Sweeps


def job_of(folder: Path, run: RunConfig, *, study: str = "lr", extend: bool = False) -> Job:
    app = AppConfig(
        **{name: getattr(run, name) for name in vars(run)},
        study=StudyConfig(name=study, extend=extend),
        machine=MachineConfig(results_dir=str(folder)),
    )
    return Job(app)


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


# Several commands, one after another. Each finishes its first runs only, as if it was stopped then.


P5, P10, P20 = 5, 10, 20


@pytest.mark.parametrize(
    ("commands", "expected"),
    [  # of each command: the values of training.patience that it sweeps, extend, how many of its runs finish
        ([([P5], False, 1), ([P5], False, 0)], "ok ok"),
        ([([P5], False, 1), ([P10], False, 0)], "ok refused"),
        ([([P5], False, 0), ([P10], False, 0)], "ok ok"),  # nothing is finished yet
        ([([P5], False, 1), ([P5, P10], False, 0)], "ok refused"),  # the old value among new ones
        ([([P5, P10], False, 2), ([P10], False, 0), ([P20], False, 0)], "ok ok refused"),
        ([([P5, P10], False, 1), ([P5, P10], False, 0)], "ok ok"),  # the sweep was stopped before its second arm
        ([([P5], False, 1), ([P10], True, 1), ([P5, P10], False, 0), ([P20], False, 0)], "ok ok ok refused"),
        ([([P5], False, 1), ([P10], True, 0), ([P10], False, 0)], "ok ok ok"),  # extended before it was stopped
        ([([P5], False, 1), ([P10], True, 1), ([P20], True, 1), ([P5, P10, P20], False, 0)], "ok ok ok ok"),
    ],
)
def test_sweeps_of_one_study(
    tmp_path: Path, make_record: Callable[..., RunRecord], commands: list[tuple[list[int], bool, int]], expected: str
) -> None:
    outcomes = []
    for patiences, extend, num_finished in commands:
        runs = [with_patience(patience) for patience in patiences]
        try:
            split_by_store([job_of(tmp_path, run, extend=extend) for run in runs])
        except ConfigError:
            outcomes.append("refused")
            continue
        outcomes.append("ok")
        for run in runs[:num_finished]:
            store.save(tmp_path / "lr", replace(make_record(), config=asdict(run), run_id=run_id(run)))
    assert " ".join(outcomes) == expected
