"""One torch.optim optimizer for many runs, each with its own learning rate and step count.

Shapes: K runs, P floats per run, G equal parts of a run's floats.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lrsweep.training.optimizers import set_lr


class RowOptimizer:
    """Run one torch.optim optimizer over K stacked runs.

    The update of every optimizer in optimizers.py is proportional to its learning rate. So we step all rows at lr=1
    and scale each row's update by the learning rate of its run.
    """

    def __init__(self, build: Callable[[list[nn.Parameter]], torch.optim.Optimizer], rows_KP: Tensor, grad_KP: Tensor) -> None:
        self._rows_KP = rows_KP
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
            self.step(rows_KP.new_zeros(len(rows_KP), 1))  # creates the rest of the state
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
        """Can a CUDA graph replay a step? Not if the step count is on the host, because a replay does not advance it there.

        SGD counts no steps, and Adagrad needs the count only for lr_decay.
        """
        groups = self._optimizer.param_groups
        needs_no_count = isinstance(self._optimizer, torch.optim.SGD) or all(group.get("lr_decay") == 0 for group in groups)
        return self._rows_KP.is_cuda and (needs_no_count or all(group.get("capturable") for group in groups))

    def step(self, rates_KG: Tensor) -> None:
        """`rates_KG` holds the learning rate of each of the G equal parts of a row."""
        before_KP = self._rows_KP.clone()
        self._optimizer.step()
        rows_KGp, before_KGp = (tensor.unflatten(1, (rates_KG.shape[1], -1)) for tensor in (self._rows_KP, before_KP))
        torch.lerp(before_KGp, rows_KGp, rates_KG.unsqueeze(2), out=rows_KGp)

    def reset(self, k: int) -> None:
        """Restore the initial optimizer state of row k."""
        for name, value in self._initial_state.items():
            self._optimizer.state[self._rows[k]][name].copy_(value)

    def state(self, k: int) -> dict[str, Tensor]:
        """The optimizer state of row k: the tensors themselves, not copies."""
        state = self._optimizer.state[self._rows[k]]
        return {name: state[name] for name in self._initial_state}

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes, the rows first."""
        states = (self._optimizer.state[row].values() for row in self._rows)
        return [self._rows_KP, *(value for state in states for value in state if isinstance(value, Tensor))]
