"""Worker processes, forked from a server. Each has its own pipe, so that a dead worker does not block the others."""

import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from traceback import format_exc
from typing import Any

import torch

from lrsweep.cli.execution import how_it_ended
from lrsweep.cli.signals import end_with_parent
from lrsweep.storage.files import StoreError

_EXIT_SECONDS = 10  # how long to wait until a process ends after it has closed its pipe

# Workers are forked from a server process that has imported PyTorch, so a worker starts in milliseconds. The server never uses
# CUDA, because CUDA does not survive a fork. Creating the first optimizer imports torch._dynamo. The server imports this
# module in advance; otherwise every worker would wait 1.6 s.
_PRELOAD = ["hydra_plugins.lrsweep_launchers._fused", "torch._dynamo"]
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Failure:
    """Why a worker ended early. It holds texts, because not every error can be pickled."""

    reason: str
    traceback: str = ""
    is_out_of_memory: bool = False  # of the GPU


def failure_of(error: BaseException, traceback: str) -> Failure:
    return Failure(f"{type(error).__name__}: {error}", traceback, isinstance(error, torch.OutOfMemoryError))


class Worker:
    """A process that runs `target(sweep, *arguments)`. If this process ends, the worker ends, too."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        ensure_server()
        self.connection, its_end = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_run, args=(target, its_end, *arguments))
        self._process.start()
        its_end.close()  # the process holds the only other copy, so the pipe ends when the process does

    def send(self, task: Any) -> None:
        with suppress(OSError):  # the process has died; receive() says why
            self.connection.send(task)

    def receive(self) -> Any:
        """Wait for the process's next message. Returns a Failure if it raised an error or died, but raises its StoreError."""
        try:
            news = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_EXIT_SECONDS)
            self.end()
            return Failure(how_it_ended(self._process.exitcode))
        if isinstance(news, StoreError):
            raise news  # the store cannot be written, so no other result could be stored either
        return news

    def end(self) -> None:
        """End the process, and wait until its memory and its GPU are free."""
        self._process.kill()  # not terminate(), which a hanging process may ignore
        self._process.join()
        self.connection.close()


def end_all() -> None:
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


class Sweep:
    """The worker's connection to the sweep: the other end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self.receive = connection.recv
        self._connection = connection

    def send(self, news: Any) -> None:
        with suppress(ConnectionError):  # the sweep has died, and so will this process; do not record the run as failed
            self._connection.send(news)


def _run(target: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    end_with_parent()
    sweep = Sweep(connection)
    try:
        target(sweep, *arguments)
    except StoreError as error:
        sweep.send(error)
    except BaseException as error:  # SystemExit as well
        sweep.send(failure_of(error, format_exc()))


def ensure_server() -> None:
    """Start the server with SIGINT blocked. Workers inherit this, so only the parent handles Ctrl-C."""
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    resource_tracker.ensure_running()  # otherwise the server starts it, and that would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
