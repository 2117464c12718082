"""The notebook runs from start to end on the committed results, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore.ipynb"


def test_no_outputs_are_committed() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None


# nbclient does not close its event loop and the kernel's sockets.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.slow
def test_every_cell_runs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, startup_timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "image/png" in outputs
    assert "Patience 2 instead of 5 costs" in outputs


SWEEP = """
import numpy as np
import lrsweep
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, x):
        return self.net(x)

labels = np.arange(90) % 3
images = np.random.default_rng(0).normal(labels[:, None, None], 0.1, (90, 8, 8))
study = lrsweep.sweep("training.max_epochs=2", model=Net, data=(images, labels), lrs=[1e-3, 1e-2], seeds=2)
print(len(study.runs), sorted(study.runs["status"].unique()), study.report.exists(), list(study.table["lr"]))
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.slow
def test_a_network_of_a_notebook_is_swept(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SWEEP) for _ in range(2)])
    notebook.metadata["kernelspec"] = nbformat.read(NOTEBOOK, as_version=4).metadata["kernelspec"]
    NotebookClient(notebook, timeout=600, startup_timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output.text for cell in notebook.cells for output in cell.outputs if output.get("name") == "stdout"]
    assert printed == ["4 ['ok'] True [0.001, 0.01]\n"] * 2  # the same code in a new cell is the same network
    assert len(list((tmp_path / "results" / "sweep" / "runs").glob("*.json"))) == 4
