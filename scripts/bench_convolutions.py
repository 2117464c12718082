"""Other ways than the shipped ones to convolve for many runs at once, and how fast they are on this machine.

    python scripts/bench_convolutions.py          (make bench runs it last; leave the machine idle meanwhile)

A step here is the documents' network forward, the loss and the gradients of K runs with 32 images each. The optimizer, which is
the same whichever way it goes, stays out. Each way has to give the same gradients before it is timed; then all take turns in
rounds, and ratios are taken within a round. A GPU replays each as a recorded CUDA graph, as the fused engine does.
Written to results/bench/<machine>-convolutions.md and .json.

Shapes: K runs, B batch, H × W pixels, C classes.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from bench import ROOT, describe_code, describe_machine, publish, stat, table
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lrsweep.config import LossConfig, MachineConfig, ModelConfig
from lrsweep.fused import stacked_cnn
from lrsweep.fused.block import BLOCK_SLOTS, Step, record
from lrsweep.fused.stacked_cnn import Weights, losses_of, row_layout, views
from lrsweep.training.clock import Clock
from lrsweep.training.device import prepare_device
from lrsweep.training.models import ACTIVATIONS, build_model, initial_model

BATCH_SIZE = 32
TOLERANCE = 1e-4  # of the largest gradient of a tensor, in fp32
SLOTS = {"cpu": (1, 2, BLOCK_SLOTS["cpu"], 8), "cuda": (BLOCK_SLOTS["cuda"], 16, 46)}
STEPS = 10  # timed, of each way in a round
COLUMNS = "columns, backward by nine additions (shipped)"

Forward = Callable[[Weights, Tensor], Tensor]
Gradients = tuple[Tensor, ...]


def one_by_one(model: nn.Module, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """The solo engine's network, run after run."""
    each = [{name: weight[k] for name, weight in weights.items()} for k in range(len(images_KBHW))]
    return torch.stack([functional_call(model, own, (x.unsqueeze(1),)) for own, x in zip(each, images_KBHW, strict=True)])


def mapped(model: nn.Module, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """The same by torch.func.vmap, which makes grouped convolutions of it."""
    logits_KBC: Tensor = vmap(lambda own, x: functional_call(model, own, (x.unsqueeze(1),)))(weights, images_KBHW)
    return logits_KBC


def grouped(config: ModelConfig, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """Every run a group of channels."""
    num_runs = len(images_KBHW)

    def convolved(x: Tensor, layer: str, padding: int = 0) -> Tensor:
        kernels, biases = (weights[f"{layer}.{part}"].flatten(0, 1) for part in ("weight", "bias"))
        return F.conv2d(x, kernels, biases, padding=padding, groups=num_runs)

    def linear(x_KBI: Tensor, layer: str) -> Tensor:
        return torch.baddbmm(weights[f"{layer}.bias"].unsqueeze(1), x_KBI, weights[f"{layer}.weight"].transpose(1, 2))

    x = images_KBHW.transpose(0, 1)
    x = F.relu(F.max_pool2d(convolved(x, "conv1", padding=1), 2))
    x = F.relu(F.max_pool2d(convolved(x, "conv2"), 2))
    x = F.relu(convolved(x, "conv3"))
    x = x.unflatten(1, (num_runs, -1)).transpose(0, 1).flatten(2)
    return linear(ACTIVATIONS[config.activation](linear(x, "dense")), "output")


@contextmanager
def autograds_own_backward() -> Iterator[None]:
    """The columns, laid out alike, without the backward written for them."""
    with mock.patch.object(stacked_cnn._Columns, "apply", partial(stacked_cnn._Columns.forward, SimpleNamespace())):
        yield


def by_autograd(config: ModelConfig, weights: Weights, images_KBHW: Tensor) -> Tensor:
    with autograds_own_backward():
        return stacked_cnn.forward_cnn(config, weights, images_KBHW)


@cache
def _compiled() -> Forward:
    return torch.compile(partial(stacked_cnn.forward_cnn, ModelConfig()), dynamic=False)


def compiled(weights: Weights, images_KBHW: Tensor) -> Tensor:
    """Compiled when it is first called, and for each shape."""
    return _compiled()(weights, images_KBHW)


def ways(*, with_compiled: bool = False) -> dict[str, Forward]:
    """The columns first: the others are compared with them. The compiled last: what fails on a GPU may spoil what follows."""
    config = ModelConfig()
    model = build_model(config, torch.Generator(), torch.device("cpu"))  # its own weights are not used
    plain: dict[str, Forward] = {
        COLUMNS: partial(stacked_cnn.forward_cnn, config),
        "columns, autograd's backward": partial(by_autograd, config),
        "grouped convolutions": partial(grouped, config),
        "torch.func.vmap of the solo network": partial(mapped, model),
        "the solo network, run after run": partial(one_by_one, model),
    }
    return plain | ({"the shipped one, torch.compile": compiled} if with_compiled else {})


def batch(num_runs: int, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Weights, Tensor, Tensor]:
    """Weights as the fused engine lays them out, and images and labels by chance."""
    layout = row_layout(build_model(ModelConfig(), torch.Generator(), torch.device("cpu")))
    rows_KP = torch.zeros(num_runs, layout.num_floats, dtype=dtype, device=device)
    for k in range(num_runs):
        model = initial_model(ModelConfig(), k, torch.device("cpu"))
        for name, part in views(rows_KP[k : k + 1], layout).items():
            part[0].copy_(model.get_parameter(name).detach())
    weights = {name: part.detach().requires_grad_() for name, part in views(rows_KP, layout).items()}
    draws = torch.Generator().manual_seed(0)
    images_KBHW = torch.rand(num_runs, BATCH_SIZE, 28, 28, generator=draws).to(device, dtype)
    return weights, images_KBHW, torch.randint(10, (num_runs, BATCH_SIZE), generator=draws).to(device)


def step_of(forward: Forward, weights: Weights) -> Step[Gradients]:
    """Images and labels → the gradient of every weight."""

    def step(images_KBHW: Tensor, labels_KB: Tensor) -> Gradients:
        loss_K = losses_of(LossConfig(), forward(weights, images_KBHW), labels_KB)
        return torch.autograd.grad(loss_K.sum(), list(weights.values()))

    return step


def largest_difference(ours: Gradients, theirs: Gradients) -> float:
    """As a share of the tensor's largest entry; the worst tensor's."""
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, theirs, strict=True))


