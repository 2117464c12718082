"""`lrsweep` without a sweep: train one run in this process, with a model summary and a progress bar."""

from tqdm import tqdm

from lrsweep.cli.execution import run_one
from lrsweep.cli.preparation import (
    check_files,
    is_finished,
    load_records,
    refuse_other_settings,
    report_cpu_fallback,
    write_model_summary,
)
from lrsweep.config import AppConfig, run_id
from lrsweep.records import EpochRecord, Outcome
from lrsweep.storage import lock, store
from lrsweep.tracking.tracker import Tracking


def run_single(app: AppConfig) -> float | None:
    """Train and store the run unless it is finished already. Return its validation accuracy.

    A run with a calibrated record of the fused engine is trained again, because its time was not measured.
    """
    check_files(app.run, app.machine)
    with lock.hold(app.folder, run_id(app.run)):
        return _run_held(app)


def _run_held(app: AppConfig) -> float | None:
    run, folder = app.run, app.folder
    tracking = Tracking(app)
    records = load_records(folder)
    refuse_other_settings(app.study, folder, records, [run])
    print(write_model_summary(run, folder))
    record = records.get(run_id(run))
    if record is None or not is_finished(record, app.machine) or record.timing == "calibrated":
        report_cpu_fallback(app.machine.device)
        with tqdm(unit="epoch", desc=f"lr {run.optimizer.lr:.2e}", disable=None) as bar:

            def on_epoch(epoch: EpochRecord) -> None:
                bar.update(epoch.epoch - bar.n)  # more than 1 if the run resumed from its checkpoint
                scores = {"train_loss": epoch.train_loss, "valid_accuracy": epoch.valid_accuracy}
                bar.set_postfix({name: f"{score:.4f}" for name, score in scores.items() if score is not None})

            def on_message(text: str) -> None:
                tqdm.write(f"This run {text}.")

            record = run_one(run, app.machine, folder, workers=1, on_epoch=on_epoch, on_message=on_message)
    else:
        print("This run is in the store already.")
    tracking.log_run(record)
    print(_describe_outcome(record.outcome))
    print(f"Record: {store.path_of(folder, record.run_id)}")
    return record.outcome.valid_accuracy


def _describe_outcome(outcome: Outcome) -> str:
    test = "not scored" if outcome.test_accuracy is None else f"{outcome.test_accuracy:.2%}"
    return (
        f"{outcome.status}, stopped by {outcome.stop_reason} after {outcome.epochs} epochs (best: {outcome.best_epoch}); "
        f"test accuracy {test}; {outcome.wall_seconds:.1f} s"
    )
