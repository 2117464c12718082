"""lrsweep.optim against AdamW written out."""

import inspect
import math

import pytest
import torch

from lrsweep.config import OptimizerConfig
from lrsweep.optim import build_optimizer, set_lr

NUM_STEPS = 20
START = [0.5, -2.0, 3.0, 0.0]


def gradient(weights: list[float], step: int) -> list[float]:
    """Of a bowl that moves: each weight's own size of gradient, one of them 0 at first."""
    return [10.0**-i * (w - math.sin(step + i)) for i, w in enumerate(weights)]


def adamw_by_hand(lrs: list[float]) -> list[float]:
    """Loshchilov and Hutter's decoupled weight decay with PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, decay 0.01."""
    weights, m, v = list(START), [0.0] * len(START), [0.0] * len(START)
    for t, lr in enumerate(lrs, start=1):
        for i, g in enumerate(gradient(weights, t)):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            weights[i] -= lr * 0.01 * weights[i]
            weights[i] -= lr * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    return weights


def adamw_of_ours(lrs: list[float]) -> list[float]:
    weights = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = build_optimizer(OptimizerConfig(lr=lrs[0]), [weights])
    for t, lr in enumerate(lrs, start=1):
        set_lr(optimizer, lr)
        weights.grad = torch.tensor(gradient(weights.tolist(), t), dtype=torch.float64)
        optimizer.step()
    return weights.tolist()


@pytest.mark.parametrize(
    "lrs",
    [[1e-6] * NUM_STEPS, [1e-3] * NUM_STEPS, [10**-1.5] * NUM_STEPS, [10 ** (-4 + 0.1 * i) for i in range(NUM_STEPS)]],
    ids=["least", "default", "greatest", "rising"],
)
def test_steps_are_adamw_written_out(lrs: list[float]) -> None:
    assert adamw_of_ours(lrs) == pytest.approx(adamw_by_hand(lrs), rel=1e-12, abs=1e-15)


def test_all_settings_but_the_rate_are_pytorchs_defaults() -> None:
    optimizer = build_optimizer(OptimizerConfig(lr=0.02), [torch.nn.Parameter(torch.zeros(1))])
    theirs = {name: p.default for name, p in inspect.signature(torch.optim.AdamW).parameters.items() if name != "params"}
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in theirs} == theirs | {"lr": 0.02, "fused": True}  # fused: how, not what


def test_set_lr_sets_every_group() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
