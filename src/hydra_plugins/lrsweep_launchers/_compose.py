"""Compose the configs of a sweep's jobs, faster than Hydra does, and refuse sweeps with too many jobs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lrsweep.config import ConfigError

_MAX_JOBS = 100_000


def refuse_too_many_jobs(loader: ConfigLoader, config: DictConfig) -> None:
    """Raise ConfigError if the sweep has too many jobs, before Hydra's sweeper fills the memory with a list of them."""
    params = [f"{name}={values}" for name, values in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
    task = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # reading an item would resolve it
    overrides = OverridesParser.create(loader).parse_overrides([*params, *task])  # type: ignore[misc]
    num_jobs = math.prod({override.get_key_element(): _num_values(override) for override in overrides}.values())
    if num_jobs > _MAX_JOBS:
        raise ConfigError(
            f"a sweep may have at most {_MAX_JOBS:,} runs, but this one has more; sweep fewer values or split the sweep"
        )


def _num_values(override: Override) -> int:
    """Counting stops at the limit, because range(1000000000) is a valid sweep."""
    return len(list(islice(override.sweep_string_iterator(), _MAX_JOBS + 1))) if override.is_discrete_sweep() else 1


def compose_each(
    loader: ConfigLoader, config: DictConfig, job_overrides: Iterable[Sequence[str]], *, with_hydra: bool
) -> Iterator[DictConfig]:
    """Yield the config of each job, with or without Hydra's own section. `config` is the config of the sweep.

    Hydra takes 0.1 s to compose a config. So if a job differs from the previous job only in plain values, we set these values
    in the previous config. So one object may be yielded several times, with changing values.
    """
    parser = OverridesParser.create(loader)
    is_group = cache(lambda name: bool(loader.get_group_options(name)))
    previous, composed = None, DictConfig({})
    for overrides in job_overrides:
        parsed = parser.parse_overrides(list(overrides))
        values = [each for each in parsed if _is_value(each) and not is_group(each.key_or_group)]
        without_values = [each.key_or_group if each in values else each.input_line for each in parsed]
        if without_values != previous or not _set_values(composed, values):
            composed = loader.load_sweep_config(config, list(overrides))
            if not with_hydra:
                with open_dict(composed):
                    del composed["hydra"]
        elif with_hydra:
            composed.hydra.overrides.task = list(overrides)
            if not OmegaConf.is_interpolation(composed.hydra.job, "override_dirname"):  # Hydra 1.3; since 1.4 it is a resolver
                composed.hydra.job.override_dirname = _override_dirname(parsed, **composed.hydra.job.config.override_dirname)
        previous = without_values
        yield composed


def _override_dirname(overrides: list[Override], exclude_keys: list[str], item_sep: str, kv_sep: str) -> str:
    lines = [str(override.input_line) for override in overrides if override.key_or_group not in exclude_keys]
    return item_sep.join(sorted(lines)).replace("=", kv_sep)


def _is_value(override: Override) -> bool:
    """`name=value`, but not a list or dict, which Hydra may merge."""
    return (
        override.type == OverrideType.CHANGE
        and not override.is_hydra_override()
        and isinstance(override.value(), str | int | float | None)
    )


def _set_values(composed: DictConfig, values: list[Override]) -> bool:
    """Return False if a value cannot be set. Hydra then composes the config and explains why."""
    try:
        for override in values:
            OmegaConf.update(composed, override.key_or_group, override.value())
    except OmegaConfBaseException:
        return False
    return True
