"""One training run in plain code: the reference that the fused engine is tested against.

Shapes: B batch, C classes, H × W pixels.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lrsweep.config import LossConfig, RunConfig
from lrsweep.data.augmentation import augment
from lrsweep.data.dataset import Part, Split, batch_order
from lrsweep.data.seeding import generator, training_generators
from lrsweep.records import EpochRecord, Outcome, State
from lrsweep.training.clock import Clock
from lrsweep.training.course import Course, Score
from lrsweep.training.dropout import DropoutMasks, draw_mask
from lrsweep.training.losses import loss_of, penalised_weights, penalty
from lrsweep.training.models import initial_model
from lrsweep.training.optimizers import build_optimizer, layer_groups, set_lr
from lrsweep.training.schedules import Pace, batch_size_at, lr_at, pace_of

# With 256, conv1's output takes 25 MB. glibc mmaps buffers over 32 MiB on every allocation, which is 1.5× slower.
# With 64, scoring is 1.1× slower.
_CPU_EVAL_BATCH = 256
_GPU_EVAL_BATCH = 2_500


@dataclass
class Learner:
    """Everything that a training step changes: the model, the optimizer, the random generators and the counters."""

    run: RunConfig
    model: nn.Module
    optimizer: torch.optim.Optimizer
    random: dict[str, torch.Generator]  # by purpose
    pace: Pace
    black: Sequence[float]  # see Part.black
    num_epochs: int = 0
    num_steps: int = 0


def new_learner(run: RunConfig, device: torch.device, black: Sequence[float] = (-1.0,)) -> Learner:
    model = initial_model(run.model, run.seed, device, run.data)
    return Learner(
        run=run,
        model=model,
        optimizer=build_optimizer(run.optimizer, layer_groups(run.optimizer, model)),
        random=training_generators(run.seed),
        pace=pace_of(run),
        black=black,
    )


@dataclass
class _Progress:
    """A run in progress: everything that its remaining epochs and its outcome depend on."""

    learner: Learner
    clock: Clock
    course: Course
    best_weights: dict[str, Tensor] | None = None

    def state(self) -> State:
        """Everything that `load_state` needs. The tensors are not copies: write or copy them before the run continues."""
        learner = self.learner
        return {
            "model": learner.model.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "generators": {purpose: random.get_state() for purpose, random in learner.random.items()},
            "num_epochs": learner.num_epochs,
            "num_steps": learner.num_steps,
            "cpu_seconds": self.clock.cpu_seconds,
            **self.course.state(),
        }

    def load_state(self, state: State) -> None:
        """Continue from the `state()` of a run with the same settings. Its tensors may be on any device."""
        learner = self.learner
        learner.model.load_state_dict(state["model"])
        learner.optimizer.load_state_dict(state["optimizer"])
        for purpose, random in learner.random.items():
            random.set_state(state["generators"][purpose])
        learner.num_epochs, learner.num_steps = state["num_epochs"], state["num_steps"]
        self.best_weights = state["best_weights"]
        self.clock.cpu_seconds = state["cpu_seconds"]
        self.course.load_state(state)


class _Scored(NamedTuple):
    """An epoch that is scored on the test set."""

    weights: dict[str, Tensor]
    test: Score


def train(
    run: RunConfig,
    split: Split,
    on_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
    *,
    on_weights: Callable[[dict[str, Tensor]], None] = lambda weights: None,
    on_state: Callable[[Callable[[], State]], None] = lambda make_state: None,
    resume_from: State | None = None,
) -> Outcome:
    """Train until early stopping, `max_epochs` or divergence (a NaN or infinite loss), then score the best and the last epoch
    on the test set.

    `on_weights` is called at the end with the weights of the scored epoch (see `Outcome`), if there is one. `on_state` is called
    after every epoch but the last, with a function that returns the run's state. Pass such a state as `resume_from` to continue
    a run with the same settings: the outcome is the same as without the interruption.
    """
    device = split.train.images.device
    _warm_up(run, split)
    learner = new_learner(run, device, split.train.black)
    course = Course(run)
    progress = _Progress(learner, Clock(device), course)
    if resume_from is not None:
        progress.load_state(resume_from)
    while course.stop_reason is None:
        _one_epoch(progress, split)
        if not course.has_diverged:
            on_epoch(course.curve[-1])
        if course.stop_reason is None:
            on_state(progress.state)
    with own_draws(learner):
        scored = _score_test(progress, split.test)
    if run.training.score in scored:
        on_weights(scored[run.training.score].weights)
    best, last = (scored[which].test if which in scored else None for which in ("best", "last"))
    return course.outcome(best, last, progress.clock.cpu_seconds)


def _one_epoch(progress: _Progress, split: Split) -> None:
    """Train, and validate if the settings say so."""
    learner, clock, course = progress.learner, progress.clock, progress.course
    before = clock.wall_seconds
    with clock, own_draws(learner):
        losses, trained = train_epoch(learner, split.train, course.plateau.lr_scale)
        valid = evaluate(learner.run, learner.model, split.valid) if course.is_validated else None
    course.after_epoch(losses, trained, valid, clock.wall_seconds - before)
    if course.is_improvement:
        progress.best_weights = copy.deepcopy(learner.model.state_dict())


def _score_test(progress: _Progress, test: Part) -> dict[str, _Scored]:
    """Score the "best" and the "last" epoch, if the run has them. If both are the same epoch, it is scored once."""
    run, model, course = progress.learner.run, progress.learner.model, progress.course
    last_weights = copy.deepcopy(model.state_dict())  # before the best weights are loaded
    scored = {}
    if progress.best_weights is not None:
        model.load_state_dict(progress.best_weights)
        scored["best"] = _Scored(progress.best_weights, evaluate(run, model, test))
    if course.is_improvement:
        scored["last"] = scored["best"]
    elif not course.has_diverged:
        model.load_state_dict(last_weights)
        scored["last"] = _Scored(last_weights, evaluate(run, model, test))
    return scored


@contextmanager
def own_draws(learner: Learner) -> Iterator[None]:
    """Seed PyTorch's global generators for a network of `model.target`, by the run's seed and the number of epochs so far.

    Afterwards, they are as before. Dropout draws from `learner.random` instead.
    """
    if learner.run.model.target is None:  # draws nothing from them
        yield
        return
    device = next(learner.model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(learner.run.seed, f"forward {learner.num_epochs}").initial_seed())
        yield


def train_epoch(learner: Learner, train: Part, lr_scale: float = 1.0) -> tuple[list[float], Score]:
    """Train on every image once, with `lr_scale` times the scheduled rates.

    Return the loss of each step, and the mean loss and accuracy over the images.
    """
    run, device = learner.run, train.images.device
    batch_size = batch_size_at(run.schedule, run.training.batch_size, learner.num_epochs)
    batches = [indices.to(device) for indices in batch_order(len(train), batch_size, learner.random["order"])]
    losses = torch.empty(len(batches), device=device)  # read once per epoch, so that a GPU does not wait after each step
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    for i, indices in enumerate(batches):
        lr = lr_at(run.schedule, run.optimizer.lr, learner.num_steps, learner.pace) * lr_scale
        losses[i], logits_BC = train_step(learner, train.images[indices], train.labels[indices], lr)
        num_correct += (logits_BC.argmax(dim=1) == train.labels[indices]).sum()
    learner.num_epochs += 1
    sizes = torch.tensor([len(indices) for indices in batches], device=device)
    mean_loss = (losses.double() @ sizes.double() / len(train)).item()
    return losses.tolist(), Score(loss=mean_loss, accuracy=num_correct.item() / len(train))


def train_step(learner: Learner, images_BCHW: Tensor, labels_B: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """Take one step. Return the loss and logits of the batch, computed before the update."""
    run, model = learner.run, learner.model
    set_lr(learner.optimizer, lr)
    learner.optimizer.zero_grad()
    model.train()
    with _autocast(run, images_BCHW.device):
        images_BCHW = augment(run.data, images_BCHW, learner.random["augmentation"], learner.black)
        with DropoutMasks(partial(draw_mask, generator=learner.random["dropout"])):
            logits_BC = model(images_BCHW)
        loss = loss_of(run.loss, logits_BC, labels_B)
    _with_penalty(run.loss, loss, model).backward()
    learner.optimizer.step()
    learner.num_steps += 1
    return loss.detach(), logits_BC.detach()


def _with_penalty(config: LossConfig, loss: Tensor, model: nn.Module) -> Tensor:
    """The loss to minimise. Records hold the loss without the penalty."""
    return loss + penalty(config, penalised_weights(model)) if config.l1 or config.l2 else loss


def _autocast(run: RunConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=run.training.precision == "bf16")


@torch.inference_mode()
def evaluate(run: RunConfig, model: nn.Module, part: Part) -> Score:
    device = part.images.device
    size = _eval_batch(device)
    total_loss = torch.zeros((), dtype=torch.float64, device=device)
    correct_C = torch.zeros(run.data.num_classes, dtype=torch.int64, device=device)
    model.eval()
    with _autocast(run, device):
        for images_BCHW, labels_B in zip(part.images.split(size), part.labels.split(size), strict=True):
            logits_BC = model(images_BCHW)
            total_loss += loss_of(run.loss, logits_BC, labels_B) * len(labels_B)
            correct_C.index_add_(0, labels_B, (logits_BC.argmax(dim=1) == labels_B).long())
    return score_of(total_loss.item() / len(part), correct_C, part.labels)


def score_of(loss: float, correct_C: Tensor, labels_N: Tensor) -> Score:
    """The score of a model that answers `correct_C` images of each class correctly."""
    total_C = torch.bincount(labels_N, minlength=len(correct_C))
    shares = (correct_C.double() / total_C)[total_C > 0]
    return Score(loss, correct_C.sum().item() / len(labels_N), shares.mean().item())


def _warm_up(run: RunConfig, split: Split) -> None:
    """Train and score a throwaway model, so that the clock does not count kernel selection and first allocations.

    One full batch and the short last batch are enough: PyTorch selects kernels again only for a new batch size.
    """
    learner = new_learner(run, split.train.images.device, split.train.black)
    with own_draws(learner):
        train_epoch(learner, _full_and_last(split.train, run.training.batch_size))
        evaluate(run, learner.model, _full_and_last(split.valid, _eval_batch(split.train.images.device)))


def _full_and_last(part: Part, batch_size: int) -> Part:
    num_images = batch_size + len(part) % batch_size
    return Part(part.images[:num_images], part.labels[:num_images], part.black)


def _eval_batch(device: torch.device) -> int:
    return _CPU_EVAL_BATCH if device.type == "cpu" else _GPU_EVAL_BATCH
