"""A block's slots against solo, and the stacked optimizer against one torch optimizer per run.

Shapes: K runs, P floats per run.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device import DEVICE, FP32_TOLERANCE
from torch import Tensor, nn

from lrsweep.config import DataConfig, LayerFactors, ModelConfig, OptimizerConfig, RunConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet, Part, batch_order
from lrsweep.data.seeding import generator
from lrsweep.fused.block import Block, EpochResult
from lrsweep.fused.row_optimizer import RowOptimizer
from lrsweep.fused.rows import views
from lrsweep.training import solo
from lrsweep.training.models import build_model
from lrsweep.training.optimizers import build_optimizer, layer_groups

MakeRun = Callable[..., RunConfig]
Build = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
ROOT = Path(__file__).parents[2]
RATES = [1e-4, 1e-3, 1e-2]


def block_of(runs: list[RunConfig], mnist: DataSet, dtype: torch.dtype = torch.float32) -> Block:
    block = Block(runs[0], len(runs), mnist, dtype)
    for k, run in enumerate(runs):
        block.load(k, run)
    return block


def train_epoch(block: Block, runs: list[RunConfig]) -> EpochResult:
    data, batch_size = runs[0].data, runs[0].training.batch_size
    orders = [torch.cat(batch_order(data.num_train, batch_size, generator(run.seed, "order"))) for run in runs]
    num_steps = -(-data.num_train // batch_size)
    rates_SK = torch.tensor([[run.optimizer.lr for run in runs]] * num_steps, dtype=torch.float64)
    return block.epoch(torch.stack(orders), rates_SK)


# A block against solo.


def test_initial_weights_equal_solos_bit_for_bit(mnist: DataSet, make_run: MakeRun) -> None:
    runs = [make_run(seed=seed) for seed in (0, 5, 0)]
    block = block_of(runs, mnist)
    for k, run in enumerate(runs):
        model = build_model(run.model, generator(run.seed, "weights"), DEVICE)
        for name, parameter in model.named_parameters():
            assert torch.equal(block.weights[name][k], parameter)


CASES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": OptimizerConfig(name="sgd", lr=0.01)},
    "adamw": {},
    "weight decay": {"optimizer": OptimizerConfig(name="sgd", lr=0.1, weight_decay=0.1)},
    "falling": {"optimizer": OptimizerConfig(layerwise="falling")},
    "rising": {"optimizer": OptimizerConfig(name="nesterov", lr=0.1, layerwise="rising", layer_factor=3.0)},
    "factors by name": {"optimizer": OptimizerConfig(layers=LayerFactors(conv2=0.0, output=5.0), rates={"dense.b": 3.0})},
    "zero": {"model": ModelConfig(init="zero")},
    "large": {"model": ModelConfig(init="large")},
    "three classes": {"data": DataConfig(num_train=72, num_valid=30, num_test=100, classes=[1, 4, 7])},
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=() if name in ("sgd", "adamw", "factors by name", "three classes") else pytest.mark.slow)
        for name in CASES
    ],
)
def test_an_epoch_equals_solos(mnist: DataSet, make_run: MakeRun, case: str) -> None:
    """Batches of 32, 32 and 8 images, in float64. Two seeds, the second with a tenth of the learning rate."""
    runs = [replace(make_run(seed=seed, num_train=72, num_valid=30), **CASES[case]) for seed in (0, 1)]
    runs[1].optimizer = replace(runs[1].optimizer, lr=runs[1].optimizer.lr / 10)
    block = block_of(runs, mnist, torch.float64)
    result = train_epoch(block, runs)
    for k, run in enumerate(runs):
        split = dataset.split(mnist, run.data, run.seed)
        learner = solo.new_learner(run, DEVICE)
        model = learner.model.double()
        learner.optimizer = build_optimizer(run.optimizer, layer_groups(run.optimizer, model))
        losses, trained = solo.train_epoch(learner, Part(split.train.images.double(), split.train.labels))
        valid = solo.evaluate(run, model, Part(split.valid.images.double(), split.valid.labels))
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(block.weights[name][k].detach(), parameter.detach(), rtol=1e-9, atol=1e-9)
        assert result.losses[k].tolist() == pytest.approx(losses, rel=1e-6)  # solo keeps losses in float32
        assert result.train_correct[k].item() / 72 == trained.accuracy
        assert result.valid_loss[k].item() == pytest.approx(valid.loss, rel=1e-9)
        assert result.valid_correct[k].item() / 30 == valid.accuracy


@pytest.mark.parametrize("num_train", [32, 24])
@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_a_step_in_float32_has_the_gradients_of_solo(mnist: DataSet, make_run: MakeRun, loss: str, num_train: int) -> None:
    runs = [make_run(seed=seed, num_train=num_train, loss=loss) for seed in (0, 1)]
    block = block_of(runs, mnist)
    train_epoch(block, runs)
    for k, run in enumerate(runs):
        learner = solo.new_learner(run, DEVICE)
        solo.train_epoch(learner, dataset.split(mnist, run.data, run.seed).train)
        for grad, parameter in zip(views(block._grad_KP, block._layout).values(), learner.model.parameters(), strict=True):
            assert parameter.grad is not None
            assert (grad[k] - parameter.grad).norm() < FP32_TOLERANCE * parameter.grad.norm()


@pytest.mark.parametrize("classes", [None, [0, 1, 8]])
def test_the_test_set_is_scored_with_the_best_or_the_last_weights(
    mnist: DataSet, make_run: MakeRun, classes: list[int] | None
) -> None:
    runs = [make_run(seed=seed, num_train=32, lr=0.01) for seed in (0, 1, 2)]
    runs = [replace(run, data=replace(run.data, num_test=60, classes=classes)) for run in runs]
    block = block_of(runs, mnist)
    block.keep_best([1, 2])
    train_epoch(block, runs)  # changes the current weights
    best, last = (block.score_test([1, 2], which) for which in ("best", "last"))
    for run, scores in zip(runs[1:], zip(best, last, strict=True), strict=True):
        learner, split = solo.new_learner(run, DEVICE), dataset.split(mnist, run.data, run.seed)
        for score in scores:
            expected = solo.evaluate(run, learner.model, split.test)
            assert (score.loss, score.accuracy) == (pytest.approx(expected.loss, rel=1e-4), expected.accuracy)
            solo.train_epoch(learner, split.train)


def test_only_the_given_slots_are_validated(mnist: DataSet, make_run: MakeRun) -> None:
    runs = [make_run(seed=seed) for seed in (0, 1, 2)]
    order_KN, rates_SK = torch.arange(64).expand(3, 64), torch.zeros(2, 3)
    every = block_of(runs, mnist, torch.float64).epoch(order_KN, rates_SK)
    for slots in ([], [1], [0, 2]):
        some = block_of(runs, mnist, torch.float64).epoch(order_KN, rates_SK, slots)
        assert torch.equal(some.losses, every.losses)
        assert some.valid_loss.isnan().tolist() == [k not in slots for k in range(3)]
        torch.testing.assert_close(some.valid_loss[slots], every.valid_loss[slots], rtol=1e-12, atol=0)
        assert torch.equal(some.valid_correct[slots], every.valid_correct[slots])


# Independent slots.


def test_a_reloaded_slot_behaves_like_a_new_one(mnist: DataSet, make_run: MakeRun) -> None:
    runs = [make_run(seed=seed, lr=0.01) for seed in (0, 1)]
    used, fresh = block_of(runs, mnist), block_of(runs, mnist)
    train_epoch(used, runs)
    for k, run in enumerate(runs):
        used.load(k, run)
    for block in (used, fresh):
        train_epoch(block, runs)
    assert torch.equal(used.rows_KP, fresh.rows_KP)


@pytest.mark.parametrize(
    "optimizer",
    [
        *(OptimizerConfig(name="adamw", lr=0.01), OptimizerConfig(name="momentum", lr=0.1, layerwise="rising")),
        pytest.param(OptimizerConfig(name="adagrad", lr=0.01), marks=pytest.mark.slow),
        pytest.param(OptimizerConfig(name="adadelta", lr=1.0), marks=pytest.mark.slow),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_a_run_continues_in_the_slot_of_another_block(mnist: DataSet, make_run: MakeRun, optimizer: OptimizerConfig) -> None:
    """After one epoch, the run moves to a slot where another run has also trained for one epoch."""
    runs = [replace(make_run(seed=seed), optimizer=replace(optimizer, lr=optimizer.lr / (seed + 1))) for seed in (0, 1, 2)]
    stays, source, target = (block_of(some, mnist, torch.float64) for some in (runs[1:], runs[1:], runs[:2]))
    for block, some in ((stays, runs[1:]), (source, runs[1:]), (target, runs[:2])):
        train_epoch(block, some)
        block.keep_best([1])
    target.restore(0, source.state(1))
    source.rows_KP.fill_(math.nan)
    results = [train_epoch(block, some) for block, some in ((stays, runs[1:]), (target, [runs[2], runs[1]]))]
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual[0], expected[1], rtol=1e-12, atol=1e-12)
    for which in ("best", "last"):
        assert target.score_test([0], which)[0].loss == pytest.approx(stays.score_test([1], which)[0].loss, rel=1e-12)


def test_slots_may_differ_in_layer_factors(mnist: DataSet, make_run: MakeRun) -> None:
    layers = [OptimizerConfig(layerwise=layerwise) for layerwise in ("rising", "uniform", "falling")]
    runs = [replace(make_run(num_train=32), optimizer=optimizer) for optimizer in layers]
    together = block_of(runs, mnist, torch.float64)
    train_epoch(together, runs)
    for k, run in enumerate(runs):
        alone = block_of([run], mnist, torch.float64)
        train_epoch(alone, [run])
        torch.testing.assert_close(together.rows_KP[k], alone.rows_KP[0], rtol=1e-12, atol=1e-12)


def test_a_diverging_run_does_not_change_its_neighbours_by_a_bit(mnist: DataSet, make_run: MakeRun) -> None:
    stable = [make_run(lr=lr) for lr in RATES]
    diverging = [stable[0], make_run(lr=1e30), stable[2]]
    blocks = [block_of(runs, mnist) for runs in (stable, diverging)]
    results = [train_epoch(block, runs) for block, runs in zip(blocks, (stable, diverging), strict=True)]
    neighbours = [0, 2]
    assert not math.isfinite(results[1].valid_loss[1])
    assert torch.equal(blocks[0].rows_KP[neighbours], blocks[1].rows_KP[neighbours])
    for expected, actual in zip(*results, strict=True):
        assert torch.equal(expected[neighbours], actual[neighbours])


# The stacked optimizer.

OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda rows: torch.optim.SGD(rows, lr=1.0),
    "momentum": lambda rows: torch.optim.SGD(rows, lr=1.0, momentum=0.9),
    "nesterov": lambda rows: torch.optim.SGD(rows, lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.01),
    "momentum, fused": lambda rows: torch.optim.SGD(rows, lr=1.0, momentum=0.9, fused=True),
    "adagrad": lambda rows: torch.optim.Adagrad(rows, lr=1.0),
    "adagrad, initial state": lambda rows: torch.optim.Adagrad(rows, lr=1.0, initial_accumulator_value=0.1, lr_decay=0.1),
    "rmsprop": lambda rows: torch.optim.RMSprop(rows, lr=1.0),
    "rmsprop, momentum": lambda rows: torch.optim.RMSprop(rows, lr=1.0, momentum=0.9, centered=True),
    "adam": lambda rows: torch.optim.Adam(rows, lr=1.0, fused=True),
    "amsgrad": lambda rows: torch.optim.Adam(rows, lr=1.0, amsgrad=True, weight_decay=0.01),
    "adamw": lambda rows: torch.optim.AdamW(rows, lr=1.0, fused=True),
    "adadelta": lambda rows: torch.optim.Adadelta(rows, lr=1.0),
}


def gradient(row_P: Tensor, step: int, k: int) -> Tensor:
    """The gradient of a quadratic bowl that moves, with a different path for each row."""
    return (row_P - torch.sin(torch.arange(len(row_P), dtype=row_P.dtype) + step + k)) * 10.0 ** -torch.arange(len(row_P))


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_rows_step_like_separate_optimizers_even_if_they_join_later(build: Build) -> None:
    start_KP = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    joins, lrs, num_steps = [0, 3, 7], [1e-3, 0.3, 3.0], 20
    rows_KP, grad_KP = start_KP.clone(), torch.zeros_like(start_KP)
    optimizer = RowOptimizer(build, rows_KP, grad_KP)
    assert torch.equal(rows_KP, start_KP)
    for step in range(num_steps):
        for k, join in enumerate(joins):
            if step == join:
                rows_KP[k] = start_KP[k]
                optimizer.reset(k)
            grad_KP[k] = gradient(rows_KP[k], step - join, k)
        optimizer.step(torch.tensor(lrs, dtype=torch.float64).unsqueeze(1))
    for k, (join, lr) in enumerate(zip(joins, lrs, strict=True)):
        alone = nn.Parameter(start_KP[k].clone())
        plain = build([alone])
        plain.param_groups[0]["lr"] = lr
        for step in range(num_steps - join):
            alone.grad = gradient(alone.detach(), step, k)
            plain.step()
        torch.testing.assert_close(rows_KP[k], alone.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to record CUDA graphs")
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw"])
def test_recorded_steps_equal_plain_steps(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    base = make_run(num_train=80)  # two batch sizes, so two graphs
    runs = [replace(base, seed=k, optimizer=OptimizerConfig(name=optimizer, lr=lr)) for k, lr in enumerate(RATES)]
    on_gpu = dataset.load(DataConfig(), ROOT / "data", torch.device("cuda"))
    recorded = block_of(runs, on_gpu, torch.float64)
    assert recorded.optimizer.can_be_recorded
    monkeypatch.setattr(RowOptimizer, "can_be_recorded", False)
    plain = block_of(runs, on_gpu, torch.float64)
    for block in (plain, recorded):
        train_epoch(block, runs)
    torch.testing.assert_close(recorded.rows_KP, plain.rows_KP, rtol=1e-10, atol=1e-10)
