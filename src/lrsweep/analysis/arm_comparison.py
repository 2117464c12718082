"""Compare the arms of a study, each at its own best learning rate."""

import math

import numpy as np
import pandas as pd

from lrsweep.analysis.block_design import BlockDesign
from lrsweep.analysis.sensitivity import rate_sensitivity, usable_decades
from lrsweep.analysis.student import critical_t
from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.summary import CONFIDENCE


def compare(study: Study) -> pd.DataFrame:
    """One row per arm, the highest validation accuracy first. An arm without a scored rate has only `arm` and `called`.

    - arm, called: the full name and the short name
    - lr, is_at_edge: the arm's best rate, and whether that is the lowest or the highest rate tried
    - valid, test: mean accuracies at that rate
    - test_low, test_high: confidence interval of `test`
    - loss_nearby: how much lower the mean test accuracy is within half a decade of that rate
    - decades, is_cut: mean over the seeds, and whether any seed is cut, see `usable_decades`
    - sensitivity: mean over the seeds, NaN if the grid is too narrow, see `rate_sensitivity`
    - num_rates, num_seeds
    - epochs: mean at that rate
    """
    test_design, loss_design = BlockDesign(study, "test_accuracy"), BlockDesign(study, "loss_nearby")
    rows = [{"arm": arm, "called": study.called(arm)} | _row(test_design, loss_design, arm) for arm in study.runs["arm"].unique()]
    columns = ["arm", "called", "lr", "is_at_edge", "valid", "test", "test_low", "test_high", "loss_nearby", "decades", "is_cut"]
    columns += ["sensitivity", "num_rates", "num_seeds", "epochs"]
    return pd.DataFrame(rows, columns=columns).sort_values("valid", ascending=False, ignore_index=True)


def _row(test_design: BlockDesign, loss_design: BlockDesign, arm: str) -> dict[str, object]:
    study = test_design.study
    try:
        choice = study.choose(arm)
    except NoSuchRuns:
        return {}
    measured = study.measured[study.measured["arm"] == arm]
    runs = measured[measured["lr"] == choice.lr]
    usable = usable_decades(measured, choice.lr)
    test = test_design.table[arm, choice.lr].dropna()
    half = _half_interval(test_design, arm, choice.lr, test)
    return {
        "lr": choice.lr,
        "is_at_edge": choice.is_at_edge,
        "valid": runs["valid_accuracy"].mean(),
        "test": test.mean(),
        "test_low": test.mean() - half,
        "test_high": test.mean() + half,
        "loss_nearby": loss_design.column(arm).by_seed.mean(),
        "decades": usable["decades"].mean(),
        "is_cut": bool(usable["is_cut"].any()),
        "sensitivity": rate_sensitivity(measured, study.curves, choice.lr).mean(),
        "num_rates": len(choice.rates),
        "num_seeds": len(test),
        "epochs": runs["epochs"].mean(),
    }


def _half_interval(design: BlockDesign, arm: str, lr: float, test: pd.Series) -> float:
    """Half the confidence interval of the mean.

    Uses the pooled variance if it includes this column, because that excludes effects that all arms of a seed share.
    """
    variance, df, pooled_columns = design.pooled
    if (arm, lr) not in pooled_columns:
        variance, df = float(test.var()), len(test) - 1
    if df < 1 or np.isnan(variance):
        return math.nan
    return float(critical_t(1 - CONFIDENCE, df) * math.sqrt(variance / len(test)))
