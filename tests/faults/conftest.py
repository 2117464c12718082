"""The fault table: each test here causes a fault, compares the results with an undisturbed sweep, and fills one row.

`make reliability` writes the table to docs/reliability.md.
"""

import os
import platform
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from small_sweep import FUSED, LONG, Explore, RecordLoss, undisturbed_results

_HEAD = """# What can go wrong, and what it costs

The tests in `tests/faults/` cause every fault below for real, in sweeps of a few small runs: they kill processes, fill disks and
damage files. If the fault stopped the sweep, they give the same command again. Then they compare every run with a sweep that was
not disturbed. A run is *lost* if its record is missing, or if a single bit of it differs, apart from its times; –: the test
trains no runs.

Written by `make reliability` on {machine}.

| fault | what should happen | times tried | runs lost |
|---|---|---|---|
"""
_tried: list[
    tuple[str, int, str, str, list[int | None]]
] = []  # for each test: file, line, its row of the table, runs lost in each try


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write the fault table to this file")
    parser.addoption("--fuzz-minutes", type=float, help="try new examples for about this long in total, instead of the same few")
    parser.addoption(
        "--fuzz-seed", type=int, default=secrets.randbits(32), help="repeat the examples of an earlier --fuzz-minutes"
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    if config.getoption("--fuzz-minutes", None) is None:
        return None
    return f"fuzz: make fuzz MINUTES={config.getoption('--fuzz-minutes'):g} SEED={config.getoption('--fuzz-seed')} repeats this"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, expected): a row of the fault table that the test fills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # a test's properties are part of its report, which pytest-xdist sends to its main process
        item.user_properties += [("fault", (*marker.args, [])) for marker in reversed(list(item.iter_markers("fault")))]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        file, line, _ = report.location
        _tried.extend((file, line or 0, *row) for name, row in report.user_properties if name == "fault")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--reliability", None)
    if path:
        rows: dict[tuple[str, str], list[int | None]] = {}
        for _, _, what, expected, lost in sorted(_tried, key=lambda test: test[:2]):
            rows.setdefault((what, expected), []).extend(lost)
        machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        path.write_text(_HEAD.format(machine=machine) + "".join(_line(*row) for row in rows.items()), encoding="utf-8")


def _line(row: tuple[str, str], lost: list[int | None]) -> str:
    num_lost = "–" if None in lost else sum(lost) if lost else "not measured"  # type: ignore[arg-type]
    return f"| {' | '.join(row)} | {len(lost)} | {num_lost} |\n"


@pytest.fixture
def record_loss(request: pytest.FixtureRequest) -> RecordLoss:
    """`record_loss(3)`, `record_loss(0, num_tries=2)`: fill the test's rows of the table. Any lost run fails the test too.

    None: the fault has no runs to lose.
    """

    def record(num_lost: int | None, *, num_tries: int = 1) -> None:
        for name, row in request.node.user_properties:
            if name == "fault":
                row[-1].extend([num_lost] + [num_lost and 0] * (num_tries - 1))
        assert not num_lost

    return record


@dataclass
class _Shown:
    """An example. Messages show only the beginning of the example, because a file may be large."""

    value: Any

    def __repr__(self) -> str:
        return repr(self.value)[:1000]


@pytest.fixture
def explore(request: pytest.FixtureRequest) -> Explore:
    """`explore(strategy, check, num_examples)` calls `check` with examples and returns the number of examples.

    By default, the examples are the same every time. With --fuzz-minutes they are new, and all tests share the time equally.
    """
    minutes, seed = request.config.getoption("--fuzz-minutes", None), request.config.getoption("--fuzz-seed", None)

    def run(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], num_examples: int, always: Sequence[Any] = ()) -> int:
        tried = 0

        def counted(shown: _Shown) -> None:
            nonlocal tried
            tried += 1
            check(shown.value)

        slowly = hypothesis.settings(suppress_health_check=list(hypothesis.HealthCheck), max_examples=num_examples)
        if minutes is None:
            test = hypothesis.given(strategy.map(_Shown))(hypothesis.settings(slowly)(counted))
            for value in always:
                test = hypothesis.example(_Shown(value))(test)
            test()
            return tried
        num_sharing = sum("explore" in getattr(item, "fixturenames", ()) for item in request.session.items)
        deadline = time.monotonic() + 60 * minutes / num_sharing
        chance = random.Random(f"{seed} {request.node.name}")
        while time.monotonic() < deadline:
            fresh = hypothesis.settings(slowly, derandomize=False, max_examples=min(num_examples, 20))  # checks the time often
            hypothesis.seed(chance.getrandbits(64))(fresh(hypothesis.given(strategy.map(_Shown))(counted)))()
        return tried

    return run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the small sweep when nothing goes wrong."""
    return undisturbed_results(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="session")
def long_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the long sweep."""
    return undisturbed_results(tmp_path_factory.mktemp("long"), LONG)


@pytest.fixture(scope="session")
def undisturbed_fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep in a fused program. Its bits differ from those of the pool, because it sums in another order."""
    return undisturbed_results(tmp_path_factory.mktemp("fused"), launcher=FUSED)
