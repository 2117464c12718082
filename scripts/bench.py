"""How fast lrsweep trains, compared with the plain PyTorch script of baseline.py on the same machine.

    python scripts/bench.py          (`make bench` runs it first; leave the machine idle meanwhile)

Each contender trains one epoch to warm up, then the timed epochs. The ratio of runs per hour is that of epochs per hour, because
both sides train the same network on the same number of images and stop by the same rule.

The CPU goal is the share of an epoch that its convolutions and matrix products take when they run alone, without biases,
pooling, optimizer or anything else. One process measures both, in turns. At 1, nothing but faster kernels could help.

Written to results/bench/<machine>.md and .json after every measurement.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from benchmarking import LEGEND, LR, ROOT, add_device, data_config, devices, new_parser, ratios, spread, table, take_turns, write
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from lrsweep.config import DataConfig, MachineConfig, OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.data import dataset
from lrsweep.records import EpochRecord
from lrsweep.training import solo
from lrsweep.training.clock import Clock
from lrsweep.training.device import describe, num_cores, prepare_device

BARRIER_SECONDS = 300.0  # for the slowest worker to load its data
BUSY_BELOW = 0.95  # CPU time over wall time of a one-thread process

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Contender:
    label: str
    device: str = "cpu"
    num_processes: int = 1
    is_plain: bool = False


PLAIN = Contender("plain PyTorch script", is_plain=True)
ALONE = Contender("lrsweep, one process alone")
PLAIN_GPU = Contender("plain PyTorch script, GPU (TF32 in convolutions)", "cuda", is_plain=True)
CONTENDERS = [
    PLAIN,
    Contender("lrsweep, one process per core", num_processes=num_cores()),
    ALONE,
    PLAIN_GPU,
    *(replace(PLAIN_GPU, label=f"{PLAIN_GPU.label}, {n} processes", num_processes=n) for n in (4, 8)),
    Contender("lrsweep, GPU, fp32", "cuda"),
    *(Contender(f"lrsweep, GPU, fp32, {n} processes", "cuda", num_processes=n) for n in (4, 8)),
]


def measure(contender: Contender, data: DataConfig, epochs: int) -> dict[str, Any]:
    """The timed epochs of all processes, which train at the same time, each with its own seed."""
    if contender.is_plain:
        return measure_plain_script(contender, data, epochs)
    n, context = contender.num_processes, get_context("spawn")
    with ProcessPoolExecutor(n, context, _keep_barrier, (context.Barrier(n),)) as pool:
        results = list(pool.map(train, [contender] * n, [data] * n, [epochs] * n, range(n)))
    return {
        "seconds_per_epoch": [seconds for result in results for seconds in result["seconds_per_epoch"]],
        "layer_seconds": results[0]["layer_seconds"],
        "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        "cpu_share": min(result["cpu_share"] for result in results),
    }


def measure_plain_script(contender: Contender, data: DataConfig, epochs: int) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "scripts" / "baseline.py"), "--lr", str(LR), "--epochs", str(1 + epochs)]
    command += ["--num-train", str(data.num_train), "--num-valid", str(data.num_valid), "--num-test", str(data.num_test)]
    command += ["--device", contender.device]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(contender.num_processes)]
    outputs = [process.communicate()[0] for process in processes]
    for process in processes:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    results = [json.loads(output) for output in outputs]
    return {
        "seconds_per_epoch": [seconds for result in results for seconds in result["seconds_per_epoch"][1:]],
        "peak_memory_bytes": max(result["environment"]["peak_memory_bytes"] for result in results),
    }


_barrier: threading.Barrier  # of a worker; a process can receive a barrier only when it starts


def _keep_barrier(barrier: threading.Barrier) -> None:
    global _barrier
    _barrier = barrier


def train(contender: Contender, data: DataConfig, epochs: int, seed: int) -> dict[str, Any]:
    """Run in a worker. Scoring the test set at the end keeps its core busy while slower workers finish."""
    device = prepare_device(MachineConfig(device=contender.device))
    run = RunConfig(seed=seed, data=data, optimizer=OptimizerConfig(lr=LR), training=TrainingConfig(max_epochs=1 + epochs))
    split = dataset.split(dataset.load(DataConfig(), ROOT / "data", device), run.data, run.seed)
    layers = LayersAlone(run, split) if contender == ALONE else None
    layer_seconds: list[float] = []

    def time_layers(_: EpochRecord) -> None:
        if layers is not None:
            with (clock := Clock(device)):
                layers.run_epoch()
            layer_seconds.append(clock.wall_seconds)

    _barrier.wait(BARRIER_SECONDS)
    outcome = solo.train(run, split, time_layers)
    return {
        "seconds_per_epoch": [epoch.seconds for epoch in outcome.curve[1:]],
        "layer_seconds": layer_seconds[1:],
        "peak_memory_bytes": describe(device, workers=contender.num_processes)["peak_memory_bytes"],
        "cpu_share": (outcome.cpu_seconds or 0.0) / (outcome.wall_seconds or 1.0),
    }


class LayersAlone:
    """The convolutions and matrix products of one epoch, in the same order and with the same batch sizes, and nothing else."""

    def __init__(self, run: RunConfig, split: dataset.Split) -> None:
        calls: list[tuple[Layer, Tensor]] = []
        inputs: dict[Any, Tensor] = {}  # one per layer and shape, to save memory

        def record(layer: nn.Module, arguments: tuple[Tensor]) -> None:
            if isinstance(layer, Layer):
                [x] = arguments
                # True where the network needs this gradient, so not for the images.
                copy = x.detach().clone().requires_grad_(x.requires_grad)
                calls.append((layer, inputs.setdefault((layer, x.shape, x.is_inference()), copy)))

        learner = solo.new_learner(run, split.train.images.device)
        with register_module_forward_pre_hook(record):
            solo.train_epoch(learner, split.train)
            solo.evaluate(run, learner.model, split.valid)
        for layer, _ in calls:
            layer.register_parameter("bias", None)
        training = [(layer, x) for layer, x in calls if not x.is_inference()]
        grads = {x: torch.randn_like(layer(x)) for layer, x in set(training)}
        self._training = [(layer, x, grads[x]) for layer, x in training]
        self._validation = [(layer, x) for layer, x in calls if x.is_inference()]

    def run_epoch(self) -> None:
        for layer, x, grad in self._training:
            torch.autograd.grad(layer(x), [tensor for tensor in (x, layer.weight) if tensor.requires_grad], grad)
        with torch.inference_mode():
            for layer, x in self._validation:
                layer(x)


def epochs_per_hour(contender: Contender, measurements: Sequence[dict[str, Any]]) -> list[float]:
    """Epochs per hour of all processes together, one value per round."""
    return [contender.num_processes * 3600 / median(m["seconds_per_epoch"]) for m in measurements]


def speed_row(contender: Contender, measured: dict[str, list[dict[str, Any]]]) -> list[str]:
    measurements = measured.get(contender.label)
    if not measurements:
        return [contender.label]
    plain = PLAIN if contender.device == "cpu" else PLAIN_GPU
    rates = epochs_per_hour(contender, measurements)
    return [
        contender.label,
        spread([seconds for m in measurements for seconds in m["seconds_per_epoch"]]),
        spread(rates, ",.0f"),
        "1" if contender is plain else spread(ratios(rates, epochs_per_hour(plain, measured[plain.label]))),
        spread([m["peak_memory_bytes"] / 1e6 for m in measurements], ".0f"),
    ]


def layer_rows(measurements: Sequence[dict[str, Any]]) -> list[list[str]]:
    if not measurements:
        return [["share of the epoch"]]
    alone, epoch = ([median(m[key]) for m in measurements] for key in ("layer_seconds", "seconds_per_epoch"))
    return [
        ["seconds of an epoch's convolutions and matrix products alone", spread(alone)],
        ["seconds of the epoch", spread(epoch)],
        ["share of the epoch", spread(ratios(alone, epoch))],
    ]


def to_markdown(measured: dict[str, list[dict[str, Any]]], data: DataConfig, epochs: int) -> list[str]:
    head = ["", "seconds per epoch", "epochs per hour", "runs per hour, × plain script", "peak MB per process"]
    lines = [
        LEGEND,
        f"An epoch: {data.num_train:,} training and {data.num_valid:,} validation images. In a round, a process trains {epochs} "
        "epochs after one to warm up. On a CPU, the plain script uses PyTorch's default number of threads; each process of "
        "lrsweep uses one.",
        "",
        *table(head, [speed_row(contender, measured) for contender in CONTENDERS]),
        "",
        *table(["the CPU goal", ALONE.label], layer_rows(measured.get(ALONE.label, []))),
    ]
    shares = [m["cpu_share"] for c in CONTENDERS if c.device == "cpu" for m in measured.get(c.label, []) if "cpu_share" in m]
    if min(shares, default=1.0) < BUSY_BELOW:
        lines += ["", f"**The machine was busy:** lrsweep had its core for only {min(shares):.0%} of the time. Measure again."]
    return lines


def main() -> None:
    parser = new_parser("How fast lrsweep trains, compared with a plain PyTorch script.", rounds=3, epochs=2, images=3_000)
    add_device(parser)
    arguments = parser.parse_args()
    data = data_config(arguments.images)
    contenders = [c for c in CONTENDERS if c.device in devices(arguments)]

    def publish(measured: dict[str, list[dict[str, Any]]]) -> None:
        write(arguments, "", "Speed", to_markdown(measured, data, arguments.epochs), {"measurements": measured})

    take_turns({c.label: partial(measure, c, data, arguments.epochs) for c in contenders}, arguments.rounds, publish)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error}")
