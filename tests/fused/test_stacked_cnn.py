"""Each run of the stacked CNN against the module that solo trains.

Shapes: K runs, B batch, H × W pixels, C classes, I channels, M rows, J columns, P floats per run.
"""

import pytest
import torch
from on_device import DEVICE, FP32_TOLERANCE
from torch import Tensor, nn

from lrsweep.config import LossConfig, ModelConfig
from lrsweep.fused.rows import Weights, row_layout, views, write_rows
from lrsweep.fused.stacked_cnn import _Columns, forward_cnn
from lrsweep.fused.stacked_losses import losses_of, num_correct, penalties_of
from lrsweep.training.losses import loss_of, penalised_weights, penalty
from lrsweep.training.models import build_model

NUM_RUNS = 3
DEFAULT = ModelConfig()


def models_of(dtype: torch.dtype, config: ModelConfig = DEFAULT) -> list[nn.Module]:
    built = (build_model(config, torch.Generator().manual_seed(k), DEVICE) for k in range(NUM_RUNS))
    return [model.to(dtype) for model in built]


def stack(models: list[nn.Module]) -> tuple[Weights, Tensor]:
    layout = row_layout(models[0])
    rows_KP = torch.zeros(len(models), layout.num_floats, dtype=next(models[0].parameters()).dtype, device=DEVICE)
    for k, model in enumerate(models):
        for name, part in views(rows_KP, layout).items():
            part[k].copy_(model.get_parameter(name).detach())
    return {name: part.detach().requires_grad_() for name, part in views(rows_KP, layout).items()}, rows_KP


def batch_of(size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(7)
    images_KBCHW = torch.rand(NUM_RUNS, size, 1, 28, 28, generator=random, dtype=dtype) * 2 - 1
    return images_KBCHW.to(DEVICE), torch.randint(0, 10, (NUM_RUNS, size), generator=random).to(DEVICE)


def losses_and_gradients(
    weights: Weights, images_KBCHW: Tensor, labels_KB: Tensor, loss: LossConfig, config: ModelConfig = DEFAULT
) -> tuple[Tensor, dict[str, Tensor]]:
    loss_K = losses_of(loss, forward_cnn(config, weights, {}, images_KBCHW, [], training=True), labels_KB)
    if loss.l1 or loss.l2:
        loss_K = loss_K + penalties_of(loss, weights)
    grads = torch.autograd.grad(loss_K.sum(), list(weights.values()))
    return loss_K.detach(), dict(zip(weights, grads, strict=True))


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({}, LossConfig()),
        ({}, LossConfig(name="double_softmax")),
        ({"activation": "tanh"}, LossConfig(l1=1e-3)),
        ({"activation": "relu"}, LossConfig(l2=1e-2)),
        ({"activation": "leaky_relu"}, LossConfig(name="double_softmax", l1=1e-3, l2=1e-2)),
        ({"activation": "elu", "conv_activation": "elu"}, LossConfig()),
        ({"activation": "linear", "pool": "mean"}, LossConfig()),
        ({"conv_activation": "linear"}, LossConfig()),
        ({"activation": "linear", "conv_activation": "linear", "pool": "mean"}, LossConfig()),
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, FP32_TOLERANCE)], ids=["fp64", "fp32"])
def test_losses_and_gradients_equal_those_of_the_module(
    dtype: torch.dtype, tolerance: float, fields: dict[str, str], loss: LossConfig
) -> None:
    config = ModelConfig(**fields)
    models = models_of(dtype, config)
    images_KBCHW, labels_KB = batch_of(24, dtype)
    loss_K, grads = losses_and_gradients(stack(models)[0], images_KBCHW, labels_KB, loss, config)
    for k, model in enumerate(models):
        expected = loss_of(loss, model(images_KBCHW[k]), labels_KB[k]) + penalty(loss, penalised_weights(model))
        expected.backward()
        torch.testing.assert_close(loss_K[k], expected.detach(), rtol=tolerance, atol=0)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            error = (grads[name][k] - parameter.grad).norm() / parameter.grad.norm()
            assert error < tolerance, name


def test_correct_answers_are_counted_per_run() -> None:
    logits_KBC = torch.eye(10).expand(2, 10, 10)  # image b is classified as b
    labels_KB = torch.stack([torch.arange(10), torch.zeros(10, dtype=torch.int64)])
    assert num_correct(logits_KBC, labels_KB).tolist() == [10, 1]


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_broken_weights_of_a_run_do_not_change_the_others_by_a_bit(poison: float) -> None:
    images_KBCHW, labels_KB = batch_of(8, torch.float32)
    weights, rows_KP = stack(models_of(torch.float32))
    loss_K, grads = losses_and_gradients(weights, images_KBCHW, labels_KB, LossConfig())
    rows_KP[1] = poison
    broken_K, broken_grads = losses_and_gradients(weights, images_KBCHW, labels_KB, LossConfig())
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


def test_tensors_are_aligned_and_do_not_overlap() -> None:
    model = models_of(torch.float32)[0]
    layout = row_layout(model)
    assert {start % 32 for start, _ in layout.places.values()} == {layout.num_floats % 32} == {0}
    rows_KP = torch.zeros(2, layout.num_floats)
    for part in views(rows_KP, layout).values():
        part += 1
    assert rows_KP.max() == 1
    assert rows_KP.sum() == 2 * sum(parameter.numel() for parameter in model.parameters()) == 2 * 121_994


def test_tensors_are_written_to_where_the_views_show_them() -> None:
    model = models_of(torch.float32)[0]
    layout = row_layout(model)
    expected_KP, rows_KP = torch.zeros(2, layout.num_floats), torch.full((2, layout.num_floats), torch.nan)
    tensors = views(expected_KP, layout)
    for i, tensor in enumerate(tensors.values()):
        tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(i)))
    write_rows(tensors.values(), rows_KP)
    assert torch.equal(rows_KP, expected_KP)  # the gaps are zero


def test_kernels_have_the_same_memory_layout_as_in_solo() -> None:
    model = models_of(torch.float32)[0]
    weights, _ = stack([model])
    for name in ("conv2.weight", "conv3.weight"):
        assert weights[name][0].stride() == model.get_parameter(name).stride()
        assert weights[name][0].is_contiguous(memory_format=torch.channels_last)
