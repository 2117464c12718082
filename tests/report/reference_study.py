"""The committed study in results/reference/lr, as tables."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lrsweep.analysis.findings import CONFIRM, Findings, analyse, fresh_runs
from lrsweep.report.explorer.chart import explorer_spec

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "lr"


class Study(NamedTuple):
    """The results, runs and curves of the main arm, and its runs on fresh seeds."""

    folder: Path
    found: Findings
    runs: pd.DataFrame
    curves: pd.DataFrame
    fresh: pd.DataFrame

    @property
    def spec(self) -> dict[str, Any]:
        return explorer_spec(self.found, self.runs, self.curves, self.fresh)


def read_reference() -> Study:
    tables = analyse(REFERENCE)
    assert tables.main is not None
    arm = tables.main.best.arm
    runs = tables.of_arm(arm)
    fresh = fresh_runs(runs, tables.quoted[CONFIRM])
    return Study(REFERENCE, tables.main, runs, tables.curves[tables.curves["arm"] == arm], fresh)
