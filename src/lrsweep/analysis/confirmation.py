"""Judge a study's rates again on fresh seeds. The best of many noisy results looks better than it is: the winner's curse."""

from dataclasses import dataclass, replace

import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best
from lrsweep.analysis.shortfall import MIN_SEEDS

FIRST_FRESH_SEED = 1_000  # far above the seeds of any study


@dataclass(frozen=True)
class Disagreement:
    """How the fresh seeds contradict the study. All rates are among those that ran on fresh seeds."""

    worse_best: pd.Series | None  # row of the study's best rate on fresh seeds, if it is worse there
    no_longer_good: tuple[float, ...]  # other rates: good in the study, worse on fresh seeds
    good_after_all: tuple[float, ...]  # worse in the study, good on fresh seeds


def confirm(best: Best, fresh: pd.DataFrame, num_missing: int = 0) -> Best | None:
    """The answers on fresh seeds alone. None if the study's best rate did not run on them, or only failed.

    `fresh` are runs of the same arm on seeds that the study did not use; `num_missing` more are planned. Fewer than MIN_SEEDS
    seeds choose no rate: the study's best rate remains.
    """
    lr = float(best.best["lr"])
    if lr not in set(fresh.loc[fresh["status"] != "failed", "lr"]):
        return None
    answers = find_best(fresh, num_missing, best.delta, best.tried)
    if answers is None or answers.num_seeds >= MIN_SEEDS:
        return answers
    return replace(answers, best=answers.rows[answers.rows["lr"] == lr].iloc[0])


def optimism(best: Best, fresh: Best) -> pd.Series:
    """For each rate, how much higher its validation accuracy is in the study than on the fresh seeds."""
    study, again = (answers.rows.set_index("lr")["valid_mean"] for answers in (best, fresh))
    return (study - again).dropna()


def disagreement(best: Best, fresh: Best) -> Disagreement | None:
    """How the fresh seeds contradict the study; None if they do not. An undecided rate contradicts nothing."""
    verdicts = best.rows.set_index("lr")["verdict"].rename("study")
    both = fresh.rows.merge(verdicts, left_on="lr", right_index=True)
    at_best = both[both["lr"] == best.best["lr"]].iloc[0]
    now_worse, now_good = both["verdict"] == "worse", both["verdict"] == "good"
    no_longer_good = tuple(both.loc[(both["study"] == "good") & now_worse & (both["lr"] != at_best["lr"]), "lr"])
    good_after_all = tuple(both.loc[(both["study"] == "worse") & now_good, "lr"])
    worse_best = at_best if at_best["verdict"] == "worse" else None
    if worse_best is None and not no_longer_good and not good_after_all:
        return None
    return Disagreement(worse_best, no_longer_good, good_after_all)
