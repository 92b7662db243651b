"""An avatar in a viewer that we did not write looks as our own renderer shows it.

Spark shows .ply, .spz and .splat, and three.js .glb.
"""

import io

import browser_viewer
import chromium
import numpy as np
import pytest
import torch
from PIL import Image

from jobs.cli import main
from jobs.demo import demo_photos
from pipeline.cameras import FOV_Y_DEG, RADIUS, look_at_origin
from pipeline.formats.registry import FORMATS, read_gaussians, write_gaussians
from pipeline.gaussians import Gaussians
from pipeline.model_folder import EMBEDDED
from pipeline.rendering import render_u8

pytestmark = [
    pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this checkout has no embedded model"),
    pytest.mark.skipif(bool(chromium.why_missing()), reason=chromium.why_missing() or "there"),
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]
QUICK = ["--lowres-steps", "1", "--highres-steps", "1", "--fit-steps", "0"]
AZIMUTH_DEG, ELEVATION_DEG, SIZE_PX = 30.0, 20.0, 128
LEAST = 0.99
"""Correlation with our picture; 0.999 was measured, and 0.84 at most with heads turned wrongly."""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Gaussians:
    """An avatar of the embedded model with its left side painted red: heads are symmetric."""
    out = tmp_path_factory.mktemp("avatars")
    assert main(["make", str(demo_photos()[0]), "-o", str(out), *QUICK]) == 0
    (avatar,) = out.glob("*/avatar.ply")
    gaussians = read_gaussians(avatar.read_bytes(), ".ply")
    gaussians.colors[gaussians.means[:, 0] > 0.05] = torch.tensor([0.9, 0.1, 0.1])
    return gaussians


@pytest.fixture(scope="module")
def shown(head: Gaussians, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The viewer's pictures of the head in every format."""
    files = {ending: write_gaussians(head, ending) for ending in FORMATS}
    camera = {"azimuth": AZIMUTH_DEG, "elevation": ELEVATION_DEG, "radius": RADIUS}
    glb = {".glb": files.pop(".glb")}
    found = {}
    for part in (files, glb):  # the two need different builds of three.js
        profile = tmp_path_factory.mktemp("browser")
        found |= browser_viewer.pictures(part, profile, **camera, fov=FOV_Y_DEG, size=SIZE_PX)
    return found


@pytest.mark.parametrize("ending", FORMATS)
def test_the_head_is_upright_faces_us_and_has_its_left_on_our_right(
    head: Gaussians, shown: dict[str, bytes], ending: str
) -> None:
    with Image.open(io.BytesIO(shown[ending])) as image:
        theirs = np.asarray(image.convert("RGB"))
    same = _correlation(theirs, _ours(head, AZIMUTH_DEG))
    assert same > LEAST
    mirrored = _ours(head, -AZIMUTH_DEG)[:, ::-1]  # what a mirrored head looks like from here
    others = {
        "mirrored": _correlation(theirs, mirrored),
        "upside down": _correlation(theirs, _ours(head, AZIMUTH_DEG)[::-1]),
        "from behind": _correlation(theirs, _ours(head, AZIMUTH_DEG + 180)),
    }
    assert {name: other for name, other in others.items() if other > same - 0.1} == {}


def _ours(head: Gaussians, azimuth_deg: float) -> np.ndarray:
    return render_u8(head, look_at_origin(azimuth_deg, ELEVATION_DEG), SIZE_PX)[0]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of two pictures of one size, shrunk so that a pixel's shift and single points count less."""
    side = SIZE_PX // 32
    one, two = (
        picture.reshape(32, side, 32, side, 3).mean((1, 3)).ravel() for picture in (first, second)
    )
    return float(np.corrcoef(one, two)[0, 1])
