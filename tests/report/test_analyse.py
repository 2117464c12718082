"""What `analyse` concludes from a study on disk, and which fresh seeds and fixed budgets it uses."""

from pathlib import Path
from typing import Any

import pytest
from synthetic_study import ARMS, DIVERGED, FAILED, fill, fill_budget, outcome_of, record_of, scored

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED, finalists
from lrsweep.analysis.findings import Findings, analyse
from lrsweep.config import GridConfig, log_grid
from lrsweep.storage import store

GRID = log_grid(GridConfig())
RATES = GRID[32:41]
FRESH = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + 4)


def main_findings(folder: Path, delta: float | None = None) -> Findings:
    main = analyse(folder, delta).main
    assert main is not None
    return main


def confirm(folder: Path, seeds: Any = FRESH, rates: Any = None, loss: str = ARMS[0], **settings: int) -> None:
    rates = finalists(main_findings(folder).best) if rates is None else rates
    fill(folder / "confirm", rates, seeds, [loss], **settings)


@pytest.mark.slow
def test_the_analysis_finds_the_known_answer_of_a_synthetic_study(tmp_path: Path) -> None:
    tables = analyse(fill(tmp_path, GRID, range(3), ARMS))
    assert list(tables.findings) == list(ARMS)
    assert tables.main is not None
    best, very_small, small = tables.main.best, tables.main.very_small, tables.main.small
    assert best.arm == "cross_entropy"
    assert best.is_conclusive
    assert 10**-2.8 < best.low < 10**-2.5 < best.high < 10**-2.1
    near = best.rows[best.rows["valid_mean"] >= best.best["valid_mean"] - best.delta]
    assert best.trade_off["lr"] == near["lr"].max() < best.high  # the closest to 10^-2, where the study is fastest
    assert (best.plateau.learning_low, best.plateau.learning_high) == (10**-5.2, 10**-1.8)
    assert very_small is not None
    # 24 runs stay at chance
    assert (very_small.num_runs, very_small.num_out_of_patience, very_small.num_stopped_at_once) == (30, 30, 24)
    assert small is not None
    assert small.num_runs == 3 * 11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fresh", "num_seeds"),
    [
        ([{}], 4),
        ([], None),
        ([{"batch_size": 64}], None),
        ([{"patience": 20}], None),
        ([{"loss": ARMS[1]}], None),
        ([{}, {"batch_size": 64, "seeds": range(2000, 2009)}], 4),
        ([{"seeds": range(3)}], None),
        ([{"seeds": [0, *FRESH]}], 4),
        ([{"rates": [1e-4, 1e-3]}], None),
    ],
    ids=[
        *("the same settings", "no confirmation", "another batch size", "another patience", "another loss", "both batch sizes"),
        *("the seeds of the study", "one seed of the study", "rates that the conclusion does not name"),
    ],
)
def test_a_confirmation_needs_the_same_settings_and_fresh_seeds(
    tmp_path: Path, fresh: list[dict[str, Any]], num_seeds: int | None
) -> None:
    fill(tmp_path, RATES, range(3))
    for settings in fresh:
        confirm(tmp_path, **settings)
    confirmation = main_findings(tmp_path).confirmation
    assert (confirmation.num_seeds if confirmation else None) == num_seeds


@pytest.mark.parametrize(
    ("settings", "is_used"), [({}, True), ({"patience": 21}, True), ({"batch_size": 64}, False), ({"max_epochs": 5}, True)]
)
def test_a_fixed_budget_may_differ_only_in_patience_and_epochs(tmp_path: Path, settings: dict[str, int], is_used: bool) -> None:
    fill(tmp_path, RATES, range(3))
    fill_budget(tmp_path / "budget", RATES, range(3), **settings)
    assert (main_findings(tmp_path).sensitivity is not None) == is_used


def test_each_arm_is_confirmed_by_runs_with_its_settings(tmp_path: Path) -> None:
    for batch_size in (16, 64):
        fill(tmp_path, RATES, range(3), batch_size=batch_size)
    for batch_size, seeds in ((16, FRESH), (64, range(2000, 2002))):
        confirm(tmp_path, seeds, batch_size=batch_size)
    tables = analyse(tmp_path)
    assert list(tables.findings) == [f"cross_entropy, training.batch_size={size}" for size in (16, 64)]
    assert tables.main is not None
    assert tables.main.confirmation is not None
    assert tables.main.confirmation.num_seeds == 4


def test_the_arm_with_default_settings_is_the_main_arm(tmp_path: Path) -> None:
    """As text, 128 would come before 32."""
    for size in (128, 32):
        fill(tmp_path, RATES, range(3), batch_size=size)
    assert [arm.rpartition("=")[2] for arm in analyse(tmp_path).findings] == ["32", "128"]


def test_a_damaged_confirmation_is_left_out_with_a_warning(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    (tmp_path / "confirm" / "runs").mkdir(parents=True)
    (tmp_path / "confirm" / "runs" / "0123456789abcdef.json").write_text("{}")
    with pytest.warns(UserWarning, match="left out .*confirm/runs/0123456789abcdef.json"):
        assert main_findings(tmp_path).confirmation is None


def test_runs_of_a_study_in_a_subfolder_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    fill(tmp_path / "confirm", RATES, FRESH)
    assert set(analyse(tmp_path).runs["seed"]) == {0, 1, 2}


def test_delta_limits_the_accuracy_that_the_trade_off_may_lose(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    default, none, half = (main_findings(tmp_path, delta).best for delta in (None, 0.0, 0.5))
    assert default.delta == default.plateau.standard_error
    assert none.trade_off["lr"] == none.best["lr"]
    assert half.trade_off["seconds_median"] == half.rows["seconds_median"].min() < none.trade_off["seconds_median"]
    assert (none.delta, half.delta) == (0.0, 0.5)


def test_a_study_with_missing_runs_is_inconclusive(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    run_ids = store.load(tmp_path)["run_id"].tolist()
    for expected, doubts in ((run_ids, ()), ([*run_ids, "missing"], ("runs_missing",))):
        store.expect(tmp_path, expected)
        best = main_findings(tmp_path).best
        assert (best.plateau.doubts, best.is_conclusive) == (doubts, not doubts)


def test_conclusions_use_only_seeds_that_were_scored_at_every_rate(tmp_path: Path) -> None:
    fill(tmp_path, [10**-3.5, 10**-2.5], [0, 1])
    assert main_findings(tmp_path).best.num_seeds == 2
    store.save(tmp_path, record_of(1e-2, outcome_of(1e-2, 0), seed=0))
    store.save(tmp_path, record_of(1e-2, FAILED, seed=1))
    assert main_findings(tmp_path).best.num_seeds == 1


def test_runs_that_diverged_in_epoch_0_count_in_the_median_time_but_are_not_drawn(tmp_path: Path) -> None:
    """A log axis has no place for 0 epochs."""
    fill(tmp_path, [10**-3.5, 10**-2.5], range(3))
    for seed, outcome in enumerate((scored(0.97), DIVERGED, DIVERGED)):
        store.save(tmp_path, record_of(1e-2, outcome, seed=seed))
    target = analyse(tmp_path).target
    assert target is not None
    assert target.times["lr"].value_counts()[1e-2] == 1
    assert target.medians["num_runs"].tolist() == [3, 3, 3]
    assert target.medians["epochs_to_target"].isna().tolist()[-1]
