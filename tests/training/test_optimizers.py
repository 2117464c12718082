"""lrsweep.training.optimizers against the updates written out, and against torch.optim with its own defaults."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrsweep.config import LAYERS, LayerFactors, ModelConfig, OptimizerConfig
from lrsweep.data.seeding import generator
from lrsweep.training.models import build_model
from lrsweep.training.optimizers import build_optimizer, layer_groups, layer_lr_scale, set_lr

NUM_STEPS = 20
START = [0.5, -2.0, 3.0, 0.0]

# The updates, written out.


def gradient(weights: list[float], step: int) -> list[float]:
    """Of a bowl that moves: each weight's own size of gradient, one of them 0 at first."""
    return [10.0**-i * (w - math.sin(step + i)) for i, w in enumerate(weights)]


def adamw_by_hand(lrs: list[float], decay: float = 0.01) -> list[float]:
    """Loshchilov and Hutter's decoupled weight decay with PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, decay 0.01."""
    weights, m, v = list(START), [0.0] * len(START), [0.0] * len(START)
    for t, lr in enumerate(lrs, start=1):
        for i, g in enumerate(gradient(weights, t)):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            weights[i] -= lr * decay * weights[i]
            weights[i] -= lr * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    return weights


def sgd_by_hand(lrs: list[float], decay: float = 0.0) -> list[float]:
    """Weight decay is half the sum of squares' gradient here."""
    weights = list(START)
    for t, lr in enumerate(lrs, start=1):
        weights = [w - lr * (g + decay * w) for w, g in zip(weights, gradient(weights, t), strict=True)]
    return weights


def momentum_by_hand(lrs: list[float], *, looks_ahead: bool = False, momentum: float = 0.9) -> list[float]:
    """A velocity v ← μv + g, without damping; Nesterov's step is along g + μv instead of v."""
    weights, velocity = list(START), [0.0] * len(START)
    for t, lr in enumerate(lrs, start=1):
        for i, g in enumerate(gradient(weights, t)):
            velocity[i] = momentum * velocity[i] + g
            weights[i] -= lr * (g + momentum * velocity[i] if looks_ahead else velocity[i])
    return weights


def nesterov_by_hand(lrs: list[float]) -> list[float]:
    return momentum_by_hand(lrs, looks_ahead=True)


def ours(lrs: list[float], **settings: Any) -> list[float]:
    weights = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = build_optimizer(OptimizerConfig(lr=lrs[0], **settings), [weights])
    for t, lr in enumerate(lrs, start=1):
        set_lr(optimizer, lr)
        weights.grad = torch.tensor(gradient(weights.tolist(), t), dtype=torch.float64)
        optimizer.step()
    return weights.tolist()


RATES = {
    "least": [1e-6] * NUM_STEPS,
    "default": [1e-3] * NUM_STEPS,
    "greatest": [10**-1.5] * NUM_STEPS,
    "rising": [10 ** (-4 + 0.1 * i) for i in range(NUM_STEPS)],
}
BY_HAND: dict[str, Callable[[list[float]], list[float]]] = {
    "adamw": adamw_by_hand,
    "gd": sgd_by_hand,
    "sgd": sgd_by_hand,
    "momentum": momentum_by_hand,
    "nesterov": nesterov_by_hand,
}


@pytest.mark.parametrize("lrs", RATES.values(), ids=RATES)
@pytest.mark.parametrize("name", BY_HAND)
def test_steps_are_the_update_written_out(name: str, lrs: list[float]) -> None:
    assert ours(lrs, name=name) == pytest.approx(BY_HAND[name](lrs), rel=1e-12, abs=1e-15)


def test_another_momentum_is_taken() -> None:
    lrs = RATES["rising"]
    assert ours(lrs, name="momentum", momentum=0.5) == pytest.approx(momentum_by_hand(lrs, momentum=0.5), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("name", "by_hand"), [("adamw", adamw_by_hand), ("sgd", sgd_by_hand)])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_another_weight_decay_is_taken(name: str, by_hand: Callable[..., list[float]], decay: float) -> None:
    found = ours(RATES["greatest"], name=name, weight_decay=decay)
    assert found == pytest.approx(by_hand(RATES["greatest"], decay=decay), rel=1e-12, abs=1e-15)


# PyTorch's classes and defaults.

FUSED = {"fused": True}  # how, not what
KINDS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "gd": (torch.optim.SGD, FUSED),
    "sgd": (torch.optim.SGD, FUSED),
    "momentum": (torch.optim.SGD, FUSED | {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, FUSED | {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "adam": (torch.optim.Adam, FUSED),
    "adamw": (torch.optim.AdamW, FUSED),
}


@pytest.mark.parametrize("decay", [None, 0.0, 0.02])
@pytest.mark.parametrize("name", KINDS)
def test_all_settings_but_those_stated_are_pytorchs_defaults(name: str, decay: float | None) -> None:
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.02, weight_decay=decay), [nn.Parameter(torch.zeros(1))])
    kind, stated = KINDS[name]
    assert type(optimizer) is kind
    theirs = {name: p.default for name, p in inspect.signature(kind).parameters.items() if name != "params"}
    (group,) = optimizer.param_groups
    chosen = stated | {"lr": 0.02} | ({} if decay is None else {"weight_decay": decay})
    assert {name: group[name] for name in theirs} == theirs | chosen