def measure(num_runs: int, device: torch.device, rounds: int, *, with_compiled: bool = False) -> dict[str, Any]:
    """By way: seconds of a step for each round, or in words why there are none."""
    weights, images, labels = batch(num_runs, device)
    forwards, steps = ways(with_compiled=with_compiled), {}
    expected = step_of(forwards[COLUMNS], weights)(images, labels)
    found: dict[str, Any] = {}
    for name, forward in forwards.items():
        step = step_of(forward, weights)
        try:
            gradients = step(images, labels)
            steps[name] = record(step, (images, labels), pool=None) if device.type == "cuda" else step
        except RuntimeError as error:  # no compiler, say
            found[name] = f"not measured: {str(error).strip().splitlines()[0]}"
            continue
        difference = largest_difference(gradients, expected)
        assert difference < TOLERANCE, f"{name} gives other gradients: {difference:.1e} of the largest"
        found[name] = []
    for _ in range(rounds):
        for name, step in steps.items():
            found[name].append(_seconds(step, images, labels))
    return found


def _seconds(step: Step[Gradients], images: Tensor, labels: Tensor) -> float:
    """Of one step: the median of a few, after one that is not timed."""
    taken = []
    for _ in range(1 + STEPS):
        with (clock := Clock(images.device)):
            step(images, labels)
        taken.append(clock.wall_seconds)
    return median(taken[1:])


def rows_of(measured: dict[int, dict[str, Any]]) -> list[list[str]]:
    """A row a way, two columns a number of runs."""
    first = next(iter(measured.values()))
    rows = [["", *(f"K = {k}: {what}" for k in measured for what in ("ms a run", "× the columns'"))]]
    for name in first:
        cells = []
        for k, found in measured.items():
            mine, columns = found[name], found[COLUMNS]
            if isinstance(mine, str):
                cells += [mine, mine]
                continue
            ratios = stat([a / b for a, b in zip(mine, columns, strict=True)])
            times = f"{ratios.median:.2f} ({ratios.min:.2f}–{ratios.max:.2f}; {ratios.of})"
            cells += [f"{median(mine) / k * 1e3:.2f}", "1" if name == COLUMNS else times]
        rows.append([name, *cells])
    return rows


def to_markdown(machine: dict[str, Any], measured: dict[str, dict[int, dict[str, Any]]], command: str) -> str:
    lines = [
        f"# Ways to convolve for many runs, on {machine['name']}",
        "",
        f"One step of K runs with {BATCH_SIZE} images each: forward, loss, gradients. fp32; a CPU computes on one thread. "
        f"PyTorch {machine['versions']['torch']}, {describe_code(machine)}, {machine['finished_at'][:10]}. Made by `{command}`.",
        "Milliseconds are medians. Ratios are medians over rounds (lowest–highest; of how many), each taken within a round: "
        "below 1 is faster than the columns.",
    ]
    for device in SLOTS:
        lines += ["", f"## {device.upper()}", ""]
        if device not in measured:
            lines += ["Not measured."]
            continue
        lines += table(rows_of(measured[device]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Ways to convolve for many runs at once, timed.")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every way (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too; on a CPU it compiles for minutes")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder (default: %(default)s)")
    arguments = parser.parse_args()

    measured: dict[str, dict[int, dict[str, Any]]] = {}
    for device in [name for name in SLOTS if name == "cpu" or torch.cuda.is_available()]:
        prepared = prepare_device(MachineConfig(device=device, threads=1))
        measured[device] = {}
        for num_runs in SLOTS[device]:
            print(f"{device.upper()}, K = {num_runs}", file=sys.stderr, flush=True)
            measured[device][num_runs] = measure(num_runs, prepared, arguments.rounds, with_compiled=arguments.compile)
            torch.compiler.reset()  # else a shape too many makes it give up
    machine = describe_machine()
    command = " ".join(["python", "scripts/bench_convolutions.py", *sys.argv[1:]])
    report = {"command": command, "machine": machine, "seconds": measured}
    publish(arguments.out, report, to_markdown(machine, measured, command), "convolutions")


if __name__ == "__main__":
    main()
