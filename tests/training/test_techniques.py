"""The optional techniques, tried in the solo engine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lrsweep.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet, Part, Split, batch_order
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.fused.block import Block
from lrsweep.records import Outcome
from lrsweep.training import solo
from lrsweep.training.course import Score
from lrsweep.training.schedules import lr_at, pace_of
from lrsweep.training.solo import evaluate, new_learner, train, train_epoch
from lrsweep.training.weights import weights_file

MakeRun = Callable[..., RunConfig]
CPU = torch.device("cpu")
SIZES = {"num_train": 72, "num_valid": 30, "num_test": 30}  # batches of 32, 32 and 8 images


@pytest.fixture
def run(make_run: MakeRun) -> RunConfig:
    return make_run(**SIZES, max_epochs=2, lr=0.003)


@pytest.fixture
def split(mnist: DataSet, run: RunConfig) -> Split:
    return dataset.split(mnist, run.data, run.seed)


def losses(outcome: Outcome) -> list[float]:
    return [loss for epoch in outcome.curve for loss in (epoch.train_loss, epoch.valid_loss)]


TECHNIQUES: dict[str, dict[str, Any]] = {
    "dropout": {"model": ModelConfig(dropout=0.5)},
    "batch_norm": {"model": ModelConfig(batch_norm=True)},
    "relu": {"model": ModelConfig(activation="relu")},
    "linear dense layer": {"model": ModelConfig(activation="linear")},
    "linear convolutions": {"model": ModelConfig(conv_activation="linear")},
    "mean pooling": {"model": ModelConfig(pool="mean")},
    "he": {"model": ModelConfig(init="he")},
    "l1": {"loss": LossConfig(l1=1e-2)},
    "l2": {"loss": LossConfig(l2=1e-1)},
    "augmentation": {"data": DataConfig(**SIZES, max_shift=2.0, max_rotation=10.0)},
    "bf16": {"training": TrainingConfig(max_epochs=1, precision="bf16")},
    "grow_batch": {
        "schedule": ScheduleConfig(name="grow_batch", every=1.0, factor=0.5),
        "training": TrainingConfig(max_epochs=2),  # the batch grows after the first epoch
    },
    "falling": {"optimizer": OptimizerConfig(lr=0.003, layerwise="falling")},
}


@pytest.mark.slow
def test_every_technique_has_an_effect_repeats_and_leaves_the_global_generator_alone(split: Split, run: RunConfig) -> None:
    plain = losses(train(run, split))
    for name, settings in TECHNIQUES.items():
        changed = replace(run, **{"training": TrainingConfig(max_epochs=1)} | settings)
        before = torch.get_rng_state()
        first, second = (losses(train(changed, split)) for _ in range(2))
        assert torch.equal(torch.get_rng_state(), before), name
        assert first == second, name
        assert first != plain[: len(first)], name


# Schedules and optimizers.


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step."""
    recorded: list[float] = []
    set_lr = solo.set_lr

    def spy(optimizer: torch.optim.Optimizer, lr: float) -> None:
        recorded.append(lr)
        set_lr(optimizer, lr)

    monkeypatch.setattr(solo, "_warm_up", lambda run, split: None)
    monkeypatch.setattr(solo, "set_lr", spy)
    return recorded


def test_a_run_follows_its_schedule_step_by_step(split: Split, run: RunConfig, rates: list[float]) -> None:
    run = replace(run, schedule=ScheduleConfig(name="cosine", warmup=0.5, length=2.0))
    train(run, split)
    assert rates == [lr_at(run.schedule, 0.003, step, pace_of(run)) for step in range(6)]
    assert rates[0] < rates[2] > rates[-1] == 0.0


@pytest.mark.parametrize(
    ("valid_losses", "expected"),
    [([1.0, 2.0, 0.9, 0.95, 0.92], [0.003] * 15), ([1.0, 2.0, 3.0, 0.5, 0.4], [0.003] * 9 + [0.0003] * 6)],
    ids=["second bad epoch in a row is the last", "second bad epoch in a row is the third"],
)
def test_plateau_lowers_the_rate_of_the_following_epochs(
    split: Split,
    run: RunConfig,
    rates: list[float],
    monkeypatch: pytest.MonkeyPatch,
    valid_losses: list[float],
    expected: list[float],
) -> None:
    run = replace(run, schedule=ScheduleConfig(name="plateau", patience=1), training=TrainingConfig(max_epochs=5))
    scores = iter([*valid_losses, 0.0, 0.0])  # the last two are for the test set
    monkeypatch.setattr(solo, "evaluate", lambda *args: Score(loss=next(scores), accuracy=0.5))
    train(run, split)
    assert rates == pytest.approx(expected)


