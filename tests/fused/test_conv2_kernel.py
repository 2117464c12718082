"""Compare the conv2 kernels with PyTorch in float64. They run in Triton's interpreter, or compiled if there is a GPU.

Shapes: K runs, A active runs, B batch, H × W pixels, I and O channels.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import ModelConfig, OptimizerConfig, RunConfig
from lrsweep.data.dataset import DataSet
from lrsweep.fused import block
from lrsweep.fused.block import Block
from lrsweep.fused.rows import Weights, row_layout, views

pytest.importorskip("triton", reason="Triton exists for Linux only")
from lrsweep.fused.conv2_kernel import TILINGS, Tile, Tiling, convolve_and_pool

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
NUM_IN, NUM_OUT = 32, 64
# The interpreter takes about as long for a large tile as for a small one. It ignores the precision.
LARGE = Tiling(Tile(512, 32, 4, 1), Tile(1024, 64, 4, 1), Tile(512, 512, 4, 1))
FORMS = [(precision, tiling) for precision in TILINGS for tiling in TILINGS[precision]] if ON_GPU else [("ieee", LARGE)]
each_form = pytest.mark.parametrize(("precision", "tiling"), FORMS)


class Case(NamedTuple):
    """The tensors of K runs, and the gradient of their result."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    grad: Tensor


class Results(NamedTuple):
    out: Tensor
    grad_x: Tensor
    grad_weight: Tensor
    grad_bias: Tensor


