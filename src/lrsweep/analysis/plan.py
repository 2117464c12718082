"""What a study costs, and which difference between two arms it can detect."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import optimize, special

from lrsweep.analysis.student import critical_t
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.verdicts import POWER
from lrsweep.config import RunConfig, StudyConfig

PAIRED_SD = 0.003
"""Standard deviation over seeds of the difference in test accuracy between two arms of 3,000 images, each at its best rate.

Every plan uses this value; `make plan` also prints what each study measured. The committed studies with at least four arms have
0.0016 to 0.0056, and 0.0029 together. The largest values are of runs at a constant rate that are scored at their last epoch.
"""
NEAR = 0.01  # accuracy; arms further below the best arm are left out, because they often vary far more


@dataclass(frozen=True)
class Plan:
    """The size of one study. Each arm has the rates 10^`exponents`, and `run` is any run of the study."""

    study: StudyConfig
    num_arms: int
    exponents: tuple[float, ...]
    num_seeds: int
    run: RunConfig

    @property
    def num_tuning(self) -> int:
        """Runs of the study itself."""
        return self.num_arms * len(self.exponents) * self.num_seeds

    @property
    def num_fresh(self) -> int:
        """Runs of lrsweep-confirm, at most: an arm whose best rate is near an end of the grid has fewer."""
        decades = self.study.confirm_decades + 1e-6
        num_rates = max(sum(abs(other - best) <= decades for other in self.exponents) for best in self.exponents)
        return (self.num_arms * num_rates + len(self.study.confirm_also)) * self.study.fresh_seeds

    @property
    def num_deciding_seeds(self) -> int:
        """Seeds of the runs that decide: the fresh ones, unless the study has none."""
        return self.study.fresh_seeds or self.num_seeds

    @property
    def cost(self) -> float:
        """The cost of all runs, in epochs of the documents' experiment. An upper bound if runs stop early."""
        return (self.num_tuning + self.num_fresh) * run_cost(self.run)

    @property
    def compares(self) -> bool:
        """Can the study compare arms or rates over several seeds?"""
        return self.num_arms * len(self.exponents) > 1 and self.num_deciding_seeds > 1


def run_cost(run: RunConfig, num_epochs: float | None = None) -> float:
    """A run's cost in epochs of the documents' experiment: 3,000 images to train and 5,000 to validate.

    Training takes two thirds of such an epoch, so an epoch without validation counts as two thirds. `num_epochs` is the
    number of epochs that the run took; None: max_epochs.
    """
    epochs = run.training.max_epochs if num_epochs is None else num_epochs
    num_validated = math.ceil(epochs / run.training.validate_every)  # the last epoch is always validated
    cost: float = epochs * run.data.num_train / 3_000 * 2 / 3 + num_validated * run.data.num_valid / 5_000 / 3
    return cost


def detectable(num_seeds: int, sd: float, level: float, power: float = POWER) -> float:
    """The smallest true difference that a paired t-test finds with probability `power`.

    `sd` is the standard deviation of the difference over seeds. The test is two-sided at `level`.
    """
    df = num_seeds - 1
    critical = float(critical_t(level, df))

    def excess(noncentrality: float) -> float:
        return 1 - float(special.nctdtr(df, noncentrality, critical)) - power  # noncentral t; the other tail is negligible

    return float(optimize.brentq(excess, 0.0, 2 * critical + 5)) * sd / math.sqrt(num_seeds)


def paired_sd(study: Study) -> float:
    """The measured value of PAIRED_SD: the root mean square over all pairs of arms NEAR the best; NaN without a pair."""
    columns = []
    for arm in study.runs["arm"].unique():
        try:
            lr = study.choose(arm).lr
        except NoSuchRuns:
            continue
        runs = study.measured[(study.measured["arm"] == arm) & (study.measured["lr"] == lr)]
        columns.append(runs.set_index("seed")["test_accuracy"])
    best = max((column.mean() for column in columns), default=math.nan)
    near = [column for column in columns if column.mean() >= best - NEAR]
    variances = [(a - b).var() for a, b in combinations(near, 2)]
    return math.sqrt(np.mean(variances)) if variances else math.nan
