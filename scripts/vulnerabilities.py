"""Fail on a pinned package with a known vulnerability; say so where nobody could be asked.

    python scripts/vulnerabilities.py          (part of `make lint`)

pip-audit asks the index. Where that cannot be reached, or has no advisories, pip-audit passes as if all were well, or ends in a
traceback: neither is an answer, and neither is a reason to stop a build.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pins import pinned

_UNREACHABLE = re.compile(r"requests\.exceptions|[Cc]onnect|redirecting|ServiceError")  # on pip-audit's last line


class Unanswered(Exception):
    """The advisories could not be asked. The message says why, in a few words."""


def audited() -> list[dict[str, Any]]:
    """Every pinned package, as pip-audit found it."""
    with tempfile.TemporaryDirectory() as scratch:
        pins = Path(scratch) / "pins.txt"
        pins.write_text("\n".join(pinned()), encoding="utf-8")
        options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        return packages
    complaint = done.stderr.strip().splitlines()[-1]
    if _UNREACHABLE.search(complaint):
        raise Unanswered(complaint[:150])
    raise SystemExit(f"pip-audit failed: {complaint}")


def main() -> int:
    try:
        packages = audited()
    except Unanswered as error:
        print(f"not audited: {error}")
        return 0
    unknown = [package for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        print(f"not audited: the index here has no advisories of any of the {len(packages)} pinned packages")
        return 0
    vulnerable = [(package, found) for package in packages for found in package.get("vulns", [])]
    for package, found in vulnerable:
        mended = ", ".join(found["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {found['id']}, mended in {mended}; make pins", file=sys.stderr)
    names = ", ".join(sorted({package["name"] for package in unknown})) or "none"
    num_known = len(packages) - len(unknown)
    print(f"audited: {num_known} packages, {len(vulnerable)} known vulnerabilities; not audited: {names}")
    return min(len(vulnerable), 1)


if __name__ == "__main__":
    sys.exit(main())
