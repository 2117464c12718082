"""The learning-rate finder as a command.

    lrsweep-find [optimizer=sgd] [model.activation=relu] [seed=3] [find.num_seeds=5] [find.against=reference/lr]

The config tree is that of `lrsweep`; `find` is this command's own part of it. Prints what each rule suggests, scored against
the sweep of the same settings where there is one, and writes finder.json, finder.png and finder.svg into the study's folder.

More steps mean more training at each rate, so that the loss falls at lower ones: the suggestions depend on find.num_steps.
On the defaults, every rule's median over 5 seeds was 0.7 to 2.0 decades lower with 900 steps than with 100 (on a CPU;
results/reference/find holds both).
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from lrsweep.analysis.suggestions import combine, score, suggest
from lrsweep.cli.main import run_command, to_app_config
from lrsweep.config import AppConfig, ConfigError, ScheduleConfig
from lrsweep.data import dataset
from lrsweep.records import RangeTest, RangeTests
from lrsweep.report.range_test import draw, sweep_like, table_text
from lrsweep.report.texts.wording import seeds_text
from lrsweep.storage import range_tests
from lrsweep.training.device import describe, prepare_device
from lrsweep.training.range_test import range_test

# A study that sweeps would otherwise hand its rates to a launcher, which trains them.
_ONCE = ("hydra.mode=RUN", "hydra/launcher=basic", "hydra.run.dir=${machine.results_dir}/${study.name}/hydra/find")


def find(cfg: DictConfig) -> None:
    app = to_app_config(cfg)
    if app.schedule != ScheduleConfig():
        raise ConfigError(f"schedule={app.schedule.name} means nothing to lrsweep-find, whose rate rises at every step")
    device = prepare_device(app.machine)
    tests = _range_tests(app, device)
    by_seed = suggest(tests)
    against = Path(app.machine.results_dir) / app.find.against
    best = sweep_like(app.run, against)
    combined = score(combine(by_seed), best.plateau if best else None)
    found = RangeTests(
        config=asdict(app.run),
        find=asdict(app.find),
        environment=describe(device, workers=1),
        tests=tuple(tests),
        suggestions=_plain(combined),
    )
    path = range_tests.save_range_tests(app.folder, found)
    draw(app.folder, tests, by_seed, combined, best, _title(app))
    print(table_text(combined))
    print(f"Scored against {against}." if best else f"Not scored: {against} holds no sweep of these settings.")
    print(f"Curves: {path} and {path.with_suffix('.png')}")


def _range_tests(app: AppConfig, device: torch.device) -> list[RangeTest]:
    mnist = dataset.load(Path(app.machine.data_dir), device)
    tests = []
    with tqdm(total=app.find.num_seeds * app.find.num_steps, unit="step", disable=None) as bar:

        def show() -> None:
            bar.update()

        for seed in range(app.seed, app.seed + app.find.num_seeds):
            run = replace(app.run, seed=seed)
            tests.append(range_test(run, dataset.split(mnist, run.data, seed).train, app.find, on_step=show))
    return tests


def _plain(table: pd.DataFrame) -> list[dict[str, object]]:
    """As JSON has it: None for NaN."""
    rows: list[dict[str, object]] = table.astype(object).where(table.notna(), None).to_dict("records")  # type: ignore[assignment]
    return rows


def _title(app: AppConfig) -> str:
    seeds = seeds_text(app.find.num_seeds)
    return f"Learning-rate range test ({app.optimizer.name}, {app.loss.name}, {app.find.num_steps} steps, {seeds})"


def main() -> None:
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        print("ConfigError: lrsweep-find takes one setting at a time; find.num_seeds=5 is its number of seeds", file=sys.stderr)
        sys.exit(2)
    sys.argv += _ONCE
    run_command(find, "Nothing is kept of a range test that has not ended.")


if __name__ == "__main__":
    main()
