"""The commands in READMEs and docs compose, the Python code runs, and links, make targets and the methods table are correct."""

import contextlib
import io
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest

import lrsweep
from lrsweep.cli import main
from lrsweep.config import CONF_DIR, RunConfig
from lrsweep.fused.fusable import reason_not_fusable

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "README.ko.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


def test_the_pandas_recipe_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (recipe,) = blocks("docs/recipes.md", "python")
    *lines, last = recipe.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert 1e-3 < eval(last, names) < 1e-2
    assert len(names["curves"]) > len(names["runs"])  # type: ignore[arg-type]


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with the files that the pages' commands name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (example,) = blocks("docs/your-own.md", "python")
    Path("digits_net.py").write_text(example, encoding="utf-8")
    Path("my_nets.py").write_text(
        "from torch import nn\n\ndef SmallResNet(num_classes, depth=1):\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    np.savez("scans.npz", x=np.zeros((60, 28, 28), np.uint8), y=np.arange(60) % 3)


@pytest.mark.usefixtures("own_files")
@pytest.mark.parametrize("page", PAGES)
def test_every_lrsweep_command_composes(page: str) -> None:
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if line.startswith(("lrsweep ", "lrsweep-find "))]
    assert len(commands) >= {"README.md": 3, "README.ko.md": 3, "docs/recipes.md": 9, "docs/scale-out.md": 8}.get(page, 0)
    for command in commands:
        overrides = [word for word in shlex.split(command, comments=True)[1:] if not word.startswith("-")]
        first = [re.sub(r"=range\(\d+\)$", "=0", word) for word in overrides]  # the first value of a sweep
        single = [re.sub(r"=([^,]*),.*", r"=\1", word) for word in first]
        main.to_app_config(main.compose(*single, f"machine.data_dir={ROOT / 'data'}"))


@pytest.mark.slow
@pytest.mark.usefixtures("own_files")
def test_the_example_of_an_own_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = lrsweep.sweep
    monkeypatch.setattr(lrsweep, "sweep", lambda *words, lrs, seeds, **others: sweep(*words, lrs=lrs[4:6], seeds=1, **others))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path("digits_net.py", run_name="__main__")
    assert printed.getvalue().startswith("Which rate? Perhaps 0.00")
    assert Path("results/digits/report.html").exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_linked_file_exists(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)[)#]", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page: str) -> None:
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    for target in re.findall(r"make ([a-z]+)", "\n".join(blocks(page, "sh"))):
        assert target in targets


def methods() -> list[tuple[str, list[str], str, list[str]]]:
    """The rows of the methods table: name, overrides, fused or not, studies.

    An override without "=" is another value for the group of the override before it.
    """
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = []
    for line in re.findall(r"^\| (.*) \|$", text, re.M):
        name, overrides, is_fused, studies = (cell.strip() for cell in line.split(" | "))
        group, lines = "", []
        for span in re.findall(r"`([^`]+)`", overrides):
            group = span.split("=")[0] if "=" in span else group
            lines.append(span if "=" in span else f"{group}={span}")
        if is_fused in ("yes", "no"):
            rows.append((name, lines, is_fused, re.findall(r"`([^`]+)`", studies)))
    return rows


METHODS = methods()


def test_the_methods_table_is_found() -> None:
    assert len(METHODS) >= 25


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lines", "is_fused", "studies"), METHODS, ids=[row[0] for row in METHODS])
def test_a_row_of_the_methods_table_is_true(name: str, lines: list[str], is_fused: str, studies: list[str]) -> None:
    assert lines
    for line in lines:
        run = main.to_app_config(main.compose(*shlex.split(line))).run
        assert run != RunConfig() or line == "optimizer=adamw"  # the default
        assert (reason_not_fusable(run) is None) == (is_fused == "yes"), line
    for study in studies:
        assert (CONF_DIR / "study" / f"{study}.yaml").exists()
