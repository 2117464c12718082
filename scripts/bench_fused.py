"""How fast many runs in one program are beside one run at a time, on this machine.

    python scripts/bench_fused.py          (make bench runs it after bench.py; leave the machine idle meanwhile)

Solo and fused take turns in rounds, so that a machine that slows down slows both; ratios are taken within a round. An epoch
is the documents': 3,000 images of training, 5,000 of validation. Solo as shipped is eager PyTorch, a kernel at a time. On a
GPU whole sweeps are timed as well, once each. Where there is none its rows say so: nothing is estimated.
Written to results/bench/<machine>-fused.md and .json after every measurement, so that what stops it costs only the rest.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from bench import LR, ROOT, count_flops, data_config, describe_code, describe_machine, publish, stat, table, write

from lrsweep.config import GridConfig, MachineConfig, OptimizerConfig, RunConfig, TrainingConfig, log_grid
from lrsweep.data import dataset
from lrsweep.fused import scheduler
from lrsweep.storage import store
from lrsweep.training import solo
from lrsweep.training.clock import Clock
from lrsweep.training.device import prepare_device

NOT_MEASURED = "not measured"
_CPU_SLOTS = 8
_GPU_SLOTS = (46, 460, None)  # None: what fits, of _MOST_SLOTS at most
_MOST_SLOTS = 2_000
_PRODUCT_SIZE = 8_192  # rows and columns, on a GPU


@dataclass(frozen=True, kw_only=True)
class Contender:
    device: str
    precision: str
    slots: int | None  # of the fused engine; 0: solo; None: what fits

    @property
    def label(self) -> str:
        engine = "solo" if self.slots == 0 else f"fused, K = {self.slots or f'what fits, {_MOST_SLOTS:,} at most'}"
        return f"{self.device.upper()}, {self.precision}, {engine}"


def contenders(device: str) -> list[Contender]:
    """Solo first in each precision: the others are compared with it."""
    if device == "cpu":
        return [Contender(device=device, precision="fp32", slots=slots) for slots in (0, _CPU_SLOTS)]
    return [Contender(device=device, precision=p, slots=slots) for p in ("fp32", "tf32") for slots in (0, *_GPU_SLOTS)]


def measure(contender: Contender, like: RunConfig, epochs: int) -> dict[str, Any]:
    """Seconds an epoch and run, after one epoch of warm-up."""
    device = prepare_device(MachineConfig(device=contender.device, precision=contender.precision))  # type: ignore[arg-type]
    mnist = dataset.load(ROOT / "data", device)
    run = replace(like, training=TrainingConfig(max_epochs=1 + epochs, patience=1 + epochs))
    is_gpu = device.type == "cuda"
    slots = contender.slots if contender.slots is not None else min(_MOST_SLOTS, scheduler.num_slots_that_fit(run, mnist))
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = _solo_epochs(run, mnist) if slots == 0 else _fused_epochs(run, mnist, slots, epochs)
    return {
        "slots": slots,
        "seconds_per_run_epoch": median(seconds) / max(1, slots),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if is_gpu else None,
        "product_flops_per_second": _product_rate(device) if is_gpu else None,
    }


def _solo_epochs(run: RunConfig, mnist: dataset.Mnist) -> list[float]:
    return [epoch.seconds for epoch in solo.train(run, dataset.split(mnist, run.data, run.seed)).curve[1:]]


def _fused_epochs(run: RunConfig, mnist: dataset.Mnist, slots: int, epochs: int) -> list[float]:
    """Of all slots together: from one epoch's start to the next's, which waits for the first's results."""
    runs = [replace(run, seed=seed, training=TrainingConfig(max_epochs=2 + epochs, patience=2 + epochs)) for seed in range(slots)]
    moments: list[float] = []
    scheduler.train(
        runs,
        mnist,
        num_slots=slots,
        epoch_seconds=0.0,
        on_outcome=lambda i, outcome: None,
        on_epoch=lambda num_active: moments.append(time.perf_counter()),
    )
    return [after - before for before, after in pairwise(moments)][1:]


