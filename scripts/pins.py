"""Write requirements.txt and constraints.txt: the exact version of every package that `make` installs.

    python scripts/pins.py [--upgrade]          (`make pins` runs it; ARGS=--upgrade)

requirements.txt: the environment with the dependency group `dev`, for every platform and Python that lrsweep runs on, with
SHA-256 hashes; pip refuses files with other hashes. constraints.txt: versions without hashes, of torch (a CUDA build on one
machine, a CPU build on another) with the libraries of its CUDA build, and of the packages that only the extras need.
Versions stay the same unless pyproject.toml requires others, or --upgrade is given.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HASHED, _PLAIN = ROOT / "requirements.txt", ROOT / "constraints.txt"
_TORCH = re.compile(r"torch==|cuda-|nvidia-")
_HEADER = "# Written by `make pins`; why there are two such files: scripts/pins.py.\n"


def compile_pins(current: list[str], *options: str) -> list[str]:
    """A pin for each package that pyproject.toml needs, with its hashes on the lines below. Keeps current versions that fit."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "pins.txt"
        output.write_text("\n".join(current), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--no-header", "--no-annotate", "--output-file", str(output), *options, *sys.argv[1:], "pyproject.toml"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return re.split(r"\n(?=\w)", output.read_text(encoding="utf-8").strip())


def without_hashes(pin: str) -> str:
    return pin.splitlines()[0].removesuffix(" \\")


def main() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (_HASHED, _PLAIN) if path.exists())
    current = [without_hashes(pin) for pin in re.findall(r"^\w.*==.*$", text, re.MULTILINE)]
    hashed = [pin for pin in compile_pins(current, "--group", "dev", "--generate-hashes") if not _TORCH.match(pin)]
    _HASHED.write_text(_HEADER + "\n".join(hashed) + "\n", encoding="utf-8")
    everything = compile_pins(current, "--all-extras", "--group", "dev", "--constraint", _HASHED.name)
    plain = sorted({*everything} - {without_hashes(pin) for pin in hashed})
    _PLAIN.write_text(_HEADER + "\n".join(plain) + "\n", encoding="utf-8")
    print(f"{_HASHED.name}: {len(hashed)} packages with hashes; {_PLAIN.name}: {len(plain)} versions")


if __name__ == "__main__":
    main()
