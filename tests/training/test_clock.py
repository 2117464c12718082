"""The clock, with a time that the test sets."""

import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from lrsweep.training.clock import Clock

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The current time. It changes only when the test changes it."""
    now = SimpleNamespace(wall=100.0, cpu=7.0)
    monkeypatch.setattr(time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(time, "process_time", lambda: now.cpu)
    return now


def test_only_time_inside_the_blocks_counts(now: SimpleNamespace) -> None:
    clock = Clock(CPU)
    assert (clock.wall_seconds, clock.cpu_seconds) == (0, 0)
    for seconds in (1, 2, 4):
        now.wall, now.cpu = now.wall + 64, now.cpu + 16
        with clock:
            now.wall, now.cpu = now.wall + seconds, now.cpu + seconds / 2
    assert (clock.wall_seconds, clock.cpu_seconds) == (7, 3.5)


def test_an_interrupted_block_counts_up_to_the_interruption(now: SimpleNamespace) -> None:
    clock = Clock(CPU)
    with suppress(KeyboardInterrupt), clock:
        now.wall += 4
        raise KeyboardInterrupt
    assert clock.wall_seconds == 4


@pytest.mark.parametrize(("device", "seconds"), [(CPU, 1), (GPU, 11)])
def test_a_gpu_is_synchronised_before_each_reading(
    monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace, device: torch.device, seconds: int
) -> None:
    def synchronize(synchronised: torch.device) -> None:
        assert synchronised == GPU
        now.wall += 10  # queued work that finishes before the reading

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with Clock(device) as clock:
        now.wall += 1
    assert clock.wall_seconds == seconds
