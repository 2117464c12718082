"""What does each learning rate lose compared with the best one? Intervals and classes, simultaneous over the rates.

The shortfall of a rate is the best rate's true mean accuracy minus its own. Nobody knows which rate is truly the best, so the
interval considers every rate that may be the best (Hsu's comparisons with the best, 1984, in the form of Edwards and Hsu, 1983,
which does not assume equal variances):

1. For a given rate k and every other rate i, the difference of their means has a paired t interval over the seeds. Bonferroni's
   correction over the R - 1 others makes these intervals hold together with probability 1 - LEVEL. Each pair uses its own
   variance, because the noise grows towards the rates where training breaks down, and neighbouring rates are correlated.
2. Rate k may be the best if none of its intervals shows that it is lower than another rate.
3. The interval of rate i's shortfall is the union of its intervals against every rate that may be the best.

If the differences are normal and the true best rate is dependable, all of its intervals are right with probability 1 - LEVEL.
Then step 2 keeps the true best rate, and every shortfall lies in its interval. Choosing the best rate from the same data needs
no further correction. Moderation of the variances (see `moderated`) makes this approximate: docs/statistics.md shows by
simulation how often verdicts and intervals are wrong, also if neighbouring rates are correlated or rates differ in their spread.

Only dependable rates may be the best: every seed learned, and the variance between seeds is not far larger than that of the
other rates (an F test), unless the mean is as high. Without this rule, one unlucky run at the edge of learning would make every
interval useless.

In the simulations, classes are wrong in at most LEVEL of the studies. With 3 or 5 seeds, intervals are wrong more often: in 7%
of the studies if one rate is far ahead, and in 18% if also its spread is four times that of the others.
"""

import math
from typing import Literal

import numpy as np
import pandas as pd
from scipy import optimize, special

from lrsweep.analysis.student import critical_t

DELTA = 0.002  # accuracy; 20 of 10,000 test images. Two standard errors of a single score are 0.0028
LEVEL = 0.05
SPREAD_LEVEL = 0.005  # of the F test
MAX_PRIOR_DF = 1_000.0
MIN_SEEDS = 3  # with fewer, a variance means little
MAX_SEEDS = 1_000  # in a forecast; more is as good as never
MIN_PAIRS = 30  # of rates. With fewer, the scatter of variances is a guess, and simulations show too many errors

Verdict = Literal["good", "worse", "undecided"]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def compare_with_best(
    accuracy_SR: pd.DataFrame, learned_SR: pd.DataFrame, delta: float = DELTA, resolution: float = 1e-4
) -> pd.DataFrame:
    """One row per rate, ascending, from two tables of seeds × rates.

    - lr, num_seeds, num_learned: runs with an accuracy, and those of them that learned
    - mean: accuracy
    - dependable: may be the best
    - shortfall: the highest mean of the dependable rates minus this mean, on the seeds that both share; NaN if none is dependable
    - low, high: interval of the true shortfall; NaN if some seed did not learn, or with fewer than MIN_SEEDS
    - verdict: `good` if the shortfall is shown to be below `delta`, `worse` if it is shown to be above, else `undecided`. A rate
      at which a run did not learn is `worse`: one such run in 250 would cost more than 0.2 points on average.

    `resolution` is the smallest difference between two accuracies. Without it, a few equal scores would look like certainty.
    """
    table = accuracy_SR.sort_index(axis="columns").astype(float)
    score_SR, mean_R = table.to_numpy(), table.mean().to_numpy()
    is_known_SR = np.isfinite(score_SR)
    has_learned_SR = is_known_SR & learned_SR.reindex_like(table).eq(True).to_numpy()  # missing: False
    num_seeds_R, num_learned_R = is_known_SR.sum(axis=0), has_learned_SR.sum(axis=0)
    has_learned_R = (num_learned_R == num_seeds_R) & (num_seeds_R > 0)
    complete_SR = score_SR[is_known_SR.all(axis=1)]  # the F test needs a full table; the intervals do not
    dependable_R = dependable(complete_SR, has_learned_R) if len(complete_SR) else has_learned_R
    paired_R, low_R, high_R = _compare(score_SR, has_learned_R, dependable_R, resolution)
    unpaired_R = max(mean_R[dependable_R], default=np.nan) - mean_R
    is_worse_R = (low_R > delta) | (num_learned_R < num_seeds_R)
    return pd.DataFrame(
        {
            "lr": table.columns.to_numpy(dtype=float),
            "num_seeds": num_seeds_R,
            "num_learned": num_learned_R,
            "mean": mean_R,
            "dependable": dependable_R,
            "shortfall": np.where(np.isfinite(paired_R), paired_R, unpaired_R),
            "low": low_R,
            "high": high_R,
            "verdict": np.select([is_worse_R, high_R < delta], ["worse", "good"], "undecided"),
        }
    )


