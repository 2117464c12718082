"""Records are read back exactly as they were saved, and damaged ones are reported."""

import gzip
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsweep.records import EpochRecord, Outcome, RunRecord
from lrsweep.storage import store, tables
from lrsweep.storage.files import StoreError
from lrsweep.storage.store import Damaged, load, pack, path_of, read_run, save, scan, set_aside

MakeRecord = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples of a property."""
    return tmp_path_factory.mktemp("store")


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def save_packed(folder: Path, *records: RunRecord) -> Path:
    """Save records as a packed file only."""
    for record in records:
        save(folder, record)
    path = pack(folder)
    shutil.rmtree(folder / "runs")
    return path


# Saved and read back

any_float = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
epochs = st.builds(
    EpochRecord,
    epoch=st.integers(1, 1000),
    **dict.fromkeys(("train_loss", "train_accuracy", "seconds"), any_float),
    **dict.fromkeys(("highest_loss", "valid_loss", "valid_accuracy"), st.none() | any_float),
)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(["ok", "diverged", "failed"]),
    stop_reason=st.sampled_from(["patience", "max_epochs", "diverged", "error"]),
    curve=st.lists(epochs, max_size=3).map(tuple),
    best_epoch=st.none() | st.integers(1, 1000),
    best_test_accuracy=st.none() | any_float,
    balanced_test_accuracy=st.none() | any_float,
    last_test_accuracy=st.none() | any_float,
    wall_seconds=st.none() | any_float,
    last_finite_loss=st.none() | any_float,
    error=st.none() | st.text() | st.text('한😀\n\r\u2028\x85\x1c\x0b\x0c"\\\0'),  # line ends must not split a packed record
)


@settings(max_examples=50)
@given(outcome=outcomes)
def test_a_record_is_read_back_with_every_bit(make_record: MakeRecord, scratch: Path, outcome: Outcome) -> None:
    record = replace(make_record(lr=10**-3.1), outcome=outcome)
    for save_to in (save, save_packed):
        save_to(scratch, record)
        scanned = scan(scratch)
        assert not scanned.damaged
        for read in (scanned.records[record.run_id], read_run(scratch, record.run_id)):
            assert read is not None
            assert repr(read.outcome) == repr(outcome)  # repr tells -0.0 from 0.0
            assert replace(read, outcome=outcome) == record


def test_nan_is_refused_and_leaves_no_file(make_record: MakeRecord, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path, make_record(wall_seconds=math.nan))
    assert files_in(tmp_path) == set()


def test_saving_again_replaces_the_record(make_record: MakeRecord, tmp_path: Path) -> None:
    failed, done = make_record(status="failed"), make_record()
    save(tmp_path, failed)
    assert save(tmp_path, done) == path_of(tmp_path, done.run_id)
    assert read_run(tmp_path, done.run_id) == done
    assert files_in(tmp_path) == {f"runs/{done.run_id}.json"}


def test_a_runs_own_file_is_preferred_to_its_packed_record(make_record: MakeRecord, tmp_path: Path) -> None:
    failed, done = make_record(status="failed"), make_record()
    save_packed(tmp_path, failed)
    assert read_run(tmp_path, failed.run_id) == failed
    path = save(tmp_path, done)
    assert read_run(tmp_path, failed.run_id) == done
    assert scan(tmp_path) == ({done.run_id: done}, [])
    path.write_text("damaged", encoding="utf-8")
    assert read_run(tmp_path, failed.run_id) == failed


def test_the_checksum_covers_the_records_canonical_json(make_record: MakeRecord, tmp_path: Path) -> None:
    outer = json.loads(save(tmp_path, make_record()).read_bytes())
    assert outer == json.loads(with_checksum(outer["record"]))


def test_a_missing_folder_is_an_empty_study_and_is_not_created(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert scan(folder) == ({}, [])
    assert read_run(folder, "0") is None
    assert load(folder).empty
    assert store.load_curves(folder).empty
    assert not folder.exists()


# Tables


@pytest.fixture
def study(make_record: MakeRecord, tmp_path: Path) -> Path:
    """Runs of two losses, two seeds and every status, saved in no particular order."""
    folder = tmp_path / "study"
    save(folder, make_record(lr=1e-2, seed=1))
    save(folder, make_record(lr=1e-3, seed=0, loss="double_softmax"))
    save(folder, make_record(lr=1e-2, seed=0, status="diverged"))
    save(folder, make_record(lr=1e-4, seed=1, status="failed"))
    save(folder, make_record(lr=1e-3, seed=0))
    return folder


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


def test_curves_are_in_the_order_of_the_runs(study: Path) -> None:
    curves = store.load_curves(study)
    pd.testing.assert_frame_equal(curves, tables.curves_frame(store.read(study)))
    assert curves["lr"].tolist() == [1e-3] * 3 + [1e-2] * 3 + [1e-3] * 3  # the diverged and the failed run have none


# Damaged records are reported and never raise


def with_checksum(tree: Any) -> str:
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"record": tree, "checksum": hashlib.sha256(canonical.encode()).hexdigest()})


NOT_VALID = "is not a valid record, or is truncated"
NOT_RECORDS = {
    "empty": b"",
    "null": b"null",
    "a number": b"3",
    "a list": b"[1, 2]",
    "an empty object": b"{}",
    "no checksum": b'{"record": {"schema_version": 1}}',
    "no record": b'{"checksum": "0"}',
    "a record that is a list": b'{"record": [], "checksum": "0"}',
    "half of a surrogate pair": b'{"record": {"schema_version": 1, "x": "\\ud800"}, "checksum": "0"}',
    "endless nesting": b"[" * 100_000,
    "valid checksum, no outcome": with_checksum({"schema_version": 1}).encode(),
    "valid checksum, outcome null": with_checksum({"schema_version": 1, "outcome": None}).encode(),
    "valid checksum, uneven curve": with_checksum({"schema_version": 1, "outcome": {"curve": {"epoch": [1], "x": []}}}).encode(),
    "invalid UTF-8": b'{"record": "\xff"}',
    "UTF-16": '{"record": {}}'.encode("utf-16"),
    "zeros": bytes(4096),  # some file systems leave this after a power cut
}


@pytest.mark.parametrize("content", NOT_RECORDS.values(), ids=NOT_RECORDS)
def test_a_file_that_is_not_a_record_is_reported(make_record: MakeRecord, tmp_path: Path, content: bytes) -> None:
    good = make_record()
    save(tmp_path, good)
    bad = path_of(tmp_path, "bad")
    bad.write_bytes(content)
    scanned = scan(tmp_path)
    assert scanned.records == {good.run_id: good}
    assert [damaged.path for damaged in scanned.damaged] == [bad]
    assert scanned.damaged[0].reason
    assert read_run(tmp_path, "bad") is None
    assert bad.read_bytes() == content


def damaged_in(folder: Path) -> Damaged:
    scanned = scan(folder)
    assert not scanned.records
    (damaged,) = scanned.damaged
    return damaged


def test_the_reason_of_damage_is_reported(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(test_accuracy=0.59)
    path = save(tmp_path, record)
    text = path.read_text(encoding="utf-8")
    older = json.loads(text)["record"] | {"schema_version": 0}
    for content, reason in (
        (text[:-10], NOT_VALID),
        (text.replace("0.59", "0.99"), "was altered: its checksum differs"),
        (with_checksum(older), "has schema version 0; this program reads 1"),
    ):
        path.write_text(content, encoding="utf-8")
        assert damaged_in(tmp_path) == (path, reason)
        assert read_run(tmp_path, record.run_id) is None


def test_an_unknown_setting_cannot_take_the_place_of_a_column(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(lr=1e-3)
    text = save(tmp_path, record).read_text(encoding="utf-8")
    tree = json.loads(text)["record"]
    path_of(tmp_path, record.run_id).write_text(with_checksum(tree | {"config": record.config | {"lr": None, "run_id": 3}}))
    table = load(tmp_path)
    assert (table["lr"].tolist(), table["run_id"].tolist()) == ([1e-3], [record.run_id])
    path_of(tmp_path, record.run_id).write_text(with_checksum(tree | {"config": record.config | {"optimizer.lr": 1.0}}))
    assert damaged_in(tmp_path).reason == NOT_VALID


def test_a_record_in_the_file_of_another_run_is_not_trusted(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    path = save(tmp_path, record).rename(path_of(tmp_path, "other"))
    assert damaged_in(tmp_path) == (path, f"holds the record of another run, {record.run_id}")
    assert read_run(tmp_path, "other") is None


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["directory", "dangling link"])
def test_a_path_that_cannot_be_read_is_reported(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = path_of(tmp_path, "x")
    path.parent.mkdir()
    make(path)
    damaged = damaged_in(tmp_path)
    assert damaged.path == path
    assert damaged.reason.startswith("cannot be read (")
    assert read_run(tmp_path, "x") is None


@pytest.fixture(scope="module", params=["own file", "packed"])
def intact(request: pytest.FixtureRequest, make_record: MakeRecord, scratch: Path) -> tuple[Path, bytes, dict[str, RunRecord]]:
    """A stored file, its content and its records."""
    folder = scratch / request.param
    records = [make_record(lr=1e-6), make_record(seed=1)][: 1 if request.param == "own file" else 2]
    path = save_packed(folder, *records) if request.param == "packed" else save(folder, records[0])
    return path, path.read_bytes().removesuffix(b"\n"), {record.run_id: record for record in records}


def folder_of(path: Path) -> Path:
    return path.parent if path.suffix == ".gz" else path.parents[1]


@given(st.data())
def test_a_file_truncated_anywhere_is_reported(intact: tuple[Path, bytes, dict[str, RunRecord]], data: st.DataObject) -> None:
    path, content, _ = intact
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert damaged_in(folder_of(path)).path == path


@given(st.data(), st.integers(1, 255))
def test_a_file_with_a_changed_byte_is_reported_or_holds_the_same_records(
    intact: tuple[Path, bytes, dict[str, RunRecord]], data: st.DataObject, mask: int
) -> None:
    """Some bytes have no meaning, such as the time in gzip's header, or whether a number has an e or an E."""
    path, content, records = intact
    at = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :])
    scanned = scan(folder_of(path))
    assert scanned.records == ({} if scanned.damaged else records)
    assert {damaged.path for damaged in scanned.damaged} <= {path}


