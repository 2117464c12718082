"""docs/reliability.md has exactly one row for each fault that the tests try."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def test_the_page_lists_the_faults_that_are_tried() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "tests" / "faults").glob("test_*.py"))]
    marks = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and "mark.fault" in ast.unparse(node.func)
    ]
    faults = [tuple(map(ast.literal_eval, mark.args)) for mark in marks]
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert sorted((what, expected) for what, expected, *_ in rows) == sorted(faults)
    assert len(faults) > 5
