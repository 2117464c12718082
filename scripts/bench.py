"""How fast lrsweep is beside the plain PyTorch script of baseline.py, measured on this machine in one go.

    python scripts/bench.py          (what `make bench` runs; leave the machine idle meanwhile)

Prints two tables and writes them to results/bench/<machine>.md, with every raw measurement in <machine>.json. The contenders
take turns in rounds, so that a machine that slows down slows them all; ratios are taken within a round. Every training is one
untimed warm-up epoch and then the timed ones. Nothing is estimated: what was not measured says so.

Runs per hour go as epochs per hour: both sides train the same network on as many images with the same rule for stopping.

PyTorch counts the floating-point operations on the model itself, for convolutions and matrix products only: two for each
multiply-add.
Multiply-adds of one image forward: conv1 225,792 + conv2 2,654,208 + conv3 589,824 + dense 65,536 +
output 640 = 3,536,000. Backward is twice that, less conv1's 225,792: nobody asks for the gradient of the images.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lrsweep.config import DataConfig, MachineConfig, ModelConfig, OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.data import dataset
from lrsweep.storage.files import write_atomically
from lrsweep.training import solo
from lrsweep.training.device import describe, num_cores, prepare_device
from lrsweep.training.models import build_model

ROOT = Path(__file__).parents[1]
LR = 1e-3
BARRIER_SECONDS = 300.0  # for the slowest process to load its data
BUSY_BELOW = 0.95  # of a one-thread process's wall time, spent computing
PRODUCT_SIZE = 2_048  # rows and columns: 17 GFLOP a product
PRODUCTS_PER_ROUND = 5


@dataclass(frozen=True, kw_only=True)
class Contender:
    name: str
    label: str
    device: str
    precision: str = "fp32"
    processes: int = 1
    is_baseline: bool = False
    shows_core: bool = False  # measures matrix products as well, after its training


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One process's training in one round."""

    round: int
    contender: str
    threads: int
    seconds_per_epoch: list[float]  # training and validation, of the timed epochs
    peak_memory_bytes: int
    cpu_share: float | None = None  # CPU time over wall time; of one-thread processes on a CPU
    product_flops_per_second: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Stat:
    median: float
    min: float
    max: float
    of: int  # measurements


def stat(values: Sequence[float]) -> Stat:
    return Stat(median=statistics.median(values), min=min(values), max=max(values), of=len(values))


def contenders() -> list[Contender]:
    """Baselines first on each device. The GPU's are left out where there is none."""
    on_cpu = [
        Contender(name="baseline", label="plain PyTorch script", device="cpu", is_baseline=True),
        Contender(name="lrsweep", label="lrsweep, a process a core", device="cpu", processes=num_cores()),
        Contender(name="lrsweep_alone", label="lrsweep, one process alone", device="cpu", shows_core=True),
    ]
    on_gpu = [
        Contender(name="baseline_gpu", label="plain PyTorch script, GPU (TF32 in convolutions)", device="cuda", is_baseline=True),
        Contender(name="lrsweep_gpu", label="lrsweep, GPU, fp32", device="cuda"),
        Contender(name="lrsweep_gpu_tf32", label="lrsweep, GPU, tf32", device="cuda", precision="tf32"),
    ]
    return on_cpu + (on_gpu if torch.cuda.is_available() else [])


# Measuring


