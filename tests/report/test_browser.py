"""The page in a real browser: it opens from a file, draws the chart, and its controls work."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reference_study import Study
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from lrsweep.report.explorer.chart import explorer_spec
from lrsweep.report.explorer.chart_tables import STEPS_PER_DECADE, price_range, rates_table, run_rows
from lrsweep.report.page.render import render_page
from lrsweep.report.texts.wording import lr_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium and chromedriver (Debian: chromium, chromium-driver)"),
]

DESKTOP, PHONE = (1280, 1000), (390, 844)
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
        self.wait(lambda: "Most accurate" in self.answer)
        return self

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: condition())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def evaluate(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    @property
    def select(self) -> Select:
        return Select(self.find("#explorer-controls select"))

    @property
    def slider(self) -> WebElement:
        return self.find("#explorer-controls input[type=range]")

    @property
    def answer(self) -> str:
        return " ".join(line.text for line in self.find_all("#explorer-chart .answer_group text"))

    @property
    def points(self) -> list[WebElement]:
        """The runs, in order of their learning rate."""
        return self.find_all("#explorer-chart .mark-symbol[class*=targets_] path")

    @property
    def training_title(self) -> str:
        return self.find("#explorer-chart .training_group .role-title-text").text

    @property
    def curve_lengths(self) -> list[int]:
        lines = self.find_all("#explorer-chart .training_group .mark-line path")
        return [line.get_attribute("d").count("L") + 1 for line in lines]

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
    explorer = explorer_spec(reference.runs, reference.curves)
    report = (reference.folder / "report.md").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page("lr: which learning rate?", report, reference.folder, explorer), encoding="utf-8")
    return path


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
    assert len(page.points) == len(reference.runs)
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_the_policy_blocks_other_scripts(page: Page) -> None:
    page.evaluate(
        "void (() => { const s = document.createElement('script'); s.text = 'window.broken = 1'; document.body.append(s) })()"
    )
    assert page.evaluate("window.broken") is None
    assert "Content Security Policy" in page.driver.get_log("browser")[0]["message"]


@pytest.mark.parametrize("lr_index", [0, 35])
def test_a_rate_chosen_from_the_list_shows_its_curves(page: Page, reference: Study, lr_index: int) -> None:
    rate = lr_text(sorted(reference.runs["lr"].unique())[lr_index])
    page.select.select_by_visible_text(rate)
    page.wait(lambda: page.training_title.startswith(f"Training at {rate}"))
    rows = [row for row in run_rows(reference.runs, reference.curves) if row["rate"] == rate]
    page.wait(lambda: page.curve_lengths == [len(row["e"]) for row in rows])


def test_a_click_on_a_run_shows_its_curves(page: Page, reference: Study) -> None:
    rate = lr_text(sorted(reference.runs["lr"])[20])
    ActionChains(page.driver).scroll_to_element(page.points[20]).move_to_element(page.points[20]).perform()
    page.wait(lambda: page.find_all("#vg-tooltip-element.visible"))
    assert rate in page.find("#vg-tooltip-element").text
    page.keep_screenshot("pointed-at")
    ActionChains(page.driver).click().perform()
    page.wait(lambda: page.training_title.startswith(f"Training at {rate}"))
    assert page.select.first_selected_option.text == rate


def test_the_slider_moves_the_best_trade_off_to_the_one_that_pandas_finds(page: Page, reference: Study) -> None:
    rates = rates_table(reference.runs)
    lowest, num_steps = price_range(rates)
    for position in (num_steps, num_steps // 2, 0):
        worth = 10 ** (lowest + (position - 1) / STEPS_PER_DECADE) / 100 if position else 0
        best = rates.loc[(rates["valid"] - worth * rates["epochs"]).where(rates["learned"]).idxmax()]
        page.set_slider(position)
        sentence = f"{'Best at this price' if position else 'Most accurate'}: {best['rate']}"
        page.wait(lambda sentence=sentence: sentence in page.answer)
        assert f"{best['valid']:.2%} on validation" in page.answer
        page.keep_screenshot(f"price-{position}")
    assert "An epoch is worth nothing." in page.answer


def test_a_screen_reader_gets_the_slider_in_words(page: Page) -> None:
    page.set_slider(10)
    page.wait(lambda: (page.slider.get_attribute("aria-valuetext") or "").startswith("An epoch is worth 0."))
    assert "Best at this price" in page.evaluate("document.getElementById('explorer-answer').textContent")
    for control in (page.slider, page.find("#explorer-controls select")):
        assert control.accessible_name


def test_the_keyboard_reaches_and_moves_the_controls(page: Page) -> None:
    reached = []
    for _ in range(40):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.append(page.driver.switch_to.active_element.tag_name)
        if page.driver.switch_to.active_element == page.slider:
            break
    assert "select" in reached
    assert reached[-1] == "input"
    before = page.answer
    page.slider.send_keys(Keys.ARROW_RIGHT)
    page.wait(lambda: page.answer != before)
    page.find("#explorer-controls select").send_keys(Keys.ARROW_DOWN)
    page.wait(lambda: page.select.first_selected_option.text in page.training_title)


def test_in_dark_mode_the_text_is_light(driver: webdriver.Chrome, path: Path) -> None:
    page = Page(driver).open(path, dark=True)
    page.keep_screenshot("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 25, 29)"
    for selector in ("body", "#explorer-chart .answer_group text", "#explorer-chart .role-axis-label text"):
        style = "fill" if "text" in selector else "color"
        assert page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{style}") == "rgb(230, 232, 235)"


def test_on_a_phone_nothing_scrolls_sideways_and_the_chart_fits_when_it_is_turned(driver: webdriver.Chrome, path: Path) -> None:
    page = Page(driver).open(path, PHONE)
    page.keep_screenshot("phone")
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth") == PHONE[0]
    chart = page.find("#explorer-chart svg").rect
    assert chart["x"] + chart["width"] <= PHONE[0]
    width = page.evaluate("document.querySelector('#explorer-chart svg').viewBox.baseVal.width")
    assert width == pytest.approx(chart["width"], abs=8)

    def room_left() -> float:
        return page.find("#explorer-chart").rect["width"] - page.find("#explorer-chart svg").rect["width"]

    for size in (PHONE[::-1], PHONE):
        page.resize(*size)
        page.wait(lambda: 0 <= room_left() < 20)  # the last axis label may need half of its width


def test_in_print_all_folds_are_open_and_the_controls_are_hidden(page: Page) -> None:
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.evaluate("getComputedStyle(document.getElementById('explorer-controls')).display") == "none"
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.driver.execute_cdp_cmd("Page.printToPDF", {})
    assert page.evaluate("[...document.querySelectorAll('details')].every(fold => fold.open)")
