"""Files are written completely or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from lrsweep.storage.files import StoreError, remove_leftovers, temporary_path, write_atomically


class Crash(BaseException):
    """Not an Exception, like Ctrl-C."""


def crash(*args: Any, **options: Any) -> None:
    raise Crash


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_written_and_replaced_in_any_folder(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "학습률 결과" / "모델 요약.txt"
    for content in (b"first", bytes(range(256))):
        write_atomically(path, content)
        assert contents_of(tmp_path) == {"a folder/학습률 결과/모델 요약.txt": content}


@pytest.mark.parametrize(("owner", "function"), [(os, "fsync"), (Path, "replace")])
def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: Any, function: str
) -> None:
    write_atomically(tmp_path / "old", b"old")
    monkeypatch.setattr(owner, function, crash)
    for name in ("old", "new"):
        with pytest.raises(Crash):
            write_atomically(tmp_path / name, b"new")
    assert contents_of(tmp_path) == {"old": b"old"}


def test_two_writers_with_the_same_process_id_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Containers that share a folder can have the same process ids."""
    path = tmp_path / "file"
    fsync = os.fsync

    def write_once_more(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomically(path, b"second writer")
        assert path.read_bytes() == b"second writer"

    monkeypatch.setattr(os, "fsync", write_once_more)
    write_atomically(path, b"first writer")
    assert contents_of(tmp_path) == {"file": b"first writer"}


def test_a_file_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name, reason in (("folder", "Is a directory"), ("file/below", "Not a directory|File exists")):
        with pytest.raises(StoreError, match=rf"{name} cannot be written \(({reason})\)"):
            write_atomically(tmp_path / name, b"content")
    assert contents_of(tmp_path) == {"file": b""}


def test_only_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    kept = [".lock", ".hydra", "record.json", ".notes.markdown", ".a.0123", "a.01234567", ".01234567"]
    for name in (*kept, temporary_path(tmp_path / "record.json").name, temporary_path(tmp_path / "학습률.md").name):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, of="record.json.")
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_write_is_repeated_if_its_temporary_file_is_taken_for_a_leftover(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fsync = os.fsync

    def remove_once(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        remove_leftovers(tmp_path)

    monkeypatch.setattr(os, "fsync", remove_once)
    write_atomically(tmp_path / "file", b"content")
    assert contents_of(tmp_path) == {"file": b"content"}