def _product_rate(device: torch.device) -> float:
    """FLOP/s of a large product of the precision that is set."""
    a, b = torch.rand(2, _PRODUCT_SIZE, _PRODUCT_SIZE, device=device)
    seconds = []
    for _ in range(5):
        with (clock := Clock(device)):
            torch.mm(a, b)
        seconds.append(clock.wall_seconds)
    return 2 * _PRODUCT_SIZE**3 / median(seconds[1:])


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The documents' 46 rates with a few seeds, from the first to the last epoch."""

    how: Literal["fused", "solo", "command"]  # the command: start-up, calibration and report included
    num_seeds: int
    precision: str = "fp32"

    @property
    def label(self) -> str:
        how = {"fused": "fused, warm", "solo": "solo, warm", "command": "`lrsweep … hydra/launcher=fused`, start to report"}
        return f"46 rates × {self.num_seeds}, {self.precision}, {how[self.how]}"


SWEEPS = [
    *(Sweep(how="fused", num_seeds=n, precision=precision) for precision in ("fp32", "tf32") for n in (1, 10)),
    *(Sweep(how="command", num_seeds=n) for n in (1, 10)),
    Sweep(how="solo", num_seeds=1),
]


def measure_sweep(sweep: Sweep, like: RunConfig, device_name: str) -> dict[str, Any]:
    """A warm one makes its buffers and CUDA graphs anew, no more."""
    device = prepare_device(MachineConfig(device=device_name, precision=sweep.precision))  # type: ignore[arg-type]
    seconds, epochs = _command_sweep(sweep, device_name) if sweep.how == "command" else _warm_sweep(sweep, like, device)
    return asdict(sweep) | {"seconds": seconds, "epochs": epochs, "product_flops_per_second": _product_rate(device)}


def _warm_sweep(sweep: Sweep, like: RunConfig, device: torch.device) -> tuple[float, int]:
    mnist = dataset.load(ROOT / "data", device)
    points = [(lr, seed) for seed in range(sweep.num_seeds) for lr in log_grid(GridConfig())]
    runs = [replace(like, optimizer=replace(like.optimizer, lr=lr), seed=seed) for lr, seed in points]
    epochs: list[int] = []
    start = time.perf_counter()
    if sweep.how == "solo":
        epochs += [len(solo.train(run, dataset.split(mnist, run.data, run.seed)).curve) for run in runs]
    else:
        scheduler.train(
            runs,
            mnist,
            num_slots=len(runs),
            epoch_seconds=0.0,
            on_outcome=lambda i, outcome: epochs.append(len(outcome.curve)),
        )
    return time.perf_counter() - start, sum(epochs)


