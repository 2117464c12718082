"""The command line, in this process: what is refused, and how it is said; one run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lrsweep.cli import execution
from lrsweep.config import RunConfig
from lrsweep.records import RunRecord
from lrsweep.storage import store

Command = Callable[..., int]
SMALL = ["data.num_train=64", "data.num_valid=50", "data.num_test=50", "training.max_epochs=2"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["optimizer.lr=-0.001"], "ConfigError: optimizer.lr must be positive and finite, got -0.001"),
        (["optimizer.lr=nan"], "ConfigError: optimizer.lr must be positive and finite, got nan"),
        (["optimizer.lr=abc"], "ConfigError: optimizer.lr: Value 'abc' of type 'str' could not be converted to Float"),
        (["optimizer.lrr=1"], "ConfigError: optimizer.lrr is not a setting; did you mean optimizer.lr?"),
        (["+optimizer.damping=1"], "ConfigError: optimizer.damping is not a setting; lrsweep --cfg job lists them all"),
        (["+seed=3"], "ConfigError: seed is a setting already; leave out the +"),
        (["optimizer={rate: 1}"], "ConfigError: optimizer.rate is not a setting; did you mean optimizer.name?"),
        (["~optimizer.lr"], "ConfigError: ~optimizer.lr: OptimizerConfig (DictConfig) does not support deletion"),
        (["seed=${nope}"], "ConfigError: seed: Interpolation key 'nope' not found"),
        (["optimizer.lr=" + "9" * 400], "ConfigError: optimizer.lr: int too large to convert to float"),
        (
            ["optimizer=null"],
            "ConfigError: a group of settings takes the name of a choice, as in optimizer=adamw: what was given is none",
        ),
        (
            ["study.name=학습률"],
            "ConfigError: cannot read 'study.name=학습률'; write name=value, and letters that Hydra does not know in two pairs "
            "of quotes: \"study.name='학습률'\"",
        ),
        (["machine.results_dir='\udc80'"], "ConfigError: machine.results_dir must be text that UTF-8 can hold, got '\\udc80'"),
        (
            ["study=lr", "seed=range(1000000000)"],
            "ConfigError: a sweep has at most 100,000 runs, and this one more; sweep fewer values, or some at a time",
        ),
        (["training.patience=0"], "ConfigError: training.patience must be at least 1, got 0"),
        (["training.patience=no"], "ConfigError: training.patience: Value 'no' of type 'str' could not be converted to Integer"),
        (
            ["optimizer=sgdd"],
            "ConfigError: optimizer must be one of adadelta, adagrad, adam, adamw, gd, momentum, nesterov, rmsprop, sgd, "
            "got 'sgdd'",
        ),
        (
            ["data.num_train=59000"],
            "ConfigError: data.skip + data.num_train + data.num_valid must be at most 60000, got 64000",
        ),
        (["machine.precision=bf16"], "ConfigError: machine.precision must be one of fp32, tf32, got 'bf16'"),
        (["machine.device=gpu"], "ConfigError: machine.device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        (
            ["study.name=../elsewhere"],
            "ConfigError: study.name must be a plain relative path, with no backslash and no part that begins with '.' or '-', "
            "got '../elsewhere'",
        ),
        (["study=lr", "grid.step=0"], "ConfigError: grid.step must be positive, got 0.0"),
        (["study=lr", "grid.start=-1"], "ConfigError: grid.start must be at most grid.stop (-1.5), got -1.0"),
        (["study=lr", "grid.step=4", "training.max_epochs=0"], "ConfigError: training.max_epochs must be at least 1, got 0"),
        (["study=lr", "grid.step=4", "seed=0,-1"], "ConfigError: seed must be from 0 to 2147483647, got -1"),
        (
            ["study=lr", "grid.step=4", "hydra/launcher=fused", "hydra.launcher.runs=0"],
            "ConfigError: hydra.launcher.runs must be at least 1, got 0",
        ),
        (
            ["optimizer=gd", "training.batch_size=64"],
            "ConfigError: training.batch_size=64 contradicts optimizer=gd, whose batch is all training images; "
            "optimizer=sgd takes a batch size",
        ),
        (
            ["schedule=cosine", "schedule.every=3"],
            "ConfigError: schedule.every is not used by schedule=cosine, only by step, exponential, power, exp_range, grow_batch",
        ),
        (["model.init_from='nowhere-{seed}.pt'", "seed=3"], "ConfigError: model.init_from: there is no nowhere-3.pt"),
        (["study=lr", "grid.step=4", "model.init_from=no.pt"], "ConfigError: model.init_from: there is no no.pt"),
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
def test_a_mistake_is_one_line_before_anything_runs(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], told: str
) -> None:
    assert lrsweep(*overrides) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", told + "\n")
    assert not list(tmp_path.glob("results/*/runs"))


def test_missing_data_are_one_message(lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    assert lrsweep(*SMALL, f"machine.data_dir={tmp_path / 'data'}") == 2
    err = capsys.readouterr().err
    assert err.startswith("DataError: MNIST is incomplete")
    assert err.count("\n") == 1


def test_one_run_prints_its_summary_and_leaves_its_record(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lrsweep(*SMALL, "optimizer.lr=0.01") == 0
    out = capsys.readouterr().out
    assert "121,994" in out
    assert "ok, stopped by max_epochs after 2 epochs" in out
    (row,) = store.load(tmp_path / "results" / "single").itertuples()
    assert (row.lr, row.epochs, row.loss) == (0.01, 2, "cross_entropy")
    assert lrsweep(*SMALL, "optimizer.lr=0.01") == 0
    assert "in the store already" in capsys.readouterr().out


def test_double_softmax_is_one_override_away(lrsweep: Command, tmp_path: Path) -> None:
    assert lrsweep(*SMALL, "loss=double_softmax") == 0
    (record,) = store.read(tmp_path / "results" / "single")
    assert record.config["loss"]["name"] == "double_softmax"
    assert min(epoch.train_loss for epoch in record.outcome.curve) > 1.4611


def test_methods_of_every_kind_go_together(lrsweep: Command, tmp_path: Path) -> None:
    many = [
        "schedule=one_cycle",
        "optimizer=rmsprop",
        "optimizer.layerwise=falling",
        "training.batch_size=64",
        "model.dropout=0.2",
    ]
    assert lrsweep(*SMALL, *many, "technique=augmentation", "schedule.warmup=1") == 0
    (row,) = store.load(tmp_path / "results" / "single").itertuples(index=False, name=None)
    assert {"one_cycle", "rmsprop", "falling", 64, 0.2} <= set(row)


@pytest.mark.slow
def test_weights_are_kept_where_asked_for_and_started_from(lrsweep: Command, tmp_path: Path) -> None:
    weights = tmp_path / "weights of seed-{seed}.pt"
    kept = f"machine.save_weights='{weights}'"
    assert lrsweep(*SMALL) == 0
    assert lrsweep(*SMALL, kept, "seed=0") == 0  # in the store already, but without its weights
    assert (tmp_path / "weights of seed-0.pt").exists()
    assert lrsweep(*SMALL, f"model.init_from='{weights}'") == 0
    first, second = sorted(
        store.read(tmp_path / "results" / "single"), key=lambda record: record.config["model"]["init_from"] or ""
    )
    assert second.outcome.curve[0].train_loss < first.outcome.curve[0].train_loss


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RUN", "MULTIRUN"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("folder", "is a folder; name a file"),
        ("file/w.pt", "cannot be written (File exists)"),
        ("file/below/w.pt", "cannot be written (Not a directory)"),
        ("w" * 300, "cannot be written (File name too long)"),
        ("/proc/w.pt", "cannot be written (No such file or directory)"),  # there even root may write nothing
    ],
)
def test_weights_that_could_not_be_written_are_refused_before_anything_runs(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, told: str, mode: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert lrsweep(*SMALL, f"hydra.mode={mode}", f"machine.save_weights={name}") == 2
    assert capsys.readouterr() == ("", f"ConfigError: machine.save_weights={name} {told}\n")
    assert not list(tmp_path.glob("**/runs"))


@pytest.mark.slow
def test_weights_that_another_run_has_overwritten_are_made_again(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pt"
    brief = [*SMALL, "training.max_epochs=1", f"machine.save_weights={path}"]
    written = []
    for rate in ("0.001", "0.002", "0.001"):
        assert lrsweep(*brief, f"optimizer.lr={rate}") == 0
        assert "in the store already" not in capsys.readouterr().out
        written.append(path.read_bytes())
    assert written[0] == written[2] != written[1]
    assert lrsweep(*brief, "optimizer.lr=0.001") == 0
    assert "in the store already" in capsys.readouterr().out


def test_a_sweep_of_runs_that_would_overwrite_each_others_weights_is_refused(
    lrsweep: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = ["hydra.mode=MULTIRUN", *SMALL, "seed=0,1", "optimizer.lr=0.001,0.002"]
    assert lrsweep(*several, "machine.save_weights='w-{seed}.pt'") == 2
    assert capsys.readouterr() == (
        "",
        "ConfigError: machine.save_weights=w-{seed}.pt gives several runs of this sweep one file, w-0.pt; name in it what they "
        "differ in, as {seed} or ${optimizer.lr} do\n",
    )
    assert not list(tmp_path.glob("**/runs"))


def test_a_calibrated_record_never_replaces_a_measured_one(tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    """Of a launch that began before the measured one ended."""
    run = RunConfig()
    outcome = make_record().outcome

    def keep_fused() -> RunRecord:
        return execution._keep(run, tmp_path, outcome, {}, {}, engine="fused", timing="calibrated")

    assert keep_fused().timing == "calibrated"
    measured = execution._keep(run, tmp_path, outcome, {}, {})
    assert keep_fused() == measured
    assert store.read(tmp_path) == [measured]
