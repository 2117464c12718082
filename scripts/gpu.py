"""Make all GPU measurements of docs/performance.md, and train the reference runs on the GPU. `make gpu` runs it.

    python scripts/gpu.py                    at most 8 minutes, the most important steps first
    python scripts/gpu.py --minutes 30       enough time for every step
    python scripts/gpu.py --dry-run          all steps on a CPU with tiny sizes; the default if there is no GPU

Each step is a process with a time limit, so a hang or a crash loses only that step. The results are in the folder
results/gpu/<card>-<code>, one for each GPU model and version of src/ and conf/. Finished steps in this folder are not repeated.
After each step, the script updates the tables in docs/performance.md and results/bench/, and the runs in results/reference/.

With --out, the results are also copied to that folder: gpu.md to read, gpu.log, and gpu.tar.gz with all results. To publish them
elsewhere, unpack gpu.tar.gz in a checkout there and run `python scripts/gpu.py --publish results/gpu/<card>-<code>`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarking import ROOT
from code_version import code_hash, read_commit
from gpu_publish import export, pack, publish_tables, slug, to_markdown
from gpu_report import state

from lrsweep.storage.files import write_atomically
from lrsweep.training.device import describe

RESULTS = Path("results") / "gpu"
SECONDS_TO_END = 15.0  # after SIGINT, a step has this long to end before it is killed; a sweep then stores its finished runs
_CARD = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


@dataclass(frozen=True)
class Step:
    name: str
    needed_seconds: int  # the step does not start if less time is left
    limit_seconds: int  # the step is ended after this time
    command: list[str]


def plan(work: Path, *, dry_run: bool) -> list[Step]:
    """The most important steps first. In a dry run, all sizes are tiny, and no step is ended early."""
    device, images = ("cpu", "6") if dry_run else ("cuda", "600")
    seeds, fresh_seeds = ("0,1", "1000,1001") if dry_run else ("range(10)", "range(1000,1020)")
    fresh_rates = [] if dry_run else ["grid.start=-3.2", "grid.stop=-2.2"]
    tiny = ["grid.start=-3", "grid.stop=-2.5", "grid.step=0.5", "training.max_epochs=2"]
    tiny += ["data.num_train=100", "data.num_valid=100", "data.num_test=100"]
    settings = [f"machine.results_dir={work / 'reference'}", f"machine.device={device}", *(tiny if dry_run else [])]
    lr = ["study=lr", "study.name=lr_next"]
    of_probe = "tests/fused/test_conv2_kernel.py"  # has its own step, because compiling takes minutes
    of_engines = ["tests/fused", f"--ignore={of_probe}", "tests/training/test_solo.py"]
    bench_options = ["--rounds=1", f"--device={device}"]

    def step(name: str, needed_seconds: int, limit_seconds: int, *command: str) -> Step:
        return Step(name, needed_seconds, 3_600 if dry_run else limit_seconds, [sys.executable, *command])

    def tests(name: str, needed_seconds: int, limit_seconds: int, *files: str) -> Step:
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", f"--junitxml={work / name}.xml"]
        return step(name, needed_seconds, limit_seconds, *pytest, *files)

    def fused(name: str, needed_seconds: int, limit_seconds: int, *overrides: str) -> Step:
        command = ["scripts/gpu_sweep.py", str(work / f"{name}.json"), *overrides, *settings, "hydra/launcher=fused"]
        return step(name, needed_seconds, limit_seconds, *command)

    both_losses = ["loss=cross_entropy,double_softmax", "study.extend=true"]
    fresh = ["study=lr", "study.name=lr_next/confirm", f"seed={fresh_seeds}", *fresh_rates]
    speed = ["scripts/bench_fused.py", *bench_options, "--epochs=1", f"--images={images}", f"--out={work / 'fused'}"]
    profile = ["scripts/gpu_profile.py", f"--device={device}", f"--images={images}", f"--out={work}"]
    kernel = ["scripts/gpu_kernel.py", f"--device={device}", f"--out={work}"]
    rivals = ["scripts/bench.py", *bench_options, "--epochs=2", f"--images={6 if dry_run else 3_000}", f"--out={work / 'bench'}"]
    return [
        tests("tests", 60, 180, *(["tests/fused/test_stacked_cnn.py"] if dry_run else of_engines)),
        step("fused", 80, 180, *speed),
        step("profile", 20, 60, *profile),
        step("kernel", 40, 100, *kernel, *(["--images=1", "--runs", "1"] if dry_run else [])),
        fused("cross_entropy", 60, 240, *lr, f"seed={seeds}"),
        fused("double_softmax", 60, 240, *lr, f"seed={seeds}", *both_losses),
        fused("confirm", 40, 150, *fresh),
        step("rivals", 80, 200, *rivals),
        step("mixed_precision", 60, 200, "-m", "lrsweep", "study=mixed_precision", *settings),
        tests("probe_tests", 60, 180, of_probe),
        step("solo", 30, 600, "-m", "lrsweep", *lr, "seed=0", "hydra.launcher.measure=true", *settings),  # skips finished runs
    ]


def run(step: Step, seconds_left: float, log: Path, environment: dict[str, str]) -> str:
    """Run the step until it ends, reaches its limit, or the time is up. Return its result."""
    seconds = min(seconds_left, step.limit_seconds)
    with log.open("a", encoding="utf-8") as file:
        print(f"\n=== {step.name}: {' '.join(step.command)}", file=file, flush=True)
        process = subprocess.Popen(
            step.command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            exit_code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            is_over = seconds < step.limit_seconds
            return f"{'stopped: out of time' if is_over else 'failed: still running'} after {seconds:.0f} s"
        finally:
            _end(process)
    return f"failed: exit code {exit_code}" if exit_code else "done"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process if it still runs, and all processes that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(steps: Sequence[Step], work: Path, minutes: float, environment: dict[str, str], publish: Callable[[], None]) -> None:
    """Run the unfinished steps in order until the time is up. The state is stored after each step."""
    deadline = time.monotonic() + 60 * minutes
    found = state(work)
    for step in steps:
        if found["steps"].get(step.name, {}).get("result") == "done":
            print(f"{step.name}: already done", flush=True)
            continue
        start = time.monotonic()
        left = deadline - start
        if left < step.needed_seconds:
            result = f"not started: it needs {step.needed_seconds} s, but only {max(0.0, left):.0f} s are left"
        else:
            print(f"{step.name} …", flush=True)
            result = run(step, left, work / "gpu.log", environment)
        found["steps"][step.name] = {"result": result, "seconds": time.monotonic() - start}
        print(f"{step.name}: {result} ({time.monotonic() - start:.0f} s)", flush=True)
        write_atomically(work / "state.json", json.dumps(found, indent=1).encode())
        publish()


def _new_state(card: str, commit: str | None) -> dict[str, Any]:
    machine = describe(torch.device("cpu"), workers=1)
    return {
        "card": card,
        "commit": commit,
        "torch": machine["versions"]["torch"],
        "date": machine["finished_at"][:10],
        "steps": {},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Make all measurements on a GPU, and train the reference runs on it.")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all steps (default: %(default)s)")
    names = [step.name for step in plan(RESULTS, dry_run=True)]
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=f"only these steps: {', '.join(names)}")
    parser.add_argument("--again", action="store_true", help="repeat finished steps")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on a CPU; changes no document")
    parser.add_argument("--out", type=Path, help="also copy the results to this folder")
    parser.add_argument("--wheelhouse", type=Path, help="folder that names the commit, for a copy without git")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="only publish the results in this folder")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if arguments.publish:
        publish_tables(arguments.publish)
        return
    card = "" if arguments.dry_run else subprocess.check_output([sys.executable, "-c", _CARD], text=True).strip()
    dry_run = not card
    work = RESULTS / ("dry-run" if dry_run else f"{slug(card)}-{code_hash()[:8]}")
    if arguments.again or dry_run:
        shutil.rmtree(work, ignore_errors=True)
    machine = describe(torch.device("cpu"), workers=1)
    carried = None if machine["git_commit"] or not arguments.wheelhouse else read_commit(arguments.wheelhouse)
    commit = machine["git_commit"] or carried
    if not (work / "state.json").exists():
        write_atomically(work / "state.json", json.dumps(_new_state(card or "CPU (dry run)", commit)).encode())
    environment = os.environ | {"LRSWEEP_TEST_DEVICE": "cpu" if dry_run else "cuda"}
    # Plugins of other installed packages could raise warnings, and our tests treat a warning as an error.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment |= {"LRSWEEP_COMMIT": carried} if carried else {}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"} if dry_run else {}
    print("Dry run on the CPU with tiny sizes." if dry_run else f"{card}, {arguments.minutes:g} minutes.", f"Results: {work}")
    if not dry_run and (commit is None or machine["git_dirty"]):
        print("Warning: unknown commit or uncommitted changes, so the records cannot say which code ran.", flush=True)

    def publish() -> None:
        pack(work)
        if not dry_run:
            publish_tables(work)
        if arguments.out:
            export(work, arguments.out)

    steps = [step for step in plan(work, dry_run=dry_run) if not arguments.only or step.name in arguments.only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run_all(steps, work, arguments.minutes, environment, publish)
    except KeyboardInterrupt:
        sys.exit("Stopped. Finished steps are kept; the same command continues.")
    print("\n" + to_markdown(work).split("\n## ", maxsplit=1)[0])
    results = [state(work)["steps"][step.name]["result"] for step in steps]
    if any(result.startswith("failed") for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
