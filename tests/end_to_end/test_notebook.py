"""The notebook runs from its first cell to its last on the committed results, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore.ipynb"


def outputs_of(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))


def test_no_outputs_are_committed() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None


# nbclient's event loop and the kernel's sockets are theirs to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.slow
def test_every_cell_runs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    told = outputs_of(notebook)
    assert "image/png" in told
    assert "Patience 2 instead of 5 costs" in told
