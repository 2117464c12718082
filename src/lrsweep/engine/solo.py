"""One run, legible: the reference that every faster engine is held to.

Shapes: B batch, C classes, H × W pixels.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrsweep.config import LossConfig, RunConfig
from lrsweep.data import Part, Split, batch_order, generator
from lrsweep.engine.clock import Clock
from lrsweep.engine.early_stopping import EarlyStopping
from lrsweep.model import build_model, loss_of
from lrsweep.optim import build_optimizer, set_lr
from lrsweep.records import EpochRecord, Outcome, Status, StopReason
from lrsweep.schedule import lr_at

# Small enough that a batch's activations stay in a core's cache: half the time of batches of 500 on a CPU.
_CPU_EVAL_BATCH = 64
_GPU_EVAL_BATCH = 2_500


@dataclass(frozen=True)
class Score:
    loss: float
    accuracy: float


def train(run: RunConfig, split: Split, on_epoch: Callable[[EpochRecord], None] = lambda epoch: None) -> Outcome:
    """Train until early stopping, `max_epochs` or a loss that is not finite; then score the test set once."""
    device = split.train.images.device
    _warm_up(run, split)
    model = build_model(run.model, generator(run.seed, "weights"), device)
    optimizer = build_optimizer(run.optimizer, model.parameters())
    order = generator(run.seed, "order")
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
            epoch_losses, trained = train_epoch(run, model, optimizer, split.train, order, first_step=len(losses))
            losses += epoch_losses
            valid = evaluate(run.loss, model, split.valid)
            if not all(map(math.isfinite, [*epoch_losses, valid.loss])):  # the last step's harm shows in validation only
                status = stop_reason = "diverged"
                break
            stopping = stopping.after(valid.accuracy)
            if stopping.is_record:
                best_weights = copy.deepcopy(model.state_dict())
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
        model.load_state_dict(best_weights)
        test = evaluate(run.loss, model, split.test)
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


def train_epoch(
    run: RunConfig, model: nn.Module, optimizer: torch.optim.Optimizer, train: Part, order: torch.Generator, first_step: int
) -> tuple[list[float], Score]:
    """One pass over the training images: the loss of every step, and their means over the images."""
    device = train.images.device
    batches = [indices.to(device) for indices in batch_order(len(train), run.training.batch_size, order)]
    losses = torch.empty(len(batches), device=device)  # read once an epoch: a GPU need not wait for each step
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    for i, indices in enumerate(batches):
        images_BCHW, labels_B = train.images[indices], train.labels[indices]
        set_lr(optimizer, lr_at(run.schedule, run.optimizer.lr, first_step + i))
        optimizer.zero_grad()
        logits_BC = model(images_BCHW)
        loss = loss_of(run.loss, logits_BC, labels_B)
        loss.backward()
        optimizer.step()
        losses[i] = loss.detach()
        num_correct += (logits_BC.detach().argmax(dim=1) == labels_B).sum()
    sizes = torch.tensor([len(indices) for indices in batches], device=device)
    mean_loss = (losses.double() @ sizes.double() / len(train)).item()
    return losses.tolist(), Score(loss=mean_loss, accuracy=num_correct.item() / len(train))


@torch.inference_mode()
def evaluate(loss: LossConfig, model: nn.Module, part: Part) -> Score:
    device = part.images.device
    size = _eval_batch(device)
    total_loss = torch.zeros((), dtype=torch.float64, device=device)
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    for images_BCHW, labels_B in zip(part.images.split(size), part.labels.split(size), strict=True):
        logits_BC = model(images_BCHW)
        total_loss += loss_of(loss, logits_BC, labels_B) * len(labels_B)
        num_correct += (logits_BC.argmax(dim=1) == labels_B).sum()
    return Score(loss=total_loss.item() / len(part), accuracy=num_correct.item() / len(part))


def _warm_up(run: RunConfig, split: Split) -> None:
    """Steps and scores a throwaway model, so that the clock counts no kernel selection or first allocation.

    One full batch and the short last one each: a new batch size makes PyTorch choose anew.
    """
    device = split.train.images.device
    model = build_model(run.model, torch.Generator(), device)
    optimizer = build_optimizer(run.optimizer, model.parameters())
    train_epoch(run, model, optimizer, _full_and_last(split.train, run.training.batch_size), torch.Generator(), first_step=0)
    evaluate(run.loss, model, _full_and_last(split.valid, _eval_batch(device)))


def _full_and_last(part: Part, batch_size: int) -> Part:
    num_images = batch_size + len(part) % batch_size
    return Part(part.images[:num_images], part.labels[:num_images])


def _eval_batch(device: torch.device) -> int:
    return _CPU_EVAL_BATCH if device.type == "cpu" else _GPU_EVAL_BATCH
