"""lrsweep.training.clock on a time that the test turns by hand."""

import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from lrsweep.training.clock import Clock

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The present, which stands still unless it is moved."""
    now = SimpleNamespace(wall=100.0, cpu=7.0)
    monkeypatch.setattr(time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(time, "process_time", lambda: now.cpu)
    return now


def test_it_starts_at_zero(now: SimpleNamespace) -> None:
    clock = Clock(CPU)
    now.wall += 5
    assert (clock.wall_seconds, clock.cpu_seconds) == (0, 0)


def test_only_time_inside_the_block_counts(now: SimpleNamespace) -> None:
    clock = Clock(CPU)
    now.wall, now.cpu = now.wall + 1000, now.cpu + 100
    with clock:
        now.wall, now.cpu = now.wall + 2, now.cpu + 1.5
    now.wall, now.cpu = now.wall + 1000, now.cpu + 100
    assert (clock.wall_seconds, clock.cpu_seconds) == (2, 1.5)


def test_blocks_add_up(now: SimpleNamespace) -> None:
    clock = Clock(CPU)
    for seconds in (1, 2, 4):
        now.wall += 64
        with clock:
            now.wall, now.cpu = now.wall + seconds, now.cpu + seconds / 2
    assert (clock.wall_seconds, clock.cpu_seconds) == (7, 3.5)


def test_a_block_that_is_left_early_counts_as_far_as_it_came(now: SimpleNamespace) -> None:
    clock = Clock(CPU)
    with suppress(KeyboardInterrupt), clock:
        now.wall += 4
        raise KeyboardInterrupt
    assert clock.wall_seconds == 4


def test_a_gpus_work_is_awaited_before_each_reading(monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace) -> None:
    def synchronize(device: torch.device) -> None:
        assert device == GPU
        now.wall += 10  # work queued before; the reading comes after it

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    clock = Clock(GPU)
    with clock:
        now.wall += 1
    assert clock.wall_seconds == 11


def test_a_cpu_waits_for_no_gpu(monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: pytest.fail(f"{device} was waited for"))
    with Clock(CPU) as clock:
        now.wall += 1
    assert clock.wall_seconds == 1
