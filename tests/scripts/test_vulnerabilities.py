"""What CI prints about known vulnerabilities of the pinned packages."""

from subprocess import CompletedProcess
from typing import Any

import pytest
import vulnerabilities

CLEAN = {"name": "numpy", "version": "2.0.0", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
FOUND = {"name": "jinja2", "version": "3.1.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["3.1.6"]}]}


@pytest.mark.parametrize(
    ("packages", "text", "code"),
    [
        ([CLEAN], "vulnerabilities: 0 known; packages checked: 1, not checked: 0", 0),
        ([CLEAN, UNKNOWN], "vulnerabilities: 0 known; packages checked: 1, not checked: 1", 0),
        (
            [UNKNOWN, FOUND],
            "jinja2 3.1.0: GHSA-1, fixed in 3.1.6\nvulnerabilities: 1 known; packages checked: 1, not checked: 1",
            1,
        ),
    ],
)
def test_a_known_vulnerability_fails_and_a_package_not_checked_is_counted(
    packages: list[dict[str, Any]], text: str, code: int
) -> None:
    assert vulnerabilities.summary(packages) == (text, code)


def test_without_the_database_nothing_is_checked_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], **_: Any) -> CompletedProcess[str]:
        return CompletedProcess(command, 1, stdout="", stderr="Traceback\nConnectionError: no route")

    monkeypatch.setattr(vulnerabilities.subprocess, "run", run)
    with pytest.raises(SystemExit, match="0"):
        vulnerabilities.main()
    out, err = capsys.readouterr()
    assert out.endswith("vulnerabilities: 2 of 2 lists of packages not checked\n")
    assert err == "ConnectionError: no route\nConnectionError: no route\n"


def test_a_vulnerability_in_one_list_fails_although_the_other_list_is_not_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([None, [FOUND]])
    monkeypatch.setattr(vulnerabilities, "audit", lambda options: next(answers))
    with pytest.raises(SystemExit, match="1"):
        vulnerabilities.main()
    out = capsys.readouterr().out
    assert out.startswith("jinja2 3.1.0: GHSA-1")
    assert out.endswith("vulnerabilities: 1 of 2 lists of packages not checked\n")