def _compare(accuracy_SR: Array, learned_R: Mask, dependable_R: Mask, resolution: float) -> tuple[Array, Array, Array]:
    """The shortfalls of the rates that learned, and their simultaneous intervals. The module's docstring has the steps."""
    shortfall_R, low_R, high_R = np.full((3, accuracy_SR.shape[1]), np.nan)
    learned = np.flatnonzero(learned_R)
    candidates = np.flatnonzero(dependable_R)
    if not len(candidates):
        return shortfall_R, low_R, high_R
    with np.errstate(invalid="ignore", divide="ignore"):
        difference_KSR = accuracy_SR.T[candidates][:, :, None] - accuracy_SR[None, :, learned]  # candidate minus rate
        num_KR = np.isfinite(difference_KSR).sum(axis=1)
        mean_KR = np.nansum(difference_KSR, axis=1) / np.maximum(num_KR, 1)  # 0 for rates that share no seed
        variance_KR = np.nansum((difference_KSR - mean_KR[:, None]) ** 2, axis=1) / (num_KR - 1)
        is_distinct_KR = ~dependable_R[learned] | (candidates[:, None] < learned)  # each pair of rates once
        variance_KR, df_KR = moderated(np.maximum(variance_KR, resolution**2), num_KR - 1, is_distinct_KR)
        half_KR = critical_t(LEVEL / max(len(learned) - 1, 1), df_KR) * np.sqrt(variance_KR / num_KR)
    shortfall_R[learned] = np.where(num_KR > 0, mean_KR, -np.inf).max(axis=0)
    half_KR[num_KR < MIN_SEEDS] = np.inf
    half_KR[candidates[:, None] == learned] = 0.0  # a rate against itself
    lower_KR, upper_KR = mean_KR - half_KR, mean_KR + half_KR
    may_be_best_K = (upper_KR[:, dependable_R[learned]] >= 0).all(axis=1)
    if not may_be_best_K.any():  # rates that share too few seeds can each lose against another one
        may_be_best_K[:] = True
    low_R[learned], high_R[learned] = lower_KR[may_be_best_K].min(axis=0), upper_KR[may_be_best_K].max(axis=0)
    low_R[candidates] = np.maximum(low_R[candidates], 0.0)  # a candidate is at most as good as the best
    is_known = np.isfinite(low_R) & np.isfinite(high_R) & (len(learned) > 1)
    return shortfall_R, np.where(is_known, low_R, np.nan), np.where(is_known, high_R, np.nan)


def seeds_needed(accuracy_SR: pd.DataFrame, rates: pd.DataFrame, delta: float = DELTA) -> int | None:
    """About how many seeds would show that rates with a small shortfall are good. None if that cannot be estimated.

    `rates` is the result of `compare_with_best`. With that many seeds, half an interval is delta / 2. The
    spread is pooled over all rates within delta of the best, because few seeds say little about a single pair of rates.
    """
    near = accuracy_SR[rates.loc[rates["dependable"] & (rates["shortfall"] < delta), "lr"]].dropna()
    num_shared, num_near = near.shape
    if num_near < 2 or num_shared < MIN_SEEDS:
        return None
    variance = float((residuals(near.to_numpy()) ** 2).sum()) / ((num_shared - 1) * (num_near - 1))
    num_learned = int((rates["num_learned"] == rates["num_seeds"]).sum())
    num_seeds = np.arange(MIN_SEEDS, MAX_SEEDS + 1)
    half = critical_t(LEVEL / (num_learned - 1), num_seeds - 1) * np.sqrt(2 * variance / num_seeds)
    return int(num_seeds[half <= delta / 2][0]) if (half <= delta / 2).any() else None


