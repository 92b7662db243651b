"""The page of a study in real Chromium, opened as a file, as people open it."""

import io
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chromium
import pytest
from PIL import Image
from tiny_study import SUBJECTS, write_renders

from jobs.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.skipif(bool(chromium.why_undriven()), reason=chromium.why_undriven() or "there"),
    pytest.mark.timeout(300),
]
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    methods = [f"{name}={path}" for name, path in write_renders(folder / "renders").items()]
    photos = folder / "photos"
    photos.mkdir()
    for subject in SUBJECTS:
        Image.new("RGB", (20, 20), "blue").save(photos / f"{subject}.png")
    assert main(["evaluate", "study", *methods, "-o", str(folder), "--portraits", str(photos)]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launch = playwright.chromium.launch
        browser = launch(executable_path=chromium.EXECUTABLE, args=list(chromium.FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: "Browser", study: Path, **options: Any) -> "Iterator[Page]":
    """The page for a new person; errors, and requests for anything else, fail the test."""
    context = browser.new_context(**options)
    context.set_default_timeout(20_000)
    page = context.new_page()
    url = (study / "study.html").as_uri()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url != url else None)
    page.goto(url)
    yield page
    context.close()
    assert [one for one in wrong if not one.startswith(("data:", "blob:"))] == []


def place(page: "Page") -> str:
    return page.locator("#place").inner_text()


def colors(page: "Page") -> list[str]:
    """Which method's picture stands where, by its colour."""
    found = []
    for source in page.locator("#options img").evaluate_all("(all) => all.map((i) => i.src)"):
        with Image.open(io.BytesIO(b64decode(source.partition(",")[2]))) as image:
            red, _, blue = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
        found.append("avatar" if blue > red else "panohead")
    return found


def save(page: "Page", folder: Path) -> Path:
    """The file that the page gives."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Save answers").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_choices_by_mouse_become_shares(
    browser: "Browser", study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for liked in ("avatar", "avatar", "panohead"):
        with opened(browser, study) as page:
            for number in range(3):
                assert place(page) == f"Question {number + 1} of 3"
                page.locator("#options button").nth(colors(page).index(liked)).click()
            page.get_by_role("heading", name="All questions answered").wait_for()
            files.append(str(save(page, tmp_path)))
    capsys.readouterr()
    assert main(["evaluate", "tally", str(study / "key.json"), *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["people"], found["answers"]) == (3, 9)
    assert found["preference"]["avatar"]["mean"] == pytest.approx(200 / 3)
    assert found["by_subject"] == {name: {"avatar": 2, "panohead": 1} for name in SUBJECTS}


def test_all_can_be_done_by_keyboard(browser: "Browser", study: Path, tmp_path: Path) -> None:
    with opened(browser, study) as page:
        page.keyboard.press("3")  # there is no third picture
        assert place(page) == "Question 1 of 3"
        page.keyboard.press("1")
        assert place(page) == "Question 2 of 3"
        assert page.evaluate("document.activeElement.id") == "text", "screen readers read it anew"
        page.keyboard.press("ArrowLeft")
        pressed = page.locator("#options button[aria-pressed=true]")
        assert pressed.inner_text() == "Picture 1"
        page.keyboard.press("2")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert place(page) == "Question 3 of 3"
        page.keyboard.press("1")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "save"
        answers = json.loads(save(page, tmp_path).read_text())["answers"]
        assert [one["position"] for one in answers] == [1, 1, 0]


def test_on_a_phone_all_is_in_view_and_a_closed_page_goes_on(
    browser: "Browser", study: Path
) -> None:
    with opened(browser, study, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        page.locator("#portrait img").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = [one.bounding_box() for one in page.locator("#options button").all()]
        assert len(boxes) == 2
        assert all(box["y"] + box["height"] < PHONE["height"] for box in boxes)
        assert all(box["width"] >= 150 for box in boxes)
        page.locator("#options button").first.tap()
        shown = page.locator("#options img").first.get_attribute("src")
        page.reload()
        assert place(page) == "Question 2 of 3"
        assert page.locator("#options img").first.get_attribute("src") == shown, "same order"


def test_everybody_gets_an_order_of_their_own(browser: "Browser", study: Path) -> None:
    orders = set()
    for _ in range(8):
        with opened(browser, study) as page:
            first = page.locator("#options img").first.get_attribute("src")
            orders.add((first, *colors(page)))
    assert len(orders) > 1
