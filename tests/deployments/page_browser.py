"""Chromium at the web page, and all that goes wrong in it unseen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PHONE = {"width": 360, "height": 740}
WAIT_MS = 60_000


@contextmanager
def open_browser() -> "Iterator[Browser]":
    """Headless Chromium, with WebGL on the CPU."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launch = playwright.chromium.launch
        browser = launch(executable_path=chromium.EXECUTABLE, args=list(chromium.FLAGS))
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: "Browser", url: str, *, refused: bool = False, **options: Any
) -> "Iterator[Page]":
    """The page at ``url``; errors, violations of its policy and other hosts fail the test.

    Args:
        browser: from `open_browser`.
        url: of the service.
        refused: whether the service refuses something on purpose, which browsers log.
        options: of the browser's context.
    """
    context = browser.new_context(base_url=url, **options)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    wrong: list[str] = []

    def hear(message: Any) -> None:
        if message.type == "error" and not (
            refused and message.text.startswith("Failed to load resource")
        ):
            wrong.append(message.text)

    def ask(request: Any) -> None:
        if not request.url.startswith((url, "blob:", "data:")):
            wrong.append(f"asked for {request.url[:80]}")

    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", ask)
    page.goto("/")
    yield page
    context.close()
    assert not wrong, wrong


def title(page: "Page", text: str) -> None:
    """Wait until the avatar's heading is ``text``."""
    page.get_by_role("heading", level=1, name=text, exact=True).wait_for()


def is_moving(page: "Page", what: "Locator", for_ms: int = 1500) -> bool:
    """Whether the picture of an element changes."""
    before = what.screenshot()
    page.wait_for_timeout(for_ms)
    return what.screenshot() != before


def comes_to_rest(page: "Page", what: "Locator") -> bool:
    """Whether the picture of an element stays the same in the end; gliding takes some frames."""
    return any(not is_moving(page, what, 700) for _ in range(15))


def is_too_wide(page: "Page") -> bool:
    """Whether the page has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def focused(page: "Page") -> str:
    """What has the keyboard's focus: its id, or its words."""
    return str(
        page.evaluate(
            "(({id, ariaLabel, textContent}) => id || ariaLabel || textContent.trim())"
            "(document.activeElement)"
        )
    )
