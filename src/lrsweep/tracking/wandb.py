"""Log runs to Weights & Biases (W&B): to its server, to one of your own, or into files that `wandb sync` uploads later."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrsweep.config import AppConfig, ConfigError, RunConfig
from lrsweep.records import RunRecord
from lrsweep.tracking.metrics import FINAL_METRICS, epoch_metrics, files_hash, final_metrics, hash_of, record_hash, run_name

_ENVIRONMENT = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_INIT_TIMEOUT": "20",  # seconds to start a run; the default is 90
    "WANDB_FINISH_TIMEOUT": "60",  # seconds to upload it; by default W&B tries for days
}
_RUN_SETTINGS: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "finish_timeout_raises": True,
    "x_disable_machine_info": True,  # this process need not run where the run was trained
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandB:
    """One W&B run per run, in the group of its study, and a run `report` with the figures. The files are in results/wandb.

    If a record has changed, its W&B run is resumed: it gets the new settings, the new outcome and further epochs. But W&B keeps
    the epochs that the run already has.
    """

    def __init__(self, app: AppConfig) -> None:
        """ConfigError if W&B has no API key, because it would ask for one."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import wandb

        server = {"base_url": app.tracker.uri} if app.tracker.uri else {}
        settings = wandb.setup(wandb.Settings(silent=True, **server)).settings
        self._mode = settings.mode
        self._is_offline = self._mode in ("offline", "dryrun")
        if not self._is_offline and self._mode != "disabled":
            _require_key(settings.base_url)
        self._project = settings.project or "lrsweep"
        self._target = (settings.base_url, settings.entity, self._project)
        self._results = Path(app.machine.results_dir).resolve()
        self._study = app.study.name

    def log_run(self, record: RunRecord) -> None:
        epochs: dict[int, dict[str, float]] = {}
        for metric in epoch_metrics(record):
            epochs.setdefault(metric.epoch, {"_timestamp": metric.time})[metric.name] = metric.value
        outcome = {name: value for name, value in vars(record.outcome).items() if f"final/{name}" not in FINAL_METRICS}
        del outcome["curve"]
        outcome |= {"epochs": record.outcome.epochs, "engine": record.engine, "timing": record.timing}

        def log(run: Any) -> int:
            for epoch, metrics in epochs.items():
                run.log(metrics, step=epoch)
            run.summary.update(outcome | final_metrics(record))
            return 1 if record.outcome.status == "failed" else 0

        options = {"name": run_name(record), "job_type": "run", "config": _nested_settings(record.config)}
        self._write(record.run_id, record_hash(record), log, options)

    def log_figures(self, figures: list[Path]) -> None:
        def log(run: Any) -> int:
            import wandb

            run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
            return 0

        self._write("report", files_hash(figures), log, {"name": "report", "job_type": "report"})

    def _write(self, name: str, content_hash: str, log: Callable[[Any], int], options: dict[str, Any]) -> None:
        """Log a run, unless it is logged already. `log` returns its exit code.

        When a run is complete, its folder gets a file `logged-…`. Older and incomplete folders of the run are deleted.
        """
        import wandb

        if self._mode == "disabled":
            return
        run_id = f"{name}-{hash_of(self._study.encode())[:8]}"
        marker = f"logged-{hash_of(f'{content_hash} {self._target}'.encode())}"
        folder = self._results / "wandb"
        kinds = "*run" if self._is_offline else "run"  # what is in files only, offline-run-…, has not reached the server
        if any(folder.glob(f"{kinds}-*-{run_id}/{marker}")):
            return
        for earlier in folder.glob(f"*run-*-{run_id}"):
            shutil.rmtree(earlier)
        run = wandb.init(
            project=self._project,
            group=self._study,
            id=run_id,
            resume="allow",
            dir=self._results,
            reinit="create_new",
            settings=wandb.Settings(**_RUN_SETTINGS),
            **options,
        )
        exit_code = 1
        try:
            exit_code = log(run)
        finally:
            run.finish(exit_code=exit_code)
        (Path(run.dir).parent / marker).touch()


def _require_key(base_url: str) -> None:
    import wandb

    try:
        if wandb.login(prompt=False, verify=False):
            return
        reason = f"no API key for {base_url}"
    except wandb.errors.AuthenticationError as error:
        reason = str(error)
    advice = f"log in with `wandb login --host {base_url}`, set WANDB_API_KEY, or write files only with WANDB_MODE=offline"
    raise ConfigError(f"tracker=wandb: {reason}; {advice}")


def _nested_settings(config: dict[str, Any]) -> dict[str, Any]:
    """A record's config, in which a setting newer than the record has its default, which changes nothing."""
    defaults = asdict(RunConfig())
    return config | {
        group: default | config.get(group, {}) if isinstance(default, dict) else config.get(group, default)
        for group, default in defaults.items()
    }
