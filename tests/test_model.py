"""lrsweep.model against the documents' layers, PyTorch's own initialisation, and sums written out.

Shapes: B batch, C channels or classes, O output channels, H × W pixels, K kernel.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.data import generator
from lrsweep.model import build_model, loss_of, summarise_model

CPU = torch.device("cpu")


def cnn(seed: int = 0) -> nn.Module:
    return build_model(ModelConfig(), generator(seed, "weights"), CPU)


def documents_layers() -> nn.Sequential:
    """The network in the documents' order, initialised as PyTorch does it."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, kernel_size=3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(64 * 4 * 4, 64), nn.Sigmoid(), nn.Linear(64, 10)),
    )


def images(num_images: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(num_images, 1, 28, 28, generator=torch.Generator().manual_seed(7), dtype=dtype)


def test_it_has_the_documents_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in cnn().parameters()) == 121_994


@pytest.mark.parametrize("seed", [0, 1, 12_345])
def test_its_first_weights_are_pytorchs_own(seed: int) -> None:
    ours = build_model(ModelConfig(), torch.Generator().manual_seed(seed), CPU)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = documents_layers()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_seed_is_a_set_of_weights() -> None:
    first, again, other = (cnn(seed).state_dict() for seed in (0, 0, 1))
    for name, weights in first.items():
        assert torch.equal(weights, again[name])
        assert not torch.equal(weights, other[name])


def test_building_it_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    cnn()
    assert torch.equal(torch.get_rng_state(), before)


def test_pooling_first_gives_the_documents_bits() -> None:
    ours, theirs = cnn(), documents_layers().to(memory_format=torch.channels_last)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    batch = images(32).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(32) % 10
    logits = [model(batch) for model in (ours, theirs)]
    assert torch.equal(*logits)
    for output in logits:
        F.cross_entropy(output, labels).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def conv_by_hand(x_BCHW: Tensor, layer: nn.Conv2d, padding: int) -> Tensor:
    """A 3 × 3 convolution as one matrix product over the unfolded patches."""
    patches_BKP = F.unfold(x_BCHW, kernel_size=3, padding=padding)
    side = x_BCHW.shape[-1] + 2 * padding - 2
    weights_OK = layer.weight.reshape(layer.out_channels, -1)
    return (weights_OK @ patches_BKP + layer.bias[:, None]).reshape(-1, layer.out_channels, side, side)


def relu_and_pool(x_BCHW: Tensor) -> Tensor:
    side = x_BCHW.shape[-1] // 2 * 2  # an odd last row and column belong to no window
    corners = [x_BCHW[..., i:side:2, j:side:2] for i in range(2) for j in range(2)]
    return torch.stack(corners).amax(dim=0).clamp_min(0)


def test_forward_is_the_sums_written_out() -> None:
    model, batch = cnn().double(), images(4, torch.float64)
    x = relu_and_pool(conv_by_hand(batch, model.conv1, padding=1))
    x = relu_and_pool(conv_by_hand(x, model.conv2, padding=0))
    x = conv_by_hand(x, model.conv3, padding=0).clamp_min(0)
    assert x.shape == (4, 64, 4, 4)
    x = 1 / (1 + torch.exp(-(x.reshape(4, -1) @ model.dense.weight.T + model.dense.bias)))
    torch.testing.assert_close(model(batch), x @ model.output.weight.T + model.output.bias, rtol=1e-12, atol=1e-12)


def test_convolutions_are_channels_last() -> None:
    model = cnn()
    for layer in (model.conv1, model.conv2, model.conv3):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)


LOGITS_BC = torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
LABELS_B = torch.tensor([0, 9, 3, 3, 5, 1])


def nll_of_softmax(scores_BC: Tensor) -> Tensor:
    log_softmax_BC = scores_BC - scores_BC.exp().sum(dim=1, keepdim=True).log()
    return -log_softmax_BC[torch.arange(6), LABELS_B].mean()


def test_cross_entropy_is_log_softmax_and_nll() -> None:
    loss = loss_of(LossConfig(name="cross_entropy"), LOGITS_BC, LABELS_B)
    torch.testing.assert_close(loss, nll_of_softmax(LOGITS_BC), rtol=1e-13, atol=0)


def test_double_softmax_takes_the_softmax_of_a_softmax() -> None:
    loss = loss_of(LossConfig(name="double_softmax"), LOGITS_BC, LABELS_B)
    softmax_BC = LOGITS_BC.exp() / LOGITS_BC.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(loss, nll_of_softmax(softmax_BC), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "floor"), [("cross_entropy", 0), ("double_softmax", math.log(math.e + 9) - 1)])
def test_a_perfect_answer_has_the_losss_lowest_value(name: str, floor: float) -> None:
    perfect_BC = F.one_hot(LABELS_B, 10).double() * 1e4
    assert loss_of(LossConfig(name=name), perfect_BC, LABELS_B).item() == pytest.approx(floor, abs=1e-12)
    assert loss_of(LossConfig(name=name), LOGITS_BC, LABELS_B).item() > floor


def test_the_floor_is_the_documented_one() -> None:
    assert round(math.log(math.e + 9) - 1, 4) == 1.4612


def test_the_summary_lists_every_layer_and_the_parameters() -> None:
    summary = summarise_model(ModelConfig(), batch_size=32)
    layers = [(line.split("─")[1].split(":")[0], line.split()[-1]) for line in summary.splitlines() if "─" in line]
    assert layers == [("Conv2d", "320"), ("Conv2d", "18,496"), ("Conv2d", "36,928"), ("Linear", "65,600"), ("Linear", "650")]
    assert "Total params: 121,994" in summary
    assert "[32, 10]" in summary
