"""The jobs of a sweep, composed once and then changed, against what Hydra composes for each of them."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.lrsweep_launchers._compose import compose_each, refuse_endless
from lrsweep.cli.main import register
from lrsweep.config import CONF_DIR, ConfigError

# What a job may say, one of each line: groups, values, values of null, lists, what others interpolate, an addition.
CHOICES = [
    ["optimizer=adamw", "optimizer=sgd", "optimizer=momentum"],
    ["schedule=constant", "schedule=cosine", "schedule=multi_step"],
    ["technique=none", "technique=dropout"],
    ["optimizer.lr=0.1", "optimizer.lr=1e-4", "optimizer.lr='0.5'", "optimizer.lr=${seed}"],
    ["seed=0", "seed=1", "seed=2"],
    ["training.patience=3", "training.patience=null"],
    ["schedule.milestones=[0.1,0.2]", "schedule.milestones=[0.3]"],
    ["study.name=a", "study.name=b/c", "++study.name=d"],
    ["training.max_epochs=${data.num_valid}", "training.max_epochs=7"],
]
JOBS = st.lists(st.tuples(*(st.sampled_from([None, *choices]) for choices in CHOICES)), min_size=2, max_size=4)


@pytest.fixture(scope="module")
def master() -> Iterator[tuple[ConfigLoader, DictConfig]]:
    register()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader, compose("config", return_hydra_config=True)


@pytest.mark.slow
@settings(max_examples=8, phases=[Phase.generate])  # to shrink an example would take minutes
@given(JOBS)
def test_they_are_what_hydra_composes(master: tuple[ConfigLoader, DictConfig], jobs: list[tuple[str | None, ...]]) -> None:
    overrides = [[word for word in job if word] for job in jobs]
    with_hydra, without = (compose_each(*master, overrides, with_hydra=has_it) for has_it in (True, False))
    for job, made, task in zip(overrides, with_hydra, without, strict=True):
        expected = master[0].load_sweep_config(master[1], job)
        assert OmegaConf.to_container(made) == OmegaConf.to_container(expected)
        with open_dict(expected):
            del expected["hydra"]
        assert OmegaConf.to_container(task, resolve=True) == OmegaConf.to_container(expected, resolve=True)


def test_a_sweep_of_values_is_composed_once(master: tuple[ConfigLoader, DictConfig]) -> None:
    overrides = [["optimizer=sgd", f"optimizer.lr={lr}", f"seed={seed}"] for seed in range(10) for lr in (0.1, 0.2)]
    with patch.object(master[0], "load_sweep_config", wraps=master[0].load_sweep_config) as load:
        made = [(config.seed, config.optimizer.lr) for config in compose_each(*master, overrides, with_hydra=False)]
    assert made == [(seed, lr) for seed in range(10) for lr in (0.1, 0.2)]
    assert load.call_count == 1


@pytest.mark.parametrize(("before", "word"), [("seed=1", "seed=x"), ("seed=1", "seed=[1]"), ("seed=1", "optimizer.lrr=1")])
def test_a_job_that_cannot_be_composed_is_refused_by_hydra(
    master: tuple[ConfigLoader, DictConfig], before: str, word: str
) -> None:
    with pytest.raises(HydraException) as ours:
        list(compose_each(*master, [[before], [word]], with_hydra=False))
    with pytest.raises(HydraException) as theirs:
        master[0].load_sweep_config(master[1], [word])
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("word", ["optimizer.lr=interval(0.1,1)", "seed=range(100000)"])
def test_a_sweep_of_another_sweeper_is_not_counted_by_ours(master: tuple[ConfigLoader, DictConfig], word: str) -> None:
    """It may have no `params`, and sweep an interval, of which there are no values to count."""
    loader, _ = master
    other = OmegaConf.create({"hydra": {"sweeper": {"_target_": "another"}, "overrides": {"task": [word]}}})
    OmegaConf.set_struct(other, True)
    refuse_endless(loader, other)
    with pytest.raises(ConfigError, match=r"a sweep has at most 100,000 runs"):
        refuse_endless(loader, OmegaConf.merge(other, {"hydra": {"overrides": {"task": [word, "seed=range(100001)"]}}}))
