"""A block: the buffers of a few runs that take every step together. On a GPU, a step is replayed as a CUDA graph.

Shapes: K runs, P floats per run, N images, B batch, S steps per epoch, H × W pixels, C classes.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lrsweep.config import RunConfig
from lrsweep.data.dataset import Mnist, indices_of_test, normalise, split_indices
from lrsweep.fused.stacked_cnn import FORWARD, Weights, losses_of, num_correct, penalties_of, row_layout, views
from lrsweep.training.models import build_model, initial_model
from lrsweep.training.optimizers import build_optimizer, layer_lr_scale, set_lr
from lrsweep.training.solo import Score

BLOCK_SLOTS = {"cpu": 4, "cuda": 8}  # small enough that the im2col columns of a step stay in the cache
_EVAL_BATCH = {"cpu": 16, "cuda": 500}
_WARM_UP_STEPS = 3  # before recording a CUDA graph, as the PyTorch documentation recommends

_R = TypeVar("_R")
Step = Callable[[Tensor, Tensor], _R]


class EpochResult(NamedTuple):
    """Tensors on the device, so that starting an epoch does not wait for its result."""

    losses: Tensor  # [K, S]
    train_correct: Tensor  # [K]
    valid_loss: Tensor  # [K]; NaN for a slot that was not validated
    valid_correct: Tensor  # [K]


class RowOptimizer:
    """Run one torch.optim optimizer over K stacked runs, each with its own learning rate and step count.

    The update of every optimizer in optimizers.py is proportional to its learning rate. So we step all rows at lr=1
    and scale each row's update by the learning rate of its run.
    """

    def __init__(self, build: Callable[[list[nn.Parameter]], torch.optim.Optimizer], rows_KP: Tensor, grad_KP: Tensor) -> None:
        self._rows_KP = rows_KP
        self._before_KP = torch.empty_like(rows_KP)
        self._rows = [nn.Parameter(row_P, requires_grad=False) for row_P in rows_KP]
        for row, grad_P in zip(self._rows, grad_KP, strict=True):
            row.grad = grad_P
        self._optimizer = build(self._rows)
        set_lr(self._optimizer, 1.0)
        eager_state = {name: value.clone() for name, value in self._optimizer.state[self._rows[0]].items()}
        if rows_KP.is_cuda:
            for group in self._optimizer.param_groups:
                group |= {"capturable": True} if "capturable" in group else {}
        with warnings.catch_warnings():  # PyTorch warns when a capturable optimizer steps outside of a CUDA graph
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            self.step(torch.zeros(1, 1, dtype=rows_KP.dtype, device=rows_KP.device))  # creates the rest of the state
        # All optimizer state that is created lazily starts at zero.
        self._initial_state = {
            name: eager_state.get(name, torch.zeros_like(value))
            for name, value in self._optimizer.state[self._rows[0]].items()
            if isinstance(value, Tensor)
        }
        for k in range(len(rows_KP)):
            self.reset(k)

    @property
    def can_be_recorded(self) -> bool:
        """Whether a CUDA graph can replay a step. It cannot if the step count is on the host, where a replay does not advance it.

        SGD counts no steps, and Adagrad needs the count only for lr_decay.
        """
        groups = self._optimizer.param_groups
        needs_no_count = isinstance(self._optimizer, torch.optim.SGD) or all(group.get("lr_decay") == 0 for group in groups)
        return needs_no_count or all(group.get("capturable") for group in groups)

    def step(self, rates_KP: Tensor) -> None:
        """`rates_KP` is the learning rate of every float, or broadcasts to it."""
        self._before_KP.copy_(self._rows_KP)
        self._optimizer.step()
        self._rows_KP.copy_(torch.addcmul(self._before_KP, rates_KP, self._rows_KP - self._before_KP))

    def reset(self, k: int) -> None:
        """Restore the initial optimizer state of row k."""
        for name, value in self._initial_state.items():
            self._optimizer.state[self._rows[k]][name].copy_(value)

    def state(self, k: int) -> dict[str, Tensor]:
        """The optimizer state of row k, not copied."""
        state = self._optimizer.state[self._rows[k]]
        return {name: state[name] for name in self._initial_state}


class Block:
    """Slots for K runs of one cohort. An empty slot also computes, with a rate of 0, and its results are ignored."""

    def __init__(self, template: RunConfig, num_slots: int, mnist: Mnist, dtype: torch.dtype, pool: Any = None) -> None:
        """`template` can be any run of the cohort. `pool` is the memory pool that recorded CUDA graphs share."""
        self._template, self._mnist, self._dtype = template, mnist, dtype
        self.device = mnist.train_images.device
        self.num_slots = num_slots
        self._forward = partial(FORWARD[template.model.name], template.model)
        self._layout = row_layout(build_model(template.model, torch.Generator(), torch.device("cpu")))
        self.rows_KP = torch.zeros(num_slots, self._layout.num_floats, dtype=dtype, device=self.device)
        grad_KP = torch.zeros_like(self.rows_KP)
        self._grads = list(views(grad_KP, self._layout).values())
        self._best_KP = torch.zeros_like(self.rows_KP)
        self._lr_scale_KP = torch.ones_like(self.rows_KP)  # of the layer that each float belongs to
        self.weights = {name: part.detach().requires_grad_() for name, part in views(self.rows_KP, self._layout).items()}
        self.optimizer = RowOptimizer(lambda rows: build_optimizer(template.optimizer, rows), self.rows_KP, grad_KP)
        self._train_KN = torch.zeros(num_slots, template.data.num_train, dtype=torch.int64, device=self.device)
        self._valid_KN = torch.zeros(num_slots, template.data.num_valid, dtype=torch.int64, device=self.device)
        self._test_N = indices_of_test(template.data, mnist.test_labels)
        self._recorded_steps = self._record(pool) if self.device.type == "cuda" and self.optimizer.can_be_recorded else None

    def load(self, k: int, run: RunConfig) -> None:
        """Start this run in slot k, with the same initial weights and split as in solo."""
        model = initial_model(run.model, run.seed, torch.device("cpu"))
        lr_scales = views(self._lr_scale_KP[k : k + 1], self._layout)
        with torch.no_grad():
            for name, part in views(self.rows_KP[k : k + 1], self._layout).items():
                part[0].copy_(model.get_parameter(name))
                lr_scales[name].fill_(layer_lr_scale(run.optimizer, name))
        self.optimizer.reset(k)
        train_N, valid_N = split_indices(run.data, run.seed, self._mnist.train_labels)
        self._train_KN[k].copy_(train_N)
        self._valid_KN[k].copy_(valid_N)

    def state(self, k: int) -> dict[str, Tensor]:
        """Everything that the run in slot k trains on. The tensors are views of the slot, not copies."""
        parts = {"weights": self.rows_KP, "best": self._best_KP, "lr_scale": self._lr_scale_KP}
        parts |= {"train_indices": self._train_KN, "valid_indices": self._valid_KN}
        return {name: part_K[k] for name, part_K in parts.items()} | self.optimizer.state(k)

    def restore(self, k: int, state: dict[str, Tensor]) -> None:
        """Continue a run in slot k from the `state` of a slot, in this or another block of the cohort."""
        for name, part in self.state(k).items():
            part.copy_(state[name])

    def epoch(self, order_KN: Tensor, rates_SK: Tensor, validated: Sequence[int] | None = None) -> EpochResult:
        """Train every slot for one epoch, then validate the slots in `validated` (None: all).

        `order_KN` permutes the training images of each slot.
        """
        index_KN = self._train_KN.gather(1, _to(self.device, order_KN))
        rates_SK1 = _to(self.device, rates_SK.to(self._dtype)).unsqueeze(2)
        losses_KS = torch.empty(self.num_slots, len(rates_SK), dtype=self._dtype, device=self.device)
        correct_K = torch.zeros(self.num_slots, dtype=torch.int64, device=self.device)
        for i, index_KB in enumerate(index_KN.split(self._template.training.batch_size, dim=1)):
            step = self._recorded_steps[index_KB.shape[1]] if self._recorded_steps else self.train_step
            losses_KS[:, i], step_correct_K = step(index_KB, rates_SK1[i])
            correct_K += step_correct_K
        return EpochResult(losses_KS, correct_K, *self._validate(validated))

    def _validate(self, slots: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        images, labels = self._mnist.train_images, self._mnist.train_labels  # validation images come from these, too
        if slots is None:
            return self._score(self.weights, images, labels, self._valid_KN)
        loss_K = torch.full((self.num_slots,), math.nan, dtype=torch.float64, device=self.device)
        correct_K = torch.zeros(self.num_slots, dtype=torch.int64, device=self.device)
        if slots:
            index_K = _to(self.device, torch.tensor(slots))
            weights = views(self.rows_KP[index_K], self._layout)
            loss_K[index_K], correct_K[index_K] = self._score(weights, images, labels, self._valid_KN[index_K])
        return loss_K, correct_K

    def keep_best(self, slots: Sequence[int]) -> None:
        """Save the current weights of these slots as their best weights."""
        self._best_KP[slots] = self.rows_KP[slots]

    def score_test(self, slots: Sequence[int], which: Literal["best", "last"]) -> list[Score]:
        """The score of these slots on the test set, with their best or their current weights."""
        index_KN = self._test_N.expand(len(slots), -1)
        weights = views((self._best_KP if which == "best" else self.rows_KP)[slots], self._layout)
        loss_K, correct_K = self._score(weights, self._mnist.test_images, self._mnist.test_labels, index_KN)
        num_test = len(self._test_N)
        return [Score(loss, correct / num_test) for loss, correct in zip(loss_K.tolist(), correct_K.tolist(), strict=True)]

    def train_step(self, index_KB: Tensor, rate_K1: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step. Return each run's loss and number of correct answers, computed before the update."""
        labels_KB = self._mnist.train_labels[index_KB].long()
        logits_KBC = self._forward(self.weights, self._images(self._mnist.train_images, index_KB))
        loss_K = losses_of(self._template.loss, logits_KBC, labels_KB)
        # The gradient of the sum with respect to a run's weights depends on that run's loss only.
        objective = loss_K.sum()
        if self._template.loss.l1 or self._template.loss.l2:
            objective = objective + penalties_of(self._template.loss, self.weights).sum()
        # Copied, because autograd accumulates only into dense tensors, and self._grads are views of a row.
        for target, grad in zip(self._grads, torch.autograd.grad(objective, list(self.weights.values())), strict=True):
            target.copy_(grad)
        self.optimizer.step(rate_K1 * self._lr_scale_KP)
        return loss_K.detach(), num_correct(logits_KBC.detach(), labels_KB)

    def _images(self, images: Tensor, index_KB: Tensor) -> Tensor:
        return normalise(images[index_KB.flatten()]).to(self._dtype).view(*index_KB.shape, *images.shape[1:])

    @torch.inference_mode()
    def _score(self, weights: Weights, images: Tensor, labels: Tensor, index_KN: Tensor) -> tuple[Tensor, Tensor]:
        """Each run's mean loss and number of correct answers."""
        total_K = torch.zeros(len(index_KN), dtype=torch.float64, device=self.device)
        correct_K = torch.zeros(len(index_KN), dtype=torch.int64, device=self.device)
        for index_KB in index_KN.split(_EVAL_BATCH[self.device.type], dim=1):
            logits_KBC, labels_KB = self._forward(weights, self._images(images, index_KB)), labels[index_KB].long()
            total_K += losses_of(self._template.loss, logits_KBC, labels_KB) * index_KB.shape[1]
            correct_K += num_correct(logits_KBC, labels_KB)
        return total_K / index_KN.shape[1], correct_K

    def _record(self, pool: Any) -> dict[int, Step[tuple[Tensor, Tensor]]]:
        """Record a step for each batch size. Recording takes steps, so it comes before any run is loaded."""
        batch_size, num_train = self._template.training.batch_size, self._template.data.num_train
        sizes = {min(batch_size, num_train), num_train % batch_size} - {0}
        rate_K1 = torch.zeros(self.num_slots, 1, dtype=self._dtype, device=self.device)
        return {size: record(self.train_step, (self._train_KN[:, :size].clone(), rate_K1.clone()), pool) for size in sizes}


def record(step: Step[_R], arguments: tuple[Tensor, Tensor], pool: Any) -> Step[_R]:
    """Record the step as a CUDA graph, and return a function that replays it. Each replay overwrites the previous results."""
    stream = _recording_stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_STEPS):
            step(*arguments)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        results = step(*arguments)

    def replay(*values: Tensor) -> _R:
        for argument, value in zip(arguments, values, strict=True):
            argument.copy_(value)
        graph.replay()
        return results

    return replay


@cache
def _recording_stream(device_index: int) -> torch.cuda.Stream:
    """One stream for all recordings: every new stream allocates workspaces that are never freed."""
    return torch.cuda.Stream(device_index)


def _to(device: torch.device, tensor: Tensor) -> Tensor:
    """Copy to the device without waiting for its queued work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