def moderated(variance: Array, df: Array, is_used: Mask) -> tuple[Array, Array]:
    """Variances shrunk towards a common value, and their degrees of freedom (Smyth 2004, as in limma).

    The model: true variances scatter around the common value like a scaled inverse χ². The less the logarithms of the estimates
    scatter beyond what `df` explains, the more degrees of freedom the common value is worth.
    """
    is_used &= df >= MIN_SEEDS - 1
    used_df = df[is_used]
    if len(used_df) < MIN_PAIRS:
        return variance, df
    centred = np.log(variance[is_used]) - special.digamma(used_df / 2) + np.log(used_df / 2)
    scatter = centred.var(ddof=1) - special.polygamma(1, used_df / 2).mean()
    if scatter <= special.polygamma(1, 0.5 * MAX_PRIOR_DF):
        prior_df = MAX_PRIOR_DF
    else:
        prior_df = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - scatter, 1e-3, MAX_PRIOR_DF)
    prior = math.exp(centred.mean() + special.digamma(prior_df / 2) - math.log(prior_df / 2))
    return (df * variance + prior_df * prior) / (df + prior_df), df + prior_df


def dependable(accuracy_SR: Array, learned_R: Mask) -> Mask:
    """Which rates may be the best: they learned, and they do not vary far more between seeds than the others.

    A rate that varies far more is left out only if its mean is also more than one standard error below the highest mean of the
    others. Otherwise a best rate with a large spread would be left out, the more surely the more seeds there are.
    """
    kept = similar_spread(accuracy_SR, learned_R)
    if not kept.any() or (kept == learned_R).all():
        return kept
    means = accuracy_SR.mean(axis=0)
    ahead_SR = accuracy_SR - accuracy_SR[:, [np.where(kept, means, -np.inf).argmax()]]
    standard_error_R = ahead_SR.std(axis=0, ddof=1) / math.sqrt(len(ahead_SR))
    return np.asarray(kept | (learned_R & (ahead_SR.mean(axis=0) + standard_error_R >= 0)))


def similar_spread(accuracy_SR: Array, learned_R: Mask) -> Mask:
    """Which rates learned and do not vary far more between seeds than the others.

    If all rates vary equally, one is left out by chance with a probability of at most SPREAD_LEVEL.
    """
    kept = learned_R.copy()
    while len(accuracy_SR) >= MIN_SEEDS and kept.sum() > 2:
        indices = np.flatnonzero(kept)
        widest, p_value = _test_widest(accuracy_SR[:, indices])
        if p_value >= SPREAD_LEVEL:
            break
        kept[indices[widest]] = False
    return kept


def _test_widest(accuracy_SR: Array) -> tuple[int, float]:
    """The rate that varies most against the mean of the others, and the p-value of its variance (Bonferroni over the rates).

    If all rates vary equally, the sum of squares of one rate against the mean of the others is independent of the residual sum of
    squares of the others. So their ratio has an F distribution, for any number of rates and any means. Cochran's C has no such
    exact distribution here, because seeds are blocks.
    """
    num_seeds, num_rates = accuracy_SR.shape
    squares_R = (residuals(accuracy_SR) ** 2).sum(axis=0)
    own_R = squares_R * num_rates / (num_rates - 1)
    widest = int(own_R.argmax())
    others = max((squares_R.sum() - own_R[widest]) / (num_rates - 2), 1e-24)  # avoids dividing by 0
    p_value = special.fdtrc(num_seeds - 1, (num_seeds - 1) * (num_rates - 2), own_R[widest] / others)  # the upper tail of F
    return widest, min(1.0, num_rates * float(p_value))


def residuals(accuracy_SR: Array) -> Array:
    """Residuals of the two-way layout: accuracy minus the effects of rate and seed."""
    rate_means, seed_means = accuracy_SR.mean(axis=0), accuracy_SR.mean(axis=1, keepdims=True)
    return np.asarray(accuracy_SR - rate_means - seed_means + accuracy_SR.mean())
