"""The page in a real browser: it opens from a file, draws, and does what its controls say."""

import base64
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

PHONE = (390, 844)
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


class Page:
    """The open page, by what a reader sees of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1280, height: int = 1000, dark: bool = False) -> "Page":
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.resize(width, height)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(path.as_uri())
        self.wait(lambda: "Most accurate" in self.answer)
        return self

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: condition())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    @property
    def select(self) -> Select:
        return Select(self.find("#explorer-controls select"))

    @property
    def slider(self) -> WebElement:
        return self.find("#explorer-controls input[type=range]")

    @property
    def answer(self) -> str:
        """What the chart says of the slider's price."""
        return " ".join(line.text for line in self.driver.find_elements(By.CSS_SELECTOR, "#explorer-chart .answer_group text"))

    @property
    def points(self) -> list[WebElement]:
        """The runs, in order of learning rate."""
        return self.driver.find_elements(By.CSS_SELECTOR, "#explorer-chart .mark-symbol[class*=targets_] path")

    @property
    def training_title(self) -> str:
        return self.find("#explorer-chart .training_group .role-title-text").text

    @property
    def training_lengths(self) -> list[int]:
        """How many points each training curve has."""
        lines = self.driver.find_elements(By.CSS_SELECTOR, "#explorer-chart .training_group .mark-line path")
        return [line.get_attribute("d").count("L") + 1 for line in lines]

    def resize(self, width: int, height: int) -> None:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def put_slider(self, position: int) -> None:
        change = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.driver.execute_script(change, self.slider, position)


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
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))  # the path: no driver is looked for, nor fetched
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", OFFLINE)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, path: Path) -> Page:
    return Page(driver).open(path)


