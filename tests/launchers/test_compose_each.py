"""compose_each yields the same configs as Hydra, which composes each job on its own."""

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

from hydra_plugins.lrsweep_launchers._compose import compose_each, refuse_too_many_jobs
from lrsweep.cli.main import VERSION_BASE, register
from lrsweep.config import CONF_DIR, ConfigError

# A job has at most one override from each line: groups, values, null, lists, interpolations, an addition.
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
def sweep() -> Iterator[tuple[ConfigLoader, DictConfig]]:
    register()
    with initialize_config_dir(str(CONF_DIR), **VERSION_BASE):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader, compose("config", return_hydra_config=True)


@pytest.mark.slow
@settings(max_examples=4, phases=[Phase.generate])  # shrinking an example would take minutes
@given(JOBS)
def test_each_config_equals_the_one_that_hydra_composes(
    sweep: tuple[ConfigLoader, DictConfig], jobs: list[tuple[str | None, ...]]
) -> None:
    overrides = [[word for word in job if word] for job in jobs]
    with_hydra, without_hydra = (compose_each(*sweep, overrides, with_hydra=choice) for choice in (True, False))
    for job, whole, task in zip(overrides, with_hydra, without_hydra, strict=True):
        expected = sweep[0].load_sweep_config(sweep[1], job)
        assert OmegaConf.to_container(whole) == OmegaConf.to_container(expected)
        with open_dict(expected):
            del expected["hydra"]
        assert OmegaConf.to_container(task, resolve=True) == OmegaConf.to_container(expected, resolve=True)


def test_jobs_that_differ_in_plain_values_are_composed_once(sweep: tuple[ConfigLoader, DictConfig]) -> None:
    overrides = [["optimizer=sgd", f"optimizer.lr={lr}", f"seed={seed}"] for seed in range(10) for lr in (0.1, 0.2)]
    with patch.object(sweep[0], "load_sweep_config", wraps=sweep[0].load_sweep_config) as load:
        values = [(config.seed, config.optimizer.lr) for config in compose_each(*sweep, overrides, with_hydra=False)]
    assert values == [(seed, lr) for seed in range(10) for lr in (0.1, 0.2)]
    assert load.call_count == 1


@pytest.mark.parametrize("word", ["seed=x", "seed=[1]", "optimizer.lrr=1"])
def test_an_invalid_job_raises_hydras_error(sweep: tuple[ConfigLoader, DictConfig], word: str) -> None:
    with pytest.raises(HydraException) as ours:
        list(compose_each(*sweep, [["seed=1"], [word]], with_hydra=False))
    with pytest.raises(HydraException) as theirs:
        sweep[0].load_sweep_config(sweep[1], [word])
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("word", ["optimizer.lr=interval(0.1,1)", "seed=range(100000)"])
def test_the_limit_of_runs_holds_for_other_sweepers(sweep: tuple[ConfigLoader, DictConfig], word: str) -> None:
    """Another sweeper may have no `params`. It may also sweep an interval, whose values cannot be counted."""
    loader, _ = sweep
    other = OmegaConf.create({"hydra": {"sweeper": {"_target_": "another"}, "overrides": {"task": [word]}}})
    OmegaConf.set_struct(other, True)
    refuse_too_many_jobs(loader, other)
    with pytest.raises(ConfigError, match=r"a sweep may have at most 100,000 runs"):
        refuse_too_many_jobs(loader, OmegaConf.merge(other, {"hydra": {"overrides": {"task": [word, "seed=range(100001)"]}}}))
