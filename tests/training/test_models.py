"""The model and the losses against the documents' layers, PyTorch's initialisation and closed forms.

Shapes: B batch, C classes, D outputs of the dense layer.
"""

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.data.seeding import generator
from lrsweep.training.dropout import DropoutMasks, draw_mask
from lrsweep.training.losses import loss_of, penalised_weights, penalty
from lrsweep.training.models import build_model, summarise_model

CPU = torch.device("cpu")


def cnn(seed: int = 0, **fields: Any) -> nn.Module:
    return build_model(ModelConfig(**fields), generator(seed, "weights"), CPU)


def documents_layers() -> nn.Sequential:
    """The layers in the documents' order, with PyTorch's default initialisation."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, kernel_size=3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(64 * 4 * 4, 64), nn.Sigmoid(), nn.Linear(64, 10)),
    )


def images(num_images: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(num_images, 1, 28, 28, generator=torch.Generator().manual_seed(7), dtype=dtype)


# Initial weights.


@pytest.mark.parametrize("seed", [0, 12_345])
def test_initial_weights_equal_pytorchs(seed: int) -> None:
    ours = build_model(ModelConfig(), torch.Generator().manual_seed(seed), CPU)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = documents_layers()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_seed_determines_the_initial_weights() -> None:
    first, again, other = (cnn(seed).state_dict() for seed in (0, 0, 1))
    for name, weights in first.items():
        assert torch.equal(weights, again[name])
        assert not torch.equal(weights, other[name])


def test_batch_norm_does_not_change_the_other_initial_weights() -> None:
    plain, normed = cnn().state_dict(), cnn(batch_norm=True).state_dict()
    assert {name.split(".")[0] for name in normed.keys() - plain.keys()} == {"norm1", "norm2", "norm3"}
    for name, weights in plain.items():
        assert torch.equal(weights, normed[name])


def test_zero_initial_weights_are_zero() -> None:
    assert all((parameter == 0).all() for parameter in cnn(init="zero").parameters())


def test_large_initial_weights_are_ten_times_pytorchs() -> None:
    for large, plain in zip(cnn(init="large").parameters(), cnn().parameters(), strict=True):
        torch.testing.assert_close(large, 10 * plain)


FANS = {"conv1": (9, 288), "conv2": (288, 576), "conv3": (576, 576), "dense": (1024, 64), "output": (64, 10)}  # in, out


@pytest.mark.parametrize("init", ["xavier", "he"])
@pytest.mark.parametrize("layer", FANS)
def test_initial_weights_are_uniform_within_the_published_bound(init: str, layer: str) -> None:
    fan_in, fan_out = FANS[layer]
    bound = math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else math.sqrt(6 / fan_in)
    drawn = cnn(init=init).get_submodule(layer)
    weights = drawn.weight.detach().double()
    assert 0.97 * bound < weights.abs().max() <= bound * (1 + 1e-6)
    num = weights.numel()
    assert abs(weights.mean()) < 4 * bound / math.sqrt(3 * num)
    # A uniform distribution has kurtosis 1.8, which gives the standard error of the variance.
    assert weights.var().item() == pytest.approx(bound**2 / 3, rel=4 * math.sqrt(0.8 / num))
    assert (drawn.bias == 0).all()


@pytest.mark.parametrize("fields", [{}, {"dropout": 0.5}, {"batch_norm": True}, {"init": "xavier"}, {"init": "he"}], ids=str)
def test_building_and_training_leave_the_global_generator_alone(fields: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    with DropoutMasks(partial(draw_mask, generator=generator(0, "dropout"))):
        cnn(**fields)(images(2))
    assert torch.equal(torch.get_rng_state(), before)


# The forward pass.


def test_pooling_before_relu_gives_the_bits_of_the_documents_order() -> None:
    ours, theirs = cnn(), documents_layers().to(memory_format=torch.channels_last)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
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


def other_layers(conv_activation: nn.Module, pool: nn.Module) -> nn.Sequential:
    """The documents' network, but with these activations and this pooling after the convolutions."""
    layers = documents_layers()
    kinds = {nn.ReLU: conv_activation, nn.MaxPool2d: pool}
    return nn.Sequential(*(kinds.get(type(layer), layer) for layer in layers))


@pytest.mark.parametrize("conv_activation", ["relu", "leaky_relu", "elu", "linear"])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_the_network_pools_after_the_activation(conv_activation: str, pool: str) -> None:
    """The order matters for mean pooling: the ReLU of a mean differs from the mean of ReLUs."""
    ours = cnn(conv_activation=conv_activation, pool=pool).double()
    activations = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(), "elu": nn.ELU(), "linear": nn.Identity()}
    pools = {"max": nn.MaxPool2d(2), "mean": nn.AvgPool2d(2)}
    theirs = other_layers(activations[conv_activation], pools[pool]).double()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    batch = images(8, torch.float64)
    torch.testing.assert_close(ours(batch), theirs(batch), rtol=1e-12, atol=1e-12)


