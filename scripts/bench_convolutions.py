"""How fast the fused engine's convolutions are, compared with other ways to convolve for many runs at once.

    python scripts/bench_convolutions.py          (`make bench` runs it last; leave the machine idle meanwhile)

A step here is the forward pass, the loss and the gradients of K runs with 32 images each, in fp32. The optimizer is left out,
because it is the same for all. Each way must give the same gradients before it is timed. A GPU replays each way as a recorded
CUDA graph, as the fused engine does. Written to results/bench/<machine>-convolutions.md and .json after every measurement.

Shapes: K runs, B batch, H × W pixels, I features, C classes.
"""

import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from types import SimpleNamespace
from unittest import mock

import torch
import torch.nn.functional as F
from benchmarking import LEGEND, NOT_MEASURED, new_parser, ratios, spread, table, take_turns, write
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lrsweep.config import LossConfig, MachineConfig, ModelConfig
from lrsweep.fused import stacked_cnn
from lrsweep.fused.block import BLOCK_SLOTS
from lrsweep.fused.recording import record
from lrsweep.fused.rows import Weights, row_layout, views
from lrsweep.fused.stacked_cnn import forward_cnn
from lrsweep.fused.stacked_losses import losses_of
from lrsweep.training.clock import Clock
from lrsweep.training.device import prepare_device
from lrsweep.training.models import ACTIVATIONS, build_model, initial_model

BATCH_SIZE = 32
TOLERANCE = 1e-4  # fraction of a tensor's largest gradient, in fp32
NUM_RUNS = {"cpu": (1, 2, BLOCK_SLOTS["cpu"], 8), "cuda": (BLOCK_SLOTS["cuda"], 16, 46)}
STEPS = 10  # timed steps of each way in a round
SHIPPED = "columns, backward in one pass (shipped)"

Forward = Callable[[Weights, Tensor], Tensor]
Gradients = tuple[Tensor, ...]
Seconds = dict[str, list[float]]  # way → seconds of a step in each round


