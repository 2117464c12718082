"""lrsweep.storage.store: what is written is what is read, and what is damaged is told of."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.storage import store, tables
from lrsweep.storage.files import StoreError, write_atomically
from lrsweep.storage.store import Damaged, load, pack, path_of, read_run, save, scan, set_aside

MakeRecord = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the properties, whose examples follow one another."""
    return tmp_path_factory.mktemp("store")


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# What is written is what is read.

any_float = st.floats(allow_nan=False, allow_infinity=False)  # JSON knows no others; see the test below
epochs = st.builds(
    EpochRecord,
    epoch=st.integers(1, 1000),
    **dict.fromkeys(("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds"), any_float),
)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(["ok", "diverged", "failed"]),
    stop_reason=st.sampled_from(["patience", "max_epochs", "diverged", "error"]),
    curve=st.lists(epochs, max_size=3).map(tuple),
    best_epoch=st.none() | st.integers(1, 1000),
    wall_seconds=st.none() | any_float,
    last_finite_loss=st.none() | any_float,
    error=st.none() | st.text(),
)


def test_a_number_that_json_does_not_know_is_refused_and_leaves_nothing(make_record: MakeRecord, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path, make_record(wall_seconds=math.nan))
    assert files_in(tmp_path) == set()


@given(outcome=outcomes)
def test_a_record_comes_back_with_every_bit(make_record: MakeRecord, scratch: Path, outcome: Outcome) -> None:
    record = replace(make_record(lr=10**-3.1), outcome=outcome)
    save(scratch, record)
    assert_same(read_run(scratch, record.run_id), record)
    found = scan(scratch)
    assert not found.damaged
    assert_same(found.records[record.run_id], record)


def assert_same(read: RunRecord | None, written: RunRecord) -> None:
    assert read is not None
    assert repr(read.outcome) == repr(written.outcome)  # tells -0.0 from 0.0, and holds NaN equal to itself
    assert replace(read, outcome=written.outcome) == written


@given(outcome=outcomes)
def test_a_packed_record_comes_back_with_every_bit(make_record: MakeRecord, scratch: Path, outcome: Outcome) -> None:
    folder = scratch / "packed"
    record = replace(make_record(lr=10**-3.1), outcome=outcome)
    packed_alone(folder, record)
    found = scan(folder)
    assert not found.damaged
    assert_same(found.records[record.run_id], record)


@pytest.mark.parametrize("text", ["한국어", "two\nlines\r\n", "\u2028", "\x85", "\x1c\x0b\x0c", '"\\', "\0", "😀"], ids=ascii)
def test_any_text_is_kept(make_record: MakeRecord, tmp_path: Path, text: str) -> None:
    record = make_record(status="failed", error=f"a{text}b")
    save(tmp_path, record)
    assert read_run(tmp_path, record.run_id) == record
    packed_alone(tmp_path, record)
    assert scan(tmp_path) == ({record.run_id: record}, [])


def test_saving_again_replaces(make_record: MakeRecord, tmp_path: Path) -> None:
    failed, done = make_record(status="failed"), make_record()
    save(tmp_path, failed)
    path = save(tmp_path, done)
    assert read_run(tmp_path, done.run_id) == done
    assert files_in(tmp_path) == {f"runs/{done.run_id}.json"}
    assert path == path_of(tmp_path, done.run_id)


