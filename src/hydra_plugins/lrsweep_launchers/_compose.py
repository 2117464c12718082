"""The configs of a sweep's jobs, as Hydra composes them, without composing each one; not of too many jobs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lrsweep.config import ConfigError

_MAX_JOBS = 100_000


def refuse_endless(loader: ConfigLoader, config: DictConfig) -> None:
    """Refuse a sweep of too many jobs before Hydra's sweeper, which takes this for its list of them, has filled the memory."""
    given = [f"{name}={values}" for name, values in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
    overrides = OverridesParser.create(loader).parse_overrides([*given, *config.hydra.overrides.task])
    num_jobs = math.prod({override.get_key_element(): _num_values(override) for override in overrides}.values())
    if num_jobs > _MAX_JOBS:
        raise ConfigError(f"a sweep has at most {_MAX_JOBS:,} runs, and this one more; sweep fewer values, or some at a time")


def _num_values(override: Override) -> int:
    """Of a sweep those that are too many are not counted to their end."""
    return len(list(islice(override.sweep_string_iterator(), _MAX_JOBS + 1))) if override.is_discrete_sweep() else 1


def compose_each(
    loader: ConfigLoader, config: DictConfig, job_overrides: Iterable[Sequence[str]], *, with_hydra: bool
) -> Iterator[DictConfig]:
    """Each job's config, with Hydra's own part or without. `config` is the sweep's.

    Hydra takes a tenth of a second to compose one, many times as long as the rest of the launcher's work. So a job that differs
    from the one before in plain values only is made of that one's config, which changes as you iterate.
    """
    parser = OverridesParser.create(loader)
    is_group = cache(lambda name: bool(loader.get_group_options(name)))
    before, composed = None, DictConfig({})
    for overrides in job_overrides:
        parsed = parser.parse_overrides(list(overrides))
        values = [each for each in parsed if _is_value(each) and not is_group(each.key_or_group)]
        alike = [each.key_or_group if each in values else each.input_line for each in parsed]
        if alike != before or not _set_values(composed, values):
            composed = loader.load_sweep_config(config, list(overrides))
            if not with_hydra:
                with open_dict(composed):
                    del composed["hydra"]
        elif with_hydra:
            composed.hydra.overrides.task = list(overrides)
            composed.hydra.job.override_dirname = get_overrides_dirname(parsed, **composed.hydra.job.config.override_dirname)
        before = alike
        yield composed


def _is_value(override: Override) -> bool:
    """`name=value`, and no list or dict, which Hydra may merge."""
    return (
        override.type == OverrideType.CHANGE
        and not override.is_hydra_override()
        and isinstance(override.value(), str | int | float | None)
    )


def _set_values(composed: DictConfig, values: list[Override]) -> bool:
    """Whether that could be done. Where not, Hydra says why."""
    try:
        for override in values:
            OmegaConf.update(composed, override.key_or_group, override.value())
    except OmegaConfBaseException:
        return False
    return True
