"""Publish the results of `make gpu`: one page to read, the documents and reference of this checkout, or a folder to copy."""

import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from benchmarking import ROOT, table
from gpu_report import details, state, summary
from reference import with_block

from lrsweep.storage import store
from lrsweep.storage.files import write_atomically

STUDIES = ("lr_next", "lr_next/confirm", "mixed_precision")


def pack(work: Path) -> None:
    for study in STUDIES:
        if (work / "reference" / study / "runs").exists():
            store.pack(work / "reference" / study)
    write_atomically(work / "gpu.md", to_markdown(work).encode())


def publish_tables(work: Path) -> None:
    """Put the results into the documents and the reference of this checkout."""
    name = f"{slug(state(work)['card'])}-gpu.md"
    write_atomically(ROOT / "results" / "bench" / name, to_markdown(work).encode())
    document = ROOT / "docs" / "performance.md"
    link = f"{_origin(state(work))} All tables: [results/bench](../results/bench/{name})."
    text = with_block(document.read_text(encoding="utf-8"), "gpu", "\n".join([link, "", *summary(work)]), "make gpu")
    write_atomically(document, text.encode())
    for study in STUDIES:
        target = ROOT / "results" / "reference" / study
        records = store.read(work / "reference" / study)
        for record in records:
            store.save(target, record)
        if records:
            store.pack(target)  # with the runs that were there before


def export(work: Path, out: Path) -> None:
    """Copy the results to `out`: one archive with everything that --publish needs, and two files to read."""
    out.mkdir(parents=True, exist_ok=True)
    kinds = ("*.json", "*.xml", "*.md", "*.log", "fused/*", "bench/*", "reference/**/runs.jsonl.gz")
    with tarfile.open(out / "gpu.tar.gz", "w:gz") as tar:
        for path in sorted({path for kind in kinds for path in work.glob(kind)}):
            tar.add(path)
    for name in ("gpu.md", "gpu.log"):
        if (work / name).exists():
            shutil.copy(work / name, out / name)


def to_markdown(work: Path) -> str:
    found = state(work)
    steps = [[name, step["result"], f"{step['seconds']:.0f}"] for name, step in found["steps"].items()]
    title = [f"# {found['card']}", "", f"{_origin(found)} Command: `make gpu`.", ""]
    return "\n".join([*title, *table(["step", "result", "seconds"], steps), "", *summary(work), *details(work)]) + "\n"


def _origin(found: dict[str, Any]) -> str:
    commit = (found["commit"] or "unknown")[:7]
    return f"Measured on one {found['card']} with PyTorch {found['torch']}, commit {commit}, {found['date']}."


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
