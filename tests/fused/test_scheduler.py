"""lrsweep.fused.scheduler: many runs in one program against solo, one at a time."""

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
from lrsweep.config import DataConfig, MachineConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist, Part
from lrsweep.fused import scheduler
from lrsweep.fused.block import Block, EpochResult, RowOptimizer
from lrsweep.records import Outcome
from lrsweep.training import solo

MakeRun = Callable[..., RunConfig]
ROOT = Path(__file__).parents[2]
EPOCH_SECONDS = 2.0


def train_fused(runs: list[RunConfig], mnist: Mnist, num_slots: int = 3, **options: Any) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}

    def keep(position: int, outcome: Outcome) -> None:
        assert position not in outcomes
        outcomes[position] = outcome

    scheduler.train(runs, mnist, num_slots=num_slots, epoch_seconds=EPOCH_SECONDS, on_outcome=keep, **options)
    return [outcomes[i] for i in range(len(runs))]


def train_solo(run: RunConfig, mnist: Mnist) -> Outcome:
    return solo.train(run, dataset.split(mnist, run.data, run.seed))


def timeless(outcome: Outcome) -> Outcome:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None, cpu_seconds=None)


def assert_close(one: Outcome, other: Outcome, tolerance: float) -> None:
    """Equal but for the losses, which may differ by as much, relatively."""

    def losses(outcome: Outcome) -> list[float]:
        of_epochs = [loss for epoch in outcome.curve for loss in (epoch.train_loss, epoch.valid_loss)]
        return [*of_epochs, *(loss for loss in (outcome.test_loss, outcome.last_finite_loss) if loss is not None)]

    def without_losses(outcome: Outcome) -> Outcome:
        curve = tuple(replace(epoch, train_loss=0.0, valid_loss=0.0) for epoch in outcome.curve)
        return timeless(replace(outcome, curve=curve, test_loss=None, last_finite_loss=None))

    assert without_losses(one) == without_losses(other)
    assert losses(one) == pytest.approx(losses(other), rel=tolerance)


@pytest.fixture
def runs(make_run: MakeRun) -> list[RunConfig]:
    """Seven that end at different times and in different ways."""
    few = {"num_train": 40, "num_valid": 50, "num_test": 50}
    never_learns = make_run(lr=1e-30, patience=1, max_epochs=9, **few)
    absurd = make_run(lr=1e30, seed=1, **few)
    others = [make_run(seed=1, **few), absurd, make_run(seed=2, max_epochs=4, **few), make_run(lr=0.003, **few)]
    return [never_learns, *others, never_learns, make_run(max_epochs=2, **few)]


# Against solo.


def test_each_run_leaves_what_solo_leaves(mnist: Mnist, runs: list[RunConfig]) -> None:
    for run, outcome in zip(runs, train_fused(runs, mnist), strict=True):
        assert_close(outcome, train_solo(run, mnist), tolerance=1e-3)  # fp32, some ten steps


@pytest.mark.parametrize("num_train", [32, 40], ids=["in validation", "in the second step"])
def test_a_run_that_is_lost_diverges_as_in_solo(mnist: Mnist, make_run: MakeRun, num_train: int) -> None:
    run = make_run(num_train=num_train, lr=1e30, max_epochs=4)
    outcome = train_fused([run], mnist)[0]
    assert outcome.status == outcome.stop_reason == "diverged"
    assert_close(outcome, train_solo(run, mnist), tolerance=1e-6)


# Slots.


@pytest.fixture(scope="module")
def alone() -> dict[str, list[Outcome]]:
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(("num_slots", "block_slots"), [(1, None), (2, 2), (3, 1), (5, 2), (7, None), (100, 3)])
def test_how_many_slots_there_are_changes_no_run(
    mnist: Mnist, runs: list[RunConfig], alone: dict[str, list[Outcome]], num_slots: int, block_slots: int | None
) -> None:
    if not alone:
        alone["outcomes"] = [train_fused([run], mnist, dtype=torch.float64)[0] for run in runs]
    together = train_fused(runs, mnist, num_slots, block_slots=block_slots, dtype=torch.float64)
    for outcome, expected in zip(together, alone["outcomes"], strict=True):
        assert_close(outcome, expected, tolerance=1e-9)


@pytest.mark.slow
def test_the_order_of_runs_changes_no_run(mnist: Mnist, runs: list[RunConfig]) -> None:
    forward = train_fused(runs, mnist, dtype=torch.float64)
    backward = train_fused(runs[::-1], mnist, dtype=torch.float64)[::-1]
    for outcome, expected in zip(backward, forward, strict=True):
        assert_close(outcome, expected, tolerance=1e-9)


