"""How fast the fused engine trains many runs in one program, compared with one run at a time.

    python scripts/bench_fused.py          (`make bench` runs it after bench.py; leave the machine idle meanwhile)

An epoch has 3,000 training and 5,000 validation images, as in the documents. Each contender trains one epoch to warm up. On a
GPU, whole sweeps are timed as well, once each. Written to results/bench/<machine>-fused.md and .json after every measurement.
"""

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from benchmarking import LEGEND, LR, ROOT, data_config, new_parser, ratios, spread, table, take_turns, write
from torch.utils.flop_counter import FlopCounterMode

from lrsweep.config import (
    DataConfig,
    GridConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
    log_grid,
)
from lrsweep.data import dataset
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.storage import store
from lrsweep.training import solo
from lrsweep.training.clock import Clock
from lrsweep.training.device import prepare_device
from lrsweep.training.models import build_model

MAX_SLOTS = 2_000
PRODUCT_SIZE = 8_192  # rows and columns of the matrices, on a GPU


@dataclass(frozen=True)
class Contender:
    device: str
    precision: Literal["fp32", "tf32"]
    num_slots: int | None  # 0: solo; None: as many as fit into memory, up to MAX_SLOTS

    @property
    def label(self) -> str:
        slots = f"as many as fit, up to {MAX_SLOTS:,}" if self.num_slots is None else str(self.num_slots)
        return f"{self.device.upper()}, {self.precision}, {'solo' if self.num_slots == 0 else f'fused, K = {slots}'}"


CONTENDERS = [  # solo is first for each device and precision, because the others are compared with it
    *(Contender("cpu", "fp32", slots) for slots in (0, 8)),
    *(Contender("cuda", precision, slots) for precision in ("fp32", "tf32") for slots in (0, 46, 460, None)),
]


@dataclass(frozen=True)
class Sweep:
    """The documents' 46 rates with a few seeds, on a GPU, from the first to the last epoch."""

    precision: Literal["fp32", "tf32"]
    num_seeds: int
    is_command: bool = False  # True: the `lrsweep` command, start to report. False: in this process, with everything loaded

    @property
    def label(self) -> str:
        how = "`lrsweep … hydra/launcher=fused`, start to report" if self.is_command else "fused, warm"
        return f"46 rates × {self.num_seeds}, {self.precision}, {how}"


SWEEPS = [
    *(Sweep(precision, num_seeds) for precision in ("fp32", "tf32") for num_seeds in (1, 10)),
    *(Sweep("fp32", num_seeds, is_command=True) for num_seeds in (1, 10)),
]


def measure(contender: Contender, template: RunConfig, epochs: int) -> dict[str, Any]:
    device = prepare_device(MachineConfig(device=contender.device, precision=contender.precision))
    mnist = dataset.load(ROOT / "data", device)
    slots = contender.num_slots
    if slots is None:
        slots = min(MAX_SLOTS, scheduler.num_slots_that_fit(template, mnist))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if slots == 0:
        run = replace(template, training=TrainingConfig(max_epochs=1 + epochs, patience=1 + epochs))
        seconds = [epoch.seconds for epoch in solo.train(run, dataset.split(mnist, run.data, run.seed)).curve[1:]]
    else:
        # Train one more epoch, because an epoch ends for the clock when the next one starts, which waits for its results.
        run = replace(template, training=TrainingConfig(max_epochs=2 + epochs, patience=2 + epochs))
        starts, _ = train_fused([replace(run, seed=seed) for seed in range(slots)], mnist)
        seconds = [(end - start) / slots for start, end in pairwise(starts)][1:]
    return {
        "slots": max(1, slots),
        "seconds_per_run_epoch": median(seconds),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "product_flops_per_second": product_rate(device) if device.type == "cuda" else None,
    }


def train_fused(runs: list[RunConfig], mnist: dataset.Mnist) -> tuple[list[float], int]:
    """Train all runs at the same time. Return when each epoch started, and how many epochs the runs had in total."""
    starts: list[float] = []
    num_epochs: list[int] = []
    scheduler.train(
        runs,
        mnist,
        num_slots=len(runs),
        epoch_seconds=EpochSeconds(0.0, 0.0),
        on_outcome=lambda i, outcome: num_epochs.append(len(outcome.curve)),
        on_epoch=lambda num_active: starts.append(time.perf_counter()),
    )
    return starts, sum(num_epochs)


