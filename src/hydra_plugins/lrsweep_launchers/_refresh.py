"""Rebuild the report while a sweep runs, so that a long sweep can be watched."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

from lrsweep.config import AppConfig
from lrsweep.storage.files import write_atomically

RELOAD_SECONDS = 60  # how often the page of a running sweep reloads itself
_RUNNING, _STOPPED = (b'class="progress" data-state="%s"' % state for state in (b"running", b"stopped"))  # in page.html.j2
_REST = 5  # times as long as the last build, until the next one
_NICENESS = "12"  # beside a run on the same core, a build got 6 % of it (measured); its time still counts as measured


def is_of_running_sweep(page: Path) -> bool:
    """Was this page built while the sweep ran? It lacks the last runs."""
    return page.exists() and b'class="progress"' in page.read_bytes()


def report_command(app: AppConfig) -> list[str]:
    """The command that builds the report in a second process: a report must not import torch, and a sweep no plotting library."""
    arguments = [f"study={app.study.name}", f"machine.results_dir={app.machine.results_dir}"]
    if app.study.delta is not None:
        arguments.append(f"delta={app.study.delta}")
    return [sys.executable, "-m", "lrsweep.cli.report", *arguments]


@dataclass
class Refresh:
    """Builds the report in the background after a run, unless the last build was a short time ago.

    The time between two builds is `least_seconds`, or 5 times as long as the last build took, if that is longer. So large
    studies and busy machines have fewer builds.
    """

    least_seconds: float  # 0: no builds
    _last: float = field(default_factory=monotonic)  # so that a short sweep gets a report only at its end
    _process: subprocess.Popen[bytes] | None = None
    _pages: list[Path] = field(default_factory=list)  # of all builds, the last build's at the end
    _started: float = 0.0

    def after_a_run(self, app: AppConfig) -> None:
        is_busy = self._process is not None and self._process.poll() is None
        if not self.least_seconds or is_busy or monotonic() - self._last < max(self.least_seconds, _REST * self._build_seconds()):
            return
        self._last, self._started = monotonic(), time()
        self._pages.append(app.folder / "report.html")
        command = ["nice", "-n", _NICENESS, *report_command(app), f"reload_seconds={RELOAD_SECONDS}"]
        # Not in a new session: Linux gives each session an equal share of the CPU, and `nice` counts only within a session.
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)

    def stop(self) -> None:
        """End the build, if there is one, and say on the pages that the sweep has stopped. The last report may follow."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # the whole group, because the report may start processes
            self._process.wait()
        pages = [page.with_name(name) for page in set(self._pages) for name in ("report.ko.html", "report.html")]
        for page in filter(is_of_running_sweep, pages):
            write_atomically(page, page.read_bytes().replace(_RUNNING, _STOPPED, 1))

    def _build_seconds(self) -> float:
        """How long the last build took. The page is the last file that it writes."""
        return self._pages[-1].stat().st_mtime - self._started if self._pages and self._pages[-1].exists() else 0.0
