"""The tables of `make gpu`, from the files that its steps have written. Missing results are shown as "not measured"."""

import json
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import bench
from bench_fused import CONTENDERS, Contender, flops_per_epoch, speed_row
from benchmarking import data_config, table

from lrsweep.config import DataConfig
from lrsweep.storage import store


def summary(work: Path) -> list[str]:
    """The table of docs/performance.md."""
    rows: list[tuple[str, str | None]] = [
        ("tests of both engines on the card", tests(work, "tests")),
        ("rate of a large matrix product", product_rates(work)),
        ("solo", speeds(work, 0)),
        ("fused, K = 46", speeds(work, 46)),
        ("fused, K = 460", speeds(work, 460)),
        ("a training step of solo", step(work, "solo, fp32")),
        ("a training step of one block", step(work, "a block")),
        ("Triton probe: conv2, pooling, bias and ReLU in one kernel", probe(work)),
        ("46 rates × 10 seeds, fp32", sweep(work, "cross_entropy")),
        ("the same with `loss=double_softmax`", sweep(work, "double_softmax")),
        ("11 rates × 20 fresh seeds, fp32", sweep(work, "confirm")),
        ("4 and 8 processes sharing the card", rivals(work)),
        ("mixed precision (bf16), solo", mixed_precision(work)),
        ("tests of the Triton probe on the card", tests(work, "probe_tests")),
        ("46 rates × 1 seed, solo", solo_seed(work)),
    ]
    return table(["", ""], [[label, *([text] if text else [])] for label, text in rows])


def details(work: Path) -> list[str]:
    """All tables, as sections."""
    lines = []
    for kind in ("fused", "bench"):
        for file in sorted((work / kind).glob("*.md")):
            lines += ["", "#" + file.read_text(encoding="utf-8").strip()]  # its title becomes a heading of the second level
    for label, measured in _read(work / "profile.json", {}).items():
        lines += ["", f"## Kernels of a training step: {label}", "", _step_text(measured), ""]
        cells = [
            [f"`{k['name'][:90]}`", f"{k['share']:.1%}", f"{k['per_step']:.1f}", f"{k['us']:.1f}"] for k in measured["longest"]
        ]
        lines += table(["", "share", "per step", "µs each"], cells)
    for size in _read(work / "kernel.json", []):
        forms = size["forms"].items()
        cells = [[label, f"{m['forward_ms']:.3f}", f"{m['both_ms']:.3f}", f"{m['error']:.1e}"] for label, m in forms]
        lines += ["", f"## The Triton probe, {size['runs']} runs: {size['verdict']}", "", f"Rule: {size['rule']}.", ""]
        lines += table(["", "forward, ms", "forward and backward, ms", "error"], cells)
    return lines


def tests(work: Path, name: str) -> str | None:
    file = work / f"{name}.xml"
    if not file.exists():
        return None
    suite = ElementTree.parse(file).getroot()[0].attrib  # noqa: S314  # pytest has just written it
    failed, skipped = int(suite["failures"]) + int(suite["errors"]), int(suite["skipped"])
    return f"{int(suite['tests']) - failed - skipped} passed, {failed} failed, {skipped} skipped"


def product_rates(work: Path) -> str | None:
    rates = {precision: _product_rate(work, precision) for precision in ("fp32", "tf32")}
    return ", ".join(f"{rate / 1e12:.1f} TFLOP/s in {precision}" for precision, rate in rates.items() if rate) or None


def speeds(work: Path, num_slots: int) -> str | None:
    """The speed of the fastest layout (solo) or block size (fused), for each precision."""
    report = _only(work / "fused")
    if not report:
        return None
    measured, data = report["measurements"], data_config(report["settings"]["images"])
    texts = []
    for precision in ("fp32", "tf32"):
        of_kind = [c for c in CONTENDERS if (c.device, c.precision, c.num_slots) == ("cuda", precision, num_slots)]
        of_kind = [c for c in of_kind if c.label in measured]
        if of_kind and Contender("cuda", precision, 0).label in measured:
            best = min(of_kind, key=lambda c: median(m["seconds_per_run_epoch"] for m in measured[c.label]))
            _, _, speed, ratio, share, peak = speed_row(best, measured, data)
            detail = f", {ratio} × solo, {share} of the product's rate" if num_slots else ""
            texts.append(f"{best.label.removeprefix('CUDA, ')}: {speed} images/s{detail}, {peak} MB")
    return "; ".join(texts) or None


def step(work: Path, label: str) -> str | None:
    found = [measured for name, measured in _read(work / "profile.json", {}).items() if name.startswith(label)]
    return _step_text(found[0]) if found else None


