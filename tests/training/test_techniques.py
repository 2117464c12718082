"""Every method that a setting switches on, in the solo engine: that it acts, and as it should."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lrsweep.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import Mnist, Part, Split, batch_order
from lrsweep.fused import scheduler
from lrsweep.records import Outcome
from lrsweep.training import solo
from lrsweep.training.schedules import lr_at, pace_of
from lrsweep.training.solo import Learner, evaluate, new_learner, train, train_epoch
from lrsweep.training.weights import weights_file

MakeRun = Callable[..., RunConfig]
CPU = torch.device("cpu")
SIZES = {"num_train": 80, "num_valid": 50, "num_test": 50}

TECHNIQUES: dict[str, dict[str, Any]] = {
    "dropout": {"model": ModelConfig(dropout=0.5)},
    "batch_norm": {"model": ModelConfig(batch_norm=True)},
    "relu": {"model": ModelConfig(activation="relu")},
    "he": {"model": ModelConfig(init="he")},
    "l1": {"loss": LossConfig(l1=1e-2)},
    "l2": {"loss": LossConfig(l2=1e-1)},
    "augmentation": {"data": DataConfig(**SIZES, max_shift=2.0, max_rotation=10.0)},
    "bf16": {"training": TrainingConfig(max_epochs=2, precision="bf16")},
    "grow_batch": {"schedule": ScheduleConfig(name="grow_batch", every=1.0, factor=0.5)},
    "falling": {"optimizer": OptimizerConfig(layerwise="falling")},
}


@pytest.fixture
def run(make_run: MakeRun) -> RunConfig:
    return make_run(**SIZES, max_epochs=2, lr=0.003)


def split_of(mnist: Mnist, run: RunConfig) -> Split:
    return dataset.split(mnist, run.data, run.seed)


def losses(outcome: Outcome) -> list[float]:
    return [loss for epoch in outcome.curve for loss in (epoch.train_loss, epoch.valid_loss)]


@pytest.mark.slow
@pytest.mark.parametrize("settings", TECHNIQUES.values(), ids=TECHNIQUES)
def test_a_method_acts_repeats_and_leaves_the_global_generator_alone(
    mnist: Mnist, run: RunConfig, settings: dict[str, Any]
) -> None:
    changed = replace(run, **settings)
    plain = train(run, split_of(mnist, run))
    before = torch.get_rng_state()
    first, second = (train(changed, split_of(mnist, changed)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert losses(first) == losses(second)
    assert losses(first) != losses(plain)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate of every step."""
    seen: list[float] = []
    set_lr = solo.set_lr

    def spy(optimizer: torch.optim.Optimizer, lr: float) -> None:
        seen.append(lr)
        set_lr(optimizer, lr)

    monkeypatch.setattr(solo, "_warm_up", lambda run, split: None)
    monkeypatch.setattr(solo, "set_lr", spy)
    return seen


def test_a_run_follows_its_schedule_step_by_step(mnist: Mnist, run: RunConfig, rates: list[float]) -> None:
    run = replace(run, schedule=ScheduleConfig(name="cosine", warmup=0.5, length=2.0))
    train(run, split_of(mnist, run))
    assert rates == [lr_at(run.schedule, 0.003, step, pace_of(run)) for step in range(6)]
    assert rates[0] < rates[2] > rates[-1] == 0.0


def test_plateau_lowers_the_rate_of_the_epochs_that_follow(
    mnist: Mnist, run: RunConfig, rates: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(run, schedule=ScheduleConfig(name="plateau", patience=1), training=TrainingConfig(max_epochs=5))
    valid_losses = iter([1.0, 2.0, 0.9, 0.95, 0.92, 0.0])
    monkeypatch.setattr(solo, "evaluate", lambda *args: solo.Score(loss=next(valid_losses), accuracy=0.5))
    train(run, split_of(mnist, run))
    of_epochs = [0.003, 0.003, 0.003, 0.003, 0.003]  # two bad epochs in a row end with the fifth
    assert rates == [lr for lr in of_epochs for _ in range(3)]
    rates.clear()
    valid_losses = iter([1.0, 2.0, 3.0, 0.5, 0.4, 0.0])
    train(run, split_of(mnist, run))
    assert rates == pytest.approx([0.003] * 9 + [0.0003] * 6)


def test_a_growing_batch_takes_fewer_steps(mnist: Mnist, run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(num_images: int, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
        sizes.append(batch_size)
        return batch_order(num_images, batch_size, order)

    monkeypatch.setattr(solo, "batch_order", spy)
    monkeypatch.setattr(solo, "_warm_up", lambda run, split: None)
    schedule = ScheduleConfig(name="grow_batch", every=1.0, factor=0.5, max_batch_size=100)
    train(replace(run, schedule=schedule, training=TrainingConfig(max_epochs=4)), split_of(mnist, run))
    assert sizes == [32, 64, 100, 100]


def test_gradient_descent_takes_one_step_an_epoch(mnist: Mnist, run: RunConfig, rates: list[float]) -> None:
    run = replace(run, optimizer=OptimizerConfig(name="gd", lr=0.1))
    train(run, split_of(mnist, run))
    assert rates == [0.1, 0.1]


@pytest.mark.parametrize("name", ["sgd", "nesterov"])
def test_an_l2_penalty_is_sgds_weight_decay_of_all_but_biases(mnist: Mnist, run: RunConfig, name: str) -> None:
    """Goodfellow, Bengio and Courville, 7.1.1: under gradient descent the two are one."""
    train_part = _double(split_of(mnist, run).train)
    penalised = replace(run, optimizer=OptimizerConfig(name=name, lr=0.1), loss=LossConfig(l2=0.05))
    ours = _in_double(penalised)
    decayed = replace(penalised, loss=LossConfig())
    theirs = _in_double(decayed)
    weights = [p for p in theirs.model.parameters() if p.dim() > 1]
    biases = [p for p in theirs.model.parameters() if p.dim() == 1]
    momentum = {"momentum": 0.9, "nesterov": True} if name == "nesterov" else {}
    theirs.optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 0.05}, {"params": biases}], lr=0.1, **momentum)
    for learner in (ours, theirs):
        train_epoch(learner, train_part)
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_what_is_recorded_is_the_loss_without_the_penalty(mnist: Mnist, run: RunConfig) -> None:
    still = replace(run, optimizer=OptimizerConfig(name="sgd", lr=1e-30))
    plain, penalised = (train(r, split_of(mnist, r)) for r in (still, replace(still, loss=LossConfig(l1=1.0, l2=1.0))))
    assert losses(plain) == losses(penalised)


