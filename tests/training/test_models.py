"""lrsweep.model against the documents' layers, PyTorch's own initialisation, and sums written out.

Shapes: B batch, C channels or classes, D outputs of the dense layer, O output channels, H × W pixels, K kernel.
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.data.seeding import generator
from lrsweep.training.losses import loss_of, penalised, penalty
from lrsweep.training.models import build_model, summarise_model

CPU = torch.device("cpu")


def cnn(seed: int = 0, **fields: Any) -> nn.Module:
    return build_model(ModelConfig(**fields), generator(seed, "weights"), CPU, generator(seed, "dropout"))


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


@pytest.mark.parametrize(
    "fields", [{}, {"dropout": 0.5}, {"batch_norm": True}, {"init": "xavier"}, {"init": "he"}], ids=lambda fields: str(fields)
)
def test_building_and_training_it_leave_the_global_generator_alone(fields: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    cnn(**fields)(images(2))
    assert torch.equal(torch.get_rng_state(), before)


def ours_and_theirs(dtype: torch.dtype) -> tuple[nn.Module, nn.Sequential]:
    """The model, and the documents' with the same weights."""
    ours, theirs = cnn(), documents_layers().to(memory_format=torch.channels_last)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    return ours.to(dtype), theirs.to(dtype)


def test_pooling_first_gives_the_documents_bits() -> None:
    ours, theirs = ours_and_theirs(torch.float32)
    batch = images(32).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(32) % 10
    with torch.inference_mode():
        assert torch.equal(ours(batch), theirs(batch))
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


ACTIVATIONS = {"sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "elu": nn.ELU()}


def dense_outputs(model: nn.Module, batch: Tensor) -> Tensor:
    """[B, D]: what the output layer is given."""
    seen: list[Tensor] = []
    with model.output.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0])):
        model(batch)
    return seen[0].detach()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_torchs_own(name: str) -> None:
    model, batch = cnn(activation=name), images(16)
    before: list[Tensor] = []
    model.dense.register_forward_hook(lambda layer, inputs, output: before.append(output.detach()))
    after = dense_outputs(model, batch)
    assert (before[0] < 0).any()
    assert (before[0] > 0).any()
    torch.testing.assert_close(after, ACTIVATIONS[name](before[0]), rtol=1e-6, atol=0)


def dropout_factors(model: nn.Module, batch: Tensor) -> Tensor:
    """[B, D]: what training multiplies each output of the dense layer by. A sigmoid's outputs are never 0."""
    return dense_outputs(model.train(), batch) / dense_outputs(model.eval(), batch)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.8])
def test_dropout_keeps_its_share_and_scales_it_up(dropout: float) -> None:
    factors_BD = dropout_factors(cnn(dropout=dropout).double(), images(500, torch.float64))
    kept_BD = factors_BD > 0
    torch.testing.assert_close(factors_BD[kept_BD], torch.full_like(factors_BD[kept_BD], 1 / (1 - dropout)))
    assert (factors_BD[~kept_BD] == 0).all()
    standard_error = math.sqrt(dropout * (1 - dropout) / kept_BD.numel())
    assert abs(kept_BD.double().mean() - (1 - dropout)) < 4 * standard_error


def test_dropout_is_drawn_anew_at_each_step_and_the_same_by_seed() -> None:
    model, again, other, batch = cnn(dropout=0.5), cnn(dropout=0.5), cnn(seed=1, dropout=0.5), images(8)
    masks = [dropout_factors(m, batch) > 0 for m in (model, model, again, again, other)]
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[4])


def test_a_mask_does_not_depend_on_the_type_of_the_numbers() -> None:
    masks = [dropout_factors(cnn(dropout=0.5).to(dtype), images(8).to(dtype)) > 0 for dtype in (torch.float32, torch.float64)]
    assert torch.equal(*masks)


def test_nothing_is_dropped_or_drawn_when_it_is_scored() -> None:
    dropped = build_model(ModelConfig(dropout=0.5), generator(0, "weights"), CPU).eval()  # it has no generator
    assert torch.equal(dropped(images(8)), cnn()(images(8)))


def test_dropout_needs_a_generator_to_train() -> None:
    model = build_model(ModelConfig(dropout=0.5), generator(0, "weights"), CPU)
    with pytest.raises(AssertionError, match="needs a generator"):
        model(images(2))


