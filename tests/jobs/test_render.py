"""``headsplat render``."""

import io
import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from jobs.cli import main
from pipeline.cameras import look_at_origin
from pipeline.formats.registry import FORMATS, write_gaussians
from pipeline.gaussians import Gaussians


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    """A folder with one red blob, to the subject's left."""
    blob = Gaussians(
        means=torch.tensor([[0.4, 0.0, 0.0]]),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        scales=torch.full((1, 3), 0.05),
        opacities=torch.tensor([0.99]),
        colors=torch.tensor([[1.0, 0, 0]]),
    )
    folder = tmp_path / "0123"
    folder.mkdir()
    for ending in FORMATS:
        (folder / f"avatar{ending}").write_bytes(write_gaussians(blob, ending))
    return folder


def _column(picture: np.ndarray) -> float:
    """Where the blob is, from 0 at the left border to 1; it is what is not white."""
    darkness = 255.0 - picture[..., 1]
    return float((darkness.sum(0) * np.linspace(0, 1, picture.shape[1])).sum() / darkness.sum())


def _webp(path: Path) -> tuple[list[np.ndarray], int]:
    with Image.open(path) as image:
        frames = [np.asarray(f.convert("RGBA")) for f in ImageSequence.Iterator(image)]
        return frames, image.info["duration"]


def _video(path: Path) -> tuple[list[np.ndarray], float]:
    with av.open(io.BytesIO(path.read_bytes())) as container:
        rate = float(container.streams.video[0].average_rate)
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], rate


@pytest.mark.parametrize("ending", ["", *FORMATS])
def test_one_view_of_any_format(avatar: Path, ending: str, tmp_path: Path) -> None:
    source, out = avatar / f"avatar{ending}" if ending else avatar, tmp_path / "a.png"
    assert main(["render", str(source), "-o", str(out), "--size-px", "64"]) == 0
    with Image.open(out) as image:
        assert (image.mode, image.size) == ("RGB", (64, 64))
        assert _column(np.asarray(image)) == pytest.approx(0.79, abs=0.02)


@pytest.mark.parametrize(
    ("background", "mode", "pixel"),
    [
        ("white", "RGB", (255, 255, 255)),
        ("black", "RGB", (0, 0, 0)),
        ("0.5", "RGB", (128, 128, 128)),
        ("transparent", "RGBA", (0, 0, 0, 0)),
    ],
)
def test_backgrounds(
    avatar: Path, tmp_path: Path, background: str, mode: str, pixel: tuple[int, ...]
) -> None:
    out = tmp_path / "a.png"
    command = ["render", str(avatar), "-o", str(out), "--size-px", "64", "--background", background]
    assert main(command) == 0
    with Image.open(out) as image:
        assert (image.mode, image.getpixel((0, 0))) == (mode, pixel)
        red = image.getpixel((50, 32))
        assert red[0] > 220
        assert max(red[1:3]) < 30


