"""A study from a stranger: whatever its texts hold, its report shows them as texts and runs none of them."""

import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from made_study import CLASS_COUNTS, FAILED, MACHINE, outcome_of, record_of

from lrsweep.records import RunRecord
from lrsweep.report.build import build
from lrsweep.report.figures.plots import figure_with
from lrsweep.storage import store

HOSTILE = (
    "</script><script>alert(1)</script>\n```\n\n<img src=https://example.org/a.png onerror=alert(2)>\n"
    "![a](https://example.org/b.png) [b](javascript:alert(3)) <javascript:alert(4)> | c || `d` __e__ ~~f~~ $\\frac{g$\n"
    "; 'h' \"i\" "
    "<details><summary>j</summary>\n\n<!-- explorer -->\n\n## k\n\n* * *\n</title></style><svg onload=alert(5)> &lt;b&gt;"
)

pytestmark = pytest.mark.slow  # a whole report


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def hostile(record: RunRecord, loss: str) -> RunRecord:
    """The same run with hostile texts wherever a record has room for one."""
    model = record.config["model"] | {"init_from": HOSTILE, "activation": HOSTILE}
    machine = dict.fromkeys(("device_name", "git_commit"), HOSTILE)
    return replace(
        record,
        run_id=f"{record.run_id}-{len(loss)}",
        config=record.config | {"model": model, "loss": {"name": loss}},
        class_counts={HOSTILE if split == "train" else split: counts for split, counts in CLASS_COUNTS.items()},
        environment=MACHINE | machine,
        engine=HOSTILE,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two arms and a failed run."""
    folder = tmp_path_factory.mktemp("study")
    for lr in (1e-3, 1e-2):
        for loss in (HOSTILE, "cross_entropy"):
            store.save(folder, hostile(record_of(lr, outcome_of(lr, 0)), loss))
    store.save(folder, hostile(record_of(1e-3, FAILED | {"error": HOSTILE}, seed=1), HOSTILE))
    return build(folder, HOSTILE)


def test_the_page_of_a_hostile_study_has_nothing_that_runs_but_its_own_scripts(report: Path) -> None:
    elements = Elements(report.with_suffix(".html").read_text(encoding="utf-8")).found
    assert [attributes.get("type", "") for tag, attributes in elements if tag == "script"] == ["application/json", "", "", ""]
    assert not {"iframe", "object", "embed", "form", "base"} & {tag for tag, _ in elements}
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("src", "data:").startswith("data:image/" if tag == "img" else "data:")
        assert re.match("#|data:", attributes.get("href", "#")), attributes


def test_the_report_of_a_hostile_study_has_the_headings_of_any(report: Path) -> None:
    elements = Elements(report.with_suffix(".html").read_text(encoding="utf-8")).found
    assert "k" not in [attributes.get("id") for _, attributes in elements]
    text = report.read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^(````+)sh\n(.*?)^\1$", text)
    command, *others = block[1].rstrip("\n").split("\nlrsweep ")
    assert len(others) == 1
    assert f"study.name='{HOSTILE}'" in "".join(shlex.split(command)).replace("\\'", "'")
    outside = text.replace(block[1], "")
    assert not re.search(r"(?<!\\)<(script|img|svg)|(?<!\\)\]\((?!figures/)", outside)


def test_a_dollar_in_a_title_is_no_mathematics() -> None:
    """Two of them around what is no formula would stop the drawing."""
    drawn, _ = figure_with(r"$\frac{a$")
    drawn.canvas.draw()
    plt.close(drawn)
