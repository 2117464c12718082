"""The command lrsweep-report: its arguments, its messages, its exit codes."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from at_work import finish, start, until
from synthetic_study import FAILED, record_of

from lrsweep.cli import report
from lrsweep.storage import store


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["lrsweep-report", *map(str, arguments)])
    report.main()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("results/lr", "lr", None, None)),
        (["study=lr_loss"], ("results/lr_loss", "lr_loss", None, None)),
        (["study.name=lr_loss"], ("results/lr_loss", "lr_loss", None, None)),
        (["machine.results_dir=/else where", "study=연구"], ("/else where/연구", "연구", None, None)),
        (["study=a/b"], ("results/a/b", "a/b", None, None)),
        (["study=a=b"], ("results/a=b", "a=b", None, None)),
        (["study=first", "study=last"], ("results/last", "last", None, None)),
        (["delta=0.002"], ("results/lr", "lr", 0.002, None)),
        (["delta=1e-3", "study=a"], ("results/a", "a", 0.001, None)),
        (["delta="], ("results/lr", "lr", None, None)),
        (["study=a", "reload_seconds=60"], ("results/a", "a", None, 60)),
    ],
)
def test_the_arguments_set_folder_study_delta_and_seconds(
    arguments: list[str], expected: tuple[str, str, float | None, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = []
    monkeypatch.setattr("lrsweep.report.build.build", lambda *values: builds.append(values) or Path("report.md"))
    run_main(monkeypatch, *arguments)
    assert builds == [(Path(expected[0]), *expected[1:])]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("lr", "ConfigError: unknown argument 'lr'; usage: lrsweep-report study=NAME"),
        ("--study=lr", "ConfigError: unknown argument '--study=lr'"),
        ("optimizer.lr=1", "ConfigError: unknown argument 'optimizer.lr=1'"),
        *((f"study={name}", "ConfigError: study.name must be a plain relative path") for name in ("", "..", "../a", "/a")),
        *(
            (
                f"delta={value}",
                f"ConfigError: delta must be a fraction above 0 and below 1 (0.002 means 0.20%), got {value!r}",
            )
            for value in ("x", "0.2%", "-0.1", "0", "1", "nan", "inf", " ")
        ),
        *(
            (f"reload_seconds={value}", "ConfigError: reload_seconds must be a whole number above 0")
            for value in ("x", "0", "-1")
        ),
        ("study=missing", "StoreError: {folder}/missing holds no records to report"),
        ("study=empty", "StoreError: {folder}/empty holds no records to report"),
    ],
)
def test_a_users_mistake_gives_one_line_and_exit_code_2(
    argument: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, f"machine.results_dir={tmp_path}", argument)
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (2, "")
    assert printed.err.startswith(message.format(folder=tmp_path))
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "missing").exists()


def test_a_packed_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "runs.jsonl.gz").write_bytes(b"not gzip")
    with pytest.warns(UserWarning, match="left out .*runs.jsonl.gz: cannot be read"), pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, f"machine.results_dir={tmp_path}")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("StoreError: ")


def test_a_damaged_record_is_one_line_and_a_mistyped_study_names_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    store.save(folder, record_of(1e-3, FAILED))
    (damaged := folder / "runs" / "0123456789abcdef.json").write_text("x")
    words = ("-m", "lrsweep.cli.report", f"machine.results_dir={tmp_path}")
    code, _, error = finish(start(tmp_path, "study=mine", program=words))
    assert (code, error) == (0, f"Warning: left out {damaged}: is not a valid record, or is truncated\n")
    code, _, error = finish(start(tmp_path, "study=yours", program=words))
    message = f"StoreError: {tmp_path}/yours holds no records to report; name a study that has some: mine\n"
    assert (code, error) == (2, message)


def test_the_command_prints_where_the_report_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    store.save(folder, record_of(1e-3, FAILED))
    run_main(monkeypatch, "study=mine", f"machine.results_dir={tmp_path}")
    assert capsys.readouterr().out == f"Report: {folder / 'report.md'} and {folder / 'report.html'}\n"


def test_study_all_writes_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_main(monkeypatch, "study=all", f"machine.results_dir={tmp_path}")
    assert capsys.readouterr().out == f"Report: {tmp_path / 'audit.md'} and {tmp_path / 'audit.html'}\n"
    assert {path.name for path in tmp_path.glob("audit.*")} == {"audit.md", "audit.html", "audit.ko.md", "audit.ko.html"}


def test_an_audit_needs_a_folder_of_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, "study=all", f"machine.results_dir={tmp_path / 'nowhere'}")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"StoreError: {tmp_path / 'nowhere'} does not exist\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_printed_and_nothing_is_built(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, flag, f"machine.results_dir={tmp_path}")
    assert "lrsweep-report study=lr" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def is_open(path: Path, proc: Path) -> bool:
    with suppress(FileNotFoundError):  # a file that has just been closed
        return path in [file.readlink() for file in (proc / "fd").iterdir()]
    return False


@pytest.mark.parametrize("at_work", ["importing packages", "reading records"])
@pytest.mark.parametrize("module", ["lrsweep.cli.report", "lrsweep.cli.confirm"])
def test_ctrl_c_prints_no_traceback(module: str, at_work: str, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    records = tmp_path / "lr" / "runs.jsonl.gz"
    os.mkfifo(records)
    pipe = os.open(records, os.O_RDWR)  # whoever reads the records now waits for ever
    command = [sys.executable, "-m", module, f"machine.results_dir={tmp_path}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        proc = Path(f"/proc/{process.pid}")
        try:
            if at_work == "importing packages":
                until(lambda: "pandas" in (proc / "maps").read_text(), every=0.001)
            else:
                until(lambda: is_open(records, proc), every=0.1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=600)
        finally:
            process.kill()
            os.close(pipe)
    assert (process.returncode, err) == (130, "")
