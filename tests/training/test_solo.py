"""The solo engine on few images, against plain training loops.

Shapes: B batch, C classes.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from on_device import DEVICE
from torch import Tensor, nn

from lrsweep.config import LossConfig, RunConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet, Part, Split
from lrsweep.data.seeding import generator
from lrsweep.records import EpochRecord, Outcome
from lrsweep.training import solo
from lrsweep.training.course import Score
from lrsweep.training.losses import loss_of
from lrsweep.training.models import build_model, initial_model
from lrsweep.training.solo import Learner, evaluate, new_learner, score_of, train, train_epoch

MakeRun = Callable[..., RunConfig]
CPU = torch.device("cpu")


def split_of(mnist: DataSet, run: RunConfig) -> Split:
    return dataset.split(mnist, run.data, run.seed)


def model_of(run: RunConfig) -> nn.Module:
    return build_model(run.model, generator(run.seed, "weights"), DEVICE)


def without_times(outcome: Outcome) -> Outcome:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in outcome.curve)
    return replace(outcome, curve=curve, wall_seconds=None, cpu_seconds=None)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The models that `train` builds. The last one is trained; the one before is for the warm-up."""
    built: list[nn.Module] = []

    def build(*args: Any) -> nn.Module:
        built.append(initial_model(*args))
        return built[-1]

    monkeypatch.setattr(solo, "initial_model", build)
    return built


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of each training step, without the warm-up."""
    recorded: list[float] = []

    def spy(config: LossConfig, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        loss = loss_of(config, logits_BC, labels_B)
        if torch.is_grad_enabled():
            recorded.append(loss.item())
        return loss

    def train_from_start(learner: Learner, part: Part, lr_scale: float = 1.0) -> Any:
        if learner.num_steps == 0:
            recorded.clear()
        return train_epoch(learner, part, lr_scale)

    monkeypatch.setattr(solo, "loss_of", spy)
    monkeypatch.setattr(solo, "train_epoch", train_from_start)
    return recorded


# Reproducibility.


@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_equal_runs_give_equal_bits_whatever_the_global_generator(
    mnist: DataSet, make_run: MakeRun, models: list[nn.Module], loss: str
) -> None:
    run = make_run(loss=loss, max_epochs=2)
    outcomes = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            outcomes.append(without_times(train(run, split_of(mnist, run))))
            assert torch.equal(torch.get_rng_state(), before)
    assert outcomes[0] == outcomes[1]
    first, second = (model.state_dict() for model in models[1::2])
    for name in first:
        assert torch.equal(first[name], second[name])


def test_runs_with_the_same_seed_differ_in_their_rate_only(mnist: DataSet, make_run: MakeRun, losses: list[float]) -> None:
    first_losses = []
    for lr in (1e-5, 1e-3):
        run = make_run(lr=lr, max_epochs=1)
        train(run, split_of(mnist, run))
        first_losses.append(losses[0])
    assert first_losses[0] == first_losses[1]  # same images, weights and order; the rate acts from the second step on


def test_random_numbers_are_drawn_on_the_cpu_for_every_device(make_run: MakeRun) -> None:
    learner = new_learner(make_run(), torch.device("meta"))  # in place of a GPU
    assert {p.device.type for p in learner.model.parameters()} == {"meta"}
    assert {random.device for random in learner.random.values()} == {CPU}


# Steps and scores against plain loops.


class DocumentsCNN(nn.Module):
    """The layers in the documents' order, in plain NCHW."""

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


@pytest.mark.parametrize("loss", ["cross_entropy", "double_softmax"])
def test_three_steps_equal_a_plain_loop(mnist: DataSet, make_run: MakeRun, loss: str) -> None:
    run = make_run(num_train=80, loss=loss)  # batches of 32, 32 and 16 images
    part = split_of(mnist, run).train
    part = Part(part.images.double(), part.labels)
    learner = new_learner(run, DEVICE)
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
    assert step_losses == pytest.approx(plain_losses, rel=1e-6)  # kept in float32
    assert score.loss == pytest.approx((32 * plain_losses[0] + 32 * plain_losses[1] + 16 * plain_losses[2]) / 80, rel=1e-6)
    assert score.accuracy == num_correct / 80


