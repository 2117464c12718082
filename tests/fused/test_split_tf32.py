"""The errors of conv2 with TF32, split TF32 (conv2_kernel.py, precision "tf32x3") and fp32, on its real inputs.

The tests imitate how the factors are rounded. Tensor cores also round sums differently; only a GPU can show that effect.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lrsweep.config import ModelConfig
from lrsweep.data.dataset import DataSet
from lrsweep.training.models import initial_model


def to_tf32(x: Tensor) -> Tensor:
    """Round to the nearest number with 10 bits after the leading one, and ties away from zero (cvt.rna.tf32)."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def tf32_product(a: Tensor, b: Tensor) -> Tensor:
    return to_tf32(a) @ to_tf32(b)


def split_tf32_product(a: Tensor, b: Tensor) -> Tensor:
    high_a, high_b = to_tf32(a), to_tf32(b)
    low_a, low_b = to_tf32(a - high_a), to_tf32(b - high_b)
    return low_a @ high_b + high_a @ low_b + high_a @ high_b


def relative_error(product: Tensor, a: Tensor, b: Tensor) -> float:
    exact = a.double() @ b.double()
    return ((product - exact).norm() / exact.norm()).item()


@pytest.fixture(scope="module")
def windows_and_kernels(mnist: DataSet) -> tuple[Tensor, Tensor]:
    """[M, J], [J, O]: a batch of MNIST at the start of a run."""
    model = initial_model(ModelConfig(), 0, torch.device("cpu"))
    with torch.no_grad():
        x = F.relu(F.max_pool2d(model.conv1(mnist.normalise(mnist.train_images[:32])), 2))
        return F.unfold(x, 3).transpose(1, 2).flatten(0, 1), model.conv2.weight.flatten(1).T


def test_a_tf32_number_has_ten_bits_and_is_the_nearest() -> None:
    numbers = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -1 - 2**-11, 0.0])
    assert to_tf32(numbers).tolist() == [1.0, 1 + 2**-10, 1 + 2**-10, 1.0, -1 - 2**-10, 0.0]


def test_split_tf32_is_as_exact_as_fp32_and_tf32_is_not(windows_and_kernels: tuple[Tensor, Tensor]) -> None:
    a, b = windows_and_kernels
    fp32 = relative_error(a @ b, a, b)
    assert relative_error(split_tf32_product(a, b), a, b) < 2 * fp32 < 1e-6
    assert relative_error(tf32_product(a, b), a, b) > 500 * fp32
