import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_heads import write_heads

from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.evaluation.renders import find_renders, write_portraits
from pipeline.evaluation.subjects import HeldOut, digital_humans

SIZE_PX = 32


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    data = write_heads(tmp_path_factory.mktemp("heads"), (9, 19), SIZE_PX, views_per_ring=4)
    return digital_humans(HeadDataset(str(data), "test"), 2, "front")


@pytest.fixture
def renders(held_out: HeldOut, tmp_path: Path) -> Path:
    """The true views of each subject, as a method that makes no mistake would leave them."""
    for key in held_out.keys:
        (tmp_path / key).mkdir()
        for number, view in enumerate(held_out.load(key).views):
            Image.fromarray(view).save(tmp_path / key / f"{number:02d}.png")
    return tmp_path


def test_views_are_read_in_order(held_out: HeldOut, renders: Path) -> None:
    found = find_renders({"perfect": renders}, held_out)
    assert list(found) == ["perfect"]
    for key in held_out.keys:
        assert np.array_equal(found["perfect"](key), held_out.load(key).views)


def test_transparency_is_put_on_white(held_out: HeldOut, renders: Path) -> None:
    clear = Image.new("RGBA", (SIZE_PX, SIZE_PX), (10, 20, 30, 0))
    clear.save(renders / "9" / "02.png")
    assert (find_renders({"a": renders}, held_out)["a"]("9")[2] == 255).all()


def test_what_is_missing_or_wrong_is_named(held_out: HeldOut, renders: Path) -> None:
    for given, reason in (
        ({"views": renders}, "the name 'views' of renders is taken"),
        ({"a": Path("nowhere")}, r"nowhere/9/00\.png is missing, 8 of 8 in all"),
    ):
        with pytest.raises(UsageError, match=reason):
            find_renders(given, held_out, ["views"])
    Image.new("RGB", (20, SIZE_PX)).save(renders / "19" / "01.png")
    with pytest.raises(UsageError, match=r"19/01\.png is 20x32 px, the true views are 32x32"):
        find_renders({"a": renders}, held_out)
    (renders / "19" / "01.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"19/01\.png is no PNG image"):
        find_renders({"a": renders}, held_out)
    (renders / "19" / "01.png").unlink()
    with pytest.raises(UsageError, match=r"19/01\.png is missing, 1 of 8 .*SUBJECT/03\.png"):
        find_renders({"a": renders}, held_out)


def test_a_file_that_is_cut_off_is_named_when_it_is_read(held_out: HeldOut, renders: Path) -> None:
    file = renders / "9" / "00.png"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UsageError, match=r"9/00\.png is no PNG image"):
        find_renders({"a": renders}, held_out)["a"]("9")


def test_other_methods_get_portraits_and_cameras(held_out: HeldOut, tmp_path: Path) -> None:
    assert write_portraits(held_out, tmp_path) == 2
    subject = held_out.load("19")
    with Image.open(tmp_path / "19" / "portrait.png") as portrait:
        assert np.array_equal(np.asarray(portrait), subject.portrait)
    cameras = json.loads((tmp_path / "19" / "cameras.json").read_text())
    assert np.array_equal(np.float32(cameras["cam_to_world"]), subject.cameras.cam_to_world)
    assert cameras["azimuths_deg"] == [0, 90, 180, 270]
    assert (cameras["size_px"], cameras["fov_y_deg"]) == (SIZE_PX, subject.cameras.fov_y_deg)
