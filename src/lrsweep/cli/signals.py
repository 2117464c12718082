"""Ctrl-C and SIGTERM end a command in order, also while it imports packages. Its processes end with it, however it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MAX_DELAYS = 100  # of a signal, each of 0.05 s: a user's module may never return from its import


class Stopped(Exception):
    """Ctrl-C or SIGTERM stopped the command."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number  # the shell's convention


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into Stopped.

    A signal that arrives during an import takes effect after it: packages swallow about 3 % of the exceptions that are raised
    while they are imported, and turn others into ImportErrors.
    """
    handled = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    received: list[int] = []
    again: list[threading.Timer] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if _imports(frame) and len(again) < MAX_DELAYS:
            again.append(threading.Timer(0.05, os.kill, (os.getpid(), number)))
            again[-1].start()
            return
        for each in handled:
            signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleanup
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    except KeyboardInterrupt:  # raised by stop(), or by Ray
        received.append(signal.SIGINT)
    finally:
        for timer in again:
            timer.cancel()
        for number, handler in before.items():
            if signal.getsignal(number) is stop:  # otherwise a signal has arrived, and the process is about to end
                signal.signal(number, handler)
        if received:
            raise Stopped(received[0])


def end_with_parent() -> None:
    """End this process of multiprocessing as soon as its parent has ended, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _imports(frame: FrameType | None) -> bool:
    """Is an import in progress?"""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
