"""From a config to a record: in the store already? If not, train and keep what came. The Hydra entry.

Hydra and OmegaConf end here: below, everything takes the dataclasses of config.py.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from lrsweep import data, store
from lrsweep.config import CONF_DIR, AppConfig, ConfigError, MachineConfig, RunConfig, resolve_log_grid, run_id
from lrsweep.data import Mnist
from lrsweep.download import DataError
from lrsweep.engine import solo
from lrsweep.environment import describe, prepare_device
from lrsweep.model import summarise_model
from lrsweep.records import EpochRecord, Outcome, RunRecord

OnEpoch = Callable[[EpochRecord], None]


class SweepIncomplete(Exception):
    """A sweep that left runs failed or missing; the sweep itself has said which."""


def register() -> None:
    """Tell Hydra the schema and the grid's resolver."""
    ConfigStore.instance().store(name="schema", node=AppConfig)
    OmegaConf.register_new_resolver("log_grid", resolve_log_grid, replace=True)


def to_app_config(cfg: DictConfig) -> AppConfig:
    """The composed config as dataclasses, every bound checked."""
    app = OmegaConf.to_object(cfg)
    assert isinstance(app, AppConfig)
    return app


def is_done(record: RunRecord | None) -> bool:
    """A diverged run is done: divergence is a result. A failed one is tried again."""
    return record is not None and record.outcome.status != "failed"


def run_one(run: RunConfig, machine: MachineConfig, folder: Path, *, workers: int, on_epoch: OnEpoch) -> RunRecord:
    """Train one run on this process's device and store its record."""
    device = prepare_device(machine)
    split = data.split(_mnist(Path(machine.data_dir), device), run.data, run.seed)
    outcome = solo.train(run, split, on_epoch)
    record = RunRecord(
        run_id=run_id(run),
        config=asdict(run),
        outcome=outcome,
        engine="solo",
        timing="measured",
        class_counts=split.class_counts,
        environment=describe(device, workers),
    )
    store.save(folder, record)
    return record


def record_failure(run: RunConfig, folder: Path, error: str) -> None:
    """A run that gave nothing leaves a record as well: 46 points in, 46 records out."""
    outcome = Outcome(status="failed", stop_reason="error", error=error)
    record = RunRecord(
        run_id=run_id(run), config=asdict(run), outcome=outcome, engine="solo", timing="measured", class_counts={}, environment={}
    )
    store.save(folder, record)


@cache
def _mnist(folder: Path, device: torch.device) -> Mnist:
    return data.load(folder, device)


def keep_model_summary(run: RunConfig, folder: Path) -> str:
    summary = summarise_model(run.model, run.training.batch_size)
    store.write_atomically(folder / "model.txt", (summary + "\n").encode())
    return summary


def run_single(cfg: DictConfig) -> None:
    """What `lrsweep` does without a sweep: one run, here, with its summary and its progress."""
    app = to_app_config(cfg)
    run, folder = app.run, app.folder
    print(keep_model_summary(run, folder))
    record = next((r for r in [store.read_run(folder, run_id(run))] if is_done(r)), None)
    if record is None:
        with tqdm(unit="epoch", desc=f"lr {run.optimizer.lr:.2e}", disable=None) as bar:

            def show(epoch: EpochRecord) -> None:
                bar.update()
                bar.set_postfix(train_loss=f"{epoch.train_loss:.4f}", valid_accuracy=f"{epoch.valid_accuracy:.4f}")

            record = run_one(run, app.machine, folder, workers=1, on_epoch=show)
    else:
        print("This run is in the store already.")
    print(_describe_outcome(record.outcome))
    print(f"Record: {store.path_of(folder, record.run_id)}")


def _describe_outcome(outcome: Outcome) -> str:
    test = "not scored" if outcome.test_accuracy is None else f"{outcome.test_accuracy:.2%}"
    return (
        f"{outcome.status}, stopped by {outcome.stop_reason} after {outcome.epochs} epochs (best: {outcome.best_epoch}); "
        f"test accuracy {test}; {outcome.wall_seconds:.1f} s"
    )


def one_line(error: BaseException) -> str:
    """The whole message of a refused setting on one line, as the person who set it wants to read it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__ or cause.__context__
    lines = str(cause or error).splitlines()
    told = [line.strip() for line in lines if line.strip() and not line.strip().startswith(("object_type=", "reference_type="))]
    return " ".join(told)


def main() -> None:
    """The console command. A person's mistake is one line and exit code 2; Ctrl-C is 130; runs missing or failed, 1."""
    register()
    # With this set Hydra hands us its exceptions; without it, it would print them over several lines and exit.
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    entry: Callable[[], Any] = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(run_single)
    try:
        entry()
    except SweepIncomplete:
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped. What is done is kept; to go on, give the same command again:", file=sys.stderr)
        print(f"  {_command()}", file=sys.stderr)
        sys.exit(130)
    except (ConfigError, DataError, store.StoreError, HydraException, OmegaConfBaseException) as error:
        if show_tracebacks:
            raise
        print(
            f"{type(error).__name__ if not isinstance(error, ConfigError) else 'ConfigError'}: {one_line(error)}", file=sys.stderr
        )
        sys.exit(2)


def _command() -> str:
    import shlex

    return shlex.join(["lrsweep", *sys.argv[1:]])
