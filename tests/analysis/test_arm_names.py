"""The short names of a study's arms."""

import re
from typing import Any

import numpy as np
import pytest
from made_study import make_study

WEIGHTS = "results/pretrain/seed-{seed}.pt"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([{}, {"schedule.warmup": 2.0}], ["warmup=0", "warmup=2"]),
        ([{}, {"model.init_from": WEIGHTS, "model.new_output": True}], ["base", "init_from=pretrain, new_output"]),
        ([{"model.init_from": "old/a.pt"}, {"model.init_from": "old/b.pt"}], ["init_from=a.pt", "init_from=b.pt"]),
        ([{"model.init_from": "old/a.pt"}, {"model.init_from": "new/a.pt"}], ["init_from=old/a.pt", "init_from=new/a.pt"]),
        ([{}, {"model.init_from": "seed-{seed}.pt"}], ["base", "init_from=seed-{seed}.pt"]),
        ([{}, {"training.validate_every": 2}], ["validate_every=1", "validate_every=2"]),
        ([{}, {"model.batch_norm": True}], ["batch_norm=False", "batch_norm"]),
        ([{"data.path": "old.npz"}, {"data.path": "new.npz", "optimizer.name": "adam"}], ["adamw", "adam"]),
        ([{}, {"data.max_shift": 2.0, "data.max_rotation": 10.0}], ["base", "max_shift=2, max_rotation=10"]),
        (
            [{"schedule.name": "plateau", "schedule.patience": 3}, {"schedule.warmup": 2.0, "training.validate_every": 2}],
            ["plateau, patience=3", "warmup=2"],
        ),
        ([{}, {"optimizer.layers.conv1": 2.0}, {"optimizer.layers.output": 2.0}], ["base", "layers.conv1=2", "layers.output=2"]),
        (
            [
                {"training.patience": 5},
                {"training.patience": 5, "schedule.name": "plateau", "schedule.patience": 3},
                {"training.patience": 3},
            ],
            ["constant", "plateau, schedule.patience=3", "training.patience=3"],
        ),
        ([{}, {"model.args": '{"width": 1000000000}'}], ["args={}", 'args=…width": 1000000000}']),
        (
            [{"model.args": '{"depth": 2, "width": 1000000}'}, {"model.args": '{"depth": 3, "width": 1000000}'}],
            ['args={"depth": 2, "width": 1000000}', 'args={"depth": 3, "width": 1000000}'],
        ),
    ],
    ids=[
        "a number",
        "a file per seed, and a switch",
        "files",
        "files of the same name",
        "no folder",
        "how often it was validated",
        "a switch",
        "a file of images that was moved",
        "two settings",
        "how often it was validated, beside settings that matter more",
        "one setting for several layers",
        "two settings of the same name",
        "a long value",
        "long values that differ only at the start",
    ],
)
def test_an_arm_is_called_by_the_settings_that_differ_from_the_defaults(settings: list[dict[str, Any]], names: list[str]) -> None:
    study = make_study(np.full((3, len(settings), 2), 0.9), settings, rates=[1e-3, 1e-2])
    arms = list(study.runs["arm"].unique())
    assert [study.called(arm) for arm in arms] == names
    for name, arm in zip(names, arms, strict=True):
        assert all(value in arm for value in re.findall("=…?([^,]+)", name))
