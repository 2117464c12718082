"""While a sweep runs, its report is rebuilt now and then, without slowing or outliving the sweep."""

import dataclasses
import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from at_work import until

from hydra_plugins.lrsweep_launchers import _refresh
from hydra_plugins.lrsweep_launchers._core import Job
from hydra_plugins.lrsweep_launchers._refresh import Refresh
from lrsweep.config import AppConfig, MachineConfig, StudyConfig
from lrsweep.records import RunRecord
from lrsweep.report.page.render import Progress, render_page


class Builds:
    """Stands in for the processes that build reports. The clock starts at 100."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.now = 100.0
        self.is_over = True
        monkeypatch.setattr(_refresh, "monotonic", lambda: self.now)
        monkeypatch.setattr(_refresh, "time", lambda: self.now)
        monkeypatch.setattr(_refresh.subprocess, "Popen", self._start)

    def _start(self, command: list[str], **_: Any) -> SimpleNamespace:
        self.commands.append(command)
        return SimpleNamespace(poll=lambda: 0 if self.is_over else None)

    def numbers_at(self, refresh: Refresh, app: AppConfig, *seconds: int) -> list[int]:
        """The number of builds so far, after a run ended at each of these times."""
        numbers = []
        for each in seconds:
            self.now = 100.0 + each
            refresh.after_a_run(app)
            numbers.append(len(self.commands))
        return numbers


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(monkeypatch)


def app_in(folder: Path) -> AppConfig:
    return AppConfig(study=StudyConfig(name="lr"), machine=MachineConfig(results_dir=str(folder)))


def test_the_report_is_refreshed_after_runs_but_at_most_every_so_often(builds: Builds, tmp_path: Path) -> None:
    refresh = Refresh(60, _last=100.0)
    assert builds.numbers_at(refresh, app_in(tmp_path), 0, 59, 60, 61, 120) == [0, 0, 1, 1, 2]
    (first, *_) = builds.commands
    assert first[0] == "nice"
    assert first[-3:] == ["study=lr", f"machine.results_dir={tmp_path}", "reload_seconds=60"]


def test_a_build_that_takes_long_is_repeated_less_often(builds: Builds, tmp_path: Path) -> None:
    page = tmp_path / "lr" / "report.html"
    page.parent.mkdir()
    refresh = Refresh(60, _last=100.0)
    assert builds.numbers_at(refresh, app_in(tmp_path), 60) == [1]
    page.touch()
    os.utime(page, (190.0, 190.0))  # 30 s after its build began
    assert builds.numbers_at(refresh, app_in(tmp_path), 120, 209, 210) == [1, 1, 2]


def test_there_is_one_build_at_a_time_and_none_with_0_seconds(builds: Builds, tmp_path: Path) -> None:
    builds.is_over = False
    assert builds.numbers_at(Refresh(60, _last=100.0), app_in(tmp_path), 60, 600, 6000) == [1, 1, 1]
    assert builds.numbers_at(Refresh(0, _last=100.0), app_in(tmp_path), 6000) == [1]


def test_every_recorded_run_may_start_a_build(builds: Builds, tmp_path: Path, make_record: Any) -> None:
    record: RunRecord = make_record()
    app = app_in(tmp_path)
    Job(app, refresh=Refresh(60, _last=0.0)).recorded(record)
    assert len(builds.commands) == 1


def test_a_stopped_sweep_says_so_on_its_pages(builds: Builds, tmp_path: Path) -> None:
    pages = [tmp_path / "lr" / name for name in ("report.html", "report.ko.html")]
    pages[0].parent.mkdir()
    refresh = Refresh(60, _last=0.0)
    refresh.after_a_run(app_in(tmp_path))
    builds.now = 200.0
    refresh.after_a_run(dataclasses.replace(app_in(tmp_path), study=StudyConfig(name="another")))  # of the same sweep
    progress = Progress(2, 18, datetime(2026, 1, 2, tzinfo=UTC), 60)
    for page in pages:
        page.write_text(render_page("lr", "# lr\n", tmp_path, None, progress=progress), encoding="utf-8")
    refresh.stop()
    for page in pages:
        assert 'class="progress" data-state="stopped"' in page.read_text(encoding="utf-8")
        page.write_text(render_page("lr", "# lr\n", tmp_path, None), encoding="utf-8")
    before = [page.read_bytes() for page in pages]
    refresh.stop()
    assert [page.read_bytes() for page in pages] == before


def test_the_reports_of_a_sweep_use_its_delta(builds: Builds, tmp_path: Path) -> None:
    app = app_in(tmp_path)
    assert "delta" not in " ".join(_refresh.report_command(app))
    study = dataclasses.replace(app.study, delta=0.004)
    assert "delta=0.004" in _refresh.report_command(dataclasses.replace(app, study=study))


def test_a_refresh_that_is_stopped_leaves_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A report may start a second process. The test replaces it by a program that does."""
    reader, writer = os.pipe()  # the pipe ends when no process holds its writer
    forks = f"import os, time; os.fork(); os.write({writer}, b'.'); time.sleep(60); os.write({writer}, b'!')"
    monkeypatch.setattr(_refresh, "report_command", lambda app: [sys.executable, "-c", forks])
    monkeypatch.setattr(_refresh.subprocess, "Popen", partial(subprocess.Popen, pass_fds=[writer]))
    refresh = Refresh(60, _last=-math.inf)
    refresh.after_a_run(app_in(tmp_path))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read(2) == b".."
        refresh.stop()
        assert pipe.read() == b""


def test_a_build_gives_way_to_the_runs_and_ends_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux shares the CPU equally among sessions, whatever their niceness. So the build must be in the session of the runs."""
    monkeypatch.setattr(_refresh, "report_command", lambda app: [sys.executable, "-c", "while True: pass"])
    refresh = Refresh(1, _last=-1e9)
    refresh.after_a_run(app_in(tmp_path))
    process = refresh._process
    assert process is not None
    try:
        until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 12))
        assert os.getsid(process.pid) == os.getsid(0)
    finally:
        refresh.stop()
    assert process.poll() is not None
