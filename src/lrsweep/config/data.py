"""Settings of the images."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Self

from lrsweep.config.targets import require_target
from lrsweep.config.validation import ConfigError, convert_floats, default_of, require, require_path

# Images of each digit.
_MNIST_TRAIN = (5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949)
_MNIST_TEST = (980, 1_135, 1_032, 1_010, 982, 892, 958, 1_028, 974, 1_009)
_VALID_SHARE = 0.2  # of the training images, if no number of them is set


@dataclass(kw_only=True)
class DataConfig:
    """Which images to use. Without `target`, they are MNIST's, and the settings from `name` on must keep their defaults."""

    num_train: int = 3_000
    """Training images, drawn from those of the data set. 0 means all that are left, but is not allowed for MNIST."""

    num_valid: int = 5_000
    """Validation images, drawn from the other training images of the data set. 0 means a fifth of them, but is not
    allowed for MNIST."""

    num_test: int = sum(_MNIST_TEST)
    """Test images. Use fewer only for a quick try. With `classes`, the default is all test images of these classes.
    0 means all test images, but is not allowed for MNIST."""

    skip: int = 0
    """Leave out this many images at the start of the seed's shuffled order. 8,000 are all images of the default split."""

    max_shift: float = 0.0
    """Largest random shift of a training image, in pixels in each direction. Each epoch draws a new one."""

    max_rotation: float = 0.0
    """Largest random rotation of a training image, in degrees in each direction. Each epoch draws a new one."""

    classes: list[int] | None = None
    """Use only images of these classes to train, validate and test. The network keeps all its outputs. None: all classes."""

    name: str = "mnist"
    """What reports call the data set."""

    target: str | None = None
    """The function that returns the images, as module:function. It is looked for in the current folder and among the installed
    packages, and its code runs. None: MNIST."""

    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the function."""

    path: str | None = None
    """A file with images, for a function with an argument `path`. The run_id depends on the images, and not on where they are."""

    shape: list[int] = field(default_factory=lambda: [1, 28, 28])
    """Channels, height and width of an image. Filled in from the data."""

    num_classes: int = 10
    """Filled in from the data."""

    content: str | None = None
    """SHA-256 of all images and labels. Filled in from the data; if it is set, other data are refused."""

    def __post_init__(self) -> None:
        convert_floats("data", self)
        require_path("data.path", self.path)
        require(self.skip >= 0, "data.skip", "at least 0", self.skip)
        require(0 <= self.max_rotation <= 180, "data.max_rotation", "from 0 to 180", self.max_rotation)
        if not self.is_open:
            self._sort_classes()
        if self.target is None:
            self._refuse_settings_of_others()
            self._set_sizes(_MNIST_TRAIN, _MNIST_TEST)
        else:
            require_target("data.target", self.target)
            for name in ("num_train", "num_valid", "num_test"):
                require(getattr(self, name) >= 0, f"data.{name}", "at least 0", getattr(self, name))
        self._check_shift()

    @property
    def is_open(self) -> bool:
        """Is something not known yet, because the images have not been read?"""
        return self.target is not None and (self.content is None or 0 in (self.num_train, self.num_valid, self.num_test))

    def filled_in(self, shape: Sequence[int], train_counts: Sequence[int], test_counts: Sequence[int], content: str) -> Self:
        """The settings for these images, with their sizes. The counts are the numbers of images per class."""
        if self.content not in (None, content):
            raise ConfigError(f"data.content={self.content} does not match the data of {self.target}, whose hash is {content}")
        config = copy(self)
        config.shape, config.num_classes, config.content = list(shape), len(train_counts), content
        config._sort_classes()
        config._set_sizes(train_counts, test_counts)
        config.__post_init__()
        return config

    def _refuse_settings_of_others(self) -> None:
        if self.name != "mnist":
            raise ConfigError(f"data.name={self.name} is not a data set; choose data=… or, for your own, data.target=…")
        for setting in fields(self):
            is_of_others = setting.name in ("args", "path", "shape", "num_classes", "content")
            if is_of_others and getattr(self, setting.name) != default_of(setting):
                raise ConfigError(f"data.{setting.name} needs data=arrays or data.target=module:function")

    def _sort_classes(self) -> None:
        """In ascending order, so that the same classes give the same run_id."""
        if self.classes is not None:
            is_list = isinstance(self.classes, list) and all(isinstance(number, int) for number in self.classes)
            is_valid = is_list and len(set(self.classes)) == len(self.classes) >= 2
            is_valid = is_valid and set(self.classes) <= set(range(self.num_classes))
            require(is_valid, "data.classes", f"at least two different classes from 0 to {self.num_classes - 1}", self.classes)
            self.classes = sorted(self.classes)

    def _set_sizes(self, train_counts: Sequence[int], test_counts: Sequence[int]) -> None:
        """Replace sizes of 0 by what there is, and check all sizes."""
        num_train, num_test = (
            sum(counts if self.classes is None else (counts[i] for i in self.classes)) for counts in (train_counts, test_counts)
        )
        of_classes = "" if self.classes is None else " (all images of data.classes)"
        if self.num_test in (sum(test_counts), 0 if self.target else None):
            self.num_test = num_test  # so that the record of the run shows it
        if self.target:
            self.num_valid = self.num_valid or int(_VALID_SHARE * max(num_train - self.skip - self.num_train, 0))
            self.num_train = self.num_train or max(num_train - self.skip - self.num_valid, 0)
        # Strict, because in the worst case all images that `skip` leaves out are of these classes.
        total = self.skip + self.num_train + self.num_valid
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        require(total <= num_train, "data.skip + data.num_train + data.num_valid", f"at most {num_train}{of_classes}", total)
        require(1 <= self.num_test <= num_test, "data.num_test", f"from 1 to {num_test}{of_classes}", self.num_test)

    def _check_shift(self) -> None:
        largest = max(self.shape[1:]) / 2
        require(0 <= self.max_shift <= largest or self.is_open, "data.max_shift", f"from 0 to {largest:g}", self.max_shift)
