"""Where learning starts and where it ends: the rates at which half of the seeds learn, with their intervals.

Each seed has its own edge. It lies between the last rate at which the seed fails and the first at which it learns. The mean of
these edges, in decades, estimates the rate at which half of all seeds learn (Spearman and Kärber). Unlike the share of runs that
learn, this mean does not depend on where the grid begins.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.shortfall import LEVEL
from lrsweep.analysis.student import critical_t
from lrsweep.analysis.summary import kept_learning


@dataclass(frozen=True)
class Edge:
    lr: float  # half of the seeds learn here
    low: float  # confidence interval; NaN with one seed
    high: float
    num_seeds: int


@dataclass(frozen=True)
class Edges:
    """An edge is None if some seed still learns at the last rate on that side, because the edge then lies outside the grid."""

    start: Edge | None
    end: Edge | None


def learning_edges(runs: pd.DataFrame, level: float = LEVEL) -> Edges:
    """`runs` of one arm, with the column `learned`. Only seeds with a run at every rate count; a diverged run has not learned."""
    learned_SR = _learned(runs)
    if learned_SR.empty or learned_SR.shape[1] < 2 or not learned_SR.to_numpy().any():
        return Edges(None, None)
    log_R = np.log10(learned_SR.columns.to_numpy(dtype=float))
    fails_SR = ~learned_SR.to_numpy()
    num_fails_R = fails_SR.sum(axis=0)
    middle = int(np.median(np.flatnonzero(num_fails_R == num_fails_R.min())))
    start = _edge(log_R[: middle + 1], fails_SR[:, : middle + 1], level)
    end = _edge(-log_R[middle:][::-1], fails_SR[:, middle:][:, ::-1], level)
    return Edges(start, None if end is None else Edge(1 / end.lr, 1 / end.high, 1 / end.low, end.num_seeds))


def upper_edges(runs: pd.DataFrame) -> pd.DataFrame:
    """Each seed's upper edge. Columns: seed, edge (log10 of the rate), is_cut (the seed still learns at the highest rate).

    Each rate at which the seed learns moves its edge up by one cell. `runs` as for `learning_edges`.
    """
    learned_SR = _learned(runs)
    log_R = np.log10(learned_SR.columns.to_numpy(dtype=float))
    bounds = np.concatenate([[log_R[0]], (log_R[:-1] + log_R[1:]) / 2, [log_R[-1]]])  # where the cell of each rate begins
    edges = log_R[0] + learned_SR.to_numpy() @ np.diff(bounds)
    return pd.DataFrame({"seed": learned_SR.index, "edge": edges, "is_cut": learned_SR.iloc[:, -1].to_numpy()})


def _learned(runs: pd.DataFrame) -> pd.DataFrame:
    """Did it learn? Seeds × rates, for seeds with a run at every rate."""
    learned = runs.assign(learned=kept_learning(runs))[runs["status"] != "failed"]
    return learned.pivot(index="seed", columns="lr", values="learned").dropna().astype(bool)


def _edge(log_R: np.ndarray[Any, Any], fails_SR: np.ndarray[Any, Any], level: float) -> Edge | None:
    """The lower edge. Rates ascend, and most seeds learn at the last. Each failure moves the seed's edge up by one cell."""
    if len(log_R) < 2 or not fails_SR[:, 0].all():
        return None
    bounds = np.concatenate([[log_R[0]], (log_R[:-1] + log_R[1:]) / 2])  # where the cell of each rate begins
    edge_S = bounds[0] + fails_SR[:, :-1] @ np.diff(bounds)
    num_seeds = len(edge_S)
    half = float(critical_t(level, num_seeds - 1)) * float(edge_S.std(ddof=1)) / num_seeds**0.5 if num_seeds > 1 else np.nan
    # All seeds share the grid, so their rounding errors do not average out. And even if all measured edges lie in one cell, up
    # to 1 - level^(1/n) of all seeds may have their edge in the next cell.
    half = max(half, float(np.diff(log_R).max()) * max(0.5, 1 - level ** (1 / num_seeds)))
    mean = float(edge_S.mean())
    return Edge(10**mean, 10 ** (mean - half), 10 ** (mean + half), num_seeds)
