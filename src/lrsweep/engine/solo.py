"""One run, legible: the reference that every faster engine is held to.

Shapes: B batch, C classes, H × W pixels.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lrsweep.config import LossConfig, RunConfig
from lrsweep.data import Part, Split, augment, batch_order, generator
from lrsweep.engine.clock import Clock
from lrsweep.engine.early_stopping import EarlyStopping
from lrsweep.model import initial_model, loss_of, penalised, penalty
from lrsweep.optim import build_optimizer, layer_groups, set_lr
from lrsweep.records import EpochRecord, Outcome, Status, StopReason
from lrsweep.schedule import Pace, PlateauState, batch_size_at, lr_at, pace_of

# Small enough that a batch's activations stay in a core's cache: half the time of batches of 500 on a CPU.
_CPU_EVAL_BATCH = 64
_GPU_EVAL_BATCH = 2_500


@dataclass(frozen=True)
class Score:
    loss: float
    accuracy: float


@dataclass
class Learner:
    """What training changes: the model, its optimizer, the sources of chance, and how far it has come."""

    run: RunConfig
    model: nn.Module
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    augmentation: torch.Generator
    pace: Pace
    plateau: PlateauState = field(default_factory=PlateauState)
    num_epochs: int = 0
    num_steps: int = 0


def new_learner(run: RunConfig, device: torch.device) -> Learner:
    model = initial_model(run.model, run.seed, device)
    optimizer = build_optimizer(run.optimizer, layer_groups(run.optimizer, model))
    return Learner(run, model, optimizer, generator(run.seed, "order"), generator(run.seed, "augmentation"), pace_of(run))


def train(
    run: RunConfig,
    split: Split,
    on_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
    *,
    on_best: Callable[[dict[str, Tensor]], None] = lambda weights: None,
) -> Outcome:
    """Train until early stopping, `max_epochs` or a loss that is not finite; then score the test set once.

    `on_best` is handed the best epoch's weights, if any, at the end.
    """
    device = split.train.images.device
    _warm_up(run, split)
    learner = new_learner(run, device)
    clock = Clock(device)
    stopping = EarlyStopping(patience=run.training.patience)
    best_weights: dict[str, Tensor] | None = None
    curve: list[EpochRecord] = []
    losses: list[float] = []  # of every step

    status: Status = "ok"
    stop_reason: StopReason = "max_epochs"
    while len(curve) < run.training.max_epochs:
        before = clock.wall_seconds
        with clock:
            epoch_losses, trained = train_epoch(learner, split.train)
            losses += epoch_losses
            valid = evaluate(run, learner.model, split.valid)
            if not all(map(math.isfinite, [*epoch_losses, valid.loss])):  # the last step's harm shows in validation only
                status = stop_reason = "diverged"
                break
            learner.plateau = learner.plateau.after(run.schedule, run.optimizer.lr, valid.loss)
            stopping = stopping.after(valid.accuracy)
            if stopping.is_record:
                best_weights = copy.deepcopy(learner.model.state_dict())
        curve.append(
            EpochRecord(
                epoch=stopping.epoch,
                train_loss=trained.loss,
                train_accuracy=trained.accuracy,
                valid_loss=valid.loss,
                valid_accuracy=valid.accuracy,
                seconds=clock.wall_seconds - before,
            )
        )
        on_epoch(curve[-1])
        if stopping.is_over:
            stop_reason = "patience"
            break

    test = None
    if best_weights is not None:
        learner.model.load_state_dict(best_weights)
        test = evaluate(run, learner.model, split.test)
        on_best(best_weights)
    num_finite = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return Outcome(
        status=status,
        stop_reason=stop_reason,
        curve=tuple(curve),
        best_epoch=stopping.best_epoch or None,
        valid_accuracy=stopping.best_accuracy if stopping.best_epoch else None,
        test_accuracy=test.accuracy if test else None,
        test_loss=test.loss if test else None,
        wall_seconds=clock.wall_seconds,
        cpu_seconds=clock.cpu_seconds,
        diverged_step=num_finite if status == "diverged" else None,
        last_finite_loss=losses[num_finite - 1] if num_finite else None,
    )


def train_epoch(learner: Learner, train: Part) -> tuple[list[float], Score]:
    """One pass over the training images: the loss of every step, and their means over the images."""
    run, device = learner.run, train.images.device
    batch_size = batch_size_at(run.schedule, run.training.batch_size, learner.num_epochs)
    batches = [indices.to(device) for indices in batch_order(len(train), batch_size, learner.order)]
    losses = torch.empty(len(batches), device=device)  # read once an epoch: a GPU need not wait for each step
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    for i, indices in enumerate(batches):
        lr = lr_at(run.schedule, run.optimizer.lr, learner.num_steps, learner.pace) * learner.plateau.share
        losses[i], logits_BC = train_step(learner, train.images[indices], train.labels[indices], lr)
        num_correct += (logits_BC.argmax(dim=1) == train.labels[indices]).sum()
    learner.num_epochs += 1
    sizes = torch.tensor([len(indices) for indices in batches], device=device)
    mean_loss = (losses.double() @ sizes.double() / len(train)).item()
    return losses.tolist(), Score(loss=mean_loss, accuracy=num_correct.item() / len(train))


def train_step(learner: Learner, images_BCHW: Tensor, labels_B: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """The batch's loss and logits, before the step."""
    run, model = learner.run, learner.model
    set_lr(learner.optimizer, lr)
    learner.optimizer.zero_grad()
    model.train()
    with _precision(run, images_BCHW.device):
        logits_BC = model(augment(run.data, images_BCHW, learner.augmentation))
        loss = loss_of(run.loss, logits_BC, labels_B)
    _with_penalty(run.loss, loss, model).backward()
    learner.optimizer.step()
    learner.num_steps += 1
    return loss.detach(), logits_BC.detach()


def _with_penalty(config: LossConfig, loss: Tensor, model: nn.Module) -> Tensor:
    """What is minimised. What is recorded is the loss without it."""
    return loss + penalty(config, penalised(model)) if config.l1 or config.l2 else loss


def _precision(run: RunConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=run.training.precision == "bf16")


@torch.inference_mode()
def evaluate(run: RunConfig, model: nn.Module, part: Part) -> Score:
    device = part.images.device
    size = _eval_batch(device)
    total_loss = torch.zeros((), dtype=torch.float64, device=device)
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    model.eval()
    with _precision(run, device):
        for images_BCHW, labels_B in zip(part.images.split(size), part.labels.split(size), strict=True):
            logits_BC = model(images_BCHW)
            total_loss += loss_of(run.loss, logits_BC, labels_B) * len(labels_B)
            num_correct += (logits_BC.argmax(dim=1) == labels_B).sum()
    return Score(loss=total_loss.item() / len(part), accuracy=num_correct.item() / len(part))


def _warm_up(run: RunConfig, split: Split) -> None:
    """Steps and scores a throwaway model, so that the clock counts no kernel selection or first allocation.

    One full batch and the short last one each: a new batch size makes PyTorch choose anew.
    """
    learner = new_learner(run, split.train.images.device)
    train_epoch(learner, _full_and_last(split.train, run.training.batch_size))
    evaluate(run, learner.model, _full_and_last(split.valid, _eval_batch(split.train.images.device)))


def _full_and_last(part: Part, batch_size: int) -> Part:
    num_images = batch_size + len(part) % batch_size
    return Part(part.images[:num_images], part.labels[:num_images])


def _eval_batch(device: torch.device) -> int:
    return _CPU_EVAL_BATCH if device.type == "cpu" else _GPU_EVAL_BATCH
