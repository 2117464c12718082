"""Decide whether a run can be fused. An own network is tried: two runs of it, of one small epoch, in both engines."""

import math
from dataclasses import replace

import torch

from lrsweep.config import OptimizerConfig, RunConfig, TrainingConfig
from lrsweep.data.dataset import DataSet, split
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.records import Outcome
from lrsweep.training import solo
from lrsweep.training.models import build_model

_TOLERANCE = 0.01  # relative, between the losses of the two engines

# Parts of PyTorch's messages, and what they mean for the network.
_MEANINGS = {
    "randomness error mode": "it draws random numbers, and not only for dropout",
    ".item()": "what it does depends on the values of tensors",
    "data-dependent control flow": "what it does depends on the values of tensors",
    "to not have been used in the graph": "some of its parameters have no effect; freeze them (requires_grad=False)",
}
_tried: dict[str, str | None] = {}


def reason_not_fusable(run: RunConfig) -> str | None:
    """Why this run cannot be fused, or None if it can. Uses no GPU."""
    if run.schedule.name == "grow_batch":
        return "schedule=grow_batch cannot be fused"
    if run.training.precision != "fp32":
        return f"training.precision={run.training.precision} cannot be fused"
    if run.model.target is None:
        return None
    num_images = min(run.last_batch, 2)  # batch norm may fail on a batch of one image
    model = replace(run.model, init_from=None)
    key = repr((model, run.data.shape, run.data.num_classes, num_images))
    if key not in _tried:
        data = replace(run.data, num_train=num_images, num_valid=2, num_test=2, skip=0, classes=None, max_shift=0, max_rotation=0)
        training = TrainingConfig(batch_size=num_images, max_epochs=1)
        _tried[key] = _problem(RunConfig(data=data, model=model, optimizer=OptimizerConfig(name="sgd"), training=training))
    problem = _tried[key]
    return problem and f"model={run.model.name} cannot be fused: {problem}"


def _problem(run: RunConfig) -> str | None:
    """Why the network of this run does not train in the fused engine as in solo."""
    random = torch.Generator().manual_seed(0)
    num_train, num_test = run.data.num_train + run.data.num_valid, run.data.num_test
    data_set = DataSet(
        torch.rand(num_train, *run.data.shape, generator=random),
        torch.arange(num_train) % run.data.num_classes,
        torch.rand(num_test, *run.data.shape, generator=random),
        torch.arange(num_test) % run.data.num_classes,
        run.data.num_classes,
    )
    runs = [replace(run, seed=seed) for seed in (0, 1)]
    outcomes: dict[int, Outcome] = {}
    try:
        model = build_model(run.model, torch.Generator(), torch.device("cpu"), run.data)
        if any(parameter.dtype != torch.float32 for parameter in model.parameters() if parameter.requires_grad):
            return "its parameters must be float32"
        scheduler.train(runs, data_set, num_slots=2, epoch_seconds=EpochSeconds(0.0, 0.0), on_outcome=outcomes.__setitem__)
        expected = [solo.train(run, split(data_set, run.data, run.seed)) for run in runs]
    except Exception as error:  # own code can raise anything
        text = str(error)
        short = f"{type(error).__name__}: {text.strip().partition(chr(10))[0][:200]}"
        return next((meaning for part, meaning in _MEANINGS.items() if part in text), short)
    if all(_is_close(outcomes[i], outcome) for i, outcome in enumerate(expected)):
        return None
    return "its losses are not those of solo runs; its output must depend on its parameters, buffers and input only"


def _is_close(outcome: Outcome, expected: Outcome) -> bool:
    def losses(outcome: Outcome) -> list[float | None]:
        return [outcome.last_finite_loss, outcome.test_loss, *(epoch.valid_loss for epoch in outcome.curve)]

    return outcome.status == expected.status and all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=_TOLERANCE))
        for a, b in zip(losses(outcome), losses(expected), strict=True)
    )