# A rate of its own for each layer.


def model_of(*, batch_norm: bool = False) -> nn.Module:
    return build_model(ModelConfig(batch_norm=batch_norm), generator(0, "weights"), torch.device("cpu"))


def layer_of(parameter: str) -> str:
    return {"norm1": "conv1", "norm2": "conv2", "norm3": "conv3"}.get(parameter.split(".")[0], parameter.split(".")[0])


EACH = LayerFactors(conv1=0.5, conv2=2, conv3=3, dense=0, output=1)
LAYERWISE: dict[str, tuple[dict[str, Any], list[float]]] = {
    "uniform": ({}, [1, 1, 1, 1, 1]),
    "rising": ({"layerwise": "rising"}, [0.25, 0.5, 1, 2, 4]),
    "falling": ({"layerwise": "falling"}, [4, 2, 1, 0.5, 0.25]),
    "steep": ({"layerwise": "rising", "layer_factor": 10.0}, [0.01, 0.1, 1, 10, 100]),
    "named": ({"layers": EACH}, [0.5, 2, 3, 0, 1]),
    "named on top": ({"layerwise": "rising", "layers": EACH}, [0.125, 1, 3, 0, 4]),
}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("case", LAYERWISE)
def test_every_layer_has_its_share_of_every_rate(case: str, batch_norm: bool) -> None:
    settings, shares = LAYERWISE[case]
    config, model = OptimizerConfig(lr=0.1, **settings), model_of(batch_norm=batch_norm)
    optimizer = build_optimizer(config, layer_groups(config, model))
    names = {parameter: name for name, parameter in model.named_parameters()}
    for lr in (config.lr, 0.7, 0.0):
        if lr != config.lr:  # it begins with that one
            set_lr(optimizer, lr)
        found = {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        assert found == pytest.approx({name: lr * dict(zip(LAYERS, shares, strict=True))[layer_of(name)] for name in found})


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("case", LAYERWISE)
def test_every_parameter_is_in_exactly_one_group(case: str, batch_norm: bool) -> None:
    model = model_of(batch_norm=batch_norm)
    groups = layer_groups(OptimizerConfig(**LAYERWISE[case][0]), model)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("layerwise", ["uniform", "rising", "falling"])
@pytest.mark.parametrize("factor", [1.5, 2.0, 100.0])
def test_the_layers_shares_are_1_on_geometric_average(layerwise: str, factor: float) -> None:
    config = OptimizerConfig(layerwise=layerwise, layer_factor=factor)
    assert math.prod(layer_lr_scale(config, f"{layer}.weight") for layer in LAYERS) == pytest.approx(1)
    assert layer_lr_scale(config, "conv3.bias") == 1


def train(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int = 3) -> None:
    draws = torch.Generator().manual_seed(0)
    for _ in range(num_steps):
        images = torch.randn(4, 1, 28, 28, generator=draws)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
        optimizer.step()


def bits(tensor: Tensor) -> list[int]:
    found: list[int] = tensor.detach().contiguous().view(torch.int32).flatten().tolist()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_factor_0_freezes_a_layer_bit_for_bit(name: str) -> None:
    config = OptimizerConfig(name=name, lr=0.01, layers=LayerFactors(conv1=0, dense=0), weight_decay=0.1)
    model, before = model_of(batch_norm=True), dict(model_of(batch_norm=True).named_parameters())
    train(model, build_optimizer(config, layer_groups(config, model)))
    moved = {layer: set[bool]() for layer in LAYERS}
    for parameter, weights in model.named_parameters():
        moved[layer_of(parameter)].add(bits(weights) != bits(before[parameter]))
    assert moved == {"conv1": {False}, "conv2": {True}, "conv3": {True}, "dense": {False}, "output": {True}}


@pytest.mark.parametrize("name", KINDS)
def test_uniform_layers_are_the_plain_optimizer_bit_for_bit(name: str) -> None:
    config, (kind, stated) = OptimizerConfig(name=name, lr=0.01), KINDS[name]
    model, plain = model_of(), model_of()
    groups = layer_groups(config, model)
    assert len(groups) == 1
    train(model, build_optimizer(config, groups))
    train(plain, kind(plain.parameters(), **{"lr": 0.01} | stated))
    for weights, expected in zip(model.parameters(), plain.parameters(), strict=True):
        assert bits(weights) == bits(expected)


def test_set_lr_sets_every_group() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