def data_config(num_train: int) -> DataConfig:
    """The documents' proportions: 3,000 to 5,000 to 10,000."""
    return DataConfig(num_train=num_train, num_valid=num_train * 5 // 3, num_test=num_train * 10 // 3)


def measure(contender: Contender, round_number: int, sizes: DataConfig, epochs: int) -> list[Measurement]:
    measure_one = measure_baseline if contender.is_baseline else measure_lrsweep
    return [Measurement(round=round_number, contender=contender.name, **m) for m in measure_one(contender, sizes, epochs)]


def measure_baseline(contender: Contender, sizes: DataConfig, epochs: int) -> list[dict[str, Any]]:
    command = [sys.executable, str(ROOT / "scripts" / "baseline.py"), "--lr", str(LR), "--epochs", str(1 + epochs)]
    for name in ("num_train", "num_valid", "num_test"):
        command += [f"--{name.replace('_', '-')}", str(getattr(sizes, name))]
    command += ["--device", contender.device]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    environment = result["environment"]
    return [
        {
            "threads": environment["threads"],
            "seconds_per_epoch": result["seconds_per_epoch"][1:],
            "peak_memory_bytes": environment["peak_memory_bytes"],
        }
    ]


def measure_lrsweep(contender: Contender, sizes: DataConfig, epochs: int) -> list[dict[str, Any]]:
    """All processes train at the same time, each another seed."""
    context = get_context("spawn")
    barrier = context.Barrier(contender.processes)
    with ProcessPoolExecutor(contender.processes, context, _keep_barrier, (barrier,)) as pool:
        futures = [pool.submit(_train, seed, contender, sizes, epochs) for seed in range(contender.processes)]
        return [future.result() for future in futures]


_barrier: threading.Barrier  # in each of the processes below; a barrier can be handed over at their start only


def _keep_barrier(barrier: threading.Barrier) -> None:
    global _barrier
    _barrier = barrier


def _train(seed: int, contender: Contender, sizes: DataConfig, epochs: int) -> dict[str, Any]:
    """In a process of its own. Scoring the test set, at the end, keeps its core busy while slower ones finish."""
    device = prepare_device(MachineConfig(device=contender.device, precision=contender.precision, threads=1))  # type: ignore[arg-type]
    run = RunConfig(seed=seed, data=sizes, optimizer=OptimizerConfig(lr=LR), training=TrainingConfig(max_epochs=1 + epochs))
    split = dataset.split(dataset.load(ROOT / "data", device), run.data, run.seed)
    _barrier.wait(BARRIER_SECONDS)
    outcome = solo.train(run, split)
    assert outcome.wall_seconds is not None
    assert outcome.cpu_seconds is not None
    # A process is born with its parent's peak on its account. The main process stays below any training's: it only imports.
    environment = describe(device, contender.processes)
    return {
        "threads": environment["threads"],
        "seconds_per_epoch": [epoch.seconds for epoch in outcome.curve[1:]],
        "peak_memory_bytes": environment["peak_memory_bytes"],
        "cpu_share": outcome.cpu_seconds / outcome.wall_seconds if device.type == "cpu" else None,
        "product_flops_per_second": measure_products() if contender.shows_core else [],
    }


def measure_products() -> list[float]:
    """FLOP/s of large fp32 matrix products in this process, on its one thread: what this core can do."""
    a, b, out = torch.rand(3, PRODUCT_SIZE, PRODUCT_SIZE, generator=torch.Generator().manual_seed(0))
    torch.mm(a, b, out=out)
    rates = []
    for _ in range(PRODUCTS_PER_ROUND):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        rates.append(2 * PRODUCT_SIZE**3 / (time.perf_counter() - start))
    return rates


def count_flops(sizes: DataConfig) -> dict[str, int]:
    model = build_model(ModelConfig(), torch.Generator(), torch.device("meta"))
    image = torch.zeros(1, 1, 28, 28, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(image)
    with FlopCounterMode(display=False) as training:
        model(image).sum().backward()
    train, valid = training.get_total_flops(), forward.get_total_flops()
    return {
        "train_per_image": train,
        "valid_per_image": valid,
        "per_epoch": train * sizes.num_train + valid * sizes.num_valid,
    }


# Summing up: from the measurements alone


def summarise(runners: Sequence[Contender], measurements: Sequence[Measurement], flops_per_epoch: int) -> dict[str, Any]:
    """Each contender's figures by name, and the core's. Rates and ratios are one for each round, of the round's medians."""
    rates = {c.name: _epochs_per_hour(c, measurements) for c in runners}
    summary: dict[str, Any] = {}
    for contender in runners:
        mine = [m for m in measurements if m.contender == contender.name]
        baseline = next(c.name for c in runners if c.is_baseline and c.device == contender.device)
        ratios = [ours / theirs for ours, theirs in zip(rates[contender.name], rates[baseline], strict=True)]
        summary[contender.name] = {
            "processes": contender.processes,
            "threads": mine[0].threads,
            "seconds_per_epoch": asdict(stat([s for m in mine for s in m.seconds_per_epoch])),
            "epochs_per_hour": asdict(stat(rates[contender.name])),
            "times_baseline": asdict(stat(ratios)),
            "peak_memory_bytes": asdict(stat([m.peak_memory_bytes for m in mine])),
        }
    [alone] = [c.name for c in runners if c.shows_core]
    products = [m.product_flops_per_second for m in measurements if m.contender == alone]
    achieved = [rate * flops_per_epoch / 3600 for rate in rates[alone]]
    summary["core"] = {
        "product_flops_per_second": asdict(stat([rate for of_round in products for rate in of_round])),
        "training_flops_per_second": asdict(stat(achieved)),
        "fraction": asdict(stat([a / statistics.median(p) for a, p in zip(achieved, products, strict=True)])),
    }
    summary["lowest_cpu_share"] = min(m.cpu_share for m in measurements if m.cpu_share is not None)
    return summary


def _epochs_per_hour(contender: Contender, measurements: Sequence[Measurement]) -> list[float]:
    """All processes together, one figure for each round."""
    rounds: dict[int, list[float]] = {}
    for m in measurements:
        if m.contender == contender.name:
            rounds.setdefault(m.round, []).extend(m.seconds_per_epoch)
    return [contender.processes * 3600 / statistics.median(seconds) for _, seconds in sorted(rounds.items())]


# Showing: Markdown that can be read in a terminal


def to_markdown(report: dict[str, Any], runners: Sequence[Contender]) -> str:
    machine, settings, summary, flops = (report[key] for key in ("machine", "settings", "summary", "flops"))
    sizes = settings["data"]
    code = describe_code(machine)
    lines = [
        f"# Speed on {machine['name']}",
        "",
        f"{machine['cores']} cores, GPU: {machine['gpu'] or 'none'}. PyTorch {machine['versions']['torch']}, {code}, "
        f"{machine['finished_at'][:10]}. Made by `{report['command']}`.",
        f"An epoch: {sizes['num_train']:,} images of training and {sizes['num_valid']:,} of validation, batch 32. "
        f"{settings['rounds']} rounds, timed epochs of each process in a round: {settings['epochs']}, after one of warm-up.",
        "Figures are medians (lowest–highest; of how many measurements). Runs per hour go as epochs per hour.",
        "",
        *table(_speed_rows(summary, runners)),
        "",
        *table(_core_rows(summary["core"])),
        "",
        f"Counted: {flops['train_per_image']:,} FLOP an image of training, {flops['valid_per_image']:,} of validation, "
        f"{flops['per_epoch'] / 1e9:.2f} GFLOP an epoch.",
    ]
    if summary["lowest_cpu_share"] < BUSY_BELOW:
        lines += [
            "",
            f"**The machine was busy:** a process got its core for only {summary['lowest_cpu_share']:.0%} of the time. "
            "Measure again on an idle one.",
        ]
    return "\n".join(lines) + "\n"


def _speed_rows(summary: dict[str, Any], runners: Sequence[Contender]) -> Iterator[list[str]]:
    yield [
        "",
        "processes × threads",
        "seconds an epoch",
        "epochs an hour",
        "runs per hour, × plain script's",
        "peak MB a process",
    ]
    for contender in runners:
        row = summary[contender.name]
        yield [
            contender.label,
            f"{row['processes']} × {row['threads']}",
            _show(row["seconds_per_epoch"], ".2f"),
            _show(row["epochs_per_hour"], ",.0f"),
            "1" if contender.is_baseline else _show(row["times_baseline"], ".2f"),
            _show(row["peak_memory_bytes"], ".0f", 1e-6),
        ]
    if not any(contender.device == "cuda" for contender in runners):
        yield ["GPU", *["not measured"] * 5]


def _core_rows(core: dict[str, Any]) -> Iterator[list[str]]:
    yield ["one core, fp32", "GFLOP/s"]
    yield [f"matrix product {PRODUCT_SIZE:,} × {PRODUCT_SIZE:,}", _show(core["product_flops_per_second"], ".1f", 1e-9)]
    yield ["lrsweep, one process alone", _show(core["training_flops_per_second"], ".1f", 1e-9)]
    yield ["the second as a fraction of the first", _show(core["fraction"], ".2f")]


def _show(s: dict[str, Any], digits: str, unit: float = 1.0) -> str:
    median, low, high = (format(s[key] * unit, digits) for key in ("median", "min", "max"))
    return f"{median} ({low}–{high}; {s['of']})"


def table(rows: Iterable[list[str]]) -> list[str]:
    head, *body = list(rows)
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    ruled = [head, ["-" * width for width in widths], *body]
    return ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in ruled]


def describe_machine() -> dict[str, Any]:
    """Named by its GPU, else by its CPU."""
    machine = describe(torch.device("cpu"), num_cores())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    kept = {key: machine[key] for key in ("cores", "finished_at", "versions", "git_commit", "git_dirty")}
    return {"name": gpu or machine["device_name"], "cpu": machine["device_name"], "gpu": gpu, **kept}


def describe_code(machine: dict[str, Any]) -> str:
    return f"commit {(machine['git_commit'] or 'unknown')[:7]}{' with changes' if machine['git_dirty'] else ''}"


def file_name(machine: dict[str, Any]) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{machine['name']} {machine['cores']} cores".lower()).strip("-")


def write(folder: Path, report: dict[str, Any], told: str, kind: str = "") -> Path:
    """What was measured, in words and in figures, in files named by the machine. Their path, less its ending."""
    path = folder / "-".join(filter(None, [file_name(report["machine"]), kind]))
    write_atomically(path.with_name(f"{path.name}.json"), (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(path.with_name(f"{path.name}.md"), told.encode())
    return path


def publish(folder: Path, report: dict[str, Any], told: str, kind: str = "") -> None:
    """Print it, too."""
    path = write(folder, report, told, kind)
    print(told)
    print(f"Written: {path}.md and .json")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast lrsweep is beside a plain PyTorch script.")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contender (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs of a process in a round (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, default=3_000, help="training images; the rest in proportion (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder (default: %(default)s)")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.epochs) < 1 or not 3 <= arguments.images <= 3_000:
        parser.error("--rounds and --epochs must be at least 1, --images from 3 to 3000")

    runners, sizes = contenders(), data_config(arguments.images)
    measurements: list[Measurement] = []
    for number in range(1, arguments.rounds + 1):
        for contender in runners:
            print(f"round {number} of {arguments.rounds}: {contender.label}", file=sys.stderr, flush=True)
            measurements += measure(contender, number, sizes, arguments.epochs)

    flops = count_flops(sizes)
    machine = describe_machine()
    report = {
        "command": " ".join(["python", "scripts/bench.py", *sys.argv[1:]]),
        "machine": machine,
        "settings": {"rounds": arguments.rounds, "epochs": arguments.epochs, "lr": LR, "data": asdict(sizes)},
        "flops": flops,
        "summary": summarise(runners, measurements, flops["per_epoch"]),
        "measurements": [asdict(m) for m in measurements],
    }
    publish(arguments.out, report, to_markdown(report, runners))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: the plain script ended with exit code {error.returncode}; its own words are above")
