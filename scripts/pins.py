"""Renew the pins: what `make` installs, each version named and each file of it by its SHA-256.

    python scripts/pins.py [--upgrade]          (what `make pins` runs; ARGS=--upgrade)

requirements.txt: the environment with the extra `dev`, for every platform and Python that lrsweep runs on; pip refuses a
file that is not listed. constraints.txt: what has no hashes there. That is torch, which pip takes from the index on one
machine and as a CPU build on another, the libraries of its CUDA build, and what the other extras would add. Versions stay
as they are, but where pyproject.toml needs another, or with --upgrade.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HASHED, _PLAIN = ROOT / "requirements.txt", ROOT / "constraints.txt"
_BUILT_TWICE = re.compile(r"torch==|triton==|cuda-|nvidia-")
_HEADER = "# Written by `make pins`; why there are two such files: scripts/pins.py.\n"


def compiled(pins: list[str], *options: str) -> list[str]:
    """A pin for each package that pyproject.toml asks for, its hashes below it; `pins` where they will do."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "pins.txt"
        output.write_text("\n".join(pins), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        layout = ["--no-header", "--no-annotate", "--output-file", str(output)]
        subprocess.run([*command, *layout, *options, "pyproject.toml"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return re.split(r"\n(?=\w)", output.read_text(encoding="utf-8").strip())


def pinned() -> list[str]:
    """What the two files pin now, without the hashes."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (_HASHED, _PLAIN) if path.exists())
    return [_version(pin) for pin in re.findall(r"^\w.*==.*$", text, re.MULTILINE)]


def _version(pin: str) -> str:
    """The pin without its hashes."""
    return pin.splitlines()[0].removesuffix(" \\")


def main() -> None:
    kept = pinned()
    dev = compiled(kept, "--extra", "dev", "--generate-hashes", *sys.argv[1:])
    hashed = [pin for pin in dev if not _BUILT_TWICE.match(pin)]
    _HASHED.write_text(_HEADER + "\n".join(hashed) + "\n", encoding="utf-8")
    everything = compiled(kept, "--all-extras", "--constraint", _HASHED.name, *sys.argv[1:])
    plain = sorted({*everything} - {_version(pin) for pin in hashed})
    _PLAIN.write_text(_HEADER + "\n".join(plain) + "\n", encoding="utf-8")
    print(f"{_HASHED.name}: {len(hashed)} packages with their hashes; {_PLAIN.name}: {len(plain)} by version")


if __name__ == "__main__":
    main()
