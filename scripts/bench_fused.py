"""How fast the fused engine trains many runs in one program, compared with one run at a time.

    python scripts/bench_fused.py          (`make bench` runs it after bench.py; leave the machine idle meanwhile)

An epoch has 3,000 training and 5,000 validation images, as in the documents. Each contender trains one epoch to warm up.
Written to results/bench/<machine>-fused.md and .json after every measurement. `make gpu` runs it as well, and times whole sweeps.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any, Literal
from unittest.mock import patch

import torch
from benchmarking import LEGEND, LR, ROOT, add_device, data_config, devices, new_parser, ratios, spread, table, take_turns, write
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lrsweep.config import DataConfig, MachineConfig, ModelConfig, OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.data import dataset
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.fused.block import BLOCK_SLOTS
from lrsweep.training import solo
from lrsweep.training.clock import Clock
from lrsweep.training.device import prepare_device
from lrsweep.training.models import build_model, initial_model

PRODUCT_SIZE = 8_192  # rows and columns of the matrices, on a GPU


@dataclass(frozen=True)
class Contender:
    device: str
    precision: Literal["fp32", "tf32"]
    num_slots: int  # 0: solo
    block_slots: int | None = None  # runs in a block; None: as many as lrsweep chooses
    nchw: bool = False  # solo without channels_last

    @property
    def label(self) -> str:
        blocks = f", blocks of {self.block_slots or BLOCK_SLOTS[self.device]}" if self.device == "cuda" else ""
        engine = f"fused, K = {self.num_slots}{blocks}" if self.num_slots else f"solo{', NCHW' if self.nchw else ''}"
        return f"{self.device.upper()}, {self.precision}, {engine}"


def _on_gpu(precision: Literal["fp32", "tf32"]) -> list[Contender]:
    solos = [Contender("cuda", precision, 0), Contender("cuda", precision, 0, nchw=True)]
    blocks = sorted({4, 16, 46} - {BLOCK_SLOTS["cuda"]})
    return [
        *solos,
        *(Contender("cuda", precision, num_slots) for num_slots in (46, 460)),
        *(Contender("cuda", precision, 46, slots) for slots in blocks),
    ]


CONTENDERS = [  # solo is first for each device and precision, because the others are compared with it
    *(Contender("cpu", "fp32", slots) for slots in (0, 8)),
    *_on_gpu("fp32"),
    *_on_gpu("tf32"),
]


def measure(contender: Contender, template: RunConfig, epochs: int) -> dict[str, Any]:
    device = prepare_device(MachineConfig(device=contender.device, precision=contender.precision))
    data_set = dataset.load(DataConfig(), ROOT / "data", device)
    slots = contender.num_slots
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if slots == 0:
        run = replace(template, training=TrainingConfig(max_epochs=1 + epochs, patience=1 + epochs))
        with patch.object(solo, "initial_model", _nchw_model) if contender.nchw else nullcontext():
            seconds = [epoch.seconds for epoch in solo.train(run, dataset.split(data_set, run.data, run.seed)).curve[1:]]
    else:
        # Train one more epoch, because an epoch ends for the clock when the next one starts, which waits for its results.
        run = replace(template, training=TrainingConfig(max_epochs=2 + epochs, patience=2 + epochs))
        starts = train_fused([replace(run, seed=seed) for seed in range(slots)], data_set, contender.block_slots)
        seconds = [(end - start) / slots for start, end in pairwise(starts)][1:]
    return {
        "slots": max(1, slots),
        "seconds_per_run_epoch": median(seconds),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "product_flops_per_second": product_rate(device) if device.type == "cuda" else None,
    }


def _nchw_model(*arguments: Any) -> nn.Module:
    """The model of solo in PyTorch's default memory format."""
    return initial_model(*arguments).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def train_fused(runs: list[RunConfig], data_set: dataset.DataSet, block_slots: int | None) -> list[float]:
    """Train all runs at the same time. Return when each epoch started."""
    starts: list[float] = []
    scheduler.train(
        runs,
        data_set,
        num_slots=len(runs),
        epoch_seconds=EpochSeconds(0.0, 0.0),
        on_outcome=lambda i, outcome: None,
        on_epoch=lambda num_active: starts.append(time.perf_counter()),
        block_slots=block_slots,
    )
    return starts


def product_rate(device: torch.device) -> float:
    """FLOP/s of a large matrix product in the current precision."""
    a, b = torch.rand(2, PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    seconds = []
    for _ in range(5):
        with (clock := Clock(device)):
            torch.mm(a, b)
        seconds.append(clock.wall_seconds)
    return 2 * PRODUCT_SIZE**3 / median(seconds[1:])


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
    solos = measured[Contender(contender.device, contender.precision, 0).label]
    solo_seconds, seconds = ([m["seconds_per_run_epoch"] for m in side] for side in (solos, measurements))
    first = measurements[0]
    rate, peak = first["product_flops_per_second"], first["peak_memory_bytes"]
    return [
        contender.label,
        str(first["slots"]),
        f"{data.num_train / median(seconds):,.0f}",
        "1" if solos is measurements else spread(ratios(solo_seconds, seconds)),
        f"{flops_per_epoch(data) / median(seconds) / rate:.2f}" if rate else "–",
        f"{peak / 1e6:,.0f}" if peak else "–",
    ]


def to_markdown(measured: dict[str, list[dict[str, Any]]], data: DataConfig) -> list[str]:
    head = ["", "slots", "images trained per second", "runs per hour, × solo", "share of the product's rate", "peak GPU MB"]
    rows = [speed_row(contender, measured, data) for contender in CONTENDERS]
    return [LEGEND, f"An epoch: {data.num_train:,} training and {data.num_valid:,} validation images.", "", *table(head, rows)]


def main() -> None:
    parser = new_parser("How fast the fused engine is, compared with solo.", rounds=3, epochs=2, images=3_000)
    add_device(parser)
    arguments = parser.parse_args()
    template = RunConfig(data=data_config(arguments.images), optimizer=OptimizerConfig(lr=LR))
    contenders = [contender for contender in CONTENDERS if contender.device in devices(arguments)]

    def publish(measured: dict[str, list[dict[str, Any]]]) -> None:
        write(arguments, "fused", "Many runs in one program", to_markdown(measured, template.data), {"measurements": measured})

    take_turns({c.label: partial(measure, c, template, arguments.epochs) for c in contenders}, arguments.rounds, publish)


if __name__ == "__main__":
    main()