def test_transparency_keeps_the_colour_at_soft_edges(avatar: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    options = ["--size-px", "64", "--background", "transparent"]
    assert main(["render", str(avatar), "-o", str(out), *options]) == 0
    with Image.open(out) as image:
        rgba = np.asarray(image)
    soft = (rgba[..., 3] > 30) & (rgba[..., 3] < 200)
    assert soft.sum() > 10
    assert rgba[soft][:, 0].min() > 240


def test_a_turn_as_webp_begins_at_the_azimuth_and_takes_four_seconds(
    avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.webp"
    options = ["--frames", "4", "--azimuth-deg", "90", "--size-px", "64", "--json"]
    assert main(["render", str(avatar), "-o", str(out), *options]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": str(out), "frames": 4}
    frames, duration_ms = _webp(out)
    assert duration_ms == 1000
    expected = [0.5, 0.21, 0.5, 0.79]
    assert [_column(frame) for frame in frames] == pytest.approx(expected, abs=0.03)
    assert main(["render", str(avatar), "-o", str(out), *options[:2], "--fps", "20"]) == 0
    assert _webp(out)[1] == 50


def test_a_turn_as_video(avatar: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "a.mp4", tmp_path / "b.mp4"
    options = ["--frames", "4", "--size-px", "64", "--fps", "10"]
    assert main(["render", str(avatar), "-o", str(out), *options]) == 0
    frames, rate = _video(out)
    assert (len(frames), frames[0].shape, rate) == (4, (64, 64, 3), 10)
    assert [_column(frame) for frame in frames] == pytest.approx([0.79, 0.5, 0.21, 0.5], abs=0.03)
    assert main(["render", str(avatar), "-o", str(again), *options]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_turn_as_pictures_in_a_folder(avatar: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    command = ["render", str(avatar), "-o", str(out), "--frames", "5", "--size-px", "32"]
    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"frame_{k:04d}.png" for k in range(5)]
    assert main(command) == 2


def test_keyframes_are_interpolated(avatar: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "path.json", tmp_path / "frames"
    keyframes = [{"azimuth_deg": 0}, {"azimuth_deg": 180, "elevation_deg": 30, "radius": 4}]
    path.write_text(json.dumps({"keyframes": keyframes}))
    options = ["--camera-path", str(path), "--frames", "3", "--size-px", "64"]
    assert main(["render", str(avatar), "-o", str(out), *options]) == 0
    columns = []
    for file in sorted(out.iterdir()):
        with Image.open(file) as image:
            columns.append(_column(np.asarray(image)))
    assert columns == pytest.approx([0.79, 0.5, 0.5 - 0.29 / 2], abs=0.03)


def test_the_views_of_an_avatar_json_are_a_path(avatar: Path, tmp_path: Path) -> None:
    cameras = look_at_origin([0, 180], 10)
    views = {"cam_to_world": cameras.cam_to_world.tolist(), "fov_y_deg": 38.0}
    (avatar / "avatar.json").write_text(json.dumps({"id": "0123", "views": views}))
    out, path = tmp_path / "a.webp", str(avatar / "avatar.json")
    assert main(["render", str(avatar), "-o", str(out), "--camera-path", path]) == 0
    columns = [_column(frame) for frame in _webp(out)[0]]
    assert columns == pytest.approx([0.79, 0.21], abs=0.03)


@pytest.mark.parametrize(
    ("output", "options", "text"),
    [
        ("a.gif", [], "neither .png (one view) nor .webp, .mp4 or a folder"),
        ("a.png", ["--frames", "3"], "frames, fps and camera-path are for"),
        ("a.png", ["--size-px", "5000"], "size-px is 5000; it must be 16 to 4096"),
        ("a.webp", ["--fps", "0"], "fps is 0; it must be 1 to 120"),
        ("a.png", ["--elevation-deg", "90"], "elevation-deg is 90"),
        ("a.png", ["--elevation-deg", "nan"], "elevation-deg is nan"),
        ("a.png", ["--background", "pink"], "background is 'pink'; it must be white"),
        ("a.png", ["--background", "nan"], "background is 'nan'"),
        ("a.mp4", ["--background", "transparent"], "an .mp4 cannot be transparent"),
        ("a.mp4", ["--size-px", "63"], "need an even size"),
        ("a.webp", ["--size-px", "4096"], "805,306,368 pixels, and a .webp may have 268,435,456"),
        ("a.webp", ["--camera-path", "none.json"], "none.json does not exist"),
        ("a.webp", ["--camera-path", "none.json", "--azimuth-deg", "3"], "drop them"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    avatar: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    options: list[str],
    text: str,
) -> None:
    assert main(["render", str(avatar), "-o", str(tmp_path / output), *options]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / output).exists()


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("no json", 1, "is not JSON"),
        ("[1]", 1, "must be an object"),
        ('{"keyframes": []}', 1, "1 to 3600 keyframes"),
        ('{"keyframes": [{"azimut": 3}]}', 1, "not 1 with azimut"),
        ('{"keyframes": [{"elevation_deg": 90}]}', 1, "elevation_deg is 90; it must be -89.9"),
        ('{"keyframes": [{"radius": null}]}', 1, "float()"),
        ('{"views": 3}', 1, "neither"),
        ('{"cam_to_world": [[1, 2], [3]]}', 1, "neither"),
        ('{"cam_to_world": [[1, 2]]}', 1, "shape (1, 2)"),
        (json.dumps({"cam_to_world": np.zeros((2, 4, 4)).tolist()}), 1, "no rotations"),
        (json.dumps({"cam_to_world": [np.eye(4).tolist()]}), 2, "has 1 poses; drop it"),
        (
            json.dumps({"cam_to_world": [np.eye(4).tolist()], "fov_y_deg": 170}),
            1,
            "fov_y_deg is 170",
        ),
    ],
)
def test_damaged_paths_are_refused(
    avatar: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    code: int,
    text: str,
) -> None:
    (tmp_path / "path.json").write_text(path)
    options = ["--camera-path", str(tmp_path / "path.json"), "--frames", "2"]
    assert main(["render", str(avatar), "-o", str(tmp_path / "a.webp"), *options]) == code
    assert text in capsys.readouterr().err


def test_without_the_extra_a_video_names_it(
    avatar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["render", str(avatar), "-o", str(tmp_path / "a.mp4")]) == 2
    assert "pip install 'headsplat[video]'" in capsys.readouterr().err
