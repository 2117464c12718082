"""How much the choice of the learning rate matters for an arm, in two numbers per seed."""

import math
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.summary import chance

NEAR = 0.01  # accuracy
DECADES = 1.0  # on either side of the best rate


def usable_decades(runs: pd.DataFrame, best_lr: float) -> pd.DataFrame:
    """How many decades of rates around `best_lr` lose at most NEAR in test accuracy compared with `best_lr`.

    One row per seed: seed, decades, is_cut. `is_cut` says that this range reaches an end of the grid and may be wider.
    A run at chance level is outside. Accuracy is interpolated linearly between rates.
    """
    accuracy_SR = _table(runs, runs["test_accuracy"].fillna(0.0).where(runs["learned"], 0.0))
    log_R = np.log10(accuracy_SR.columns.to_numpy(dtype=float))
    best = int(np.abs(log_R - math.log10(best_lr)).argmin())
    rows = []
    for seed, accuracy in accuracy_SR.iterrows():
        if not accuracy.iloc[best]:  # the seed did not learn at best_lr
            rows.append({"seed": seed, "decades": 0.0, "is_cut": False})
            continue
        above_R = accuracy.to_numpy() - (accuracy.iloc[best] - NEAR)
        upper, is_upper_cut = _reach(log_R[best:], above_R[best:])
        lower, is_lower_cut = _reach(-log_R[best::-1], above_R[best::-1])
        rows.append({"seed": seed, "decades": upper + lower, "is_cut": is_upper_cut or is_lower_cut})
    return pd.DataFrame(rows, columns=["seed", "decades", "is_cut"])


def _reach(log_R: np.ndarray[Any, Any], above_R: np.ndarray[Any, Any]) -> tuple[float, bool]:
    """The distance from the first rate to where `above_R` falls below 0. If it never does: the distance to the last, and True."""
    outside = np.flatnonzero(above_R < 0)
    if not len(outside):
        return float(log_R[-1] - log_R[0]), True
    last, first_outside = outside[0] - 1, outside[0]
    share = above_R[last] / (above_R[last] - above_R[first_outside])
    return float(log_R[last] + share * (log_R[first_outside] - log_R[last]) - log_R[0]), False


def rate_sensitivity(runs: pd.DataFrame, curves: pd.DataFrame, best_lr: float) -> pd.Series:
    """Mean excess loss within DECADES of the best rate, one value per seed (Wortsman et al. 2023, arXiv:2309.14322).

    A run's loss is its validation loss at the best epoch, but at most that of guessing, which a diverged run has. The excess is
    the loss minus the loss at `best_lr`. NaN for all seeds if the grid does not cover these decades.
    """
    at_best = curves.merge(runs[["run_id", "best_epoch"]], on="run_id").query("epoch == best_epoch").set_index("run_id")
    loss = runs["run_id"].map(at_best["valid_loss"]).where(runs["status"] != "diverged")
    of_guessing = -math.log(chance(runs))
    loss_SR = _table(runs, loss.fillna(of_guessing).clip(upper=of_guessing))
    decades_R = np.log10(loss_SR.columns.to_numpy(dtype=float)) - math.log10(best_lr)
    if decades_R.min() > -DECADES + 1e-6 or decades_R.max() < DECADES - 1e-6:
        return pd.Series(math.nan, index=loss_SR.index)
    inside = loss_SR.loc[:, np.abs(decades_R) <= DECADES + 1e-6]
    excess: pd.Series = inside.mean(axis="columns") - loss_SR.iloc[:, int(np.abs(decades_R).argmin())]
    return excess


def _table(runs: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """Seeds × rates, for the seeds with a run at every rate. `values` has one value per run; failed runs count as missing."""
    is_measured = runs["status"] != "failed"
    table = runs[is_measured].assign(value=values[is_measured]).pivot(index="seed", columns="lr", values="value")
    return table.dropna()
