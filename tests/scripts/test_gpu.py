"""gpu.py: the plan, steps that succeed or fail, and the tables. gpu_profile.py and gpu_kernel.py: their arithmetic."""

import json
import math
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench
import bench_fused
import gpu
import gpu_profile
import gpu_publish
import gpu_report
import gpu_sweep
import pytest
import torch
from at_work import alive, until
from gpu_profile import Kernel
from hydra.core.override_parser.overrides_parser import OverridesParser

from lrsweep.cli.main import compose, to_app_config
from lrsweep.config import RunConfig
from lrsweep.data.dataset import DataSet
from lrsweep.fused import scheduler
from lrsweep.fused.active_run import EpochSeconds
from lrsweep.records import Outcome, RunRecord, State
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]


# The plan.


def sweep_of(step: gpu.Step) -> list[str] | None:
    """The overrides of a step that runs lrsweep."""
    words = [word for word in step.command if "=" in word and not word.startswith("-")]
    return words if any(word.startswith("study=") for word in words) else None


def num_runs(overrides: list[str]) -> int:
    values: dict[str, list[str]] = {}
    for word in overrides:
        (override,) = OverridesParser.create().parse_overrides([word])
        values[word.split("=")[0]] = (
            list(override.sweep_string_iterator()) if override.is_sweep_override() else [word.split("=")[1]]
        )
    single = [f"{name}={tried[0]}" for name, tried in values.items()]
    config = compose(*single, return_hydra_config=True)
    for name, text in config.hydra.sweeper.params.items():
        (override,) = OverridesParser.create().parse_overrides([f"{name}={text}"])
        values.setdefault(name, list(override.sweep_string_iterator()))
    to_app_config(compose(*single))
    return math.prod(len(tried) for tried in values.values())


def test_the_sweeps_train_the_runs_of_the_reference(tmp_path: Path) -> None:
    sweeps = {step.name: sweep_of(step) for step in gpu.plan(tmp_path, dry_run=False)}
    assert {name: num_runs(overrides) for name, overrides in sweeps.items() if overrides} == {
        "cross_entropy": 460,
        "double_softmax": 920,  # the previous step has already trained half of them
        "confirm": 220,
        "mixed_precision": 20,
        "solo": 46,
    }


def test_the_most_important_steps_come_first_and_a_dry_run_has_the_same(tmp_path: Path) -> None:
    names = [step.name for step in gpu.plan(tmp_path, dry_run=False)]
    assert names[:5] == ["tests", "fused", "profile", "kernel", "cross_entropy"]
    assert names == [step.name for step in gpu.plan(tmp_path, dry_run=True)]


def test_every_step_uses_the_gpu_except_in_a_dry_run(tmp_path: Path) -> None:
    for dry_run, device in ((False, "device=cuda"), (True, "device=cpu")):
        for step in gpu.plan(tmp_path, dry_run=dry_run):
            assert device in " ".join(step.command) or step.name.endswith("tests")  # a variable chooses the device of the tests


# Running steps.


def python(code: str, name: str, needed: int = 1, limit: int = 60) -> gpu.Step:
    return gpu.Step(name, needed, limit, [sys.executable, "-c", code])


STEPS = [
    python("raise SystemExit(3)", "fails"),
    python("import signal; signal.pause()", "hangs", limit=1),
    python("print('a result')", "works"),
    python("", "too long", needed=10_000),
]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    state = {"card": "A GPU 5", "commit": "abcdef123", "torch": "2.11", "date": "2026-01-01", "steps": {}}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def results(work: Path) -> dict[str, str]:
    return {name: step["result"] for name, step in gpu_report.state(work)["steps"].items()}


def test_a_step_that_fails_hangs_or_does_not_fit_costs_no_other_step(work: Path) -> None:
    published: list[dict[str, str]] = []
    gpu.run_all(STEPS, work, 8, {}, lambda: published.append(results(work)))
    assert results(work) == {
        "fails": "failed: exit code 3",
        "hangs": "failed: still running after 1 s",
        "works": "done",
        "too long": published[-1]["too long"],
    }
    assert re.fullmatch(r"not started: it needs 10000 s, but only 4\d\d s are left", published[-1]["too long"])
    assert [len(each) for each in published] == [1, 2, 3, 4]  # each step's result is out before the next step starts
    assert "a result" in (work / "gpu.log").read_text()
    assert "failed: still running after 1 s" in gpu_publish.to_markdown(work)


def test_a_step_that_the_time_cuts_off_has_not_failed(work: Path) -> None:
    gpu.run_all([python("import signal; signal.pause()", "long", needed=0)], work, 2 / 60, {}, lambda: None)
    assert re.fullmatch("stopped: out of time after [12] s", results(work)["long"])


def test_what_a_step_leaves_behind_is_ended(work: Path) -> None:
    child = "import signal; signal.pause()"
    code = f"import subprocess, sys; print('child', subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)"
    gpu.run_all([python(code, "leaves a child")], work, 8, {}, lambda: None)
    [pid] = re.findall(r"^child (\d+)", (work / "gpu.log").read_text(), re.M)
    until(lambda: not alive([int(pid)]))