def _command_sweep(sweep: Sweep, device_name: str) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lrsweep", "study=lr", f"seed=range({sweep.num_seeds})", "hydra/launcher=fused"]
        where = [f"machine.device={device_name}", f"machine.precision={sweep.precision}", f"machine.results_dir={folder}"]
        torch.cuda.empty_cache()  # the command's own process needs it
        start = time.perf_counter()
        subprocess.run([*command, *where], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start, int(store.load(Path(folder) / "lr")["epochs"].sum())


def rows_of(measured: dict[str, list[dict[str, Any]]], every: list[Contender], images: int, flops: int) -> list[list[str]]:
    rows = [["", "slots", "images trained a second", "runs per hour, × solo's", "of the product's rate", "peak GPU MB"]]
    for contender in every:
        mine = measured.get(contender.label)
        if not mine:
            rows.append([contender.label, *[NOT_MEASURED] * 5])
            continue
        base = measured[replace(contender, slots=0).label]  # one round ahead of the others, or none
        ratios = stat([b["seconds_per_run_epoch"] / m["seconds_per_run_epoch"] for b, m in zip(base, mine, strict=False)])
        seconds = median(m["seconds_per_run_epoch"] for m in mine)
        rate, peak = mine[0]["product_flops_per_second"], mine[0]["peak_memory_bytes"]
        times = f"{ratios.median:.2f} ({ratios.min:.2f}–{ratios.max:.2f}; {ratios.of})"
        cells = [str(mine[0]["slots"] or 1), f"{images / seconds:,.0f}", times if contender.slots != 0 else "1"]
        rows.append(
            [
                contender.label,
                *cells,
                f"{flops / seconds / rate:.2f}" if rate else "–",
                f"{peak / 1e6:,.0f}" if peak else "–",
            ]
        )
    return rows


def sweep_rows(found: dict[str, dict[str, Any]], flops: int) -> list[list[str]]:
    """The floor of a sweep: the sums of its epochs, at the rate of a large product of the same precision."""
    rows = [["", "seconds", "× its floor"]]
    for sweep in SWEEPS:
        mine = found.get(sweep.label)
        if mine is None:
            rows.append([sweep.label, NOT_MEASURED, NOT_MEASURED])
            continue
        floor = mine["epochs"] * flops / mine["product_flops_per_second"]
        rows.append([sweep.label, f"{mine['seconds']:.1f}", f"{mine['seconds'] / floor:.1f}"])
    return rows


def to_markdown(machine: dict[str, Any], rows: list[list[str]], of_sweeps: list[list[str]], command: str) -> str:
    lines = [
        f"# Many runs in one program, on {machine['name']}",
        "",
        f"{machine['cores']} cores, GPU: {machine['gpu'] or 'none'}. PyTorch {machine['versions']['torch']}, "
        f"{describe_code(machine)}, {machine['finished_at'][:10]}. Made by `{command}`.",
        "Ratios are medians over rounds (lowest–highest; of how many), each taken within a round.",
        "",
        *table(rows),
        "",
        "## Whole sweeps on a GPU",
        "",
        "Once each. The floor: the operations of the epochs trained, at the rate of a large product on the same card.",
        "",
        *table(of_sweeps),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the fused engine is beside solo.")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contender (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs in a round (default: %(default)s)")
    parser.add_argument("--images", type=int, default=3_000, help="training images (default: %(default)s)")
    parser.add_argument("--solo-sweep", action="store_true", help="time 46 solo runs on the GPU, too: long")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder (default: %(default)s)")
    arguments = parser.parse_args()

    has_gpu = torch.cuda.is_available()
    here = contenders("cpu") + (contenders("cuda") if has_gpu else [])
    like = RunConfig(data=data_config(arguments.images), optimizer=OptimizerConfig(lr=LR))
    measured: dict[str, list[dict[str, Any]]] = {contender.label: [] for contender in here}
    found: dict[str, dict[str, Any]] = {}
    flops, flops_of_sweep = count_flops(like.data), count_flops(RunConfig().data)["per_epoch"]
    command = " ".join(["python", "scripts/bench_fused.py", *sys.argv[1:]])

    def so_far() -> tuple[Path, dict[str, Any], str, str]:
        machine = describe_machine()
        rows = rows_of(measured, contenders("cpu") + contenders("cuda"), like.data.num_train, flops["per_epoch"])
        report = {
            "command": command,
            "machine": machine,
            "settings": {"rounds": arguments.rounds, "epochs": arguments.epochs, "lr": LR, "data": asdict(like.data)},
            "flops": flops,
            "sweeps": found,
            "measurements": measured,
        }
        return arguments.out, report, to_markdown(machine, rows, sweep_rows(found, flops_of_sweep), command), "fused"

    for number in range(1, arguments.rounds + 1):
        for contender in here:
            print(f"round {number} of {arguments.rounds}: {contender.label}", file=sys.stderr, flush=True)
            measured[contender.label].append(measure(contender, like, arguments.epochs))
            write(*so_far())
    for sweep in SWEEPS:
        if has_gpu and (sweep.how != "solo" or arguments.solo_sweep):
            print(sweep.label, file=sys.stderr, flush=True)
            found[sweep.label] = measure_sweep(sweep, RunConfig(), "cuda")
            write(*so_far())
    publish(*so_far())


if __name__ == "__main__":
    main()
