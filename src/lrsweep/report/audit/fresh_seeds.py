"""A table of the fresh seeds of a study."""

import math

import pandas as pd

from lrsweep.analysis.study import NoSuchRuns, Study
from lrsweep.analysis.summary import half_interval
from lrsweep.report.texts.language import say
from lrsweep.report.texts.markdown_tables import markdown_table
from lrsweep.report.texts.wording import escaped, lr_text, number, percent

_SCORES = {
    "test_accuracy": "test ± half of 95%",
    "best_test_accuracy": "at the best epoch",
    "last_test_accuracy": "at the last epoch",
}


def fresh_table(study: Study) -> str:
    """One row per arm and rate, the highest test accuracy first."""
    scores = {name: title for name, title in _SCORES.items() if name in study.runs and study.runs[name].notna().any()}
    rows = []
    for _, runs in study.measured.groupby(["arm", "lr"]):
        arm, lr = str(runs["arm"].iloc[0]), float(runs["lr"].iloc[0])
        cells = [escaped(study.called(arm)), f"{lr_text(lr)}{_remark(study, arm, lr)}"]
        cells += [*(_mean_text(runs[name]) for name in scores), *_sizes(runs)]
        rows.append((float(runs["test_accuracy"].mean()), cells))
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
    half = half_interval(values.std(), len(values))
    return percent(float(values.mean())) + ("" if math.isnan(half) else f" ± {half * 100:.2f}")


def _sizes(runs: pd.DataFrame) -> list[str]:
    learned = say("{num} of {total}", num=int(runs["learned"].sum()), total=len(runs))
    return [str(len(runs)), learned, number(runs["epochs"].mean(), ".0f"), number(runs["seconds"].mean(), ".0f")]
