"""The split, the pixels and the random streams, checked on the real MNIST."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.config import DataConfig
from lrsweep.config.data import _MNIST_TEST, _MNIST_TRAIN
from lrsweep.data.dataset import DataSet, batch_order, indices_of_test, split, split_indices
from lrsweep.data.seeding import generator

DEFAULT = DataConfig()
SMALL = DataConfig(num_train=40, num_valid=30, num_test=20)
FIVE = DataConfig(num_train=300, num_valid=200, classes=[0, 1, 2, 3, 4])


def test_mnist_is_loaded_as_published(mnist: DataSet) -> None:
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.train_images.dtype == torch.uint8
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert torch.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_test_images_keep_their_order(mnist: DataSet) -> None:
    test = split(mnist, DEFAULT, seed=0).test
    assert len(test) == 10_000
    assert torch.equal(test.labels, mnist.test_labels.long())
    assert torch.equal(test.images, mnist.normalise(mnist.test_images))


@pytest.mark.parametrize(
    "config", [DEFAULT, SMALL, DataConfig(num_train=55_000), DataConfig(num_train=1, num_valid=1), FIVE], ids=str
)
def test_training_and_validation_images_are_disjoint(mnist: DataSet, config: DataConfig) -> None:
    train, valid = (set(indices.tolist()) for indices in split_indices(config, 0, mnist.train_labels))
    assert (len(train), len(valid)) == (config.num_train, config.num_valid)
    assert not train & valid
    assert min(train | valid) >= 0
    assert max(train | valid) < 60_000


def test_the_split_depends_only_on_the_seed(mnist: DataSet) -> None:
    first, again, other = (split_indices(DEFAULT, seed, mnist.train_labels) for seed in (0, 0, 1))
    for i in range(2):
        assert torch.equal(first[i], again[i])
        assert not torch.equal(first[i], other[i])


@given(seed=st.integers(0, 2**31 - 1), skip=st.integers(0, 30_000), sizes=st.tuples(*[st.integers(1, 15_000)] * 2))
def test_skip_leaves_out_the_first_shuffled_images_and_no_others(
    mnist: DataSet, seed: int, skip: int, sizes: tuple[int, int]
) -> None:
    num_train, num_valid = sizes
    labels = mnist.train_labels
    train, valid = split_indices(DataConfig(num_train=num_train, num_valid=num_valid, skip=skip), seed, labels)
    assert (len(train), len(valid)) == sizes
    skipped, rest = split_indices(DataConfig(num_train=max(skip, 1), num_valid=num_train + num_valid), seed, labels)
    if skip:
        assert torch.equal(torch.cat([train, valid]), rest)
        assert not set(skipped.tolist()) & set(rest.tolist())


def test_every_part_has_only_the_chosen_classes_with_their_own_labels(mnist: DataSet) -> None:
    parts = split(mnist, FIVE, seed=0)
    assert [len(part) for part in (parts.train, parts.valid, parts.test)] == [300, 200, 5_139]
    for part in (parts.train, parts.valid, parts.test):
        assert part.labels.unique().tolist() == [0, 1, 2, 3, 4]
    assert parts.class_counts["test"] == [980, 1135, 1032, 1010, 982, 0, 0, 0, 0, 0]
    is_chosen = mnist.test_labels < 5
    assert torch.equal(parts.test.images, mnist.normalise(mnist.test_images[is_chosen]))
    assert torch.equal(parts.test.labels, mnist.test_labels[is_chosen].long())


def test_choosing_all_ten_classes_gives_the_default_split(mnist: DataSet) -> None:
    everything = DataConfig(classes=list(range(10)))
    chosen, plain = (torch.cat(split_indices(config, 1, mnist.train_labels)) for config in (everything, DEFAULT))
    assert torch.equal(chosen, plain)
    assert torch.equal(indices_of_test(everything, mnist.test_labels), torch.arange(10_000))


def test_classes_come_in_the_shuffled_order_after_the_skipped_images(mnist: DataSet) -> None:
    """So weights pretrained on some classes with skip=8000 have not seen the images of the default split."""
    labels = mnist.train_labels
    rest = torch.cat(split_indices(DataConfig(num_train=8_000, num_valid=52_000), 2, labels))[8_000:]
    config = DataConfig(num_train=1_000, num_valid=500, skip=8_000, classes=[3, 8])
    expected = rest[(labels[rest] == 3) | (labels[rest] == 8)][:1_500]
    assert torch.equal(torch.cat(split_indices(config, 2, labels)), expected)


def test_the_limits_on_numbers_of_images_are_those_of_mnist(mnist: DataSet) -> None:
    for labels, num_of_class in ((mnist.train_labels, _MNIST_TRAIN), (mnist.test_labels, _MNIST_TEST)):
        assert tuple(torch.bincount(labels).tolist()) == num_of_class


def test_images_keep_their_labels(mnist: DataSet) -> None:
    parts = split(mnist, SMALL, seed=3)
    for part, indices in zip((parts.train, parts.valid), split_indices(SMALL, 3, mnist.train_labels), strict=True):
        for i, index in enumerate(indices.tolist()):
            pixels = ((part.images[i, 0] + 1) * 127.5).round().to(torch.uint8)
            assert torch.equal(pixels, mnist.train_images[index, 0])
            assert part.labels[i] == mnist.train_labels[index]


def test_class_counts_equal_numpys(mnist: DataSet) -> None:
    counts = split(mnist, DEFAULT, seed=0).class_counts
    train, valid = (indices.numpy() for indices in split_indices(DEFAULT, 0, mnist.train_labels))
    labels = mnist.train_labels.numpy()
    assert counts == {
        "train": np.bincount(labels[train], minlength=10).tolist(),
        "valid": np.bincount(labels[valid], minlength=10).tolist(),
        "test": np.bincount(mnist.test_labels.numpy(), minlength=10).tolist(),
    }
    one_image = split(mnist, DataConfig(num_train=1, num_valid=1, num_test=1), seed=0).class_counts
    assert one_image["test"] == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_normalise_equals_torchvisions_totensor_and_normalize(mnist: DataSet) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].reshape(1, 1, 28, 28)
    kept = images.clone()
    normalised = mnist.normalise(images)
    assert normalised.shape == (1, 1, 28, 28)
    assert normalised.dtype == torch.float32
    assert (normalised.min(), normalised.max()) == (-1, 1)
    expected = (images.numpy().astype(np.float64) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(normalised.numpy(), expected, rtol=0, atol=2e-7)
    assert torch.equal(images, kept)


@pytest.mark.parametrize(
    ("num_images", "batch_size", "num_batches", "last"),
    [(3_000, 32, 94, 24), (64, 32, 2, 32), (33, 32, 2, 1), (5, 32, 1, 5), (3, 1, 3, 1)],
)
def test_an_epoch_has_every_image_once_and_keeps_the_short_batch(
    num_images: int, batch_size: int, num_batches: int, last: int
) -> None:
    batches = batch_order(num_images, batch_size, generator(0, "order"))
    assert [len(batch) for batch in batches] == [batch_size] * (num_batches - 1) + [last]
    assert sorted(torch.cat(batches).tolist()) == list(range(num_images))


def test_each_epoch_has_another_order() -> None:
    order = generator(0, "order")
    first, second = (torch.cat(batch_order(3_000, 32, order)) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat(batch_order(3_000, 32, generator(0, "order"))))


def test_every_seed_and_purpose_has_another_stream() -> None:
    names = [(seed, purpose) for seed in (0, 1, 2, 2**31 - 1) for purpose in ("split", "weights", "order")]
    draws = {tuple(torch.rand(4, generator=generator(*name)).tolist()) for name in names}
    assert len(draws) == len(names)


def test_draws_from_one_stream_shift_no_other() -> None:
    torch_state = torch.get_rng_state()
    alone = torch.rand(8, generator=generator(0, "weights"))
    split_stream, weights_stream = generator(0, "split"), generator(0, "weights")
    torch.rand(1_000, generator=split_stream)
    assert torch.equal(torch.rand(8, generator=weights_stream), alone)
    assert torch.equal(torch.get_rng_state(), torch_state)
