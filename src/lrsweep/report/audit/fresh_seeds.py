"""A table of the fresh seeds of a study."""

import math

import pandas as pd

from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.summary import chance, half_interval, summarise
from lrsweep.report.texts.language import say
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import escaped, lr_text, number, percent

MAX_HALF = 0.5  # a wider interval of an accuracy says nothing
_SCORES = {
    "test_accuracy": "test ± half of 95%",
    "best_test_accuracy": "at the best epoch",
    "last_test_accuracy": "at the last epoch",
}


def fresh_table(study: Study) -> str:
    """One row per arm and rate, the highest test accuracy first."""
    scores = {name: title for name, title in _SCORES.items() if name in study.runs and study.runs[name].notna().any()}
    measured = study.measured.copy()
    has_diverged = measured["status"] == "diverged"  # counts as guessing if it has no score
    measured.loc[has_diverged, list(scores)] = measured.loc[has_diverged, list(scores)].fillna(chance(study.runs))
    rows = []
    for _, row in summarise(measured).iterrows():
        arm, lr = row["arm"], row["lr"]
        runs = measured[(measured["arm"] == arm) & (measured["lr"] == lr)]
        cells = [escaped(study.called(arm)), f"{lr_text(lr)}{_remark(study, arm, lr)}"]
        cells += [*(_mean_text(runs[name]) for name in scores), *_sizes(row)]
        rows.append((row["test_mean"], cells))
    header = [say(name) for name in ("arm", "rate", *scores.values(), "seeds", "learned", "epochs", "seconds")]
    return markdown_table(header, [cells for _, cells in sorted(rows, key=lambda row: -row[0])])


def _remark(study: Study, arm: str, lr: float) -> str:
    try:
        choice = study.choose(arm)
    except NoSuchRuns:
        return ""
    if not math.isclose(choice.lr, lr, rel_tol=1e-6):
        return ""
    return say(", chosen, an edge") if choice.is_at_edge else say(", chosen")


def _mean_text(values: pd.Series) -> str:
    half = half_interval(values.std(), values.count())
    is_known = half < MAX_HALF  # not if there are too few values
    return percent(float(values.mean())) + (f" ± {half * 100:.2f}" if is_known else "")


def _sizes(row: pd.Series) -> list[str]:
    num_runs = row["num_runs"]
    learned, timed = (say("{num} of {total}", num=row[name], total=num_runs) for name in ("num_learned", "num_timed"))
    seconds = f"{row['seconds_mean']:.0f} ({timed})" if row["num_timed"] else number(math.nan, "")
    return [str(num_runs), learned, number(row["epochs_mean"], ".0f"), seconds]