def test_a_run_is_handed_out_as_soon_as_it_ends(mnist: Mnist, make_run: MakeRun) -> None:
    runs = [make_run(max_epochs=3), make_run(max_epochs=1), make_run(max_epochs=1)]
    told: list[int | str] = []
    scheduler.train(
        runs,
        mnist,
        num_slots=2,
        epoch_seconds=1.0,
        on_outcome=lambda position, outcome: told.append(position),
        on_epoch=lambda num_active: told.append(f"epoch of {num_active}"),
    )
    assert told == ["epoch of 2", 1, "epoch of 2", 2, "epoch of 1", 0]  # the second slot was filled again


def test_each_run_follows_its_schedule_from_its_own_first_step(
    mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    epochs = Block.epoch

    def epoch(self: Block, order_KN: Tensor, rates_SK: Tensor) -> EpochResult:
        rates.append(rates_SK[:, 0].tolist())
        return epochs(self, order_KN, rates_SK)

    monkeypatch.setattr(Block, "epoch", epoch)
    monkeypatch.setattr(scheduler, "lr_at", lambda schedule, base_lr, step, pace: base_lr * step)
    runs = [make_run(lr=2.0**-k, num_train=80, max_epochs=2) for k in (10, 11)]
    train_fused(runs, mnist, num_slots=1)
    assert [[rate * 2**10 for rate in epoch] for epoch in rates] == [[0, 1, 2], [3, 4, 5], [0, 0.5, 1], [1.5, 2, 2.5]]


def test_every_epoch_counts_as_the_solo_epoch(mnist: Mnist, make_run: MakeRun) -> None:
    ended, diverged = train_fused([make_run(max_epochs=3), make_run(lr=1e30)], mnist)
    assert ended.wall_seconds == 3 * EPOCH_SECONDS
    assert [epoch.seconds for epoch in ended.curve] == [EPOCH_SECONDS] * 3
    assert diverged.wall_seconds == EPOCH_SECONDS  # of the epoch that was lost, as in solo
    assert ended.cpu_seconds is diverged.cpu_seconds is None


# Memory.


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let epochs of more than so many slots run out of memory, from the third on."""

    def allow(num_slots: int) -> None:
        epochs = Block.epoch
        calls = [0]

        def epoch(self: Block, *args: Any) -> EpochResult:
            calls[0] += 1
            if calls[0] > 2 and self.num_slots > num_slots:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return epochs(self, *args)

        monkeypatch.setattr(Block, "epoch", epoch)

    return allow


@pytest.mark.slow
def test_out_of_memory_halves_the_slots_and_changes_no_run(
    mnist: Mnist, runs: list[RunConfig], memory: Callable[[int], None]
) -> None:
    expected = train_fused(runs, mnist, dtype=torch.float64)
    memory(1)
    halved: list[int] = []
    outcomes = train_fused(runs, mnist, 5, block_slots=5, dtype=torch.float64, on_halved=halved.append)
    assert halved == [2, 1]
    for one, other in zip(outcomes, expected, strict=True):
        assert_close(one, other, tolerance=1e-9)


def test_a_record_says_how_many_slots_there_were_when_its_run_ended(
    runs: list[RunConfig], memory: Callable[[int], None], tmp_path: Path
) -> None:
    memory(2)
    slots: dict[int, int] = {}
    run_cohort(
        runs[:4],
        [tmp_path] * 4,
        MachineConfig(device="cpu", data_dir=str(ROOT / "data")),
        num_slots=3,
        on_record=lambda i, record: slots.update({i: record.environment["slots"]}),
        on_epoch=lambda num_active: None,
        on_halved=lambda num_slots: None,
    )
    assert slots == {0: 3, 2: 3, 1: 1, 3: 1}  # 0 and 2 end within the two epochs for which there is memory


def test_no_more_slots_are_told_than_runs_are_left(mnist: Mnist, runs: list[RunConfig], memory: Callable[[int], None]) -> None:
    memory(2)
    halved: list[int] = []
    train_fused([runs[i] for i in (2, 2, 0, 2, 1)], mnist, 4, on_halved=halved.append)
    assert halved == [1]


def test_out_of_memory_with_one_slot_is_an_error(mnist: Mnist, runs: list[RunConfig], memory: Callable[[int], None]) -> None:
    memory(0)
    outcomes: list[int] = []
    with pytest.raises(torch.OutOfMemoryError):
        scheduler.train(runs, mnist, num_slots=1, epoch_seconds=1.0, on_outcome=lambda i, outcome: outcomes.append(i))
    assert outcomes == [0]  # two epochs; kept


# Early stopping: scripted curves, the weights standing for the epoch they are of.

Curve = list[tuple[float, float, float]]  # of each epoch: training loss, validation loss, validation accuracy


def scripted_solo(run: RunConfig, mnist: Mnist, curve: Curve) -> Outcome:
    epochs = iter(curve)
    split = dataset.split(mnist, run.data, run.seed)
    now: list[tuple[float, float, float]] = []

    def train_epoch(learner: solo.Learner, part: Part) -> tuple[list[float], solo.Score]:
        now.append(next(epochs))
        nn.init.constant_(learner.model.output.bias, len(now))  # type: ignore[union-attr, arg-type]
        return [now[-1][0]] * 2, solo.Score(loss=now[-1][0], accuracy=0.25)

    def evaluate(run: RunConfig, model: nn.Module, part: Part) -> solo.Score:
        if part is split.test:
            return solo.Score(loss=model.output.bias[0].item(), accuracy=0.5)  # type: ignore[union-attr, index]
        return solo.Score(loss=now[-1][1], accuracy=now[-1][2])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solo, "_warm_up", lambda run, split: None)
        patch.setattr(solo, "train_epoch", train_epoch)
        patch.setattr(solo, "evaluate", evaluate)
        return solo.train(run, split)


def scripted_fused(run: RunConfig, mnist: Mnist, curve: Curve) -> Outcome:
    epochs = iter(curve)
    now: list[tuple[float, float, float]] = []

    def epoch(self: Block, order_KN: Tensor, rates_SK: Tensor) -> EpochResult:
        now.append(next(epochs))
        self.rows_KP.fill_(len(now))
        train_loss, valid_loss, valid_accuracy = (torch.tensor([value], dtype=torch.float64) for value in now[-1])
        return EpochResult(
            losses=train_loss.expand(1, 2),
            train_correct=torch.tensor([0.25 * run.data.num_train]),
            valid_loss=valid_loss,
            valid_correct=valid_accuracy * run.data.num_valid,
        )

    def score(self: Block, weights: dict[str, Tensor], *args: Any) -> tuple[Tensor, Tensor]:
        return weights["output.bias"][:, 0], torch.tensor([0.5 * run.data.num_test])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "epoch", epoch)
        patch.setattr(Block, "_score", score)
        return train_fused([run], mnist)[0]


def accuracies(*values: float) -> Curve:
    return [(1.0, 1.0, value) for value in values]


nan, inf = math.nan, math.inf
CURVES: dict[str, tuple[Curve, int, str]] = {  # curve, best epoch (0: none), why it stops; patience is 2, max_epochs 6
    "a tie is no record": (accuracies(0.5, 0.5, 0.5), 1, "patience"),
    "a record at the edge of patience": (accuracies(0.5, 0.25, 0.75, 0.5, 0.5), 3, "patience"),
    "a record one epoch too late": (accuracies(0.5, 0.25, 0.25, 0.75), 1, "patience"),
    "rising to the end": (accuracies(0.125, 0.25, 0.375, 0.5, 0.625, 0.75), 6, "max_epochs"),
    "patience and max_epochs at once": (accuracies(0.125, 0.25, 0.375, 0.5, 0.25, 0.25), 4, "patience"),
    "an accuracy that is no number": (accuracies(0.5, nan, nan), 1, "patience"),
    "no number from the start": (accuracies(nan, nan), 0, "patience"),
    "a training loss that is no number": ([(1.0, 1.0, 0.5), (nan, 1.0, 0.75)], 1, "diverged"),
    "an infinite validation loss": ([(1.0, 1.0, 0.5), (1.0, inf, 0.75)], 1, "diverged"),
    "lost at once": ([(inf, 1.0, 0.5)], 0, "diverged"),
}


@pytest.mark.parametrize(("curve", "best_epoch", "stop_reason"), CURVES.values(), ids=CURVES)
def test_a_run_stops_as_in_solo(mnist: Mnist, make_run: MakeRun, curve: Curve, best_epoch: int, stop_reason: str) -> None:
    run = make_run(num_train=40, num_valid=80, patience=2, max_epochs=6)
    outcome = scripted_fused(run, mnist, curve)
    assert repr(timeless(outcome)) == repr(
        timeless(scripted_solo(run, mnist, curve))
    )  # NaN differs from itself, its name does not
    assert (outcome.best_epoch or 0, outcome.stop_reason) == (best_epoch, stop_reason)
    assert outcome.test_loss == (best_epoch or None)  # the weights that are scored are the best epoch's


_losses = st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.5, nan, inf])
_curves = st.lists(st.tuples(_losses, _losses, st.sampled_from([0.0, 0.25, 0.5, 0.75, nan])), min_size=6, max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(curve=_curves, patience=st.integers(1, 6))
def test_any_run_stops_as_in_solo(mnist: Mnist, make_run: MakeRun, curve: Curve, patience: int) -> None:
    run = make_run(num_train=40, num_valid=80, patience=patience, max_epochs=6)
    assert repr(timeless(scripted_fused(run, mnist, curve))) == repr(timeless(scripted_solo(run, mnist, curve)))


# Cohorts.


def test_runs_that_differ_in_rate_seed_and_limits_share_a_program(make_run: MakeRun) -> None:
    assert scheduler.cohorts([make_run(), make_run(lr=0.1, seed=3), make_run(patience=2, max_epochs=9)]) == [[0, 1, 2]]


@pytest.mark.parametrize(
    "other", [{"loss": "double_softmax"}, {"num_train": 65}, {"num_valid": 65}, {"num_test": 65}, {"batch_size": 16}]
)
def test_runs_that_differ_in_anything_else_do_not(make_run: MakeRun, other: dict[str, Any]) -> None:
    assert scheduler.cohorts([make_run(), make_run(**other), make_run(seed=1)]) == [[0, 2], [1]]


def test_a_run_of_the_documents_can_be_fused(make_run: MakeRun) -> None:
    assert scheduler.reason_not_fusable(make_run()) is None


ALONE: dict[str, dict[str, Any]] = {
    "schedule=grow_batch gives each epoch its own batch size": {"schedule": ScheduleConfig(name="grow_batch")},
    "training.precision=bf16 has no stacked form": {"training": TrainingConfig(precision="bf16")},
    "images that move (data.max_shift, data.max_rotation) have no stacked form": {"data": DataConfig(max_shift=1.0)},
    "model.dropout=0.5 has no stacked form": {"model": ModelConfig(dropout=0.5)},
    "model.batch_norm=true has no stacked form": {"model": ModelConfig(batch_norm=True)},
}


@pytest.mark.parametrize(("reason", "settings"), ALONE.items(), ids=ALONE)
def test_what_cannot_be_fused_says_why(reason: str, settings: dict[str, Any]) -> None:
    assert scheduler.reason_not_fusable(RunConfig(**settings)) == reason


SCHEDULES = [
    ScheduleConfig(name="cosine", warmup=1.0, length=4.0),
    ScheduleConfig(name="one_cycle", length=4.0),
    ScheduleConfig(name="step", every=1.0),
    ScheduleConfig(name="plateau", patience=1, factor=0.5, threshold=0.5),  # no loss falls by half: it lowers every second epoch
    ScheduleConfig(name="cosine_restarts", period=2.0, unit="step"),
]


def test_runs_of_all_schedules_share_a_program_and_leave_what_solo_leaves(mnist: Mnist, make_run: MakeRun) -> None:
    base = make_run(num_train=40, num_valid=50, num_test=50, max_epochs=4, lr=0.003)
    runs = [replace(base, schedule=schedule) for schedule in SCHEDULES]
    assert scheduler.cohorts(runs) == [[0, 1, 2, 3, 4]]
    outcomes = train_fused(runs, mnist)
    for run, outcome in zip(runs, outcomes, strict=True):
        assert_close(outcome, train_solo(run, mnist), tolerance=1e-3)
    assert len({outcome.curve[-1].train_loss for outcome in outcomes}) == len(runs)  # no two are one schedule


def test_layers_rates_share_a_program_and_other_optimizers_do_not(make_run: MakeRun) -> None:
    base = make_run()
    falling = replace(base, optimizer=OptimizerConfig(layerwise="falling", layer_factor=3.0))
    adam = replace(base, optimizer=OptimizerConfig(name="adam"))
    assert scheduler.cohorts([base, falling, adam]) == [[0, 1], [2]]


# As many as fit a GPU.


class Memory:
    """Stands for a GPU's: the first block takes a workspace as well, an epoch what a step needs."""

    BLOCK, WORKSPACE, STEP, FREE = 20, 50, 90, 1_000

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capacity: int = FREE) -> None:
        self.used = self.peak = 7  # the data
        self.capacity = capacity
        readings = {
            "memory_allocated": lambda device: self.used,
            "max_memory_allocated": lambda device: self.peak,
            "mem_get_info": lambda device: (self.FREE, 0),
            "reset_peak_memory_stats": lambda device: None,
            "graph_pool_handle": lambda: (0, 0),
            "empty_cache": lambda: None,
        }
        for name, reading in readings.items():
            monkeypatch.setattr(torch.cuda, name, reading)
        monkeypatch.setattr(scheduler, "Block", self.block)
        monkeypatch.setitem(scheduler.BLOCK_SLOTS, "cuda", 8)

    def take(self, amount: int) -> None:
        if self.used + amount > self.capacity:
            raise torch.OutOfMemoryError
        self.used += amount
        self.peak = max(self.peak, self.used)

    def block(self, *_: Any) -> "Memory":
        self.take(self.BLOCK if self.used > 7 else self.BLOCK + self.WORKSPACE)
        return self

    def epoch(self, *_: Tensor) -> None:
        self.take(self.STEP)


