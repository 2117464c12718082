"""An own network and own images in an empty folder: every launcher gives the same table."""

from pathlib import Path

import numpy as np
import pytest
from at_work import WITHOUT_REPORT, lrsweep

from lrsweep import load_runs

NET = """
from my_layers import block
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.features = nn.Sequential(*block(1, 8), *block(8, 8))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 64, num_classes))

    def forward(self, x):
        return self.head(self.features(x))
"""
LAYERS = """
from torch import nn

def block(num_in, num_out):
    return [nn.Conv2d(num_in, num_out, 3, padding=1), nn.BatchNorm2d(num_out), nn.ReLU()]
"""
WORDS = ["-m", "data=arrays", "data.path=scans.npz", "model.target=my_nets:Net", "optimizer.lr=1e-3,1e-2"]
WORDS += ["training.max_epochs=2", "data.num_train=60"]


def write_files(folder: Path) -> None:
    (folder / "my_nets.py").write_text(NET)
    (folder / "my_layers.py").write_text(LAYERS)
    labels = np.arange(120) % 3
    noise = np.random.default_rng(0).normal(size=(120, 8, 8))
    np.savez(folder / "scans.npz", x=noise + labels[:, None, None], y=labels)


@pytest.mark.slow
def test_every_launcher_gives_the_same_table(tmp_path: Path) -> None:
    write_files(tmp_path)
    tables = {}
    for launcher in ("pool", "ray", "submitit_local", "fused"):
        words = [*WORDS, f"study.name={launcher}", f"hydra/launcher={launcher}"]
        code, out, error = lrsweep(tmp_path, *words, program=WITHOUT_REPORT, RAY_memory_monitor_refresh_ms="0")
        assert code == 0, (launcher, out, error)
        tables[launcher] = load_runs(tmp_path / "results" / launcher).set_index("run_id").sort_index()
    for launcher, table in tables.items():
        engine = "fused" if launcher == "fused" else "solo"
        assert set(table["engine"]) == {engine}
        assert list(table.index) == list(tables["pool"].index)
        scores = (
            ["epochs", "test_loss"] if engine == "fused" else ["epochs", "test_accuracy", "balanced_test_accuracy", "test_loss"]
        )
        # In a fused program, sums have another order, so the weights drift a little.
        np.testing.assert_allclose(table[scores], tables["pool"][scores], rtol=0.05 if engine == "fused" else 0)
