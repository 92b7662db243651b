"""The web page without a browser: what is served, what it may do, what it is packed with."""

import gzip
import hashlib
import json
import re
import tomllib
from base64 import b64decode
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from deployments import web_page
from deployments.api import create_api
from deployments.backend import Backend, open_backend
from deployments.options import ServiceOptions
from deployments.service import Service
from deployments.watch import Watch
from jobs.demo import PORTRAIT, find_photo

FILES = sorted(path for path in web_page.FOLDER.glob("*.*") if path.suffix in web_page.MEDIA_TYPES)
HTML = (web_page.FOLDER / "index.html").read_text()
ROOT = web_page.FOLDER.parents[1]


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    options = ServiceOptions(
        output=str(tmp_path / "out"), database=f"sqlite:///{tmp_path}/jobs.db", retention_s=7200.0
    )
    return open_backend(options.resolved())


@pytest.fixture
def client(backend: Backend) -> TestClient:
    async def not_ready() -> list[str]:
        return []

    api = create_api(Service(backend, lambda: None, not_ready, Watch(backend.store)))
    return TestClient(api, "http://127.0.0.1", client=("127.0.0.1", 5000))


def test_the_page_may_run_its_own_files_and_nothing_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    policy = dict(
        (part.split(" ", 1)) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    own, wasm, digest = policy["script-src"].split()
    assert (own, wasm) == ("'self'", "'wasm-unsafe-eval'")
    (import_map,) = re.findall(r'<script type="importmap">(.*?)</script>', HTML, re.DOTALL)
    sha256 = b64decode(digest.removeprefix("'sha256-").removesuffix("'"))
    assert sha256 == hashlib.sha256(import_map.encode()).digest()
    assert not re.search(r"unsafe-(inline|eval)(?<!wasm-unsafe-eval)", policy["script-src"])


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_files_are_served_whole_and_packed(client: TestClient, path: Path) -> None:
    where = "/" if path.name == "index.html" else f"/{path.name}"
    plain = client.get(where, headers={"Accept-Encoding": "identity"})
    assert plain.content == path.read_bytes()
    packed = client.get(where, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    again = client.get(where, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_files_name_no_other_host_and_hold_no_inline_code(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|[\"'(]//", text)
    assert not re.search(r"\son[a-z]+=\"|\sstyle=\"|<style|javascript:|innerHTML|\beval\(", text)


def test_files_link_to_files_that_are_there() -> None:
    served = {"/", *(f"/{path.name}" for path in FILES)}
    for path in FILES:
        text = path.read_text()
        named = re.findall(r'(?:from |import\(|src=|href=)"(/[^"]*)"', text)
        assert {name for name in named if name not in served} <= {"/v1/openapi.json"}, path.name


def test_ids_that_scripts_ask_for_are_in_the_page() -> None:
    there = re.findall(r'\bid="([^"]+)"', HTML)
    assert len(there) == len(set(there))
    for path in FILES:
        asked = set(re.findall(r'byId\("([^"]+)"\)', path.read_text()))
        assert asked <= set(there), path.name


def test_the_wheel_takes_the_libraries_along() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    folder = "deployments/page/node_modules/"
    packed = {name for name in build["artifacts"] if not name.endswith("LICENSE")}
    assert packed == {f"deployments/page/{name}" for name in web_page.LIBRARIES}
    licences = set(build["artifacts"]) - packed
    assert licences == {f"{folder}three/LICENSE", f"{folder}@sparkjsdev/spark/LICENSE"}
    imports = json.loads(re.search(r'importmap">(.*?)</script>', HTML, re.DOTALL)[1])["imports"]
    for target in imports.values():
        assert any(f"/{name}".startswith(target) for name in web_page.LIBRARIES)
    package = json.loads((web_page.FOLDER / "package.json").read_text())
    lock = json.loads((web_page.FOLDER / "package-lock.json").read_text())["packages"]
    for name, version in package["dependencies"].items():
        assert lock[f"node_modules/{name}"]["version"] == version
        assert lock[f"node_modules/{name}"]["integrity"].startswith("sha512-")


def test_the_page_learns_of_the_service(client: TestClient, backend: Backend) -> None:
    facts = client.get("/page.json").json()
    assert [one["name"] for one in facts["examples"]] == ["astronaut.png"]
    assert (facts["retention_hours"], facts["max_photo_mb"]) == (2.0, 32)
    assert facts["keys_needed"] is False
    backend.keys.create("somebody")
    assert client.get("/page.json").json()["keys_needed"] is True


def test_the_example_is_the_installed_portrait_and_no_other(client: TestClient) -> None:
    photo = find_photo(*PORTRAIT)
    assert client.get(f"/examples/{photo.name}").content == photo.read_bytes()
    assert client.get("/examples/camera.png").status_code == 404
    assert client.get("/examples/t1.jpg").status_code == 404


@pytest.mark.parametrize("where", ["/package.json", "/node_modules/three/package.json", "/x"])
def test_nothing_else_is_served(client: TestClient, where: str) -> None:
    assert client.get(where).json()["code"] == "not_found"


def test_without_its_libraries_there_is_no_viewer(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_page, "LIBRARIES", ("node_modules/missing.js",))

    async def not_ready() -> list[str]:
        return []

    api = create_api(Service(backend, lambda: None, not_ready, Watch(backend.store)))
    client = TestClient(api, "http://127.0.0.1", client=("127.0.0.1", 5000))
    assert client.get("/page.json").json()["viewer"] is False


def test_the_packed_libraries_are_smaller() -> None:
    found = [web_page.FOLDER / name for name in web_page.LIBRARIES]
    if not all(path.is_file() for path in found):
        pytest.skip("the page's libraries are not here; run make page")
    content = b"".join(path.read_bytes() for path in found)
    assert len(gzip.compress(content, 6)) < 2 * 2**20 < len(content)
