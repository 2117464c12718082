"""Install into a folder what this interpreter lacks to run lrsweep, and nothing that it has already.

    python3 scripts/missing.py .site

For `make … PYTHON=python3`: an interpreter that has torch is used as it is, without a virtual environment and without a
change to it. pip works out what is missing; only that goes into the folder, which PYTHONPATH then names.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    target = sys.argv[1]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    plan = subprocess.run([*pip, "--dry-run", "--report", "-", f"{ROOT}[dev]"], stdout=subprocess.PIPE, check=True, text=True)
    found = [item["metadata"] for item in json.loads(plan.stdout)["install"]]
    missing = [f"{package['name']}=={package['version']}" for package in found if package["name"] != "lrsweep"]
    if missing:
        print(f"Into {target}: {', '.join(missing)}")
        subprocess.run([*pip, "--no-deps", "--target", target, *missing], check=True)


if __name__ == "__main__":
    main()
