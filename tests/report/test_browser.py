"""The page in a real browser: it opens from a file, draws the chart, and its controls work."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reference_study import Study
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait
from synthetic_study import fill

from lrsweep.analysis.rates import decimal_rate
from lrsweep.config import GridConfig, log_grid
from lrsweep.report.audit.build import build_audit
from lrsweep.report.build import build
from lrsweep.report.explorer.chart_tables import allowed_losses
from lrsweep.report.page.render import render_page
from lrsweep.report.texts.claim_names import CLAIM_NAMES
from lrsweep.report.texts.decision import chosen
from lrsweep.storage import store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium and chromedriver (Debian: chromium, chromium-driver)"),
]

DESKTOP, TABLET, PHONE = (1400, 1000), (768, 1024), (390, 844)
SIZES = {"phone": PHONE, "tablet": TABLET, "desktop": DESKTOP}
PAPER = (718, 1000)  # as wide as A4 without its margins, in CSS pixels
DARK_PAPER = "rgb(22, 25, 29)"
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


class Page:
    """The open page, as a reader sees it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> "Page":
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.resize(*size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(path.as_uri())
        self.wait(lambda: self.answer)
        return self

    def wait(self, condition: Callable[[], Any]) -> None:
        replaced = [StaleElementReferenceException]  # Vega may replace an element between two commands
        WebDriverWait(self.driver, 60, poll_frequency=0.05, ignored_exceptions=replaced).until(lambda _: condition())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def evaluate(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def list_named(self, label: str) -> Select:
        binds = self.find_all("#explorer-controls .vega-bind")
        return next(Select(bind.find_element(By.TAG_NAME, "select")) for bind in binds if bind.text.startswith(label))

    @property
    def slider(self) -> WebElement:
        return self.find("#explorer-slider input[type=range]")

    @property
    def answer(self) -> str:
        return self.find("#explorer-answer").text

    @property
    def points(self) -> list[WebElement]:
        """The runs, in order of their learning rate."""
        return self.find_all("#explorer-chart .mark-symbol[class*=targets_] path")

    @property
    def legend(self) -> list[str]:
        """The rates whose curves are shown."""
        return [text.text for text in self.find_all("#explorer-chart .training_group .role-legend-label text")]

    @property
    def training_title(self) -> str:
        return self.find("#explorer-chart .training_group .role-title-text").text

    @property
    def num_curves(self) -> int:
        return len(self.find_all("#explorer-chart .training_group .mark-line path"))

    @property
    def star_x(self) -> float:
        """The middle of the star, which only the colour tells from the other points."""
        (star,) = self.find_all('#explorer-chart path[fill="#CC79A7"]')
        return float(star.rect["x"] + star.rect["width"] / 2)

    def resize(self, width: int, height: int) -> None:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def set_slider(self, position: int) -> None:
        change = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.driver.execute_script(change, self.slider, position)

    def keep_screenshot(self, name: str) -> None:
        if folder := os.environ.get("LRSWEEP_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(f"{folder}/{name}.png")


@pytest.fixture(scope="module")
def path(reference: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the committed study, built anew, because no SVG is committed."""
    folder = tmp_path_factory.mktemp("page") / "lr"
    for name in (".", "confirm", "budget"):
        (folder / name).mkdir(exist_ok=True)
        shutil.copy(reference.folder / name / "runs.jsonl.gz", folder / name)
    build(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))  # without the path, Selenium would download a driver
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", OFFLINE)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, path: Path) -> Page:
    return Page(driver).open(path)


def test_the_page_draws_all_runs_and_figures_loads_nothing_and_logs_nothing(page: Page, reference: Study) -> None:
    page.keep_screenshot("desktop")
    assert page.driver.get_log("browser") == []
    assert page.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    assert len(page.points) == len(reference.runs) + len(reference.fresh)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert len(page.find_all("figure")) == len([svg for svg in page.find_all("figure svg") if svg.is_displayed()]) == 8


def test_the_policy_blocks_other_scripts(page: Page) -> None:
    page.evaluate(
        "void (() => { const s = document.createElement('script'); s.text = 'window.broken = 1'; document.body.append(s) })()"
    )
    assert page.evaluate("window.broken") is None
    assert "Content Security Policy" in page.driver.get_log("browser")[0]["message"]


@pytest.mark.parametrize("lr_index", [8, 35])
def test_a_rate_chosen_from_the_list_shows_its_curves(page: Page, reference: Study, lr_index: int) -> None:
    rate = decimal_rate(sorted(reference.runs["lr"].unique())[lr_index])
    page.list_named("Rate 1").select_by_visible_text(rate)
    page.wait(lambda: page.legend == [rate])
    assert page.num_curves == reference.runs["seed"].nunique()


def test_several_rates_are_overlaid_by_loss_and_by_seconds(page: Page, reference: Study) -> None:
    first = page.list_named("Rate 1").first_selected_option.text
    for num, rate in enumerate(("0.00063", "0.0063"), start=2):
        page.list_named(f"Rate {num}").select_by_visible_text(rate)
    page.wait(lambda: set(page.legend) == {first, "0.00063", "0.0063"})
    assert page.num_curves == 3 * reference.runs["seed"].nunique()
    page.list_named("Show").select_by_visible_text("loss")
    page.wait(lambda: page.training_title.startswith("Validation loss against epochs"))
    page.keep_screenshot("overlaid")
    page.list_named("Over").select_by_visible_text("seconds")
    page.wait(lambda: page.training_title.startswith("Validation loss against seconds"))


def test_a_click_on_a_run_shows_its_curves(page: Page, reference: Study) -> None:
    rate = decimal_rate(sorted(reference.runs["lr"].unique())[10])
    index = 10 * reference.runs["seed"].nunique()
    ActionChains(page.driver).scroll_to_element(page.points[index]).move_to_element(page.points[index]).perform()
    page.wait(lambda: page.find_all("#vg-tooltip-element.visible"))
    assert rate in page.find("#vg-tooltip-element").text
    page.keep_screenshot("pointed-at")
    ActionChains(page.driver).click().perform()
    page.wait(lambda: page.legend == [rate])
    assert page.list_named("Rate 1").first_selected_option.text == rate


def test_the_star_is_the_rate_of_the_reports_answer(page: Page, reference: Study) -> None:
    rate = decimal_rate(chosen(reference.found.headline)["lr"])
    assert page.find(".answer li strong + strong").text == rate
    assert page.answer.startswith(f"★ Use {rate}.")
    dashes = page.find('#explorer-chart line[stroke-dasharray="4,4"]').rect  # at the rate whose curves are shown
    assert page.list_named("Rate 1").first_selected_option.text == rate
    assert page.star_x == pytest.approx(dashes["x"], abs=2)


def test_the_slider_has_a_scale_and_moves_the_star(page: Page, reference: Study) -> None:
    losses = allowed_losses(reference.found.best.delta)
    assert page.find("#explorer-slider .scale").text.split() == [f"{loss * 100:g}" for loss in losses]
    place = page.star_x
    page.set_slider(len(losses) - 1)
    page.wait(lambda: page.star_x > place)
    rows = reference.found.headline.rows
    cheapest = rows.loc[rows["epochs_mean"].idxmin()]
    assert page.answer.startswith(f"★ Use {decimal_rate(cheapest['lr'])}.")
    page.keep_screenshot("slider-at-its-end")


def test_a_screen_reader_gets_the_slider_in_words(page: Page) -> None:
    assert page.slider.get_attribute("aria-valuetext") == "A rate may lose 0.2 points (δ)."
    page.set_slider(0)
    page.wait(lambda: page.slider.get_attribute("aria-valuetext") == "A rate may lose 0.05 points.")
    assert page.find("#explorer-answer").tag_name == "output"  # a live region: changes are read out
    for control in (page.slider, *page.find_all("#explorer-controls select")):
        assert control.accessible_name


def test_the_keyboard_reaches_and_moves_the_controls(page: Page) -> None:
    reached: list[WebElement] = []
    for _ in range(40):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.append(page.driver.switch_to.active_element)
        if len(reached) > 1 and reached[-1].tag_name == "summary":
            break
    assert [each.tag_name for each in reached if each.tag_name in ("input", "select")] == ["input", *["select"] * 5]
    before = page.slider.get_attribute("aria-valuetext")
    page.slider.send_keys(Keys.ARROW_RIGHT)
    page.wait(lambda: page.slider.get_attribute("aria-valuetext") != before)
    first = page.list_named("Rate 1")
    page.find("#explorer-controls select").send_keys(Keys.ARROW_DOWN)
    page.wait(lambda: page.legend == [first.first_selected_option.text])


# The table of runs.


def test_the_table_of_runs_sorts_filters_and_shows_settings(page: Page, reference: Study) -> None:
    def column(index: int) -> list[str]:
        cells = f"[...document.querySelectorAll('#explorer-runs tbody tr td:nth-child({index})')]"
        return list(page.evaluate(f"{cells}.map(cell => cell.textContent)"))

    page.find("#explorer-runs summary").click()
    num_runs = len(reference.runs) + len(reference.fresh)
    page.wait(lambda: len(page.find_all("#explorer-runs tbody tr")) == num_runs)
    assert page.find("#explorer-runs output").text == f"{num_runs} of {num_runs} runs"
    button = page.find("#explorer-runs th:nth-child(6) button")
    for order, sign in (("ascending", 1), ("descending", -1)):
        button.send_keys(Keys.ENTER)
        epochs = [int(text) for text in column(6)]
        assert epochs == sorted(epochs, key=lambda value, sign=sign: sign * value)  # type: ignore[misc]
        assert page.find("#explorer-runs th:nth-child(6)").get_attribute("aria-sort") == order
    page.find("#explorer-runs input").send_keys("0.0025 fresh")
    page.wait(lambda: set(column(1)) == {"0.0025"})
    assert len(column(1)) == (reference.fresh["lr"].map(decimal_rate) == "0.0025").sum()
    page.find("#explorer-runs tbody summary").click()
    run = reference.fresh[reference.fresh["run_id"].map(lambda run_id: run_id in page.find("#explorer-runs tbody").text)].iloc[0]
    assert f"optimizer.lr={run['lr']} seed={run['seed']}" in page.find("#explorer-runs tbody code").text
    page.keep_screenshot("table")


# Sizes, dark mode and print.


def assert_legible(page: Page, at_least: int) -> None:
    """So many texts of figures are visible. Their letters are large enough, and inside their picture."""
    letters = page.evaluate(
        "[...document.querySelectorAll('.picture svg text')].filter(text => text.checkVisibility()).map(text => {"
        " const box = text.getBoundingClientRect(), all = text.ownerSVGElement.getBoundingClientRect();"
        " const scale = all.width / text.ownerSVGElement.viewBox.baseVal.width;"
        " return [parseFloat(getComputedStyle(text).fontSize) * scale, box.left >= all.left - 1 && box.right <= all.right + 1] })"
    )
    assert min(height for height, _ in letters) > 10
    assert all(is_inside for _, is_inside in letters)
    assert len(letters) >= at_least


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_scrolls_sideways_and_all_text_of_figures_is_visible(
    driver: webdriver.Chrome, path: Path, size: tuple[int, int], dark: bool
) -> None:
    page = Page(driver).open(path, size, dark=dark)
    page.keep_screenshot(f"{size[0]}-{'dark' if dark else 'light'}")
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth") == size[0]
    chart = page.find("#explorer-chart svg").rect
    assert chart["x"] + chart["width"] <= size[0]
    kind = "narrow" if size == PHONE else "wide"
    assert {each.get_attribute("class") for each in page.find_all(".picture") if each.is_displayed()} == {f"picture {kind}"}
    assert_legible(page, at_least=50)


def test_tables_of_rates_fit_a_laptop_and_no_row_of_theirs_is_tall_on_a_phone(driver: webdriver.Chrome, path: Path) -> None:
    page = Page(driver).open(path, (1280, 1000))
    tables = (
        "[...document.querySelectorAll('section:is([aria-labelledby=on-fresh-seeds], [aria-labelledby=arms-compared]) .table')]"
    )
    assert set(page.evaluate(f"{tables}.map(box => box.scrollWidth - box.clientWidth)")) == {0}
    page = page.open(path, PHONE)
    heights = page.evaluate(f"{tables}.flatMap(box => [...box.querySelectorAll('tr')].map(row => row.offsetHeight))")
    assert max(heights) < 65  # two lines
    alignments = "[...document.querySelectorAll('th')].map(cell => getComputedStyle(cell).verticalAlign)"
    assert set(page.evaluate(alignments)) == {"top"}


def test_in_dark_mode_text_and_figures_are_light_on_dark(driver: webdriver.Chrome, path: Path) -> None:
    page = Page(driver).open(path, dark=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == DARK_PAPER
    light = "rgb(230, 232, 235)"
    for selector in ("body", "#explorer-chart .role-axis-label text", ".picture svg text"):
        style = "fill" if "text" in selector else "color"
        assert page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{style}") == light
    assert page.evaluate("getComputedStyle(document.querySelector('.picture svg path')).fill") == DARK_PAPER


def test_on_a_phone_the_answer_is_in_the_first_screen_and_only_wide_tables_scroll_by_themselves(
    driver: webdriver.Chrome, path: Path
) -> None:
    page = Page(driver).open(path, PHONE)
    first = page.find(".answer li").rect
    assert first["y"] + first["height"] < PHONE[1]
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    boxes = page.evaluate("[...document.querySelectorAll('.table')].map(box => getComputedStyle(box).overflowX)")
    assert set(boxes) == {"auto"}
    small = "[...document.querySelectorAll('.table:not(:has(th:nth-child(5)))')]"
    assert set(page.evaluate(f"{small}.map(box => box.scrollWidth - box.clientWidth)")) == {0}


def test_the_chart_fits_when_a_phone_is_turned(driver: webdriver.Chrome, path: Path) -> None:
    page = Page(driver).open(path, PHONE)

    def room_left() -> float:
        return page.find("#explorer-chart").rect["width"] - page.find("#explorer-chart svg").rect["width"]

    for size in (PHONE[::-1], PHONE):
        page.resize(*size)
        page.wait(lambda: 0 <= room_left() < 20)  # the last axis label may need half of its width


def test_print_is_light_and_has_no_controls_no_scrolling_and_nothing_folded(driver: webdriver.Chrome, path: Path) -> None:
    page = Page(driver).open(path, PAPER, dark=True)
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [dark]})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details:not(.explorer details)')].every(fold => fold.open)")
    for hidden in ("nav", "#explorer-controls", "#explorer-slider", "#explorer-runs"):
        assert not page.find(hidden).is_displayed(), hidden
    assert page.evaluate("getComputedStyle(document.querySelector('.picture svg path')).fill") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    # No box is cut: each is as wide as its content, and ends inside the page.
    cut = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(each => each.checkVisibility() && !each.closest('svg') &&"
        " (each.getBoundingClientRect().right > innerWidth + 1 || ['auto', 'scroll'].includes(getComputedStyle(each).overflowX)))"
        ".map(each => each.outerHTML.slice(0, 80))"
    )
    assert cut == []
    assert page.evaluate("[...document.querySelectorAll('figure')].every(f => getComputedStyle(f).breakInside === 'avoid')")


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, grid = tmp_path_factory.mktemp("audit"), log_grid(GridConfig())
    fill(folder / "lr", grid, range(4))
    fill(folder / "lr" / "confirm", grid[28:40], range(1000, 1012))
    build_audit(folder)
    return folder


@pytest.mark.parametrize("name", ["audit.html", "audit.ko.html"])
def test_the_audit_is_legible_on_a_phone(driver: webdriver.Chrome, audit: Path, name: str) -> None:
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page = Page(driver)
    page.resize(*PHONE)
    driver.get((audit / name).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert_legible(page, at_least=20)
    shown = " ".join(text.text for text in page.find_all(".picture.narrow text"))
    assert all(
        names[name == "audit.ko.html"] in shown for names in (CLAIM_NAMES["best-range"], CLAIM_NAMES["too-large-diverges"])
    )
    page.keep_screenshot(name)


def test_a_link_to_a_section_unfolds_it(driver: webdriver.Chrome, tmp_path: Path) -> None:
    fold = "<details><summary>How</summary>\n\nFolded text\n\n</details>"
    path = tmp_path / "page.html"
    path.write_text(render_page("t", f"# T\n\n[to b](#b)\n\n## A\n\n{fold}\n\n## B\n\n{fold}", tmp_path, None), encoding="utf-8")

    def is_open() -> list[bool]:
        return [fold.find_element(By.TAG_NAME, "p").is_displayed() for fold in driver.find_elements(By.TAG_NAME, "details")]

    driver.get(path.as_uri())
    assert is_open() == [False, False]
    driver.find_element(By.LINK_TEXT, "to b").click()
    WebDriverWait(driver, 5).until(lambda _: is_open() == [False, True])
    driver.get(f"{path.as_uri()}?#a")  # opened with such a link
    assert is_open() == [True, False]


# A sweep that still runs.


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with 22 of its 25 runs. Tables of 22 rows are folded."""
    folder = fill(tmp_path_factory.mktemp("running") / "running", log_grid(GridConfig())[20:42], [0])
    store.expect(folder, [*(path.stem for path in (folder / "runs").glob("*.json")), "a", "b", "c"])
    build(folder, reload_seconds=3)
    return folder


@pytest.fixture
def _ticks_by_hand(driver: webdriver.Chrome) -> Iterator[None]:
    """The page's clock stands still until a test calls `tick`, so that no slow machine meets a reload too early."""
    source = (
        "const real = setInterval; window.setInterval = (f, ms) => { if (ms !== 3000) return real(f, ms); window.tick = f; };"
    )
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    yield
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.usefixtures("_ticks_by_hand")
def test_the_page_of_a_running_sweep_reloads_in_place_until_the_sweep_is_done(
    driver: webdriver.Chrome, running: Path, tmp_path: Path
) -> None:
    running = shutil.copytree(running, tmp_path / "running")
    page = Page(driver).open(running / "report.html", PHONE)
    assert page.find(".progress span").text.startswith("The sweep is running: 22 of 25 runs are finished.")
    page.keep_screenshot("running")
    page.evaluate("document.querySelector('details:not(.explorer details)').open = true")
    page.evaluate("scrollTo(0, 1500)")
    store.expect(running, [path.stem for path in (running / "runs").glob("*.json")])
    build(running)  # the sweep ends
    page.evaluate("tick()")
    page.wait(lambda: page.find_all(".progress") == [] and page.evaluate("document.readyState === 'complete'"))
    page.wait(lambda: page.evaluate("scrollY") == 1500)
    assert page.evaluate("typeof tick") == "undefined"  # it reloads no more


def test_the_korean_page_of_a_running_sweep_says_so_too(driver: webdriver.Chrome, running: Path) -> None:
    page = Page(driver).open(running / "report.ko.html", PHONE)
    assert page.find(".progress span").text.startswith("실험이 진행 중이다: 실행 25회 중 22회가 끝났다.")
    assert page.find("#explorer-runs summary").text.startswith("모든 실행의 표")


@pytest.mark.usefixtures("_ticks_by_hand")
def test_a_running_page_keeps_what_is_unfolded_and_waits_while_the_explorer_is_used(
    driver: webdriver.Chrome, running: Path
) -> None:
    page = Page(driver).open(running / "report.html")
    page.evaluate("document.querySelector('#explorer-slider input').focus()")
    page.find("#explorer-slider input").send_keys(Keys.ARROW_RIGHT)
    page.evaluate("document.querySelector('details:not(.explorer details)').open = true")
    page.evaluate("window.isOld = true")
    page.evaluate("tick()")
    assert page.evaluate("history.state") is None  # it does not prepare to reload
    page.evaluate("document.activeElement.blur()")
    page.evaluate("tick()")
    page.wait(lambda: page.evaluate("window.isOld !== true && document.readyState === 'complete'"))
    assert page.evaluate("document.querySelector('details:not(.explorer details)').open")


def test_a_page_that_is_no_longer_updated_says_so(driver: webdriver.Chrome, running: Path) -> None:
    text = (running / "report.html").read_text(encoding="utf-8")
    text, num = re.subn('datetime="[^"]*"', 'datetime="2020-01-01T00:00:00+00:00"', text)
    assert num == 1
    path = running / "silent.html"
    path.write_text(text, encoding="utf-8")
    page = Page(driver).open(path)
    assert page.find(".progress span").text.startswith("No news since")
