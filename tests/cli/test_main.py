"""The command `lrsweep` in this process: its error messages, single runs, and saved weights."""

import io
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lrsweep import __version__
from lrsweep.cli import execution, preparation
from lrsweep.cli.main import options_first, with_study_mode
from lrsweep.config import MachineConfig, RunConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]
Command = Callable[..., int]
NO_WEIGHTS = "does not exist; create it with machine.save_weights, as lrsweep study=pretrain does"
SMALL = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "training.max_epochs=2"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=-0.001"], "ConfigError: optimizer.lr must be positive and finite, got -0.001"),
        (["optimizer.lr=abc"], "ConfigError: optimizer.lr: Value 'abc' of type 'str' could not be converted to Float"),
        (["optimizer.lrr=1"], "ConfigError: optimizer.lrr is not a setting; did you mean optimizer.lr?"),
        (["traning.max_epochs=3"], "ConfigError: traning is not a setting; did you mean training?"),
        (["+optimizer.damping=1"], "ConfigError: optimizer.damping is not a setting; lrsweep --cfg job lists them all"),
        (["+seed=3"], "ConfigError: seed is already a setting; remove the +"),
        (["optimizer={rate: 1}"], "ConfigError: optimizer.rate is not a setting; did you mean optimizer.rates?"),
        (["~optimizer.lr"], "ConfigError: ~optimizer.lr: OptimizerConfig (DictConfig) does not support deletion"),
        (["seed=${nope}"], "ConfigError: seed: Interpolation key 'nope' not found"),
        (["optimizer.lr=" + "9" * 400], "ConfigError: optimizer.lr: int too large to convert to float"),
        (["optimizer=null"], "ConfigError: a group takes the name of one of its options, as in optimizer=adamw"),
        (
            ["study.name=학습률"],
            "ConfigError: cannot parse 'study.name=학습률'; write name=value, and put unusual characters inside two pairs of "
            "quotes: \"study.name='학습률'\"",
        ),
        (["machine.results_dir='\udc80'"], "ConfigError: a setting must be valid UTF-8 text, got '\\udc80'"),
        (
            ["study=lr", "seed=range(1000000000)"],
            "ConfigError: a sweep may have at most 100,000 runs, but this one has more; sweep fewer values or split the sweep",
        ),
        (
            ["optimizer=sgdd"],
            "ConfigError: optimizer must be one of adadelta, adagrad, adam, adamw, gd, momentum, nesterov, rmsprop, sgd, "
            "got 'sgdd'; did you mean sgd?",
        ),
        (
            ["study=lr", "seed=0,1", "hydra/launcher=fuse"],
            "ConfigError: hydra/launcher must be one of basic, fused, pool, ray, submitit_local, submitit_slurm, got 'fuse'; "
            "did you mean fused?",
        ),
        (["study=lr", "seed=range(5)", "optimizr=adam"], "ConfigError: optimizr is not a setting; did you mean optimizer?"),
        (["lr=0.001"], "ConfigError: lr is not a setting; did you mean optimizer.lr?"),
        (
            ["optimizer.lr=1e-4,1e-3"],
            "ConfigError: optimizer.lr=1e-4,1e-3 has several values; add -m and the name of a study, as in "
            "lrsweep -m study.name=mine optimizer.lr=1e-4,1e-3",
        ),
        (
            ["seed=range(5)"],
            "ConfigError: seed=range(5) has several values; add -m and the name of a study, as in "
            "lrsweep -m study.name=mine seed=range(5)",
        ),
        (["seed=rnge(5)"], "ConfigError: cannot parse 'seed=rnge(5)'; write several values as \"seed=range(5)\" or seed=0,1,2"),
        (
            ["grid.start=-4", "study.name=mine"],
            "ConfigError: grid.start=-4 has no effect on a single run; add study=NAME for a sweep, or use lrsweep-find",
        ),
        (["data.classes=[3]"], "ConfigError: data.classes must be at least two different classes from 0 to 9, got [3]"),
        (
            ["training.validate_every=2"],
            "ConfigError: training.validate_every must be 1 for early stopping (training.patience), got 2",
        ),
        (["seed=1", "--nope"], "ConfigError: unrecognized arguments: --nope; lrsweep --hydra-help lists the options"),
        (
            ["--cfg", "nope"],
            "ConfigError: argument --cfg/-c: invalid choice: 'nope' (choose from 'job', 'hydra', 'all'); "
            "lrsweep --hydra-help lists the options",
        ),
        (["schedule.milestones=${study.name}"], "ConfigError: schedule.milestones must be a list of numbers, got 'single'"),
        (["machine.results_dir=''"], "ConfigError: machine.results_dir must be a path, which cannot be empty, got ''"),
        (
            ["schedule=one_cycle", "schedule.warmup=2"],
            "ConfigError: schedule.warmup must be 0 for schedule=one_cycle, which rises from schedule.low itself, got 2.0",
        ),
        (
            ["model.init_from=/"],
            "ConfigError: model.init_from: / is not a file; create it with machine.save_weights, as lrsweep study=pretrain does",
        ),
        (
            ["model.init_from=/proc/version"],
            "ConfigError: model.init_from=/proc/version is damaged or is not a weights file; "
            "machine.save_weights writes weights files",
        ),
        (["model.new_output=true"], "ConfigError: model.new_output must be false unless model.init_from is set, got True"),
        (["study=lr", "grid.step=0"], "ConfigError: grid.step must be positive, got 0.0"),
        (["study=lr", "grid.step=4", "training.max_epochs=0"], "ConfigError: training.max_epochs must be at least 1, got 0"),
        (["study=lr", "grid.step=4", "seed=0,-1"], "ConfigError: seed must be from 0 to 2147483647, got -1"),
        (
            ["study=lr", "grid.step=4", "hydra/launcher=fused", "hydra.launcher.runs=0"],
            "ConfigError: hydra.launcher.runs must be at least 1, got 0",
        ),
        (["model.init_from='nowhere-{seed}.pt'", "seed=3"], f"ConfigError: model.init_from: nowhere-3.pt {NO_WEIGHTS}"),
        (["study=lr", "grid.step=4", "model.init_from=no.pt"], f"ConfigError: model.init_from: no.pt {NO_WEIGHTS}"),
        (
            ["study=lr", "grid.step=4", "hydra.launcher.workers=0"],
            "ConfigError: hydra.launcher.workers must be at least 1, got 0",
        ),
        (
            ["study=lr", "grid.step=4", "hydra.launcher.run_seconds=0"],
            "ConfigError: hydra.launcher.run_seconds must be positive and finite, got 0.0",
        ),
    ],
)
def test_a_mistake_prints_one_line_before_anything_runs(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    assert lrsweep(*overrides) == 2
    assert capsys.readouterr() == ("", message + "\n")
    assert not list(tmp_path.glob("results/*/runs"))


def test_a_mistyped_parameter_of_the_default_network_is_one_line(lrsweep: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert lrsweep("optimizer.rates={headd.: 10}") == 2
    message = "ConfigError: optimizer.rates.headd.: no parameter starts so; there are conv1.weight, conv1.bias, "
    assert capsys.readouterr().err.startswith(message)


def test_in_a_debugger_a_mistake_is_one_line_too(
    lrsweep: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OC_CAUSE", "1")  # OmegaConf then links errors as in a debugger, here in a circle
    assert lrsweep("optimizer={rate: 1}") == 2
    assert capsys.readouterr().err == "ConfigError: optimizer.rate is not a setting; did you mean optimizer.rates?\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("study=lr", "-m study=lr hydra.mode=MULTIRUN"),
        ("study='lr'", "-m study='lr' hydra.mode=MULTIRUN"),
        ("study=lrr seed=0,1", "-m study=lrr seed=0,1"),
        ("study=null", "study=null"),
        ("study=lr -m", "-m study=lr hydra.mode=MULTIRUN"),
        ("-m study=lr seed=1", "-m study=lr seed=1 hydra.mode=MULTIRUN"),
        ("study=lr --cfg job", "--cfg job study=lr hydra.mode=MULTIRUN"),
        ("study=lr hydra.mode=RUN", "study=lr hydra.mode=RUN"),
        ("study=lr ++hydra.mode=RUN", "study=lr ++hydra.mode=RUN"),
        ("study=single", "study=single"),
        ("seed=1 --cfg job", "--cfg job seed=1"),
        ("seed=1 -m optimizer.lr=1e-3", "-m seed=1 optimizer.lr=1e-3"),
        ("seed=1 --info config optimizer.lr=1e-3 -m loss=x", "--info config -m seed=1 optimizer.lr=1e-3 loss=x"),
        ("seed=1 seed=1 -m seed=1", "-m seed=1 seed=1 seed=1"),
    ],
)
def test_options_come_first_and_a_study_that_sweeps_names_its_mode(words: str, expected: str) -> None:
    assert with_study_mode(options_first(words.split())) == expected.split()


@pytest.mark.parametrize("option", [["--cfg", "job"], ["--info", "defaults"]])
def test_options_of_hydra_may_follow_a_study(lrsweep: Command, option: list[str]) -> None:
    assert lrsweep("study=lr", *option) == 0


def test_the_version_is_that_of_lrsweep(lrsweep: Command, capsys: pytest.CaptureFixture[str]) -> None:
    lrsweep("--version")
    assert capsys.readouterr().out.startswith(f"lrsweep {__version__}, Hydra ")
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_missing_data_prints_one_line(lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    assert lrsweep(*SMALL, f"machine.data_dir={tmp_path / 'data'}") == 2
    err = capsys.readouterr().err
    assert err.startswith("DataError: MNIST is incomplete")
    assert err.count("\n") == 1


def test_one_run_prints_a_summary_and_stores_a_record(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preparation.report_cpu_fallback.cache_clear()
    assert lrsweep(*SMALL, "optimizer.lr=0.01") == 0
    out = capsys.readouterr().out
    assert "121,994" in out
    assert "ok, stopped by max_epochs after 2 epochs" in out
    assert out.count("no GPU found, so the runs use the CPU") == 1
    (row,) = store.load(tmp_path / "results" / "single").itertuples()
    assert (row.lr, row.epochs, row.loss) == (0.01, 2, "cross_entropy")
    assert lrsweep(*SMALL, "optimizer.lr=0.01") == 0
    assert "in the store already" in capsys.readouterr().out


def test_a_terminal_that_lacks_characters_gets_escapes(lrsweep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert lrsweep(*SMALL, "study.name='학습률'") == 0
    out.flush()
    assert b"results/\\ud559\\uc2b5\\ub960/runs/" in out.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_single_run_may_not_change_the_settings_of_a_study(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = [*SMALL, "study.name=mine"]
    assert lrsweep(*mine) == 0
    assert lrsweep(*mine, "optimizer.lr=0.01", "seed=1") == 0
    capsys.readouterr()
    assert lrsweep(*mine, "training.batch_size=16") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ConfigError: results/mine holds runs with other settings: training.batch_size 32 → 16. ")
    assert err.count("\n") == 1
    assert len(store.read(tmp_path / "results" / "mine")) == 2
    assert lrsweep(*mine, "training.batch_size=16", "study.extend=true") == 0
    assert lrsweep(*mine, "training.batch_size=16", "seed=1") == 0  # now it is a setting of the study
    assert lrsweep(*mine, "training.batch_size=8") == 2


def test_methods_of_all_kinds_combine(lrsweep: Command, tmp_path: Path) -> None:
    methods = ["loss=double_softmax", "schedule=cosine", "optimizer=rmsprop", "optimizer.layerwise=falling"]
    others = ["training.batch_size=64", "model.dropout=0.2", "technique=augmentation", "schedule.warmup=1"]
    assert lrsweep(*SMALL, *methods, *others) == 0
    (record,) = store.read(tmp_path / "results" / "single")
    assert min(epoch.train_loss for epoch in record.outcome.curve) > 1.4611  # the lowest loss that two softmaxes allow
    (row,) = store.load(tmp_path / "results" / "single").itertuples(index=False, name=None)
    assert {"double_softmax", "cosine", "rmsprop", "falling", 64, 0.2} <= set(row)


def test_a_linear_network_on_some_digits_scored_and_validated_at_the_end(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linear = ["model.activation=linear", "model.conv_activation=linear", "model.pool=mean", "data.classes=[4,0,7]"]
    budget = ["training=budget", "training.max_epochs=3", "training.score=last", "training.validate_every=3"]
    assert lrsweep(*SMALL[:3], *linear, *budget) == 0
    assert "ok, stopped by max_epochs after 3 epochs (best: 3); test accuracy" in capsys.readouterr().out
    folder = tmp_path / "results" / "single"
    (record,) = store.read(folder)
    assert record.config["data"]["classes"] == [0, 4, 7]
    assert [count > 0 for count in record.class_counts["test"]] == [digit in (0, 4, 7) for digit in range(10)]
    assert store.load_curves(folder)["valid_accuracy"].notna().tolist() == [False, False, True]


@pytest.mark.slow
def test_weights_are_saved_and_another_run_starts_from_them(lrsweep: Command, tmp_path: Path) -> None:
    weights = tmp_path / "weights of seed-{seed}.pt"
    assert lrsweep(*SMALL) == 0
    assert lrsweep(*SMALL, f"machine.save_weights='{weights}'", "seed=0") == 0  # the record exists, but not its weights
    assert (tmp_path / "weights of seed-0.pt").exists()
    assert lrsweep(*SMALL, f"model.init_from='{weights}'") == 0
    records = store.read(tmp_path / "results" / "single")
    first_losses = {record.config["model"]["init_from"] is None: record.outcome.curve[0].train_loss for record in records}
    assert first_losses[False] < first_losses[True]
    assert lrsweep(*SMALL, f"model.init_from='{weights}'", "model.new_output=true") == 0
    assert len(store.read(tmp_path / "results" / "single")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "name", "reason"),
    [
        ("RUN", "folder", "is a folder; name a file"),
        ("MULTIRUN", "folder", "is a folder; name a file"),
        ("RUN", "file/w.pt", "cannot be written (File exists)"),
        ("RUN", "file/below/w.pt", "cannot be written (Not a directory)"),
        ("RUN", "w" * 300, "cannot be written (File name too long)"),
        ("RUN", "/proc/w.pt", "cannot be written (No such file or directory)"),  # not even root can write there
    ],
)
def test_weights_that_cannot_be_saved_are_refused_before_anything_runs(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str, name: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert lrsweep(*SMALL, f"hydra.mode={mode}", f"machine.save_weights={name}") == 2
    assert capsys.readouterr() == ("", f"ConfigError: machine.save_weights={name} {reason}\n")
    assert not list(tmp_path.glob("**/runs"))


@pytest.mark.slow
def test_a_run_whose_weights_were_overwritten_is_repeated(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pt"
    overrides = [*SMALL, "training.max_epochs=1", f"machine.save_weights={path}"]
    saved = []
    for lr in ("0.001", "0.002", "0.001"):
        assert lrsweep(*overrides, f"optimizer.lr={lr}") == 0
        assert "in the store already" not in capsys.readouterr().out
        saved.append(path.read_bytes())
    assert saved[0] == saved[2] != saved[1]
    assert lrsweep(*overrides, "optimizer.lr=0.001") == 0
    assert "in the store already" in capsys.readouterr().out


def test_a_sweep_that_would_overwrite_its_own_weights_is_refused(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["hydra.mode=MULTIRUN", *SMALL, "seed=0,1", "optimizer.lr=0.001,0.002"]
    assert lrsweep(*sweep, "machine.save_weights='w-{seed}.pt'") == 2
    assert capsys.readouterr() == (
        "",
        "ConfigError: machine.save_weights=w-{seed}.pt would save several runs of this sweep to one file, w-0.pt; tell them "
        "apart with {seed} or ${optimizer.lr} in the name\n",
    )
    assert not list(tmp_path.glob("**/runs"))


def test_a_calibrated_record_does_not_replace_a_measured_one(
    tmp_path: Path, make_run: Callable[..., RunConfig], make_record: Callable[..., RunRecord]
) -> None:
    """The measured run ended after the fused program had started."""
    run = make_run(max_epochs=1)
    measured = replace(make_record(), run_id=run_id(run), config=asdict(run))
    store.save(tmp_path, measured)
    returned = []
    execution.run_cohort(
        [run],
        [tmp_path],
        MachineConfig(device="cpu", data_dir=str(ROOT / "data")),
        num_slots=1,
        on_record=lambda i, record: returned.append(record),
        on_epoch=lambda num_active: None,
        on_halved=lambda num_slots: None,
        on_message=lambda text: None,
    )
    assert returned == store.read(tmp_path) == [measured]
