"""lrsweep-confirm runs the best rates on fresh seeds, and the study's report quotes them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from at_work import default_interrupt, lrsweep_in_process, python_path

from lrsweep.analysis.confirmation import FIRST_FRESH_SEED
from lrsweep.analysis.fresh import plan_fresh_runs
from lrsweep.cli import confirm, fresh_sweep, main
from lrsweep.config import LossConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, StudyConfig, run_id
from lrsweep.records import RunRecord
from lrsweep.report.build import build
from lrsweep.storage import store
from lrsweep.storage.tables import DEFAULT_SETTINGS

ROOT = Path(__file__).parents[2]
SMALL = ["data.num_train=64", "data.num_valid=100", "data.num_test=100"]
BRIEF = [*SMALL, "training.max_epochs=4", f"machine.data_dir={ROOT / 'data'}"]


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": python_path()}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def confirm_in_process(folder: Path, *words: str) -> str:
    """Run lrsweep-confirm and its sweep in this process, without reports. Returns what the sweep prints."""
    printed = []

    def run_to_end(command: list[str], environment: Mapping[str, str]) -> int:
        if command[2] == "lrsweep":  # the other command writes the study's report
            code, out, err = lrsweep_in_process(folder, *command[3:])
            assert code == 0, err
            printed.append(out)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confirm, "run_to_end", run_to_end)
        patch.setattr(sys, "argv", ["lrsweep-confirm", *words, f"machine.results_dir={folder / 'results'}"])
        confirm.main()
    (out,) = printed
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study that learns at one of its two rates, its confirmation, its runs without early stopping, and its report."""
    folder = tmp_path_factory.mktemp("a study")
    code, _, err = lrsweep_in_process(folder, "-m", "study.name=small", "optimizer.lr=1e-6,1e-2", "seed=0,1", *BRIEF)
    assert code == 0, err
    confirm_in_process(folder, "study=small", "seeds=2", f"machine.data_dir={ROOT / 'data'}")
    budget = ["study=budget", "study.name=small/budget", "grid.start=-6", "grid.stop=-2", "grid.step=4"]
    code, _, err = lrsweep_in_process(folder, *budget, *BRIEF, "training.patience=4")
    assert code == 0, err
    build(folder / "results" / "small")
    return folder / "results" / "small"


@pytest.mark.slow
def test_the_best_rate_runs_on_fresh_seeds_with_the_settings_of_the_study(folder: Path) -> None:
    fresh = store.load(folder / "confirm")
    assert set(fresh["seed"]) == {FIRST_FRESH_SEED, FIRST_FRESH_SEED + 1}
    assert set(fresh["lr"]) == {1e-2}
    assert set(fresh["data.num_train"]) == {64}
    assert set(fresh["training.max_epochs"]) == {4}


@pytest.mark.slow
def test_the_report_quotes_the_fresh_seeds(folder: Path) -> None:
    accuracy = store.load(folder / "confirm")["test_accuracy"].mean()
    (line,) = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("* **How sure is this?**")]
    assert f"On 2 fresh seeds, 0.01 reaches {accuracy:.2%}." in line


