"""A sweep from Python, also of networks and data that exist only in a notebook."""

import functools
import multiprocessing
import operator
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from lrsweep.analysis.best_rate import Best
from lrsweep.analysis.findings import Analysis, analyse
from lrsweep.cli import execution, preparation
from lrsweep.cli.errors import explain, is_user_error
from lrsweep.cli.main import compose, to_app_config
from lrsweep.cli.signals import end_with_parent
from lrsweep.config import AppConfig, ConfigError, RunConfig, per_seed, require, run_id
from lrsweep.config.targets import forget_own, register_own
from lrsweep.data.download import DataError
from lrsweep.data.images import forget_images
from lrsweep.records import RunRecord
from lrsweep.report.build import build
from lrsweep.report.texts.commands import in_quotes
from lrsweep.report.texts.decision import decision_en
from lrsweep.storage import lock, store
from lrsweep.storage.files import StoreError
from lrsweep.tracking.tracker import Tracking
from lrsweep.training.device import describe, num_cores, prepare_device, same_settings_after

Model = str | type[nn.Module] | Callable[..., nn.Module]
Data = str | Path | Sequence[Any] | Mapping[str, Any] | Callable[..., Any]

# Settings and groups of settings that only the command uses, and what to use instead.
_INSTEAD = {
    "optimizer.lr": "the argument lrs, as in lrs=[0.001, 0.01]",
    "seed": "the argument seeds, as in seeds=[0, 1]",
    "grid.": "the argument lrs, as in lrs=[0.001, 0.01]",
    "hydra.": "the argument workers, or the command lrsweep",
    "find.": "the command lrsweep-find",
    "study": "lrsweep.run_study",
    "study.name": "the argument name",
}


