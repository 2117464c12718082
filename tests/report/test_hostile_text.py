"""A study whose texts are hostile: its report shows them as text and runs none of them."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from html_elements import Elements
from synthetic_study import CLASS_COUNTS, FAILED, MACHINE, outcome_of, record_of

from lrsweep.records import RunRecord
from lrsweep.report.build import build
from lrsweep.report.figures.style import new_figure
from lrsweep.storage import store

HOSTILE = (
    "</script><script>alert(1)</script>\n```\n\n<img src=https://example.org/a.png onerror=alert(2)>\n"
    "![a](https://example.org/b.png) [b](javascript:alert(3)) <javascript:alert(4)> | c || `d` __e__ ~~f~~ $\\frac{g$\n"
    "; 'h' \"i\" "
    "<details><summary>j</summary>\n\n<!-- explorer -->\n\n## k\n\n* * *\n</title></style><svg onload=alert(5)> &lt;b&gt;"
)

pytestmark = pytest.mark.slow


def with_hostile_texts(record: RunRecord, loss: str) -> RunRecord:
    """The same run, with a hostile text in every field that can hold one."""
    model = record.config["model"] | {"init_from": HOSTILE, "activation": HOSTILE}
    return replace(
        record,
        run_id=f"{record.run_id}-{len(loss)}",
        config=record.config | {"model": model, "loss": {"name": loss}},
        class_counts={HOSTILE if split == "train" else split: counts for split, counts in CLASS_COUNTS.items()},
        environment=MACHINE | {"device_name": HOSTILE, "git_commit": HOSTILE},
        engine=HOSTILE,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms and a failed run."""
    folder = tmp_path_factory.mktemp("study")
    for lr in (1e-3, 1e-2):
        for loss in (HOSTILE, "cross_entropy"):
            store.save(folder, with_hostile_texts(record_of(lr, outcome_of(lr, 0)), loss))
    store.save(folder, with_hostile_texts(record_of(1e-3, FAILED | {"error": HOSTILE}, seed=1), HOSTILE))
    return build(folder, HOSTILE)


@pytest.mark.parametrize("name", ["report.html", "report.ko.html"])
def test_the_page_contains_only_its_own_scripts_headings_and_pictures(report: Path, name: str) -> None:
    elements = Elements(report.with_name(name).read_text(encoding="utf-8"))
    elements.assert_loads_nothing()
    assert [script.get("type", "") for script in elements.named("script")] == ["application/json", "", "", ""]
    assert not {"iframe", "object", "embed", "form", "base"} & {tag for tag, _ in elements.tags}
    for tag, attributes in elements.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("id") != "k"


@pytest.mark.parametrize("name", ["report.md", "report.ko.md"])
def test_the_markdown_contains_no_markup_and_its_command_has_the_exact_name(report: Path, name: str) -> None:
    text = report.with_name(name).read_text(encoding="utf-8")
    ((_, commands),) = re.findall(r"(?ms)^(````+)sh\n(.*?)^\1$", text)
    first, *others = commands.rstrip("\n").split("\nlrsweep ")
    assert len(others) == 1
    assert f"study.name='{HOSTILE}'" in "".join(shlex.split(first)).replace("\\'", "'")
    own = text.replace(commands, "").replace("](report.", "", 1)  # the link to the other language
    assert not re.search(r"(?<!\\)<(script|img|svg)|(?<!\\)\]\((?!figures/)", own)


def test_a_dollar_in_a_title_starts_no_formula() -> None:
    """An invalid formula would be an error."""
    drawn, _ = new_figure(r"$\frac{a$")
    drawn.canvas.draw()
    plt.close(drawn)
