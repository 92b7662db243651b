"""The whole chain on real photos with the embedded model, through the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.cli import main
from jobs.demo import demo_photos
from pipeline.avatar_folder import FILES
from pipeline.model_folder import EMBEDDED

pytestmark = [
    pytest.mark.skipif(not EMBEDDED.is_dir(), reason="this checkout has no embedded model"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.timeout(900),
]
QUICK = ["--lowres-steps", "2", "--highres-steps", "2", "--fit-steps", "10"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "face.png").write_bytes(demo_photos()[0].read_bytes())
    cat = demo_photos()[0].with_name("chelsea.png")
    (folder / "no face.png").write_bytes(cat.read_bytes())
    (folder / "text.jpg").write_bytes(b"a letter")
    return folder


def _files(out: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(path for path in out.glob("*/*") if path.parent.name != "manifest"):
        found[path.name] = path.read_bytes()
        if path.name == "avatar.json":
            found[path.name] = {**json.loads(path.read_text()), "timings_s": None}
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_a_photo_becomes_the_same_avatar_here_and_on_ray(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, on_ray = tmp_path / "here", tmp_path / "ray"
    assert main(["make", str(photos), "-o", str(here), *QUICK]) == 1
    rows = pq.read_table(here / "manifest").to_pylist()
    outcomes = {Path(row["source"]).name: row["error_code"] for row in rows}
    assert outcomes == {"face.png": None, "no face.png": "no_face", "text.jpg": "unreadable_image"}
    assert sorted(_files(here)) == sorted(FILES)
    costs = ["--costs", _measured(photos / "face.png", tmp_path / "costs.json", capsys)]
    command = ["generate", str(photos), str(on_ray), *QUICK, *costs, "--log-format", "json"]
    assert main(command) == 1
    assert _files(on_ray) == _files(here)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    (totals,) = [json.loads(line) for line in shown.err.splitlines() if '"totals"' in line]
    assert (totals["done"], totals["ok_rows"]) == (3, 1)
    assert totals["not_ok"] == {"no_face": 1, "unreadable_image": 1}


def _measured(photo: Path, costs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Plan by one photo; the file with what it cost."""
    capsys.readouterr()
    command = ["plan", str(photo), "--measure", "1", "--save-costs", str(costs), *QUICK, "--json"]
    assert main([*command, "--photos", "1000", "--cpus", "8"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["costs"] == json.loads(costs.read_text())
    seconds = plan["costs"]["seconds"]
    assert all(seconds[name] > 0 for name in ("Prepare", "LowRes", "HighRes", "Reconstruct"))
    assert plan["costs"]["payload_mb"]["HighRes"] > 16 * 128 * 128 * 3 / 1e6
    job = plan["job"]
    assert job["avatars_per_s"] == pytest.approx(8 / sum(seconds.values()), rel=0.6)
    assert job["wall_s"] == pytest.approx(1000 / job["avatars_per_s"])
    assert job["read_bytes"] == 1000 * photo.stat().st_size
    assert job["puts"] == 1000 * len(FILES) + 1
    actors = {pool["stage"]: pool["actors"] for pool in plan["pools"]}
    assert actors[max(seconds, key=lambda name: seconds[name])] == max(actors.values())
    assert actors["Load"] < max(actors.values())
    return str(costs)


def test_the_front_of_the_avatar_looks_like_the_photo(tmp_path: Path) -> None:
    """Far closer to the portrait than the portrait's mean colour is.

    The fit moves the portrait's camera, which is not recorded, so a small zoom and shift are free.
    """
    out, picture = tmp_path / "out", tmp_path / "front.png"
    assert main(["make", str(demo_photos()[0]), "-o", str(out)]) == 0
    (record,) = (json.loads(path.read_text()) for path in out.glob("*/avatar.json"))
    folder = out / record["id"]
    with Image.open(folder / "portrait.png") as image:
        rgba = np.asarray(image.resize((64, 64))).astype(np.float64) / 255
    alpha = rgba[..., 3:]
    portrait = rgba[..., :3] * alpha + 1 - alpha
    angles = ["--azimuth-deg", str(record["yaw_deg"])]
    angles += ["--elevation-deg", str(record["elevation_deg"])]
    assert main(["render", str(folder), "-o", str(picture), *angles]) == 0
    inside = alpha[..., 0] > 0.9
    of_avatar = min(((one - portrait)[inside] ** 2).mean() for one in _moved(picture))
    of_mean_colour = ((portrait[inside].mean(0) - portrait)[inside] ** 2).mean()
    assert of_avatar < 0.4 * of_mean_colour


def _moved(picture: Path) -> Iterator[np.ndarray]:
    """The picture at 64 px, zoomed by up to a quarter and shifted by up to 6 px."""
    with Image.open(picture) as image:
        rgb = image.convert("RGB")
    for zoom in np.arange(0.8, 1.26, 0.05):
        size = round(64 * zoom)
        small = np.asarray(rgb.resize((size, size))) / 255
        canvas = np.ones((108, 108, 3))
        start = (108 - size) // 2
        canvas[start : start + size, start : start + size] = small
        for y in range(16, 29):
            for x in range(16, 29):
                yield canvas[y : y + 64, x : x + 64]
