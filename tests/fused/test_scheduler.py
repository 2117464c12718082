"""Many runs in one program against solo, one run at a time."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from lrsweep.cli.execution import run_cohort
from lrsweep.config import DataConfig, MachineConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet, Part
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.fused.block import Block, EpochResult
from lrsweep.fused.row_optimizer import RowOptimizer
from lrsweep.records import Outcome
from lrsweep.training import solo
from lrsweep.training.course import Score

MakeRun = Callable[..., RunConfig]
ROOT = Path(__file__).parents[2]
EPOCH_SECONDS = EpochSeconds(with_validation=2.0, without_validation=1.25)


def train_fused(runs: list[RunConfig], mnist: DataSet, num_slots: int = 3, **options: Any) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}

    def keep(position: int, outcome: Outcome) -> None:
        assert position not in outcomes
        outcomes[position] = outcome

    scheduler.train(runs, mnist, num_slots=num_slots, epoch_seconds=EPOCH_SECONDS, on_outcome=keep, **options)
    return [outcomes[i] for i in range(len(runs))]


def train_solo(run: RunConfig, mnist: DataSet) -> Outcome:
    return solo.train(run, dataset.split(mnist, run.data, run.seed))


def without_times(outcome: Outcome) -> Outcome:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None, cpu_seconds=None)


def assert_close(actual: Outcome, expected: Outcome, tolerance: float) -> None:
    """Losses may differ by a relative tolerance; everything else except times must be equal."""

    def losses(outcome: Outcome) -> list[float]:
        epochs = [loss for epoch in outcome.curve for loss in (epoch.train_loss, epoch.highest_loss, epoch.valid_loss)]
        return [loss for loss in (*epochs, outcome.test_loss, outcome.last_finite_loss) if loss is not None]

    def without_losses(outcome: Outcome) -> Outcome:
        curve = tuple(
            replace(epoch, train_loss=0.0, highest_loss=0.0, valid_loss=epoch.valid_loss and 0.0) for epoch in outcome.curve
        )
        return without_times(replace(outcome, curve=curve, test_loss=None, last_finite_loss=None))

    assert without_losses(actual) == without_losses(expected)
    assert losses(actual) == pytest.approx(losses(expected), rel=tolerance)


@pytest.fixture(scope="module")
def runs(make_run: MakeRun) -> list[RunConfig]:
    """Six runs that end at different times and for different reasons."""
    few = {"num_train": 40, "num_valid": 30, "num_test": 30}
    return [
        make_run(lr=1e-30, patience=1, max_epochs=9, **few),  # never learns
        make_run(seed=1, **few),
        make_run(lr=1e30, seed=1, **few),  # diverges
        make_run(seed=2, max_epochs=4, **few),
        make_run(lr=0.003, **few),
        make_run(max_epochs=2, **few),
    ]


@pytest.fixture(scope="module")
def alone(mnist: DataSet, runs: list[RunConfig]) -> list[Outcome]:
    return [train_fused([run], mnist, dtype=torch.float64)[0] for run in runs]


# Against solo.


def test_each_run_has_the_outcome_of_solo(mnist: DataSet, runs: list[RunConfig]) -> None:
    for run, outcome in zip(runs, train_fused(runs, mnist), strict=True):
        assert_close(outcome, train_solo(run, mnist), tolerance=1e-3)  # float32, about ten steps


@pytest.mark.parametrize("num_train", [32, 40], ids=["in validation", "in the second step"])
def test_a_run_diverges_when_solo_does(mnist: DataSet, make_run: MakeRun, num_train: int) -> None:
    run = make_run(num_train=num_train, lr=1e30, max_epochs=4)
    outcome = train_fused([run], mnist)[0]
    assert outcome.status == outcome.stop_reason == "diverged"
    assert_close(outcome, train_solo(run, mnist), tolerance=1e-6)


SCHEDULES = [
    ScheduleConfig(name="cosine", warmup=1.0, length=4.0),
    ScheduleConfig(name="one_cycle", length=4.0),
    ScheduleConfig(name="step", every=1.0),
    ScheduleConfig(name="plateau", patience=1, factor=0.5, threshold=0.5),  # no loss halves, so the rate falls after epoch 3
    ScheduleConfig(name="cosine_restarts", period=2.0, unit="step"),
]


def test_runs_with_different_schedules_share_a_program(mnist: DataSet, make_run: MakeRun) -> None:
    base = make_run(num_train=40, num_valid=30, num_test=30, max_epochs=4, lr=0.003)
    runs = [replace(base, schedule=schedule) for schedule in SCHEDULES]
    assert scheduler.cohorts(runs) == [[0, 1, 2, 3, 4]]
    outcomes = train_fused(runs, mnist)
    for run, outcome in zip(runs, outcomes, strict=True):
        assert_close(outcome, train_solo(run, mnist), tolerance=1e-3)
    assert len({outcome.curve[-1].train_loss for outcome in outcomes}) == len(runs)  # all schedules differ


def test_runs_that_are_scored_and_validated_differently_share_a_program(mnist: DataSet, make_run: MakeRun) -> None:
    """There is one slot fewer than runs, so slots are filled in different epochs. One run diverges."""
    few = {"num_train": 40, "num_valid": 30, "num_test": 30, "patience": None}
    runs = [
        make_run(lr=0.003, max_epochs=3, validate_every=2, **few),
        make_run(lr=0.003, max_epochs=2, validate_every=9, seed=1, **few),
        make_run(lr=1e30, max_epochs=3, validate_every=3, **few),
        make_run(lr=1e-30, max_epochs=3, **few),
        make_run(lr=0.003, max_epochs=4, validate_every=4, seed=2, **few),
    ]
    runs += [replace(run, training=replace(run.training, score="last")) for run in runs]
    assert scheduler.cohorts(runs) == [list(range(10))]
    outcomes = train_fused(runs, mnist, num_slots=4)
    for run, outcome in zip(runs, outcomes, strict=True):
        assert_close(outcome, train_solo(run, mnist), tolerance=1e-3)
    assert [epoch.seconds for epoch in outcomes[0].curve] == [1.25, 2.0, 2.0]
    assert outcomes[0].wall_seconds == 5.25
    assert outcomes[8].best_test_accuracy == outcomes[3].test_accuracy


@pytest.mark.parametrize(
    "settings",
    [
        {"model": ModelConfig(activation="linear", conv_activation="linear", pool="mean")},
        {"model": ModelConfig(init="zero")},
        {"data": DataConfig(num_train=40, num_valid=30, num_test=30, classes=[2, 3, 9])},
    ],
    ids=["linear network", "zero", "classes"],
)
def test_a_run_with_these_settings_has_the_outcome_of_solo(mnist: DataSet, make_run: MakeRun, settings: dict[str, Any]) -> None:
    run = replace(make_run(num_train=40, num_valid=30, num_test=30), **settings)
    assert_close(train_fused([run], mnist)[0], train_solo(run, mnist), tolerance=1e-3)


NUM_SEEDS = 24  # with 5, a single run that stops at another epoch would decide; this happens in about one of 40
MARGINS = {"epochs": 1.0, "valid_accuracy": 0.02, "test_accuracy": 0.02}


@pytest.mark.slow
@pytest.mark.parametrize("lr", [3e-3, 1e-2])
def test_fused_and_solo_are_equivalent_after_their_weights_have_drifted_apart(
    mnist: DataSet, make_run: MakeRun, lr: float
) -> None:
    """Two one-sided t-tests, paired by seed, show that the mean difference lies inside the margins."""
    sizes = {"num_train": 160, "num_valid": 100, "num_test": 200, "patience": 2, "max_epochs": 6}
    runs = [make_run(lr=lr, seed=seed, **sizes) for seed in range(NUM_SEEDS)]
    pairs = [(train_solo(run, mnist), fused) for run, fused in zip(runs, train_fused(runs, mnist, NUM_SEEDS), strict=True)]
    quantile = stats.t.ppf(0.95, NUM_SEEDS - 1)
    for name, margin in MARGINS.items():
        gaps = torch.tensor([getattr(fused, name) - getattr(solo, name) for solo, fused in pairs], dtype=torch.float64)
        assert abs(gaps.mean()) + quantile * gaps.std() / NUM_SEEDS**0.5 < margin, name


# Slots.


@pytest.mark.slow
def test_neither_the_number_of_slots_nor_the_order_changes_a_run(
    mnist: DataSet, runs: list[RunConfig], alone: list[Outcome]
) -> None:
    for num_slots, block_slots in [(1, None), (5, 2), (100, 3)]:
        together = train_fused(runs, mnist, num_slots, block_slots=block_slots, dtype=torch.float64)
        for outcome, expected in zip(together, alone, strict=True):
            assert_close(outcome, expected, tolerance=1e-9)
    for outcome, expected in zip(train_fused(runs[::-1], mnist, dtype=torch.float64), alone[::-1], strict=True):
        assert_close(outcome, expected, tolerance=1e-9)


def test_an_outcome_is_reported_as_soon_as_its_run_ends(mnist: DataSet, make_run: MakeRun) -> None:
    runs = [make_run(max_epochs=3), make_run(max_epochs=1), make_run(max_epochs=1)]
    events: list[int | str] = []
    scheduler.train(
        runs,
        mnist,
        num_slots=2,
        epoch_seconds=EPOCH_SECONDS,
        on_outcome=lambda position, outcome: events.append(position),
        on_epoch=lambda num_active: events.append(f"epoch of {num_active}"),
    )
    assert events == ["epoch of 2", 1, "epoch of 2", 2, "epoch of 1", 0]  # run 2 took the slot of run 1


def test_every_epoch_counts_as_the_given_seconds(mnist: DataSet, make_run: MakeRun) -> None:
    ended, diverged = train_fused([make_run(max_epochs=3), make_run(lr=1e30)], mnist)
    assert ended.wall_seconds == 3 * 2.0
    assert [epoch.seconds for epoch in ended.curve] == [2.0] * 3
    assert diverged.wall_seconds == 2.0  # as in solo, the diverged epoch counts
    assert ended.cpu_seconds is diverged.cpu_seconds is None


# Memory.


@pytest.fixture
def limit_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From the third epoch on, blocks with more than this many slots run out of memory."""

    def limit(num_slots: int) -> None:
        run_epoch = Block.epoch
        num_calls = 0

        def epoch(self: Block, *args: Any) -> EpochResult:
            nonlocal num_calls
            num_calls += 1
            if num_calls > 2 and self.num_slots > num_slots:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run_epoch(self, *args)

        monkeypatch.setattr(Block, "epoch", epoch)

    return limit