def test_loading_warns_about_damaged_records(make_record: MakeRecord, tmp_path: Path) -> None:
    good = make_record()
    save(tmp_path, good)
    bad = path_of(tmp_path, "bad")
    bad.write_bytes(b"{}")
    with pytest.warns(UserWarning, match="left out") as warned:
        frame = load(tmp_path)
    assert frame["run_id"].tolist() == [good.run_id]
    assert [str(warning.message) for warning in warned] == [f"left out {bad}: {NOT_VALID}"]


def test_damaged_records_are_set_aside_each_time(make_record: MakeRecord, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        path = save(tmp_path, make_record())
        path.write_bytes(content)
        aside = set_aside(damaged_in(tmp_path))
        assert aside.read_bytes() == content
        assert scan(tmp_path) == ({}, [])
        assert files_in(tmp_path) == {f"runs/damaged/{path.name}"}


def test_a_packed_file_is_never_set_aside(make_record: MakeRecord, tmp_path: Path) -> None:
    path = save_packed(tmp_path, make_record())
    path.write_bytes(gzip.compress(b"{}\n"))
    with pytest.raises(StoreError, match="restore the file, or move it away"):
        set_aside(damaged_in(tmp_path))
    assert path.exists()


# The runs that a sweep plans


def test_the_expected_runs_of_the_last_sweep_are_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "학습률 결과"
    for run_ids in (["b", "a", "c"], ["0a"], []):
        store.expect(folder, run_ids)
        assert store.read_expected(folder) == set(run_ids)
    assert files_in(folder) == {"expected.json"}
    assert scan(folder) == ({}, [])


def test_a_missing_or_damaged_list_of_expected_runs_is_ignored(tmp_path: Path) -> None:
    assert store.read_expected(tmp_path / "none") is None
    path = tmp_path / "expected.json"
    for content in (b"", b'["a", "b', b"a, b", b"null", b"3", b"[3]", b'["\xff"]', bytes(64), '["a"]'.encode("utf-16")):
        path.write_bytes(content)
        assert store.read_expected(tmp_path) is None
    path.unlink()
    path.mkdir()
    assert store.read_expected(tmp_path) is None


def test_delta_is_remembered_until_a_sweep_sets_another(tmp_path: Path) -> None:
    for delta in (0.01, 0.5, None):
        store.expect(tmp_path, ["a", "b"], delta)
        assert (store.read_expected(tmp_path), store.read_delta(tmp_path)) == ({"a", "b"}, delta)


def test_a_file_without_delta_or_with_a_damaged_one_means_the_default(tmp_path: Path) -> None:
    assert store.read_delta(tmp_path / "none") is None
    for content in ('["a"]', "{", "{}", '{"run_ids": ["a"], "delta": "x"}', '{"delta": NaN}', '{"delta": 2.0}'):
        (tmp_path / "expected.json").write_text(content)
        assert store.read_delta(tmp_path) is None


# Packed records


def test_packing_keeps_the_records_and_tables(study: Path) -> None:
    frame, records = load(study), store.read(study)
    path = pack(study)
    shutil.rmtree(study / "runs")
    assert files_in(study) == {path.name}
    pd.testing.assert_frame_equal(load(study), frame)
    assert store.read(study) == records
    content = path.read_bytes()
    assert pack(study).read_bytes() == content  # also from the packed file


def test_the_same_records_always_pack_to_the_same_bytes(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    days = count(0.0, 86_400.0)
    monkeypatch.setattr(time, "time", lambda: next(days))
    records = [make_record(lr=lr) for lr in (1e-3, 1e-2, 1e-4)]
    for name, ordered in (("a", records), ("b", records[::-1])):
        save_packed(tmp_path / name, *ordered)
    assert (tmp_path / "a" / "runs.jsonl.gz").read_bytes() == (tmp_path / "b" / "runs.jsonl.gz").read_bytes()


COMMITTED = sorted((Path(__file__).parents[2] / "results" / "reference").rglob("runs.jsonl.gz"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_records_pack_to_the_same_text_again(tmp_path: Path, path: Path) -> None:
    """The text is compared, not the file, because gzip's bytes depend on the version of zlib."""
    shutil.copy(path, tmp_path)
    assert gzip.decompress(pack(tmp_path).read_bytes()) == gzip.decompress(path.read_bytes())


def test_a_study_with_a_damaged_record_is_not_packed(make_record: MakeRecord, tmp_path: Path) -> None:
    save(tmp_path, make_record())
    bad = path_of(tmp_path, "bad")
    bad.write_bytes(b"{}")
    with pytest.raises(StoreError) as error:
        pack(tmp_path)
    assert str(error.value) == f"{bad}: {NOT_VALID}"
    assert not any("gz" in name for name in files_in(tmp_path))


def test_the_temporary_file_of_a_killed_process_is_not_a_record(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    path = save(tmp_path, record)
    path.with_name(f".{path.name}.0a1b2c3d").write_bytes(path.read_bytes()[:100])
    assert scan(tmp_path) == ({record.run_id: record}, [])
