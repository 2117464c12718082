"""The arms of a study side by side: each at its own best rate, and how much that choice matters."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.summary import CONFIDENCE


def compare(study: Study) -> pd.DataFrame:
    """One row an arm, the most accurate on validation first: arm, called, lr, is_at_edge, valid, test and its interval (test_low
    to test_high, of the spread pooled over the study where it takes part in that), shortfall, width (decades of its plateau),
    num_rates, num_seeds, epochs and seconds (medians at that rate). Arms without a scored rate have none of these.
    """
    design = BlockDesign(study, "test_accuracy")
    around = BlockDesign(study, "shortfall")
    rows = [{"arm": arm, "called": study.called(arm)} | _row(design, around, arm) for arm in study.runs["arm"].unique()]
    columns = ["arm", "called", "lr", "is_at_edge", "valid", "test", "test_low", "test_high", "shortfall", "width"]
    columns += ["num_rates", "num_seeds", "epochs", "seconds"]
    return pd.DataFrame(rows, columns=columns).sort_values("valid", ascending=False, ignore_index=True)


def _row(design: BlockDesign, around: BlockDesign, arm: str) -> dict[str, object]:
    study = design.study
    try:
        choice, plateau = study.choose(arm), study.plateau(arm)
    except NoSuchRuns:
        return {}
    at_best = study.runs[(study.runs["arm"] == arm) & (study.runs["lr"] == choice.lr)]
    test = design.table[arm, choice.lr].dropna()
    half = _half_interval(design, arm, choice.lr, test)
    return {
        **{"lr": choice.lr, "is_at_edge": choice.is_at_edge, "valid": at_best["valid_accuracy"].mean(), "test": test.mean()},
        **{"test_low": test.mean() - half, "test_high": test.mean() + half, "shortfall": around.column(arm).of_seeds.mean()},
        **{"width": plateau.num_decades, "num_rates": len(choice.rates), "num_seeds": len(test)},
        **{"epochs": at_best["epochs"].median(), "seconds": at_best["seconds"].median()},
    }


def _half_interval(design: BlockDesign, arm: str, lr: float, test: pd.Series) -> float:
    """For comparing arms on the same seeds: what the seeds have in common is no part of it."""
    variance, df, kept = design.pooled
    if (arm, lr) not in kept:
        variance, df = float(test.var()), len(test) - 1
    if df < 1 or np.isnan(variance):
        return math.nan
    return float(stats.t.isf((1 - CONFIDENCE) / 2, df) * math.sqrt(variance / len(test)))
