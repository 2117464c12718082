"""The work of `lrsweep-find`: range tests, their suggestions, and how much accuracy a sweep loses at the suggested rates."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lrsweep.analysis.suggestions import combine, reason_for_none, score, suggest
from lrsweep.cli.preparation import report_cpu_fallback
from lrsweep.config import AppConfig, ConfigError, ScheduleConfig
from lrsweep.data import dataset
from lrsweep.records import RangeTest, RangeTests
from lrsweep.report.range_test import draw, sweep_like, table_text
from lrsweep.report.texts.wording import seeds_text
from lrsweep.storage import files, range_tests
from lrsweep.training.device import describe, prepare_device
from lrsweep.training.range_test import range_test


def find_rates(app: AppConfig) -> None:
    """Run the range tests, print what they suggest, and write the files."""
    if app.schedule != ScheduleConfig():
        raise ConfigError(f"schedule={app.schedule.name} has no effect on lrsweep-find, which raises the rate at every step")
    device = prepare_device(app.machine)
    report_cpu_fallback(app.machine.device)
    tests = _range_tests(app, device)
    by_seed = suggest(tests)
    against = Path(app.machine.results_dir) / app.find.against
    best = sweep_like(app.run, against)
    combined = score(combine(by_seed), best)
    with_none = combined.astype(object).where(combined.notna(), None)  # JSON has no NaN
    suggestions: list[dict[str, Any]] = with_none.to_dict("records")  # type: ignore[assignment]
    files.remove_leftovers(app.folder)
    path = range_tests.save_range_tests(
        app.folder,
        RangeTests(
            config=asdict(app.run),
            find=asdict(app.find),
            environment=describe(device, workers=1),
            tests=tuple(tests),
            suggestions=suggestions,
        ),
    )
    seeds = seeds_text(app.find.num_seeds)
    title = f"Learning-rate range test ({app.optimizer.name}, {app.loss.name}, {app.find.num_steps} steps, {seeds})"
    draw(app.folder, tests, by_seed, combined, best, title)
    print(table_text(combined))
    if not by_seed["lr"].notna().any():
        print(f"No suggestion: with seed {tests[0].seed}, {reason_for_none(tests[0])}.")
    else:
        print("If in doubt, use the rate of valley. The cycle rates are the ends of a cyclic schedule, not rates to train at.")
    if best is None:
        print(f"Not scored: {against} holds no sweep of these settings (find.against).")
    elif combined["shortfall"].notna().any():
        print(f"Scored at the nearest rates of {against}.")
    print(f"Curves: {path} and {path.with_suffix('.png')}")


def _range_tests(app: AppConfig, device: torch.device) -> list[RangeTest]:
    runs = [replace(app.run, seed=seed) for seed in range(app.seed, app.seed + app.find.num_seeds)]  # checks every seed
    data_set = dataset.load(app.data, Path(app.machine.data_dir), device)
    tests = []
    with tqdm(total=app.find.num_seeds * app.find.num_steps, unit="step", disable=None) as bar:
        for run in runs:
            train = dataset.split(data_set, run.data, run.seed).train
            test = range_test(run, train, app.find, on_step=bar.update)
            if not test.rates:
                raise ConfigError(f"the loss of seed {run.seed} is infinite or NaN at the first step; check the initial weights")
            tests.append(test)
    return tests
