"""The committed study in results/reference/lr, as tables."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lrsweep.analysis.findings import analyse

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "lr"


class Study(NamedTuple):
    """The runs and curves of the main arm."""

    folder: Path
    runs: pd.DataFrame
    curves: pd.DataFrame


def read_reference() -> Study:
    tables = analyse(REFERENCE)
    arm = next(iter(tables.findings))
    return Study(REFERENCE, tables.of_arm(arm), tables.curves[tables.curves["arm"] == arm])
