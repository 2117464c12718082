"""Tables with one row per run, per epoch and per split."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import pytest

from lrsweep.analysis.findings import to_runs
from lrsweep.config import RunConfig, flatten
from lrsweep.records import RunRecord
from lrsweep.storage.tables import DRAWN_BY, class_counts_frame, curves_frame, setting_cell, to_frame

MakeRecord = Callable[..., RunRecord]

RUN_COLUMNS = [
    *("run_id", "lr", "seed", "loss"),
    *("status", "stop_reason", "epochs", "best_epoch", "valid_accuracy", "test_accuracy", "test_loss"),
    *("best_test_accuracy", "last_test_accuracy", "balanced_test_accuracy"),
    *("wall_seconds", "cpu_seconds", "diverged_step", "last_finite_loss", "error"),
    *("engine", "timing"),
    *("device", "device_name", "cores", "threads", "workers", "precision", "peak_memory_bytes"),
    *("finished_at", "git_commit", "git_dirty"),
]
CURVE_COLUMNS = [
    *("run_id", "loss", "seed", "lr"),
    *("epoch", "train_loss", "train_accuracy", "highest_loss", "valid_loss", "valid_accuracy", "seconds"),
]
SETTINGS = {
    name: json.dumps(value, separators=(",", ":")) if value is None or isinstance(value, list | dict) else value
    for name, value in flatten(asdict(RunConfig())).items()
    if name not in ("seed", "optimizer.lr", "loss.name")
}


def test_a_row_has_the_settings_the_outcome_and_the_environment_of_a_run(make_record: MakeRecord) -> None:
    record = make_record(lr=10**-3.1)
    frame = to_frame([record])
    assert list(frame.columns) == [*RUN_COLUMNS, *SETTINGS]
    (row,) = frame.to_dict("records")
    expected = {name: value for name, value in asdict(record.outcome).items() if name != "curve"} | SETTINGS
    expected |= {"run_id": record.run_id, "lr": 10**-3.1, "seed": 0, "loss": "cross_entropy", "epochs": 3}
    expected |= {"engine": "solo", "timing": "measured", "device": "cpu", "cores": 2}
    assert {name: value for name, value in row.items() if pd.notna(value)} == {k: v for k, v in expected.items() if v is not None}


@pytest.mark.parametrize("statuses", [["ok"], ["diverged"], ["failed"], ["ok", "diverged", "failed"]], ids=" ".join)
def test_numbers_have_numeric_columns_even_if_no_run_has_one(make_record: MakeRecord, statuses: list[str]) -> None:
    frame = to_frame([make_record(seed=seed, status=status) for seed, status in enumerate(statuses)])
    for name in ("seed", "epochs", "data.num_train", "training.patience"):
        assert frame[name].dtype == "int64", name
    for name in ("lr", "valid_accuracy", "test_accuracy", "test_loss", "wall_seconds", "cpu_seconds", "last_finite_loss"):
        assert frame[name].dtype == "float64", name
    for name in ("best_epoch", "diverged_step"):
        assert pd.api.types.is_numeric_dtype(frame[name]), name


def test_none_and_lists_are_text_that_can_be_compared(make_record: MakeRecord) -> None:
    record = make_record()
    config = record.config | {"training": {"patience": None}, "schedule": {"name": "multi_step", "milestones": [5.0, 10.0]}}
    frame = to_frame([replace(record, config=config)] * 2)
    for name, cell in (("training.patience", "null"), ("schedule.milestones", "[5.0,10.0]"), ("schedule.shares", "[]")):
        assert (frame[name] == cell).all(), name


def test_the_test_accuracy_of_an_old_record_is_that_of_the_best_epoch(make_record: MakeRecord) -> None:
    old = make_record(best_test_accuracy=None, last_test_accuracy=None)
    diverged = replace(old, config=old.config | {"training": {"score": "last"}}, outcome=replace(old.outcome, test_accuracy=None))
    frame = to_frame([old, diverged])
    assert frame["best_test_accuracy"].fillna(-1).tolist() == [0.59, -1]
    assert frame["last_test_accuracy"].isna().all()


def test_tables_without_records_have_columns() -> None:
    runs, curves = to_frame([]), curves_frame([])
    assert (list(runs.columns), list(curves.columns)) == (RUN_COLUMNS, CURVE_COLUMNS)
    assert (len(runs), len(curves)) == (0, 0)


def test_curves_have_one_row_per_epoch(make_record: MakeRecord) -> None:
    records = [make_record(lr=1e-2, status=status) for status in ("ok", "diverged", "failed")] + [make_record(lr=1e-3)]
    curves = curves_frame(records)
    assert list(curves.columns) == CURVE_COLUMNS
    assert curves["epoch"].tolist() == [1, 2, 3] * 2  # the diverged and the failed run have none
    assert curves["valid_accuracy"].tolist() == [0.3, 0.6, 0.6] * 2
    assert curves["lr"].tolist() == [1e-2] * 3 + [1e-3] * 3
    assert curves["run_id"].tolist() == [records[0].run_id] * 3 + [records[3].run_id] * 3
    assert curves["epoch"].dtype == "int64"


@pytest.mark.parametrize("num_validated", [0, 1])
def test_epochs_without_validation_are_nan(make_record: MakeRecord, num_validated: int) -> None:
    epochs = make_record().outcome.curve[: 1 + num_validated]
    curve = (replace(epochs[0], valid_loss=None, valid_accuracy=None), *epochs[1:])
    curves = curves_frame([make_record(curve=curve)])
    for name in ("valid_loss", "valid_accuracy", "highest_loss"):
        assert curves[name].dtype == "float64", name
    assert curves["valid_accuracy"].isna().tolist() == [True, False][: 1 + num_validated]


@pytest.mark.parametrize(
    ("path", "default"),
    [(["schedule"], "constant"), (["training", "max_epochs"], 1_000)],
    ids=["a group", "a field"],
)
def test_a_record_from_before_a_setting_existed_has_its_default(
    make_record: MakeRecord, path: list[str], default: object
) -> None:
    old, new = make_record(lr=1e-4), make_record(lr=1e-3)
    config: dict[str, Any] = asdict(old)["config"]
    group = config
    for name in path[:-1]:
        group = group[name]
    del group[path[-1]]
    old = replace(old, config=config)
    column = ".".join(path) if len(path) > 1 else f"{path[0]}.name"
    frame = to_frame([old, new])
    assert frame[column].tolist() == [default, default]
    assert frame["run_id"].tolist() == [old.run_id, new.run_id]
    assert list(frame.columns) == list(to_frame([old]).columns) == [*RUN_COLUMNS, *SETTINGS]


def test_a_setting_of_a_record_is_not_replaced_by_the_default(make_record: MakeRecord) -> None:
    record = make_record()
    row = to_frame([replace(record, config=record.config | {"training": {"patience": 7}})]).iloc[0]
    assert (row["training.patience"], row["training.batch_size"]) == (7, 32)


def test_class_counts_have_one_row_per_seed_and_split(make_record: MakeRecord) -> None:
    counts = class_counts_frame([make_record(lr=lr, seed=seed) for seed in (0, 1) for lr in (1e-3, 1e-2)])
    assert list(counts.columns) == [*DRAWN_BY, "split", *"0123456789"]
    assert counts[DRAWN_BY[1:]].to_numpy().tolist() == [["null", 0, 3000, 5000, 10000, "null"]] * 6
    assert sorted(zip(counts["seed"], counts["split"], counts["0"], counts["9"], strict=True)) == [
        *((0, "test", 1000, 1000), (0, "train", 300, 300), (0, "valid", 500, 500)),
        *((1, "test", 1000, 1000), (1, "train", 300, 300), (1, "valid", 500, 500)),
    ]


def test_of_class_counts_that_contradict_each_other_the_first_count(make_record: MakeRecord) -> None:
    changed = replace(make_record(lr=1e-2), class_counts={"valid": [550] * 9 + [50]})
    counts = class_counts_frame([make_record(), changed])
    assert counts[counts["split"] == "valid"]["9"].tolist() == [500]
    assert len(to_runs([make_record(), changed])) == 2


@pytest.mark.parametrize("other", [{"num_valid": 50}, {"skip": 8000}, {"classes": [0, 1]}])
def test_other_data_settings_give_another_split_of_the_same_seed(make_record: MakeRecord, other: dict[str, Any]) -> None:
    """Like the oldest records, the first record lacks data.skip and data.classes. So their defaults apply."""
    sizes = {"num_train": 3000, "num_valid": 5000, "num_test": 10000}
    records = [
        replace(make_record(), config=make_record().config | {"data": data}, class_counts={"valid": [count] * 10})
        for data, count in ((sizes, 500), (sizes | other, 5))
    ]
    counts = class_counts_frame(records)
    settings = {"content": None, "skip": 0} | sizes | {"classes": None} | other
    assert counts[DRAWN_BY].to_numpy().tolist() == [
        [0, "null", 0, 3000, 5000, 10000, "null"],
        [0, *map(setting_cell, settings.values())],
    ]
    assert counts["0"].tolist() == [500, 5]