@pytest.fixture
def keep(driver: webdriver.Chrome, tmp_path: Path) -> Callable[[str], None]:
    """Keep a picture of the page as it is: in the test's folder, or in that of LRSWEEP_SCREENSHOTS."""
    folder = Path(os.environ.get("LRSWEEP_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def screenshot(name: str) -> None:
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": False})
        (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    return screenshot


def test_it_opens_from_a_file_without_a_word_in_the_console(page: Page, keep: Callable[[str], None]) -> None:
    keep("desktop")
    assert page.driver.get_log("browser") == []
    assert page.ask("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0


def test_the_chart_draws_every_run_and_the_figures_are_there(page: Page, reference: Study) -> None:
    assert len(page.points) == len(reference.runs)
    assert page.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_the_policy_forbids_any_other_script(page: Page) -> None:
    page.ask(
        "void (() => { const s = document.createElement('script'); s.text = 'window.broken = 1'; document.body.append(s) })()"
    )
    assert page.ask("window.broken") is None
    assert "Content Security Policy" in page.driver.get_log("browser")[0]["message"]


@pytest.mark.parametrize("lr_index", [0, 12, 35])
def test_a_rate_chosen_from_the_list_shows_its_curves(page: Page, reference: Study, lr_index: int) -> None:
    lr = sorted(reference.runs["lr"].unique())[lr_index]
    page.select.select_by_visible_text(lr_text(lr))
    page.wait(lambda: page.training_title.startswith(f"Training at {lr_text(lr)}"))
    rows = [row for row in run_rows(reference.runs, reference.curves) if row["rate"] == lr_text(lr)]
    page.wait(lambda: page.training_lengths == [len(row["e"]) for row in rows])


def test_a_click_on_a_run_does_the_same(page: Page, reference: Study, keep: Callable[[str], None]) -> None:
    rates = sorted(reference.runs["lr"])
    ActionChains(page.driver).scroll_to_element(page.points[20]).move_to_element(page.points[20]).perform()
    page.wait(lambda: page.driver.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible"))
    assert lr_text(rates[20]) in page.find("#vg-tooltip-element").text
    keep("pointed-at")
    ActionChains(page.driver).click().perform()
    page.wait(lambda: page.training_title.startswith(f"Training at {lr_text(rates[20])}"))
    assert page.select.first_selected_option.text == lr_text(rates[20])


def test_the_slider_moves_the_best_trade_off_to_what_pandas_finds(
    page: Page, reference: Study, keep: Callable[[str], None]
) -> None:
    rates = rates_table(reference.runs)
    lowest, num_steps = price_range(rates)
    for position in (num_steps, num_steps // 2, 0):
        worth = 10 ** (lowest + (position - 1) / STEPS_PER_DECADE) / 100 if position else 0
        best = rates.loc[(rates["valid"] - worth * rates["seconds"]).where(rates["learned"]).idxmax()]
        page.put_slider(position)
        sentence = f"{'Best at this price' if position else 'Most accurate'}: {best['rate']}"
        page.wait(lambda sentence=sentence: sentence in page.answer)
        assert f"{best['valid']:.2%} on validation" in page.answer
        keep(f"price-{position}")
    assert "A second is worth nothing." in page.answer


def test_a_screen_reader_hears_what_the_slider_does(page: Page) -> None:
    page.put_slider(10)
    page.wait(lambda: (page.slider.get_attribute("aria-valuetext") or "").startswith("A second is worth 0."))
    assert "Best at this price" in page.ask("document.getElementById('explorer-answer').textContent")
    assert page.ask("document.getElementById('explorer-answer').getAttribute('role') ?? 'output'") == "output"
    for control in (page.slider, page.find("#explorer-controls select")):
        assert control.accessible_name


def test_a_keyboard_reaches_and_moves_the_controls(page: Page) -> None:
    reached = []
    for _ in range(40):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        focused = page.driver.switch_to.active_element
        reached.append(focused.tag_name)
        if focused == page.slider:
            break
    assert "select" in reached
    assert reached[-1] == "input"
    before = page.answer
    page.slider.send_keys(Keys.ARROW_RIGHT)
    page.wait(lambda: page.answer != before)
    assert page.answer.startswith("A second is worth 0.")
    page.find("#explorer-controls select").send_keys(Keys.ARROW_DOWN)
    page.wait(lambda: page.select.first_selected_option.text in page.training_title)


def test_dark_mode_is_dark_and_its_text_light(driver: webdriver.Chrome, path: Path, keep: Callable[[str], None]) -> None:
    page = Page(driver).open(path, dark=True)
    keep("dark")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(22, 25, 29)"
    for selector in ("body", "#explorer-chart .answer_group text", "#explorer-chart .role-axis-label text"):
        style = "fill" if "text" in selector else "color"
        assert page.ask(f"getComputedStyle(document.querySelector('{selector}')).{style}") == "rgb(230, 232, 235)"


def test_on_a_phone_nothing_makes_the_page_scroll_sideways(
    driver: webdriver.Chrome, path: Path, keep: Callable[[str], None]
) -> None:
    page = Page(driver).open(path, width=PHONE[0], height=PHONE[1])
    page.ask("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert page.ask("document.documentElement.scrollWidth") <= page.ask("innerWidth") == PHONE[0]
    chart = page.ask("document.querySelector('#explorer-chart svg').getBoundingClientRect().toJSON()")
    assert chart["right"] <= PHONE[0]
    assert page.ask("document.querySelector('#explorer-chart svg').viewBox.baseVal.width") == pytest.approx(chart["width"], abs=8)
    page.find("#explorer-controls").location_once_scrolled_into_view  # noqa: B018
    keep("phone")


def test_the_chart_fits_when_a_phone_is_turned(page: Page) -> None:
    def room_left() -> float:
        return page.find("#explorer-chart").rect["width"] - page.find("#explorer-chart svg").rect["width"]

    for width, height in (PHONE, PHONE[::-1]):
        page.resize(width, height)
        page.wait(lambda: 0 <= room_left() < 20)  # half of an axis's last label may need it


def test_in_print_what_is_folded_is_open_and_the_controls_are_gone(page: Page) -> None:
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.ask("getComputedStyle(document.getElementById('explorer-controls')).display") == "none"
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.driver.execute_cdp_cmd("Page.printToPDF", {})
    assert page.ask("[...document.querySelectorAll('details')].every(fold => fold.open)")