def probe(work: Path) -> str | None:
    sizes = _read(work / "kernel.json", [])
    return f"{sizes[0]['runs']} runs: {sizes[0]['verdict']}" if sizes else None


def sweep(work: Path, name: str) -> str | None:
    """The runs and the time of the step's last call."""
    trained = _read(work / f"{name}.json", {})
    if not trained.get("runs"):
        return None
    seconds, epochs = trained["training_seconds"], trained["epochs"]
    text = f"{trained['runs']} runs, {epochs:,} epochs in {seconds:.0f} s"
    if rate := _product_rate(work, "fp32"):
        text += f", {seconds / (epochs * flops_per_epoch(DataConfig()) / rate):.1f} times the least time"
    from_start = state(work)["steps"].get(name, {})
    if from_start.get("result") == "done":
        text += f"; {from_start['seconds']:.0f} s from start to report"
    return text


def solo_seed(work: Path) -> str | None:
    runs = _solo_runs(work / "reference" / "lr_next")
    if not runs:
        return None
    seconds, epochs = (sum(run[name] for run in runs) for name in ("seconds", "epochs"))
    return f"{len(runs)} runs, {epochs:,.0f} epochs in {seconds:.0f} s; {seconds / epochs * 1000:.0f} ms an epoch"


def rivals(work: Path) -> str | None:
    """Epochs per hour of lrsweep and the plain script with several processes, and of the fused sweep."""
    measured = _only(work / "bench").get("measurements", {})
    on_gpu = [c for c in bench.CONTENDERS if c.device == "cuda" and c.label in measured]
    rates = {c.label: median(bench.epochs_per_hour(c, measured[c.label])) for c in on_gpu}
    if not rates:
        return None
    text = "; ".join(f"{label}: {rate:,.0f} epochs/hour" for label, rate in rates.items())
    fused = _read(work / "cross_entropy.json", {})
    if fused.get("epochs"):
        rate = 3600 * fused["epochs"] / fused["training_seconds"]
        text += f"; the fused sweep: {rate:,.0f}, {rate / max(rates.values()):.1f} × the fastest of these"
    return text


def mixed_precision(work: Path) -> str | None:
    folder = work / "reference" / "mixed_precision"
    sides = [[run for run in _solo_runs(folder) if run["precision"] == precision] for precision in ("fp32", "bf16")]
    if not all(sides):
        return None
    fp32, bf16 = (sum(run["seconds"] for run in side) / sum(run["epochs"] for run in side) for side in sides)
    accuracies = [sum(run["test_accuracy"] for run in side) / len(side) for side in sides]
    gap = 100 * (accuracies[1] - accuracies[0])
    return f"{bf16 / fp32:.2f} × the time of fp32, {gap:+.2f} points of test accuracy ({len(sides[0])} and {len(sides[1])} runs)"


def state(work: Path) -> dict[str, Any]:
    """The GPU model, the commit, and the result of each step that was tried."""
    found: dict[str, Any] = _read(work / "state.json", {"steps": {}})
    return found


def _step_text(measured: dict[str, Any]) -> str:
    microseconds = measured["step_seconds"] * 1e6 / measured["runs"]
    validation = measured["validation_seconds"] * 1e3 / measured["runs"]
    busy = f", one of which runs for {measured['busy_share']:.0%} of the time" if measured["busy_share"] else ""
    kernels = f"{measured['kernels_per_step']:.0f} kernels{busy}"
    return f"{microseconds:,.0f} µs a run; {kernels}; validation takes {validation:.1f} ms a run-epoch"


def _product_rate(work: Path, precision: str) -> float | None:
    """FLOP/s of a large matrix product on this GPU."""
    measured = _only(work / "fused").get("measurements", {})
    labels = [c.label for c in CONTENDERS if (c.device, c.precision) == ("cuda", precision)]
    rates = [m["product_flops_per_second"] for label in labels for m in measured.get(label, [])]
    return median(rates) if rates else None


def _solo_runs(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "precision": record.config["training"]["precision"],
            "seconds": record.outcome.wall_seconds,
            "epochs": len(record.outcome.curve),
            "test_accuracy": record.outcome.test_accuracy,
        }
        for record in store.scan(folder).records.values()
        if record.engine == "solo" and record.outcome.status == "ok"
    ]


def _only(folder: Path) -> dict[str, Any]:
    """The results in the only JSON file of this folder."""
    files = sorted(folder.glob("*.json"))
    return _read(files[0], {}) if files else {}


def _read(file: Path, default: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else default
