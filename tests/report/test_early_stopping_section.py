"""The section on what early stopping hides."""

from dataclasses import replace

import pandas as pd
import pytest
from synthetic_findings import NO_GOOD_RATE, RATES, best_of

from lrsweep.analysis.fixed_budget import Sensitivity
from lrsweep.report.early_stopping import early_stopping_section, with_own_runs


def fixed_budget(num_seeds: int = 3) -> Sensitivity:
    """Three rates in 20 epochs. At the first one, no patience runs out; at the second one, a patience of 40 does not. The third
    one is the best.
    """
    rows = pd.DataFrame({"lr": RATES[:3], "num_runs": num_seeds, "full": [0.9, 0.9872, 0.9881]})
    for i, patience in enumerate((5, 10, 20, 40)):
        rows[f"valid_{patience}"] = [0.9, 0.97 + 0.001 * i, 0.98]
        rows[f"epochs_{patience}"] = [20.0, 17.4 + i, 15.0]
        rows[f"cut_{patience}"] = [0.0, 0.0 if patience == 40 else 1.0, 1.0]
    return Sensitivity(rows, 20, best_of(**NO_GOOD_RATE, num_seeds=num_seeds))


def own_runs(**changes: object) -> pd.DataFrame:
    """The study's own runs at the first rate: with a patience of 5, seeds 0 to 3 train for 100 epochs."""
    runs = {
        "lr": RATES[0],
        "seed": range(4),
        "training.patience": 5,
        "stop_reason": "patience",
        "valid_accuracy": 0.95,
        "epochs": 100,
    }
    return pd.DataFrame(runs | changes)


def section(fixed: Sensitivity, best_lr: float = RATES[2]) -> list[str]:
    return early_stopping_section(fixed, best_lr, "![A figure](figures/a.png)").split("\n\n")


def test_the_section_says_what_is_given_up_at_the_best_rate_and_at_most() -> None:
    heading, text, figure, fold, how, table, _ = section(fixed_budget())
    assert (heading, figure) == ("## What does early stopping hide?", "![A figure](figures/a.png)")
    assert "Here every run has 20 epochs, and its best epoch counts (3 seeds, 3 rates)." in text
    assert "Good rates then: **none** is shown yet to lose less than 0.2 percentage points" in text
    assert "The best rate by validation accuracy is still 0.0013 (10⁻²·⁹). There, a patience of 5 gives up 0.81 points" in text
    assert "The most is given up at 0.0004 (10⁻³·⁴): 1.72 points." in text
    assert "At 1 of 3 rates, a patience of 5 did not always run out within 20 epochs" in text
    assert fold.startswith("<details>")
    assert "+: patience did not run out" in how
    assert table.splitlines()[2] == "| 10⁻⁵ | 90.00% (20+) | 90.00% (20+) | 90.00% (20+) | 90.00% (20+) | 90.00% |"
    assert table.splitlines()[3] == "| 0.0004 (10⁻³·⁴) | 97.00% (17) | 97.10% (18) | 97.20% (19) | 97.30% (20+) | 98.72% |"


def test_a_patience_that_gains_gives_nothing_up() -> None:
    fixed = fixed_budget()
    text = section(replace(fixed, rows=fixed.rows.assign(valid_5=[0.9, 0.9972, 0.9981])))[1]
    assert "gives up" not in text
    assert "given up" not in text


def test_one_seed_cannot_show_good_rates_so_none_are_named() -> None:
    text = section(fixed_budget(num_seeds=1), best_lr=RATES[3])[1]
    assert "(one seed, 3 rates). The best rate by validation accuracy is then 0.0013" in text


def test_the_own_runs_show_where_early_stopping_ends_if_the_budget_is_too_short() -> None:
    budget_runs = pd.DataFrame({"seed": range(3)})
    fixed = with_own_runs(fixed_budget(), budget_runs, own_runs())
    text, table = section(fixed)[1], section(fixed)[5]
    assert "at 1 rate (10⁻⁵), it allows more than 20 epochs and reaches up to 5.00 points more" in text
    assert "did not always run out" not in text
    assert table.splitlines()[2] == "| 10⁻⁵ | 95.00% (100) | 90.00% (20+) | 90.00% (20+) | 90.00% (20+) | 90.00% |"


@pytest.mark.parametrize(
    "changes",
    [{"training.patience": "null"}, {"training.patience": 7}, {"stop_reason": "max_epochs"}, {"seed": range(2, 6)}],
    ids=["no patience", "another patience", "not stopped early", "other seeds"],
)
def test_runs_that_cannot_be_compared_are_left_out(changes: dict[str, object]) -> None:
    fixed = fixed_budget()
    pd.testing.assert_frame_equal(with_own_runs(fixed, pd.DataFrame({"seed": range(3)}), own_runs(**changes)).rows, fixed.rows)