LINEAR = {"activation": "linear", "conv_activation": "linear", "pool": "mean"}


def nonlinearity(model: nn.Module) -> float:
    """The largest error of f(a·x + b·y) - f(0) = a·(f(x) - f(0)) + b·(f(y) - f(0)), which holds if f is linear plus a bias."""
    x, y = images(8, torch.float64).chunk(2)
    with torch.no_grad():
        bias = model(torch.zeros_like(x))
        return float((model(2 * x - 3 * y) - bias - 2 * (model(x) - bias) + 3 * (model(y) - bias)).abs().max())


@pytest.mark.parametrize("fields", [{}, {"dropout": 0.5}, {"batch_norm": True}], ids=str)
def test_a_network_with_no_activations_and_mean_pooling_is_a_linear_map(fields: dict[str, Any]) -> None:
    assert nonlinearity(cnn(**LINEAR, **fields).double().eval()) < 1e-12


@pytest.mark.parametrize("name", LINEAR)
def test_each_of_the_three_settings_is_needed_for_a_linear_map(name: str) -> None:
    others = {setting: value for setting, value in LINEAR.items() if setting != name}
    assert nonlinearity(cnn(**others).double().eval()) > 1e-6


ACTIVATIONS = {
    **{"sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "elu": nn.ELU()},
    "linear": nn.Identity(),
}


def dense_outputs(model: nn.Module, batch: Tensor) -> Tensor:
    """[B, D]: the input of the output layer."""
    inputs: list[Tensor] = []
    with model.output.register_forward_pre_hook(lambda layer, args: inputs.append(args[0])):
        model(batch)
    return inputs[0].detach()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_equals_torchs(name: str) -> None:
    model, batch = cnn(activation=name), images(16)
    before: list[Tensor] = []
    model.dense.register_forward_hook(lambda layer, inputs, output: before.append(output.detach()))
    after = dense_outputs(model, batch)
    assert (before[0] < 0).any()
    assert (before[0] > 0).any()
    torch.testing.assert_close(after, ACTIVATIONS[name](before[0]), rtol=1e-6, atol=0)


def dropout_factors(model: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
    """[B, D]: the factor of dropout on each output of the dense layer. The outputs of a sigmoid are never 0."""
    with DropoutMasks(partial(draw_mask, generator=random)):
        return dense_outputs(model.train(), batch) / dense_outputs(model.eval(), batch)


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_dropout_drops_the_given_fraction_and_scales_up_the_rest(dropout: float) -> None:
    factors_BD = dropout_factors(cnn(dropout=dropout).double(), images(200, torch.float64), generator(0, "dropout"))
    kept_BD = factors_BD > 0
    torch.testing.assert_close(factors_BD[kept_BD], torch.full_like(factors_BD[kept_BD], 1 / (1 - dropout)))
    assert (factors_BD[~kept_BD] == 0).all()
    standard_error = math.sqrt(dropout * (1 - dropout) / kept_BD.numel())
    assert abs(kept_BD.double().mean() - (1 - dropout)) < 4 * standard_error


def test_every_step_has_a_new_dropout_mask_and_equal_seeds_give_equal_masks() -> None:
    model, batch = cnn(dropout=0.5), images(8)
    first, again, other = (generator(seed, "dropout") for seed in (0, 0, 1))
    masks = [dropout_factors(model, batch, random) > 0 for random in (first, first, again, again, other)]
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[4])


def test_a_dropout_mask_does_not_depend_on_the_dtype() -> None:
    masks = [
        dropout_factors(cnn(dropout=0.5).to(dtype), images(8).to(dtype), generator(0, "dropout")) > 0
        for dtype in (torch.float32, torch.float64)
    ]
    assert torch.equal(*masks)


def test_stored_runs_with_dropout_drew_these_masks() -> None:
    factors_BD = dropout_factors(cnn(dropout=0.25), images(8), generator(0, "dropout"))
    mask_BD = torch.empty(8, 64).bernoulli_(0.75, generator=generator(0, "dropout"))
    assert torch.equal(factors_BD > 0, mask_BD > 0)


def test_dropout_is_off_in_evaluation() -> None:
    assert torch.equal(cnn(dropout=0.5).eval()(images(8)), cnn()(images(8)))


@pytest.mark.parametrize(
    ("dropout", "shape"),
    [
        *((nn.Dropout(0.5), (4, 6)), (nn.Dropout(0.5, inplace=True), (4, 6)), (nn.Dropout(1.0), (4, 6))),
        *((nn.Dropout1d(0.5), (4, 6, 5)), (nn.Dropout2d(0.5), (4, 6, 5, 3)), (nn.Dropout3d(0.5), (4, 6, 2, 3, 2))),
    ],
    ids=str,
)
def test_dropout_in_own_networks_draws_from_the_given_generator(dropout: nn.Module, shape: tuple[int, ...]) -> None:
    """Every channel is dropped or kept as a whole by nn.Dropout1d to nn.Dropout3d, as in PyTorch."""
    global_state = torch.get_rng_state()
    results = []
    for seed in (0, 0, 1):
        with DropoutMasks(partial(draw_mask, generator=generator(seed, "dropout"))):
            results.append(dropout(torch.ones(shape)))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2]) == (dropout.p == 1)
    assert set(results[0].flatten().tolist()) == ({0.0} if dropout.p == 1 else {0.0, 2.0})
    of_channel = results[0].flatten(2) if results[0].dim() > 2 else results[0].unsqueeze(2)
    assert (of_channel == of_channel[:, :, :1]).all()
    assert torch.equal(torch.get_rng_state(), global_state)