def make_case(num_runs: int, num_images: int, height: int, width: int, draw: Callable[..., Tensor] = torch.randn) -> Case:
    random = torch.Generator().manual_seed(0)
    layout = row_layout(nn.Conv2d(NUM_IN, NUM_OUT, 3))
    rows_KP = draw(num_runs, layout.num_floats, generator=random).to(DEVICE)
    x_KBHWI = draw(num_runs, num_images, height, width, NUM_IN, generator=random).to(DEVICE)
    grad_KBYXO = draw(num_runs, num_images, height // 2 - 1, width // 2 - 1, NUM_OUT, generator=random).to(DEVICE)
    weights = views(rows_KP, layout)
    return Case(x_KBHWI, weights["weight"], weights["bias"], grad_KBYXO)


def small_integers(*shape: int, generator: torch.Generator) -> Tensor:
    """Values whose sums of products are exact in fp32 and in TF32. Many of these sums are equal."""
    return torch.randint(-1, 2, shape, generator=generator).float()


def results_of(form: Callable[..., Tensor], case: Case) -> Results:
    inputs = [tensor.detach().requires_grad_() for tensor in case[:3]]
    out = form(*inputs)
    return Results(out.detach(), *torch.autograd.grad(out, inputs, case.grad))


def with_kernel(case: Case, active: list[int], precision: Any, tiling: Tiling) -> Results:
    active_A = torch.tensor(active, dtype=torch.int32, device=DEVICE)
    return results_of(partial(convolve_and_pool, active_A=active_A, precision=precision, tiling=tiling), case)


def with_pytorch(case: Case) -> Results:
    def form(x_KBHWI: Tensor, weight_KOIRS: Tensor, bias_KO: Tensor) -> Tensor:
        return torch.stack([one_run(*tensors) for tensors in zip(x_KBHWI, weight_KOIRS, bias_KO, strict=True)])

    def one_run(x_BHWI: Tensor, weight_OIRS: Tensor, bias_O: Tensor) -> Tensor:
        pooled_BOYX = F.max_pool2d(F.conv2d(x_BHWI.permute(0, 3, 1, 2), weight_OIRS), 2)
        return F.relu(pooled_BOYX + bias_O[:, None, None]).permute(0, 2, 3, 1)

    return results_of(form, Case(*(tensor.double() for tensor in case)))


def assert_close(results: Results, expected: Results, active: list[int]) -> None:
    idle = [k for k in range(len(results.out)) if k not in active]
    for name, result, right in zip(Results._fields, results, expected, strict=True):
        assert (result[active] - right[active]).norm() < 1e-6 * right[active].norm(), name
        assert not result[idle].any(), name


@each_form
@pytest.mark.parametrize("active", [[0, 1, 2], [2, 0, 1], [2, 0], [1]], ids=str)
def test_results_and_gradients_equal_those_in_float64(active: list[int], precision: str, tiling: Tiling) -> None:
    case = make_case(3, 5, 6, 8)
    assert_close(with_kernel(case, active, precision, tiling), with_pytorch(case), active)


@each_form
@pytest.mark.parametrize("num_images", [32, 24])
def test_the_same_for_the_batches_of_an_epoch(num_images: int, precision: str, tiling: Tiling) -> None:
    case = make_case(2, num_images, 14, 14)
    assert_close(with_kernel(case, [1], precision, tiling), with_pytorch(case), [1])


@pytest.mark.slow
@pytest.mark.skipif(ON_GPU, reason="the tests above use these tiles on a GPU")
@pytest.mark.parametrize("tiling", [tiling for tilings in TILINGS.values() for tiling in tilings], ids=str)
def test_the_same_with_the_tiles_for_a_gpu(tiling: Tiling) -> None:
    case = make_case(1, 1, 14, 14)  # 196 pixels and 36 pooled ones, so each kernel has a tile that is not full
    assert_close(with_kernel(case, [0], "ieee", tiling), with_pytorch(case), [0])


@each_form
def test_of_equal_pixels_the_first_gets_the_gradient_and_relu_passes_none_at_zero(precision: str, tiling: Tiling) -> None:
    case = make_case(1, 3, 6, 6, small_integers)
    case.x[0, 0] = 1  # all pixels of this image are equal
    expected = with_pytorch(case)
    assert (expected.out == 0).any()
    for name, result, right in zip(Results._fields, with_kernel(case, [0], precision, tiling), expected, strict=True):
        assert torch.equal(result.double(), right), name


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, in the interpreter
@each_form
def test_nan_spreads_as_in_pytorch_but_not_to_other_runs(precision: str, tiling: Tiling) -> None:
    case = make_case(3, 2, 6, 6)
    before = with_kernel(case, [0, 1, 2], precision, tiling)
    case.x[1, 0, 2, 3, 5] = float("nan")
    case.weight[2, 7, 0, 0, 0] = float("inf")
    after = with_kernel(case, [0, 1, 2], precision, tiling)
    for name, result, right, same in zip(Results._fields, after, with_pytorch(case), before, strict=True):
        assert torch.equal(result[0], same[0]), name
        torch.testing.assert_close(result[1].double(), right[1], rtol=1e-4, atol=1e-4, equal_nan=True, msg=name)
    assert not after.out[1].isfinite().all()
    assert not after.out[2].isfinite().all()


@each_form
def test_a_run_that_moves_to_another_slot_gets_the_same_bits(precision: str, tiling: Tiling) -> None:
    case = make_case(3, 2, 6, 6)
    before = with_kernel(case, [0, 1, 2], precision, tiling)
    for tensor in case:
        tensor[0] = tensor[2].clone()
        tensor[2] = float("nan")  # old values in the slot do not matter
    after = with_kernel(case, [1, 0], precision, tiling)
    for name, was, now in zip(Results._fields, before, after, strict=True):
        assert torch.equal(now[:2], was[[2, 1]]), name


@pytest.mark.slow
@each_form
def test_the_network_trains_as_the_stacked_one(
    precision: Any, tiling: Tiling, mnist: DataSet, make_run: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    run = make_run(num_train=56, num_valid=16)  # a batch of 32 and one of 24 images
    expected_losses, expected_KP = losses_and_weights_after_an_epoch(run, mnist)
    monkeypatch.setattr(block, "forward_cnn", partial(forward_with_kernel, precision, tiling))
    losses, rows_KP = losses_and_weights_after_an_epoch(run, mnist)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=0)
    torch.testing.assert_close(rows_KP, expected_KP, rtol=0, atol=1e-6)


def losses_and_weights_after_an_epoch(run: RunConfig, mnist: DataSet) -> tuple[Tensor, Tensor]:
    """With SGD, because AdamW divides by the size of the gradient, and so enlarges the rounding of small ones."""
    run = replace(run, optimizer=OptimizerConfig(name="sgd"))
    block = Block(run, 2, mnist, torch.float32)
    for k, seed in enumerate((0, 1)):
        block.load(k, replace(run, seed=seed))
    order_KN = torch.arange(run.data.num_train).repeat(2, 1)
    return block.epoch(order_KN, torch.full((2, 2), 0.1)).losses, block.rows_KP


def forward_with_kernel(
    precision: Any,
    tiling: Tiling,
    config: ModelConfig,
    weights: Weights,
    buffers: Weights,
    images_KBCHW: Tensor,
    *args: Any,
    **_: Any,
) -> Tensor:
    """The documents' CNN: the kernel computes conv2 of all runs; PyTorch computes the rest, one run after the other."""
    runs = [{name: weight[k] for name, weight in weights.items()} for k in range(len(images_KBCHW))]

    def convolve(run: Weights, layer: str, x: Tensor, padding: int) -> Tensor:
        return F.relu(F.conv2d(x, run[f"{layer}.weight"], run[f"{layer}.bias"], padding=padding))

    below = [
        F.max_pool2d(convolve(run, "conv1", images_BCHW, 1), 2).permute(0, 2, 3, 1).contiguous()
        for run, images_BCHW in zip(runs, images_KBCHW, strict=True)
    ]
    active_A = torch.arange(len(runs), dtype=torch.int32, device=images_KBCHW.device)
    out_KBYXO = convolve_and_pool(torch.stack(below), weights["conv2.weight"], weights["conv2.bias"], active_A, precision, tiling)
    logits = []
    for run, x_BYXO in zip(runs, out_KBYXO, strict=True):
        x = convolve(run, "conv3", x_BYXO.permute(0, 3, 1, 2), 0).flatten(1)
        x = torch.sigmoid(F.linear(x, run["dense.weight"], run["dense.bias"]))
        logits.append(F.linear(x, run["output.weight"], run["output.bias"]))
    return torch.stack(logits)


@pytest.mark.slow
def test_each_kernel_fits_an_h100(tmp_path: Path) -> None:
    script = Path(__file__).with_name("compiled_kernels.py")
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(needs["precision"], needs["kernel"]) for needs in kernels} == {
        (precision, f"{name}_kernel") for precision in TILINGS for name in Tiling._fields
    }
    for needs in kernels:
        assert needs["spilled_bytes"] == 0, needs
        assert needs["shared_bytes"] <= 227 * 1024, needs
        assert needs["warps"] >= 8, needs  # two for each of the multiprocessor's four schedulers
        assert needs["narrow_loads"] <= 1, needs  # the run's index; all else is loaded 16 bytes at a time
        on_tensor_cores = {"HMMA", "HGMMA"} & {*needs["products"]}
        assert bool(on_tensor_cores) == (needs["precision"] == "tf32x3"), needs