def test_a_repeated_call_skips_finished_steps(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        gpu.run_all([STEPS[0], STEPS[2]], work, 8, {}, lambda: None)
    assert (work / "gpu.log").read_text().count("=== fails") == 2
    assert (work / "gpu.log").read_text().count("=== works") == 1
    assert "works: already done" in capsys.readouterr().out


@pytest.mark.parametrize(("chosen", "exit_code"), [(["works"], 0), (["fails", "works"], 1)])
def test_the_exit_code_says_whether_a_step_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: list[str], exit_code: int
) -> None:
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "plan", lambda work, *, dry_run: STEPS)
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--dry-run", "--only", *chosen, "--out", str(tmp_path / "out")])
    if exit_code:
        with pytest.raises(SystemExit, match=str(exit_code)):
            gpu.main()
    else:
        gpu.main()
    assert results(tmp_path / "dry-run")["works"] == "done"
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in files)
    with tarfile.open(tmp_path / "out" / "gpu.tar.gz") as tar:
        assert any(name.endswith("dry-run/state.json") for name in tar.getnames())


def test_a_sweep_adds_the_time_and_epochs_of_its_programs_even_if_the_last_is_interrupted(
    tmp_path: Path, make_record: Callable[..., RunRecord]
) -> None:
    """Two programs of two runs. In the second program, one run resumed after its first epoch."""
    outcome = make_record().outcome  # three epochs
    ended: list[int] = []

    def train(runs: list[int], *, on_outcome: Callable[[int, Outcome], None], **options: Any) -> None:
        for i in runs:
            on_outcome(i, outcome)
        if options:
            raise KeyboardInterrupt

    timed = gpu_sweep.timed(train, tmp_path / "sweep.json")
    timed([0, 1], on_outcome=lambda i, outcome: ended.append(i))
    first = json.loads((tmp_path / "sweep.json").read_text())
    with pytest.raises(KeyboardInterrupt):
        timed([2, 3], on_outcome=lambda i, outcome: ended.append(i), resume_from={1: {"run": {"curve": [{}]}}})
    both = json.loads((tmp_path / "sweep.json").read_text())
    assert ended == [0, 1, 2, 3]
    assert (first["runs"], first["epochs"], both["runs"], both["epochs"]) == (2, 6, 4, 11)
    assert 0 < first["training_seconds"] < both["training_seconds"]


def test_a_sweep_counts_only_the_epochs_that_a_resumed_program_trains(
    tmp_path: Path, mnist: DataSet, make_run: Callable[..., RunConfig]
) -> None:
    """With the states of the real scheduler: a run of 3 epochs is interrupted after 2."""
    states: dict[int, State] = {}

    def keep(position: int, make_state: Callable[[], State]) -> None:
        states[position] = make_state()
        if len(states[position]["run"]["curve"]) == 2:
            raise KeyboardInterrupt

    run = make_run(patience=None)
    options = {"num_slots": 1, "epoch_seconds": EpochSeconds(1.0, 1.0), "on_outcome": lambda i, outcome: None}
    with pytest.raises(KeyboardInterrupt):
        scheduler.train([run], mnist, on_state=keep, **options)
    gpu_sweep.timed(scheduler.train, tmp_path / "sweep.json")([run], mnist, resume_from=states, **options)
    assert json.loads((tmp_path / "sweep.json").read_text())["epochs"] == 1


# The tables.


def write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(content))


def rows(lines: list[str]) -> dict[str, str]:
    return {label.strip(): text.strip() for label, text in (line.strip("| ").split(" | ", 1) for line in lines[2:])}


def test_what_did_not_run_reads_not_measured_in_the_document(work: Path) -> None:
    """The document has the same rows as the current script. If nothing was measured, every row says "not measured"."""
    empty = rows(gpu_report.summary(work))
    assert set(empty.values()) == {"not measured"}
    document = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    block = document.split("<!-- gpu: generated by make gpu -->")[1].split("<!-- end of gpu -->")[0]
    table = [line for line in block.splitlines() if line.startswith("|")]
    assert rows(table).keys() == empty.keys()