def layers_with_batch_norm() -> nn.Sequential:
    """The usual order: convolution, norm, ReLU, pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, kernel_size=3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, kernel_size=3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(64 * 4 * 4, 64), nn.Sigmoid(), nn.Linear(64, 10)),
    )


def test_batch_norm_comes_between_convolution_and_relu() -> None:
    ours, theirs = cnn(batch_norm=True).double(), layers_with_batch_norm().double()
    random = torch.Generator().manual_seed(3)
    for norm in (ours.norm1, ours.norm2, ours.norm3):
        nn.init.normal_(norm.weight, generator=random)  # some scales are negative: pooling before them gives other results
        nn.init.normal_(norm.bias, generator=random)
    layers = [ours.conv1, ours.norm1, ours.conv2, ours.norm2, ours.conv3, ours.norm3, ours.dense, ours.output]
    twins = [layer for layer in theirs if list(layer.parameters())]
    for layer, twin in zip(layers, twins, strict=True):
        twin.load_state_dict(layer.state_dict())
    for i in range(3):  # each step updates the running statistics
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


# Losses and penalties.

LOGITS_BC = torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
LABELS_B = torch.tensor([0, 9, 3, 3, 5, 1])


def nll_of_softmax(scores_BC: Tensor) -> Tensor:
    log_softmax_BC = scores_BC - scores_BC.exp().sum(dim=1, keepdim=True).log()
    return -log_softmax_BC[torch.arange(6), LABELS_B].mean()


def test_the_losses_equal_their_closed_forms() -> None:
    softmax_BC = LOGITS_BC.exp() / LOGITS_BC.exp().sum(dim=1, keepdim=True)
    for name, scores_BC in {"cross_entropy": LOGITS_BC, "double_softmax": softmax_BC}.items():
        loss = loss_of(LossConfig(name=name), LOGITS_BC, LABELS_B)
        torch.testing.assert_close(loss, nll_of_softmax(scores_BC), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "minimum"), [("cross_entropy", 0), ("double_softmax", 1.4612)])
def test_perfect_logits_have_the_lowest_loss(name: str, minimum: float) -> None:
    perfect_BC = F.one_hot(LABELS_B, 10).double() * 1e4
    assert loss_of(LossConfig(name=name), perfect_BC, LABELS_B).item() == pytest.approx(minimum, abs=5e-5)
    assert loss_of(LossConfig(name=name), LOGITS_BC, LABELS_B).item() > minimum


def test_the_penalty_and_its_gradient_equal_their_closed_forms() -> None:
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
    assert [names[id(weight)] for weight in penalised_weights(model)] == [f"{layer}.weight" for layer in FANS]


# The summary.


def layers_in(summary: str) -> list[tuple[str, str]]:
    return [(line.split("─")[1].split(":")[0], line.split()[-1]) for line in summary.splitlines() if "─" in line]


def test_the_summary_lists_layers_and_parameters() -> None:
    summary = summarise_model(ModelConfig(), batch_size=32)
    layers = layers_in(summary)
    assert layers == [("Conv2d", "320"), ("Conv2d", "18,496"), ("Conv2d", "36,928"), ("Linear", "65,600"), ("Linear", "650")]
    assert "Total params: 121,994" in summary
    assert "[32, 10]" in summary


def test_the_summary_lists_the_norms() -> None:
    model = ModelConfig(activation="elu", dropout=0.5, batch_norm=True, init="he")
    layers = layers_in(summarise_model(model, batch_size=32))
    assert layers[:2] == [("Conv2d", "320"), ("BatchNorm2d", "64")]
    assert [name for name, _ in layers] == ["Conv2d", "BatchNorm2d"] * 3 + ["Linear"] * 2