def one_by_one(model: nn.Module, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """The solo engine's network, run after run."""
    logits = [
        functional_call(model, {name: w[k] for name, w in weights.items()}, (x.unsqueeze(1),)) for k, x in enumerate(images_KBHW)
    ]
    return torch.stack(logits)


def mapped(model: nn.Module, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """The solo engine's network under torch.func.vmap, which turns its convolutions into grouped ones."""
    logits_KBC: Tensor = vmap(lambda w, x: functional_call(model, w, (x.unsqueeze(1),)))(weights, images_KBHW)
    return logits_KBC


def grouped(config: ModelConfig, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """Grouped convolutions: each run is a group of channels."""
    num_runs = len(images_KBHW)

    def convolve(x: Tensor, layer: str, padding: int = 0) -> Tensor:
        kernels, biases = (weights[f"{layer}.{part}"].flatten(0, 1) for part in ("weight", "bias"))
        return F.conv2d(x, kernels, biases, padding=padding, groups=num_runs)

    def linear(x_KBI: Tensor, layer: str) -> Tensor:
        return torch.baddbmm(weights[f"{layer}.bias"].unsqueeze(1), x_KBI, weights[f"{layer}.weight"].transpose(1, 2))

    x = F.relu(F.max_pool2d(convolve(images_KBHW.transpose(0, 1), "conv1", padding=1), 2))
    x = F.relu(F.max_pool2d(convolve(x, "conv2"), 2))
    x = F.relu(convolve(x, "conv3"))
    x = x.unflatten(1, (num_runs, -1)).transpose(0, 1).flatten(2)
    return linear(ACTIVATIONS[config.activation](linear(x, "dense")), "output")


def shipped(config: ModelConfig, weights: Weights, images_KBHW: Tensor) -> Tensor:
    return forward_cnn(config, weights, {}, images_KBHW.unsqueeze(2), [], training=True)


def by_autograd(config: ModelConfig, weights: Weights, images_KBHW: Tensor) -> Tensor:
    """The shipped columns, but with autograd's backward pass instead of the hand-written one."""
    columns = stacked_cnn._Columns
    with mock.patch.object(columns, "apply", partial(columns.forward, SimpleNamespace())):
        return shipped(config, weights, images_KBHW)


def ways(*, with_compiled: bool = False) -> dict[str, Forward]:
    """The shipped way is first, because the others are compared with it. The compiled way is last, because its failure on a GPU
    may break the ways after it.
    """
    config = ModelConfig()
    model = build_model(config, torch.Generator(), torch.device("cpu"))  # functional_call replaces its weights
    forwards: dict[str, Forward] = {
        SHIPPED: partial(shipped, config),
        "columns, autograd's backward": partial(by_autograd, config),
        "grouped convolutions": partial(grouped, config),
        "torch.func.vmap of the solo network": partial(mapped, model),
        "the solo network, run after run": partial(one_by_one, model),
    }
    if with_compiled:
        forwards["columns, torch.compile"] = torch.compile(forwards[SHIPPED], dynamic=False)
    return forwards


def make_batch(num_runs: int, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Weights, Tensor, Tensor]:
    """Weights in the fused engine's layout; random images and labels."""
    models = [initial_model(ModelConfig(), k, torch.device("cpu")) for k in range(num_runs)]
    layout = row_layout(models[0])
    weights = views(torch.zeros(num_runs, layout.num_floats, dtype=dtype, device=device), layout)
    for name, weight in weights.items():
        weight.copy_(torch.stack([model.get_parameter(name).detach() for model in models]))
        weight.requires_grad_()
    draws = torch.Generator().manual_seed(0)
    images_KBHW = torch.rand(num_runs, BATCH_SIZE, 28, 28, generator=draws).to(device, dtype)
    return weights, images_KBHW, torch.randint(10, (num_runs, BATCH_SIZE), generator=draws).to(device)


def gradients(forward: Forward, weights: Weights, images_KBHW: Tensor, labels_KB: Tensor) -> Gradients:
    loss_K = losses_of(LossConfig(), forward(weights, images_KBHW), labels_KB)
    return torch.autograd.grad(loss_K.sum(), list(weights.values()))


def largest_difference(ours: Gradients, theirs: Gradients) -> float:
    """The largest difference in any tensor, relative to that tensor's largest entry."""
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, theirs, strict=True))


def make_steps(forwards: dict[str, Forward], num_runs: int, device: torch.device) -> dict[str, Callable[[], float]]:
    """One function per way, which times a step. A way that fails is left out, with a message."""
    weights, images, labels = make_batch(num_runs, device)
    expected = gradients(forwards[SHIPPED], weights, images, labels)
    steps: dict[str, Callable[[], float]] = {}
    for name, forward in forwards.items():
        step = partial(gradients, forward, weights, images, labels)
        try:
            difference = largest_difference(step(), expected)
            recorded = record(step, step, pool=None) if device.type == "cuda" else step
        except RuntimeError as error:  # no compiler on this machine, for example
            print(f"{name}: {error}", file=sys.stderr)
            continue
        assert difference < TOLERANCE, f"{name} gives other gradients: they differ by {difference:.1e} of the largest"
        steps[name] = partial(_step_seconds, recorded, device)
    return steps


def _step_seconds(step: Callable[[], Gradients], device: torch.device) -> float:
    """The median of a few steps, after one that is not timed."""
    seconds = []
    for _ in range(1 + STEPS):
        with (clock := Clock(device)):
            step()
        seconds.append(clock.wall_seconds)
    return median(seconds[1:])


def speed_row(name: str, measured: dict[int, Seconds]) -> list[str]:
    cells = []
    for num_runs, seconds in measured.items():
        if step_seconds := seconds.get(name):
            ratio = "1" if name == SHIPPED else spread(ratios(step_seconds, seconds[SHIPPED]))
            cells += [f"{median(step_seconds) / num_runs * 1e3:.2f}", ratio]
        else:
            cells += [NOT_MEASURED] * 2
    return [name, *cells]


def to_markdown(measured: dict[str, dict[int, Seconds]]) -> list[str]:
    lines = [LEGEND, f"One step of K runs with {BATCH_SIZE} images each: forward, loss, gradients. fp32; on a CPU one thread."]
    for device in NUM_RUNS:
        lines += ["", f"## {device.upper()}", ""]
        by_runs = measured.get(device, {})
        head = [f"K = {num_runs}: {column}" for num_runs in by_runs for column in ("ms per run", "× shipped")]
        names = dict.fromkeys(name for seconds in by_runs.values() for name in seconds)
        lines += table(["", *head], [speed_row(name, by_runs) for name in names]) if by_runs else ["Not measured."]
    return lines


def main() -> None:
    parser = new_parser("How fast the fused engine's convolutions are, compared with other ways.", rounds=7)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, which takes minutes to compile on a CPU")
    arguments = parser.parse_args()
    measured: dict[str, dict[int, Seconds]] = {}

    def publish(device: str, num_runs: int, seconds: Seconds) -> None:
        measured.setdefault(device, {})[num_runs] = seconds
        write(arguments, "convolutions", "Ways to convolve for many runs", to_markdown(measured), {"seconds": measured})

    for device in [name for name in NUM_RUNS if name == "cpu" or torch.cuda.is_available()]:
        prepared = prepare_device(MachineConfig(device=device, threads=1))
        for num_runs in NUM_RUNS[device]:
            print(f"{device}, K = {num_runs}", file=sys.stderr)
            steps = make_steps(ways(with_compiled=arguments.compile), num_runs, prepared)
            take_turns(steps, arguments.rounds, partial(publish, device, num_runs))
            torch.compiler.reset()  # torch.compile gives up after too many shapes


if __name__ == "__main__":
    main()
