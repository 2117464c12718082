"""Ask PyPI's database for known vulnerabilities of the pinned packages. Exit code 1 if there are any. `make vulnerabilities`.

If the database cannot be reached or does not list a package, the package counts as not checked. That is not an error.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PINS = (["--requirement=requirements.txt", "--require-hashes"], ["--requirement=constraints.txt", "--no-deps"])


def audit(options: list[str]) -> list[dict[str, Any]] | None:
    """pip-audit's answer for each package. If pip-audit fails, print its message and return None."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner=off", "--timeout=10", "--format=json"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.stdout:
        return list(json.loads(done.stdout)["dependencies"])
    print(done.stderr.strip().rpartition("\n")[2], file=sys.stderr)
    return None


def summary(packages: list[dict[str, Any]]) -> tuple[str, int]:
    """The text to print about pip-audit's answers, and the exit code."""
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    num_skipped = sum("skip_reason" in package for package in packages)
    counts = f"vulnerabilities: {len(lines)} known; packages checked: {len(packages) - num_skipped}, not checked: {num_skipped}"
    return "\n".join([*lines, counts]), 1 if lines else 0


def main() -> None:
    answers = [audit(options) for options in _PINS]
    text, code = summary([package for answer in answers for package in answer or ()])
    print(text)
    if None in answers:
        print(f"vulnerabilities: {answers.count(None)} of {len(_PINS)} lists of packages not checked")
    sys.exit(code)


if __name__ == "__main__":
    main()
