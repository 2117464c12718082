"""Early stopping as a pure state machine: `state = state.after(accuracy)`, once an epoch."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    patience: int | None  # epochs without a record that end a run; None: none do
    epoch: int = 0  # epochs seen
    best_epoch: int = 0  # 0: none yet
    best_accuracy: float = -math.inf

    def after(self, accuracy: float) -> "EarlyStopping":
        """The state after one more epoch. A tie is no record, and neither is NaN."""
        seen = replace(self, epoch=self.epoch + 1)
        return replace(seen, best_epoch=seen.epoch, best_accuracy=accuracy) if accuracy > self.best_accuracy else seen

    @property
    def is_record(self) -> bool:
        return 0 < self.epoch == self.best_epoch

    @property
    def is_over(self) -> bool:
        return self.patience is not None and self.epoch - self.best_epoch >= self.patience
