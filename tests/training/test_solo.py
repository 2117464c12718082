"""lrsweep.training.solo: the reference engine against loops written out, on few images.

Shapes: B batch, C classes, H × W pixels.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import LossConfig, RunConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist, Part, Split, batch_order
from lrsweep.data.seeding import generator
from lrsweep.records import EpochRecord, Outcome
from lrsweep.training import solo
from lrsweep.training.losses import loss_of
from lrsweep.training.models import build_model, initial_model
from lrsweep.training.solo import Learner, evaluate, new_learner, train, train_epoch

MakeRun = Callable[..., RunConfig]
CPU = torch.device("cpu")


def split_of(mnist: Mnist, run: RunConfig) -> Split:
    return dataset.split(mnist, run.data, run.seed)


def model_of(run: RunConfig) -> nn.Module:
    return build_model(run.model, generator(run.seed, "weights"), CPU)


def timeless(outcome: Outcome) -> Outcome:
    """What does not depend on the machine's mood."""
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None, cpu_seconds=None)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The models that `train` builds, the one that counts last."""
    built: list[nn.Module] = []

    def build(*args: Any) -> nn.Module:
        built.append(initial_model(*args))
        return built[-1]

    monkeypatch.setattr(solo, "initial_model", build)
    return built


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of each training step, without the warm-up's one."""
    seen: list[float] = []

    def spy(config: LossConfig, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        loss = loss_of(config, logits_BC, labels_B)
        if torch.is_grad_enabled():
            seen.append(loss.item())
        return loss

    def train_afresh(learner: Learner, part: Part) -> Any:
        if learner.num_steps == 0:
            seen.clear()
        return train_epoch(learner, part)

    monkeypatch.setattr(solo, "loss_of", spy)
    monkeypatch.setattr(solo, "train_epoch", train_afresh)
    return seen


# The same run twice.


@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_equal_runs_give_equal_bits(mnist: Mnist, make_run: MakeRun, models: list[nn.Module], loss: str) -> None:
    run = make_run(loss=loss, max_epochs=2)
    first, second = (timeless(train(run, split_of(mnist, run))) for _ in range(2))
    assert first == second
    weights = [model.state_dict() for model in models[1::2]]  # each run warms up with a model of its own
    assert len(weights) == 2
    for name in weights[0]:
        assert torch.equal(weights[0][name], weights[1][name])


def test_runs_of_one_seed_differ_by_their_rate_alone(mnist: Mnist, make_run: MakeRun, losses: list[float]) -> None:
    first_losses = []
    for lr in (1e-5, 1e-3):
        run = make_run(lr=lr, max_epochs=1)
        train(run, split_of(mnist, run))
        first_losses.append(losses[0])
    assert first_losses[0] == first_losses[1]  # same images, weights and order; the rate acts from the second step


def test_the_global_generator_has_no_say(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(max_epochs=1)
    outcomes = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            outcomes.append(timeless(train(run, split_of(mnist, run))))
    assert outcomes[0] == outcomes[1]


def test_the_global_generator_is_left_alone(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(max_epochs=1)
    before = torch.get_rng_state()
    train(run, split_of(mnist, run))
    assert torch.equal(torch.get_rng_state(), before)


# Steps against a loop written out.


class DocumentsCNN(nn.Module):
    """The documents' order of layers in plain NCHW."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({name.replace(".", "_"): w.contiguous().clone() for name, w in weights.items()})

    def forward(self, x: Tensor) -> Tensor:
        w = self.weights
        x = F.max_pool2d(F.relu(F.conv2d(x, w.conv1_weight, w.conv1_bias, padding=1)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, w.conv2_weight, w.conv2_bias)), 2)
        x = F.relu(F.conv2d(x, w.conv3_weight, w.conv3_bias)).flatten(1)
        x = torch.sigmoid(F.linear(x, w.dense_weight, w.dense_bias))
        return F.linear(x, w.output_weight, w.output_bias)


def test_chance_is_drawn_on_the_cpu_whatever_the_device(make_run: MakeRun) -> None:
    learner = new_learner(make_run(), torch.device("meta"))  # stands for any other
    assert {p.device.type for p in learner.model.parameters()} == {"meta"}
    assert learner.order.device == learner.augmentation.device == learner.dropout.device == CPU


@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_three_steps_are_those_of_a_plain_loop(mnist: Mnist, make_run: MakeRun, loss: str) -> None:
    run = make_run(num_train=80, loss=loss)  # 32, 32 and 16 images
    part = split_of(mnist, run).train
    part = Part(part.images.double(), part.labels)
    learner = new_learner(run, CPU)
    model = learner.model.double()
    plain = DocumentsCNN(model.state_dict())

    step_losses, score = train_epoch(learner, part)

    adamw = torch.optim.AdamW(plain.parameters(), lr=run.optimizer.lr, foreach=False)
    plain_losses, num_correct = [], 0
    for indices in torch.randperm(80, generator=generator(run.seed, "order")).split(32):
        logits_BC = plain(part.images[indices])
        scores_BC = logits_BC.softmax(1) if loss == "double_softmax" else logits_BC
        value = -scores_BC.log_softmax(1)[torch.arange(len(indices)), part.labels[indices]].mean()
        adamw.zero_grad()
        value.backward()
        adamw.step()
        plain_losses.append(value.item())
        num_correct += (logits_BC.argmax(1) == part.labels[indices]).sum().item()

    for name, weights in model.state_dict().items():
        torch.testing.assert_close(weights, plain.weights[name.replace(".", "_")].data, rtol=1e-10, atol=1e-10)
    assert step_losses == pytest.approx(plain_losses, rel=1e-6)  # kept in fp32
    assert score.loss == pytest.approx((32 * plain_losses[0] + 32 * plain_losses[1] + 16 * plain_losses[2]) / 80, rel=1e-6)
    assert score.accuracy == num_correct / 80


def test_the_short_batch_counts_with_its_size(mnist: Mnist, make_run: MakeRun, losses: list[float]) -> None:
    run = make_run(num_train=40, max_epochs=1, lr=0.01)
    (epoch,) = train(run, split_of(mnist, run)).curve
    long, short = losses
    assert epoch.train_loss == pytest.approx((32 * long + 8 * short) / 40, rel=1e-6)
    assert epoch.train_loss != pytest.approx((long + short) / 2, rel=1e-3)


@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
@pytest.mark.parametrize("num_images", [1, 100, 255, 256, 700])
def test_a_score_is_that_of_one_large_batch(mnist: Mnist, make_run: MakeRun, num_images: int, loss: str) -> None:
    run = make_run(num_test=num_images, loss=loss, seed=1)
    part, model = split_of(mnist, run).test, model_of(run)
    score = evaluate(run, model, part)
    with torch.no_grad():
        logits_BC = model(part.images)
    assert score.loss == pytest.approx(loss_of(run.loss, logits_BC.double(), part.labels).item(), rel=1e-6)
    assert score.accuracy == (logits_BC.argmax(1) == part.labels).sum().item() / num_images


def test_scoring_changes_no_weight_and_keeps_no_graph(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run()
    model = model_of(run)
    before = copy.deepcopy(model.state_dict())
    evaluate(run, model, split_of(mnist, run).test)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


# When a run ends, and what it leaves.


def test_max_epochs_ends_a_run(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(max_epochs=2)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason, outcome.epochs) == ("ok", "max_epochs", 2)
    assert outcome.diverged_step is outcome.error is None


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_that_never_learns_ends_by_patience(mnist: Mnist, make_run: MakeRun, patience: int) -> None:
    run = make_run(lr=1e-30, patience=patience, max_epochs=50)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason) == ("ok", "patience")
    assert (outcome.best_epoch, outcome.epochs) == (1, 1 + patience)


def test_a_run_ends_its_patience_after_its_best_epoch(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(num_train=128, lr=0.003, patience=2, max_epochs=50)
    outcome = train(run, split_of(mnist, run))
    accuracies = [epoch.valid_accuracy for epoch in outcome.curve]
    assert outcome.stop_reason == "patience"
    assert outcome.best_epoch == 1 + accuracies.index(max(accuracies)) == outcome.epochs - 2
    assert outcome.best_epoch > 1
    assert outcome.valid_accuracy == max(accuracies)


def test_each_epoch_is_told_once_and_in_order(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(max_epochs=3)
    told: list[EpochRecord] = []
    outcome = train(run, split_of(mnist, run), told.append)
    assert tuple(told) == outcome.curve
    assert [epoch.epoch for epoch in told] == [1, 2, 3]


def test_the_curves_losses_are_the_steps(mnist: Mnist, make_run: MakeRun, losses: list[float]) -> None:
    run = make_run(max_epochs=3)
    outcome = train(run, split_of(mnist, run))
    assert [epoch.train_loss for epoch in outcome.curve] == pytest.approx(
        [sum(pair) / 2 for pair in zip(*[iter(losses)] * 2, strict=True)]
    )
    assert outcome.last_finite_loss == losses[-1]


def test_the_wall_time_is_that_of_the_epochs(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(max_epochs=2)
    outcome = train(run, split_of(mnist, run))
    assert outcome.wall_seconds == pytest.approx(sum(epoch.seconds for epoch in outcome.curve))
    assert all(epoch.seconds > 0 for epoch in outcome.curve)


def test_the_test_set_is_scored_with_the_best_epochs_weights(mnist: Mnist, make_run: MakeRun, models: list[nn.Module]) -> None:
    run = make_run(num_train=128, num_test=300, lr=0.003, patience=2, max_epochs=50)
    split = split_of(mnist, run)
    kept: list[dict[str, Tensor]] = []
    outcome = train(run, split, lambda epoch: kept.append(copy.deepcopy(models[-1].state_dict())))
    assert outcome.best_epoch is not None

    def score(weights: dict[str, Tensor]) -> tuple[float, float]:
        with torch.no_grad():
            logits_BC = DocumentsCNN(weights)(split.test.images)
        return F.cross_entropy(logits_BC, split.test.labels).item(), (
            logits_BC.argmax(1) == split.test.labels
        ).float().mean().item()

    best, last = score(kept[outcome.best_epoch - 1]), score(kept[-1])
    assert outcome.best_epoch < outcome.epochs
    assert outcome.test_loss == pytest.approx(best[0], rel=1e-5)
    assert outcome.test_loss != pytest.approx(last[0], rel=1e-3)
    assert outcome.test_accuracy == pytest.approx(best[1])


def test_the_test_set_is_scored_once(mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(max_epochs=3)
    split = split_of(mnist, run)
    scored: list[Part] = []

    def spy(run: RunConfig, model: nn.Module, part: Part) -> solo.Score:
        scored.append(part)
        return evaluate(run, model, part)

    monkeypatch.setattr(solo, "evaluate", spy)
    train(run, split)
    assert [part is split.test for part in scored] == [False] * (len(scored) - 1) + [True]
    assert sum(part is split.valid for part in scored) == 3


# Divergence is data.


def test_an_absurd_rate_diverges_after_one_step(mnist: Mnist, make_run: MakeRun, losses: list[float]) -> None:
    run = make_run(lr=1e30)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason, outcome.diverged_step) == ("diverged", "diverged", 1)
    assert outcome.last_finite_loss == losses[0] == pytest.approx(math.log(10), abs=0.3)
    assert outcome.curve == ()
    assert outcome.best_epoch is outcome.valid_accuracy is outcome.test_accuracy is outcome.test_loss is None
    assert outcome.wall_seconds is not None
    assert outcome.wall_seconds > 0


def test_a_loss_that_is_infinite_at_once_has_none_before_it(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run()
    split = split_of(mnist, run)
    split.train.images.fill_(math.nan)
    outcome = train(run, split)
    assert (outcome.status, outcome.diverged_step, outcome.last_finite_loss) == ("diverged", 0, None)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("step", [0, 2, 3, 5])
def test_a_run_diverges_at_its_first_loss_that_is_not_finite(
    mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, step: int, bad: float
) -> None:
    run = make_run(num_train=40, max_epochs=5)  # 2 steps an epoch
    seen: list[float] = []

    def loss_until(config: LossConfig, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        loss = loss_of(config, logits_BC, labels_B)
        if torch.is_grad_enabled():
            seen.append(loss.item())
            if len(seen) == 2 + 1 + step:  # the warm-up takes two: a full batch and the short one
                return loss * bad
        return loss

    monkeypatch.setattr(solo, "loss_of", loss_until)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason, outcome.diverged_step) == ("diverged", "diverged", step)
    assert outcome.last_finite_loss == (seen[2 + step - 1] if step else None)
    assert outcome.epochs == step // 2
    assert (outcome.test_accuracy is not None) == (step >= 2)  # of the epochs before, whose best weights are sound


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_weights_lost_in_an_epochs_last_step_are_no_success(mnist: Mnist, make_run: MakeRun, max_epochs: int) -> None:
    """The first epoch has one step: its loss is finite, what the step leaves is not."""
    run = make_run(lr=1e30, num_train=32, max_epochs=max_epochs)
    outcome = train(run, split_of(mnist, run))
    assert outcome.status == "diverged"
    assert outcome.best_epoch is outcome.test_accuracy is outcome.test_loss is None


def test_epochs_count_from_one_without_a_gap(mnist: Mnist, make_run: MakeRun) -> None:
    run = make_run(patience=1, max_epochs=4, lr=0.003)
    curve = train(run, split_of(mnist, run)).curve
    assert curve[0].epoch == 1
    assert all(b.epoch == a.epoch + 1 for a, b in pairwise(curve))


def test_the_order_goes_on_from_epoch_to_epoch(mnist: Mnist, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(max_epochs=2)
    seen: list[list[int]] = []

    def spy(*args: Any) -> tuple[Tensor, ...]:
        batches = batch_order(*args)
        seen.append(torch.cat(batches).tolist())
        return batches

    monkeypatch.setattr(solo, "batch_order", spy)
    train(run, split_of(mnist, run))
    stream = generator(run.seed, "order")
    assert seen[-2:] == [torch.randperm(64, generator=stream).tolist() for _ in range(2)]
