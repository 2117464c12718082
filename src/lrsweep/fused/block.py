"""A block: the buffers of a few runs that take every step together, on a GPU as one recorded CUDA graph.

Shapes: K runs, P floats of a run's row, N images, B batch, S steps of an epoch, H × W pixels, C classes.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lrsweep.config import RunConfig
from lrsweep.data.dataset import Mnist, normalise, split_indices
from lrsweep.fused.stacked_cnn import FORWARD, Weights, losses_of, num_correct, penalties_of, row_layout, views
from lrsweep.training.models import build_model, initial_model
from lrsweep.training.optimizers import build_optimizer, layer_lr_scale, set_lr

# Few enough that a step's columns stay in the cache.
BLOCK_SLOTS = {"cpu": 4, "cuda": 8}
_EVAL_BATCH = {"cpu": 16, "cuda": 500}
_WARM_UP_STEPS = 3  # before a CUDA graph is recorded: PyTorch's own recipe

_R = TypeVar("_R")
Step = Callable[[Tensor, Tensor], _R]


class EpochResult(NamedTuple):
    """On the device still, so that asking for an epoch does not wait for it."""

    losses: Tensor  # [K, S], of every step
    train_correct: Tensor  # [K]
    valid_loss: Tensor  # [K]
    valid_correct: Tensor  # [K]


class RowOptimizer:
    """A stock optimizer on every row of [K, P], each row with a rate, and a count of steps, of its own.

    The optimizer steps at rate 1; each row then goes its rate's share of that way, which is the step at that rate, because
    the update of every optimizer in optim.py is linear in it.
    """

    def __init__(self, build: Callable[[list[nn.Parameter]], torch.optim.Optimizer], rows_KP: Tensor, grad_KP: Tensor) -> None:
        self._rows_KP = rows_KP
        self._before_KP = torch.empty_like(rows_KP)
        self._rows = [nn.Parameter(row_P, requires_grad=False) for row_P in rows_KP]
        for row, grad_P in zip(self._rows, grad_KP, strict=True):
            row.grad = grad_P
        self._optimizer = build(self._rows)
        set_lr(self._optimizer, 1.0)
        first = self._rows[0]
        at_birth = {name: value.clone() for name, value in self._optimizer.state[first].items()}
        if rows_KP.is_cuda:
            for group in self._optimizer.param_groups:
                group |= {"capturable": True} if "capturable" in group else {}
        with warnings.catch_warnings():  # that it steps outside of a graph, though it could be recorded
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            self.step(torch.zeros(1, 1, dtype=rows_KP.dtype, device=rows_KP.device))  # the other state is made by a step
        state = self._optimizer.state[first]
        # What a step makes starts from zero in all of optim.py's.
        self._fresh = {name: at_birth.get(name, torch.zeros_like(v)) for name, v in state.items() if isinstance(v, Tensor)}
        for k in range(len(rows_KP)):
            self.reset(k)

    @property
    def can_be_recorded(self) -> bool:
        """A step counted on the host would stand still in a CUDA graph. SGD counts none; Adagrad only for a decay."""
        groups = self._optimizer.param_groups
        is_countless = isinstance(self._optimizer, torch.optim.SGD) or all(group.get("lr_decay") == 0 for group in groups)
        return is_countless or all(group.get("capturable") for group in groups)

    def step(self, rates_KP: Tensor) -> None:
        """`rates_KP`: of every float, or what broadcasts to that."""
        self._before_KP.copy_(self._rows_KP)
        self._optimizer.step()
        self._rows_KP.copy_(torch.addcmul(self._before_KP, rates_KP, self._rows_KP - self._before_KP))

    def reset(self, k: int) -> None:
        """Row k as if it had never been stepped."""
        for name, value in self._fresh.items():
            self._optimizer.state[self._rows[k]][name].copy_(value)


class Block:
    """Slots for K runs of one cohort. An empty slot computes as well, at rate 0, and nobody looks at it."""

    def __init__(self, like: RunConfig, num_slots: int, mnist: Mnist, dtype: torch.dtype, pool: Any = None) -> None:
        """`like` stands for every run to come; `pool` is the memory that recorded graphs share."""
        self._like, self._mnist, self._dtype = like, mnist, dtype
        self.device = mnist.train_images.device
        self.num_slots = num_slots
        self._forward = partial(FORWARD[like.model.name], like.model)
        self._layout = row_layout(build_model(like.model, torch.Generator(), torch.device("cpu")))
        self.rows_KP = torch.zeros(num_slots, self._layout.num_floats, dtype=dtype, device=self.device)
        grad_KP = torch.zeros_like(self.rows_KP)
        self._grads = list(views(grad_KP, self._layout).values())
        self._best_KP = torch.zeros_like(self.rows_KP)
        self._shares_KP = torch.ones_like(self.rows_KP)  # of the run's rate: its layers'
        self.weights = {name: part.detach().requires_grad_() for name, part in views(self.rows_KP, self._layout).items()}
        self.optimizer = RowOptimizer(lambda rows: build_optimizer(like.optimizer, rows), self.rows_KP, grad_KP)
        self._train_KN = torch.zeros(num_slots, like.data.num_train, dtype=torch.int64, device=self.device)
        self._valid_KN = torch.zeros(num_slots, like.data.num_valid, dtype=torch.int64, device=self.device)
        self._steps = self._recorded(pool) if self.device.type == "cuda" and self.optimizer.can_be_recorded else None

    def load(self, k: int, run: RunConfig) -> None:
        """Slot k begins this run: its weights and its images, as solo has them."""
        model = initial_model(run.model, run.seed, torch.device("cpu"))
        shares = views(self._shares_KP[k : k + 1], self._layout)
        with torch.no_grad():
            for name, part in views(self.rows_KP[k : k + 1], self._layout).items():
                part[0].copy_(model.get_parameter(name))
                shares[name].fill_(layer_lr_scale(run.optimizer, name))
        self.optimizer.reset(k)
        train_N, valid_N = split_indices(run.data, run.seed)
        self._train_KN[k].copy_(train_N)
        self._valid_KN[k].copy_(valid_N)

    def epoch(self, order_KN: Tensor, rates_SK: Tensor) -> EpochResult:
        """One epoch of every slot: `order_KN` of its own training images, and each step's rates."""
        index_KN = self._train_KN.gather(1, _to(self.device, order_KN))
        rates_SK1 = _to(self.device, rates_SK.to(self._dtype)).unsqueeze(2)
        losses_KS = torch.empty(self.num_slots, len(rates_SK), dtype=self._dtype, device=self.device)
        correct_K = torch.zeros(self.num_slots, dtype=torch.int64, device=self.device)
        for i, index_KB in enumerate(index_KN.split(self._like.training.batch_size, dim=1)):
            step = self._steps[index_KB.shape[1]] if self._steps else self.train_step
            losses_KS[:, i], step_correct_K = step(index_KB, rates_SK1[i])
            correct_K += step_correct_K
        images, labels = self._mnist.train_images, self._mnist.train_labels  # MNIST's 60,000: validation is drawn from them
        return EpochResult(losses_KS, correct_K, *self._score(self.weights, images, labels, self._valid_KN))

    def keep_best(self, slots: Sequence[int]) -> None:
        self._best_KP[slots] = self.rows_KP[slots]

    def score_test(self, slots: Sequence[int]) -> list[tuple[float, float]]:
        """Loss and accuracy on the test set of these slots' kept weights."""
        num_test = self._like.data.num_test
        index_KN = torch.arange(num_test, device=self.device).expand(len(slots), -1)
        weights = views(self._best_KP[slots], self._layout)
        loss_K, correct_K = self._score(weights, self._mnist.test_images, self._mnist.test_labels, index_KN)
        return [(loss, correct / num_test) for loss, correct in zip(loss_K.tolist(), correct_K.tolist(), strict=True)]

    def train_step(self, index_KB: Tensor, rate_K1: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the number of right answers of each run's batch, before the step."""
        labels_KB = self._mnist.train_labels[index_KB].long()
        logits_KBC = self._forward(self.weights, self._images(self._mnist.train_images, index_KB))
        loss_K = losses_of(self._like.loss, logits_KBC, labels_KB)
        # A run's gradient depends on its own loss alone. Copied, because autograd adds up only into dense tensors.
        objective = loss_K.sum()
        if self._like.loss.l1 or self._like.loss.l2:
            objective = objective + penalties_of(self._like.loss, self.weights).sum()
        for kept, grad in zip(self._grads, torch.autograd.grad(objective, list(self.weights.values())), strict=True):
            kept.copy_(grad)
        self.optimizer.step(rate_K1 * self._shares_KP)
        return loss_K.detach(), num_correct(logits_KBC.detach(), labels_KB)

    def _images(self, images: Tensor, index_KB: Tensor) -> Tensor:
        return normalise(images[index_KB.flatten()]).to(self._dtype).view(*index_KB.shape, *images.shape[1:])

    @torch.inference_mode()
    def _score(self, weights: Weights, images: Tensor, labels: Tensor, index_KN: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and number of right answers of each run."""
        total_K = torch.zeros(len(index_KN), dtype=torch.float64, device=self.device)
        correct_K = torch.zeros(len(index_KN), dtype=torch.int64, device=self.device)
        for index_KB in index_KN.split(_EVAL_BATCH[self.device.type], dim=1):
            logits_KBC, labels_KB = self._forward(weights, self._images(images, index_KB)), labels[index_KB].long()
            total_K += losses_of(self._like.loss, logits_KBC, labels_KB) * index_KB.shape[1]
            correct_K += num_correct(logits_KBC, labels_KB)
        return total_K / index_KN.shape[1], correct_K

    def _recorded(self, pool: Any) -> dict[int, Step[tuple[Tensor, Tensor]]]:
        """A recorded step for each size of batch. Recorded before any run is loaded, because recording takes steps."""
        batch_size, num_train = self._like.training.batch_size, self._like.data.num_train
        sizes = {min(batch_size, num_train), num_train % batch_size} - {0}
        rate_K1 = torch.zeros(self.num_slots, 1, dtype=self._dtype, device=self.device)
        return {size: record(self.train_step, (self._train_KN[:, :size].clone(), rate_K1.clone()), pool) for size in sizes}


def record(step: Step[_R], arguments: tuple[Tensor, Tensor], pool: Any) -> Step[_R]:
    """The step as a CUDA graph. Called, it copies its arguments into the recorded ones; its results are overwritten next time."""
    side = _side_stream(torch.cuda.current_device())
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP_STEPS):
            step(*arguments)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=side):
        results = step(*arguments)

    def replay(*values: Tensor) -> _R:
        for argument, value in zip(arguments, values, strict=True):
            argument.copy_(value)
        graph.replay()
        return results

    return replay


@cache
def _side_stream(device_index: int) -> torch.cuda.Stream:
    """One for all that is recorded: every stream has workspaces of its own, which are never given back."""
    return torch.cuda.Stream(device_index)


def _to(device: torch.device, tensor: Tensor) -> Tensor:
    """Without waiting for what the device does meanwhile."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
