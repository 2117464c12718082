"""Is the Triton probe (conv2 with pooling, bias and ReLU in one kernel) worth its code? Compares it with stacked_cnn.py.

    python scripts/gpu_kernel.py --device cuda --out results/bench

"Stacked form" means the PyTorch code of stacked_cnn.py. Times are medians over replays of a CUDA graph, as in a fused program. An
error is ‖difference‖ / ‖exact‖, where the stacked form in float64 is exact; the largest error of the output and the three
gradients counts. Every measurement is written to kernel.json at once; `make gpu` puts it into its tables. On a CPU, the script
needs TRITON_INTERPRET=1, and the times mean nothing.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from triton.testing import do_bench_cudagraph

from lrsweep.config import MachineConfig, ModelConfig
from lrsweep.fused import stacked_cnn
from lrsweep.fused.block import BLOCK_SLOTS
from lrsweep.fused.conv2_kernel import TILINGS, convolve_and_pool
from lrsweep.fused.rows import row_layout, views
from lrsweep.storage.files import write_atomically
from lrsweep.training.device import prepare_device
from lrsweep.training.models import build_model

ENOUGH_SPEED = 2.0  # high, because conv2 is the largest part of a step and nine more kernels would have to follow
ENOUGH_ACCURACY = 4.0
RULE = (
    f"worth it if a mode takes at most 1/{ENOUGH_SPEED:g} of the stacked form's time in fp32, forward and backward, and has at "
    f"most {ENOUGH_ACCURACY:g} times its error"
)

Form = Callable[[Tensor, Tensor, Tensor], Tensor]  # x_KBHWI, weight_KOIRS, bias_KO → y_KBYXO


def stacked_form(x_KBHWI: Tensor, weight_KOIRS: Tensor, bias_KO: Tensor) -> Tensor:
    """The part of forward_cnn between the products of conv1 and conv3."""
    pooled = stacked_cnn._pool(F.max_pool2d, stacked_cnn._convolve(x_KBHWI, weight_KOIRS))
    return F.relu(pooled + bias_KO[:, None, None, None])


def inputs_of(num_runs: int, num_images: int, device: torch.device) -> list[Tensor]:
    """Random images of the shape that the first pooling returns, and random weights and biases as views of rows."""
    layout = row_layout(build_model(ModelConfig(), torch.Generator(), torch.device("cpu")))
    random = torch.Generator().manual_seed(0)
    rows_KP = torch.randn(num_runs, layout.num_floats, generator=random) / 17  # √(9 · 32)
    weights = views(rows_KP.to(device), layout)
    x_KBHWI = torch.randn(num_runs, num_images, 14, 14, 32, generator=random).relu().to(device)
    return [tensor.requires_grad_() for tensor in (x_KBHWI, weights["conv2.weight"], weights["conv2.bias"])]


def results_of(form: Form, inputs: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients for a fixed gradient of the output."""
    y = form(*inputs)
    grad = torch.linspace(-1, 1, y.numel(), dtype=torch.float64, device=y.device).view_as(y).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, inputs, grad)]


def error_of(results: list[Tensor], exact: list[Tensor]) -> float:
    gaps = [(mine.double() - right).norm() / right.norm() for mine, right in zip(results, exact, strict=True)]
    return float(torch.stack(gaps).max())  # NaN if any is NaN


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        work()  # compiles
        return float(do_bench_cudagraph(work, return_mode="median"))
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def measure(form: Form, inputs: list[Tensor], exact: list[Tensor]) -> dict[str, Any]:
    device = inputs[0].device

    def forward() -> object:
        with torch.no_grad():
            return form(*inputs)

    grad = torch.ones_like(exact[0], dtype=torch.float32)
    return {
        "forward_ms": milliseconds(forward, device),
        "both_ms": milliseconds(lambda: torch.autograd.grad(form(*inputs), inputs, grad), device),
        "error": error_of(results_of(form, inputs), exact),
    }


def forms(device: torch.device, num_runs: int) -> dict[str, tuple[Literal["fp32", "tf32"], Form]]:
    """Each form, with the precision that PyTorch's own products use meanwhile."""
    active_A = torch.arange(num_runs, dtype=torch.int32, device=device)
    probes = {
        f"probe, {precision}, tiling {i}": partial(convolve_and_pool, active_A=active_A, precision=precision, tiling=tiling)
        for precision, tilings in TILINGS.items()
        for i, tiling in enumerate(tilings if device.type == "cuda" else tilings[:1])
    }
    return {
        "stacked, fp32": ("fp32", stacked_form),
        "stacked, tf32": ("tf32", stacked_form),
        **{label: ("fp32", form) for label, form in probes.items()},
    }


def verdict(measured: dict[str, dict[str, Any]]) -> str:
    """Apply RULE to the measurements of all forms for one number of runs."""
    stacked = measured.get("stacked, fp32")
    probes = {label: m for label, m in measured.items() if label.startswith("probe")}
    if stacked is None or not probes:
        return "not measured"
    accurate = {label: m for label, m in probes.items() if m["error"] <= ENOUGH_ACCURACY * stacked["error"]}
    if not accurate:
        return f"not worth it: every mode has more than {ENOUGH_ACCURACY:g} times the error of the stacked form"
    best = min(accurate, key=lambda label: accurate[label]["both_ms"])
    speed_up = stacked["both_ms"] / accurate[best]["both_ms"]
    return f"{'worth it' if speed_up >= ENOUGH_SPEED else 'not worth it'}: {best} is {speed_up:.2f} times as fast"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the Triton probe with PyTorch's stacked form.")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--images", type=int, default=32, help="images in a batch (default: %(default)s)")
    parser.add_argument("--runs", type=int, nargs="+", default=[BLOCK_SLOTS["cuda"], 46], help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="folder for kernel.json")
    arguments = parser.parse_args()
    sizes: list[dict[str, Any]] = []
    for num_runs in arguments.runs:
        of_size: dict[str, Any] = {}
        sizes.append({"runs": num_runs, "rule": RULE, "forms": of_size})
        device = prepare_device(MachineConfig(device=arguments.device))
        inputs = inputs_of(num_runs, arguments.images, device)
        exact = results_of(stacked_form, [tensor.detach().double().requires_grad_() for tensor in inputs])
        for label, (precision, form) in forms(device, num_runs).items():
            prepare_device(MachineConfig(device=arguments.device, precision=precision))
            try:
                of_size[label] = measure(form, inputs, exact)
            except Exception as error:  # of any type; if a tiling does not fit this GPU, the others are still measured
                print(f"{label}, {num_runs} runs: {error}", flush=True)
            sizes[-1]["verdict"] = verdict(of_size)
            write_atomically(arguments.out / "kernel.json", json.dumps(sizes, indent=1).encode())
        print(f"{num_runs} runs: {verdict(of_size)}", flush=True)
    print(f"Rule: {RULE}.")


if __name__ == "__main__":
    main()
