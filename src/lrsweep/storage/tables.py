"""Records as tables: the names and types of their columns, and how a record's settings stand in them."""

import dataclasses
import json
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
_KEY = ["run_id", "loss", "seed", "lr"]
DRAWN_BY = ["seed", "data.skip", "data.num_train", "data.num_valid", "data.num_test"]  # what gives the same splits
_NUMBERS = dict.fromkeys([f.name for f in dataclasses.fields(Outcome) if f.type in (int | None, float | None)], "float64")
_RUN = ["run_id", "lr", "seed", "loss", *_OUTCOME[:2], "epochs", *_OUTCOME[2:], "engine", "timing", *_ENVIRONMENT]


def setting_cell(value: Any) -> Any:
    """A setting as tables hold it: None and lists as an override's text, because pandas finds no None equal to another."""
    return json.dumps(value, separators=(",", ":")) if value is None or isinstance(value, list) else value


DEFAULT_SETTINGS = {name: setting_cell(value) for name, value in flatten(dataclasses.asdict(RunConfig())).items()}


def to_frame(records: list[RunRecord]) -> pd.DataFrame:
    """A row a record: see store.load."""
    rows = [
        _settings(record)
        | {name: getattr(record.outcome, name) for name in _OUTCOME}
        | {"epochs": record.outcome.epochs, "engine": record.engine, "timing": record.timing}
        | {name: record.environment.get(name) for name in _ENVIRONMENT}
        for record in records
    ]
    frame = pd.DataFrame(rows, columns=None if rows else _RUN).astype(_NUMBERS)  # numbers also where no run has one
    return frame[_RUN + [name for name in frame.columns if name not in _RUN]]


def curves_frame(records: list[RunRecord]) -> pd.DataFrame:
    """A row an epoch: see store.load_curves."""
    rows = [
        key | vars(epoch)  # asdict copies deep, which takes 28 times as long
        for record in records
        for key in [key_of(record)]
        for epoch in record.outcome.curve
    ]
    return pd.DataFrame(rows, columns=_KEY + [f.name for f in dataclasses.fields(EpochRecord)])


def class_counts_frame(records: list[RunRecord]) -> pd.DataFrame:
    """One row a split: what it was drawn by (DRAWN_BY), split, then the images of each class ("0" … "9") in it."""
    rows = [
        drawn_by_of(record) | {"split": split} | {str(i): n for i, n in enumerate(counts)}
        for record in records
        for split, counts in record.class_counts.items()
    ]
    return pd.DataFrame(rows, columns=[*DRAWN_BY, "split", *map(str, range(10))]).drop_duplicates(ignore_index=True)


# Some settings of a record without the others, which take ten times as long.


def key_of(record: RunRecord) -> dict[str, Any]:
    """What names a run in every table."""
    config = record.config
    return dict(zip(_KEY, (record.run_id, config["loss"]["name"], config["seed"], config["optimizer"]["lr"]), strict=True))


def drawn_by_of(record: RunRecord) -> dict[str, Any]:
    """By DRAWN_BY's names."""
    drawn = record.config["data"]
    skip = drawn.get("skip", DataConfig.skip)  # newer than the first records
    drawn_by = record.config["seed"], skip, drawn["num_train"], drawn["num_valid"], drawn["num_test"]
    return dict(zip(DRAWN_BY, drawn_by, strict=True))


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """A record's config as tables hold it. A setting newer than the record has its default, which means "as before"."""
    return DEFAULT_SETTINGS | {name: setting_cell(value) for name, value in flatten(config).items()}


def _settings(record: RunRecord) -> dict[str, Any]:
    config = settings_of(record.config)
    short = {"lr": config.pop("optimizer.lr"), "seed": config.pop("seed"), "loss": config.pop("loss.name")}
    return {"run_id": record.run_id} | short | config


def order_of(record: RunRecord) -> tuple[str, int, float, str]:
    """Loss, seed and learning rate: how tables and packed records are sorted."""
    key = key_of(record)
    return key["loss"], key["seed"], key["lr"], record.run_id
