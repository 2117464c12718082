"""Every network in conf/model/, on images of two shapes: it builds, its seed fixes its weights, and it trains and resumes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import CONF_DIR, DataConfig, FindConfig, OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.data.dataset import Part, Split
from lrsweep.records import State
from lrsweep.training.models import initial_model, summarise_model
from lrsweep.training.optimizers import layer_lr_scale
from lrsweep.training.range_test import range_test
from lrsweep.training.solo import train

CPU = torch.device("cpu")
NETS = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml") if path.stem != "own")
SHAPES = [[1, 28, 28], [3, 20, 16]]


def run_of(net: str, shape: list[int]) -> RunConfig:
    app = to_app_config(compose(f"model={net}"))
    data = DataConfig(
        target="my_data:load", content="0" * 64, shape=shape, num_classes=5, num_train=40, num_valid=20, num_test=20
    )
    return replace(app.run, data=data, training=TrainingConfig(batch_size=16, max_epochs=3, patience=None))


def split_of(shape: list[int]) -> Split:
    draws = torch.Generator().manual_seed(0)
    parts = [Part(torch.randn(n, *shape, generator=draws), torch.arange(n) % 5) for n in (40, 20, 20)]
    return Split(*parts, num_classes=5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("net", NETS)
def test_a_network_gives_one_number_per_class_and_its_seed_fixes_its_weights(net: str, shape: list[int]) -> None:
    run = run_of(net, shape)
    first, again, other = (initial_model(run.model, seed, CPU, data=run.data) for seed in (0, 0, 1))
    assert first(torch.zeros(2, *shape)).shape == (2, 5)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert any(not torch.equal(weight, other.state_dict()[name]) for name, weight in first.state_dict().items())
    assert type(first).__name__ in summarise_model(run.model, 16, run.data)


OWN_NETS = """
import math
import torch
from torch import nn

def with_dropout(shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(shape), num_classes))

class Noise(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)

def with_noise(shape, num_classes):
    return nn.Sequential(Noise(), nn.Flatten(), nn.Linear(math.prod(shape), num_classes))
"""


def own_run_of(net: str, shape: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    (folder / "own_nets.py").write_text(OWN_NETS)
    monkeypatch.syspath_prepend(folder)
    run = run_of("mlp", shape)
    return replace(run, model=replace(run.model, target=f"own_nets:{net}", args={}))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("net", [*NETS, "with_dropout", "with_noise"])
def test_an_interrupted_run_gives_the_same_bits(
    net: str, shape: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(net, shape) if net in NETS else own_run_of(net, shape, tmp_path, monkeypatch)
    split = split_of(shape)
    states: list[State] = []
    torch.manual_seed(1)
    whole = train(run, split, on_state=lambda make: states.append(torch.load(saved(make(), tmp_path))))
    torch.manual_seed(2)  # whatever else the process draws, the run's numbers stay the same
    before = torch.get_rng_state()
    resumed = train(run, split, resume_from=states[0])
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(whole.curve, resumed.curve, strict=True):
        assert (a.train_loss, a.valid_loss) == (b.train_loss, b.valid_loss)
    assert whole.test_loss == resumed.test_loss


def test_a_range_test_of_a_network_with_noise_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = own_run_of("with_noise", SHAPES[0], tmp_path, monkeypatch)
    curves = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        curves.append(range_test(run, split_of(SHAPES[0]).train, FindConfig(num_steps=20)).losses)
        assert torch.equal(torch.get_rng_state(), before)
    assert curves[0] == curves[1]


def saved(state: State, folder: Path) -> Path:
    torch.save(state, folder / "state.pt")  # a copy: the state's tensors change when the run continues
    return folder / "state.pt"


def test_rates_of_parameters_go_by_the_longest_start_that_fits() -> None:
    config = OptimizerConfig(rates={"features.": 0.5, "features.0.": 0.1, "head.": 0.0})
    expected = {"features.0.weight": 0.1, "features.1.bias": 0.5, "head.bias": 0.0, "other.weight": 1.0}
    assert {name: layer_lr_scale(config, name) for name in expected} == expected


def test_a_frozen_part_keeps_its_weights() -> None:
    run = run_of("mlp", SHAPES[0])
    run = replace(run, optimizer=OptimizerConfig(name="sgd", rates={"layers.1.": 0.0}))
    before = initial_model(run.model, run.seed, CPU, data=run.data).state_dict()
    after: dict[str, torch.Tensor] = {}
    train(replace(run, training=replace(run.training, score="last")), split_of(SHAPES[0]), on_weights=after.update)
    assert after.keys() == before.keys()
    for name, weight in after.items():
        assert torch.equal(weight, before[name]) == name.startswith("layers.1.")
