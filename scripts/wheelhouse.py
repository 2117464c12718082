"""Collect what a machine without a network needs beside torch to run lrsweep, as wheels in a folder.

    python scripts/wheelhouse.py wheelhouse 3.12 manylinux_2_28_x86_64          (what `make wheelhouse` runs)

Take the folder there with the checkout and data/mnist.zip; `make sweep PYTHON=python3 WHEELHOUSE=wheelhouse` then installs
into .site/ what that interpreter lacks, and nothing into the interpreter. torch and torchvision must be there already.
"""

import re
import subprocess
import sys

from missing import requirements

_ALREADY_THERE = {"torch", "torchvision"}
_SOURCE_ONLY = "antlr4-python3-runtime==4.9.*"  # what OmegaConf 2.3 pins; it has no wheel, and is pure Python


def main() -> None:
    folder, python_version, platform = sys.argv[1:]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, _SOURCE_ONLY], check=True)
    wanted = [line for line in requirements() if re.split(r"[^\w-]", line)[0] not in _ALREADY_THERE]
    target = ["--python-version", python_version, "--platform", platform, "--only-binary=:all:"]
    subprocess.run([*pip, "download", "--quiet", "--dest", folder, "--find-links", folder, *target, *wanted], check=True)
    print(f"{folder}: for Python {python_version} on {platform}, where torch and torchvision are installed")


if __name__ == "__main__":
    main()
