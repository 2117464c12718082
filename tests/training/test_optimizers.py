"""The optimizers against explicit updates, and against torch.optim with its own defaults."""

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

# Explicit updates.


def gradient(weights: list[float], step: int) -> list[float]:
    """The gradient of a quadratic bowl that moves. Each weight has its own scale; the last gradient starts near 0."""
    return [10.0**-i * (w - math.sin(step + i)) for i, w in enumerate(weights)]


def adamw(lrs: list[float], decay: float = 0.01) -> list[float]:
    """Loshchilov and Hutter's decoupled weight decay with PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, decay 0.01."""
    weights, m, v = list(START), [0.0] * len(START), [0.0] * len(START)
    for t, lr in enumerate(lrs, start=1):
        for i, g in enumerate(gradient(weights, t)):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            weights[i] -= lr * decay * weights[i]
            weights[i] -= lr * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    return weights


def sgd(lrs: list[float], decay: float = 0.0) -> list[float]:
    """Weight decay adds decay × weight to the gradient."""
    weights = list(START)
    for t, lr in enumerate(lrs, start=1):
        weights = [w - lr * (g + decay * w) for w, g in zip(weights, gradient(weights, t), strict=True)]
    return weights


def momentum(lrs: list[float], *, is_nesterov: bool = False, mu: float = 0.9) -> list[float]:
    """The velocity is v ← μv + g, without damping. Nesterov steps along g + μv instead of v."""
    weights, velocity = list(START), [0.0] * len(START)
    for t, lr in enumerate(lrs, start=1):
        for i, g in enumerate(gradient(weights, t)):
            velocity[i] = mu * velocity[i] + g
            weights[i] -= lr * (g + mu * velocity[i] if is_nesterov else velocity[i])
    return weights


def nesterov(lrs: list[float]) -> list[float]:
    return momentum(lrs, is_nesterov=True)


def ours(lrs: list[float], **settings: Any) -> list[float]:
    weights = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = build_optimizer(OptimizerConfig(lr=lrs[0], **settings), [weights])
    for t, lr in enumerate(lrs, start=1):
        set_lr(optimizer, lr)
        weights.grad = torch.tensor(gradient(weights.tolist(), t), dtype=torch.float64)
        optimizer.step()
    return weights.tolist()


RATES = {
    "smallest": [1e-6] * NUM_STEPS,
    "largest": [10**-1.5] * NUM_STEPS,
    "rising": [10 ** (-4 + 0.1 * i) for i in range(NUM_STEPS)],
}
UPDATES: dict[str, Callable[[list[float]], list[float]]] = {
    "adamw": adamw,
    "gd": sgd,
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
}


@pytest.mark.parametrize("lrs", RATES.values(), ids=RATES)
@pytest.mark.parametrize("name", UPDATES)
def test_steps_equal_the_explicit_update(name: str, lrs: list[float]) -> None:
    assert ours(lrs, name=name) == pytest.approx(UPDATES[name](lrs), rel=1e-12, abs=1e-15)


def test_momentum_and_weight_decay_can_be_set() -> None:
    lrs = RATES["rising"]
    close = {"rel": 1e-12, "abs": 1e-15}
    assert ours(lrs, name="momentum", momentum=0.5) == pytest.approx(momentum(lrs, mu=0.5), **close)
    for decay in (0.0, 0.3):
        assert ours(lrs, name="adamw", weight_decay=decay) == pytest.approx(adamw(lrs, decay), **close)
        assert ours(lrs, name="sgd", weight_decay=decay) == pytest.approx(sgd(lrs, decay), **close)


# PyTorch's classes and defaults.

