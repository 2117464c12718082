"""Findings whose numbers are all chosen here, for the tests of the texts."""

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from lrsweep.analysis.best_rate import Best, Doubt, TradeOff
from lrsweep.analysis.edges import Edge, Edges
from lrsweep.analysis.explanations import Small, VerySmall
from lrsweep.analysis.findings import Findings

NAN = math.nan
RATES = [1e-5, 10**-3.4, 10**-2.9, 10**-2.6, 1e-2]
LEARNED = ("num_learned", "num_kept_learning")  # columns
VERDICTS = ["worse", "undecided", "good", "good", "worse"]


def rows_of(verdicts: list[str], num_seeds: int = 4) -> pd.DataFrame:
    """Five rates. The middle one is the best; the first learned on no seed."""
    counts = dict.fromkeys(("num_runs", "num_scored", "num_measured"), num_seeds)
    no_counts = {"num_ok": num_seeds, "num_diverged": 0, "num_failed": 0}
    accuracy = {
        **{"test_mean": [0.1, 0.9763, 0.9812, 0.9798, 0.96], "test_low": [0.1, 0.9751, 0.9801, 0.9785, 0.95]},
        **{"test_high": [0.1, 0.9775, 0.9823, 0.9811, 0.97], "valid_mean": [0.1, 0.9663, 0.9771, 0.9766, 0.95]},
        **{"valid_low": [0.1, 0.966, 0.976, 0.975, 0.94], "valid_high": [0.1, 0.9666, 0.9782, 0.9782, 0.96]},
    }
    shortfall = {
        **{"shortfall": [0.8812, 0.0049, 0.0, 0.0014, 0.0212], "shortfall_low": [NAN, 0.0011, 0.0, 0.0, 0.0151]},
        **{"shortfall_high": [NAN, 0.0087, 0.0009, 0.0018, 0.0273], "verdict": verdicts},
        **{"dependable": [False, True, True, True, True], **{name: [0, *[num_seeds] * 4] for name in LEARNED}},
    }
    cost = {
        **{"epochs_mean": [6.0, 28.0, 36.0, 17.0, 9.0], "epochs_low": [6.0, 26.0, 33.0, 15.5, 8.0]},
        **{"epochs_high": [6.0, 30.0, 39.0, 18.5, 10.0], "num_timed": [4, 0, 3, 2, 4]},
        **{"seconds_mean": [15.0, NAN, 61.2, 43.1, 20.0], "seconds_low": [14.0, NAN, 55.0, 40.2, 18.0]},
        "seconds_high": [16.0, NAN, 67.4, 46.0, 22.0],
    }
    return pd.DataFrame({"arm": "cross_entropy", "lr": RATES} | counts | no_counts | accuracy | shortfall | cost)


def best_of(
    verdicts: list[str] = VERDICTS,
    *,
    trade_off: int | None = 3,
    is_timed: bool = True,
    num_seeds: int = 4,
    arm: str = "cross_entropy",
    doubts: tuple[Doubt, ...] = (),
    seeds_needed: int | None = None,
    rates: slice = slice(None),
) -> Best:
    """`trade_off` is the index of its rate. `rates` selects the rates that ran, because fresh seeds do not run at all rates."""
    rows = rows_of(verdicts, num_seeds).assign(arm=arm)
    if not is_timed:
        rows = rows.assign(num_timed=0, seconds_mean=NAN, seconds_low=NAN, seconds_high=NAN)
    if num_seeds == 1:
        ends = [name for name in rows if str(name).endswith(("_low", "_high"))]
        rows[ends] = NAN
    best, cheapest = rows.iloc[2], None
    if trade_off is not None:
        saved = (0.0, 0.0, 0.0) if trade_off == 2 else (0.5278, 0.4832, 0.5689)
        cheapest = TradeOff(rows.iloc[trade_off], *saved)
    fastest = TradeOff(rows.iloc[3], 0.3, 0.2, 0.4) if cheapest and is_timed else None
    kept = rows.iloc[rates].reset_index(drop=True)
    return Best(arm, kept, 0.002, best, cheapest, fastest, num_seeds, seeds_needed, doubts, tuple(RATES))


EDGES = Edges(start=Edge(5.2e-6, 3.7e-6, 7.2e-6, 4), end=Edge(0.0112, 0.01, 0.0126, 4))
VERY_SMALL = VerySmall(
    num_runs=23,
    num_learned=8,
    learned_from=10**-5.4,
    num_out_of_patience=21,
    num_stopped_at_once=14,
    highest_test_accuracy=0.3457,
)
NOTHING_LEARNED = replace(VERY_SMALL, num_learned=0, learned_from=None, highest_test_accuracy=0.1135)
SMALL = Small(num_runs=26, epochs_ratio=12.6, test_shortfall=0.0249, num_out_of_patience=22, num_still_improving=19)
FOUND = Findings(best=best_of(), edges=EDGES, very_small=VERY_SMALL, small=SMALL)

NO_GOOD_RATE: dict[str, Any] = {"verdicts": ["worse", *["undecided"] * 4], "trade_off": None}


def with_fresh(fresh: Best | None = None, **changes: Any) -> Findings:
    """FOUND with fresh seeds. By default, 20 seeds ran at the three rates around the best, and they agree with the study."""
    fresh = fresh or best_of(num_seeds=20, rates=slice(1, 4))
    return replace(FOUND, confirmation=fresh, **changes)
