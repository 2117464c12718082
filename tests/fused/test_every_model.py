"""Every network with every optimizer and technique, fused against solo, on color images that are not square.

Shapes: K runs, C channels, H × W pixels.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from on_device import DEVICE

from lrsweep.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig
from lrsweep.config.optimizer import _OPTIMIZER_USES
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet, Part
from lrsweep.fused import fusable, scheduler
from lrsweep.fused.active_run import ActiveRun, EpochSeconds
from lrsweep.fused.block import Block
from lrsweep.fused.row_optimizer import RowOptimizer
from lrsweep.records import Outcome, State
from lrsweep.storage.checkpoints import decode, encode
from lrsweep.training import solo
from lrsweep.training.course import Score
from lrsweep.training.optimizers import build_optimizer, layer_groups

NUM_CLASSES, SHAPE = 3, [2, 16, 18]
DATA = DataConfig(
    target="small:images",
    content="0",
    shape=SHAPE,
    num_classes=NUM_CLASSES,
    num_train=20,
    num_valid=20,
    num_test=10,
    name="small",
)


def own(target: str, name: str = "own", **args: Any) -> ModelConfig:
    return ModelConfig(name=name, target=target, source="0", args=args)


MODELS = {"cnn": ModelConfig(), "mlp": own("lrsweep.training.nets.mlp:MLP", width=8), "small": own("small_nets:SmallNet")}
OF_ALL: dict[str, dict[str, Any]] = {
    "none": {},
    "augmentation": {"data": replace(DATA, max_shift=2.0, max_rotation=10.0)},
    "l1": {"loss": LossConfig(l1=1e-2)},
    "l2": {"loss": LossConfig(l2=1e-2)},
    "double_softmax": {"loss": LossConfig(name="double_softmax")},
}
OF_CNN: dict[str, dict[str, Any]] = {
    "dropout": {"model": ModelConfig(dropout=0.5)},
    "batch_norm": {"model": ModelConfig(batch_norm=True)},
    "batch_norm, mean pooling": {"model": ModelConfig(batch_norm=True, pool="mean")},
    **{name: {"model": ModelConfig(activation=name)} for name in ("tanh", "relu", "leaky_relu", "elu")},
    "linear_dense": {"model": ModelConfig(activation="linear")},
    "linear_network": {"model": ModelConfig(activation="linear", conv_activation="linear", pool="mean")},
    **{name: {"model": ModelConfig(init=name)} for name in ("xavier", "he")},
    "many": {
        "model": ModelConfig(activation="elu", dropout=0.3, batch_norm=True, init="he"),
        "data": replace(DATA, max_shift=1.0, max_rotation=20.0),
        "loss": LossConfig(name="double_softmax", l1=1e-3, l2=1e-2),
    },
}
CASES = {f"{model}, {technique}": {"model": MODELS[model]} | fields for model in MODELS for technique, fields in OF_ALL.items()}
CASES |= {f"cnn, {technique}": fields for technique, fields in OF_CNN.items()}


@pytest.fixture(scope="module")
def images() -> DataSet:
    random = torch.Generator().manual_seed(0)

    def draw(num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.randint(256, (num_images, *SHAPE), generator=random, dtype=torch.uint8)
        return pixels.to(DEVICE), torch.randint(NUM_CLASSES, (num_images,), generator=random).to(DEVICE)

    return DataSet(*draw(60), *draw(10), NUM_CLASSES, mean=(0.4, 0.5), std=(0.2, 0.3))


def new_run(seed: int = 0, optimizer: str = "adamw", **fields: Any) -> RunConfig:
    lr = 0.02 / (seed + 1)
    settings = {"data": DATA, "training": TrainingConfig(batch_size=32 if optimizer == "gd" else 8)} | fields
    return RunConfig(seed=seed, optimizer=OptimizerConfig(name=optimizer, lr=lr), **settings)


def solo_epoch(run: RunConfig, images: DataSet) -> tuple[solo.Learner, list[float], Score]:
    """The learner, the losses of the steps and the validation score after an epoch in float64."""
    split = dataset.split(images, run.data, run.seed)
    learner = solo.new_learner(run, DEVICE, split.train.black)
    learner.model.double()
    learner.optimizer = build_optimizer(run.optimizer, layer_groups(run.optimizer, learner.model))
    losses, _ = solo.train_epoch(learner, Part(split.train.images.double(), split.train.labels))
    valid = solo.evaluate(run, learner.model, Part(split.valid.images.double(), split.valid.labels))
    return learner, losses, valid


@pytest.mark.parametrize(
    ("case", "optimizer"),
    [
        *((case, "adamw") for case in CASES),
        *(("cnn, many", name) for name in _OPTIMIZER_USES if name != "adamw"),
        *(("small, none", name) for name in _OPTIMIZER_USES if name != "adamw"),
    ],
)
def test_three_steps_equal_solos(images: DataSet, case: str, optimizer: str) -> None:
    """Batches of 8, 8 and 4 images. Two seeds, the second with half the learning rate, and an empty slot."""
    runs = [new_run(seed, optimizer, **CASES[case]) for seed in (0, 1)]
    assert fusable.reason_not_fusable(runs[0]) is None
    block, active = (
        Block(runs[0], 3, images, torch.float64),
        [ActiveRun(k, run, EpochSeconds(1, 1)) for k, run in enumerate(runs)],
    )
    for k, run in enumerate(runs):
        block.load(k, run)
    result = scheduler._start_epoch(block, active)
    for k, run in enumerate(runs):
        learner, losses, valid = solo_epoch(run, images)
        assert result.losses[k].tolist() == pytest.approx(losses, rel=1e-6)  # solo keeps losses in float32
        assert result.valid_loss[k].item() == pytest.approx(valid.loss, rel=1e-6)
        assert result.valid_correct[k].item() / run.data.num_valid == valid.accuracy
        for name, tensor in learner.model.state_dict().items():
            ours = {**block.weights, **block.buffers}[name][k].detach()
            # Batch norm cancels the bias before it. The gradient of that bias is a rounding error, which Adagrad scales up.
            torch.testing.assert_close(ours, tensor, rtol=1e-6, atol=1e-6)
        assert torch.equal(active[k].random["dropout"].get_state(), learner.random["dropout"].get_state())
        assert torch.equal(active[k].random["augmentation"].get_state(), learner.random["augmentation"].get_state())


# Whole runs.

STATEFUL = ["small, augmentation", "cnn, many"]  # with dropout, batch norm and augmentation


def train(runs: list[RunConfig], images: DataSet, **options: Any) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    seconds = EpochSeconds(1.0, 1.0)
    scheduler.train(
        runs, images, epoch_seconds=seconds, on_outcome=outcomes.__setitem__, dtype=torch.float64, **{"num_slots": 2} | options
    )
    return [outcomes[i] for i in range(len(runs))]


def losses_of(outcome: Outcome) -> list[float | None]:
    epochs = [loss for epoch in outcome.curve for loss in (epoch.train_loss, epoch.valid_loss)]
    return [*epochs, outcome.test_loss, outcome.best_test_accuracy, outcome.last_test_accuracy]


@pytest.mark.parametrize("case", STATEFUL)
def test_slots_are_refilled_and_the_best_weights_keep_their_statistics(images: DataSet, case: str) -> None:
    """Four runs in two slots, which end after 2, 3, 1 and 4 epochs. `test_loss` is that of the best epoch."""
    limits = [TrainingConfig(batch_size=8, max_epochs=epochs) for epochs in (2, 3, 1, 4)]
    runs = [replace(new_run(seed, "sgd", **CASES[case]), training=training) for seed, training in enumerate(limits)]
    outcomes = train(runs, images)
    assert any(outcome.best_epoch not in (None, outcome.epochs) for outcome in outcomes)
    for run, outcome in zip(runs, outcomes, strict=True):
        expected = solo.train(run, dataset.split(images, run.data, run.seed))
        assert losses_of(outcome) == pytest.approx(losses_of(expected), rel=1e-3)  # solo trains in float32
        assert outcome.best_epoch == expected.best_epoch


@pytest.mark.parametrize("case", STATEFUL)
def test_a_run_with_random_draws_and_statistics_continues_from_its_state(images: DataSet, case: str) -> None:
    runs = [replace(new_run(seed, **CASES[case]), training=TrainingConfig(batch_size=8, max_epochs=4)) for seed in (0, 1)]
    states: dict[int, list[State]] = {}

    def on_state(i: int, make_state: Any) -> None:
        states.setdefault(i, []).append(decode(encode(make_state(), {}), {}))

    whole = train(runs, images, on_state=on_state)
    resumed = train(runs[::-1], images, resume_from={0: states[1][1], 1: states[0][0]})
    for outcome, expected in zip(resumed[::-1], whole, strict=True):
        assert losses_of(outcome) == pytest.approx(losses_of(expected), rel=1e-9)


@pytest.mark.parametrize(("case", "is_recorded"), [("cnn, none", True), ("cnn, dropout", False), ("mlp, none", False)])
def test_only_the_documents_network_without_random_draws_is_recorded(
    images: DataSet, monkeypatch: pytest.MonkeyPatch, case: str, is_recorded: bool
) -> None:
    recorded: list[object] = []
    monkeypatch.setattr(RowOptimizer, "can_be_recorded", True)
    monkeypatch.setattr("lrsweep.fused.recording.record", lambda work, warm_up, pool: recorded.append(work) or work)
    Block(new_run(**CASES[case]), 2, images, torch.float64)
    assert (len(recorded) > 0) == is_recorded


# What cannot be fused.


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": ModelConfig(activation="elu", init="he")}, None),
        ({"model": ModelConfig(init_from="weights.pt", new_output=True)}, None),
        ({"training": TrainingConfig(patience=None, score="last", validate_every=5)}, None),
        ({"schedule": ScheduleConfig(name="grow_batch")}, "schedule=grow_batch cannot be fused"),
        ({"training": TrainingConfig(precision="bf16")}, "training.precision=bf16 cannot be fused"),
        ({"data": DataConfig(max_shift=1.0)}, None),
        ({"model": ModelConfig(dropout=0.5, batch_norm=True)}, None),
    ],
)
def test_a_run_that_cannot_be_fused_has_a_reason(settings: dict[str, Any], reason: str | None) -> None:
    assert fusable.reason_not_fusable(RunConfig(**settings)) == reason


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ("Plain", None),
        ("NormOfFeatures", None),
        ("Noisy", "it draws random numbers, and not only for dropout"),
        ("Looking", "what it does depends on the values of tensors"),
        ("Item", "what it does depends on the values of tensors"),
        ("Hidden", "its losses are not those of solo runs; its output must depend on its parameters, buffers and input only"),
        ("Unused", "some of its parameters have no effect; freeze them (requires_grad=False)"),
        ("Double", "its parameters must be float32"),
    ],
)
def test_an_own_network_is_tried(network: str, problem: str | None) -> None:
    run = new_run(model=own(f"small_nets:{network}"))
    assert fusable.reason_not_fusable(run) == (problem and f"model=own cannot be fused: {problem}")


def test_a_batch_of_one_image_is_tried_if_the_epoch_ends_with_one() -> None:
    run = new_run(model=own("small_nets:NormOfFeatures"), data=replace(DATA, num_train=17))
    reason = fusable.reason_not_fusable(run)
    assert reason is not None
    assert "Expected more than 1 value per channel" in reason


def test_a_network_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusable, "_tried", {})
    tried: list[RunConfig] = []
    monkeypatch.setattr(fusable, "_problem", lambda run: tried.append(run))
    for seed in range(3):
        assert fusable.reason_not_fusable(new_run(seed, model=MODELS["mlp"])) is None
    fusable.reason_not_fusable(new_run(model=own("lrsweep.training.nets.mlp:MLP", width=9)))
    assert len(tried) == 2
