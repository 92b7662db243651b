"""Prepare with the shipped networks on real photos and on everything that is not one."""

import io
import shutil
from pathlib import Path

import cv2
import insightface
import numpy as np
import pytest
import skimage
from PIL import Image
from tiny_arcface import write_arcface

from pipeline.errors import ModelNotFound, UsageError
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.alignment import ARCFACE_TEMPLATE
from pipeline.portrait.alpha import on_white
from pipeline.portrait.faces import FaceEmbedder, box_iou
from pipeline.stage import run_stage
from pipeline.stages.prepare import Prepare, PrepareConfig

ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
GROUP = Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"
ASTRONAUT_FACE = np.array([180.0, 75.0, 270.0, 190.0])
GROUP_FACES = np.array([[105, 340], [322, 220], [507, 380], [795, 415], [958, 140], [1175, 340]])
"""Rough centres of the six faces in the group photo, from left to right, pixels."""


@pytest.fixture(scope="module")
def prepare() -> Prepare:
    stage = Prepare(PrepareConfig(model=EMBEDDED))
    stage.setup("cpu")
    return stage


@pytest.fixture(scope="module")
def astronaut(prepare: Prepare) -> dict[str, object]:
    (row,) = run_stage(prepare, [{"image": ASTRONAUT.read_bytes()}])
    return row


def encoded(rgba: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_real_portrait_is_found_framed_and_cut_out(astronaut: dict[str, object]) -> None:
    assert astronaut.get("outcome") is None, astronaut.get("error_message")
    assert set(Prepare.outputs) <= set(astronaut)
    assert box_iou(astronaut["face_box"], ASTRONAUT_FACE) > 0.4
    assert abs(astronaut["yaw_deg"]) < 10
    assert abs(astronaut["elevation_deg"]) < 10
    assert (astronaut["face_index"], astronaut["face_count"]) == (0, 1)
    portrait = astronaut["portrait"]
    assert portrait.shape == (256, 256, 4)
    assert portrait.dtype == np.uint8
    alpha = portrait[..., 3]
    assert 0.15 < (alpha > 127).mean() < 0.7
    assert alpha[110:160, 110:146].min() > 200  # the face is kept
    assert alpha[:20, :20].max() < 30  # the wall is not
    assert not portrait[alpha == 0].any()


def test_the_identity_is_a_unit_vector(astronaut: dict[str, object]) -> None:
    identity = astronaut["identity"]
    assert identity.shape == (512,)
    assert identity.dtype == np.float32
    assert np.linalg.norm(identity) == pytest.approx(1, abs=1e-5)


def test_the_same_photo_gives_the_same_bytes(
    prepare: Prepare, astronaut: dict[str, object]
) -> None:
    (again,) = run_stage(prepare, [{"image": ASTRONAUT.read_bytes()}])
    np.testing.assert_array_equal(again["portrait"], astronaut["portrait"])
    np.testing.assert_array_equal(again["identity"], astronaut["identity"])
    assert again["yaw_deg"] == astronaut["yaw_deg"]


def test_a_mirrored_photo_mirrors_the_camera(
    prepare: Prepare, astronaut: dict[str, object]
) -> None:
    mirrored = np.array(Image.open(ASTRONAUT))[:, ::-1]
    (row,) = run_stage(prepare, [{"image": encoded(np.ascontiguousarray(mirrored))}])
    assert row["yaw_deg"] == pytest.approx(-astronaut["yaw_deg"], abs=2)
    assert row["elevation_deg"] == pytest.approx(astronaut["elevation_deg"], abs=2)


def test_a_turned_photo_gives_the_same_portrait(
    prepare: Prepare, astronaut: dict[str, object]
) -> None:
    turned = Image.open(ASTRONAUT).rotate(20, resample=Image.Resampling.BICUBIC)
    (row,) = run_stage(prepare, [{"image": encoded(np.array(turned))}])
    assert row["yaw_deg"] == pytest.approx(astronaut["yaw_deg"], abs=4)
    both = [one["portrait"][80:180, 90:170, :3].astype(float) for one in (row, astronaut)]
    assert abs(both[0] - both[1]).mean() < 60


def test_the_user_s_alpha_bounds_the_portrait(
    prepare: Prepare, astronaut: dict[str, object]
) -> None:
    assert prepare._matting is not None
    framed = astronaut["portrait"].copy()
    framed[:, :128, 3] = 0
    cut = prepare._matting.cut_out(framed, has_alpha=True)
    assert not cut[:, :128].any()
    assert cut[120:150, 132:140, 3].min() == 255


def test_every_face_of_a_group_is_a_row(prepare: Prepare) -> None:
    stage = Prepare(PrepareConfig(model=EMBEDDED, faces="all"))
    stage._pack, stage._matting = prepare._pack, prepare._matting
    stage._embedder, stage._pose = prepare._embedder, prepare._pose
    rows = run_stage(stage, [{"image": GROUP.read_bytes(), "source": "t1.jpg"}])
    boxes = np.stack([row["face_box"] for row in rows])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = [np.linalg.norm(centres - true, axis=1).min() < 60 for true in GROUP_FACES]
    assert sum(found) == 6
    assert [row["face_index"] for row in rows] == list(range(len(rows)))
    assert {row["face_count"] for row in rows} == {len(rows)}
    assert (np.diff(centres[:, 0]) > 0).all()
    assert {row["source"] for row in rows} == {"t1.jpg"}


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "unreadable_image"),
        (b"this is no photo, whatever it is called", "unreadable_image"),
        (ASTRONAUT.read_bytes()[:60_000], "unreadable_image"),
        (encoded(np.zeros((1, 1, 3), np.uint8)), "image_too_small"),
        (encoded(np.full((200, 300, 3), 140, np.uint8)), "no_face"),
    ],
    ids=["empty", "text", "truncated", "1x1", "plain"],
)
def test_what_is_no_portrait_is_rejected_with_a_reason(
    prepare: Prepare, image: bytes, code: str
) -> None:
    (row,) = run_stage(prepare, [{"image": image}])
    assert (row["outcome"], row["error_code"]) == ("rejected", code)
    assert "\n" not in row["error_message"]
    assert len(row["error_message"]) > 30


