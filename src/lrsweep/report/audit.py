"""Every claim of the documents with its verdict, on one page.

    lrsweep-report study=all [machine.results_dir=DIR]

Reads conf/claims.yaml and the studies that it names below `machine.results_dir`; writes audit.md, audit.html (one file, nothing
to load) and the figures into that folder. A study that is missing leaves its claims inconclusive.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lrsweep import store
from lrsweep.analysis.claims import LEVEL, Audit, Judged, Test, Verdict, judge_all, read_claims
from lrsweep.analysis.contrasts import Effect
from lrsweep.analysis.layout import NEAR, WINDOW
from lrsweep.analysis.study import Study
from lrsweep.analysis.suggest import suggest
from lrsweep.analysis.summary import with_arms, with_chance, with_seconds
from lrsweep.report import audit_figures
from lrsweep.report.command import commands
from lrsweep.report.comparison import comparison
from lrsweep.report.document import markdown_table
from lrsweep.report.gallery import Figure, draw
from lrsweep.report.page import render_page
from lrsweep.report.wording import counted, escaped, shell_block

TITLE = "What the documents claim, and what the runs say"
KOREAN = {"supported": "지지됨", "refuted": "반박됨", "inconclusive": "판단 불가"}
MARKS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}


def build_audit(folder: Path) -> Path:
    """Write the audit of all studies below `folder`; return audit.md."""
    read = functools.cache(lambda name: read_study(folder, name))
    audit = judge_all(read_claims(), read, functools.partial(read_suggestions, folder))
    judged = audit.judged
    named = dict.fromkeys(test.study for one in judged for test in one.claim.tests if test.study)
    studies = [study for study in map(read, named) if study is not None]
    markdown = "\n\n".join(
        [
            _head(judged, studies),
            _claims_table(audit),
            _effects(folder, judged),
            "## Claim by claim\n\nEach with its tests.",
            *(_claim_section(one) for one in judged),
            "## Study by study\n\nEvery arm at its own best rate, chosen by validation accuracy.",
            *(_study_section(folder, study) for study in studies),
            _method(audit),
        ]
    )
    store.write_atomically(folder / "audit.md", (markdown + "\n").encode())
    store.write_atomically(folder / "audit.html", render_page(TITLE, markdown, folder, None).encode())
    return folder / "audit.md"


def read_study(folder: Path, name: str) -> Study | None:
    """None where there is no run."""
    records = store.read(folder / name)
    if not records:
        return None
    counts = store.class_counts_frame(records)
    runs = with_arms(with_seconds(with_chance(store.to_frame(records), counts)))
    expected = store.read_expected(folder / name)
    is_done = runs["status"] != "failed"
    missing = len((expected or set()) - set(runs.loc[is_done, "run_id"])) or int((~is_done).sum())
    return Study(name, runs, store.curves_frame(records), counts, missing)


def read_suggestions(folder: Path, name: str) -> pd.DataFrame:
    """What the rate finder suggests, a row a rule and seed; empty where it has not run."""
    if not store.has_range_tests(folder / name):
        return suggest(())
    return suggest(store.read_range_tests(folder / name).tests)


def _head(judged: Sequence[Judged], studies: Sequence[Study]) -> str:
    by_word = {word: [one for one in judged if one.word == word] for word in ("refuted", "supported", "inconclusive")}
    counts = [f"* **{MARKS[word]} {len(found)} {word}** ({KOREAN[word]}){_links(found)}" for word, found in by_word.items()]
    return "\n\n".join(
        [
            f"# {TITLE}",
            f"{len(judged)} statements of five documents on learning rates, each held against runs of their CNN on MNIST: "
            f"{counted(sum(len(study.measured) for study in studies), 'run')} of {len(studies)} studies, most of "
            "them short (study by study, below).",
            "\n".join(counts),
            "## What the documents get wrong",
            "\n".join(map(_answer, by_word["refuted"])) or "Nothing was refuted.",
            "## What holds here",
            "\n".join(map(_answer, by_word["supported"])) or "Nothing was supported.",
        ]
    )


def _answer(one: Judged) -> str:
    """The claim, and what its weakest test found."""
    i = one.verdicts.index(one.weakest)
    found = effect_text(one.weakest.effect)
    return f"* **{escaped(one.claim.claim)}** {escaped(one.claim.tests[i].asks)} {found} ([{one.claim.id}](#{one.claim.id}))"


def _links(judged: Sequence[Judged]) -> str:
    """None of what is inconclusive: those are in the table, with the reason."""
    if not judged or judged[0].word == "inconclusive":
        return ""
    return ": " + ", ".join(f"[{one.claim.id}](#{one.claim.id})" for one in judged)


def _claims_table(audit: Audit) -> str:
    rows = [
        [
            f"[{one.claim.id}](#{one.claim.id})",
            f"**{MARKS[one.word]} {one.word}**" + (" °" if one.claim.id in audit.weaker else ""),
            escaped(one.claim.claim),
            effect_text(one.weakest.effect) if one.weakest.effect else escaped(one.weakest.reason),
            str(one.weakest.effect.num_seeds or "—") if one.weakest.effect else "—",
            ", ".join(one.claim.documents),
        ]
        for one in audit.judged
    ]
    intro = (
        "The effect is that of the claim's weakest test, positive where it is as claimed, with its interval. °: another verdict "
        "under the strictest correction, see below."
    )
    table = markdown_table(["id", "verdict", "claim", "effect", "seeds", "documents"], rows)
    return f"## Every claim\n\n{intro}\n\n<details open><summary>{counted(len(rows), 'claim')}</summary>\n\n{table}\n\n</details>"


def effect_text(effect: Effect | None) -> str:
    """An effect with its interval, in its unit."""
    if effect is None:
        return "—"
    match effect.unit:
        case "answer":
            return escaped(effect.detail)
        case "bound":
            return f"at most {abs(effect.effect) * 100:.2f} points away"
        case "number":
            return "as stated" if effect.effect >= -1e-9 else "not as stated"
    low, middle, high = (_in_unit(value, effect.unit) for value in (effect.low, effect.effect, effect.high))
    unit = {"accuracy": " points", "decades": " decades", "nats": " nats"}.get(effect.unit, "")
    interval = "" if low == high or "nan" in low else f" [{low} to {high}]"
    return f"{middle}{unit}{interval}"


def _in_unit(value: float, unit: str) -> str:
    match unit:
        case "accuracy":
            return f"{value * 100:+.2f}"
        case "share":
            return f"{value:.0%}"
        case "factor":
            return f"×{10**value:.3g}"
        case _:
            return f"{value:+.2f}"


def _effects(folder: Path, judged: Sequence[Judged]) -> str:
    reading = "Tests with an interval, by unit. The claim holds where the whole interval is to the right of its bar."
    parts = ["## Effects at a glance", reading]
    for unit, rows in audit_figures.rows_by_unit(judged).items():
        title = f"Effects in {audit_figures.SCALES[unit][1]}, positive as claimed ({counted(len(rows), 'test')})"
        plot = functools.partial(audit_figures.plot_effects, unit, rows)
        parts.append(draw(folder, Figure(f"audit-effects-{unit}", title, "", plot)))
    return "\n\n".join(parts)


def _claim_section(one: Judged) -> str:
    claim = one.claim
    lines = [f"### {claim.id}", f"**{MARKS[one.word]} {one.word} ({KOREAN[one.word]})** {escaped(claim.claim)}"]
    if claim.korean:
        where = "document" if len(claim.documents) == 1 else "documents"
        lines.append(f"> {escaped(claim.korean)} ({where} {', '.join(claim.documents)})")
    tests = zip(claim.tests, one.verdicts, strict=True)
    lines += [_test_text(i, test, verdict) for i, (test, verdict) in enumerate(tests, start=1)]
    if claim.not_measured:
        lines.append(f"Not measured: {escaped(claim.not_measured)}.")
    if claim.caveat:
        lines.append(f"*{escaped(claim.caveat)}*")
    return "\n\n".join(lines)


def _test_text(i: int, test: Test, verdict: Verdict) -> str:
    lines = [f"{i}. {escaped(test.asks)}", f"   **{verdict.word}**: {escaped(verdict.reason)}."]
    if (effect := verdict.effect) is not None:
        p_value = "" if math.isnan(effect.p_value) else f", p = {effect.p_value:.2g}"
        lines.append(f"   Effect: **{effect_text(effect)}**{p_value}; {_behind(effect, test)}.")
        lines.append(f"   {escaped(effect.detail)}.")
    return "\n\n".join(lines)


def _behind(effect: Effect, test: Test) -> str:
    if not test.study:
        return "no runs needed"
    return f"{counted(effect.num_runs, 'run')}, {counted(effect.num_seeds, 'seed')} ([{test.study}](#{_anchor(test.study)}))"


def _anchor(study: str) -> str:
    return "study-" + study.replace("/", "-")


def _study_section(folder: Path, study: Study) -> str:
    missing = f" **{study.num_missing} missing.**" if study.num_missing else ""
    return "\n\n".join(
        [
            f"### Study: {escaped(study.name.replace('/', ', '))}",
            f"{counted(len(study.measured), 'run')}; {_sizes(study.runs)}.{missing}",
            comparison(folder, study, f"audit-{study.name.replace('/', '-')}"),
            "<details><summary>The commands that make these runs again</summary>",
            shell_block(commands(study.name, study.runs)),
            "</details>",
        ]
    )


def _sizes(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    patience = str(first["training.patience"])
    length = f"{first['training.max_epochs']} epochs" if patience == "null" else f"patience {patience}"
    images = ", ".join(f"{first[f'data.num_{part}']:,} {word}" for part, word in _PARTS.items())
    return f"{images} images; {length}"


_PARTS = {"train": "training", "valid": "validation", "test": "test"}


def _method(audit: Audit) -> str:
    missing = [f"* {one.claim.id}: {escaped(one.weakest.reason)}" for one in audit.judged if one.weakest.effect is None]
    return f"""## How it was judged