def test_grow_batch_grows_the_batch_size(split: Split, run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(num_images: int, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
        sizes.append(batch_size)
        return batch_order(num_images, batch_size, order)

    monkeypatch.setattr(solo, "batch_order", spy)
    monkeypatch.setattr(solo, "_warm_up", lambda run, split: None)
    schedule = ScheduleConfig(name="grow_batch", every=1.0, factor=0.5, max_batch_size=100)
    train(replace(run, schedule=schedule, training=TrainingConfig(max_epochs=4)), split)
    assert sizes == [32, 64, 100, 100]


def test_gradient_descent_takes_one_step_per_epoch(split: Split, run: RunConfig, rates: list[float]) -> None:
    train(replace(run, optimizer=OptimizerConfig(name="gd", lr=0.1)), split)
    assert rates == [0.1, 0.1]


def test_without_patience_a_run_trains_for_max_epochs(split: Split, run: RunConfig) -> None:
    run = replace(run, optimizer=OptimizerConfig(lr=1e-30), training=TrainingConfig(patience=None, max_epochs=9))
    outcome = train(run, split)
    assert (outcome.stop_reason, outcome.epochs, outcome.best_epoch) == ("max_epochs", 9, 1)


# Regularisers and precision.


@pytest.mark.parametrize("name", ["sgd", "nesterov"])
def test_under_sgd_an_l2_penalty_equals_weight_decay_on_all_but_biases(split: Split, run: RunConfig, name: str) -> None:
    """Goodfellow, Bengio and Courville, 7.1.1."""
    run = replace(run, optimizer=OptimizerConfig(name=name, lr=0.1))
    penalised, decayed = new_learner(replace(run, loss=LossConfig(l2=0.05)), CPU), new_learner(run, CPU)
    weights = [p for p in decayed.model.parameters() if p.dim() > 1]
    biases = [p for p in decayed.model.parameters() if p.dim() == 1]
    momentum = {"momentum": 0.9, "nesterov": True} if name == "nesterov" else {}
    decayed.optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 0.05}, {"params": biases}], lr=0.1, **momentum)
    for learner in (penalised, decayed):
        learner.model.double()
        train_epoch(learner, Part(split.train.images.double(), split.train.labels))
    for actual, expected in zip(penalised.model.parameters(), decayed.model.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_recorded_losses_are_without_the_penalty(split: Split, run: RunConfig) -> None:
    frozen = replace(run, optimizer=OptimizerConfig(name="sgd", lr=1e-30))
    plain, penalised = (train(r, split) for r in (frozen, replace(frozen, loss=LossConfig(l1=1.0, l2=1.0))))
    assert losses(plain) == losses(penalised)


def test_dropout_is_off_while_scoring(split: Split, run: RunConfig) -> None:
    dropout = replace(run, model=ModelConfig(dropout=0.5))
    assert evaluate(dropout, new_learner(dropout, CPU).model, split.valid) == evaluate(
        run, new_learner(run, CPU).model, split.valid
    )


def test_mixed_precision_keeps_float32_weights_and_similar_losses(split: Split, run: RunConfig) -> None:
    learner = new_learner(replace(run, training=TrainingConfig(precision="bf16")), CPU)
    mixed_losses, _ = train_epoch(learner, split.train)
    plain_losses, _ = train_epoch(new_learner(run, CPU), split.train)
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
    assert mixed_losses == pytest.approx(plain_losses, rel=0.02)  # bfloat16 has 8 significant bits
    assert mixed_losses != plain_losses


# Weights from a file.


def test_both_engines_start_from_the_best_weights_of_another_run(
    mnist: DataSet, split: Split, run: RunConfig, tmp_path: Path
) -> None:
    path = tmp_path / "seed-0.pt"
    first = train(run, split, on_weights=lambda weights: path.write_bytes(weights_file(weights, "")))
    finetuned = replace(run, model=ModelConfig(init_from=str(tmp_path / "seed-{seed}.pt")))
    score = evaluate(finetuned, new_learner(finetuned, CPU).model, split.test)
    assert (score.loss, score.accuracy) == (first.test_loss, first.test_accuracy)
    fused: list[Outcome] = []
    scheduler.train(
        [finetuned], mnist, num_slots=1, epoch_seconds=EpochSeconds(1.0, 1.0), on_outcome=lambda i, outcome: fused.append(outcome)
    )
    assert losses(fused[0]) == pytest.approx(losses(train(finetuned, split)), rel=1e-3)
    assert losses(fused[0]) != pytest.approx(losses(first), rel=1e-2)


def test_a_new_output_layer_starts_from_the_seed_and_the_others_from_the_file(
    mnist: DataSet, split: Split, run: RunConfig, tmp_path: Path
) -> None:
    path = tmp_path / "seed-0.pt"
    weights: list[dict[str, Tensor]] = []
    train(run, split, on_weights=weights.append)
    path.write_bytes(weights_file(weights[0], ""))
    finetuned = replace(run, model=ModelConfig(init_from=str(path), new_output=True))
    fresh = new_learner(run, CPU).model.state_dict()
    for name, weight in new_learner(finetuned, CPU).model.state_dict().items():
        assert torch.equal(weight, fresh[name] if name.startswith("output.") else weights[0][name]), name
    block = Block(finetuned, 1, mnist, torch.float32)
    block.load(0, finetuned)
    for name, weight in new_learner(finetuned, CPU).model.state_dict().items():
        assert torch.equal(block.weights[name][0], weight), name


@pytest.mark.parametrize(("init", "learns"), [("pytorch", True), ("zero", False), ("large", False)])
@pytest.mark.slow
def test_zero_and_large_initial_weights_fail_to_learn(mnist: DataSet, make_run: MakeRun, init: str, learns: bool) -> None:
    run = make_run(num_train=600, num_valid=300, num_test=300, patience=None, max_epochs=5, lr=0.003)
    run = replace(run, model=ModelConfig(init=init))
    outcome = train(run, dataset.split(mnist, run.data, run.seed))
    assert outcome.valid_accuracy is not None
    assert (outcome.valid_accuracy > 0.8) == learns
    assert (outcome.valid_accuracy < 0.3) == (not learns)


def test_a_run_that_diverges_at_once_has_no_best_weights(split: Split, run: RunConfig) -> None:
    received: list[dict[str, Tensor]] = []
    train(replace(run, optimizer=OptimizerConfig(lr=1e30)), split, on_weights=received.append)
    assert received == []
