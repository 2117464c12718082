"""Profile a training step of solo and of one fused block: which kernels it runs, and for what fraction of the time.

    python scripts/gpu_profile.py --device cuda --out results/bench

On a CPU, PyTorch's operations count as kernels. The results are written to profile.json; `make gpu` puts them into its tables.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarking import LR, ROOT, data_config
from torch.profiler import ProfilerActivity, profile

from lrsweep.config import DataConfig, MachineConfig, OptimizerConfig, RunConfig
from lrsweep.data import dataset
from lrsweep.data.dataset import DataSet, batch_order
from lrsweep.data.seeding import generator
from lrsweep.fused.block import BLOCK_SLOTS, Block
from lrsweep.storage.files import write_atomically
from lrsweep.training import solo
from lrsweep.training.clock import Clock
from lrsweep.training.device import prepare_device

NUM_LONGEST = 15


@dataclass(frozen=True)
class Kernel:
    name: str
    start: float  # microseconds
    end: float


def kernels_of(work: Callable[[], object], device: torch.device) -> list[Kernel]:
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler, Clock(device):
        work()
    events = [event for event in profiler.events() if event.device_type.name == activity.name and not event.is_user_annotation]
    return [Kernel(event.name, event.time_range.start, event.time_range.end) for event in events]


def summary(kernels: list[Kernel], num_steps: int) -> dict[str, Any]:
    """The kernels per step, the share of the time in which at least one runs, and the kernels that take longest in total."""
    total: dict[str, float] = {}
    count: dict[str, int] = {}
    for kernel in kernels:
        total[kernel.name] = total.get(kernel.name, 0.0) + kernel.end - kernel.start
        count[kernel.name] = count.get(kernel.name, 0) + 1
    busy, latest = 0.0, -1.0
    for kernel in sorted(kernels, key=lambda kernel: kernel.start):
        busy += max(0.0, kernel.end - max(kernel.start, latest))
        latest = max(latest, kernel.end)
    longest = sorted(total, key=lambda name: -total[name])[:NUM_LONGEST]
    everything = sum(total.values())
    return {
        "kernels_per_step": len(kernels) / num_steps,
        "busy_share": busy / (latest - min(kernel.start for kernel in kernels)) if kernels else None,
        "longest": [
            {
                "name": name,
                "share": total[name] / everything,
                "per_step": count[name] / num_steps,
                "us": total[name] / count[name],
            }
            for name in longest
        ],
    }


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The seconds of the second call. The first call warms up."""
    work()
    with (clock := Clock(device)):
        work()
    return clock.wall_seconds


def measure_solo(run: RunConfig, data_set: DataSet) -> dict[str, Any]:
    split, device = dataset.split(data_set, run.data, run.seed), data_set.train_images.device
    learner = solo.new_learner(run, device)

    def training() -> object:
        return solo.train_epoch(learner, split.train)

    step_seconds = seconds_of(training, device) / run.epoch_steps
    validation_seconds = seconds_of(lambda: solo.evaluate(run, learner.model, split.valid), device)
    return {
        "runs": 1,
        "step_seconds": step_seconds,
        "validation_seconds": validation_seconds,
        **summary(kernels_of(training, device), run.epoch_steps),
    }


def measure_block(run: RunConfig, data_set: DataSet, num_slots: int) -> dict[str, Any]:
    device = data_set.train_images.device
    pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
    block = Block(run, num_slots, data_set, torch.float32, pool)
    for k in range(num_slots):
        block.load(k, run)
    order_N = torch.cat(batch_order(run.data.num_train, run.training.batch_size, generator(run.seed, "order")))
    rates_SK = torch.full((run.epoch_steps, num_slots), run.optimizer.lr, dtype=torch.float64)

    def epoch(validated: list[int] | None) -> object:
        return block.epoch(order_N.repeat(num_slots, 1), rates_SK, validated)

    training_seconds = seconds_of(lambda: epoch([]), device)
    return {
        "runs": num_slots,
        "step_seconds": training_seconds / run.epoch_steps,
        "validation_seconds": seconds_of(lambda: epoch(None), device) - training_seconds,
        **summary(kernels_of(lambda: epoch([]), device), run.epoch_steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Profile a training step of both engines.")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--images", type=int, default=3_000, help="training images of an epoch (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for profile.json")
    arguments = parser.parse_args()
    run = RunConfig(data=data_config(arguments.images), optimizer=OptimizerConfig(lr=LR))
    measured = {}
    for precision in ("fp32", "tf32"):
        device = prepare_device(MachineConfig(device=arguments.device, precision=precision))
        data_set = dataset.load(DataConfig(), ROOT / "data", device)
        slots = BLOCK_SLOTS[device.type]
        measured[f"solo, {precision}"] = measure_solo(run, data_set)
        measured[f"a block of {slots}, {precision}"] = measure_block(run, data_set, slots)
        write_atomically(arguments.out / "profile.json", json.dumps(measured, indent=1).encode())


if __name__ == "__main__":
    main()