@dataclass(frozen=True)
class SweptStudy:
    """The results of a sweep. The command `lrsweep` gives the same.

    - folder: the study's folder, with its records and its report
    - report: the page report.html
    """

    folder: Path
    delta: float | None = None

    @cached_property
    def analysis(self) -> Analysis:
        """All results; see `lrsweep.analyse`."""
        return analyse(self.folder, self.delta)

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run: its settings and results."""
        return self.analysis.runs

    @property
    def table(self) -> pd.DataFrame:
        """One row per learning rate: its mean accuracy, what it loses against the best rate, and its class."""
        return self._best.rows

    @property
    def plateau(self) -> list[float]:
        """The good learning rates: those that are shown to lose less than `delta` of test accuracy. Empty if none is."""
        return [float(lr) for lr in self._best.good["lr"]]

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def _best(self) -> Best:
        if self.analysis.main is None:
            raise ValueError(f"no run of {self.folder} was scored")
        return self.analysis.main.headline

    def __repr__(self) -> str:
        """The decision, as at the top of the report."""
        if self.analysis.main is None:
            return f"{self.folder}: no run was scored"
        lines = [f"{question} {answer}".replace("**", "") for question, answer in decision_en(self.analysis.main)]
        return "\n".join([*lines, f"Report: {self.report}"])


def sweep(
    *overrides: str,
    lrs: Sequence[float],
    seeds: int | Sequence[int],
    model: Model | None,
    data: Data | None,
    name: str,
    results_dir: str | Path,
    workers: int | None,
) -> SweptStudy:
    """See `lrsweep.sweep`."""
    forget_images()
    try:
        rates = [float(lr) for lr in lrs]
        numbers = [operator.index(seed) for seed in (seeds if isinstance(seeds, Iterable) else range(seeds))]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"lrs must be numbers, and seeds a whole number or several: {error}") from error
    for override in overrides:
        _refuse_unused(override)
    words = [f"study.name={in_quotes(name)}", f"machine.results_dir={in_quotes(str(results_dir))}"]
    try:
        with same_settings_after():
            return _sweep(_config(*words, *_data_words(data), *_model_words(model), *overrides), rates, numbers, workers)
    except KeyboardInterrupt:
        print("\nStopped. Finished runs are kept. To continue, call lrsweep.sweep again.", file=sys.stderr)
        raise
    finally:
        forget_own()


def _refuse_unused(override: str) -> None:
    """Raise ConfigError if the override would have no effect."""
    setting = re.split("[=@]", override.lstrip("+~"))[0]
    for name in (setting, re.split("[./]", setting)[0] + "."):
        if name in _INSTEAD:
            raise ConfigError(f"{override} has no effect in lrsweep.sweep; use {_INSTEAD[name]}")


def _config(*words: str) -> AppConfig:
    try:
        return to_app_config(compose(*words))
    except (ConfigError, DataError):
        raise
    except Exception as error:
        if not is_user_error(error):
            raise
        raise ConfigError(explain(error).partition(": ")[2]) from None


def _sweep(app: AppConfig, lrs: list[float], seeds: list[int], workers: int | None) -> SweptStudy:
    pairs = dict.fromkeys((seed, lr) for seed in seeds for lr in lrs)  # each once
    runs = [replace(app.run, seed=seed, optimizer=replace(app.optimizer, lr=lr)) for seed, lr in pairs]
    if not runs:
        raise ConfigError("a sweep needs at least one learning rate and one seed")
    path = app.machine.save_weights
    if path and len({per_seed(path, run.seed) for run in runs}) < len(runs):
        raise ConfigError(
            f"machine.save_weights={path} would save several runs of this sweep to one file; "
            "put {seed} into the name, and sweep one learning rate"
        )
    for run in runs:
        preparation.check_files(run, app.machine)
    num_workers, tracking = _num_workers(workers, app.machine.threads), Tracking(app)
    with lock.hold(app.folder):
        _train_missing(runs, app, num_workers)
        build(app.folder, app.study.name, app.study.delta)
        tracking.log_study()  # not before, because a tracker's threads do not survive a fork
    return SweptStudy(app.folder, app.study.delta)


def _data_words(data: Data | None) -> list[str]:
    if data is None:
        return []
    if isinstance(data, str | Path):
        if ":" in str(data):
            return [f"data.target={data}"]
        return ["data=arrays", f"data.path={in_quotes(str(data))}"] if str(data).endswith(".npz") else [f"data={data}"]
    # The images are hashed, so it does not matter which function returns them.
    target = register_own(data if callable(data) else functools.partial(lambda: data), "arrays")
    return [f"data.target={target}", f"data.name={target.split(':')[1]}"]


def _model_words(model: Model | None) -> list[str]:
    if model is None:
        return []
    if isinstance(model, nn.Module):
        raise ConfigError("model must be a class or a function that builds the network, because each run starts from new weights")
    if isinstance(model, str):
        return [f"model.target={model}" if ":" in model else f"model={model}"]
    if not callable(model):
        raise ConfigError(f"model must be a class, a function that builds the network, or a name, not {type(model).__name__}")
    target = register_own(model, "network")
    return [f"model.target={target}", f"model.name={target.split(':')[1]}"]


def _train_missing(runs: list[RunConfig], app: AppConfig, workers: int) -> None:
    """Train the runs that have no record, with a progress bar. A run that fails leaves a failed record."""
    folder = app.folder
    records = preparation.load_records(folder)
    preparation.refuse_other_settings(app.study, folder, records, runs)
    store.expect(folder, [run_id(run) for run in runs], app.study.delta)
    preparation.write_model_summary(runs[0], folder)
    finished = {name for name, record in records.items() if preparation.is_finished(record, app.machine)}
    missing = [run for run in runs if run_id(run) not in finished]
    prepare_device(app.machine)
    workers = min(workers, max(len(missing), 1))
    with tqdm(total=len(runs), initial=len(runs) - len(missing), unit="run", desc=app.study.name) as bar:
        for run, result in _each(missing, app, workers):
            rate = f"lr {run.optimizer.lr:.2e}"
            if isinstance(result, RunRecord):
                status = str(result.outcome.status)
            else:
                status = "failed"
                record = execution.record_failure(run, folder, describe(prepare_device(app.machine), workers), result)
                kept = "; its earlier record is kept" if record.is_done else ""
                bar.write(f"failed: {rate}, seed {run.seed}: {result}{kept}")
            bar.update()
            bar.set_postfix_str(f"{rate}: {status}")


def _num_workers(wanted: int | None, threads: int) -> int:
    """`wanted`, or as many as there are cores for their threads.

    If PyTorch sees a GPU, only one, even on the CPU: neither CUDA nor autograd survive a fork.
    """
    require(wanted is None or wanted >= 1, "workers", "at least 1", wanted)
    if not torch.cuda.is_available():
        return wanted or max(1, num_cores() // threads)
    if wanted is not None and wanted > 1:
        raise ConfigError(
            f"workers={wanted} is not possible where PyTorch sees a GPU; use workers=1, the command lrsweep with "
            f"hydra.launcher.workers={wanted}, or start Python with CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    return 1


def _each(runs: list[RunConfig], app: AppConfig, workers: int) -> Iterator[tuple[RunConfig, RunRecord | str]]:
    """Train the runs, each in a process of its own if there are several workers. A run that fails gives the reason.

    Processes are forked, as those of a DataLoader, so that they know a notebook's classes.
    """
    if workers == 1:
        yield from ((run, _train(run, app, workers)) for run in runs)
        return
    context = multiprocessing.get_context("fork")
    waiting = deque(runs)
    active: dict[Connection, tuple[ForkProcess, RunConfig]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                connection, its_end = context.Pipe(duplex=False)
                process = context.Process(target=_train_and_send, args=(its_end, waiting[0], app, workers))
                process.start()
                its_end.close()  # the process holds the only other copy, so the pipe ends when the process does
                active[connection] = process, waiting.popleft()
            ready = wait(active)
            for connection in [each for each in active if each in ready]:
                process, run = active.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    result = None
                process.join()
                connection.close()
                if isinstance(result, StoreError):
                    raise result  # the store cannot be written, so no other result could be stored either
                yield run, result or execution.how_it_ended(process.exitcode)
    finally:
        for process, _ in active.values():
            process.kill()
            process.join()


def _train_and_send(connection: Connection, run: RunConfig, app: AppConfig, workers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C, the parent process ends this one
    end_with_parent()
    # The first thread of a forked process would wait for ever for the OpenMP threads of the parent. A new thread starts its own.
    with ThreadPoolExecutor(1) as thread:
        try:
            connection.send(thread.submit(_train, run, app, workers).result())
        except StoreError as error:
            connection.send(error)


def _train(run: RunConfig, app: AppConfig, workers: int) -> RunRecord | str:
    """The record, or why the run failed."""
    try:
        return execution.run_one(
            run,
            app.machine,
            app.folder,
            workers=workers,
            on_epoch=lambda epoch: None,
            on_message=lambda text: None,
            has_own_process=False,
        )
    except StoreError:
        raise
    except Exception as error:  # one bad run must not end the sweep
        return f"{type(error).__name__}: {error}"