@pytest.mark.parametrize(("num_images", "loss"), [(1, "cross_entropy"), (256, "cross_entropy"), (300, "double_softmax")])
def test_a_score_equals_that_of_one_large_batch(mnist: DataSet, make_run: MakeRun, num_images: int, loss: str) -> None:
    run = make_run(num_test=num_images, loss=loss, seed=1)
    part, model = split_of(mnist, run).test, model_of(run)
    before = copy.deepcopy(model.state_dict())
    score = evaluate(run, model, part)
    with torch.no_grad():
        logits_BC = model(part.images)
    assert score.loss == pytest.approx(loss_of(run.loss, logits_BC.double(), part.labels).item(), rel=1e-6)
    assert score.accuracy == (logits_BC.argmax(1) == part.labels).sum().item() / num_images
    assert all(torch.equal(weights, before[name]) for name, weights in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# The end of a run, and its outcome.


def test_the_outcome_of_a_run_that_ends_at_max_epochs(mnist: DataSet, make_run: MakeRun, losses: list[float]) -> None:
    run = make_run(num_train=40, lr=0.01, max_epochs=3)  # batches of 32 and 8 images
    reported: list[EpochRecord] = []
    outcome = train(run, split_of(mnist, run), reported.append)
    assert (outcome.status, outcome.stop_reason, outcome.diverged_step, outcome.error) == ("ok", "max_epochs", None, None)
    assert tuple(reported) == outcome.curve
    assert [epoch.epoch for epoch in outcome.curve] == [1, 2, 3]
    means = [(32 * long + 8 * short) / 40 for long, short in zip(losses[::2], losses[1::2], strict=True)]
    assert [epoch.train_loss for epoch in outcome.curve] == pytest.approx(means)
    assert outcome.last_finite_loss == losses[-1]
    assert outcome.wall_seconds == pytest.approx(sum(epoch.seconds for epoch in outcome.curve))
    assert all(epoch.seconds > 0 for epoch in outcome.curve)


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_that_never_learns_ends_by_patience(mnist: DataSet, make_run: MakeRun, patience: int) -> None:
    run = make_run(lr=1e-30, patience=patience, max_epochs=50)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason) == ("ok", "patience")
    assert (outcome.best_epoch, outcome.epochs) == (1, 1 + patience)


def test_the_best_epoch_decides_when_a_run_ends_and_how_it_scores(
    mnist: DataSet, make_run: MakeRun, models: list[nn.Module]
) -> None:
    run = make_run(num_train=128, num_test=300, lr=0.003, patience=2, max_epochs=50)
    split = split_of(mnist, run)
    weights_by_epoch: list[dict[str, Tensor]] = []
    outcome = train(run, split, lambda epoch: weights_by_epoch.append(copy.deepcopy(models[-1].state_dict())))
    accuracies = [epoch.valid_accuracy for epoch in outcome.curve]
    assert outcome.stop_reason == "patience"
    assert outcome.best_epoch == 1 + accuracies.index(max(accuracies)) == outcome.epochs - 2
    assert outcome.best_epoch > 1
    assert outcome.valid_accuracy == max(accuracies)

    def test_score(weights: dict[str, Tensor]) -> tuple[float, float]:
        with torch.no_grad():
            logits_BC = DocumentsCNN(weights)(split.test.images)
        is_correct_B = logits_BC.argmax(1) == split.test.labels
        return F.cross_entropy(logits_BC, split.test.labels).item(), is_correct_B.float().mean().item()

    best, last = test_score(weights_by_epoch[outcome.best_epoch - 1]), test_score(weights_by_epoch[-1])
    assert outcome.test_loss == pytest.approx(best[0], rel=1e-5)
    assert outcome.test_loss != pytest.approx(last[0], rel=1e-3)
    assert outcome.test_accuracy == pytest.approx(best[1])


def scored_parts(run: RunConfig, split: Split, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Part], Outcome]:
    """The run's parts in the order of their scoring, and its outcome. The warm-up is skipped."""
    scored: list[Part] = []

    def spy(run: RunConfig, model: nn.Module, part: Part) -> Score:
        scored.append(part)
        return evaluate(run, model, part)

    monkeypatch.setattr(solo, "_warm_up", lambda run, split: None)
    monkeypatch.setattr(solo, "evaluate", spy)
    outcome = train(run, split)
    return scored, outcome


