"""Install into a folder the packages that this interpreter lacks to run lrsweep, and no others.

    python3 scripts/missing.py .site                 from the package index
    python3 scripts/missing.py .site wheelhouse      from a folder of wheels (make wheelhouse), without a network

`make … PYTHON=python3` runs it. That uses an interpreter that already has torch, without a virtual environment and without
changing the interpreter; PYTHONPATH names the folder.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def requirements() -> list[str]:
    """What lrsweep and its tests need. Not read by pip, which would first fetch the build backend."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]]


def main() -> None:
    target, *wheelhouse = sys.argv[1:]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    if wheelhouse:
        pip += ["--no-index", "--find-links", wheelhouse[0]]
    plan = subprocess.run([*pip, "--dry-run", "--report", "-", *requirements()], stdout=subprocess.PIPE, check=True, text=True)
    packages = [item["metadata"] for item in json.loads(plan.stdout)["install"]]
    missing = [f"{package['name']}=={package['version']}" for package in packages]
    if missing:
        print(f"Installing into {target}: {', '.join(missing)}")
        subprocess.run([*pip, "--no-deps", "--target", target, *missing], check=True)


if __name__ == "__main__":
    main()