def with_batch_norm() -> nn.Sequential:
    """As a user writes it: the norm between the convolution and its ReLU, then the pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, kernel_size=3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, kernel_size=3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(64 * 4 * 4, 64), nn.Sigmoid(), nn.Linear(64, 10)),
    )


def test_batch_norm_is_between_convolution_and_relu() -> None:
    ours, theirs = cnn(batch_norm=True).double(), with_batch_norm().double()
    random = torch.Generator().manual_seed(3)
    for norm in (ours.norm1, ours.norm2, ours.norm3):
        nn.init.normal_(norm.weight, generator=random)  # negative scales, too, which pooling does not commute with
        nn.init.normal_(norm.bias, generator=random)
    layers = [ours.conv1, ours.norm1, ours.conv2, ours.norm2, ours.conv3, ours.norm3, ours.dense, ours.output]
    twins = [layer for layer in theirs if list(layer.parameters())]
    for layer, twin in zip(layers, twins, strict=True):
        twin.load_state_dict(layer.state_dict())
    for i in range(3):  # each moves the running statistics
        batch = images(8, torch.float64) + i
        logits = [model(batch) for model in (ours, theirs)]
        torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-10)
        for output in logits:
            F.cross_entropy(output, torch.arange(8)).backward()
    for layer, twin in zip(layers, twins, strict=True):
        torch.testing.assert_close(layer.state_dict(), twin.state_dict(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(layer.weight.grad, twin.weight.grad, rtol=1e-8, atol=1e-10)
    batch = images(8, torch.float64)
    torch.testing.assert_close(ours.eval()(batch), theirs.eval()(batch), rtol=1e-10, atol=1e-10)


def test_batch_norm_leaves_the_other_first_weights_as_they_are() -> None:
    plain, normed = cnn().state_dict(), cnn(batch_norm=True).state_dict()
    assert {name.split(".")[0] for name in normed.keys() - plain.keys()} == {"norm1", "norm2", "norm3"}
    for name, weights in plain.items():
        assert torch.equal(weights, normed[name])


FANS = {"conv1": (9, 288), "conv2": (288, 576), "conv3": (576, 576), "dense": (1024, 64), "output": (64, 10)}  # in, out


@pytest.mark.parametrize("init", ["xavier", "he"])
@pytest.mark.parametrize("layer", FANS)
def test_first_weights_are_uniform_within_the_closed_forms_bound(init: str, layer: str) -> None:
    fan_in, fan_out = FANS[layer]
    bound = math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else math.sqrt(6 / fan_in)
    drawn = cnn(init=init).get_submodule(layer)
    weights = drawn.weight.detach().double()
    assert 0.97 * bound < weights.abs().max() <= bound * (1 + 1e-6)
    num = weights.numel()
    assert abs(weights.mean()) < 4 * bound / math.sqrt(3 * num)
    assert weights.var().item() == pytest.approx(bound**2 / 3, rel=4 * math.sqrt(0.8 / num))  # a uniform's kurtosis is 1.8
    assert (drawn.bias == 0).all()


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


def test_penalty_is_its_closed_form_and_so_is_its_gradient() -> None:
    weights = [torch.tensor([[1.0, -2.0], [0.0, 3.0]], dtype=torch.float64), torch.tensor([[-0.5]], dtype=torch.float64)]
    for weight in weights:
        weight.requires_grad_()
    total = penalty(LossConfig(l1=0.1, l2=0.04), weights)
    assert total.item() == pytest.approx(0.1 * 6.5 + 0.02 * (1 + 4 + 9 + 0.25), rel=1e-14)
    total.backward()
    for weight in weights:
        torch.testing.assert_close(weight.grad, 0.1 * weight.detach().sign() + 0.04 * weight.detach(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_neither_biases_nor_norms_are_penalised(batch_norm: bool) -> None:
    model = cnn(batch_norm=batch_norm)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(weight)] for weight in penalised(model)] == [f"{layer}.weight" for layer in FANS]


def test_the_recorded_loss_is_without_the_penalty() -> None:
    assert torch.equal(loss_of(LossConfig(l1=1, l2=1), LOGITS_BC, LABELS_B), loss_of(LossConfig(), LOGITS_BC, LABELS_B))


def layers_in(summary: str) -> list[tuple[str, str]]:
    return [(line.split("─")[1].split(":")[0], line.split()[-1]) for line in summary.splitlines() if "─" in line]


def test_the_summary_lists_the_norms() -> None:
    model = ModelConfig(activation="elu", dropout=0.5, batch_norm=True, init="he")
    layers = layers_in(summarise_model(model, batch_size=32))
    assert layers[:2] == [("Conv2d", "320"), ("BatchNorm2d", "64")]
    assert [name for name, _ in layers] == ["Conv2d", "BatchNorm2d"] * 3 + ["Linear"] * 2


def test_the_summary_lists_every_layer_and_the_parameters() -> None:
    summary = summarise_model(ModelConfig(), batch_size=32)
    layers = layers_in(summary)
    assert layers == [("Conv2d", "320"), ("Conv2d", "18,496"), ("Conv2d", "36,928"), ("Linear", "65,600"), ("Linear", "650")]
    assert "Total params: 121,994" in summary
    assert "[32, 10]" in summary
