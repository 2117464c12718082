"""The title and the answer box at the top of a report, and the section that says what ran."""

from collections.abc import Sequence

import pandas as pd

from lrsweep.analysis.findings import CONFIRM, Analysis, Findings
from lrsweep.report.texts.commands import is_in_program
from lrsweep.report.texts.decision import decision
from lrsweep.report.texts.language import say
from lrsweep.report.texts.markdown_tables import uncommitted_text, values_of
from lrsweep.report.texts.wording import counted, escaped, seconds_text

FRESH_IN_PROGRAM = (
    "* **Fresh seeds:** none at the best rate yet (in your program, call `lrsweep.sweep` again with `seeds=range(1000, 1020)` "
    "and `/confirm` added to `name`)"
)


def title_and_answer(study: str, tables: Analysis) -> str:
    """The title and the answer box: the decision in four lines, and a warning if runs are missing."""
    main = tables.main
    lines = [f"# {escaped(title(study, tables))}", ""]
    if main is None:
        lines.append(f"* {say('No run of this study was scored yet.')}")
        if (tables.runs["status"] == "failed").all():
            failed = counted(len(tables.runs), "run")
            lines.append(say("* **{runs} failed.** The errors are below. The same command runs them again.", runs=failed))
    else:
        lines += decision_lines(decision(main))
        is_fresh = study.endswith(f"/{CONFIRM}")  # this study's own seeds are the fresh seeds
        if main.confirmation is None and not is_fresh:
            lines.append(_why_no_fresh_seeds(tables.runs, main))
        if tables.num_fresh_missing:
            lines.append(
                say(
                    "* **Fresh seeds not finished:** {num} of {total} planned runs are missing or failed.",
                    num=tables.num_fresh_missing,
                    total=tables.num_fresh_planned,
                )
            )
    if todo := _to_do(tables.runs, tables.expected):
        lines.append(say("* **Not finished:** {todo}.", todo=todo))
    return "\n".join(lines)


def _why_no_fresh_seeds(runs: pd.DataFrame, main: Findings) -> str:
    if num := main.num_fresh_diverged:
        return say("* **Fresh seeds:** all diverged before they were scored ({runs})", runs=counted(num, "run"))
    if is_in_program(runs):
        return say(FRESH_IN_PROGRAM)
    return say("* **Fresh seeds:** none at the best rate yet (see `lrsweep-confirm --help`)")


def title(study: str, tables: Analysis) -> str:
    """The title of the report: what was trained, and the name of the study. It is not escaped for Markdown or HTML."""
    network, images = _network_and_images(tables.main_runs.iloc[0])
    question = "Which learning rate for {network} on {images}? (study {study})"
    return say(question, network=network, images=images, study=name_for_readers(study))


def name_for_readers(study: str) -> str:
    """The study's name, without the folder of the repository's own results."""
    return study.removeprefix("reference/")


def _network_and_images(run: pd.Series) -> tuple[str, str]:
    network = say("a small convolutional network") if run["model.target"] == "null" else str(run["model.name"])
    return network, "MNIST" if run["data.target"] == "null" else str(run["data.name"])


def decision_lines(decision: Sequence[tuple[str, str]]) -> list[str]:
    return [f"* **{question}** {answer}" for question, answer in decision]


def what_ran_section(tables: Analysis) -> str:
    """The network and data, the number of runs and whether they are complete, the cost, and the machine."""
    runs = tables.runs
    lines = [f"## {say('What ran')}", ""]
    if tables.main is not None:
        network = _what_ran(tables.main_runs.iloc[0])
        lines.append(say("* **Network and data:** {network}", network=network))
    lines.append(say("* **Runs:** {runs}", runs=completeness(runs, tables.expected)))
    lines.append(say("* **Cost:** {cost}", cost=_cost(runs)))
    fresh = say("; fresh seeds: {machine}", machine=_machine(tables.quoted[CONFIRM])) if CONFIRM in tables.quoted else ""
    lines.append(say("* **Machine:** {machine}", machine=_machine(runs) + fresh))
    return "\n".join(lines)


def _what_ran(run: pd.Series) -> str:
    """For readers who have never seen the project. All runs of an arm share these settings."""
    network, images = _network_and_images(run)
    patience = run["training.patience"]
    ends = say("stopped after {epochs} epochs", epochs=run["training.max_epochs"])
    if patience != "null":
        ends = say("{ends}, or {patience} without improvement in validation accuracy", ends=ends, patience=patience)
    return say(
        "{network} on {images} ({train:,} images to train, {valid:,} to validate, {test:,} to test) with {optimizer}, batch size "
        "{batch_size}, {ends}",
        network=escaped(network),
        images=escaped(images),
        train=run["data.num_train"],
        valid=run["data.num_valid"],
        test=run["data.num_test"],
        optimizer=escaped(run["optimizer.name"]),
        batch_size=run["training.batch_size"],
        ends=ends,
    )


def _cost(runs: pd.DataFrame) -> str:
    measured = runs[runs["status"] != "failed"]
    num_timed = int(measured["seconds"].notna().sum())
    epochs = say("{epochs:,} epochs in {runs}", epochs=measured["epochs"].sum(), runs=counted(len(measured), "run"))
    if not num_timed:
        return say("{epochs}; time was not measured, because no run had the machine to itself", epochs=epochs)
    return say(
        "{epochs}; median {seconds} s of the {num} that had the machine to themselves",
        epochs=epochs,
        seconds=seconds_text(measured["seconds"].median()),
        num=num_timed,
    )


def completeness(runs: pd.DataFrame, expected: set[str] | None = None) -> str:
    """The number of runs by status. `expected` holds the run ids of the last sweep: its missing and failed runs are counted."""
    statuses = say("{ok} ok, {diverged} diverged, {failed} failed", **_num_by_status(runs))
    grids = [
        f"{counted(arm_runs['lr'].nunique(), 'learning rate')} × {counted(arm_runs['seed'].nunique(), 'seed')} ({escaped(arm)})"
        for arm, arm_runs in runs.groupby("arm")
    ]
    grid = say(" and ").join(grids)
    present = say("{runs} of {grid}: {statuses}", runs=counted(len(runs), "run"), grid=grid, statuses=statuses)
    if expected is None:
        return present
    todo = _to_do(runs, expected)
    done = say("The last sweep is complete ({runs})", runs=counted(len(expected), "run"))
    return f"{present}. " + (f"**{todo}**" if todo else done)


def _num_by_status(runs: pd.DataFrame) -> dict[str, int]:
    return {status: int((runs["status"] == status).sum()) for status in ("ok", "diverged", "failed")}


def _to_do(runs: pd.DataFrame, expected: set[str] | None) -> str:
    """The runs that the last sweep still has to do. Empty if there are none, or if the sweep is unknown."""
    if not expected:
        return ""
    missing = len(expected - set(runs["run_id"]))
    failed = int((runs["run_id"].isin(expected) & (runs["status"] == "failed")).sum())
    texts = (("{num} of {total} runs missing", missing), ("{num} of {total} runs failed and must be done again", failed))
    return "; ".join(say(text, num=num, total=len(expected)) for text, num in texts if num)


def _machine(runs: pd.DataFrame) -> str:
    commits = ", ".join(sorted(escaped(str(commit)[:7]) for commit in runs["git_commit"].dropna().unique()))
    return say(
        "{device}, {cores} cores; commit {commits}",
        device=values_of(runs, "device_name"),
        cores=values_of(runs, "cores"),
        commits=(commits or say("not recorded")) + uncommitted_text(runs),
    )
