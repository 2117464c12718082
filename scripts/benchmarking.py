"""What the benchmarks share: options, turns in rounds, medians and ratios, tables, and the files written."""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from lrsweep.config import DataConfig
from lrsweep.storage.files import write_atomically
from lrsweep.training.device import describe, num_cores

ROOT = Path(__file__).parents[1]
LR = 1e-3  # an epoch takes equally long at any rate
NOT_MEASURED = "not measured"
LEGEND = "Figures are medians (lowest–highest; number of values). Ratios are taken within a round."

_OPTIONS = {  # help, highest value
    "rounds": ("rounds, in each of which every contender takes a turn", 1_000),
    "epochs": ("timed epochs in each round", 1_000),
    "images": ("training images; validation and test images in proportion", 3_000),
    "runs": ("number of runs, rounded up to whole seeds", 100_000),
}

M = TypeVar("M")


def new_parser(description: str, **defaults: int) -> argparse.ArgumentParser:
    """A parser with --out and the options of _OPTIONS that have a default here."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        text, highest = _OPTIONS[name]
        parser.add_argument(f"--{name}", type=partial(_number, highest), default=default, help=f"{text} (default: {default})")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder (default: %(default)s)")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="measure only this device (default: the CPU, and a GPU if there is one)"
    )


def devices(arguments: argparse.Namespace) -> list[str]:
    """The devices to measure, with the option of `add_device`."""
    found = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [arguments.device] if arguments.device else found


def _number(highest: int, text: str) -> int:
    number = int(text)
    if not 1 <= number <= highest:
        raise argparse.ArgumentTypeError(f"must be from 1 to {highest}, got {number}")
    return number


def data_config(num_train: int) -> DataConfig:
    """The documents' proportions: 3,000 to 5,000 to 10,000."""
    return DataConfig(num_train=num_train, num_valid=num_train * 5 // 3, num_test=num_train * 10 // 3)


def take_turns(contenders: dict[str, Callable[[], M]], rounds: int, on_measured: Callable[[dict[str, list[M]]], None]) -> None:
    """Measure every contender once in each round, so that a machine that slows down slows them all.

    After each measurement, `on_measured` gets all measurements so far, so that a time limit loses only the remaining ones.
    """
    measured: dict[str, list[M]] = {label: [] for label in contenders}
    for number in range(1, rounds + 1):
        for label, measure in contenders.items():
            print(f"round {number} of {rounds}: {label}", file=sys.stderr, flush=True)
            measured[label].append(measure())
            on_measured(measured)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """One ratio per round. If the last round lacks one of the two values, it is left out."""
    return [a / b for a, b in zip(numerators, denominators, strict=False)]


def spread(values: Sequence[float], digits: str = ".2f") -> str:
    """Median (lowest–highest; number of values)."""
    median, low, high = (format(f(values), digits) for f in (statistics.median, min, max))
    return f"{median} ({low}–{high}; {len(values)})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown that can be read in a terminal. A row that is only a label was not measured."""
    rows = [row if len(row) > 1 else row + [NOT_MEASURED] * (len(head) - 1) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in [head, ["-" * width for width in widths], *rows]]


def write(arguments: argparse.Namespace, kind: str, title: str, lines: list[str], figures: dict[str, Any]) -> None:
    """Write the text as <machine>-<kind>.md and the raw figures as .json, named by the GPU if there is one, else by the CPU."""
    machine = describe(torch.device("cpu"), num_cores())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    name = gpu or machine["device_name"]
    command = " ".join(["python", f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    code = f"commit {(machine['git_commit'] or 'unknown')[:7]}{' with changes' if machine['git_dirty'] else ''}"
    head = [
        f"# {title} on {name}",
        "",
        f"{machine['cores']} cores, {torch.backends.cpu.get_cpu_capability()}, GPU: {gpu or 'none'}. "
        f"PyTorch {machine['versions']['torch']}, {code}, {machine['finished_at'][:10]}. Command: `{command}`.",
        "",
    ]
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    kept = {key: machine[key] for key in ("cpu_name", "cores", "finished_at", "versions", "git_commit", "git_dirty")}
    report = {"command": command, "machine": {"name": name, "gpu": gpu, **kept}, "settings": settings, **figures}
    stem = re.sub(r"[^a-z0-9]+", "-", f"{name} {machine['cores']} cores {kind}".lower()).strip("-")
    write_atomically(arguments.out / f"{stem}.json", (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(arguments.out / f"{stem}.md", ("\n".join([*head, *lines]) + "\n").encode())
    print(f"Updated: {arguments.out / stem}.md and .json", file=sys.stderr, flush=True)
