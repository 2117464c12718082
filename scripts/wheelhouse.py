"""Download the wheels that a machine without a network needs to run lrsweep, besides torch, torchvision and triton.

    python scripts/wheelhouse.py wheelhouse 3.12 x86_64          (`make wheelhouse` runs it)

Take the folder to that machine, with the checkout and data/mnist.zip. There `make sweep PYTHON=python3 WHEELHOUSE=wheelhouse`
installs the missing packages into .site/ and leaves the interpreter as it is. The folder also says which commit the code is,
for a copy of the checkout without git.

With --for-gpu, the folder holds only what `make gpu` needs, without NumPy, pandas, SciPy and Matplotlib, which an image with
PyTorch usually has.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from code_version import write_commit
from missing import name_of, requirements

_ALREADY_THERE = {"torch", "torchvision", "triton"}  # PyTorch for CUDA brings Triton
_ON_GPU_MACHINES = {"numpy", "pandas", "scipy", "matplotlib"}
_GLIBC = range(5, 29)  # pip accepts only the tags it is given; it does not know that glibc 2.28 also runs wheels for 2.17
_SOURCE_ONLY = "antlr4-python3-runtime==4.9.*"  # pinned by OmegaConf 2.3; it has no wheel, and is pure Python


def main() -> None:
    parser = argparse.ArgumentParser(description="Download the wheels that a machine without a network needs to run lrsweep.")
    parser.add_argument("folder")
    parser.add_argument("python_version")
    parser.add_argument("architecture")
    parser.add_argument("--for-gpu", action="store_true", help="only what make gpu needs")
    arguments = parser.parse_args()
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", arguments.folder, _SOURCE_ONLY], check=True)
    there = _ALREADY_THERE | (_ON_GPU_MACHINES if arguments.for_gpu else set())
    wanted = [line for line in requirements(for_gpu=arguments.for_gpu) if name_of(line) not in there]
    if not arguments.for_gpu:
        wanted.append("setuptools")  # torch needs it, and an interpreter may lack it or have an old one
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in _GLIBC)]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_{arguments.architecture}")]
    target = ["--python-version", arguments.python_version, *platforms, "--only-binary=:all:"]
    source = ["--dest", arguments.folder, "--find-links", arguments.folder]
    subprocess.run([*pip, "download", "--quiet", *source, *target, *wanted], check=True)
    write_commit(Path(arguments.folder))
    where = f"Python {arguments.python_version} on Linux, {arguments.architecture}"
    print(f"{arguments.folder}: for {where}, with {', '.join(sorted(there))} installed")


if __name__ == "__main__":
    main()
