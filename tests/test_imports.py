"""Who may import whom (DESIGN.md, "The house"), read from the source and tried in fresh interpreters."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "lrsweep"

# Module → what it may import of ours; a package's name stands for all its modules, which may import one another.
# A line may name only lines above it: imports point downward.
ENGINE = ["config", "records", "data", "model", "optim", "schedule", "engine.early_stopping", "engine.clock"]
HOUSE: dict[str, list[str]] = {
    "bounds": [],
    "grid": ["bounds"],
    "methods": ["bounds"],
    "config": ["bounds", "grid", "methods"],
    "records": [],
    "sources": [],
    "download": ["sources"],
    "environment": ["config"],
    "data": ["config", "download"],
    "model": ["config", "data"],
    "optim": ["config"],
    "schedule": ["config"],
    "engine": [],
    "engine.early_stopping": [],
    "engine.clock": [],
    "engine.solo": ENGINE,
    "engine.stacked": ENGINE,
    "engine.block": [*ENGINE, "engine.stacked"],
    "engine.fused": [*ENGINE, "engine.stacked", "engine.block"],
    "finder": [*ENGINE, "engine.solo"],
    "frames": ["config", "records"],
    "store": ["records", "frames"],
    "fixed": ["config", "frames", "store"],
    "analysis": ["config", "records", "schedule", "frames"],
    "checkpoint": ["engine.solo", "store"],
    "report": ["config", "records", "frames", "store", "analysis"],
    "lock": ["store"],
    "refusal": ["config", "download", "store", "lock"],
    "tracker": ["config", "records", "frames", "store"],
    "runs": ["config", "records", "environment", "data", "model", "engine", "store", "checkpoint"],
    "single": ["config", "records", "store", "lock", "tracker", "runs"],
    "app": ["config", "store", "refusal", "single"],
    "find": ["config", "records", "environment", "data", "finder", "store", "analysis", "report", "app"],
    "__init__": [],
    "__main__": ["app"],
}
BELOW_APP = list(HOUSE)[: list(HOUSE).index("app")]
WITHOUT_TORCH = ["bounds", "grid", "methods", "config", "records", "schedule", "frames", "store", "analysis", "report"]
# Of those below the app:
WHO_KNOW_HYDRA = {"refusal"}  # its errors, which it words
WHO_SPEAK = {
    "download",  # a command of its own
    "report",  # likewise
    "runs",  # of a damaged record that it sets aside
    "single",  # the summary, the progress and the outcome of one run
    "tracker",  # of a tracker that has stopped
}
WORDS = {"print", "input", "sys.stdout.write", "sys.stderr.write", "tqdm", "tqdm.write"}


def line_of(module: str) -> str:
    """The line of HOUSE that a module is on: its own, or its package's."""
    return module if module in HOUSE else module.split(".")[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


BELOW = [module for module in FILES if line_of(module) in BELOW_APP]


def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports_in(tree: ast.AST) -> Iterator[str]:
    """Every module that a tree names, wherever in it; `from a import b` gives a.b, as b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def ours(module: str) -> set[str]:
    """The modules of lrsweep that a module imports."""
    named = (name.removeprefix("lrsweep.") for name in imports_in(tree_of(module)) if name.split(".")[0] == "lrsweep")
    found = {next((m for m in (name, name.rpartition(".")[0]) if m in FILES), name) for name in named}
    return found - {module}


def others(module: str) -> set[str]:
    """The packages of others that a module imports."""
    return {name.split(".")[0] for name in imports_in(tree_of(module))} - {"lrsweep"}


def reached(module: str) -> set[str]:
    """A module and all that it imports of ours, however indirectly, with the packages around them."""
    seen: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        parents = {name.rpartition(".")[0]} & FILES.keys()
        waiting |= (ours(name) | parents) - seen
    return seen


def calls_in(module: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)}


def test_the_table_points_downward() -> None:
    lines = list(HOUSE)
    for i, line in enumerate(lines):
        assert set(HOUSE[line]) <= set(lines[:i]), line


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_what_its_line_allows(module: str) -> None:
    line = line_of(module)
    assert line in HOUSE, f"{module} is not in the table"
    imported = {name for name in ours(module) if line_of(name) != line}
    allowed = {name for name in imported if name in HOUSE[line] or name.split(".")[0] in HOUSE[line]}
    assert imported == allowed


def test_below_the_app_only_these_know_hydra() -> None:
    assert {line_of(m) for m in BELOW if others(m) & {"hydra", "omegaconf", "hydra_plugins"}} == WHO_KNOW_HYDRA


@pytest.mark.parametrize("module", [m for m in FILES if line_of(m) in WITHOUT_TORCH])
def test_a_report_needs_no_torch(module: str) -> None:
    for name in reached(module):
        assert not others(name) & {"torch", "torchvision", "torchinfo"}, f"by way of {name}"


def test_engines_compute_and_edges_speak() -> None:
    assert {line_of(m) for m in BELOW if calls_in(m) & WORDS or others(m) & {"tqdm", "logging"}} == WHO_SPEAK


@pytest.mark.parametrize("module", [m for m in FILES if m.split(".")[0] == "engine"])
def test_engines_touch_no_files(module: str) -> None:
    assert "open" not in calls_in(module)
    assert not others(module) & {"pathlib", "os", "io", "shutil", "tempfile"}


def test_the_launchers_neither_analyse_nor_report() -> None:
    """The report is a process of its own."""
    for path in (SRC / "hydra_plugins").rglob("*.py"):
        named = {name.removeprefix("lrsweep.").split(".")[0] for name in imports_in(ast.parse(path.read_text(encoding="utf-8")))}
        assert not named & {"analysis", "report", "find"}, path


def test_hydras_plugin_scanner_finds_only_hydra_in_the_launchers() -> None:
    """It runs the file at every start of every Hydra app, so what is needed later is imported later."""
    tree = ast.parse((SRC / "hydra_plugins" / "lrsweep_launchers" / "launchers.py").read_text(encoding="utf-8"))
    at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    packages = {name.split(".")[0] for name in imports_in(at_import)}
    assert packages - sys.stdlib_module_names == {"hydra", "omegaconf"}
    assert "__future__" not in packages  # Hydra reads the dataclasses' types, which must not be text


def test_hydra_plugins_is_a_namespace_that_others_share() -> None:
    assert not (SRC / "hydra_plugins" / "__init__.py").exists()


@pytest.mark.slow
def test_the_report_side_runs_without_torch_being_imported() -> None:
    # A package's __main__ would run it.
    modules = [f"lrsweep.{m}" for m in FILES if line_of(m) in WITHOUT_TORCH and not m.endswith("__main__")]
    program = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    program += "print([name for name in ('torch', 'hydra', 'lrsweep.store') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lrsweep.store']"


def test_the_command_needs_no_torch_before_the_config_is_sound() -> None:
    """PyTorch takes seconds to import: a typo, --help and the shell's completion are answered without."""
    program = "import sys, lrsweep.app, hydra_plugins.lrsweep_launchers.launchers\n"
    program += "print([name for name in ('torch', 'lrsweep.refusal') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lrsweep.refusal']"
