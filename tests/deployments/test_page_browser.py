"""The web page in real Chromium, before a real Ray Serve with toy networks."""

import io
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import httpx2
import numpy as np
import page_browser
import pytest
import toy_service
from page_browser import PHONE, comes_to_rest, focused, is_moving, is_too_wide, open_page, title
from PIL import Image
from ray import cloudpickle, serve

import deployments.app
from deployments.job_graph import JobGraph
from deployments.options import ServiceOptions
from jobs.serve import APP_NAME
from pipeline.avatar_folder import parse_formats
from pipeline.gaussians import CHANNELS
from pipeline.graph import GraphOptions
from pipeline.recipe import Recipe
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.stages.export import Export, ExportConfig
from pipeline.stages.load import Load, LoadConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,  # a head in WebGL without a GPU, beside the other half of the suite
    pytest.mark.skipif(bool(chromium.why_no_viewer()), reason=chromium.why_no_viewer() or "there"),
    pytest.mark.timeout(240),
]
SLOW_PHOTO_PX = 100
SPARKS_WORKERS = 4
"""Which Spark keeps for all heads; each head that is shown has more."""
_NUMBERS = count()


class Prepare(toy_service.Decode):
    """The toy's decoder under the name that the page knows."""

    name = "Prepare"


class LowRes(Stage):
    """16 coarse views in 15 steps; ten times as many for a photo of `SLOW_PHOTO_PX`."""

    name = "LowRes"
    inputs = ("image", "portrait")
    outputs = ("lowres_views",)
    resources = Resources(gpus=0.25, memory_gb=0.1)

    def setup(self, device: str) -> None:
        pass

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, "lowres_views": self._views(row, context)} for row in rows]

    def _views(self, row: Row, context: Context) -> np.ndarray:
        with Image.open(io.BytesIO(row["image"])) as image:
            steps = 150 if image.width == SLOW_PHOTO_PX else 15
        for step in range(steps):
            context.checkpoint(self.name, step, steps)
            time.sleep(toy_service.STEP_S)
        return np.stack([row["portrait"][:8, :8, :3] // 16 * (16 - view) for view in range(16)])


class HighRes(toy_service.Dream):
    """Views, and 200 coloured Gaussians on a ball that has a nose."""

    name = "HighRes"
    inputs = ("portrait", "lowres_views")

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, **self._dream({**row, "seed": 15}, context), **_ball()} for row in rows]


def _ball() -> Row:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 3))
    means *= 0.4 / np.linalg.norm(means, axis=1, keepdims=True)
    means[:5] = (0.0, 0.0, 0.55)
    gaussians = np.zeros((200, CHANNELS), np.float32)
    gaussians[:, :3], gaussians[:, 3], gaussians[:, 4:7] = means, 0.9, 0.08
    gaussians[:, 7], gaussians[:, 11:] = 1.0, rng.random((200, 3))
    scores = {"identity_cosine": 0.71, "cross_view_psnr": 20.0, "mask_iou": 0.96, "floaters": 0.0}
    return {"gaussians": gaussians, "scores": scores}


