"""The web page in real Chromium where the service refuses, waits, lacks its viewer, or is gone."""

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import numpy as np
import page_browser
import pytest
import uvicorn
from page_browser import is_moving, open_page, title
from PIL import Image

from deployments import web_page
from deployments.api import create_api
from deployments.backend import Backend, open_backend
from deployments.job import JobState, Outcome
from deployments.options import ServiceOptions
from deployments.service import Service
from deployments.submission import submit_photos
from deployments.watch import Watch
from pipeline import pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = [
    pytest.mark.skipif(bool(chromium.why_no_viewer()), reason=chromium.why_no_viewer() or "there"),
    pytest.mark.timeout(300),
]
AVATAR = "0123456789abcdef01234567"


@dataclass
class Running:
    """A service without runners: what becomes of its jobs is the test's business."""

    url: str
    backend: Backend
    server: uvicorn.Server


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    options = ServiceOptions(
        output=str(tmp_path / "out"),
        database=f"sqlite:///{tmp_path}/jobs.db",
        queue=1,
        max_photo_mb=1,
    )
    backend = open_backend(options.resolved())

    async def not_ready() -> list[str]:
        return []

    api = create_api(Service(backend, lambda: None, not_ready, Watch(backend.store)))
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Running(f"http://127.0.0.1:{port}", backend, server)
    server.force_exit = server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with page_browser.open_browser() as browser:
        yield browser


def photo(size: int = 0) -> dict:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 120, 90)).save(stream, "PNG")
    return {"name": "me.png", "mimeType": "image/png", "buffer": stream.getvalue() + bytes(size)}


def submit(service: Running, owner: str = "local") -> str:
    backend, data = service.backend, photo()["buffer"]
    options = {"formats": ["ply"]}
    return submit_photos(backend.store, backend.files, [data], owner=owner, options=options).id


def test_a_key_is_asked_for_once(service: Running, browser: "Browser") -> None:
    key, bearer = service.backend.keys.create("alice")
    job_id = submit(service, key.id)
    with open_page(browser, service.url, refused=True) as page:
        dialog = page.get_by_role("dialog", name="This service asks for a key")
        dialog.wait_for()
        dialog.get_by_label("Key", exact=True).fill("hs_wrong")
        page.keyboard.press("Enter")
        dialog.get_by_text("That key is unknown or was revoked.").wait_for()
        dialog.get_by_label("Key", exact=True).fill(bearer)
        page.keyboard.press("Enter")
        page.locator(f"#cards a[href='#{job_id}']").click()
        title(page, "Waiting for its turn")
        page.reload()
        title(page, "Waiting for its turn")
        assert page.evaluate("sessionStorage.length + localStorage.length") == 1
        service.backend.keys.revoke(key.id)
        page.reload()
        dialog.get_by_text("That key is unknown or was revoked.").wait_for()
        page.keyboard.press("Escape")
        page.get_by_text("Without one it shows nothing.").wait_for()


def test_a_full_queue_is_said_and_tried_again(service: Running, browser: "Browser") -> None:
    job_id = submit(service)
    with open_page(browser, service.url, refused=True) as page:
        page.locator("#photo").set_input_files(photo())
        page.locator("#upload-error").get_by_text("1 jobs wait, as many as may").wait_for()
        service.backend.store.cancel("local", job_id)
        page.locator("#upload-error").get_by_role("button", name="Try again").click()
        title(page, "Waiting for its turn")


def test_a_photo_may_come_before_the_settings_do(service: Running, browser: "Browser") -> None:
    held: list[Route] = []
    with open_page(browser, service.url) as page:
        page.route("**/page.json", lambda route: held.append(route))
        page.reload()
        page.locator("#photo").set_input_files(photo())
        page.get_by_text("Sending").wait_for()
        while not held:
            page.wait_for_timeout(20)
        held[0].continue_()
        title(page, "Waiting for its turn")


def test_a_photo_that_is_too_large_is_not_sent(service: Running, browser: "Browser") -> None:
    with open_page(browser, service.url) as page:
        page.get_by_text("Nothing here yet.").wait_for()
        page.locator("#photo").set_input_files(photo(2**20))
        page.get_by_text("It has 2 MiB and may have 1. Save it smaller.").wait_for()
        page.get_by_text("Nothing here yet.").wait_for()


def test_an_avatar_that_is_not_there_is_said(service: Running, browser: "Browser") -> None:
    with open_page(browser, service.url, refused=True) as page:
        page.goto("/#av_7dq3kz2m5xg4t6w5a2c4y7bqhe")
        page.locator("#avatar-error").get_by_text("there is no avatar", exact=False).wait_for()
        assert page.locator("#avatar-body").is_hidden()


def test_a_service_that_is_gone_is_said(service: Running, browser: "Browser") -> None:
    with open_page(browser, service.url, refused=True) as page:
        page.get_by_text("Nothing here yet.").wait_for()
        service.server.force_exit = service.server.should_exit = True
        page.wait_for_timeout(500)
        page.locator("#photo").set_input_files(photo())
        page.locator("#upload-error").get_by_text(
            "Check that headsplat serve is running"
        ).wait_for()


def test_without_libraries_the_turntable_is_shown(
    browser: "Browser", monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(web_page, "LIBRARIES", ("node_modules/missing.js",))
    service: Running = request.getfixturevalue("service")
    job_id = submit(service)
    finish(service.backend)
    with open_page(browser, service.url) as page:
        page.goto(f"/#{job_id}")
        page.get_by_text("set up without the 3D viewer").wait_for()
        moving = page.get_by_role("img", name="The head, turning")
        assert any(is_moving(page, moving, 700) for _ in range(5))  # it may still load
        page.get_by_role("button", name="Pause").click()
        assert not is_moving(page, page.get_by_role("img", name="The head from the front"), 700)
    with open_page(browser, service.url, reduced_motion="reduce") as page:
        page.goto(f"/#{job_id}")
        page.get_by_role("img", name="The head from the front").wait_for()


def finish(backend: Backend) -> None:
    """Have the waiting job end with an avatar of coloured noise."""
    lease = backend.leases.claim("test", 60)
    assert lease is not None
    folder = backend.files.avatars(lease.job.id).child(AVATAR)
    noise = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), np.uint8)
    record = b'{"scores": {}, "gaussian_count": 5, "seed": 0, "timings_s": {"Dream": 61.0}}'
    for name, data in {
        "avatar.ply": b"ply",
        "avatar.json": record,
        "portrait.png": pictures.png(noise[0]),
        "views.webp": pictures.webp(pictures.contact_sheet(noise)),
        "turntable.webp": pictures.animated_webp(noise, 1.6),
    }.items():
        folder.child(name).write(data)
    backend.leases.finish(lease, Outcome(state=JobState.SUCCEEDED, avatar_id=AVATAR))