def test_missing_networks_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="face"):
        Prepare(PrepareConfig(model=tmp_path)).setup("cpu")
    (tmp_path / "face").mkdir()
    with pytest.raises(ModelNotFound, match="no network for detection and recognition"):
        Prepare(PrepareConfig(model=tmp_path)).setup("cpu")
    (tmp_path / "face" / "detector.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        Prepare(PrepareConfig(model=tmp_path)).setup("cpu")


@pytest.mark.parametrize("change", [{"size_px": 8}, {"faces": "some"}])
def test_settings_are_checked_at_once(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must be"):
        PrepareConfig(model=EMBEDDED, **change)


def test_a_foreign_pack_finds_faces_and_the_models_own_network_names_them(
    tmp_path: Path, astronaut: dict[str, object]
) -> None:
    shutil.copy(EMBEDDED / "face" / "detector.onnx", tmp_path)
    write_arcface(tmp_path / "arcface.onnx")
    stage = Prepare(PrepareConfig(model=EMBEDDED, face_pack=tmp_path))
    stage.setup("cpu")
    (row,) = run_stage(stage, [{"image": ASTRONAUT.read_bytes()}])
    np.testing.assert_allclose(row["identity"], astronaut["identity"], atol=1e-6)
    shutil.copytree(EMBEDDED / "matting", tmp_path / "model" / "matting")
    stage = Prepare(PrepareConfig(model=tmp_path / "model", face_pack=tmp_path))
    stage.setup("cpu")
    (row,) = run_stage(stage, [{"image": ASTRONAUT.read_bytes()}])
    assert row["identity"].shape == (48,)


def test_a_network_of_whole_portraits_sees_all_of_it_and_no_landmarks(
    tmp_path: Path, astronaut: dict[str, object]
) -> None:
    for part in ("face", "matting", "pose"):
        shutil.copytree(EMBEDDED / part, tmp_path / part)
    (tmp_path / "identity").mkdir()
    write_arcface(tmp_path / "identity" / "arcface.onnx")
    stage = Prepare(PrepareConfig(model=tmp_path, identity_input="portrait"))
    stage.setup("cpu")
    (row,) = run_stage(stage, [{"image": ASTRONAUT.read_bytes()}])
    np.testing.assert_array_equal(row["portrait"], astronaut["portrait"])
    small = cv2.resize(on_white(row["portrait"]), (112, 112), interpolation=cv2.INTER_LINEAR)
    embed = FaceEmbedder(tmp_path / "identity").embed
    np.testing.assert_allclose(row["identity"], embed(small, ARCFACE_TEMPLATE), atol=1e-3)