FUSED = {"fused": True}  # the implementation, not the update
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
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
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_other_settings_are_pytorchs_defaults(name: str, decay: float | None) -> None:
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.02, weight_decay=decay), [nn.Parameter(torch.zeros(1))])
    kind, settings = OPTIMIZERS[name]
    assert type(optimizer) is kind
    defaults = {name: p.default for name, p in inspect.signature(kind).parameters.items() if name != "params"}
    (group,) = optimizer.param_groups
    chosen = settings | {"lr": 0.02} | ({} if decay is None else {"weight_decay": decay})
    assert {name: group[name] for name in defaults} == defaults | chosen


# Layer factors.


def model_of(*, batch_norm: bool = False) -> nn.Module:
    return build_model(ModelConfig(batch_norm=batch_norm), generator(0, "weights"), torch.device("cpu"))


def layer_of(parameter: str) -> str:
    return {"norm1": "conv1", "norm2": "conv2", "norm3": "conv3"}.get(parameter.split(".")[0], parameter.split(".")[0])


FACTORS = LayerFactors(conv1=0.5, conv2=2, conv3=3, dense=0, output=1)
LAYERWISE: dict[str, tuple[dict[str, Any], list[float]]] = {
    "uniform": ({}, [1, 1, 1, 1, 1]),
    "rising": ({"layerwise": "rising"}, [0.25, 0.5, 1, 2, 4]),
    "falling": ({"layerwise": "falling"}, [4, 2, 1, 0.5, 0.25]),
    "steep": ({"layerwise": "rising", "layer_factor": 10.0}, [0.01, 0.1, 1, 10, 100]),
    "by name": ({"layers": FACTORS}, [0.5, 2, 3, 0, 1]),
    "rising and by name": ({"layerwise": "rising", "layers": FACTORS}, [0.125, 1, 3, 0, 4]),
}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("case", LAYERWISE)
def test_every_parameter_has_the_rate_of_its_layer_in_exactly_one_group(case: str, batch_norm: bool) -> None:
    settings, factors = LAYERWISE[case]
    config, model = OptimizerConfig(lr=0.1, **settings), model_of(batch_norm=batch_norm)
    optimizer = build_optimizer(config, layer_groups(config, model))
    names = {parameter: name for name, parameter in model.named_parameters()}
    grouped = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(names.values())
    for lr in (config.lr, 0.7, 0.0):
        if lr != config.lr:  # the optimizer starts with config.lr
            set_lr(optimizer, lr)
        rates = {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        assert rates == pytest.approx({name: lr * dict(zip(LAYERS, factors, strict=True))[layer_of(name)] for name in rates})


@pytest.mark.parametrize("layerwise", ["uniform", "rising", "falling"])
@pytest.mark.parametrize("factor", [1.5, 100.0])
def test_the_geometric_mean_of_the_layer_factors_is_1(layerwise: str, factor: float) -> None:
    config = OptimizerConfig(layerwise=layerwise, layer_factor=factor)
    assert math.prod(layer_lr_scale(config, f"{layer}.weight") for layer in LAYERS) == pytest.approx(1)
    assert layer_lr_scale(config, "conv3.bias") == 1


def train(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int = 3) -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(num_steps):
        images = torch.randn(4, 1, 28, 28, generator=random)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
        optimizer.step()


def bits(tensor: Tensor) -> list[int]:
    as_integers: list[int] = tensor.detach().contiguous().view(torch.int32).flatten().tolist()
    return as_integers


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_factor_0_freezes_a_layer_bit_for_bit(name: str) -> None:
    config = OptimizerConfig(name=name, lr=0.01, layers=LayerFactors(conv1=0, dense=0), weight_decay=0.1)
    model, before = model_of(batch_norm=True), dict(model_of(batch_norm=True).named_parameters())
    train(model, build_optimizer(config, layer_groups(config, model)))
    is_changed = {layer: set[bool]() for layer in LAYERS}
    for parameter, weights in model.named_parameters():
        is_changed[layer_of(parameter)].add(bits(weights) != bits(before[parameter]))
    assert is_changed == {"conv1": {False}, "conv2": {True}, "conv3": {True}, "dense": {False}, "output": {True}}
