"""A sweep with nothing to run rebuilds the report only if something that it is made from is newer."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hydra_plugins.lrsweep_launchers import _core
from hydra_plugins.lrsweep_launchers._core import Job
from lrsweep.config import AppConfig, MachineConfig, StudyConfig
from lrsweep.records import RunRecord
from lrsweep.storage import store

HOUR = 3600 * 10**9


@pytest.mark.parametrize("age", [HOUR, -HOUR], ids=["record from the past", "record from the future"])
def test_the_report_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., RunRecord], age: int
) -> None:
    app = AppConfig(study=StudyConfig(name="lr"), machine=MachineConfig(results_dir=str(tmp_path)))
    record = make_record()
    path = store.save(app.folder, record)
    written = time.time_ns() - age
    os.utime(path, ns=(written, written))
    builds = tmp_path / "builds"
    command = f"echo >> {builds}; touch {app.folder}/report.md; echo > {app.folder}/report.html"
    monkeypatch.setattr(_core, "report_command", lambda app: ["sh", "-c", command])
    job = Job(app)
    for _ in range(3):
        assert _core._report(job, has_run=False)
    assert builds.read_text() == "\n"
    (app.folder / "report.html").write_text('<p class="progress">')  # of a sweep that was killed while it ran
    os.utime(app.folder / "report.html", ns=(time.time_ns() + HOUR,) * 2)
    assert _core._report(job, has_run=False)
    assert builds.read_text() == "\n\n"
    later = time.time_ns() + 2 * HOUR
    os.utime(path, ns=(later, later))
    assert _core._report(job, has_run=False)
    assert builds.read_text() == "\n\n\n"


@pytest.mark.parametrize("changed", ["study.delta", "finder.json", "confirm/runs/a.json", "budget/expected.json"])
def test_the_report_is_built_again_if_anything_that_it_shows_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., RunRecord], changed: str
) -> None:
    app = AppConfig(study=StudyConfig(name="lr"), machine=MachineConfig(results_dir=str(tmp_path)))
    path = store.save(app.folder, make_record())
    store.expect(app.folder, [path.stem])
    builds = tmp_path / "builds"
    command = f"echo >> {builds}; touch {app.folder}/report.md {app.folder}/report.html"
    monkeypatch.setattr(_core, "report_command", lambda app: ["sh", "-c", command])
    for delta in (None, 0.01) if changed == "study.delta" else (None, None):
        for _ in range(2):
            store.expect(app.folder, [path.stem], delta)  # as each sweep does
            assert _core._report(Job(app), has_run=False)
        file = app.folder / changed
        if changed != "study.delta" and not file.exists():
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text("{}")
    assert builds.read_text() == "\n\n"
