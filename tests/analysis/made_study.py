"""Studies made without training: arms with chosen settings and accuracies."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lrsweep.analysis.evidence import Evidence
from lrsweep.analysis.study import Study
from lrsweep.analysis.suggestions import suggest
from lrsweep.analysis.summary import with_arms
from lrsweep.storage.tables import DEFAULT_SETTINGS

NUM_EPOCHS = 4
RATES = 10 ** np.array([-3.0, -2.5, -2.0])
HILL = np.array([-0.03, 0.0, -0.03])  # accuracy at RATES, minus that of the best rate


def make_study(
    accuracy_SAR: Any,
    settings: Sequence[Mapping[str, Any]] = ({},),
    rates: Any = RATES,
    *,
    name: str = "made",
    first_seed: int = 0,
    num_epochs: int = NUM_EPOCHS,
    test_SAR: Any = None,
    **columns: Any,
) -> Study:
    """S seeds, one arm for each of `settings`, R rates. The validation accuracy of a run grows in proportion to its epochs.

    `test_SAR` are the test accuracies, if they differ from the validation accuracies. `columns` are more columns of the runs.
    """
    accuracy = np.asarray(accuracy_SAR, dtype=float)
    test = accuracy if test_SAR is None else np.asarray(test_SAR, dtype=float)
    rows = [
        DEFAULT_SETTINGS
        | {"training.patience": "null", "training.max_epochs": num_epochs}
        | dict(arm)
        | {"seed": first_seed + s, "lr": float(lr), "valid_accuracy": accuracy[s, a, r], "test_accuracy": test[s, a, r]}
        for s in range(len(accuracy))
        for a, arm in enumerate(settings)
        for r, lr in enumerate(rates)
    ]
    runs = pd.DataFrame(rows).drop(columns="optimizer.lr").rename(columns={"loss.name": "loss"})
    runs = runs.assign(
        run_id=[f"{name}-{i}" for i in range(len(runs))],
        status="ok",
        stop_reason="max_epochs",
        learned=runs["valid_accuracy"] > 0.2,
        best_epoch=float(num_epochs),
        epochs=num_epochs,
        seconds=10.0,
    ).assign(**columns)
    curves = pd.concat(
        [
            pd.DataFrame({"run_id": runs["run_id"], "epoch": epoch, "train_loss": 1 / epoch, "valid_loss": 1 / epoch}).assign(
                train_accuracy=runs["test_accuracy"] + 0.01, valid_accuracy=runs["valid_accuracy"] * epoch / num_epochs
            )
            for epoch in range(1, num_epochs + 1)
        ]
    )
    return Study(name, with_arms(runs), curves, pd.DataFrame())


def confirmed(tuning: Study, fresh: Study) -> list[Study]:
    return [tuning, replace(fresh, name=f"{tuning.name}/confirm", tuning=tuning)]


def evidence_of(*studies: Study, suggestions: Mapping[str, pd.DataFrame] | None = None) -> Evidence:
    by_name = {study.name: study for study in studies}
    return Evidence(by_name.get, lambda name: (suggestions or {}).get(name, suggest(())))
