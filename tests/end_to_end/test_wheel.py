"""The wheel works on its own: all four commands run from it, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", f"machine.data_dir={ROOT / 'data'}"]


@pytest.mark.slow
def test_an_installed_wheel_sweeps_reports_and_finds(tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    # Dependencies come from this environment, where PYTHONPATH precedes an editable install of lrsweep.
    environment = os.environ | {"PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": ""}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--no-cache-dir", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("lrsweep-*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--target", site, wheel)

    modules = "lrsweep, lrsweep.config, hydra_plugins.lrsweep_launchers as launchers"
    files = "lrsweep.__file__, lrsweep.config.CONF_DIR, launchers.__file__"
    for path in run(sys.executable, "-c", f"import {modules}; print({files}, sep='\\n')").splitlines():
        assert Path(path).is_relative_to(site)
    assert (site / "lrsweep" / "conf" / "config.yaml").exists()

    commands = site / "bin"
    assert "study:" in run(commands / "lrsweep", "--help")
    sweep = ["study=lr", "grid.start=-3", "grid.stop=-2", "grid.step=1", "training.max_epochs=2", *SIZES]
    assert "2 expected: 2 ok, 0 diverged, 0 failed, 0 missing" in run(commands / "lrsweep", *sweep)
    (work / "results" / "lr" / "report.html").unlink()
    run(commands / "lrsweep-report", "study=lr")
    assert (work / "results" / "lr" / "report.html").exists()
    run(commands / "lrsweep-find", "find.num_steps=20", "find.num_seeds=1", *SIZES)
    assert (work / "results" / "single" / "finder.json").exists()
    assert "study" in run(commands / "lrsweep-confirm", "--help")
