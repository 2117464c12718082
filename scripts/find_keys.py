"""Refuse keys and passwords in the files that git has, or would take.

    python scripts/find_keys.py [folder]          (part of `make lint`)

Known by their shape, as those who issue them publish it. Checksums and commits look as random as any key, so mere
randomness is no sign: this project is full of them.
"""

import gzip
import re
import subprocess
import sys
from pathlib import Path

_SHAPES = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": rb"\b(?:gh[opusr]_\w{36}|github_pat_\w{22})",
    "a GitLab token": rb"\bglpat-[\w-]{20}",
    "a registry's token": rb"\b(?:pypi-AgE\w{20}|npm_\w{36}|hf_[A-Za-z]{30})",
    "a service's key": rb"\b(?:sk-[\w-]{24}|xox[abeoprs]-[\w-]{10}|AIza[\w-]{35})",
    "a signed token": rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10}",
    "a password in an address": rb"://[^\s/:@\"'<>{}$]+:[^\s/:@\"'<>{}$]+@[\w.]",
    "a secret by its name": rb"(?i:password|passwd|secret|token|api_?key|access_?key)\w*[\"']?\s*[:=]\s*[\"'][^\"'\s{}]{12}",
}


def keys_in(content: bytes) -> list[tuple[int, str]]:
    """The line of each thing that looks like a key, and what it looks like. Never the key itself: this is printed."""
    found = ((match.start(), kind) for kind, shape in _SHAPES.items() for match in re.finditer(shape, content))
    return [(content.count(b"\n", 0, start) + 1, kind) for start, kind in sorted(found)]


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    listed = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    paths = [folder / name for name in names if (folder / name).is_file()]
    found = 0
    for path in paths:
        content = path.read_bytes()
        for line, kind in keys_in(gzip.decompress(content) if path.suffix == ".gz" else content):
            print(f"{path}:{line}: looks like {kind}; take it out, and have it revoked if it was ever pushed", file=sys.stderr)
            found += 1
    print(f"keys: {found or 'none'} in {len(paths)} files")
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
