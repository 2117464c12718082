"""Records as tables: the names and types of the columns, and how settings are written in the cells."""

import dataclasses
import json
from pathlib import PurePath
from typing import Any

import pandas as pd

from lrsweep.config import DataConfig, RunConfig, flatten
from lrsweep.records import EpochRecord, Outcome, RunRecord

_OUTCOME = [f.name for f in dataclasses.fields(Outcome) if f.name != "curve"]
_ENVIRONMENT = [
    "device",
    "device_name",
    "cores",
    "threads",
    "workers",
    "precision",
    "peak_memory_bytes",
    "finished_at",
    "git_commit",
    "git_dirty",
]
_RUN_KEY = ["run_id", "loss", "seed", "lr"]
_RUN_COLUMNS = ["run_id", "lr", "seed", "loss", *_OUTCOME[:2], "epochs", *_OUTCOME[2:], "engine", "timing", *_ENVIRONMENT]
_FLOAT_COLUMNS = [f.name for f in dataclasses.fields(Outcome) if f.type in (int | None, float | None)]
_FLOAT_CURVE_COLUMNS = [f.name for f in dataclasses.fields(EpochRecord) if f.type == float | None]
# These settings determine the split. The table of class counts also has the column "split" and one column per class.
DRAWN_BY = ["seed", *(f"data.{name}" for name in ("content", "skip", "num_train", "num_valid", "num_test", "classes"))]


def class_columns(class_counts: pd.DataFrame) -> list[str]:
    """The names of the columns with the number of images of a class."""
    return [name for name in class_counts.columns if name not in (*DRAWN_BY, "split")]


def setting_cell(value: Any) -> Any:
    """A setting as a table cell. None, lists and dicts become text, because in pandas None does not equal None."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True) if value is None or isinstance(value, list | dict) else value


def with_short_paths(settings: pd.DataFrame) -> pd.DataFrame:
    """Shorten each path in `model.init_from` to the name of the file, or of its folder if every seed has a file of its own.

    So pretrain/seed-{seed}.pt becomes `pretrain`. If two paths would become the same, all stay as they are.
    """
    if "model.init_from" not in settings:
        return settings
    paths = settings["model.init_from"].astype(str).map(PurePath)
    short = paths.map(lambda path: path.parent.name if "{seed}" in path.name else path.name)
    is_clear = short.nunique() == paths.nunique() and (short != "").all()
    return settings.assign(**{"model.init_from": short}) if is_clear else settings


DEFAULT_SETTINGS = {name: setting_cell(value) for name, value in flatten(dataclasses.asdict(RunConfig())).items()}


def to_frame(records: list[RunRecord]) -> pd.DataFrame:
    """One row per record: see store.load."""
    rows = [_run_row(record) for record in records]
    # Without the cast, a column that is None in every record would not be numeric.
    frame = pd.DataFrame(rows, columns=None if rows else _RUN_COLUMNS).astype(dict.fromkeys(_FLOAT_COLUMNS, "float64"))
    return frame[_RUN_COLUMNS + [name for name in frame.columns if name not in _RUN_COLUMNS]]


def curves_frame(records: list[RunRecord]) -> pd.DataFrame:
    """One row per epoch: see store.load_curves."""
    rows = [
        key | vars(epoch)  # asdict makes deep copies, which is 28× slower
        for record in records
        for key in [run_key(record)]
        for epoch in record.outcome.curve
    ]
    frame = pd.DataFrame(rows, columns=_RUN_KEY + [f.name for f in dataclasses.fields(EpochRecord)])
    return frame.astype(dict.fromkeys(_FLOAT_CURVE_COLUMNS, "float64"))


def class_counts_frame(records: list[RunRecord]) -> pd.DataFrame:
    """One row per split: the settings that determine it (DRAWN_BY), its name, and its number of images per class ("0", "1", …).

    Where data sets have different numbers of classes, the smaller ones have NaN for the other classes. If records contradict
    each other, which only a changed file can do, the first one counts.
    """
    rows = [
        split_key(record) | {"split": split} | {str(i): n for i, n in enumerate(counts)}
        for record in records
        for split, counts in record.class_counts.items()
    ]
    num_classes = max((len(counts) for record in records for counts in record.class_counts.values()), default=0)
    columns = [*DRAWN_BY, "split", *map(str, range(num_classes))]
    return pd.DataFrame(rows, columns=columns).drop_duplicates([*DRAWN_BY, "split"], ignore_index=True)


# The next two functions read a few settings directly, because flattening all of them is ten times slower.


def run_key(record: RunRecord) -> dict[str, Any]:
    """The columns that identify a run in every table."""
    config = record.config
    return dict(zip(_RUN_KEY, (record.run_id, config["loss"]["name"], config["seed"], config["optimizer"]["lr"]), strict=True))


def split_key(record: RunRecord) -> dict[str, Any]:
    """The settings in DRAWN_BY."""
    data = record.config["data"]
    # Old records lack these three.
    content, skip, classes = (data.get(name, getattr(DataConfig, name)) for name in ("content", "skip", "classes"))
    sizes = data["num_train"], data["num_valid"], data["num_test"]
    values = record.config["seed"], setting_cell(content), skip, *sizes, setting_cell(classes)
    return dict(zip(DRAWN_BY, values, strict=True))


def sort_key(record: RunRecord) -> tuple[str, int, float, str]:
    """Sorts tables and packed records by loss, seed and learning rate."""
    key = run_key(record)
    return key["loss"], key["seed"], key["lr"], record.run_id


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """A record's config as table cells. A setting newer than the record gets its default, which changes nothing."""
    return DEFAULT_SETTINGS | {name: setting_cell(value) for name, value in flatten(config).items()}


def _run_row(record: RunRecord) -> dict[str, Any]:
    row = _setting_columns(record) | {name: getattr(record.outcome, name) for name in _OUTCOME}
    if row["training.score"] == "best":
        row["best_test_accuracy"] = row["test_accuracy"]  # old records lack the first field
    row |= {"epochs": record.outcome.epochs, "engine": record.engine, "timing": record.timing}
    return row | {name: record.environment.get(name) for name in _ENVIRONMENT}


def _setting_columns(record: RunRecord) -> dict[str, Any]:
    settings = settings_of(record.config)
    short = {"lr": settings.pop("optimizer.lr"), "seed": settings.pop("seed"), "loss": settings.pop("loss.name")}
    return settings | {"run_id": record.run_id} | short