def test_measured_figures_fill_their_rows(work: Path) -> None:
    rate = 1_000 * bench_fused.flops_per_epoch(bench_fused.DataConfig())  # 1,000 epochs a second
    speed = {"peak_memory_bytes": 2e9, "product_flops_per_second": rate}
    contenders = {
        bench_fused.Contender("cuda", "fp32", 0): 0.1,
        bench_fused.Contender("cuda", "fp32", 46): 0.01,
        bench_fused.Contender("cuda", "fp32", 46, 16): 0.005,
    }
    measured = {c.label: [speed | {"slots": 46, "seconds_per_run_epoch": s}] for c, s in contenders.items()}
    write(work / "fused" / "a-fused.json", {"measurements": measured, "settings": {"images": 3000}})
    write(work / "cross_entropy.json", {"training_seconds": 40.0, "runs": 460, "epochs": 20_000})
    gpu.run_all([python("", "cross_entropy")], work, 8, {}, lambda: None)
    plain = next(c for c in bench.CONTENDERS if c.is_plain and c.num_processes == 8)
    write(work / "bench" / "a.json", {"measurements": {plain.label: [{"seconds_per_epoch": [1.6]}]}})
    kernel = {"runs": 8, "verdict": "worth it: fast", "rule": "", "forms": {}}
    write(work / "kernel.json", [kernel])
    texts = rows(gpu_report.summary(work))
    assert texts["fused, K = 46"].startswith("fp32, fused, K = 46, blocks of 16: 600,000 images/s, 20.00 (")
    assert "2,000 MB" in texts["solo"]
    assert texts["fused, K = 460"] == "not measured"
    assert texts["46 rates × 10 seeds, fp32"].startswith("460 runs, 20,000 epochs in 40 s, 2.0 times the least time; ")
    assert "18,000 epochs/hour" in texts["4 and 8 processes sharing the card"]
    assert "the fused sweep: 1,800,000, 100.0 × the fastest" in texts["4 and 8 processes sharing the card"]
    assert texts["Triton probe: conv2, pooling, bias and ReLU in one kernel"] == "8 runs: worth it: fast"


def test_results_go_into_the_document_and_the_reference(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., RunRecord]
) -> None:
    monkeypatch.setattr(gpu_publish, "ROOT", tmp_path)
    document = tmp_path / "docs" / "performance.md"
    document.parent.mkdir()
    document.write_text("before\n<!-- gpu: generated by make gpu -->\nold\n<!-- end of gpu -->\nafter\n")
    store.save(work / "reference" / "lr_next", make_record())
    store.save(tmp_path / "results" / "reference" / "lr_next", make_record(seed=1))
    store.pack(tmp_path / "results" / "reference" / "lr_next")
    gpu_publish.pack(work)
    gpu_publish.publish_tables(work)
    text = document.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "Measured on one A GPU 5 with PyTorch 2.11, commit abcdef1, 2026-01-01." in text
    assert "46 rates × 1 seed, solo" in text
    assert (tmp_path / "results" / "bench" / "a-gpu-5-gpu.md").exists()
    assert len(store.scan(tmp_path / "results" / "reference" / "lr_next").records) == 2


# Profile and probe.


def test_a_profile_counts_kernels_and_the_time_in_which_at_least_one_runs() -> None:
    kernels = [Kernel("short", 0, 1), Kernel("long", 0, 4), Kernel("long", 6, 9), Kernel("short", 9, 10)]
    summary = gpu_profile.summary(kernels, num_steps=2)
    assert (summary["kernels_per_step"], summary["busy_share"]) == (2, 0.8)
    assert [(each["name"], each["per_step"], each["us"]) for each in summary["longest"]] == [("long", 1, 3.5), ("short", 1, 1)]
    assert summary["longest"][0]["share"] == 7 / 9


@pytest.mark.slow
def test_a_tiny_profile_has_both_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_profile.py", "--device=cpu", "--images=6", f"--out={tmp_path}"])
    gpu_profile.main()
    measured = json.loads((tmp_path / "profile.json").read_text())
    assert len(measured) == 4
    assert all(m["kernels_per_step"] > 10 and 0 < m["busy_share"] <= 1 for m in measured.values())
    assert "Kernels of a training step: solo, fp32" in "\n".join(gpu_report.details(tmp_path))


@pytest.mark.parametrize(
    ("milliseconds", "error", "start"),
    [
        (0.5, 1e-7, "worth it: probe is 2.00 times"),
        (0.6, 1e-7, "not worth it: probe is 1.67 times"),
        (0.1, 1e-6, "not worth it: every"),
    ],
)
def test_the_probe_must_be_fast_and_accurate(milliseconds: float, error: float, start: str) -> None:
    gpu_kernel = pytest.importorskip("gpu_kernel")
    stacked = {"both_ms": 1.0, "error": 1e-7}
    assert gpu_kernel.verdict({"stacked, fp32": stacked, "probe": {"both_ms": milliseconds, "error": error}}).startswith(start)
    assert gpu_kernel.verdict({"stacked, fp32": stacked}) == "not measured"


def test_a_nan_in_any_gradient_counts_as_an_error() -> None:
    gpu_kernel = pytest.importorskip("gpu_kernel")
    exact = [torch.ones(2), torch.ones(2)]
    error = gpu_kernel.error_of([torch.ones(2), torch.tensor([1.0, math.nan])], exact)
    assert math.isnan(error)
    stacked, probe = {"both_ms": 1.0, "error": 1e-7}, {"both_ms": 0.1, "error": error}
    assert gpu_kernel.verdict({"stacked, fp32": stacked, "probe": probe}).startswith("not worth it: every")
