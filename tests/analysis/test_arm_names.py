"""The short names of a study's arms."""

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
    ],
)
def test_an_arm_is_called_by_the_settings_that_differ_from_the_defaults(settings: list[dict[str, Any]], names: list[str]) -> None:
    study = make_study(np.full((3, 2, 2), 0.9), settings, rates=[1e-3, 1e-2])
    arms = list(study.runs["arm"].unique())
    assert [study.called(arm) for arm in arms] == names
    assert all(f"={name.split('=')[1].split(',')[0]}" in arm for name, arm in zip(names, arms, strict=True) if "=" in name)
