"""The fault table: each test here causes a fault, compares the results with an undisturbed sweep, and fills one row.

`make reliability` writes the table to docs/reliability.md.
"""

import os
import platform
from pathlib import Path

import pytest
from small_sweep import FUSED, LONG, RecordLoss, sweep_in_process

_HEAD = """# What can go wrong, and what it costs

The tests in `tests/faults/` cause every fault below for real, in sweeps of a few small runs: they kill processes, fill disks and
damage files. If the fault stopped the sweep, they give the same command again. Then they compare every run with a sweep that was
not disturbed. A run is *lost* if its record is missing, or if a single bit of it differs, apart from its times.

Written by `make reliability` on {machine}.

| fault | what should happen | times tried | runs lost |
|---|---|---|---|
"""
_rows: dict[tuple[str, str], list[int]] = {}  # runs lost in each try


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write the fault table to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, expected): a row of the fault table that the test fills")
    if config.getoption("--reliability", None) and config.getoption("numprocesses", None):
        raise pytest.UsageError("--reliability counts in one process: leave out --numprocesses")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in reversed(list(item.iter_markers("fault"))):  # the nearest to the test comes first
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
def record_loss(request: pytest.FixtureRequest) -> RecordLoss:
    """`record_loss(3)`, `record_loss(0, num_tries=2)`: fill the test's rows of the table. Any lost run fails the test too."""

    def record(num_lost: int, *, num_tries: int = 1) -> None:
        for marker in request.node.iter_markers("fault"):
            _rows[marker.args] += [num_lost] + [0] * (num_tries - 1)
        assert num_lost == 0

    return record


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the small sweep when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = sweep_in_process(folder)
    assert code == 0, err
    return folder / "results"


@pytest.fixture(scope="session")
def long_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the long sweep."""
    folder = tmp_path_factory.mktemp("long")
    code, _, err = sweep_in_process(folder, LONG)
    assert code == 0, err
    return folder / "results"


@pytest.fixture(scope="session")
def undisturbed_fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep in a fused program, which sums in another order than the pool, so that the bits differ."""
    folder = tmp_path_factory.mktemp("fused")
    code, _, err = sweep_in_process(folder, launcher=FUSED)
    assert code == 0, err
    return folder / "results"