def product_rate(device: torch.device) -> float:
    """FLOP/s of a large matrix product in the current precision."""
    a, b = torch.rand(2, PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    seconds = []
    for _ in range(5):
        with (clock := Clock(device)):
            torch.mm(a, b)
        seconds.append(clock.wall_seconds)
    return 2 * PRODUCT_SIZE**3 / median(seconds[1:])


def measure_sweep(sweep: Sweep, template: RunConfig, device_name: str) -> dict[str, Any]:
    device = prepare_device(MachineConfig(device=device_name, precision=sweep.precision))
    if sweep.is_command:
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "lrsweep", "study=lr", f"seed=range({sweep.num_seeds})", "hydra/launcher=fused"]
            command += [f"machine.device={device_name}", f"machine.precision={sweep.precision}", f"machine.results_dir={folder}"]
            torch.cuda.empty_cache()  # the command's process needs the memory
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            epochs = int(store.load(Path(folder) / "lr")["epochs"].sum())
    else:
        mnist = dataset.load(ROOT / "data", device)
        points = [(lr, seed) for seed in range(sweep.num_seeds) for lr in log_grid(GridConfig())]
        start = time.perf_counter()
        _, epochs = train_fused([replace(template, optimizer=OptimizerConfig(lr=lr), seed=seed) for lr, seed in points], mnist)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "epochs": epochs, "product_flops_per_second": product_rate(device)}


def flops_per_epoch(data: DataConfig) -> int:
    """Operations of the convolutions and matrix products, as PyTorch counts them; a multiply-add is two operations."""
    model = build_model(ModelConfig(), torch.Generator(), torch.device("meta"))
    image = torch.zeros(1, 1, 28, 28, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(image)
    with FlopCounterMode(display=False) as training:
        model(image).sum().backward()
    return int(training.get_total_flops() * data.num_train + forward.get_total_flops() * data.num_valid)


def speed_row(contender: Contender, measured: dict[str, list[dict[str, Any]]], data: DataConfig) -> list[str]:
    measurements = measured.get(contender.label)
    if not measurements:
        return [contender.label]
    solos = measured[replace(contender, num_slots=0).label]
    solo_seconds, seconds = ([m["seconds_per_run_epoch"] for m in side] for side in (solos, measurements))
    first = measurements[0]
    rate, peak = first["product_flops_per_second"], first["peak_memory_bytes"]
    return [
        contender.label,
        str(first["slots"]),
        f"{data.num_train / median(seconds):,.0f}",
        "1" if contender.num_slots == 0 else spread(ratios(solo_seconds, seconds)),
        f"{flops_per_epoch(data) / median(seconds) / rate:.2f}" if rate else "–",
        f"{peak / 1e6:,.0f}" if peak else "–",
    ]


def sweep_row(sweep: Sweep, sweeps: dict[str, dict[str, Any]]) -> list[str]:
    if sweep.label not in sweeps:
        return [sweep.label]
    result = sweeps[sweep.label]
    least = result["epochs"] * flops_per_epoch(DataConfig()) / result["product_flops_per_second"]
    return [sweep.label, f"{result['seconds']:.1f}", f"{result['seconds'] / least:.1f}"]


def to_markdown(measured: dict[str, list[dict[str, Any]]], sweeps: dict[str, dict[str, Any]], data: DataConfig) -> list[str]:
    head = ["", "slots", "images trained per second", "runs per hour, × solo", "share of the product's rate", "peak GPU MB"]
    return [
        LEGEND,
        "",
        *table(head, [speed_row(contender, measured, data) for contender in CONTENDERS]),
        "",
        "## Whole sweeps on a GPU",
        "",
        "Each measured once. The least time: all epochs' operations at the rate of a large matrix product on that GPU.",
        "",
        *table(["", "seconds", "× the least time"], [sweep_row(sweep, sweeps) for sweep in SWEEPS]),
    ]


def main() -> None:
    arguments = new_parser("How fast the fused engine is, compared with solo.", rounds=3, epochs=2, images=3_000).parse_args()
    template = RunConfig(data=data_config(arguments.images), optimizer=OptimizerConfig(lr=LR))
    contenders = [c for c in CONTENDERS if c.device == "cpu" or torch.cuda.is_available()]
    measured: dict[str, list[dict[str, Any]]] = {}
    sweeps: dict[str, dict[str, Any]] = {}

    def publish(so_far: dict[str, list[dict[str, Any]]]) -> None:
        measured.update(so_far)
        lines = to_markdown(measured, sweeps, template.data)
        write(arguments, "fused", "Many runs in one program", lines, {"measurements": measured, "sweeps": sweeps})

    take_turns({c.label: partial(measure, c, template, arguments.epochs) for c in contenders}, arguments.rounds, publish)
    for sweep in SWEEPS if torch.cuda.is_available() else []:
        sweeps[sweep.label] = measure_sweep(sweep, RunConfig(), "cuda")
        publish(measured)


if __name__ == "__main__":
    main()