@pytest.mark.slow
def test_out_of_memory_halves_the_slots_and_changes_no_run(
    mnist: DataSet, runs: list[RunConfig], alone: list[Outcome], limit_memory: Callable[[int], None]
) -> None:
    limit_memory(1)
    halved: list[int] = []
    outcomes = train_fused(runs, mnist, 5, block_slots=5, dtype=torch.float64, on_halved=halved.append)
    assert halved == [2, 1]
    for outcome, expected in zip(outcomes, alone, strict=True):
        assert_close(outcome, expected, tolerance=1e-9)


def test_a_record_has_the_number_of_slots_when_its_run_ended(
    runs: list[RunConfig], limit_memory: Callable[[int], None], tmp_path: Path
) -> None:
    limit_memory(2)
    slots: dict[int, int] = {}
    run_cohort(
        runs[:4],
        [tmp_path] * 4,
        MachineConfig(device="cpu", data_dir=str(ROOT / "data")),
        num_slots=3,
        on_record=lambda i, record: slots.update({i: record.environment["slots"]}),
        on_epoch=lambda num_active: None,
        on_halved=lambda num_slots: None,
        on_message=lambda text: None,
    )
    assert slots == {0: 3, 2: 3, 1: 1, 3: 1}  # runs 0 and 2 end within the two epochs before memory runs out


