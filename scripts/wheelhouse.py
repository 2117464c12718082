"""Download the wheels that a machine without a network needs to run lrsweep, besides torch and torchvision.

    python scripts/wheelhouse.py wheelhouse 3.12 x86_64          (`make wheelhouse` runs it)

Take the folder to that machine, with the checkout and data/mnist.zip. There `make sweep PYTHON=python3 WHEELHOUSE=wheelhouse`
installs the missing packages into .site/ and leaves the interpreter as it is.
"""

import re
import subprocess
import sys

from missing import requirements

_ALREADY_THERE = {"torch", "torchvision"}
_GLIBC = range(5, 29)  # pip accepts only the tags it is given; it does not know that glibc 2.28 also runs wheels for 2.17
_SOURCE_ONLY = "antlr4-python3-runtime==4.9.*"  # pinned by OmegaConf 2.3; it has no wheel, and is pure Python


def main() -> None:
    folder, python_version, architecture = sys.argv[1:]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, _SOURCE_ONLY], check=True)
    wanted = [line for line in requirements() if re.split(r"[^\w-]", line)[0] not in _ALREADY_THERE]
    wanted.append("setuptools")  # torch needs it, and an interpreter may lack it or have an old one
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in _GLIBC)]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_{architecture}")]
    target = ["--python-version", python_version, *platforms, "--only-binary=:all:"]
    subprocess.run([*pip, "download", "--quiet", "--dest", folder, "--find-links", folder, *target, *wanted], check=True)
    print(f"{folder}: for Python {python_version} on Linux, {architecture}, with torch and torchvision installed")


if __name__ == "__main__":
    main()