def test_dropout_acts_in_training_and_not_in_scoring(mnist: Mnist, run: RunConfig) -> None:
    run = replace(run, model=ModelConfig(dropout=0.5))
    split, learner = split_of(mnist, run), new_learner(run, CPU)
    scores = [evaluate(run, learner.model, split.valid) for _ in range(2)]
    assert scores[0] == scores[1]
    plain = evaluate(run, new_learner(replace(run, model=ModelConfig()), CPU).model, split.valid)
    assert scores[0] == plain  # the weights are those of the run without dropout


def test_mixed_precision_keeps_the_weights_whole_and_the_losses_close(mnist: Mnist, run: RunConfig) -> None:
    mixed = replace(run, training=TrainingConfig(max_epochs=2, precision="bf16"))
    learner = new_learner(mixed, CPU)
    step_losses, _ = train_epoch(learner, split_of(mnist, run).train)
    plain_losses, _ = train_epoch(new_learner(run, CPU), split_of(mnist, run).train)
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
    assert step_losses == pytest.approx(plain_losses, rel=0.02)  # bfloat16 has 8 bits
    assert step_losses != plain_losses


def test_without_patience_the_budget_is_spent(mnist: Mnist, run: RunConfig) -> None:
    run = replace(run, optimizer=OptimizerConfig(lr=1e-30), training=TrainingConfig(patience=None, max_epochs=9))
    outcome = train(run, split_of(mnist, run))
    assert (outcome.stop_reason, outcome.epochs, outcome.best_epoch) == ("max_epochs", 9, 1)


# Weights that come and go.


def test_a_run_hands_out_its_best_weights_and_another_starts_from_them(mnist: Mnist, run: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "seed-0.pt"
    split = split_of(mnist, run)
    outcome = train(run, split, on_best=lambda weights: path.write_bytes(weights_file(weights, "")))
    again = replace(run, model=ModelConfig(init_from=str(tmp_path / "seed-{seed}.pt")))
    score = evaluate(again, new_learner(again, CPU).model, split.test)
    assert (score.loss, score.accuracy) == (outcome.test_loss, outcome.test_accuracy)


def test_a_run_that_is_lost_at_once_hands_out_nothing(mnist: Mnist, run: RunConfig) -> None:
    handed: list[dict[str, Tensor]] = []
    train(replace(run, optimizer=OptimizerConfig(lr=1e30)), split_of(mnist, run), on_best=handed.append)
    assert handed == []


def test_the_fused_engine_starts_from_given_weights_too(mnist: Mnist, run: RunConfig, tmp_path: Path) -> None:
    split = split_of(mnist, run)
    train(run, split, on_best=lambda weights: (tmp_path / "weights.pt").write_bytes(weights_file(weights, "")))
    again = replace(run, model=ModelConfig(init_from=str(tmp_path / "weights.pt")))
    outcomes: list[Outcome] = []
    scheduler.train([again], mnist, num_slots=1, epoch_seconds=1.0, on_outcome=lambda i, outcome: outcomes.append(outcome))
    assert losses(outcomes[0]) == pytest.approx(losses(train(again, split)), rel=1e-3)
    assert losses(outcomes[0]) != pytest.approx(losses(train(run, split)), rel=1e-2)


def _double(part: Part) -> Part:
    return Part(part.images.double(), part.labels)


def _in_double(run: RunConfig) -> Learner:
    """SGD's state is made by its first step, so it is in float64 as well."""
    learner = new_learner(run, CPU)
    learner.model.double()
    return learner
