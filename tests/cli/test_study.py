"""lrsweep.run_study runs a study from Python."""

import os
from pathlib import Path

import pytest

import lrsweep
from lrsweep.cli.study import StudyError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.slow
def test_a_study_runs_and_its_folder_is_returned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    grid = ["grid.start=-3", "grid.stop=-2", "grid.step=1"]
    sizes = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "training.max_epochs=1"]
    folders = [f"machine.data_dir={ROOT / 'data'}", "machine.results_dir=mine", "study.name=a/b"]
    folder = lrsweep.run_study("lr", *grid, *sizes, *folders, "study.arm=0,1", "study.extend=true")
    assert folder == Path("mine/a/b")
    assert lrsweep.load_runs(folder)["lr"].tolist() == [1e-3, 1e-2]
    assert "2 expected: 2 ok" in capfd.readouterr().out


def test_a_typo_raises_an_error_that_quotes_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyError) as raised:
        lrsweep.run_study("lr", "optimizer.lrr=1")
    line = "ConfigError: optimizer.lrr is not a setting; did you mean optimizer.lr?\n"
    assert str(raised.value) == f"lrsweep study=lr optimizer.lrr=1 ended with exit code 2:\n{line}"
    assert capfd.readouterr().out == line
