"""The Korean pages in a real browser: letters instead of boxes, the whole width of a phone, and a way to the English page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from synthetic_study import fill
from test_browser import CHROMIUM, DRIVER, PHONE, pytestmark  # noqa: F401  # slow, and skipped without Chromium

from lrsweep.report.audit.build import build_audit
from lrsweep.report.build import build

# A missing letter is drawn as the same box whatever the letter is. So letters that look different have their own forms.
NUM_FORMS = """
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 60;
const pen = canvas.getContext("2d", { willReadFrequently: true });
pen.font = "40px " + getComputedStyle(document.body).fontFamily;
return new Set(arguments[0].map((letter) => {
  pen.clearRect(0, 0, 60, 60);
  pen.fillText(letter, 5, 45);
  return pen.getImageData(0, 0, 60, 60).data.join();
})).size;
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    build(fill(folder / "lr", [1e-4, 1e-3, 1e-2], range(3)))
    build_audit(folder)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.parametrize("page", ["lr/report.ko.html", "audit.ko.html"])
def test_hangul_is_drawn_as_letters(driver: webdriver.Chrome, folder: Path, page: str) -> None:
    """If this fails, the machine has no Korean font (Debian: fonts-noto-cjk)."""
    driver.get((folder / page).as_uri())
    letters = sorted({letter for letter in driver.find_element(By.TAG_NAME, "main").text if "가" <= letter <= "힣"})
    assert len(letters) > 100
    assert driver.execute_script(NUM_FORMS, letters) == len(letters)
    assert driver.execute_script(NUM_FORMS, ["\U0010fffe", "\U000efffe"]) == 1  # two letters that no font has: two equal boxes


@pytest.mark.parametrize("page", ["lr/report.ko.html", "audit.ko.html", "audit.html"])
def test_on_a_phone_nothing_scrolls_sideways(driver: webdriver.Chrome, folder: Path, page: str) -> None:
    screen = {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    driver.get((folder / page).as_uri())
    driver.execute_script("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(("name", "other"), [("report", "lr/report"), ("audit", "audit")])
def test_the_link_at_the_top_leads_to_the_other_language_and_back(
    driver: webdriver.Chrome, folder: Path, name: str, other: str
) -> None:
    driver.get((folder / f"{other}.html").as_uri())
    for label, ending, lang in (("한국어", ".ko", "ko"), ("English", "", "en")):
        driver.find_element(By.LINK_TEXT, label).click()
        assert driver.current_url.endswith(f"/{name}{ending}.html")
        assert driver.find_element(By.TAG_NAME, "html").get_attribute("lang") == lang
