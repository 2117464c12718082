"""lrsweep.fused.block: a block's slots against solo, and the optimizer's rows against an optimizer of their own.

Shapes: K runs, P floats of a run's row, N images, B batch.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrsweep.config import LayerFactors, LossConfig, ModelConfig, OptimizerConfig, RunConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist, Part, batch_order, split_indices
from lrsweep.data.seeding import generator
from lrsweep.fused import block as block_module
from lrsweep.fused.block import Block, RowOptimizer
from lrsweep.fused.stacked_cnn import row_layout, views
from lrsweep.training import solo
from lrsweep.training.models import build_model
from lrsweep.training.optimizers import build_optimizer, layer_groups

MakeRun = Callable[..., RunConfig]
Build = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
RATES = [1e-4, 1e-3, 1e-2]

OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda rows: torch.optim.SGD(rows, lr=1.0),
    "momentum": lambda rows: torch.optim.SGD(rows, lr=1.0, momentum=0.9),
    "nesterov": lambda rows: torch.optim.SGD(rows, lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.01),
    "momentum, fused": lambda rows: torch.optim.SGD(rows, lr=1.0, momentum=0.9, fused=True),
    "adagrad": lambda rows: torch.optim.Adagrad(rows, lr=1.0),
    "adagrad, started": lambda rows: torch.optim.Adagrad(rows, lr=1.0, initial_accumulator_value=0.1, lr_decay=0.1),
    "rmsprop": lambda rows: torch.optim.RMSprop(rows, lr=1.0),
    "rmsprop, momentum": lambda rows: torch.optim.RMSprop(rows, lr=1.0, momentum=0.9, centered=True),
    "adam": lambda rows: torch.optim.Adam(rows, lr=1.0, fused=True),
    "amsgrad": lambda rows: torch.optim.Adam(rows, lr=1.0, amsgrad=True, weight_decay=0.01),
    "adamw": lambda rows: torch.optim.AdamW(rows, lr=1.0, fused=True),
    "adadelta": lambda rows: torch.optim.Adadelta(rows, lr=1.0),
}


@pytest.fixture(params=OPTIMIZERS)
def build(request: pytest.FixtureRequest) -> Build:
    return OPTIMIZERS[request.param]


def order_of(run: RunConfig) -> Tensor:
    return torch.cat(batch_order(run.data.num_train, run.training.batch_size, generator(run.seed, "order")))


def block_of(runs: list[RunConfig], mnist: Mnist, dtype: torch.dtype = torch.float32) -> Block:
    block = Block(runs[0], len(runs), mnist, dtype)
    for k, run in enumerate(runs):
        block.load(k, run)
    return block


def epoch(block: Block, runs: list[RunConfig], num_steps: int) -> block_module.EpochResult:
    rates_SK = torch.tensor([[run.optimizer.lr for run in runs]] * num_steps, dtype=torch.float64)
    return block.epoch(torch.stack([order_of(run) for run in runs]), rates_SK)


# What a slot begins with.


def test_a_slots_weights_are_solos_bit_for_bit(mnist: Mnist, make_run: MakeRun) -> None:
    runs = [make_run(seed=seed) for seed in (0, 5, 0)]
    block = block_of(runs, mnist)
    for k, run in enumerate(runs):
        model = build_model(run.model, generator(run.seed, "weights"), CPU)
        for name, parameter in model.named_parameters():
            assert torch.equal(block.weights[name][k], parameter)


def test_a_slots_batches_are_solos_bit_for_bit(mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run(seed=seed, num_train=80) for seed in (0, 5)]  # batches of 32, 32 and 16
    block = block_of(runs, mnist)
    seen: list[Tensor] = []

    def spy(index_KB: Tensor, rate_K1: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(index_KB)
        return torch.zeros(2), torch.zeros(2, dtype=torch.int64)

    monkeypatch.setattr(block, "train_step", spy)
    epoch(block, runs, num_steps=3)
    assert [index_KB.shape[1] for index_KB in seen] == [32, 32, 16]
    for k, run in enumerate(runs):
        part = dataset.split(mnist, run.data, run.seed).train
        batches = batch_order(80, 32, generator(run.seed, "order"))
        for index_KB, indices in zip(seen, batches, strict=True):
            assert torch.equal(index_KB[k], split_indices(run.data, run.seed)[0][indices])
            assert torch.equal(block._images(mnist.train_images, index_KB)[k], part.images[indices].squeeze(1))
            assert torch.equal(mnist.train_labels[index_KB][k], part.labels[indices])


def test_a_slot_that_is_loaded_again_begins_anew(mnist: Mnist, make_run: MakeRun) -> None:
    runs = [make_run(seed=seed, lr=0.01) for seed in (0, 1)]
    used, fresh = block_of(runs, mnist), block_of(runs, mnist)
    epoch(used, runs, num_steps=2)
    for k, run in enumerate(runs):
        used.load(k, run)
    for block in (used, fresh):
        epoch(block, runs, num_steps=2)
    assert torch.equal(used.rows_KP, fresh.rows_KP)


# Steps and scores.


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_three_steps_are_solos(mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, build: Build, loss: str) -> None:
    monkeypatch.setattr(block_module, "build_optimizer", lambda config, rows: build(list(rows)))
    runs = [make_run(lr=lr, seed=k % 2, num_train=80, num_valid=50, loss=loss) for k, lr in enumerate(RATES)]
    block = block_of(runs, mnist, torch.float64)
    result = epoch(block, runs, num_steps=3)
    layout = row_layout(build_model(runs[0].model, torch.Generator(), CPU))
    for k, run in enumerate(runs):
        split = dataset.split(mnist, run.data, run.seed)
        train = Part(split.train.images.double(), split.train.labels)
        learner = solo.new_learner(run, CPU)
        model = learner.model.double()
        learner.optimizer = build(list(model.parameters()))
        losses, trained = solo.train_epoch(learner, train)
        for name, part in views(block.rows_KP, layout).items():
            torch.testing.assert_close(part[k], model.get_parameter(name).detach(), rtol=1e-10, atol=1e-10)
        valid = solo.evaluate(run, model, Part(split.valid.images.double(), split.valid.labels))
        assert result.losses[k].tolist() == pytest.approx(losses, rel=1e-6)  # solo keeps them in fp32
        assert result.train_correct[k].item() / 80 == trained.accuracy
        assert result.valid_loss[k].item() == pytest.approx(valid.loss, rel=1e-10)
        assert result.valid_correct[k].item() / 50 == valid.accuracy


METHODS: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": OptimizerConfig(name=name, lr=0.01)} for name in ("gd", "sgd", "momentum", "nesterov", "adagrad")},
    **{name: {"optimizer": OptimizerConfig(name=name, lr=0.01)} for name in ("rmsprop", "adadelta", "adam", "adamw")},
    "weight decay": {"optimizer": OptimizerConfig(name="sgd", lr=0.1, weight_decay=0.1)},
    "falling": {"optimizer": OptimizerConfig(layerwise="falling")},
    "rising": {"optimizer": OptimizerConfig(name="nesterov", lr=0.1, layerwise="rising", layer_factor=3.0)},
    "by name": {"optimizer": OptimizerConfig(layers=LayerFactors(conv2=0.0, output=5.0))},
    "l1": {"loss": LossConfig(l1=1e-2)},
    "l2": {"loss": LossConfig(name="double_softmax", l2=1e-2)},
    "relu, he": {"model": ModelConfig(activation="relu", init="he")},
    "elu, xavier": {"model": ModelConfig(activation="elu", init="xavier")},
}


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in ("sgd", "adamw", "l2") else pytest.mark.slow) for name in METHODS]
)
def test_three_steps_of_every_method_are_solos(mnist: Mnist, make_run: MakeRun, method: str) -> None:
    runs = [replace(make_run(seed=seed, num_train=80, num_valid=50), **METHODS[method]) for seed in (0, 1)]
    num_steps = -(-80 // runs[0].training.batch_size)
    block = block_of(runs, mnist, torch.float64)
    epoch(block, runs, num_steps)
    for k, run in enumerate(runs):
        train = dataset.split(mnist, run.data, run.seed).train
        learner = solo.new_learner(run, CPU)
        learner.optimizer = build_optimizer(run.optimizer, layer_groups(run.optimizer, learner.model.double()))
        solo.train_epoch(learner, Part(train.images.double(), train.labels))
        for name, parameter in learner.model.named_parameters():
            torch.testing.assert_close(block.weights[name][k].detach(), parameter.detach(), rtol=1e-9, atol=1e-9)


def test_slots_may_differ_in_their_layers_rates(mnist: Mnist, make_run: MakeRun) -> None:
    layers = [OptimizerConfig(layerwise=layerwise) for layerwise in ("rising", "uniform", "falling")]
    runs = [replace(make_run(num_train=32), optimizer=optimizer) for optimizer in layers]
    together = block_of(runs, mnist, torch.float64)
    epoch(together, runs, num_steps=1)
    for k, run in enumerate(runs):
        alone = block_of([run], mnist, torch.float64)
        epoch(alone, [run], num_steps=1)
        torch.testing.assert_close(together.rows_KP[k], alone.rows_KP[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [32, 24])
@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_one_step_in_fp32_has_solos_gradients(mnist: Mnist, make_run: MakeRun, loss: str, size: int) -> None:
    runs = [make_run(seed=seed, num_train=size, loss=loss) for seed in (0, 1)]
    block = block_of(runs, mnist)
    epoch(block, runs, num_steps=1)
    for k, run in enumerate(runs):
        learner = solo.new_learner(replace(run, optimizer=replace(run.optimizer, lr=1e-30)), CPU)
        solo.train_epoch(learner, dataset.split(mnist, run.data, run.seed).train)
        for grad, parameter in zip(block._grads, learner.model.parameters(), strict=True):
            assert parameter.grad is not None
            assert (grad[k] - parameter.grad).norm() < 1e-5 * parameter.grad.norm()


def test_the_test_set_is_scored_with_the_kept_weights(mnist: Mnist, make_run: MakeRun) -> None:
    runs = [make_run(seed=seed, num_test=60, lr=0.01) for seed in (0, 1, 2)]
    block = block_of(runs, mnist)
    block.keep_best([1, 2])
    epoch(block, runs, num_steps=2)  # moves the weights on
    for run, (loss, accuracy) in zip(runs[1:], block.score_test([1, 2]), strict=True):
        model = build_model(run.model, generator(run.seed, "weights"), CPU)
        score = solo.evaluate(run, model, dataset.split(mnist, run.data, run.seed).test)
        assert (loss, accuracy) == (pytest.approx(score.loss, rel=1e-6), score.accuracy)


# Isolation.


def test_a_neighbours_rate_leaves_a_runs_bits_alone(mnist: Mnist, make_run: MakeRun) -> None:
    tame = [make_run(lr=lr) for lr in RATES]
    wild = [tame[0], make_run(lr=1e30), tame[2]]
    blocks = [block_of(runs, mnist) for runs in (tame, wild)]
    results = [epoch(block, runs, num_steps=2) for block, runs in zip(blocks, (tame, wild), strict=True)]
    others = [0, 2]
    assert not math.isfinite(results[1].valid_loss[1])
    assert torch.equal(blocks[0].rows_KP[others], blocks[1].rows_KP[others])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one[others], other[others])


def test_a_neighbour_that_is_lost_leaves_a_runs_bits_alone(mnist: Mnist, make_run: MakeRun) -> None:
    runs = [make_run(lr=lr) for lr in RATES]
    sound, broken = (block_of(runs, mnist) for _ in range(2))
    broken.rows_KP[1] = math.nan
    results = [epoch(block, runs, num_steps=2) for block in (sound, broken)]
    others = [0, 2]
    assert broken.rows_KP[1].isnan().any()
    assert torch.equal(sound.rows_KP[others], broken.rows_KP[others])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one[others], other[others])


# The rows' optimizer.


def gradient(row_P: Tensor, step: int, k: int) -> Tensor:
    """Of a bowl that moves, another for each row."""
    return (row_P - torch.sin(torch.arange(len(row_P), dtype=row_P.dtype) + step + k)) * 10.0 ** -torch.arange(len(row_P))


def test_rows_step_as_optimizers_of_their_own_even_where_they_join_later(build: Build) -> None:
    start_KP = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    joins, lrs, num_steps = [0, 3, 7], [1e-3, 0.3, 3.0], 20
    rows_KP, grad_KP = start_KP.clone(), torch.zeros_like(start_KP)
    optimizer = RowOptimizer(build, rows_KP, grad_KP)
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


def test_making_the_state_moves_no_weight(build: Build) -> None:
    rows_KP = torch.ones(2, 4)
    RowOptimizer(build, rows_KP, torch.zeros(2, 4))
    assert torch.equal(rows_KP, torch.ones(2, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs")
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw"])
def test_recorded_steps_are_the_plain_ones(make_run: MakeRun, optimizer: str) -> None:
    base = make_run(num_train=80)  # two sizes of batch, two graphs
    runs = [replace(base, seed=k, optimizer=OptimizerConfig(name=optimizer, lr=lr)) for k, lr in enumerate(RATES)]
    on_gpu = dataset.load(ROOT / "data", torch.device("cuda"))
    plain, recorded = (block_of(runs, on_gpu, torch.float64) for _ in range(2))
    assert recorded._steps is not None
    plain._steps = None
    for block in (plain, recorded):
        epoch(block, runs, num_steps=3)
    torch.testing.assert_close(recorded.rows_KP, plain.rows_KP, rtol=1e-10, atol=1e-10)
