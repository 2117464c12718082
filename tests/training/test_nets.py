"""Every network in conf/model/, on images of two shapes: it builds, its seed fixes its weights, and it trains and resumes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import CONF_DIR, DataConfig, OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.data.dataset import Part, Split
from lrsweep.records import State
from lrsweep.training.models import initial_model, summarise_model
from lrsweep.training.optimizers import layer_lr_scale
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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("net", [*NETS, "with dropout"])
def test_an_interrupted_run_gives_the_same_bits(
    net: str, shape: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if net == "with dropout":
        (tmp_path / "net_with_dropout.py").write_text(
            "from torch import nn\n\ndef net(shape, num_classes):\n    size = shape[0] * shape[1] * shape[2]\n"
            "    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(size, num_classes))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        run = replace(run_of("mlp", shape), model=replace(run_of("mlp", shape).model, target="net_with_dropout:net", args={}))
    else:
        run = run_of(net, shape)
    split = split_of(shape)
    states: list[State] = []
    torch.manual_seed(1)
    whole = train(run, split, on_state=lambda make: states.append(torch.load(saved(make(), tmp_path))))
    torch.manual_seed(2)  # whatever else the process draws, the run's numbers stay the same
    resumed = train(run, split, resume_from=states[0])
    for a, b in zip(whole.curve, resumed.curve, strict=True):
        assert (a.train_loss, a.valid_loss) == (b.train_loss, b.valid_loss)
    assert whole.test_loss == resumed.test_loss


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
    for name, weight in after.items():
        assert torch.equal(weight, before[name]) == name.startswith("layers.1.")