def test_there_are_never_more_slots_than_unfinished_runs(
    mnist: DataSet, runs: list[RunConfig], limit_memory: Callable[[int], None]
) -> None:
    limit_memory(2)
    halved: list[int] = []
    train_fused([runs[i] for i in (2, 2, 0, 2, 1)], mnist, 4, on_halved=halved.append)
    assert halved == [1]


def test_out_of_memory_with_one_slot_is_an_error(
    mnist: DataSet, runs: list[RunConfig], limit_memory: Callable[[int], None]
) -> None:
    limit_memory(0)
    outcomes: list[int] = []
    with pytest.raises(torch.OutOfMemoryError):
        scheduler.train(runs, mnist, num_slots=1, epoch_seconds=EPOCH_SECONDS, on_outcome=lambda i, outcome: outcomes.append(i))
    assert outcomes == [0]  # ended after two epochs, before memory ran out


# The stopping rule: scripted curves, with the epoch number as every weight.

Curve = list[tuple[float, float, float]]  # training loss, validation loss and validation accuracy of each epoch


def scripted_solo(run: RunConfig, mnist: DataSet, curve: Curve) -> Outcome:
    epochs = iter(curve)
    split = dataset.split(mnist, run.data, run.seed)
    seen: list[tuple[float, float, float]] = []

    def train_epoch(learner: solo.Learner, part: Part, lr_scale: float) -> tuple[list[float], Score]:
        seen.append(next(epochs))
        nn.init.constant_(learner.model.output.bias, len(seen))  # type: ignore[union-attr, arg-type]
        return [seen[-1][0]] * 2, Score(loss=seen[-1][0], accuracy=0.25)

    def evaluate(run: RunConfig, model: nn.Module, part: Part) -> Score:
        if part is split.test:
            return Score(model.output.bias[0].item(), 0.5, 0.5)  # type: ignore[union-attr, index]
        return Score(loss=seen[-1][1], accuracy=seen[-1][2])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solo, "_warm_up", lambda run, split: None)
        patch.setattr(solo, "train_epoch", train_epoch)
        patch.setattr(solo, "evaluate", evaluate)
        return solo.train(run, split)


