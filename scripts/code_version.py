"""Which commit this code is, also in a copy of the checkout without git.

`make wheelhouse` writes the commit and a hash of the code beside the wheels. Elsewhere, equal hashes show that the code is that
of the commit.
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
    """A hash of all files that can change a run: those in src/ and conf/."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("src", "conf") for path in (ROOT / folder).rglob("*") if path.is_file()):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def write_commit(folder: Path) -> None:
    """Write nothing if the code is not that of a commit."""
    machine = describe(torch.device("cpu"), workers=1)
    if machine["git_commit"] and not machine["git_dirty"]:
        write_atomically(folder / _NAME, json.dumps({"commit": machine["git_commit"], "code": code_hash()}).encode())


def read_commit(folder: Path) -> str | None:
    """The commit of this code, if the folder names the commit of equal code."""
    try:
        written = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except OSError:
        return None
    return str(written["commit"]) if written["code"] == code_hash() else None
