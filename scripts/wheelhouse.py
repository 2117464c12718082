"""Collect what a machine without a network needs beside torch to run lrsweep, as wheels in a folder.

    python scripts/wheelhouse.py wheelhouse 3.12 x86_64          (what `make wheelhouse` runs)

Take the folder there with the checkout and data/mnist.zip; `make sweep PYTHON=python3 WHEELHOUSE=wheelhouse` then installs
into .site/ what that interpreter lacks, and nothing into the interpreter. torch and torchvision must be there already.
"""

import re
import subprocess
import sys

from missing import requirements

_ALREADY_THERE = {"torch", "torchvision"}
_GLIBC = range(5, 29)  # a wheel for glibc 2.17 serves 2.28 as well, but pip takes only the tags that it is told
_SOURCE_ONLY = "antlr4-python3-runtime==4.9.*"  # what OmegaConf 2.3 pins; it has no wheel, and is pure Python


def main() -> None:
    folder, python_version, architecture = sys.argv[1:]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, _SOURCE_ONLY], check=True)
    wanted = [line for line in requirements() if re.split(r"[^\w-]", line)[0] not in _ALREADY_THERE]
    wanted.append("setuptools")  # torch names it, and not every interpreter's own is new enough
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in _GLIBC)]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_{architecture}")]
    target = ["--python-version", python_version, *platforms, "--only-binary=:all:"]
    subprocess.run([*pip, "download", "--quiet", "--dest", folder, "--find-links", folder, *target, *wanted], check=True)
    print(f"{folder}: for Python {python_version} on Linux, {architecture}, where torch and torchvision are installed")


if __name__ == "__main__":
    main()