@pytest.mark.slow
def test_the_report_quotes_the_runs_without_early_stopping(folder: Path) -> None:
    report = (folder / "report.md").read_text()
    best = store.load(folder / "budget").query("lr == 1e-2")["valid_accuracy"].mean()
    section = report.split("## What does early stopping hide?")[1].split("\n## ")[0]
    assert "Here every run has 4 epochs" in section
    assert f"{best:.2%}" in section


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_sweep_ends_by_itself(tmp_path: Path, number: signal.Signals) -> None:
    handler = "lambda received, frame: (time.sleep(1), print('ended', flush=True), sys.exit(128 + received))"
    sweep = f"import signal, sys, time; signal.signal({int(number)}, {handler}); print('ready', flush=True); time.sleep(60)"
    program = f"import sys; from lrsweep.cli.confirm import run_to_end; sys.exit(run_to_end([sys.executable, '-c', {sweep!r}]))"
    environment = os.environ | {"PYTHONPATH": python_path()}
    options = {"env": environment, "stdout": subprocess.PIPE, "text": True, "preexec_fn": default_interrupt}
    with subprocess.Popen([sys.executable, "-c", program], **options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "ended\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize("name", ["study", "study.name"])
def test_a_study_without_records_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lrsweep-confirm", f"{name}=nothing"])
    with pytest.raises(SystemExit, match="2"):
        confirm.main()
    assert capsys.readouterr().err == (
        "StoreError: results/nothing holds no runs to choose rates from; check the study's name, or run its sweep first\n"
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "study=schedules",
            "StoreError: results/schedules holds no runs to choose rates from; run lrsweep study=schedules first",
        ),
        ("schedules", "ConfigError: cannot parse 'schedules'; write name=value, as in lrsweep-confirm study=schedules seeds=20"),
        (
            "study=lr seed=0,1",
            "ConfigError: leave out seed=0,1: fresh runs take this from the study's runs and its file; "
            "seeds=N says how many fresh seeds",
        ),
        (
            "study=lr +training.max_epochs=3",
            "ConfigError: leave out +training.max_epochs=3: fresh runs take this from the study's runs and its file",
        ),
        (
            "study=lr technique=relu",
            "ConfigError: leave out technique=relu: fresh runs take this from the study's runs and its file",
        ),
        (
            "study=lr study.confirm_decades=1",
            "ConfigError: leave out study.confirm_decades=1: fresh runs take this from the study's runs and its file",
        ),
        (
            "study=long",
            "ConfigError: study=long plans no fresh seeds; seeds=20 runs 20, and "
            "lrsweep-report study=long shows the results so far",
        ),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lrsweep-confirm", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        confirm.main()
    assert capsys.readouterr() == ("", f"{error}\n")


@pytest.mark.parametrize("seeds", ["abc", "0", "-1", "2.5", "", "9" * 5000])
def test_an_invalid_number_of_seeds_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeds: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["lrsweep-confirm", "study=lr", f"seeds={seeds}"])
    with pytest.raises(SystemExit, match="2"):
        confirm.main()
    assert capsys.readouterr().err == f"ConfigError: seeds must be a whole number from 1 to 9999, got {seeds!r}\n"


def test_unusual_names_and_lists_are_quoted_for_hydra(tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    """Hydra gets the words without a shell, so no shell removes the quotes. `study.arm` selects the settings of an arm."""
    weights = 'it\'s "{seed}" 학습률, 1.pt'
    runs = {}
    for lr, schedule, model in (
        (1e-3, ScheduleConfig(name="multi_step", milestones=[5, 10]), ModelConfig()),
        (1e-5, ScheduleConfig(warmup=2), ModelConfig(init_from=weights, batch_norm=True)),
    ):
        run = RunConfig(optimizer=OptimizerConfig(lr=lr), schedule=schedule, model=model, loss=LossConfig(name="double_softmax"))
        runs[lr] = run
        store.save(tmp_path / "학습률 it's", replace(make_record(lr=lr), run_id=run_id(run), config=asdict(run)))
    study = fresh_sweep.read_tuning(tmp_path, "학습률 it's")
    words = fresh_sweep.overrides(study, plan_fresh_runs(study, 0.0), 2)
    assert words[:2] == ["study.arm=range(2)", "seed=range(1000,1002)"]
    composed = [main.to_app_config(main.compose(*words[2:], f"study.arm={arm}")) for arm in range(2)]
    assert {app.study.name for app in composed} == {"학습률 it's/confirm"}
    assert {app.optimizer.lr: app.run for app in composed} == runs


BACKSLASHES = ["a\\", "a\\\\", "a\\'b", 'a\\"b', "\\\\\\'", "[old].pt", "a,b}c{.pt"]


@pytest.mark.parametrize("weights", BACKSLASHES)
def test_unusual_paths_of_weights_reach_only_their_own_arm(
    tmp_path: Path, make_record: Callable[..., RunRecord], weights: str
) -> None:
    runs = [RunConfig(), RunConfig(model=ModelConfig(init_from=weights))]
    for run in runs:
        store.save(tmp_path / "mine", replace(make_record(), run_id=run_id(run), config=asdict(run)))
    study = fresh_sweep.read_tuning(tmp_path, "mine")
    words = fresh_sweep.overrides(study, plan_fresh_runs(study, 0.0), 2)
    composed = [main.to_app_config(main.compose(*words[2:], f"study.arm={arm}")).run for arm in range(2)]
    assert sorted(map(run_id, composed)) == sorted(map(run_id, runs))


def commands_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[list[str]]:
    """The commands that lrsweep-confirm would run."""
    commands: list[list[str]] = []
    monkeypatch.setattr(confirm, "run_to_end", lambda command, environment: commands.append(command) or 0)
    monkeypatch.setattr(sys, "argv", ["lrsweep-confirm", *words])
    confirm.main()
    return commands


def test_the_results_folder_can_have_any_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_record: Callable[..., RunRecord]
) -> None:
    folder = tmp_path / "it's (1), a=b"
    store.save(folder / "mine", make_record())
    sweep, report = commands_of(monkeypatch, "study=mine", f"machine.results_dir={folder}")
    assert main.compose(*sweep[6:]).machine.results_dir == str(folder)
    assert report[-1] == f"machine.results_dir={folder}"