@pytest.mark.parametrize(("max_epochs", "num_scores"), [(3, 2), (1, 1)], ids=["best epoch first", "best epoch last"])
def test_the_test_set_is_scored_at_the_end_for_the_best_and_the_last_epoch(
    mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, max_epochs: int, num_scores: int
) -> None:
    run = make_run(lr=1e-30, max_epochs=max_epochs)
    split = split_of(mnist, run)
    scored, outcome = scored_parts(run, split, monkeypatch)
    assert outcome.best_epoch == 1
    assert [part is split.test for part in scored] == [False] * max_epochs + [True] * num_scores
    assert outcome.best_test_accuracy == outcome.test_accuracy
    assert outcome.last_test_accuracy is not None


def test_only_chosen_epochs_are_validated(mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(patience=None, max_epochs=5, validate_every=3)
    split = split_of(mnist, run)
    scored, outcome = scored_parts(run, split, monkeypatch)
    assert [part is split.valid for part in scored[:2]] == [True, True]
    assert [epoch.epoch for epoch in outcome.curve if epoch.valid_accuracy is not None] == [3, 5]
    assert [epoch.epoch for epoch in outcome.curve if epoch.valid_loss is not None] == [3, 5]
    assert outcome.best_epoch in (3, 5)


def test_validating_rarely_changes_nothing_else(mnist: DataSet, make_run: MakeRun) -> None:
    often, rarely = (make_run(lr=0.003, patience=None, max_epochs=4, validate_every=every) for every in (1, 4))
    weights: list[dict[str, Tensor]] = []
    first, second = (
        without_times(
            train(replace(run, training=replace(run.training, score="last")), split_of(mnist, run), on_weights=weights.append)
        )
        for run in (often, rarely)
    )
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert (second.test_accuracy, second.test_loss, second.valid_accuracy) == (
        first.test_accuracy,
        first.test_loss,
        first.valid_accuracy,
    )
    assert second.best_epoch == 4
    assert [epoch.train_loss for epoch in second.curve] == [epoch.train_loss for epoch in first.curve]
    assert second.curve[-1] == first.curve[-1]


def test_a_run_can_be_scored_at_its_last_epoch(mnist: DataSet, make_run: MakeRun) -> None:
    run = make_run(num_train=128, num_test=300, lr=0.003, patience=2, max_epochs=50)
    split = split_of(mnist, run)
    weights: list[dict[str, Tensor]] = []
    best = train(run, split, on_weights=weights.append)
    last = train(replace(run, training=replace(run.training, score="last")), split, on_weights=weights.append)
    assert best.best_epoch == last.best_epoch == last.epochs - 2
    assert without_times(best).curve == without_times(last).curve
    assert last.valid_accuracy == last.curve[-1].valid_accuracy
    assert best.test_accuracy == best.best_test_accuracy == last.best_test_accuracy
    assert last.test_accuracy == last.last_test_accuracy == best.last_test_accuracy
    for outcome, scored in zip((best, last), weights, strict=True):
        model = model_of(run)
        model.load_state_dict(scored)
        score = evaluate(run, model, split.test)
        assert (outcome.test_loss, outcome.test_accuracy) == (score.loss, score.accuracy)
    assert best.test_loss != last.test_loss


def test_a_test_loss_that_is_not_finite_is_left_out(mnist: DataSet, make_run: MakeRun) -> None:
    """A record cannot hold it, and one odd test image must not cost the run."""
    run = make_run(num_train=64, max_epochs=1)
    split = split_of(mnist, run)
    odd = replace(split.test, images=split.test.images.clone())
    odd.images[0] = math.nan
    outcome = train(run, replace(split, test=odd))
    assert (outcome.status, outcome.test_loss) == ("ok", None)
    assert outcome.test_accuracy is not None


def test_the_highest_loss_of_an_epoch_is_that_of_one_step(mnist: DataSet, make_run: MakeRun, losses: list[float]) -> None:
    run = make_run(num_train=72, lr=0.01, max_epochs=2)  # three steps per epoch
    outcome = train(run, split_of(mnist, run))
    assert [epoch.highest_loss for epoch in outcome.curve] == [max(losses[:3]), max(losses[3:])]


# Divergence.


def test_an_absurd_rate_diverges_after_one_step(mnist: DataSet, make_run: MakeRun, losses: list[float]) -> None:
    run = make_run(lr=1e30)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason, outcome.diverged_step) == ("diverged", "diverged", 1)
    assert outcome.last_finite_loss == losses[0] == pytest.approx(math.log(10), abs=0.3)
    assert outcome.curve == ()
    assert outcome.best_epoch is outcome.valid_accuracy is outcome.test_accuracy is outcome.test_loss is None
    assert outcome.wall_seconds is not None
    assert outcome.wall_seconds > 0


