"""Install into a folder the packages that this interpreter lacks to run lrsweep, and no others.

    python3 scripts/missing.py .site                 from the package index
    python3 scripts/missing.py .site wheelhouse      from a folder of wheels (make wheelhouse), without a network

`make … PYTHON=python3` runs it. That uses an interpreter that already has torch, without a virtual environment and without
changing the interpreter; PYTHONPATH names the folder. With --for-gpu, it installs only what `make gpu` needs.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TESTS_OF_GPU = ("pytest", "hypothesis")


def requirements(*, for_gpu: bool = False) -> list[str]:
    """What lrsweep and its tests need, or what `make gpu` needs. Not read by pip, which would first fetch the build backend."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dev = pyproject["dependency-groups"]["dev"]
    return [*pyproject["project"]["dependencies"], *(line for line in dev if not for_gpu or name_of(line) in _TESTS_OF_GPU)]


def name_of(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Install the packages that this interpreter lacks to run lrsweep.")
    parser.add_argument("target", help="folder to install into")
    parser.add_argument("wheelhouse", nargs="?", help="folder of wheels, in place of the package index")
    parser.add_argument("--for-gpu", action="store_true", help="only what make gpu needs")
    arguments = parser.parse_args()
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    if arguments.wheelhouse:
        pip += ["--no-index", "--find-links", arguments.wheelhouse]
    wanted = requirements(for_gpu=arguments.for_gpu)
    plan = subprocess.run([*pip, "--dry-run", "--report", "-", *wanted], stdout=subprocess.PIPE, check=True, text=True)
    packages = [item["metadata"] for item in json.loads(plan.stdout)["install"]]
    missing = [f"{package['name']}=={package['version']}" for package in packages]
    if missing:
        print(f"Installing into {arguments.target}: {', '.join(missing)}")
        subprocess.run([*pip, "--no-deps", "--target", arguments.target, *missing], check=True)


if __name__ == "__main__":
    main()
