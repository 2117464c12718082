"""Fill in the settings that the data of data.target and the code of model.target determine, and try one training step.

So a mistake in them is found before anything is swept.

Shapes: B batch, C classes.
"""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from lrsweep.config import AppConfig, ConfigError, RunConfig
from lrsweep.config.source_hash import source_hash
from lrsweep.config.targets import load_target
from lrsweep.data import dataset
from lrsweep.data.images import filled_in
from lrsweep.training.solo import evaluate, new_learner, train_step

_CPU = torch.device("cpu")
_TRIED_IMAGES = 2

_tried: set[str] = set()


def with_own_code(app: AppConfig) -> AppConfig:
    """The settings, completed with what the data and the code determine. ConfigError or DataError if they cannot be used."""
    folder = Path(app.machine.data_dir)
    data, model = filled_in(app.data, folder), app.model
    if model.target is not None:
        model = model.filled_in(source_hash(model.target, load_target("model.target", model.target)))
    app = replace(app, data=data, model=model)
    run = replace(app.run, model=replace(model, init_from=None, new_output=False))  # check_files looks at init_from
    key = repr((data.target, data.args, data.content, asdict(run.model), run.optimizer.rates, run.last_batch == 1))
    if key not in _tried:
        with torch.random.fork_rng(devices=[]):
            _try_a_step(run, folder)
        _tried.add(key)
    return app


def _try_a_step(run: RunConfig, folder: Path) -> None:
    learner = new_learner(run, _CPU)
    names = [name for name, _ in learner.model.named_parameters()]
    for start in run.optimizer.rates:
        if not any(name.startswith(start) for name in names):
            raise ConfigError(f"optimizer.rates.{start}: no parameter starts so; there are {', '.join(names)[:300]}")
    data_set = dataset.load(run.data, folder, _CPU)
    num_images = min(_TRIED_IMAGES, run.last_batch)
    part = data_set.part(data_set.train_images[:num_images], data_set.train_labels[:num_images])
    model = run.model.target or f"model={run.model.name}"
    shape = [len(part), *run.data.shape]
    try:
        with torch.no_grad():
            logits_BC = learner.model(part.images)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{model} fails on images of the shape {shape}: {type(error).__name__}: {error}") from error
    wanted = [len(part), run.data.num_classes]
    if not isinstance(logits_BC, torch.Tensor) or list(logits_BC.shape) != wanted or not logits_BC.is_floating_point():
        got = type(logits_BC).__name__
        if isinstance(logits_BC, torch.Tensor):
            got = f"{list(logits_BC.shape)}" + ("" if logits_BC.is_floating_point() else f" of {logits_BC.dtype}")
        raise ConfigError(f"{model} must give floats of the shape {wanted} (images, classes) for images {shape}, got {got}")
    if not logits_BC.isfinite().all():
        raise ConfigError(f"{model} gives NaN or infinite outputs before it is trained")
    try:
        train_step(learner, part.images, part.labels, run.optimizer.lr)
        evaluate(run, learner.model, part)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{model} cannot be trained: {type(error).__name__}: {error}") from error
