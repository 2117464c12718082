"""The command `lrsweep-find`: a learning-rate range test.

    lrsweep-find [optimizer=sgd] [model.activation=relu] [seed=3] [find.num_seeds=5] [find.against=reference/lr]

The command takes the settings of `lrsweep` and those of the group `find`. It prints the rate that each rule suggests. If there
is a sweep of the same settings, it also prints how much accuracy the sweep's nearest rate loses. finder.json, finder.png and
finder.svg are written into the study's folder.

More steps mean more training at each rate, so the loss falls at lower rates: the suggestions depend on find.num_steps. With
the defaults, every rule's median over 5 seeds was 0.7 to 2.0 decades lower with 900 steps than with 100 (on a CPU;
results/reference/find holds both).
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from lrsweep.analysis.suggestions import combine, reason_for_none, score, suggest
from lrsweep.cli.main import run_command, to_app_config
from lrsweep.cli.preparation import report_cpu_fallback
from lrsweep.config import AppConfig, ConfigError, ScheduleConfig
from lrsweep.data import dataset
from lrsweep.records import RangeTest, RangeTests
from lrsweep.report.range_test import draw, sweep_like, table_text
from lrsweep.report.texts.wording import seeds_text
from lrsweep.storage import files, range_tests
from lrsweep.training.device import describe, prepare_device
from lrsweep.training.range_test import range_test

# A study's file may set a sweep and a launcher, which would train runs. These settings switch both off.
_SINGLE_RUN = (
    "hydra.mode=RUN",
    "hydra/launcher=basic",
    "hydra.run.dir='${machine.results_dir}/${inside:${study.name}}/hydra/find'",
)


def find(cfg: DictConfig) -> None:
    app = to_app_config(cfg)
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
    print(f"Scored at the nearest rates of {against}." if best else f"Not scored: {against} holds no sweep of these settings.")
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


def main() -> None:
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        print("ConfigError: lrsweep-find takes one value per setting; find.num_seeds=5 sets the number of seeds", file=sys.stderr)
        sys.exit(2)
    sys.argv += _SINGLE_RUN
    run_command(find, "An unfinished range test leaves no files.")


if __name__ == "__main__":
    main()
