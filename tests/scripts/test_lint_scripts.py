"""scripts/find_keys.py and scripts/vulnerabilities.py: what `make lint` refuses, and what it says where it cannot know."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import find_keys  # noqa: E402
import vulnerabilities  # noqa: E402

# In halves, so that this file holds no key.
KEYS = {
    "a private key": "-----BEGIN RSA PRIVATE" + " KEY-----",
    "an AWS key": "AKIA" + "IOSFODNN7EXAMPL3",
    "a GitHub token": "ghp_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "a GitLab token": "glpat-" + "aBcDeFgHiJkLmNoPqRsT",
    "a registry's token": "npm_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "a service's key": "sk-" + "ant-api03-aBcDeFgHiJkLmNoPqRsT",
    "a signed token": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "a password in an address": "postgres://me:" + "hunter2@localhost/mnist",
    "a secret by its name": 'API_TOKEN = "' + 'q8Jx0vWc3ZtB7nLk"',
}


@pytest.mark.parametrize(("kind", "key"), KEYS.items(), ids=KEYS)
def test_a_key_is_known_by_its_shape(kind: str, key: str) -> None:
    assert find_keys.keys_in(f"one\ntwo {key}\n".encode()) == [(2, kind)]


@pytest.mark.parametrize(
    "text", ["a" * 64, "https://example.org/a:b@c", "token: str = default", "task-1234567890123456789012345"]
)
def test_what_is_no_key_is_let_be(text: str) -> None:
    assert find_keys.keys_in(text.encode()) == []


@pytest.mark.parametrize("name", ["notes.txt", "kept.py", "runs.jsonl.gz"])
def test_a_planted_key_fails_the_check_and_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(sys, "argv", ["find_keys.py", str(tmp_path)])
    assert find_keys.main() == 0
    key = KEYS["an AWS key"].encode()
    (tmp_path / name).write_bytes(gzip.compress(key) if name.endswith(".gz") else key)
    assert find_keys.main() == 1
    said = capsys.readouterr().err
    assert f"{name}:1: looks like an AWS key" in said
    assert key.decode() not in said


FINE = {"name": "numpy", "version": "2.4.6", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found"}
BAD = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.3"]}]}


@pytest.mark.parametrize(
    ("packages", "code", "told"),
    [
        ([FINE], 0, "audited: 1 packages, 0 known vulnerabilities; not audited: none\n"),
        ([FINE, UNKNOWN], 0, "audited: 1 packages, 0 known vulnerabilities; not audited: torch\n"),
        ([UNKNOWN, UNKNOWN], 0, "not audited: the index here has no advisories of any of the 2 pinned packages\n"),
        ([FINE, BAD], 1, "jinja2 3.1.2: PYSEC-1, mended in 3.1.3; make pins\n"),
    ],
)
def test_a_known_vulnerability_fails_and_no_answer_is_no_all_clear(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], packages: Any, code: int, told: str
) -> None:
    answer(monkeypatch, stdout=json.dumps({"dependencies": packages, "fixes": []}))
    assert vulnerabilities.main() == code
    printed = capsys.readouterr()
    assert told in printed.out + printed.err


def test_without_a_network_it_says_so_and_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch, stderr="Traceback\nrequests.exceptions.ConnectionError: no route\n")
    assert vulnerabilities.main() == 0
    assert capsys.readouterr().out == "not audited: requests.exceptions.ConnectionError: no route\n"


def test_any_other_failure_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, stderr="No module named pip_audit\n")
    with pytest.raises(SystemExit, match="No module named pip_audit"):
        vulnerabilities.main()


def answer(monkeypatch: pytest.MonkeyPatch, stdout: str = "", stderr: str = "") -> None:
    done = subprocess.CompletedProcess([], 1, stdout=stdout, stderr=stderr)
    monkeypatch.setattr(vulnerabilities.subprocess, "run", lambda *_, **__: done)
