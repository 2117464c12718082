"""lrsweep.training.range_test and lrsweep.cli.find: the range test on few images, and the command from end to end."""

import json
import math
import random
from collections.abc import Callable
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
from lrsweep.config import AppConfig, ConfigError, FindConfig, RunConfig, flatten, run_id
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist
from lrsweep.records import RangeTest, RangeTests
from lrsweep.storage import files, range_tests
from lrsweep.training import solo
from lrsweep.training.range_test import MovingAverage, range_test, rates_of

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., RunConfig]
BRIEF = FindConfig(num_steps=20, low=1e-5, high=1e-2)

# The rates, the average, the bounds.


@given(
    low=st.floats(1e-9, 1e-2),
    factor=st.floats(1.5, 1e6),
    num_steps=st.integers(20, 400),
    spacing=st.sampled_from(["exponential", "linear"]),
)
def test_the_rates_are_evenly_spaced_and_both_ends_exact(low: float, factor: float, num_steps: int, spacing: str) -> None:
    chosen = FindConfig(low=low, high=low * factor, num_steps=num_steps, spacing=spacing)
    rates = np.array(rates_of(chosen))
    assert (len(rates), rates[0], rates[-1]) == (num_steps, chosen.low, chosen.high)
    steps = np.diff(np.log(rates) if spacing == "exponential" else rates)
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-6)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), smoothing=st.floats(0, 0.99))
def test_the_moving_average_is_pandas_own(values: list[float], smoothing: float) -> None:
    average = MovingAverage(smoothing)
    expected = pd.Series(values).ewm(alpha=1 - smoothing, adjust=True).mean()
    np.testing.assert_allclose([average.after(value) for value in values], expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_seeds": 0}, "find.num_seeds must be at least 1, got 0"),
        ({"low": 0.0}, "find.low must be positive and finite, got 0.0"),
        ({"low": math.inf}, "find.low must be positive and finite, got inf"),
        ({"high": 1e-7}, "find.high must be finite and above find.low (1e-07), got 1e-07"),
        ({"high": math.inf}, "find.high must be finite and above find.low (1e-07), got inf"),
        ({"num_steps": 19}, "find.num_steps must be at least 20, got 19"),
        ({"spacing": "log"}, "find.spacing must be one of exponential, linear, got 'log'"),
        ({"smoothing": 1.0}, "find.smoothing must be from 0 to below 1, got 1.0"),
        (
            {"against": "../lr"},
            "find.against must be a plain relative path, with no backslash and no part that begins with '.' or '-', got '../lr'",
        ),
    ],
)
def test_what_cannot_be_found_with_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        FindConfig(**fields)
    assert str(error.value) == message


def test_the_finders_settings_name_no_run() -> None:
    assert run_id(AppConfig(find=FindConfig(num_steps=50))) == run_id(RunConfig())


# The range test.


def curve_of(mnist: Mnist, run: RunConfig, chosen: FindConfig = BRIEF) -> RangeTest:
    return range_test(run, dataset.split(mnist, run.data, run.seed).train, chosen)


def test_a_seed_repeats_itself_bit_for_bit_and_another_differs(mnist: Mnist, make_run: MakeRun) -> None:
    first = curve_of(mnist, make_run())
    assert curve_of(mnist, make_run()) == first
    assert curve_of(mnist, make_run(seed=1)).losses != first.losses


def test_nothing_of_others_is_touched(mnist: Mnist, make_run: MakeRun) -> None:
    """Neither global generators nor the images."""
    run = make_run()
    train = dataset.split(mnist, run.data, run.seed).train
    images, before = train.images.clone(), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index, union-attr]  # noqa: NPY002
    range_test(run, train, BRIEF)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index, union-attr]  # noqa: NPY002
    assert torch.equal(train.images, images)


def test_it_is_the_run_of_the_seed_with_other_rates(mnist: Mnist, make_run: MakeRun) -> None:
    """At a rate that hardly rises: the losses of solo's run at that rate, over two epochs of two batches, then on."""
    run = make_run(lr=1e-3, max_epochs=10)
    still = FindConfig(num_steps=20, low=1e-3, high=1e-3 * (1 + 1e-9))
    losses = np.array(curve_of(mnist, run, still).losses).reshape(10, 2)
    curve = solo.train(run, dataset.split(mnist, run.data, run.seed)).curve
    np.testing.assert_allclose(losses.mean(axis=1), [epoch.train_loss for epoch in curve], rtol=1e-4)


def test_the_average_kept_is_that_of_the_losses(mnist: Mnist, make_run: MakeRun) -> None:
    found = curve_of(mnist, make_run())
    np.testing.assert_allclose(found.smoothed, pd.Series(found.losses).ewm(alpha=1 - BRIEF.smoothing).mean())
    assert found.rates == tuple(rates_of(BRIEF))
    assert found.end == "high"