def scripted_fused(run: RunConfig, mnist: DataSet, curve: Curve) -> Outcome:
    epochs = iter(curve)
    seen: list[tuple[float, float, float]] = []

    def epoch(self: Block, order_KN: Tensor, rates_SK: Tensor, *args: Any) -> EpochResult:
        seen.append(next(epochs))
        self.rows_KP.fill_(len(seen))
        train_loss, valid_loss, valid_accuracy = (torch.tensor([value], dtype=torch.float64) for value in seen[-1])
        return EpochResult(
            losses=train_loss.expand(1, 2),
            train_correct=torch.tensor([0.25 * run.data.num_train]),
            valid_loss=valid_loss,
            valid_correct=valid_accuracy * run.data.num_valid,
        )

    def score_test(self: Block, slots: list[int], which: str) -> list[Score]:
        rows_KP = self._best_KP if which == "best" else self.rows_KP
        return [Score(rows_KP[k, 0].item(), 0.5, 0.5) for k in slots]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "epoch", epoch)
        patch.setattr(Block, "score_test", score_test)
        return train_fused([run], mnist)[0]


def accuracies(*values: float) -> Curve:
    return [(1.0, 1.0, value) for value in values]


def assert_equal_with_nan(actual: Outcome, expected: Outcome) -> None:
    assert repr(without_times(actual)) == repr(without_times(expected))


nan, inf = math.nan, math.inf
CURVES: dict[str, tuple[Curve, int, str]] = {  # curve, best epoch (0: none), stop reason; patience is 2, max_epochs 6
    "tie": (accuracies(0.5, 0.5, 0.5), 1, "patience"),
    "improvement in the last epoch of patience": (accuracies(0.5, 0.25, 0.75, 0.5, 0.5), 3, "patience"),
    "improvement one epoch too late": (accuracies(0.5, 0.25, 0.25, 0.75), 1, "patience"),
    "rising to the end": (accuracies(0.125, 0.25, 0.375, 0.5, 0.625, 0.75), 6, "max_epochs"),
    "patience and max_epochs at once": (accuracies(0.125, 0.25, 0.375, 0.5, 0.25, 0.25), 4, "patience"),
    "NaN accuracy": (accuracies(0.5, nan, nan), 1, "patience"),
    "NaN accuracy from the start": (accuracies(nan, nan), 0, "patience"),
    "NaN training loss": ([(1.0, 1.0, 0.5), (nan, 1.0, 0.75)], 1, "diverged"),
    "infinite validation loss": ([(1.0, 1.0, 0.5), (1.0, inf, 0.75)], 1, "diverged"),
    "infinite loss at once": ([(inf, 1.0, 0.5)], 0, "diverged"),
}