def test_fresh_runs_are_judged_by_the_delta_of_the_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_record: Callable[..., RunRecord]
) -> None:
    record = make_record()
    store.save(tmp_path / "mine", record)
    store.expect(tmp_path / "mine", [record.run_id], 0.01)
    sweep, report = commands_of(monkeypatch, "study=mine", f"machine.results_dir={tmp_path}")
    assert main.to_app_config(main.compose(*sweep[6:])).study.delta == 0.01
    assert not [word for word in report if word.startswith("delta")]  # lrsweep-report finds it in the study's folder


def test_a_study_that_used_the_fresh_seeds_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_record: Callable[..., RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    store.save(tmp_path / "mine", make_record(seed=FIRST_FRESH_SEED))
    with pytest.raises(SystemExit, match="2"):
        commands_of(monkeypatch, "study=mine", f"machine.results_dir={tmp_path}")
    assert capsys.readouterr().err.startswith(f"StoreError: {tmp_path / 'mine'} has runs on seeds from 1000 on")


# A whole study, run with the real commands: two arms, two rates, two seeds.

ARMS = [*SMALL, "study=restarts", "training.max_epochs=10", f"machine.data_dir={ROOT / 'data'}"]


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the study after tuning and confirming, and the output of lrsweep-confirm."""
    folder = tmp_path_factory.mktemp("arms")
    code, _, err = lrsweep_in_process(folder, *ARMS, "optimizer.lr=1e-6,1e-2")
    assert code == 0, err
    confirmed = python(folder, "-m", "lrsweep.cli.confirm", *CONFIRM_ARMS)
    assert confirmed.returncode == 0, confirmed.stderr
    return folder / "results" / "restarts", confirmed.stdout


CONFIRM_ARMS = ["study=restarts", "seeds=3", f"machine.data_dir={ROOT / 'data'}"]


@pytest.mark.slow
def test_every_arm_runs_at_its_best_rate_on_the_same_fresh_seeds(arms: tuple[Path, str]) -> None:
    tuning, fresh = store.load(arms[0]), store.load(arms[0] / "confirm")
    assert len(tuning) == 2 * 2 * 2
    for _, runs in fresh.groupby("schedule.name"):
        assert runs["seed"].tolist() == [FIRST_FRESH_SEED, FIRST_FRESH_SEED + 1, FIRST_FRESH_SEED + 2]
    settings = [name for name in DEFAULT_SETTINGS if name in fresh and name != "seed"]
    best = tuning[tuning["lr"] == 1e-2].drop_duplicates("schedule.name")
    assert fresh["lr"].tolist() == [1e-2] * 6
    assert (arms[0] / "report.md").exists()  # of the whole study, after the sweep's own report
    assert set(map(tuple, fresh[settings].to_numpy())) == set(map(tuple, best[settings].to_numpy()))


@pytest.mark.slow
def test_the_output_names_arms_rates_and_the_edge(arms: tuple[Path, str]) -> None:
    assert "  cosine_restarts, period=20: 0.01\n" in arms[1]
    assert "Warning: the best rate of cosine, 0.01, is the highest that was tried; a higher one may be better\n" in arms[1]


@pytest.mark.slow
def test_the_same_command_again_trains_nothing(arms: tuple[Path, str]) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in arms[0].rglob("runs/*.json")}

    before = written()
    printed = confirm_in_process(arms[0].parents[1], *CONFIRM_ARMS)
    assert "6 expected: 6 ok, 0 diverged, 0 failed, 0 missing" in printed
    assert written() == before


@pytest.mark.slow
def test_an_incomplete_study_is_refused(arms: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(arms[0], tmp_path / "results" / "restarts")
    next((tmp_path / "results" / "restarts" / "runs").glob("*.json")).unlink()
    refused = python(tmp_path, "-m", "lrsweep.cli.confirm", *CONFIRM_ARMS)
    assert refused.returncode == 2
    assert refused.stderr.startswith("StoreError: results/restarts lacks 1 of its planned runs")


def test_the_study_file_says_how_many_seeds() -> None:
    assert confirm.study_config("mini_batch").fresh_seeds == 5
    assert confirm.study_config("mine") == StudyConfig(name="mine")


@pytest.mark.parametrize("group", ["model", "data"])
def test_code_that_only_the_records_name_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make_record: Callable[..., RunRecord],
    group: str,
) -> None:
    config = asdict(RunConfig())
    config[group] |= {"target": "os:system", "args": {"command": "touch forged"}}
    store.save(tmp_path / "mine", replace(make_record(), config=config))
    monkeypatch.chdir(tmp_path)
    words = ["study=mine", f"machine.results_dir={tmp_path}"]
    with pytest.raises(SystemExit, match="2"):
        commands_of(monkeypatch, *words)
    message = f"the runs of mine need code that is not part of lrsweep; if you trust it, add {group}.target=os:system"
    assert capsys.readouterr() == ("", f"ConfigError: {message}\n")
    sweep, _ = commands_of(monkeypatch, *words, f"{group}.target=os:system")
    assert f"{group}.target=os:system" in sweep


def test_code_of_the_program_that_called_sweep_cannot_be_confirmed_and_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_record: Callable[..., RunRecord]
) -> None:
    config = asdict(RunConfig())
    config["data"] |= {"target": "__main__:arrays"}
    store.save(tmp_path / "mine", replace(make_record(), config=config))
    for trusted in ([], ["data.target=__main__:arrays"]):
        with pytest.raises(SystemExit, match="2"):
            commands_of(monkeypatch, "study=mine", f"machine.results_dir={tmp_path}", *trusted)
        assert capsys.readouterr() == (
            "",
            "ConfigError: the network or the images of mine are in the program that called lrsweep.sweep, and fresh runs cannot "
            'import them from there; in that program, call lrsweep.sweep again with name="mine/confirm" and '
            "seeds=range(1000, 1020), then run lrsweep-report; or move the code into a module, and sweep again\n",
        )


def test_data_that_were_moved_are_found_at_their_new_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_record: Callable[..., RunRecord]
) -> None:
    run = main.to_app_config(main.compose("data=digits", "model=mlp")).run
    config = asdict(run)
    config["data"] |= {"path": "old place.npz"}
    store.save(tmp_path / "mine", replace(make_record(), run_id=run_id(run), config=config))
    words = ["study=mine", f"machine.results_dir={tmp_path}"]
    old, _ = commands_of(monkeypatch, *words)
    new, _ = commands_of(monkeypatch, *words, "data.path=new.npz", "+model.name=mine")
    assert "data.path='old place.npz'" in old
    assert [word for word in new if "data.path" in word or "model.name" in word] == ["data.path=new.npz", "+model.name=mine"]


def test_arms_with_different_arguments_of_a_network_keep_them(tmp_path: Path, make_record: Callable[..., RunRecord]) -> None:
    runs = [
        main.to_app_config(main.compose("data=digits", "model=mlp", f"model.args.width={width}", "training.max_epochs=1")).run
        for width in (16, 32)
    ]
    for run in runs:
        store.save(tmp_path / "mine", replace(make_record(), run_id=run_id(run), config=asdict(run)))
    study = fresh_sweep.read_tuning(tmp_path, "mine")
    words = fresh_sweep.overrides(study, plan_fresh_runs(study, 0.0), 2)
    composed = [main.to_app_config(main.compose(*words[2:], f"study.arm={arm}")).run for arm in range(2)]
    assert sorted(map(run_id, composed)) == sorted(map(run_id, runs))
