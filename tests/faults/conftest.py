"""The fault table: a test here tries a fault, compares what is left with a sweep that nothing disturbed, and has a row.

`make reliability` writes the rows to docs/reliability.md.
"""

import os
import platform
from pathlib import Path

import pytest
from small_sweep import LONG, Tried, sweep

_HEAD = """# What goes wrong, and what is lost

Every row is a fault that tests really make (`tests/faults/`): processes killed, disks full, files torn, in sweeps of a few small
runs. *Lost* are the runs that are missing, or differ in a single bit but for their times, from those of a sweep that nothing
disturbed: after the fault, where it is none of theirs, or when the same command has been given again.

Written by `make reliability` on {machine}.

| fault | what is expected | times tried | results lost |
|---|---|---|---|
"""
_rows: dict[tuple[str, str], list[int]] = {}  # what is lost, one for each time


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write the fault table there")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, expected): the test's row in the fault table")
    if config.getoption("--reliability", None) and config.getoption("numprocesses", None):
        raise pytest.UsageError("--reliability counts in one process: leave out --numprocesses")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker in filter(None, (item.get_closest_marker("fault") for item in items)):
        _rows.setdefault(marker.args, [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--reliability", None)
    if path:
        machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        path.write_text(_HEAD.format(machine=machine) + "".join(map(_line, _rows)), encoding="utf-8")


def _line(row: tuple[str, str]) -> str:
    lost = _rows[row]
    return f"| {' | '.join(row)} | {len(lost)} | {sum(lost) if lost else 'not measured'} |\n"


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """`tried(lost=…, times=…)`: the test's numbers for the table. What is lost fails the test as well."""

    def tell(*, lost: int, times: int = 1) -> None:
        _rows[request.node.get_closest_marker("fault").args] += [lost] + [0] * (times - 1)
        assert lost == 0

    return tell


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the small sweep where nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = sweep(folder)
    assert code == 0, err
    return folder / "results"


@pytest.fixture(scope="session")
def long_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise of the long one."""
    folder = tmp_path_factory.mktemp("long")
    code, _, err = sweep(folder, LONG)
    assert code == 0, err
    return folder / "results"
