"""How a run went so far, and when it stops. Both engines call `after_epoch` with what they measured."""

import math
from dataclasses import asdict, dataclass, field
from itertools import takewhile

from lrsweep.config import RunConfig
from lrsweep.records import EpochRecord, Outcome, State, StopReason
from lrsweep.training.early_stopping import EarlyStopping
from lrsweep.training.schedules import PlateauState


@dataclass(frozen=True)
class Score:
    loss: float
    accuracy: float
    balanced_accuracy: float | None = None  # mean over the classes; None where it is not needed


@dataclass
class Course:
    run: RunConfig
    stopping: EarlyStopping = field(init=False)
    plateau: PlateauState = field(default_factory=PlateauState)
    curve: list[EpochRecord] = field(default_factory=list)
    num_finite: int = 0  # optimizer steps before the first NaN or infinite loss
    last_finite_loss: float | None = None
    wall_seconds: float = 0.0  # includes the epoch that diverged
    has_diverged: bool = False

    def __post_init__(self) -> None:
        self.stopping = EarlyStopping(patience=self.run.training.patience)

    @property
    def is_validated(self) -> bool:
        """Is the next epoch validated?"""
        return self.run.training.validates(self.stopping.epoch + 1)

    @property
    def is_improvement(self) -> bool:
        """Is the last epoch the best so far?"""
        return self.stopping.is_improvement and not self.has_diverged

    @property
    def stop_reason(self) -> StopReason | None:
        """None while the run continues."""
        if self.has_diverged:
            return "diverged"
        if self.stopping.is_over:
            return "patience"
        return "max_epochs" if self.stopping.epoch >= self.run.training.max_epochs else None

    def after_epoch(self, losses: list[float], trained: Score, valid: Score | None, seconds: float) -> None:
        """`losses` are those of the steps. An epoch that diverges gets no EpochRecord."""
        finite = list(takewhile(math.isfinite, losses))
        self.num_finite += len(finite)
        self.last_finite_loss = finite[-1] if finite else self.last_finite_loss
        self.wall_seconds += seconds
        # If the last step of an epoch breaks the weights, the validation loss shows it. Without validation, the next loss does.
        self.has_diverged = len(finite) < len(losses) or (valid is not None and not math.isfinite(valid.loss))
        if self.has_diverged:
            return
        if valid is not None:
            self.plateau = self.plateau.after(self.run.schedule, self.run.optimizer.lr, valid.loss)
        self.stopping = self.stopping.after(valid.accuracy if valid else None)
        self.curve.append(
            EpochRecord(
                epoch=self.stopping.epoch,
                train_loss=trained.loss,
                train_accuracy=trained.accuracy,
                highest_loss=max(losses),
                valid_loss=valid.loss if valid else None,
                valid_accuracy=valid.accuracy if valid else None,
                seconds=seconds,
            )
        )

    def outcome(self, best: Score | None, last: Score | None, cpu_seconds: float | None = None) -> Outcome:
        """`best` and `last` are the test scores of the best and the last epoch, or None if the run has no such epoch."""
        assert self.stop_reason is not None
        last_accuracy = self.curve[-1].valid_accuracy if self.curve else None
        scored = {"best": (best, self.stopping.best_accuracy), "last": (last, last_accuracy)}
        test, valid_accuracy = scored[self.run.training.score]
        return Outcome(
            status="diverged" if self.has_diverged else "ok",
            stop_reason=self.stop_reason,
            curve=tuple(self.curve),
            best_epoch=self.stopping.best_epoch or None,
            valid_accuracy=valid_accuracy if test else None,
            test_loss=test.loss if test and math.isfinite(test.loss) else None,
            test_accuracy=test.accuracy if test else None,
            best_test_accuracy=best.accuracy if best else None,
            last_test_accuracy=last.accuracy if last else None,
            balanced_test_accuracy=test.balanced_accuracy if test else None,
            wall_seconds=self.wall_seconds,
            cpu_seconds=cpu_seconds,
            diverged_step=self.num_finite if self.has_diverged else None,
            last_finite_loss=self.last_finite_loss,
        )

    def state(self) -> State:
        """Everything that `load_state` needs."""
        return {
            "stopping": asdict(self.stopping),
            "plateau": asdict(self.plateau),
            "curve": [asdict(epoch) for epoch in self.curve],
            "num_finite": self.num_finite,
            "last_finite_loss": self.last_finite_loss,
            "wall_seconds": self.wall_seconds,
        }

    def load_state(self, state: State) -> None:
        """Continue from the `state()` of a run with the same settings. Other entries are ignored."""
        self.stopping = EarlyStopping(**state["stopping"])
        self.plateau = PlateauState(**state["plateau"])
        self.curve = [EpochRecord(**epoch) for epoch in state["curve"]]
        self.num_finite, self.last_finite_loss = state["num_finite"], state["last_finite_loss"]
        self.wall_seconds = state["wall_seconds"]