* **The rule.** An effect is turned so that positive is what the claim says. *Supported*: the whole interval is above what the
  claim says (mostly 0). *Refuted*: the whole interval is below that, or below the least effect worth having. Else
  *inconclusive*. A claim of several tests has the verdict of the weakest.
* **Never rounded up.** Inconclusive as well: runs are missing; fewer than 3 seeds; or an arm's best rate is the first or last one
  tried and the answer would change if one more step gained as much as the last one did.
* **Many tests.** {audit.num_decided} of {audit.num_tests} statistical tests are decided. So that no more than {LEVEL:.0%} of
  those are wrong on average (Benjamini and Hochberg's false discovery rate), every interval is at {1 - audit.level:.2%}; where a
  test compares several pairs, they share its part. This correction replaced Bonferroni's after a first look at the verdicts
  of two studies; what that one would not decide is marked °.
* **Each arm at its own best rate**, chosen by mean validation accuracy over the seeds; what is compared is test accuracy. Arms
  of a study have equally many rates, so that choosing flatters all alike.
* **Paired by seed.** A seed has the same images, initial weights and batch order in all arms. The standard error is what arms and
  seeds leave unexplained, pooled over the arms' rates within {NEAR:.0%} of their best; an arm that varies far more than the rest
  (an F test) has its own. Times and epochs are compared as ratios. Shares have Wilson intervals.
* **Shortfall**: by how many percentage points the mean over the rates within {WINDOW:g} decades of the best lies below it.
* Claims and their tests are data: conf/claims.yaml. This page: `lrsweep-report study=all`.

## Without a measurement

{chr(10).join(missing) or "Every claim has one."}"""
