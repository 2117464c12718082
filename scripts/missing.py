"""Install into a folder what this interpreter lacks to run lrsweep, and nothing that it has already.

    python3 scripts/missing.py .site                 from the package index
    python3 scripts/missing.py .site wheelhouse      from a folder of wheels (make wheelhouse), without a network

For `make … PYTHON=python3`: an interpreter that has torch is used as it is, without a virtual environment and without a
change to it. pip works out what is missing; only that goes into the folder, which PYTHONPATH then names.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def requirements() -> list[str]:
    """What lrsweep and its tests need. Read here and not by pip, which would first fetch what builds lrsweep."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def main() -> None:
    target, *wheelhouse = sys.argv[1:]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    if wheelhouse:
        pip += ["--no-index", "--find-links", wheelhouse[0]]
    plan = subprocess.run([*pip, "--dry-run", "--report", "-", *requirements()], stdout=subprocess.PIPE, check=True, text=True)
    found = [item["metadata"] for item in json.loads(plan.stdout)["install"]]
    missing = [f"{package['name']}=={package['version']}" for package in found]
    if missing:
        print(f"Into {target}: {', '.join(missing)}")
        subprocess.run([*pip, "--no-deps", "--target", target, *missing], check=True)


if __name__ == "__main__":
    main()
