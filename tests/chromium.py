"""Debian's Chromium for tests, and the packages of the web page that some need besides."""

import shutil
from importlib.util import find_spec
from pathlib import Path

EXECUTABLE = shutil.which("chromium") or shutil.which("google-chrome")
MODULES = Path(__file__).parents[1] / "deployments" / "page" / "node_modules"
FLAGS = (
    *("--no-sandbox", "--no-first-run", "--mute-audio", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)


def why_undriven() -> str:
    """What this machine lacks for tests that press buttons in a browser, or nothing."""
    if EXECUTABLE is None:
        return "no chromium on PATH, see CONTRIBUTING.md"
    return "" if find_spec("playwright") else "playwright is not installed; run make setup"


def why_missing() -> str:
    """What this machine lacks to show avatars in a browser, or nothing."""
    if EXECUTABLE is None:
        return "no chromium on PATH, see CONTRIBUTING.md"
    lacking = [name for name in ("three", "@sparkjsdev/spark") if not (MODULES / name).is_dir()]
    return f"{MODULES} lacks {lacking[0]}; run make page" if lacking else ""


def why_no_viewer() -> str:
    """What it lacks for tests that press the buttons of the service's page."""
    return why_missing() or why_undriven()
