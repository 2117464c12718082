"""The public Python interface, `import lrsweep`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrsweep

REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "lr"


def test_the_committed_study_loads_as_tables() -> None:
    runs, curves = lrsweep.load_runs(REFERENCE), lrsweep.load_curves(str(REFERENCE))
    assert len(runs) == runs["run_id"].nunique() > 0
    assert set(curves["run_id"]) <= set(runs["run_id"])
    last_epochs = curves.groupby("run_id")["epoch"].max()
    assert (runs["run_id"].map(last_epochs).fillna(0) == runs["epochs"]).all()  # a run that diverged at once has no epoch


def test_analyse_gives_the_answers_of_the_report() -> None:
    answers = lrsweep.analyse(REFERENCE).main.headline  # type: ignore[union-attr]
    assert answers.best["lr"] == 10**-2.5
    assert "The best rate by validation accuracy is 0.0032 (10⁻²·⁵)" in (REFERENCE / "conclusions.en.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("load", [lrsweep.load_runs, lrsweep.load_curves])
def test_a_mistyped_folder_is_an_error_and_not_an_empty_table(load: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        load(tmp_path / "nothing")


def test_early_stopping_ends_after_patience_epochs_without_improvement() -> None:
    assert lrsweep.stopped_at(np.array([0.1, 0.5, 0.4, 0.5, 0.6]), patience=2) == 4
    assert lrsweep.stopped_at(np.array([0.1, 0.5, 0.4, 0.6]), patience=2) == 4
