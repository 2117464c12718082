"""Judge a study's rates again on fresh seeds. The best of many noisy results looks better than it is: the winner's curse."""

import pandas as pd

from lrsweep.analysis.best_rate import Best, find_best

FIRST_FRESH_SEED = 1_000  # far above the seeds of any study


def confirm(best: Best, fresh: pd.DataFrame) -> Best | None:
    """The answers on fresh seeds alone. None if they do not include the best rate that the study chose.

    `fresh` are runs of the same arm on seeds that the study did not use.
    """
    if float(best.best["lr"]) not in set(fresh["lr"]):
        return None
    return find_best(fresh, delta=best.delta)


def optimism(best: Best, fresh: Best) -> pd.Series:
    """How much higher the validation accuracy is in the study than on the fresh seeds, by rate."""
    study, again = (answers.rows.set_index("lr")["valid_mean"] for answers in (best, fresh))
    return (study - again).dropna()