@pytest.mark.parametrize(("step", "bad"), [(0, math.nan), (2, math.inf), (3, -math.inf), (5, math.nan)])
def test_a_run_diverges_at_its_first_loss_that_is_not_finite(
    mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, step: int, bad: float
) -> None:
    run = make_run(num_train=40, max_epochs=5)  # two steps per epoch
    seen: list[float] = []

    def loss_until(config: LossConfig, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        loss = loss_of(config, logits_BC, labels_B)
        if torch.is_grad_enabled():
            seen.append(loss.item())
            if len(seen) == 2 + 1 + step:  # the warm-up takes two steps
                return loss * bad
        return loss

    monkeypatch.setattr(solo, "loss_of", loss_until)
    outcome = train(run, split_of(mnist, run))
    assert (outcome.status, outcome.stop_reason, outcome.diverged_step) == ("diverged", "diverged", step)
    assert outcome.last_finite_loss == (seen[2 + step - 1] if step else None)
    assert outcome.epochs == step // 2
    assert (outcome.test_accuracy is not None) == (step >= 2)  # the epochs before it have sound weights
    assert outcome.best_test_accuracy == outcome.test_accuracy
    assert outcome.last_test_accuracy is None


@pytest.mark.parametrize("validate_every", [1, 4])
def test_a_run_that_diverges_has_no_last_epoch_to_score(
    mnist: DataSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, validate_every: int
) -> None:
    monkeypatch.setattr(solo, "lr_at", lambda schedule, base_lr, step, pace: 1e-3 if step < 2 else 1e30)
    run = make_run(patience=None, max_epochs=5, validate_every=validate_every)  # two steps per epoch
    run.training.score = "last"
    weights: list[dict[str, Tensor]] = []
    outcome = train(run, split_of(mnist, run), on_weights=weights.append)
    assert (outcome.status, outcome.diverged_step, outcome.epochs) == ("diverged", 3, 1)
    assert outcome.valid_accuracy is outcome.test_accuracy is outcome.test_loss is outcome.last_test_accuracy is None
    assert (outcome.best_test_accuracy is None) == (outcome.best_epoch is None) == (validate_every == 4)
    assert weights == []


def test_without_validation_broken_weights_show_in_the_next_epoch(mnist: DataSet, make_run: MakeRun) -> None:
    """Each epoch has one step. Only the loss of the first step is finite."""
    often, rarely = (make_run(lr=1e30, num_train=32, patience=None, max_epochs=5, validate_every=every) for every in (1, 3))
    first, second = (train(run, split_of(mnist, run)) for run in (often, rarely))
    assert (first.epochs, second.epochs) == (0, 1)
    assert first.diverged_step == second.diverged_step == 1


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_weights_that_break_in_the_last_step_of_an_epoch_are_not_scored(
    mnist: DataSet, make_run: MakeRun, max_epochs: int
) -> None:
    """With one step per epoch, the training loss is finite, but the weights after the step are not."""
    run = make_run(lr=1e30, num_train=32, max_epochs=max_epochs)
    outcome = train(run, split_of(mnist, run))
    assert outcome.status == "diverged"
    assert outcome.best_epoch is outcome.test_accuracy is outcome.test_loss is None


def test_balanced_accuracy_is_the_mean_over_the_classes_that_occur() -> None:
    labels = torch.tensor([0, 0, 0, 0, 2, 2, 3])
    score = score_of(0.5, torch.tensor([3, 0, 1, 0]), labels)
    assert (score.loss, score.accuracy) == (0.5, 4 / 7)
    assert score.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