def test_slots_are_as_many_as_the_free_memory_holds_beside_what_blocks_share(
    mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(monkeypatch)
    num_blocks = (0.8 * Memory.FREE - Memory.WORKSPACE - Memory.STEP) / Memory.BLOCK
    assert scheduler.num_slots_that_fit(make_run(), mnist) == int(8 * num_blocks)


def test_where_not_even_a_block_fits_a_program_begins_with_less(
    mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(monkeypatch, capacity=30)
    assert scheduler.num_slots_that_fit(make_run(), mnist) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs")
def test_recorded_programs_leave_what_plain_ones_leave(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks share a pool, slots are refilled after recording."""
    on_gpu = dataset.load(ROOT / "data", torch.device("cuda"))
    runs = [make_run(lr=lr, seed=seed, num_train=80) for lr, seed in product((1e-4, 1e-2), range(10))]
    recorded = train_fused(runs, on_gpu, num_slots=10, block_slots=4, dtype=torch.float64)
    monkeypatch.setattr(RowOptimizer, "can_be_recorded", False)
    plain = train_fused(runs, on_gpu, num_slots=10, block_slots=4, dtype=torch.float64)
    for one, other in zip(recorded, plain, strict=True):
        assert_close(one, other, tolerance=1e-8)


# Trajectories part in fp32; what the runs come to does not.


NUM_SEEDS = 10
EQUIVALENT = {"epochs": 1.0, "valid_accuracy": 0.02, "test_accuracy": 0.02}


@pytest.fixture(scope="module")
def pairs(mnist: Mnist, make_run: MakeRun) -> dict[float, list[tuple[Outcome, Outcome]]]:
    """By rate, from too low to too high: each seed's outcome, solo and fused."""
    sizes = {"num_train": 160, "num_valid": 200, "num_test": 300, "patience": 2, "max_epochs": 6}
    rates, seeds = (1e-5, 3e-3, 3e-2, 10.0), range(NUM_SEEDS)
    runs = [make_run(lr=lr, seed=seed, **sizes) for lr, seed in product(rates, seeds)]
    found: dict[float, list[tuple[Outcome, Outcome]]] = {lr: [] for lr in rates}
    for run, outcome in zip(runs, train_fused(runs, mnist, num_slots=8), strict=True):
        found[run.optimizer.lr].append((train_solo(run, mnist), outcome))
    return found


@pytest.mark.slow
def test_fused_runs_come_to_what_solo_runs_come_to(pairs: dict[float, list[tuple[Outcome, Outcome]]]) -> None:
    """Two one-sided tests, paired by seed: the mean difference is shown to lie inside the margins."""
    quantile = stats.t.ppf(0.95, NUM_SEEDS - 1)
    for lr, of_rate in pairs.items():
        assert [solo.status for solo, _ in of_rate] == [scheduler.status for _, fused in of_rate], lr
        for name, margin in EQUIVALENT.items():
            gaps = torch.tensor([getattr(f, name) - getattr(s, name) for s, f in of_rate], dtype=torch.float64)
            assert abs(gaps.mean()) + quantile * gaps.std() / NUM_SEEDS**0.5 < margin, (lr, name)


@pytest.mark.slow
def test_where_little_is_learned_the_engines_agree_run_by_run(pairs: dict[float, list[tuple[Outcome, Outcome]]]) -> None:
    for solo_outcome, fused_outcome in pairs[1e-5]:
        assert_close(fused_outcome, solo_outcome, tolerance=1e-4)