@pytest.mark.parametrize(("curve", "best_epoch", "stop_reason"), CURVES.values(), ids=CURVES)
def test_a_run_stops_when_solo_does(mnist: DataSet, make_run: MakeRun, curve: Curve, best_epoch: int, stop_reason: str) -> None:
    run = make_run(num_train=40, num_valid=80, patience=2, max_epochs=6)
    outcome = scripted_fused(run, mnist, curve)
    assert_equal_with_nan(outcome, scripted_solo(run, mnist, curve))
    assert (outcome.best_epoch or 0, outcome.stop_reason) == (best_epoch, stop_reason)
    assert outcome.test_loss == (best_epoch or None)  # the test set is scored with the weights of the best epoch


_losses = st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.5, nan, inf])
_curves = st.lists(st.tuples(_losses, _losses, st.sampled_from([0.0, 0.25, 0.5, 0.75, nan])), min_size=6, max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(curve=_curves, patience=st.none() | st.integers(1, 6), every=st.integers(1, 6), score=st.sampled_from(["best", "last"]))
def test_any_run_stops_when_solo_does(
    mnist: DataSet, make_run: MakeRun, curve: Curve, patience: int | None, every: int, score: str
) -> None:
    every = every if patience is None else 1
    run = make_run(num_train=40, num_valid=80, patience=patience, max_epochs=6, validate_every=every, score=score)
    assert_equal_with_nan(scripted_fused(run, mnist, curve), scripted_solo(run, mnist, curve))


# Cohorts.


def test_runs_that_differ_in_rate_seed_limits_and_layer_factors_share_a_program(make_run: MakeRun) -> None:
    falling = replace(make_run(), optimizer=OptimizerConfig(layerwise="falling", layer_factor=3.0))
    by_name = replace(make_run(), optimizer=OptimizerConfig(rates={"conv1.": 0.1}))
    runs = [make_run(), make_run(lr=0.1, seed=3), make_run(patience=2, max_epochs=9), falling, by_name]
    assert scheduler.cohorts(runs) == [[0, 1, 2, 3, 4]]


def test_runs_whose_data_are_in_different_places_share_a_program(make_run: MakeRun) -> None:
    data = DataConfig(target="any:images", content="0", num_train=64, num_valid=100, num_test=100, path="here.npz")
    runs = [replace(make_run(), data=data), replace(make_run(), data=replace(data, path="there.npz"))]
    assert scheduler.cohorts(runs) == [[0, 1]]
    assert scheduler.cohorts([runs[0], replace(runs[1], data=replace(data, content="1"))]) == [[0], [1]]


@pytest.mark.parametrize(
    "settings",
    [
        *({"loss": "double_softmax"}, {"num_train": 65}, {"num_valid": 65}, {"num_test": 65}, {"batch_size": 16}),
        {"optimizer": OptimizerConfig(name="adam")},
    ],
    ids=str,
)
def test_runs_that_differ_in_anything_else_do_not(make_run: MakeRun, settings: dict[str, Any]) -> None:
    other = replace(make_run(), **settings) if "optimizer" in settings else make_run(**settings)
    assert scheduler.cohorts([make_run(), other, make_run(seed=1)]) == [[0, 2], [1]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to record CUDA graphs")
def test_recorded_programs_equal_plain_ones(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks share a memory pool, and slots are refilled after recording."""
    on_gpu = dataset.load(DataConfig(), ROOT / "data", torch.device("cuda"))
    runs = [make_run(lr=lr, seed=seed, num_train=80) for lr, seed in product((1e-4, 1e-2), range(10))]
    recorded = train_fused(runs, on_gpu, num_slots=10, block_slots=4, dtype=torch.float64)
    monkeypatch.setattr(RowOptimizer, "can_be_recorded", False)
    plain = train_fused(runs, on_gpu, num_slots=10, block_slots=4, dtype=torch.float64)
    for outcome, expected in zip(recorded, plain, strict=True):
        assert_close(outcome, expected, tolerance=1e-8)
