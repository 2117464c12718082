"""How the claims were judged: the end of the audit."""

from lrsweep.analysis.claims import LEVEL, SECONDARY_LEVEL, Audit
from lrsweep.analysis.contrasts import ACTED
from lrsweep.analysis.plan import PAIRED_SD
from lrsweep.analysis.verdicts import DELTA
from lrsweep.report.audit.effect_texts import size_text
from lrsweep.report.texts.language import say
from lrsweep.report.texts.wording import fold


def method_section(audit: Audit) -> str:
    rules = [
        say(
            "**Read as its author would want it read.** Each claim has a reading, and one test that decides. Other tests are "
            "shown beside it and never decide. Some claims say that something costs nothing that matters. They hold if the "
            "interval lies above -δ, instead of above zero."
        ),
        say(
            "**The smallest difference that matters** (δ): {accuracy} of test accuracy (20 of 10,000 images; two standard errors "
            "of one score are 0.28 points), {factor} of time or epochs, {decades} of learning rate. A claim that needs another δ "
            "says why.",
            accuracy=size_text(DELTA["accuracy"], "accuracy"),
            factor=size_text(DELTA["factor"], "factor"),
            decades=size_text(DELTA["decades"], "decades"),
        ),
        say(
            "**Five verdicts.** *No difference that matters*: the whole interval lies within ±δ, on either side of zero. (A "
            "claim that something costs nothing never gets this verdict.) Otherwise *holds here*: it lies above zero, the "
            "claim's side. *Does not hold here*: it lies below zero. *Open*: none of these. Where the spread is known, an open "
            "claim says how many seeds would probably decide it (80%, if effects and spreads are as estimated). *Not testable "
            "here*: a definition, or a statement about the literature."
        ),
        say(
            "**What was not measured** is open, and names the planned seeds. *Probably show* means with a probability of 80%, "
            "if the difference of two arms has a standard deviation of {sd:.2f} points between seeds, about as in "
            "all studies so far together; single studies differ from it.",
            sd=PAIRED_SD * 100,
        ),
        say(
            "**Tuned, then confirmed.** The runs of a study choose the rate of each arm, by validation accuracy and with about "
            "equal effort. Every arm then runs at that rate on fresh seeds, the same for all arms, and only these decide. An "
            "interval allows for chance between seeds, but not for chance in the choice of a rate. Some studies ask where the "
            "best rate lies, or run all rates on several seeds; their own runs decide. If an arm's best rate is the lowest or "
            "highest tried, a caveat says so."
        ),
        say(
            "**Scored where it counts.** Runs of a fixed length are scored at their last epoch, because keeping the best one "
            "hides what a falling rate does. Runs with early stopping are scored at their best epoch, as in the document."
        ),
        say(
            "**Paired by seed.** A seed has the same images, initial weights and batch order in all arms. Effects are means of "
            "differences within seeds, with Student's intervals. Times and epochs are compared as ratios. Failed runs count with "
            "their low accuracy. Failures that are too rare to happen on these seeds cannot be excluded."
        ),
        say(
            "**A failed run counts as 2 points at most.** In the deciding tests of schedules, of layer-wise rates, of the best "
            "optimizer and of Adam's usual rate, the lower end of an interval counts a difference of more than 2 points on one "
            "seed as 2 points. The upper end counts a difference below -2 points as -2 points. Otherwise one failed run of a "
            "rival would make the interval so wide that it shows nothing. Both ends stay valid, because this lowers the mean at "
            "the lower end and raises it at the upper end."
        ),
        say(
            "**Many tests.** The {num} deciding tests share a level of {level:.0%} (Bonferroni), so every interval is at "
            "{each:.2%}. A test of several pairs divides its level among them where its question needs that. Intervals beside a "
            "verdict are at {secondary:.0%} each. A share of runs has no interval, because the runs of a seed are alike. The two "
            "blanks of document 003 have the intervals of the report on study=lr, which hold together over the rates at 95%; "
            "“Accuracy as the measure” is judged by a bound. Three claims were looked at twice, as their notes say; together, "
            "this adds at most half a point to the 5%.",
            num=audit.num_tests,
            level=LEVEL,
            each=1 - audit.level,
            secondary=1 - SECONDARY_LEVEL,
        ),
        say(
            "**Learned, edges and ranges.** A run has learned if its validation accuracy is above that of always naming the "
            "largest class (a binomial test at 1%). A seed's edge of learning lies halfway between the last rate at which it "
            "fails and the first at which it learns; the interval of an edge reaches at least half that step on each side. Where "
            "a claim asks for a best rate, it is the top of a parabola through a seed's test accuracies near the highest one, "
            "which may lie between the rates tried. Elsewhere, an arm's best rate is the one tried with the highest mean "
            "validation accuracy. The ends of a range of usable rates are interpolated."
        ),
        say(
            "**Epochs to the same accuracy.** If the question says “about a point”, the accuracy to reach is the highest whole "
            "percent that is at least one point below that of the comparison. The epoch at which a run reaches it is "
            "interpolated. A run that never does counts with one epoch more than it had."
        ),
        say(
            "**A method must act.** The records show whether a schedule changed the rate or the batch size. If it did so in "
            "fewer than {acted:.0%} of an arm's runs, the arm gives no verdict.",
            acted=ACTED,
        ),
        say(
            "Claims and tests are data: conf/claims.yaml. `lrsweep-report study=all` makes this page from the records, always "
            "with the same bytes."
        ),
    ]
    listed = "\n".join(f"* {rule}" for rule in rules)
    return f"## {say('How it was judged')}\n\n{fold(say('The rules'), listed)}"
