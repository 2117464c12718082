"""The range test on few images, and the command lrsweep-find from end to end."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.analysis.suggestions import RULES
from lrsweep.cli import find
from lrsweep.config import AppConfig, FindConfig, RunConfig, flatten, run_id
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet
from lrsweep.records import RangeTest, RangeTests
from lrsweep.storage import files, range_tests
from lrsweep.training import solo
from lrsweep.training.range_test import MovingAverage, range_test, rising_rates

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., RunConfig]
SHORT = FindConfig(num_steps=20, low=1e-5, high=1e-2)

# Rates, moving average, settings.


@given(
    low=st.floats(1e-9, 1e-2),
    factor=st.floats(1.5, 1e6),
    num_steps=st.integers(20, 400),
    spacing=st.sampled_from(["exponential", "linear"]),
)
def test_the_rates_are_evenly_spaced_and_both_ends_exact(low: float, factor: float, num_steps: int, spacing: str) -> None:
    find = FindConfig(low=low, high=low * factor, num_steps=num_steps, spacing=spacing)
    rates = np.array(rising_rates(find))
    assert (len(rates), rates[0], rates[-1]) == (num_steps, find.low, find.high)
    steps = np.diff(np.log(rates) if spacing == "exponential" else rates)
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-6)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), smoothing=st.floats(0, 0.99))
def test_the_moving_average_equals_pandas(values: list[float], smoothing: float) -> None:
    average = MovingAverage(smoothing)
    expected = pd.Series(values).ewm(alpha=1 - smoothing, adjust=True).mean()
    np.testing.assert_allclose([average.after(value) for value in values], expected, rtol=1e-9, atol=1e-6)


def test_range_test_settings_do_not_change_the_run_id() -> None:
    assert run_id(AppConfig(find=FindConfig(num_steps=50))) == run_id(RunConfig())


# The range test.


def run_test(mnist: DataSet, run: RunConfig, find: FindConfig = SHORT, **options: Any) -> RangeTest:
    return range_test(run, dataset.split(mnist, run.data, run.seed).train, find, **options)


def test_a_full_range_test(mnist: DataSet, make_run: MakeRun) -> None:
    steps: list[None] = []
    before = torch.get_rng_state()
    result = run_test(mnist, make_run(), on_step=lambda: steps.append(None))
    assert torch.equal(torch.get_rng_state(), before)
    assert result.rates == tuple(rising_rates(SHORT))
    assert result.end == "high"
    assert len(steps) == 20
    np.testing.assert_allclose(result.smoothed, pd.Series(result.losses).ewm(alpha=1 - SHORT.smoothing).mean())
    assert run_test(mnist, make_run()) == result
    assert run_test(mnist, make_run(seed=1)).losses != result.losses


def test_at_a_constant_rate_it_equals_the_run_with_the_same_seed(mnist: DataSet, make_run: MakeRun) -> None:
    """10 epochs of 2 batches. The rate rises by one billionth only."""
    run = make_run(lr=1e-3, max_epochs=10)
    constant = FindConfig(num_steps=20, low=1e-3, high=1e-3 * (1 + 1e-9))
    losses = np.array(run_test(mnist, run, constant).losses).reshape(10, 2)
    curve = solo.train(run, dataset.split(mnist, run.data, run.seed)).curve
    np.testing.assert_allclose(losses.mean(axis=1), [epoch.train_loss for epoch in curve], rtol=1e-4)


def test_it_ends_when_the_loss_has_risen_too_far(mnist: DataSet, make_run: MakeRun) -> None:
    result = run_test(mnist, make_run(), FindConfig(num_steps=60, low=1e-3, high=1e3, smoothing=0.5))
    assert result.end == "loss_rose"
    assert len(result.rates) == len(result.losses) == len(result.smoothed) < 60
    lowest = np.minimum.accumulate(result.smoothed)
    assert (np.array(result.smoothed) > 4 * lowest).tolist() == [False] * (len(lowest) - 1) + [True]


def test_it_ends_before_a_loss_that_is_not_finite(mnist: DataSet, make_run: MakeRun) -> None:
    result = run_test(mnist, make_run(), FindConfig(num_steps=20, low=1e36, high=1e38))
    assert result.end == "not_finite"
    assert 1 <= len(result.losses) < 20
    assert all(map(math.isfinite, result.losses))


# On disk.


def test_saved_range_tests_are_read_back(tmp_path: Path) -> None:
    test = RangeTest(seed=3, rates=(1e-7, 0.1), losses=(2.3, 1 / 3), smoothed=(2.3, 1.2), end="high")
    saved = RangeTests(config={"seed": 3}, find={"low": 1e-7}, environment={}, tests=(test,), suggestions=[{"lr": None}])
    range_tests.save_range_tests(tmp_path, saved)
    assert range_tests.read_range_tests(tmp_path) == saved


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{}", b"{", b"\x80\x04N.", b'{"schema_version": 0}', b'{"schema_version": 1, "tests": [{}]}']
)
def test_a_missing_or_invalid_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """b"\\x80\\x04N." is a pickled Python object, which must not be unpickled."""
    if content is not None:
        (tmp_path / "finder.json").write_bytes(content)
    with pytest.raises(files.StoreError):
        range_tests.read_range_tests(tmp_path)


# The command.

SMALL = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "find.num_steps=20", "find.num_seeds=2"]


@pytest.fixture
def lrsweep_find(in_process: Callable[..., int]) -> Callable[..., int]:
    return partial(in_process, find.main, "lrsweep-find")


def test_the_command_writes_curves_suggestions_and_a_figure(
    lrsweep_find: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """study=lr selects the folder; it does not start a sweep."""
    assert lrsweep_find(*SMALL, "study=lr", "seed=3") == 0
    out = capsys.readouterr().out
    for rule in RULES:
        assert f"\n{rule} " in out
    assert "Not scored" in out
    folder = tmp_path / "results" / "lr"
    saved = range_tests.read_range_tests(folder)
    assert [test.seed for test in saved.tests] == [3, 4]
    assert flatten(saved.config)["data.num_train"] == 64
    assert saved.find["num_steps"] == 20
    assert [row["rule"] for row in saved.suggestions] == list(RULES)
    assert saved.environment["device"] in ("cpu", "cuda")
    assert {path.name for path in folder.iterdir()} == {"finder.json", "finder.png", "finder.svg", "hydra"}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not valid JSON")

    json.loads((folder / "finder.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_command_says_why_there_is_no_suggestion(
    lrsweep_find: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lrsweep_find(*SMALL, "find.low=1e-9", "find.high=1e-8") == 0
    assert "No suggestion: with seed 0, the loss does not fall clearly" in capsys.readouterr().out


@pytest.mark.slow
def test_the_help_explains_the_settings_of_a_range_test(
    lrsweep_find: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lrsweep_find("--help") == 0
    out = capsys.readouterr().out
    assert all(f"find.{field.name}" in out for field in fields(FindConfig))
    assert f"find.num_seeds={FindConfig().num_seeds} " in out
    assert f"find.num_steps={FindConfig().num_steps} " in out


def test_suggestions_are_scored_against_a_sweep_with_the_same_settings(
    lrsweep_find: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The committed sweep has the default settings."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "lr").symlink_to(ROOT / "results" / "reference" / "lr")
    assert lrsweep_find("find.num_steps=100", "find.num_seeds=1") == 0
    out = capsys.readouterr().out
    assert "Scored at the nearest rates of" in out
    assert re.search(r"^valley .* \d\.\d\d \(\d\.\d\d to \d\.\d\d\) +(good|undecided|worse)$", out, re.MULTILINE)


def test_without_a_suggestion_nothing_is_scored(
    lrsweep_find: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "lr").symlink_to(ROOT / "results" / "reference" / "lr")
    assert lrsweep_find("find.num_steps=20", "find.num_seeds=1") == 0
    out = capsys.readouterr().out
    assert "No suggestion:" in out
    assert "cored at the nearest rates" not in out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["find.num_step=9"], "ConfigError: find.num_step is not a setting; did you mean find.num_steps?"),
        (["seed=2147483647"], "ConfigError: seed must be from 0 to 2147483647, got 2147483648"),
        (["find.high=0"], "ConfigError: find.high must be finite and above find.low (1e-07), got 0.0"),
        (
            ["study.name=../../x"],
            "ConfigError: study.name must be a plain relative path, with no backslash and no part that begins with '.' or '-', "
            "got '../../x'",
        ),
        (["schedule=cosine"], "ConfigError: schedule=cosine has no effect on lrsweep-find, which raises the rate at every step"),
        (
            ["-m", "seed=0,1"],
            "ConfigError: lrsweep-find takes one value per setting; find.num_seeds=5 sets the number of seeds",
        ),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(
    lrsweep_find: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    assert lrsweep_find(*SMALL, *overrides) == 2
    assert capsys.readouterr() == ("", message + "\n")
    assert not list(tmp_path.glob("results/*/finder.json"))
    assert not (tmp_path.parent / "x").exists()