def test_one_record_is_read_without_the_other_runs_files(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 10,000 runs each would take a millisecond, for every run that is asked for."""
    wanted, *others = (make_record(seed=seed) for seed in range(3))
    for record in (wanted, *others):
        save(tmp_path, record)
    opened: list[Path] = []
    read_text = Path.read_text

    def noted(path: Path, *args: Any, **options: Any) -> str:
        opened.append(path)
        return read_text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", noted)
    assert read_run(tmp_path, wanted.run_id) == wanted
    assert opened == [path_of(tmp_path, wanted.run_id)]


def test_one_record_is_found_among_packed_ones_and_its_own_file_wins(make_record: MakeRecord, tmp_path: Path) -> None:
    failed, done = make_record(status="failed"), make_record()
    packed_alone(tmp_path, failed)
    assert read_run(tmp_path, failed.run_id) == failed
    path = save(tmp_path, done)
    assert read_run(tmp_path, failed.run_id) == done
    path.write_text("damaged", encoding="utf-8")
    assert read_run(tmp_path, failed.run_id) == failed


def test_the_checksum_is_of_the_records_canonical_json(make_record: MakeRecord, tmp_path: Path) -> None:
    outer = json.loads(save(tmp_path, make_record()).read_bytes())
    canonical = json.dumps(outer["record"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert outer == {"record": outer["record"], "checksum": hashlib.sha256(canonical.encode()).hexdigest()}


def test_no_folder_is_an_empty_study(tmp_path: Path) -> None:
    assert scan(tmp_path / "none") == ({}, [])
    assert read_run(tmp_path / "none", "0") is None
    assert load(tmp_path / "none").empty
    assert not (tmp_path / "none").exists()


# Tables, whose rows are frames.py's.


@pytest.fixture
def study(make_record: MakeRecord, tmp_path: Path) -> Path:
    """Three losses and seeds of runs, saved in no order, one of each status."""
    save(tmp_path, make_record(lr=1e-2, seed=1))
    save(tmp_path, make_record(lr=1e-3, seed=0, loss="double_softmax"))
    save(tmp_path, make_record(lr=1e-2, seed=0, status="diverged"))
    save(tmp_path, make_record(lr=1e-4, seed=1, status="failed"))
    save(tmp_path, make_record(lr=1e-3, seed=0))
    return tmp_path


def test_runs_are_sorted_by_loss_seed_and_rate(study: Path) -> None:
    frame = load(study)
    assert list(zip(frame["loss"], frame["seed"], frame["lr"], frame["status"], strict=True)) == [
        ("cross_entropy", 0, 1e-3, "ok"),
        ("cross_entropy", 0, 1e-2, "diverged"),
        ("cross_entropy", 1, 1e-4, "failed"),
        ("cross_entropy", 1, 1e-2, "ok"),
        ("double_softmax", 0, 1e-3, "ok"),
    ]
    assert list(frame.index) == [0, 1, 2, 3, 4]


def test_curves_are_those_of_the_records_in_their_order(study: Path) -> None:
    curves = store.load_curves(study)
    pd.testing.assert_frame_equal(curves, tables.curves_frame(store.read(study)))
    assert curves["lr"].tolist() == [1e-3] * 3 + [1e-2] * 3 + [1e-3] * 3  # the diverged and the failed run have none


def test_an_empty_study_has_the_columns_of_any(study: Path, tmp_path: Path) -> None:
    for read in (load, store.load_curves):
        empty = read(tmp_path / "none")
        assert list(empty.columns) == list(read(study).columns)[: len(empty.columns)]  # settings are those of its runs
        assert len(empty) == 0


# Damage is told of, and never raises.


def signed(tree: Any) -> str:
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"record": tree, "checksum": hashlib.sha256(canonical.encode()).hexdigest()})


CUT = "is not a record, or was cut short"
NOT_RECORDS = {
    "empty": b"",
    "white space": b" \n",
    "null": b"null",
    "a number": b"3",
    "a text": b'"record"',
    "a list": b"[1, 2]",
    "an empty object": b"{}",
    "no checksum": b'{"record": {"schema_version": 1}}',
    "no record": b'{"checksum": "0"}',
    "no version": b'{"record": {}, "checksum": "0"}',
    "a record that is a list": b'{"record": [], "checksum": "0"}',
    "a record that is null": b'{"record": null, "checksum": "0"}',
    "half of a surrogate pair": b'{"record": {"schema_version": 1, "x": "\\ud800"}, "checksum": "0"}',
    "depth without an end": b"[" * 100_000,
    "signed, but no outcome": signed({"schema_version": 1}).encode(),
    "signed, but an outcome that is null": signed({"schema_version": 1, "outcome": None}).encode(),
    "signed, but no more than a curve": signed({"schema_version": 1, "outcome": {"curve": {}}}).encode(),
    "signed, but a curve of uneven columns": signed(
        {"schema_version": 1, "outcome": {"curve": {"epoch": [1], "x": []}}}
    ).encode(),
    "signed, but a list": signed([]).encode(),
    "invalid UTF-8": b'{"record": "\xff"}',
    "UTF-16": '{"record": {}}'.encode("utf-16"),
    "zeros": bytes(4096),  # what some file systems leave after a power cut
}


@pytest.mark.parametrize("content", NOT_RECORDS.values(), ids=NOT_RECORDS)
def test_what_is_not_a_record_is_told_of(make_record: MakeRecord, tmp_path: Path, content: bytes) -> None:
    good = make_record()
    save(tmp_path, good)
    bad = path_of(tmp_path, "bad")
    bad.write_bytes(content)
    found = scan(tmp_path)
    assert found.records == {good.run_id: good}
    assert [damaged.path for damaged in found.damaged] == [bad]
    assert found.damaged[0].reason
    assert read_run(tmp_path, "bad") is None
    assert bad.read_bytes() == content


def damaged_of(folder: Path) -> Damaged:
    found = scan(folder)
    assert not found.records
    (damaged,) = found.damaged
    return damaged


def test_a_cut_record_says_so(make_record: MakeRecord, tmp_path: Path) -> None:
    path = save(tmp_path, make_record())
    path.write_bytes(path.read_bytes()[:-10])
    assert damaged_of(tmp_path) == (path, CUT)


def test_an_altered_record_says_so(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(test_accuracy=0.59)
    path = save(tmp_path, record)
    path.write_text(path.read_text(encoding="utf-8").replace("0.59", "0.99"), encoding="utf-8")
    assert damaged_of(tmp_path) == (path, "was altered: its checksum differs")
    assert read_run(tmp_path, record.run_id) is None


def test_a_record_of_another_schema_says_so(make_record: MakeRecord, tmp_path: Path) -> None:
    path = save(tmp_path, replace(make_record(), schema_version=0))
    assert damaged_of(tmp_path) == (path, "has schema version 0; this program reads 1")


def test_a_record_under_another_runs_name_is_not_trusted(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    path = save(tmp_path, record).rename(path_of(tmp_path, "other"))
    assert damaged_of(tmp_path) == (path, f"holds the record of another run, {record.run_id}")
    assert read_run(tmp_path, "other") is None


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["directory", "dangling link"])
def test_what_cannot_be_read_is_told_of(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = path_of(tmp_path, "x")
    path.parent.mkdir()
    make(path)
    damaged = damaged_of(tmp_path)
    assert damaged.path == path
    assert damaged.reason.startswith("cannot be read (")
    assert read_run(tmp_path, "x") is None


@given(st.data())
def test_a_record_cut_anywhere_is_told_of(make_record: MakeRecord, scratch: Path, data: st.DataObject) -> None:
    path = save(scratch / "cut", make_record())
    content = path.read_bytes().removesuffix(b"\n")
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert damaged_of(scratch / "cut").path == path


@given(st.data(), st.integers(1, 255))
def test_a_record_with_a_flipped_byte_is_told_of_or_the_same(
    make_record: MakeRecord, scratch: Path, data: st.DataObject, mask: int
) -> None:
    """The same: where the byte says no more than before, as e and E in a number."""
    record = make_record(lr=1e-06)
    path = save(scratch / "flipped", record)
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)), mask)
    found = scan(scratch / "flipped")
    assert found.records == ({} if found.damaged else {record.run_id: record})
    assert [damaged.path for damaged in found.damaged] in ([], [path])


def flip(path: Path, offset: int, mask: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def test_loading_warns_of_what_it_leaves_out(make_record: MakeRecord, tmp_path: Path) -> None:
    good = make_record()
    save(tmp_path, good)
    bad = path_of(tmp_path, "bad")
    bad.write_bytes(b"{}")
    with pytest.warns(UserWarning, match="left out") as warned:
        frame = load(tmp_path)
    assert frame["run_id"].tolist() == [good.run_id]
    assert [str(warning.message) for warning in warned] == [f"left out {bad}: {CUT}"]


def test_a_damaged_record_set_aside_is_kept_and_out_of_the_way(make_record: MakeRecord, tmp_path: Path) -> None:
    path = save(tmp_path, make_record())
    path.write_bytes(b"damage")
    aside = set_aside(damaged_of(tmp_path))
    assert scan(tmp_path) == ({}, [])
    assert aside.read_bytes() == b"damage"
    assert files_in(tmp_path) == {f"runs/damaged/{path.name}"}
    save(tmp_path, make_record())
    assert len(scan(tmp_path).records) == 1


def test_a_record_damaged_twice_can_be_set_aside_twice(make_record: MakeRecord, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        save(tmp_path, make_record()).write_bytes(content)
        aside = set_aside(damaged_of(tmp_path))
        assert aside.read_bytes() == content
    assert scan(tmp_path) == ({}, [])


# What a sweep is to leave.


@pytest.mark.parametrize("run_ids", [[], ["0a"], ["b", "a", "c"]], ids=["none", "one", "in no order"])
def test_the_runs_a_sweep_is_to_leave_come_back(tmp_path: Path, run_ids: list[str]) -> None:
    folder = tmp_path / "학습률 결과"
    store.expect(folder, run_ids)
    assert store.read_expected(folder) == set(run_ids)
    assert files_in(folder) == {"expected.json"}
    assert scan(folder) == ({}, [])  # and are no record


def test_the_last_sweep_has_the_word(tmp_path: Path) -> None:
    store.expect(tmp_path, ["a", "b"])
    store.expect(tmp_path, ["c"])
    assert store.read_expected(tmp_path) == {"c"}


def test_where_no_sweep_has_said_so_nothing_is_expected(tmp_path: Path) -> None:
    assert store.read_expected(tmp_path / "none") is None
    assert store.read_expected(tmp_path) is None
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize(
    "content",
    [b"", b'["a", "b', b"a, b", b"null", b"3", b'["\xff"]', bytes(64), '["a"]'.encode("utf-16")],
    ids=["empty", "cut", "not JSON", "null", "a number", "invalid UTF-8", "zeros", "UTF-16"],
)
def test_what_a_damaged_file_expects_is_not_known(tmp_path: Path, content: bytes) -> None:
    store.expect(tmp_path, ["a", "b"])
    (tmp_path / "expected.json").write_bytes(content)
    assert store.read_expected(tmp_path) is None
    store.expect(tmp_path, ["c"])  # the next sweep mends it
    assert store.read_expected(tmp_path) == {"c"}


def test_an_expectation_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "expected.json").mkdir()
    assert store.read_expected(tmp_path) is None


# Packed.


def test_packing_keeps_the_tables(study: Path) -> None:
    frame, records = load(study), store.read(study)
    path = pack(study)
    shutil.rmtree(study / "runs")
    assert files_in(study) == {path.name}
    pd.testing.assert_frame_equal(load(study), frame)
    assert store.read(study) == records


def test_the_same_records_pack_to_the_same_bytes_on_any_day(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    days = count(0.0, 86_400.0)
    monkeypatch.setattr(time, "time", lambda: next(days))
    records = [make_record(lr=lr) for lr in (1e-3, 1e-2, 1e-4)]
    packed = []
    for name, ordered in (("a", records), ("b", records[::-1])):
        for record in ordered:
            save(tmp_path / name, record)
        packed += [pack(tmp_path / name).read_bytes(), pack(tmp_path / name).read_bytes()]
    assert packed == packed[:1] * 4


def test_packing_twice_keeps_what_is_only_packed(study: Path) -> None:
    content = pack(study).read_bytes()
    shutil.rmtree(study / "runs")
    assert pack(study).read_bytes() == content


def test_a_file_of_its_own_is_newer_than_the_packed_one(make_record: MakeRecord, tmp_path: Path) -> None:
    save(tmp_path, make_record(status="failed"))
    pack(tmp_path)
    done = make_record()
    save(tmp_path, done)
    assert scan(tmp_path) == ({done.run_id: done}, [])
    assert load(tmp_path)["status"].tolist() == ["ok"]


def test_one_run_is_found_among_the_packed(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    packed_alone(tmp_path, record)
    assert read_run(tmp_path, record.run_id) == record


def test_what_is_damaged_is_not_packed(make_record: MakeRecord, tmp_path: Path) -> None:
    save(tmp_path, make_record())
    bad = path_of(tmp_path, "bad")
    bad.write_bytes(b"{}")
    with pytest.raises(StoreError) as refusal:
        pack(tmp_path)
    assert str(refusal.value) == f"{bad}: {CUT}"
    assert not any("gz" in name for name in files_in(tmp_path))


@given(st.data())
def test_a_packed_file_cut_anywhere_is_told_of(make_record: MakeRecord, scratch: Path, data: st.DataObject) -> None:
    folder = scratch / "packed and cut"
    path = packed_alone(folder, make_record(), make_record(seed=1))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert damaged_of(folder).path == path


@given(st.data(), st.integers(1, 255))
def test_a_packed_file_with_a_flipped_byte_is_told_of_or_the_same(
    make_record: MakeRecord, scratch: Path, data: st.DataObject, mask: int
) -> None:
    """The same: where the byte is a part of gzip's header that holds no data, as its time."""
    folder = scratch / "packed and flipped"
    records = [make_record(), make_record(seed=1)]
    path = packed_alone(folder, *records)
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)), mask)
    found = scan(folder)
    assert found.records == ({} if found.damaged else {record.run_id: record for record in records})
    assert {damaged.path for damaged in found.damaged} <= {path}


