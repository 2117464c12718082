"""The committed reports and the READMEs agree with the committed records."""

import functools
import math
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from reference import READMES, verdict_counts, with_blocks
from scipy import stats

from lrsweep.analysis.claims import CONTRASTS, LEVEL, SECONDARY_LEVEL, num_sharing_level, read_claims
from lrsweep.analysis.evidence import Evidence, read_study, read_suggestions
from lrsweep.analysis.study import Study
from lrsweep.analysis.verdicts import DELTA, Effect, Word, judge
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.audit.build import build_audit
from lrsweep.report.build import build
from lrsweep.storage import store

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference" / "lr"
RECORDS = ("runs.jsonl.gz", "expected.json")
CLAIMS = {claim.id: claim for claim in read_claims()}
AT = LEVEL / num_sharing_level(CLAIMS.values())  # the level of each deciding test
EVIDENCE = Evidence(*(functools.cache(functools.partial(read, REFERENCE.parent)) for read in (read_study, read_suggestions)))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report, rebuilt from only the committed records of this study and of the studies inside it."""
    folder = tmp_path_factory.mktemp("reference") / "lr"
    folder.mkdir()
    for source in (path for name in (*RECORDS, "model.txt") for path in REFERENCE.rglob(name)):
        target = folder / source.relative_to(REFERENCE)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    build(folder, "reference/lr")
    return folder


@pytest.mark.parametrize("name", ["report.md", "report.ko.md", "runs.csv", "conclusions.en.md", "conclusions.ko.md"])
def test_a_rebuilt_report_equals_the_committed_one(rebuilt: Path, name: str) -> None:
    committed, again = ((folder / name).read_text(encoding="utf-8") for folder in (REFERENCE, rebuilt))
    assert with_english_figures(committed) == with_english_figures(again)


def with_english_figures(korean: str) -> str:
    """A Korean text as it is on a machine without a Korean font, but without the list of English words."""
    return korean.split("\n\n<details><summary>그림 속의 영어")[0].replace(".ko.png)", ".png)").rstrip()


def without_pictures(page: str) -> str:
    """The page without pictures, scripts and their hashes, which depend on the versions of matplotlib and Vega."""
    page = re.sub(r"<svg.*?</svg>", "a picture", page, flags=re.DOTALL)
    page = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"&#39;sha256-.*?&#39;", "a hash", page)


@pytest.mark.parametrize("name", ["report.html", "report.ko.html"])
def test_a_rebuilt_page_equals_the_committed_one(rebuilt: Path, name: str) -> None:
    committed, again = ((folder / name).read_text(encoding="utf-8") for folder in (REFERENCE, rebuilt))
    assert '"datasets"' in without_pictures(again)
    assert without_pictures(committed) == without_pictures(again)


def test_exactly_the_figures_of_the_report_are_committed_and_in_the_page() -> None:
    named = {}
    for language in ("", ".ko"):
        named[language] = re.findall(r"\(figures/(.+\.png)\)", (REFERENCE / f"report{language}.md").read_text(encoding="utf-8"))
        page = (REFERENCE / f"report{language}.html").read_text(encoding="utf-8")
        assert len(re.findall('<div class="picture (?:wide|only)"', page)) == len(named[language])
    assert {path.name for path in (REFERENCE / "figures").glob("*.png")} == {*named[""], *named[".ko"]}
    assert named[".ko"] == [name.replace(".png", ".ko.png") for name in named[""]]


def test_each_loss_and_seed_has_the_whole_grid_from_committed_code() -> None:
    runs = store.load(REFERENCE)
    for _, group in runs.groupby(["loss", "seed"]):
        assert group["lr"].tolist() == log_grid(GridConfig())
    assert (runs["status"] != "failed").all()
    # At this commit a tree counted as dirty because of the sweep's own expected.json.
    dirty = runs[runs["git_dirty"].astype(bool)]
    assert set(dirty["git_commit"]) <= {"aebc7e68d6a557c959b89b4916f4873744d60acb"}
    assert (runs["peak_memory_bytes"] < 1.5e9).all()
    assert runs["data.num_train"].unique().tolist() == [3000]


def test_accuracies_are_whole_numbers_of_images() -> None:
    runs = store.load(REFERENCE)
    for column, size in (("valid_accuracy", "data.num_valid"), ("test_accuracy", "data.num_test")):
        correct = runs[column] * runs[size]
        pd.testing.assert_series_equal(correct, correct.round(), check_names=False, rtol=1e-12)


@pytest.mark.parametrize("readme", READMES)
def test_the_readmes_show_the_decision_and_the_verdicts_as_generated(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert with_blocks(text, readme) == text


def test_the_verdicts_are_counted_in_both_languages() -> None:
    english = "# Audit\n\n* **✗ 2** [Does not hold here](#no)\n* **≈ 1** No difference that matters\n\n* **1e-5** is a claim\n"
    assert verdict_counts(english, "en").splitlines() == [
        "The audit judges 3 statements of the documents:",
        "",
        "* **✗ 2** [Does not hold here](results/reference/audit.md#no)",
        "* **≈ 1** No difference that matters",
    ]
    assert verdict_counts("* **✗ 2** [여기서는 성립하지 않음](#아님)\n", "ko").splitlines() == [
        "문서의 주장 2개에 대한 판정이다.",
        "",
        "* **✗ 2** [여기서는 성립하지 않음](results/reference/audit.ko.md#아님)",
    ]


def test_the_cost_of_100000_runs_in_the_docs_follows_from_the_committed_records() -> None:
    runs = store.load(REFERENCE)
    seconds, epochs = runs["cpu_seconds"], runs["epochs"]
    core_hours = 100_000 * seconds.mean() / 3600
    text = " ".join((ROOT / "docs" / "scale-out.md").read_text(encoding="utf-8").split())
    assert f"from the {len(runs)} reference runs of" in text
    assert f"{seconds.mean():.1f} CPU seconds on average (median {seconds.median():.1f}, highest {seconds.max():.1f})" in text
    assert f"and {epochs.mean():.1f} epochs." in text
    assert f"| {core_hours:,.0f} core-hours |" in text
    assert f"| {core_hours / 48:.0f} days | | on 256 such cores, all busy | {core_hours / 256:.0f} hours |" in text
    assert f"multiply runs × epochs × {(seconds / epochs).median():.1f} CPU seconds" in text


STUDIES = sorted(path.parent for path in REFERENCE.parent.glob("*/small/runs.jsonl.gz"))


def test_a_rebuilt_audit_equals_the_committed_one(tmp_path: Path) -> None:
    for source in (path for name in (*RECORDS, "finder.json") for path in REFERENCE.parent.rglob(name)):
        target = tmp_path / source.relative_to(REFERENCE.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    build_audit(tmp_path)
    for name in ("audit.md", "audit.ko.md", "audit.html", "audit.ko.html"):
        committed, again = ((folder / name).read_text(encoding="utf-8") for folder in (REFERENCE.parent, tmp_path))
        assert with_english_figures(without_pictures(committed)) == with_english_figures(without_pictures(again)), name


def decided(claim: str, evidence: Evidence = EVIDENCE, **changes: Any) -> Effect:
    """The effect that decides a claim, by the committed runs, with `changes` to the test."""
    test = replace(CLAIMS[claim].test, **changes)
    return CONTRASTS[test.contrast](evidence, AT, **test.settings)


def verdict(claim: str, evidence: Evidence = EVIDENCE, **changes: Any) -> Word:
    test, effect = replace(CLAIMS[claim].test, **changes), decided(claim, evidence, **changes)
    return judge(effect, test.delta_of(effect), test.costs_nothing)


def test_the_caveat_of_the_adaptive_methods_is_true() -> None:
    """The caveat and the notes name the verdicts with a smaller difference that matters, and with fewer methods."""
    claim = CLAIMS["adaptive-robust"]
    assert claim.test is not None

    def of(*names: str) -> dict[str, Any]:
        return {**claim.test.settings, "arms": [{"optimizer.name": name} for name in names]}

    five = [arm["optimizer.name"] for arm in claim.test.settings["arms"]]
    groups = [group for size in range(1, 6) for group in combinations(five, size)]
    words = {group: verdict(claim.id, settings=of(*group)) for group in groups}
    assert Counter(words.values()) == {"no difference that matters": 23, "holds": 7, "open": 1}
    assert words[("adagrad",)] == "open"
    assert words[("adadelta", "adam", "adamw")] == "holds"
    assert verdict(claim.id, delta=0.25) == "holds"
    assert verdict(claim.id, delta=0.25, settings=of("adam", "adagrad", "rmsprop")) == "open"
    widths = {re.split(" around ", text)[0]: float(text.split(": ")[1]) for text in decided(claim.id).detail.split("; ")}
    assert min(widths, key=lambda name: widths[name]) == "adagrad"


def test_the_caveat_of_accuracy_is_true() -> None:
    assert verdict("accuracy-is-fair") == "holds"
    assert verdict("accuracy-is-fair", delta=DELTA["accuracy"]) == "open"


def test_the_caveat_of_the_bar_of_adamw_is_true() -> None:
    assert verdict("adamw-best") == "no difference that matters"
    assert verdict("adamw-best", costs_nothing=True) == "holds"


def test_the_caveat_of_step_decay_is_true() -> None:
    lows = {str(name).split(" against ")[1]: part.low for name, part in decided("step-simple-start").parts}
    assert {name for name, low in lows.items() if low <= -DELTA["accuracy"]} == {"constant", "one_cycle"}
    assert len(lows) == 7


def test_the_caveat_of_falling_rates_is_true() -> None:
    highs = [part.high for name, part in decided("schedule-beats-fixed").parts if "schedules_sgd" in name]
    assert len(highs) == 2
    assert max(highs) < DELTA["accuracy"]


def test_the_caveat_of_warm_up_is_true() -> None:
    """After 10 epochs, warm-up does not raise the largest rate that works by what matters, and accuracy is lower with it."""
    runs = EVIDENCE.study("warmup_start").measured
    warmup = pd.to_numeric(runs["schedule.warmup"]) > 0
    of_warm_up = runs.loc[warmup, "run_id"]
    also = [
        (test, CONTRASTS[test.contrast](EVIDENCE, SECONDARY_LEVEL, **test.settings)) for test in CLAIMS["warmup-stabilises"].also
    ]
    late = {str(test.settings.get("metric")): effect for test, effect in also if test.study == "warmup/confirm"}
    assert -0.25 < late["upper_edge"].low < 0 < late["upper_edge"].high < 0.25
    assert late["test_accuracy"].high < 0
    curves = EVIDENCE.study("warmup_start").curves
    train = curves.groupby([curves["run_id"].isin(of_warm_up), "epoch"])["train_accuracy"].mean().round(2)
    assert (train[True, 2], train[True, 5], train[False, 5]) == (0.91, 0.64, 0.53)
    counts = []
    valid = runs["valid_accuracy"]
    for counted, is_decided in ((runs["learned"], True), (valid > 0.5, False), (valid > 0.9, False)):
        counts += [int(counted[side].sum()) for side in (warmup, ~warmup)]
        rise = counted.groupby([runs["seed"], warmup]).mean().unstack().diff(axis="columns")[True]
        half = stats.t.ppf(1 - AT / 2, len(rise) - 1) * rise.sem()
        is_open = rise.mean() - half < 0 < rise.mean() + half and max(half - rise.mean(), half + rise.mean()) > 0.1
        assert is_open != is_decided
    assert counts == [121, 71, 82, 70, 55, 64]
    (early,) = (effect for test, effect in also if (test.study, effect.unit) == ("warmup_start", "accuracy"))
    assert early.low > 0
    assert set(runs["seed"]).isdisjoint({*EVIDENCE.study("warmup").runs["seed"], *EVIDENCE.study("warmup/confirm").runs["seed"]})


def test_the_caveat_of_warm_up_with_cosine_is_true() -> None:
    """It names the verdict if every seed counts in full, and the one seed that does not."""
    claim = CLAIMS["cosine-warmup-best"]
    assert claim.test is not None
    assert verdict(claim.id) == "holds"
    assert verdict(claim.id, settings={**claim.test.settings, "cap": math.inf}) == "open"
    runs = store.load(REFERENCE.parent / "schedules" / "confirm")
    runs["warms up"] = runs["schedule.warmup"] > 0
    accuracy = runs.pivot(index="seed", columns=["schedule.name", "warms up"], values="test_accuracy")
    worse = accuracy["cosine", True] - accuracy["constant", False]
    (most,) = worse[worse > claim.test.settings["cap"]]
    assert f"one of the {len(worse)} seeds, the last epoch of the fixed rate was {most * 100:.2f} points worse" in claim.caveat


def test_the_caveat_of_too_small_a_rate_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = EVIDENCE.study("lr").measured
    runs = runs[runs["loss"] == "cross_entropy"]
    best = runs.groupby("lr")["valid_accuracy"].mean().max()
    assert best - 0.96 == pytest.approx(0.018, abs=0.0005)
    small = runs[runs["lr"].between(0.99e-5, 1.01e-4)]["valid_accuracy"]
    assert (len(small), (small < 0.96).sum(), (small >= best - 0.01).sum()) == (110, 47, 25)
    monkeypatch.setattr("lrsweep.analysis.block_design.target_below", lambda accuracy: accuracy - 0.01)
    effect = decided("too-small-is-slow")
    assert [f"{10**end:.2g}" for end in (effect.effect, effect.low, effect.high)] == ["21", "16", "28"]


def test_the_caveat_of_the_best_optimizer_is_true() -> None:
    ahead = {str(name).removeprefix("adamw against "): part.effect for name, part in decided("adamw-best").parts}
    assert len(ahead) == 7
    assert min(ahead, key=lambda name: ahead[name]) == "adam"


def test_the_caveat_of_too_large_a_rate_is_true() -> None:
    assert set(EVIDENCE.study("lr").measured["status"]) == {"ok"}
    others = pd.concat([EVIDENCE.study(name).runs for name in ("layerwise", "layerwise/confirm")])
    assert (others["status"] == "diverged").sum() == 16


def test_the_caveat_of_the_rate_finder_is_true() -> None:
    suggested = EVIDENCE.suggestions("find/fresh/100").query("rule == 'valley'")["lr"]
    assert (len(suggested), suggested.isna().sum(), (suggested > 0.0064).sum()) == (20, 1, 1)
    assert EVIDENCE.study("lr/confirm").measured["lr"].max() > suggested.max()


def test_the_caveat_about_where_learning_starts_is_true() -> None:
    effect = decided("no-learning")
    assert min(part.effect for _, part in effect.parts) > -0.5
    assert 10 ** (effect.low - 5) == pytest.approx(2.8e-6, rel=0.02)
    assert verdict("no-learning", delta=0.5) == "open"
    runs = EVIDENCE.study("lr").measured
    lowest = runs[(runs["loss"] == "cross_entropy") & (runs["lr"] < 1.01e-6)]
    assert (lowest["learned"].sum(), len(lowest), runs["training.max_epochs"].max()) == (1, 10, 1000)


def test_the_caveat_of_the_best_trade_off_is_true() -> None:
    (rates,) = re.findall(r"good: ([\d.]+) to ([\d.]+)", decided("best-trade-off").detail)
    runs = EVIDENCE.study("lr/confirm").measured
    epochs = runs.groupby(runs["lr"].round(4))["epochs"].mean().loc[float(rates[0]) : float(rates[1]) + 1e-4]
    assert (len(epochs), epochs.min().round(), epochs.max().round()) == (4, 20, 21)


def test_the_caveat_of_cycling_is_true() -> None:
    names = [str(name) for name, _ in decided("cyclic-range").parts]
    widths, inside = (re.findall(pattern, " ".join(names)) for pattern in (r"([\d.]+) decades", r"on (\d+) of 10 seeds"))
    assert (min(widths), max(widths), inside[0]) == ("1.6", "2.0", "2")
    assert math.log10(0.0032 / 0.0016) == pytest.approx(0.3, abs=0.01)


def test_the_caveat_of_growing_the_batch_is_true() -> None:
    """The runs of step decay and of the fixed rate differ in the schedule only."""
    runs = pd.concat([EVIDENCE.study(name).measured for name in ("grow_batch/confirm", "schedules/confirm")])
    runs = runs[runs["schedule.name"].isin(["step", "constant"])]
    accuracy = runs.pivot(index="seed", columns="schedule.name", values="test_accuracy")
    gain = (accuracy["step"] - accuracy["constant"]).dropna()
    assert (len(gain), round(gain.mean(), 4)) == (25, 0.0003)
    assert abs(gain.mean()) < stats.t.ppf(0.975, len(gain) - 1) * gain.sem()
    assert set(runs["lr"].round(4)) == {0.0032}


def test_the_note_on_layer_wise_rates_with_relu_is_true() -> None:
    runs = EVIDENCE.study("layerwise/confirm").measured
    (diverged,) = runs[runs["status"] == "diverged"].to_dict("records")
    assert (diverged["optimizer.layerwise"], diverged["best_test_accuracy"]) == ("falling", 0.957)
    relu = runs[runs["model.activation"] == "relu"].pivot(index="seed", columns="optimizer.layerwise", values="test_accuracy")
    assert (relu["falling"] - relu["uniform"]).drop(diverged["seed"]).mean() == pytest.approx(0.0001, abs=0.00005)


def test_the_note_on_overfitting_is_true() -> None:
    study = EVIDENCE.study("regularisers/confirm")
    last = study.curves.sort_values("epoch").groupby("run_id")["train_accuracy"].last()
    for setting in ("loss.l1", "loss.l2", "model.dropout"):
        runs = study.measured[study.measured[setting].astype(float) > 0]
        assert last[runs["run_id"]].groupby(runs.set_index("run_id")["arm"]).mean().min() > 0.999


def test_the_caveat_of_fine_tuning_is_true() -> None:
    (test,) = CLAIMS["fine-tuning-small"].also
    assert CONTRASTS[test.contrast](EVIDENCE, SECONDARY_LEVEL, **test.settings).effect == pytest.approx(0.33, abs=0.005)


def test_the_caveat_of_batch_normalisation_is_true() -> None:
    runs = EVIDENCE.study("batch_norm").measured
    runs = runs.assign(cost=runs["cpu_seconds"] / runs["epochs"], normed=runs["model.batch_norm"].astype(str) == "True")
    cost = runs.pivot(index=["seed", "lr"], columns="normed", values="cost")
    assert len(cost) == 80
    assert (cost[True] / cost[False]).median() == pytest.approx(1.18, abs=0.005)


def test_the_caveats_about_the_low_run_of_the_fixed_rate_are_true() -> None:
    runs = EVIDENCE.study("schedules/confirm").measured
    schedules = runs["schedule.name"] + runs["schedule.warmup"].astype(float).map({0.0: "", 2.0: " after warm-up"})
    accuracy_SA = runs.assign(schedule=schedules).pivot(index="seed", columns="schedule", values="test_accuracy")
    fixed = accuracy_SA.pop("constant")
    assert fixed.nsmallest(2).tolist() == pytest.approx([0.944, 0.976], abs=0.001)
    gain = accuracy_SA.sub(fixed, axis="index").drop(fixed.idxmin()).mean()
    low = runs[(runs["schedule.name"] == "constant") & (runs["seed"] == fixed.idxmin())].iloc[0]
    assert (low["best_test_accuracy"], low["test_accuracy"]) == pytest.approx((0.9807, 0.9444))
    assert set(gain[gain > 0].index) == {"one_cycle", "cosine after warm-up"}
    assert len(gain) == 7
    gain = gain.drop(["one_cycle", "cosine after warm-up"]) * 100
    assert (f"{-gain.max():.2f}", f"{-gain.min():.2f}") == ("0.04", "0.26")


def test_the_caveats_about_long_runs_at_small_rates_are_true() -> None:
    study, lr = EVIDENCE.study("patience"), EVIDENCE.study("lr")
    runs = study.measured[study.measured["training.patience"].astype(str) == "40"].set_index("run_id")
    assert set(runs.loc[runs["lr"] < 1.1e-5, "stop_reason"]) == {"max_epochs"}
    loss = study.curves.sort_values("epoch").groupby("run_id")["train_loss"]
    halfway = loss.apply(lambda curve: curve.iloc[len(curve) // 2])
    late = ((halfway - loss.last()) / (loss.first() - loss.last()))[runs.index].groupby(runs["seed"]).mean()
    assert late.mean() == pytest.approx(0.034, abs=0.0005)
    assert late.mean() + stats.t.ppf(1 - AT / 2, len(late) - 1) * late.sem() < 0.1
    at_good_rates = lr.measured["run_id"][(lr.measured["loss"] == "cross_entropy") & lr.measured["lr"].between(1.5e-3, 3.2e-3)]
    good = lr.curves[lr.curves["run_id"].isin(at_good_rates)].sort_values("epoch").groupby("run_id")["train_loss"].last()
    correct = study.curves.sort_values("epoch").groupby("run_id")["train_accuracy"].last()[runs.index].groupby(runs["lr"]).mean()
    assert correct.round(4).tolist() == [0.9921, 0.9994, 0.9998]
    assert loss.last()[runs.index].groupby(runs["lr"]).mean().round(3).tolist() == [0.063, 0.005, 0.001]
    assert round(good.mean(), 3) == 0.002


def test_the_caveats_of_three_second_looks_are_true() -> None:
    """The first 20 fresh seeds leave the claims open. The others alone give the verdict of all, but for rates of each layer."""
    claims = {
        "regularisers": "regularisers/confirm",
        "double-softmax": "double_softmax/confirm",
        "layerwise": "layerwise/confirm",
    }

    def words(lowest: int, highest: int) -> dict[str, Word]:
        @functools.cache  # arms are compared only within one Study object
        def read(name: str) -> Study | None:
            study = EVIDENCE.read(name)
            if study is None or name not in claims.values():
                return study
            return replace(study, runs=study.runs[study.runs["seed"].between(lowest, highest)])

        return {claim: verdict(claim, replace(EVIDENCE, read=read)) for claim in claims}

    assert sum("at the test twice" in claim.notes for claim in CLAIMS.values()) == len(claims)  # the page says so
    assert AT < 0.002
    assert len(claims) * AT < 0.005
    assert words(1000, 1019) == dict.fromkeys(claims, "open")
    assert words(1020, 9999) == dict.fromkeys(claims, "holds")
    assert words(1000, 9999) == dict.fromkeys(claims, "holds") | {"layerwise": "no difference that matters"}


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.parent.name)
def test_a_small_study_is_complete_and_from_committed_code(study: Path) -> None:
    runs = store.load(study)
    assert set(runs["run_id"]) == store.read_expected(study)
    assert (runs["status"] != "failed").all()
    assert not runs["git_dirty"].astype(bool).any()
    assert runs["seed"].nunique() == 3
