"""A stopwatch for wall time and CPU time. On a GPU it waits for queued work before it reads the time."""

import time
from types import TracebackType

import torch


class Clock:
    """`with clock: work()` adds the block's time to `wall_seconds` and `cpu_seconds`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.wall_seconds = 0.0
        self.cpu_seconds = 0.0

    def __enter__(self) -> "Clock":
        self._start = self._now()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        wall, cpu = self._now()
        self.wall_seconds += wall - self._start[0]
        self.cpu_seconds += cpu - self._start[1]

    def _now(self) -> tuple[float, float]:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter(), time.process_time()
