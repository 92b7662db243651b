"""``headsplat convert``."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main
from pipeline.formats.ply import read_ply
from pipeline.formats.registry import FORMATS, read_gaussians, write_gaussians
from pipeline.gaussians import Gaussians


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    """An avatar's folder; the first of its 20 Gaussians is nearly transparent."""
    rows = np.random.default_rng(0).random((20, 14), np.float32)
    rows[:, 3] = 0.8
    rows[0, 3] = 0.01
    folder = tmp_path / "0123"
    folder.mkdir()
    (folder / "avatar.ply").write_bytes(write_gaussians(Gaussians.from_array(rows), ".ply"))
    return folder


def test_every_format_becomes_every_other(avatar: Path, tmp_path: Path) -> None:
    means = read_ply((avatar / "avatar.ply").read_bytes()).means
    for first in FORMATS:
        there = tmp_path / f"there{first}"
        assert main(["convert", str(avatar), str(there)]) == 0
        for second in FORMATS:
            again = tmp_path / f"again{second}"
            assert main(["convert", str(there), str(again)]) == 0
            found = read_gaussians(again.read_bytes(), second).means
            np.testing.assert_allclose(found.sort(0).values, means.sort(0).values, atol=3e-4)


def test_the_record_says_what_was_lost(
    avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new folder" / "head.SPZ"
    assert main(["convert", str(avatar), str(out), "--min-opacity", "0.5", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["gaussians"], record["left_out"]) == (19, 1)
    assert record["bytes"] == out.stat().st_size
    assert "rounds positions" in record["rounding"]
    assert main(["convert", str(avatar), str(tmp_path / "head.glb")]) == 0
    assert "head.glb: 20 Gaussians, 0.00 MB; nothing is rounded" in capsys.readouterr().out


def test_options_for_viewers_that_insist(avatar: Path, tmp_path: Path) -> None:
    out = tmp_path / "head.ply"
    options = ["--normals", "--sh-degree", "3", "--axes", "y-up"]
    assert main(["convert", str(avatar), str(out), *options]) == 0
    header = out.read_bytes().partition(b"end_header")[0]
    assert all(name in header for name in (b"float nz", b"f_rest_44", b"frame: y up"))
    before, after = (read_ply(p.read_bytes()) for p in (avatar / "avatar.ply", out))
    np.testing.assert_array_equal(before.means, after.means)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["{a}", "{t}/x.obj"], 2, ".obj is no format of Gaussians; known are .ply, .spz"),
        (["{a}", "{t}/x"], 2, "no ending is no format"),
        (["{t}/none", "{t}/x.ply"], 2, "none does not exist"),
        (["{a}", "{a}/avatar.ply", "--normals"], 2, "is the source itself"),
        (["{a}", "{t}/x.spz", "--normals"], 2, "are for .ply files, not for .spz"),
        (
            ["{a}", "{t}/x.ply", "--sh-degree", "4"],
            2,
            "sh-degree 4; they must be",
        ),
        (["{a}", "{t}/x.ply", "--min-opacity", "0.9"], 2, "no Gaussian"),
        (["{t}/bad.spz", "{t}/x.ply"], 1, "not an .spz file"),
    ],
)
def test_mistakes_are_told_in_one_line(
    avatar: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    (tmp_path / "bad.spz").write_bytes(b"NGSP and no more")
    before = (avatar / "avatar.ply").read_bytes()
    assert main(["convert", *(a.format(a=avatar, t=tmp_path) for a in arguments)]) == code
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("x*"))
    assert (avatar / "avatar.ply").read_bytes() == before
