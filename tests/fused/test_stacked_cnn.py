"""lrsweep.fused.stacked_cnn: each run of the stack against the module that solo trains.

Shapes: K runs, B batch, H × W pixels, C classes, I channels, P floats of a run's row.
"""

import pytest
import torch
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.fused import stacked_cnn
from lrsweep.fused.stacked_cnn import (
    Weights,
    _Columns,
    forward_cnn,
    losses_of,
    num_correct,
    penalties_of,
    reason_not_fusable,
    row_layout,
    views,
)
from lrsweep.training.losses import loss_of, penalised, penalty
from lrsweep.training.models import build_model

LOSSES = ["cross_entropy", "double_softmax"]
DOCUMENTS = ModelConfig()
NUM_RUNS = 3
BATCH_SIZES = [32, 24]  # a full batch, and the short last one of the documents' 3,000 images


def models_of(dtype: torch.dtype, config: ModelConfig = DOCUMENTS) -> list[nn.Module]:
    built = (build_model(config, torch.Generator().manual_seed(k), torch.device("cpu")) for k in range(NUM_RUNS))
    return [model.to(dtype) for model in built]


def stack(models: list[nn.Module]) -> tuple[Weights, Tensor]:
    layout = row_layout(models[0])
    rows_KP = torch.zeros(len(models), layout.num_floats, dtype=next(models[0].parameters()).dtype)
    for k, model in enumerate(models):
        for name, part in views(rows_KP, layout).items():
            part[k].copy_(model.get_parameter(name).detach())
    return {name: part.detach().requires_grad_() for name, part in views(rows_KP, layout).items()}, rows_KP


def batch_of(size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(7)
    images_KBHW = torch.rand(NUM_RUNS, size, 28, 28, generator=random, dtype=dtype) * 2 - 1
    return images_KBHW, torch.randint(0, 10, (NUM_RUNS, size), generator=random)


def gradients(weights: Weights, images_KBHW: Tensor, labels_KB: Tensor, loss: str) -> tuple[Tensor, dict[str, Tensor]]:
    loss_K = losses_of(LossConfig(name=loss), forward_cnn(DOCUMENTS, weights, images_KBHW), labels_KB)
    grads = torch.autograd.grad(loss_K.sum(), list(weights.values()))
    return loss_K.detach(), dict(zip(weights, grads, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", BATCH_SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
def test_losses_and_gradients_are_the_modules(dtype: torch.dtype, tolerance: float, size: int, loss: str) -> None:
    models = models_of(dtype)
    images_KBHW, labels_KB = batch_of(size, dtype)
    loss_K, grads = gradients(stack(models)[0], images_KBHW, labels_KB, loss)
    for k, model in enumerate(models):
        expected = loss_of(LossConfig(name=loss), model(images_KBHW[k].unsqueeze(1)), labels_KB[k])
        expected.backward()
        torch.testing.assert_close(loss_K[k], expected.detach(), rtol=tolerance, atol=0)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            error = (grads[name][k] - parameter.grad).norm() / parameter.grad.norm()
            assert error < tolerance, name


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "leaky_relu", "elu"])
@pytest.mark.parametrize("penalties", [{}, {"l1": 1e-3}, {"l2": 1e-2}, {"l1": 1e-3, "l2": 1e-2}], ids=str)
def test_every_activation_and_penalty_is_the_modules(activation: str, penalties: dict[str, float]) -> None:
    config, loss = ModelConfig(activation=activation), LossConfig(**penalties)
    models = models_of(torch.float64, config)
    images_KBHW, labels_KB = batch_of(8, torch.float64)
    weights, _ = stack(models)
    logits_KBC = forward_cnn(config, weights, images_KBHW)
    loss_K = losses_of(loss, logits_KBC, labels_KB) + penalties_of(loss, weights)
    grads = dict(zip(weights, torch.autograd.grad(loss_K.sum(), list(weights.values())), strict=True))
    for k, model in enumerate(models):
        logits_BC = model(images_KBHW[k].unsqueeze(1))
        torch.testing.assert_close(logits_KBC[k], logits_BC, rtol=1e-10, atol=1e-10)
        expected = loss_of(loss, logits_BC, labels_KB[k]) + penalty(loss, penalised(model))
        torch.testing.assert_close(loss_K[k], expected, rtol=1e-10, atol=0)
        expected.backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(grads[name][k], parameter.grad, rtol=1e-10, atol=1e-10, msg=name)


def test_what_has_no_stacked_form_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason_not_fusable(ModelConfig(activation="elu", init="he")) is None
    assert reason_not_fusable(ModelConfig(dropout=0.5)) == "model.dropout=0.5 has no stacked form"
    assert reason_not_fusable(ModelConfig(batch_norm=True)) == "model.batch_norm=true has no stacked form"
    monkeypatch.setattr(stacked_cnn, "FORWARD", {})
    assert reason_not_fusable(ModelConfig()) == "model.name=cnn has no stacked form"


def test_right_answers_are_counted_run_by_run() -> None:
    logits_KBC = torch.eye(10).expand(2, 10, 10)  # image b is taken for class b
    labels_KB = torch.stack([torch.arange(10), torch.zeros(10, dtype=torch.int64)])
    assert num_correct(logits_KBC, labels_KB).tolist() == [10, 1]


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_broken_run_leaves_the_others_bits_alone(poison: float) -> None:
    images_KBHW, labels_KB = batch_of(32, torch.float32)
    weights, rows_KP = stack(models_of(torch.float32))
    loss_K, grads = gradients(weights, images_KBHW, labels_KB, "cross_entropy")
    rows_KP[1] = poison
    broken_K, broken_grads = gradients(weights, images_KBHW, labels_KB, "cross_entropy")
    others = [0, 2]
    assert not torch.equal(broken_K[1], loss_K[1])
    assert torch.equal(broken_K[others], loss_K[others])
    for name, grad in grads.items():
        assert torch.equal(broken_grads[name][others], grad[others])


def test_columns_are_the_windows_and_their_gradient_is_right() -> None:
    x_KBHWI = torch.rand(2, 2, 5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns_KMJ = _Columns.apply(x_KBHWI)
    assert columns_KMJ.shape == (2, 2 * 3 * 2, 9 * 3)
    assert torch.equal(columns_KMJ[1, 6 + 2 * 2 + 1], x_KBHWI[1, 1, 2:5, 1:4].flatten())  # image 1, row 2, column 1
    assert torch.autograd.gradcheck(_Columns.apply, (x_KBHWI.requires_grad_(),))


def test_tensors_share_the_rows_memory_without_overlap() -> None:
    model = models_of(torch.float32)[0]
    layout = row_layout(model)
    rows_KP = torch.zeros(2, layout.num_floats)
    for part in views(rows_KP, layout).values():
        part += 1
    assert rows_KP.max() == 1
    assert rows_KP.sum() == 2 * sum(parameter.numel() for parameter in model.parameters()) == 2 * 121_994


def test_every_tensor_begins_where_wide_loads_can() -> None:
    layout = row_layout(models_of(torch.float32)[0])
    assert {start % 32 for start, _ in layout.places.values()} == {layout.num_floats % 32} == {0}


def test_a_kernel_lies_in_memory_as_solos_does() -> None:
    model = models_of(torch.float32)[0]
    weights, _ = stack([model])
    for name in ("conv2.weight", "conv3.weight"):
        assert weights[name][0].stride() == model.get_parameter(name).stride()
        assert weights[name][0].is_contiguous(memory_format=torch.channels_last)
