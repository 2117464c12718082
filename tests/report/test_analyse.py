"""What `analyse` concludes from a study on disk, and which fresh seeds and fixed budgets it uses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_study import ARMS, DIVERGED, fill, fill_budget

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.analysis.findings import Findings, analyse
from lrsweep.analysis.rates import decimal_rate
from lrsweep.config import GridConfig, log_grid
from lrsweep.records import Outcome
from lrsweep.report.texts.answer_box import title_and_answer
from lrsweep.report.texts.decision import decision_en
from lrsweep.storage import store

GRID = log_grid(GridConfig())
RATES = GRID[32:41]
FRESH = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + 4)


def main_findings(folder: Path, delta: float | None = None) -> Findings:
    main = analyse(folder, delta).main
    assert main is not None
    return main


def confirm(folder: Path, seeds: Any = FRESH, rates: Any = None, loss: str = ARMS[0], **settings: int) -> None:
    fill(folder / "confirm", RATES if rates is None else rates, seeds, [loss], **settings)


@pytest.mark.slow
def test_the_analysis_finds_the_known_answer_of_a_synthetic_study(tmp_path: Path) -> None:
    tables = analyse(fill(tmp_path, GRID, range(3), ARMS))
    assert list(tables.findings) == list(ARMS)
    assert tables.main is not None
    best, very_small, small = tables.main.best, tables.main.very_small, tables.main.small
    assert best.arm == "cross_entropy"
    assert best.doubts == ()
    assert set(best.good["lr"]) <= set(GRID[31:40])  # 10^-2.5 is the best, and half a decade from it costs 2 points
    assert 10**-2.8 < best.best["lr"] < 10**-2.2
    edges = tables.main.edges
    assert edges.start is not None
    assert edges.end is not None
    assert (math.log10(edges.start.lr), math.log10(edges.end.lr)) == pytest.approx((-5.25, -1.75))
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
        *("the seeds of the study", "one seed of the study", "without the best rate"),
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


def test_fresh_runs_may_lack_a_setting_of_a_newer_version(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    confirm(tmp_path)
    assert main_findings(tmp_path).confirmation is not None
    for record in store.read(tmp_path):
        training = record.config["training"] | {"newer": 1}
        store.save(tmp_path, replace(record, config=record.config | {"training": training}))
    assert main_findings(tmp_path).confirmation is None


def test_each_arm_is_confirmed_by_runs_with_its_settings(tmp_path: Path) -> None:
    for batch_size in (16, 64):
        fill(tmp_path, RATES, range(3), batch_size=batch_size)
    for batch_size, seeds in ((16, FRESH), (64, range(2000, 2002))):
        confirm(tmp_path, seeds, batch_size=batch_size)
    tables = analyse(tmp_path)
    assert list(tables.findings) == [f"cross_entropy, training.batch_size={size}" for size in (16, 64)]
    confirmations = [found.confirmation for found in tables.findings.values()]
    assert [fresh.num_seeds if fresh else None for fresh in confirmations] == [4, 2]
    assert len(tables.quoted["confirm"]) == 6 * len(RATES)


@pytest.mark.parametrize(("rates", "is_headline"), [(RATES, True), (RATES[2:5], True), (None, False)])
def test_fresh_seeds_are_the_headline_if_they_compare_rates(tmp_path: Path, rates: list[float] | None, is_headline: bool) -> None:
    fill(tmp_path, RATES, range(3))
    chosen = float(main_findings(tmp_path).best.best["lr"])
    confirm(tmp_path, rates=[chosen] if rates is None else sorted({chosen, *rates}))
    main = main_findings(tmp_path)
    assert main.confirmation is not None
    assert (main.headline is main.confirmation) == is_headline
    assert (main.headline is main.best) != is_headline


@pytest.mark.parametrize("num_own", [3, 20])
def test_an_unfinished_confirmation_answers_from_as_many_seeds_as_the_study_has(tmp_path: Path, num_own: int) -> None:
    fill(tmp_path, RATES, range(num_own))
    own = main_findings(tmp_path)
    for num_seeds in (1, 2, 3):
        confirm(tmp_path, range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + num_seeds))
        run_ids = store.load(tmp_path / "confirm")["run_id"].tolist()
        store.expect(tmp_path / "confirm", [*run_ids, *map(str, range(31))])
        tables = analyse(tmp_path)
        assert tables.main is not None
        assert tables.main.confirmation is not None
        assert (tables.num_fresh_missing, tables.num_fresh_planned) == (31, 31 + len(run_ids))
        assert "31 of" in title_and_answer("lr", tables)
        assert "runs_missing" in tables.main.confirmation.doubts
        if num_seeds < num_own:
            assert decision_en(tables.main)[0] == decision_en(own)[0]
            rate = store.load(tmp_path / "confirm").query(f"lr == {own.best.best['lr']}")
            seeds = f"{num_seeds} fresh seed{'s' * (num_seeds > 1)}"
            reaches = f"On {seeds}, {decimal_rate(own.best.best['lr'])} reaches {rate['test_accuracy'].mean():.2%}"
            assert reaches in decision_en(tables.main)[2][1]
        else:
            assert tables.main.headline is tables.main.confirmation
    store.expect(tmp_path / "confirm", run_ids)
    finished = main_findings(tmp_path)
    assert finished.headline is finished.confirmation


def test_fresh_runs_that_all_diverged_are_not_called_missing(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    for i, record in enumerate(store.read(tmp_path)):
        run_id, seed = f"{record.run_id[:-4]}aaaa", record.config["seed"] + FIRST_FRESH_SEED
        outcome = Outcome(status="failed", stop_reason="error") if i == 0 else Outcome(**DIVERGED)
        store.save(tmp_path / "confirm", replace(record, run_id=run_id, config=record.config | {"seed": seed}, outcome=outcome))
    text = title_and_answer("lr", analyse(tmp_path))
    assert "* **Fresh seeds:** all diverged before they were scored (26 runs)" in text
    assert "none at the best rate" not in text


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


def test_delta_is_the_smallest_difference_that_matters(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(4))
    default, huge = (main_findings(tmp_path, delta).best for delta in (None, 0.5))
    assert (default.delta, huge.delta) == (0.002, 0.5)
    assert len(huge.good) == len(RATES)
    assert len(default.good) < len(RATES)


def test_the_whole_report_uses_the_delta_of_the_studys_last_sweep(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    confirm(tmp_path)
    fill_budget(tmp_path / "budget", RATES, range(3))
    for in_sweep, in_report, used in ((None, None, 0.002), (0.01, None, 0.01), (0.01, 0.5, 0.5)):
        store.expect(tmp_path, store.load(tmp_path)["run_id"].tolist(), in_sweep)
        main = main_findings(tmp_path, in_report)
        assert main.confirmation is not None
        assert main.sensitivity is not None
        assert {main.best.delta, main.confirmation.delta, main.sensitivity.best.delta} == {used}


def test_missing_runs_are_a_doubt(tmp_path: Path) -> None:
    fill(tmp_path, RATES, range(3))
    run_ids = store.load(tmp_path)["run_id"].tolist()
    for expected, is_missing in ((run_ids, False), ([*run_ids, "missing"], True)):
        store.expect(tmp_path, expected)
        assert ("runs_missing" in main_findings(tmp_path).best.doubts) == is_missing