def packed_alone(folder: Path, *records: RunRecord) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for record in records:
        save(folder, record)
    path = pack(folder)
    shutil.rmtree(folder / "runs")
    return path


def test_a_packed_file_is_never_set_aside(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = packed_alone(tmp_path, make_record(), make_record(seed=1))
    monkeypatch.setattr(store, "SCHEMA_VERSION", 2)
    found = scan(tmp_path)
    assert not found.records
    assert {damaged.path for damaged in found.damaged} == {path}
    with pytest.raises(StoreError, match="restore the file, or move it away"):
        set_aside(found.damaged[0])
    assert path.exists()


# All or nothing.


class Crash(BaseException):
    """Not an Exception: as Ctrl-C at the worst moment."""


def crash(*args: object, **options: object) -> None:
    raise Crash


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_before_the_end_leaves_what_was_there(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    old, new = make_record(seed=1), make_record(seed=2)
    save(tmp_path, old)
    there = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    with monkeypatch.context() as patched:
        patched.setattr(os, moment, crash)
        if moment == "replace":
            patched.setattr(Path, "replace", crash)
        for record in (new, replace(old, timing="calibrated")):
            with pytest.raises(Crash):
                save(tmp_path, record)
        with pytest.raises(Crash):
            pack(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == there


def test_what_a_killed_process_left_is_no_record(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = make_record()
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", crash)
        killed.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            save(tmp_path, record)
    assert len(files_in(tmp_path)) == 1
    assert scan(tmp_path) == ({}, [])
    save(tmp_path, record)
    assert scan(tmp_path) == ({record.run_id: record}, [])


def test_a_file_is_written_in_any_folder(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "학습률 결과" / "모델 요약.txt"
    for content in (b"first", bytes(range(256))):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert files_in(tmp_path) == {"a folder/학습률 결과/모델 요약.txt"}
