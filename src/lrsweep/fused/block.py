"""A block holds the buffers of a few runs that take every step together. On a GPU, CUDA graphs replay the steps.

Shapes: K runs, P floats per run, G groups of floats, N images, B batch, S steps per epoch, H × W pixels,
C channels or classes.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lrsweep.config import RunConfig
from lrsweep.data.augmentation import draw_moves, is_augmented, move
from lrsweep.data.dataset import DataSet, Part, indices_of_test, split_indices
from lrsweep.data.seeding import training_generators
from lrsweep.fused.recording import Batches, check_replay
from lrsweep.fused.row_optimizer import RowOptimizer
from lrsweep.fused.rows import ALIGNMENT, Weights, row_layout, views, write_rows
from lrsweep.fused.stacked_cnn import forward_cnn
from lrsweep.fused.stacked_losses import losses_of, num_correct, penalties_of
from lrsweep.fused.stacked_module import dropout_calls, forward_module, tensors_without_gradient
from lrsweep.training.course import Score
from lrsweep.training.dropout import draw_mask
from lrsweep.training.models import build_model, initial_model
from lrsweep.training.optimizers import build_optimizer, layer_lr_scale
from lrsweep.training.solo import score_of

BLOCK_SLOTS = {"cpu": 4, "cuda": 8}  # small enough that the im2col columns of a step stay in the cache
_EVAL_BATCH = {"cpu": 16, "cuda": 500}

Random = Mapping[str, torch.Generator]  # a run's generators of training, by purpose

# Each program has its own memory pool. Its first block of each size warms up and checks the recordings; the later ones need not.
# The keys are the pool and the block size.
_warmed_up: set[tuple[Any, int]] = set()
_checked: set[tuple[Any, int]] = set()

_UNUSED: Random = training_generators(0)  # of empty slots


class EpochResult(NamedTuple):
    """Tensors on the device, so that starting an epoch does not wait for its result."""

    losses: Tensor  # [K, S]
    train_correct: Tensor  # [K]
    valid_loss: Tensor  # [K]; NaN for a slot that was not validated
    valid_correct: Tensor  # [K]


class Block:
    """Slots for K runs of one cohort. An empty slot also computes, with a rate of 0, and its results are ignored."""

    def __init__(self, template: RunConfig, num_slots: int, data_set: DataSet, dtype: torch.dtype, pool: Any = None) -> None:
        """`template` can be any run of the cohort. `pool` is the memory pool that recorded CUDA graphs share."""
        self._template, self._data_set, self._dtype = template, data_set, dtype
        self.device = data_set.train_images.device
        self.num_slots = num_slots
        self._module = build_model(template.model, torch.Generator(), torch.device("cpu"), template.data)
        is_own = template.model.target is not None
        self._forward = partial(forward_module, self._module) if is_own else partial(forward_cnn, template.model)
        self._has_masks = is_own or template.model.dropout > 0
        self._dropout_calls: dict[int, list[tuple[float, torch.Size]]] = {}  # of a training step, by batch size
        self._random: list[Random] = []  # of each slot, in this epoch
        self._layout = row_layout(self._module)
        num_floats, num_steps = self._layout.num_floats, template.epoch_steps
        floats = partial(torch.zeros, dtype=dtype, device=self.device)
        indices = partial(torch.zeros, dtype=torch.int64, device=self.device)
        self.rows_KP, self._grad_KP, self._best_KP = (floats(num_slots, num_floats) for _ in range(3))
        self._lr_scale_KG = floats(num_slots, num_floats // ALIGNMENT)  # the scale of the layer to which each group belongs
        self.weights = {name: part.detach().requires_grad_() for name, part in views(self.rows_KP, self._layout).items()}
        self.buffers = {
            name: torch.zeros(num_slots, *t.shape, dtype=dtype if t.dtype == torch.float32 else t.dtype, device=self.device)
            for name, t in tensors_without_gradient(self._module).items()
        }
        self._best_buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        self.optimizer = RowOptimizer(lambda rows: build_optimizer(template.optimizer, rows), self.rows_KP, self._grad_KP)
        self._train_KN, self._order_KN = (indices(num_slots, template.data.num_train) for _ in range(2))
        self._valid_KN = indices(num_slots, template.data.num_valid)
        self._test_N = indices_of_test(template.data, data_set.test_labels)
        # Recorded batches read their inputs from these tensors and write their results to them. Each block has its own, outside
        # the shared pool. So all blocks can start an epoch before the results of the first one are read.
        self._rates_SK, self._losses_SK = (floats(num_steps, num_slots) for _ in range(2))
        self._train_correct_K, self._valid_correct_K = (indices(num_slots) for _ in range(2))
        self._valid_loss_K = torch.zeros(num_slots, dtype=torch.float64, device=self.device)
        self._ones_K = torch.ones_like(self._rates_SK[0])
        self._training = Batches(template.data.num_train, template.training.batch_size, self.device, self._train_batch)
        self._validation = Batches(template.data.num_valid, _EVAL_BATCH[self.device.type], self.device, self._validate_batch)
        self._kind = (object() if pool is None else pool), num_slots
        # A recording cannot draw random numbers on the host. Whether it can replay an own network is not known.
        self._is_recorded = self.optimizer.can_be_recorded and not (self._has_masks or is_augmented(template.data))
        if self._is_recorded:  # before any run is loaded, because the warm-up takes steps
            for batches in (self._training, self._validation):
                batches.record(pool, is_first=self._kind not in _warmed_up)
            _warmed_up.add(self._kind)

    def load(self, k: int, run: RunConfig) -> None:
        """Start this run in slot k, with the same initial weights and split as in solo."""
        model = initial_model(run.model, run.seed, torch.device("cpu"), run.data)
        with torch.no_grad():
            for name, part in views(self.rows_KP[k : k + 1], self._layout).items():
                part[0].copy_(model.get_parameter(name))
                self._lr_scale_KG[k, self._layout.groups(name)] = layer_lr_scale(run.optimizer, name)
            for name, tensor in tensors_without_gradient(model).items():
                self.buffers[name][k].copy_(tensor)
        self.optimizer.reset(k)
        train_N, valid_N = split_indices(run.data, run.seed, self._data_set.train_labels)
        self._train_KN[k].copy_(train_N)
        self._valid_KN[k].copy_(valid_N)

    def state(self, k: int) -> dict[str, Tensor]:
        """All tensors that the run in slot k needs to continue. They are views of the slot, not copies."""
        parts = {"weights": self.rows_KP, "best": self._best_KP, "lr_scale": self._lr_scale_KG}
        parts |= {"train_indices": self._train_KN, "valid_indices": self._valid_KN}
        parts |= {f"buffer {name}": buffer for name, buffer in self.buffers.items()}
        parts |= {f"best buffer {name}": buffer for name, buffer in self._best_buffers.items()}
        return {name: part_K[k] for name, part_K in parts.items()} | self.optimizer.state(k)

    def restore(self, k: int, state: dict[str, Tensor]) -> None:
        """Continue a run in slot k from the `state` of a slot, in this or another block of the cohort."""
        for name, part in self.state(k).items():
            part.copy_(state[name])

    def epoch(
        self, order_KN: Tensor, rates_SK: Tensor, validated: Sequence[int] | None = None, random: Sequence[Random] = ()
    ) -> EpochResult:
        """Train every slot for one epoch, then validate the slots in `validated` (None: all).

        `order_KN` permutes the training images of each slot. `random` are the generators of the runs in the first slots; only
        dropout and augmentation use them.
        """
        self._random = [*random, *[_UNUSED] * (self.num_slots - len(random))]
        self._order_KN.copy_(self._train_KN.gather(1, _to(self.device, order_KN)))
        self._rates_SK.copy_(_to(self.device, rates_SK.to(self._dtype)))
        if self._is_recorded and self._kind not in _checked:
            self._check_recordings()
        self._train_correct_K.zero_()
        self._training.run()
        return EpochResult(self._losses_SK.T.clone(), self._train_correct_K.clone(), *self._validate(validated))

    def _validate(self, slots: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """Validate all slots if any slot needs it, because the recording computes all of them."""
        self._valid_loss_K.zero_()
        self._valid_correct_K.zero_()
        if slots is None or slots:
            self._validation.run()
        loss_K = self._valid_loss_K / self._template.data.num_valid
        if slots is not None:
            is_validated_K = _to(self.device, torch.tensor([k in slots for k in range(self.num_slots)]))
            loss_K = loss_K.where(is_validated_K, math.nan)
        return loss_K, self._valid_correct_K.clone()

    def keep_best(self, slots: Sequence[int]) -> None:
        """Save the current weights of these slots as their best weights."""
        self._best_KP[slots] = self.rows_KP[slots]
        for name, buffer in self.buffers.items():
            self._best_buffers[name][slots] = buffer[slots]

    @torch.inference_mode()
    def score_test(self, slots: Sequence[int], which: Literal["best", "last"]) -> list[Score]:
        """The score of these slots on the test set, with their best or their current weights."""
        rows_KP, buffers = (self._best_KP, self._best_buffers) if which == "best" else (self.rows_KP, self.buffers)
        weights, buffers = views(rows_KP[slots], self._layout), {name: buffer[slots] for name, buffer in buffers.items()}
        total_K = torch.zeros(len(slots), dtype=torch.float64, device=self.device)
        correct_KC = torch.zeros(len(slots), self._template.data.num_classes, dtype=torch.int64, device=self.device)
        for index_KB in self._test_N.expand(len(slots), -1).split(_EVAL_BATCH[self.device.type], dim=1):
            losses_K, is_correct_KB, labels_KB = self._answers(weights, buffers, self._data_set.test, index_KB)
            total_K += losses_K
            correct_KC.scatter_add_(1, labels_KB, is_correct_KB.long())
        means, labels_N = (total_K / len(self._test_N)).tolist(), self._data_set.test_labels[self._test_N]
        return [score_of(mean, correct_C, labels_N) for mean, correct_C in zip(means, correct_KC, strict=True)]

    def train_step(self, index_KB: Tensor, rate_K1: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step. Return each run's loss and number of correct answers, computed before the update."""
        images_KBCHW, labels_KB = self._batch(self._data_set.train, index_KB)
        masks = self._draw_masks(index_KB.shape[1]) if self._has_masks else []
        logits_KBC = self._forward(self.weights, self.buffers, self._augment(images_KBCHW), masks, training=True)
        loss_K = losses_of(self._template.loss, logits_KBC, labels_KB)
        objective_K = loss_K
        if self._template.loss.l1 or self._template.loss.l2:
            objective_K = loss_K + penalties_of(self._template.loss, self.weights)
        # The gradient with respect to a run's weights depends on that run's objective only.
        write_rows(torch.autograd.grad(objective_K, list(self.weights.values()), self._ones_K), self._grad_KP)
        self.optimizer.step(rate_K1 * self._lr_scale_KG)
        return loss_K.detach(), num_correct(logits_KBC.detach(), labels_KB)

    def _train_batch(self, number_1: Tensor, columns_B: Tensor) -> None:
        rate_K1 = self._rates_SK.index_select(0, number_1).T
        loss_K, correct_K = self.train_step(self._order_KN.index_select(1, columns_B), rate_K1)
        self._losses_SK.index_copy_(0, number_1, loss_K.unsqueeze(0))
        self._train_correct_K += correct_K

    @torch.inference_mode()
    def _validate_batch(self, _: Tensor, columns_B: Tensor) -> None:
        index_KB = self._valid_KN.index_select(1, columns_B)
        # Validation images come from the training images, too.
        losses_K, is_correct_KB, _ = self._answers(self.weights, self.buffers, self._data_set.train, index_KB)
        self._valid_loss_K += losses_K
        self._valid_correct_K += is_correct_KB.sum(dim=1)

    def _answers(self, weights: Weights, buffers: Weights, part: Part, index_KB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of each run's losses, which answers are correct, and the labels."""
        images_KBCHW, labels_KB = self._batch(part, index_KB)
        logits_KBC = self._forward(weights, buffers, images_KBCHW, [], training=False)
        loss_K = losses_of(self._template.loss, logits_KBC, labels_KB)
        return loss_K * index_KB.shape[1], logits_KBC.argmax(dim=2) == labels_KB, labels_KB

    def _batch(self, part: Part, index_KB: Tensor) -> tuple[Tensor, Tensor]:
        """[K, B, C, H, W] and [K, B]: these images and their labels."""
        index_M = index_KB.flatten()
        images_MCHW, labels_M = part.images.index_select(0, index_M), part.labels.index_select(0, index_M)
        return images_MCHW.to(self._dtype).view(*index_KB.shape, *images_MCHW.shape[1:]), labels_M.view_as(index_KB)

    def _augment(self, images_KBCHW: Tensor) -> Tensor:
        data, num_images = self._template.data, images_KBCHW.shape[1]
        if not is_augmented(data):
            return images_KBCHW
        moves_M3 = torch.cat([draw_moves(num_images, random["augmentation"]) for random in self._random])
        return move(data, images_KBCHW.flatten(0, 1), moves_M3, self._data_set.train.black).view_as(images_KBCHW)

    def _draw_masks(self, num_images: int) -> list[Tensor]:
        """The dropout masks of a step, each [K, *shape in the module], drawn for each run as in solo."""
        if num_images not in self._dropout_calls:
            images_BCHW = torch.zeros(num_images, *self._template.data.shape)
            self._dropout_calls[num_images] = dropout_calls(self._module, images_BCHW)
        return [
            _to(self.device, torch.stack([draw_mask(*call, random["dropout"]) for random in self._random]))
            for call in self._dropout_calls[num_images]
        ]

    def _check_recordings(self) -> None:
        """Replay a few batches, run the same batches without graphs, compare the results, and undo the changes.

        During recording, all slots were empty and all rates were 0. So if a recording still uses such an old value, the results
        differ.
        """
        changed = [*self.optimizer.tensors(), *self.buffers.values()]
        saved = [tensor.clone() for tensor in changed]

        def undo() -> None:
            for tensor, value in zip(changed, saved, strict=True):
                tensor.copy_(value)

        def results(batches: Batches, sizes: list[int], *, replay: bool) -> tuple[Tensor, ...]:
            undo()
            self._losses_SK.zero_()
            self._valid_loss_K.zero_()
            batches.run(sizes, replay=replay)
            return self.rows_KP - saved[0], self._losses_SK.T.clone(), self._valid_loss_K.unsqueeze(1).clone()

        sizes = self._training.sizes
        cases = [(self._training, few) for few in (sizes[:1], sizes[:2], sizes[-1:])]
        cases += [(self._validation, [size]) for size in sorted(set(self._validation.sizes))]
        for batches, few in cases:
            plain, replayed = (results(batches, few, replay=replay) for replay in (False, True))
            # If a gradient is zero except for rounding errors, Adam's first update still has its full size, with a random sign.
            check_replay("updates", replayed[0], plain[0], tolerance=0.1)
            check_replay("training losses", replayed[1], plain[1], tolerance=0.01)
            check_replay("validation losses", replayed[2], plain[2], tolerance=1e-4)
        undo()
        _checked.add(self._kind)


def _to(device: torch.device, tensor: Tensor) -> Tensor:
    """Copy to the device without waiting for its queued work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
