"""Find the commit of this code, even in a copy of the checkout without git.

`make wheelhouse` writes the commit and a hash of its code into the folder of the wheels. If the code on another machine has the
same hash, it is the code of this commit.
"""

import hashlib
import json
from pathlib import Path

import torch

from lrsweep.storage.files import write_atomically
from lrsweep.training.device import describe

ROOT = Path(__file__).parents[1]
_NAME = "commit.json"


def code_hash() -> str:
    """A hash of all files in src/ and conf/, because these can change the result of a run."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("src", "conf") for path in (ROOT / folder).rglob("*") if path.is_file()):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def write_commit(folder: Path) -> None:
    """Write the commit and the code's hash. Write nothing without git or if there are uncommitted changes."""
    machine = describe(torch.device("cpu"), workers=1)
    if machine["git_commit"] and not machine["git_dirty"]:
        write_atomically(folder / _NAME, json.dumps({"commit": machine["git_commit"], "code": code_hash()}).encode())


def read_commit(folder: Path) -> str | None:
    """The commit that the folder names, if its code has the same hash as this code."""
    try:
        written = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except OSError:
        return None
    return str(written["commit"]) if written["code"] == code_hash() else None