def page_graph(log: Path) -> JobGraph:
    def build(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
        formats = parse_formats(options.formats)
        export = ExportConfig(
            destination=destination,
            recipe=recipe,
            turntable_frames=4,
            turntable_px=64,
            formats=formats,
        )
        load = LoadConfig(recipe=recipe, destination=destination, formats=formats)
        return [Load(load), Prepare(), LowRes(), HighRes(log), Export(export)]

    return JobGraph(GraphOptions(), Recipe(model_hash="page"), build)


@pytest.fixture(scope="module")
def url(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service, which has no keys."""
    folder = tmp_path_factory.mktemp("page")
    for module in (toy_service, __import__(__name__)):
        cloudpickle.register_pickle_by_value(module)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ServiceOptions(
        output=str(folder / "out"), database=f"sqlite:///{folder}/jobs.db", jobs_per_runner=2
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(deployments.app.assemble(options, page_graph(folder / "log")), name=APP_NAME)
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    for module in (toy_service, __import__(__name__)):
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with page_browser.open_browser() as browser:
        yield browser


@pytest.fixture
def opened(browser: "Browser", url: str) -> Callable[..., "AbstractContextManager[Page]"]:
    """Opens the page of the service."""
    return partial(open_page, browser, url)


def photo(side_px: int = 64) -> dict:
    """A photo that no other test has."""
    stream = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (200, 120, next(_NUMBERS))).save(stream, "PNG")
    return {"name": "me.png", "mimeType": "image/png", "buffer": stream.getvalue()}


def make_avatar(url: str, data: bytes | None = None) -> dict:
    """A job that has finished, made past the page."""
    answer = httpx2.post(
        f"{url}/v1/avatars",
        files={"photo": data or photo()["buffer"]},
        data={"options": json.dumps({"formats": ["ply", "spz", "glb"]})},
        headers={"Prefer": "wait=60"},
        timeout=90,
    )
    assert answer.status_code == 200, answer.text
    job: dict = answer.json()
    return job


def show(page: "Page", job: dict) -> None:
    page.goto(f"/#{job['id']}")
    title(page, "Your avatar")
    page.locator("#turn").wait_for()


def test_a_portrait_becomes_a_head_that_turns_until_it_is_touched(opened, url: str) -> None:
    with opened() as page:
        page.locator("#photo").set_input_files(photo())
        title(page, "Making your avatar")
        page.get_by_text("The crop that the model sees").wait_for()
        page.locator("#steps .now progress").first.wait_for()
        page.locator("#tiles.filled").wait_for()
        assert page.locator("#tiles i").count() == 16
        title(page, "Your avatar")
        head = page.locator("#viewer canvas")
        page.get_by_role("button", name="Pause").wait_for()
        assert is_moving(page, head)
        head.click()
        page.get_by_role("button", name="Turn", exact=True).wait_for()
        assert comes_to_rest(page, head)
        box = head.bounding_box()
        before = head.screenshot()
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 220, steps=4)
        page.mouse.up()
        page.wait_for_timeout(1000)
        assert head.screenshot() != before
        page.get_by_text("The face is like the portrait's.").wait_for()
        page.get_by_text("The views contradict each other more than is usual").wait_for()
        page.locator("#made-tiles.filled").wait_for()
        job_id = page.evaluate("location.hash").removeprefix("#")
        for kind, name in (("PLY", "avatar.ply"), ("SPZ", "avatar.spz"), ("GLB", "avatar.glb")):
            with page.expect_download() as download:
                page.get_by_role("button", name=f"Download {kind}").click()
            assert download.value.suggested_filename == name
            served = httpx2.get(f"{url}/v1/avatars/{job_id}/files/{name}").content
            assert Path(download.value.path()).read_bytes() == served


def test_a_dropped_photo_is_taken(opened) -> None:
    data = list(photo()["buffer"])
    with opened() as page:
        page.locator("#photo").wait_for(state="attached")
        page.locator("#limit", has_text="MiB").wait_for()
        page.evaluate(
            """(data) => {
              const files = new DataTransfer();
              files.items.add(new File([new Uint8Array(data)], "a.png", { type: "image/png" }));
              const drop = { dataTransfer: files, bubbles: true, cancelable: true };
              document.body.dispatchEvent(new DragEvent("drop", drop));
            }""",
            data,
        )
        title(page, "Making your avatar")


def test_an_example_is_one_click(opened) -> None:
    with opened() as page:
        page.get_by_role("button", name="Eileen Collins").click()
        title(page, "Making your avatar")


def test_what_is_no_photo_is_refused_with_the_reason(opened, url: str) -> None:
    broken = {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": b"<html>"}
    with opened() as page:
        page.locator("#photo").set_input_files(broken)
        title(page, "This photo does not work")
        job_id = page.evaluate("location.hash").removeprefix("#")
        error = httpx2.get(f"{url}/v1/avatars/{job_id}").json()["error"]
        said = page.locator("#avatar-error").inner_text()
        assert error["title"] in said
        assert error["detail"][1:] in said
        assert page.locator("#stage").is_hidden()
        page.get_by_role("link", name="Try another photo").click()
        page.get_by_role("heading", name="Your avatars").wait_for()


def test_an_avatar_that_is_made_can_be_stopped(opened, url: str) -> None:
    with opened() as page:
        page.locator("#photo").set_input_files(photo(SLOW_PHOTO_PX))
        page.locator("#steps .now progress").first.wait_for()
        page.get_by_role("button", name="Stop").click()
        title(page, "Stopped")
        job_id = page.evaluate("location.hash").removeprefix("#")
        assert httpx2.get(f"{url}/v1/avatars/{job_id}").json()["state"] == "cancelled"


def test_deleting_asks_first_and_erases(opened, url: str) -> None:
    job = make_avatar(url)
    with opened() as page:
        show(page, job)
        page.get_by_role("button", name="Delete …").click()
        page.get_by_text("the photo that was sent, and the crop of the face").wait_for()
        assert focused(page) == "Keep it"
        page.keyboard.press("Escape")
        assert httpx2.get(f"{url}/v1/avatars/{job['id']}").status_code == 200
        page.get_by_role("button", name="Delete …").click()
        page.get_by_role("button", name="Delete for good").click()
        page.get_by_role("heading", name="Your avatars").wait_for()
        page.locator("#cards[aria-busy=false]").wait_for()
        assert page.locator(f"#cards a[href='#{job['id']}']").count() == 0
    assert httpx2.get(f"{url}/v1/avatars/{job['id']}").status_code == 404


def test_the_gallery_shows_earlier_avatars_and_those_in_the_making(opened, url: str) -> None:
    job = make_avatar(url)
    with opened() as page:
        card = page.locator(f"#cards a[href='#{job['id']}']")
        card.scroll_into_view_if_needed()
        card.locator("canvas").wait_for()
        page.locator("#photo").set_input_files(photo())
        title(page, "Making your avatar")
        made = page.evaluate("location.hash")
        page.get_by_role("link", name="All avatars").click()
        card = page.locator(f"#cards a[href='{made}']")
        card.scroll_into_view_if_needed()
        card.get_by_text("in the making").or_(card.get_by_text("waiting")).wait_for()
        card.locator("canvas").wait_for()  # by itself, when it is finished
        page.locator(f"#cards a[href='#{job['id']}']").click()
        title(page, "Your avatar")


def test_all_can_be_done_by_keyboard(opened) -> None:
    with opened() as page:
        page.locator("#limit", has_text="MiB").wait_for()
        order = []
        while (not order or order[-1] != "photo") and len(order) < 5:
            page.keyboard.press("Tab")
            order.append(focused(page))
        assert order == ["skip", "headsplat", "photo"]
        ring = page.locator("label[for=photo]").evaluate("(e) => getComputedStyle(e).outlineStyle")
        assert ring == "solid"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(photo())
        title(page, "Making your avatar")
        assert focused(page) == "avatar-title"
        page.get_by_role("button", name="Pause").wait_for()
        page.locator("#status", has_text="The head is there.").wait_for(state="attached")
        page.locator("#avatar-title").focus()
        reached = []
        for _ in range(7):
            page.keyboard.press("Tab")
            reached.append(focused(page).partition(":")[0].partition(".")[0])
        assert reached == [
            *("The head in 3D", "turn"),
            *("Download PLY", "Download SPZ", "Download GLB", "Download WebP", "delete"),
        ]
        head = page.locator("#viewer canvas")
        head.focus()
        page.keyboard.press("ArrowRight")
        page.get_by_role("button", name="Turn", exact=True).wait_for()
        assert comes_to_rest(page, head)
        before = head.screenshot()
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(1000)
        assert head.screenshot() != before
        page.locator("#delete").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert focused(page) == "Delete for good"
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Your avatars").wait_for()
        assert focused(page) == "home-title"


def test_nothing_is_wider_than_a_phone(opened, url: str) -> None:
    job = make_avatar(url)
    with opened(viewport=PHONE) as page:
        card = page.locator(f"#cards a[href='#{job['id']}']")
        card.scroll_into_view_if_needed()
        card.locator("canvas").wait_for()
        assert not is_too_wide(page)
        page.locator("#photo").set_input_files(photo())
        page.locator("#tiles.filled").wait_for()
        assert not is_too_wide(page)
        page.get_by_role("button", name="Pause").wait_for()
        assert not is_too_wide(page)
        page.get_by_role("button", name="Delete …").click()
        assert not is_too_wide(page)
        page.keyboard.press("Escape")
        page.goto("/")
        broken = {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": b"x" * 99}
        page.locator("#photo").set_input_files(broken)
        title(page, "This photo does not work")
        assert not is_too_wide(page)


def test_nothing_moves_where_motion_is_not_wanted(opened, url: str) -> None:
    job = make_avatar(url)
    with opened(reduced_motion="reduce") as page:
        show(page, job)
        page.wait_for_timeout(1000)
        head = page.locator("#viewer canvas")
        assert not is_moving(page, head, 1000)
        page.get_by_role("button", name="Turn", exact=True).click()
        assert is_moving(page, head)


def test_a_head_that_is_left_frees_what_it_took(opened, url: str) -> None:
    job = make_avatar(url)
    with opened() as page:
        for _ in range(4):
            show(page, job)
            page.wait_for_timeout(500)
            page.get_by_role("link", name="All avatars").click()
            page.get_by_role("heading", name="Your avatars").wait_for()
        page.wait_for_timeout(1000)
        assert len(page.workers) <= SPARKS_WORKERS
