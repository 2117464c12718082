"""Early stopping as a pure state machine: `state = state.after(accuracy)`, once per epoch."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    patience: int | None  # stop after this many epochs without improvement; None: never
    epoch: int = 0  # epochs so far
    best_epoch: int = 0  # 0: none yet
    best_accuracy: float = -math.inf

    def after(self, accuracy: float | None) -> "EarlyStopping":
        """The state after one more epoch. `accuracy` is None if the epoch was not validated. A tie or NaN is no improvement."""
        state = replace(self, epoch=self.epoch + 1)
        if accuracy is None or not accuracy > self.best_accuracy:
            return state
        return replace(state, best_epoch=state.epoch, best_accuracy=accuracy)

    @property
    def is_improvement(self) -> bool:
        """Whether the last epoch is the best so far."""
        return 0 < self.epoch == self.best_epoch

    @property
    def is_over(self) -> bool:
        return self.patience is not None and self.epoch - self.best_epoch >= self.patience
