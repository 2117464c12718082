"""Who may import whom. CONTRIBUTING.md explains the packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MAY_IMPORT = {
    "config": "",
    "records": "",
    "data": "config",
    "storage": "config records",
    "training": "config records data",
    "fused": "config records data training",
    "tracking": "config records storage",
    "analysis": "config records storage training.schedules",
    "report": "config records storage analysis",
    "cli": "config records data storage training fused tracking analysis report __version__",
    "hydra_plugins": "config records data storage training fused tracking cli",
}


def imported_by(path: Path) -> set[str]:
    """The modules of lrsweep that a file imports, without the leading "lrsweep."."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [f"{n.module}.{alias.name}" for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names]
    names += [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    return {name.removeprefix("lrsweep.") for name in names if name.startswith("lrsweep.")}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_the_table_allows(package: str) -> None:
    folder = SRC / package if package == "hydra_plugins" else SRC / "lrsweep" / package
    files = sorted(folder.rglob("*.py")) or [folder.with_suffix(".py")]
    for path in files:
        for name in imported_by(path):
            assert any(f"{name}.".startswith(f"{allowed}.") for allowed in [package, *MAY_IMPORT[package].split()]), (path, name)


ENGINES = [path for name in ("training", "fused") for path in sorted((SRC / "lrsweep" / name).glob("*.py"))]


@pytest.mark.parametrize("path", [path for path in ENGINES if path.name not in ("weights.py", "device.py")], ids=lambda p: p.name)
def test_an_engine_neither_prints_nor_opens_files(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"print", "open", "Path", "tqdm"}


def modules_loaded_by(program: str, *watched: str) -> list[str]:
    program += f"\nimport sys; print(*(name for name in {watched} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_report_needs_no_torch() -> None:
    loaded = modules_loaded_by(
        "import lrsweep.report.build, lrsweep.report.audit.build, lrsweep.cli.report, lrsweep.cli.confirm",
        "torch",
        "hydra",
        "lrsweep.storage.store",
    )
    assert loaded == ["lrsweep.storage.store"]


def test_a_typo_is_answered_without_importing_torch() -> None:
    program = "import lrsweep.cli.main, hydra_plugins.lrsweep_launchers.launchers"
    assert modules_loaded_by(program, "torch", "lrsweep.cli.errors") == ["lrsweep.cli.errors"]


def test_hydras_plugin_scanner_finds_only_hydra_in_the_launchers() -> None:
    """Hydra runs this file at every start of every Hydra app, so it imports everything else later."""
    tree = ast.parse((SRC / "hydra_plugins" / "lrsweep_launchers" / "launchers.py").read_text(encoding="utf-8"))
    packages = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert packages - sys.stdlib_module_names == {"hydra", "omegaconf"}
    assert "__future__" not in packages  # Hydra reads the dataclasses' types, which must not be text


def test_hydra_plugins_is_a_namespace_that_others_share() -> None:
    assert not (SRC / "hydra_plugins" / "__init__.py").exists()