def test_it_ends_where_the_loss_has_risen_too_far(mnist: Mnist, make_run: MakeRun) -> None:
    found = curve_of(mnist, make_run(), FindConfig(num_steps=60, low=1e-3, high=1e3, smoothing=0.5))
    assert found.end == "loss_rose"
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 60
    lowest = np.minimum.accumulate(found.smoothed)
    assert (np.array(found.smoothed) > 4 * lowest).tolist() == [False] * (len(lowest) - 1) + [True]


def test_it_ends_before_a_loss_that_is_not_finite(mnist: Mnist, make_run: MakeRun) -> None:
    found = curve_of(mnist, make_run(), FindConfig(num_steps=20, low=1e36, high=1e38))
    assert found.end == "not_finite"
    assert 1 <= len(found.losses) < 20
    assert all(map(math.isfinite, found.losses))


def test_every_step_is_told(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run()
    steps: list[None] = []
    range_test(run, dataset.split(mnist, run.data, run.seed).train, BRIEF, on_step=lambda: steps.append(None))
    assert len(steps) == 20


# On disk.


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    test = RangeTest(seed=3, rates=(1e-7, 0.1), losses=(2.3, 1 / 3), smoothed=(2.3, 1.2), end="high")
    found = RangeTests(config={"seed": 3}, find={"low": 1e-7}, environment={}, tests=(test,), suggestions=[{"lr": None}])
    range_tests.save_range_tests(tmp_path, found)
    assert range_tests.read_range_tests(tmp_path) == found


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{}", b"{", b"\x80\x04N.", b'{"schema_version": 0}', b'{"schema_version": 1, "tests": [{}]}']
)
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """b"\\x80\\x04N." is a serialised Python object, which nothing here opens."""
    if content is not None:
        (tmp_path / "finder.json").write_bytes(content)
    with pytest.raises(files.StoreError):
        range_tests.read_range_tests(tmp_path)


# The command.

SMALL = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "find.num_steps=20", "find.num_seeds=2"]


@pytest.fixture
def lrsweep_find(in_process: Callable[..., int]) -> Callable[..., int]:
    return partial(in_process, find.main, "lrsweep-find")


@pytest.mark.slow
@pytest.mark.parametrize("study", ["single", "lr"])
def test_the_command_leaves_curves_suggestions_and_a_figure(
    lrsweep_find: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], study: str
) -> None:
    """A study that sweeps changes the folder only."""
    assert lrsweep_find(*SMALL, f"study={study}", "seed=3") == 0
    out = capsys.readouterr().out
    for rule in RULES:
        assert f"\n{rule} " in out
    assert "Not scored" in out
    folder = tmp_path / "results" / study
    found = range_tests.read_range_tests(folder)
    assert [test.seed for test in found.tests] == [3, 4]
    assert flatten(found.config)["data.num_train"] == 64
    assert found.find["num_steps"] == 20
    assert [row["rule"] for row in found.suggestions] == list(RULES)
    assert found.environment["device"] in ("cpu", "cuda")
    assert {path.name for path in folder.iterdir()} == {"finder.json", "finder.png", "finder.svg", "hydra"}


@pytest.mark.slow
def test_a_sweep_of_the_same_settings_scores(
    lrsweep_find: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The committed one is of 3,000 images; other settings are not its own."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "lr").symlink_to(ROOT / "results" / "reference" / "lr")
    assert lrsweep_find("find.num_steps=20", "find.num_seeds=1") == 0
    assert "Scored against" in capsys.readouterr().out
    assert lrsweep_find(*SMALL) == 0
    assert "Not scored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["find.num_step=9"], "ConfigError: find.num_step is not a setting; did you mean find.num_steps?"),
        (["find.high=0"], "ConfigError: find.high must be finite and above find.low (1e-07), got 0.0"),
        (["schedule=cosine"], "ConfigError: schedule=cosine has no effect on lrsweep-find, which raises the rate at every step"),
        (
            ["-m", "seed=0,1"],
            "ConfigError: lrsweep-find takes one value per setting; find.num_seeds=5 sets the number of seeds",
        ),
    ],
)
def test_a_mistake_is_one_line(
    lrsweep_find: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], told: str
) -> None:
    assert lrsweep_find(*SMALL, *overrides) == 2
    assert capsys.readouterr() == ("", told + "\n")
    assert not list(tmp_path.glob("results/*/finder.json"))


def test_what_is_written_is_plain_json(lrsweep_find: Callable[..., int], tmp_path: Path) -> None:
    assert lrsweep_find(*SMALL) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((tmp_path / "results" / "single" / "finder.json").read_text(encoding="utf-8"), parse_constant=refuse)
