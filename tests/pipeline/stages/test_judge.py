"""Judge with the shipped face networks, on rendered heads."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_arcface import write_arcface

from pipeline.cameras import look_at_origin
from pipeline.digital_human import build_head, sample_appearance, sample_identity
from pipeline.gaussians import Gaussians
from pipeline.model_config import ModelConfig
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.alpha import on_white
from pipeline.portrait.faces import PortraitEmbedder, face_networks, largest
from pipeline.reconstruction.carving import gaussians_from_views
from pipeline.rendering import render_u8
from pipeline.stage import Row, run_stage
from pipeline.stages.judge import Judge, JudgeConfig

CONFIG = ModelConfig.load(EMBEDDED)
CAMERAS = look_at_origin(CONFIG.azimuths, CONFIG.elevation_deg)


def _row(person: int) -> Row:
    """What the stages before would hand over if they made no mistake."""
    identity = sample_identity(person)
    head = build_head(identity, sample_appearance(identity, 0, "neutral"), hair_quality=0.3)
    views = on_white(head.render(CAMERAS, CONFIG.highres.size_px))
    portrait = on_white(head.render(look_at_origin(0.0, 0.0), CONFIG.portrait_px))[0]
    pack, embedder = face_networks(EMBEDDED, None, 1)
    return {
        "views": views,
        "gaussians": gaussians_from_views(views, CAMERAS).to_array(),
        "identity": embedder.embed(portrait, largest(pack.find(portrait)).landmarks),
    }


@pytest.fixture(scope="module")
def people() -> list[Row]:
    return [_row(person) for person in (9, 19)]


def _judge(row: Row, **options: object) -> Row:
    stage = Judge(JudgeConfig(model=EMBEDDED, **options))
    stage.setup("cpu")
    (judged,) = run_stage(stage, [row])
    assert judged.get("outcome") is None, judged
    return judged


def test_an_avatar_is_like_its_portrait_and_unlike_anothers(people: list[Row]) -> None:
    for own, other in (people, people[::-1]):
        good = _judge(own)
        swapped = _judge({**own, "identity": other["identity"]})
        assert good["face_found"] is True
        assert 0.6 < good["scores"]["identity_cosine"] <= 1
        assert swapped["scores"]["identity_cosine"] < good["scores"]["identity_cosine"] - 0.2
        assert (good["tries"], good["below_threshold"]) == (1, False)


def test_views_that_contradict_each_other_score_less(people: list[Row]) -> None:
    own = people[0]
    mixed = {**own, "views": np.random.default_rng(0).permutation(own["views"])}
    good, bad = _judge(own)["scores"], _judge(mixed)["scores"]
    assert bad["cross_view_psnr"] < good["cross_view_psnr"] - 2
    assert bad["mask_iou"] < good["mask_iou"] - 0.02
    assert bad["identity_cosine"] == good["identity_cosine"]


def test_noise_shows_no_face(people: list[Row]) -> None:
    gaussians = people[0]["gaussians"].copy()
    np.random.default_rng(0).shuffle(gaussians[:, 11:])
    noise = _judge({**people[0], "gaussians": gaussians}, min_identity=0.1)
    assert noise["face_found"] is False
    assert noise["scores"]["identity_cosine"] == 0
    assert noise["below_threshold"] is True


def test_the_threshold_and_the_tries_are_counted(people: list[Row]) -> None:
    cosine = _judge(people[0])["scores"]["identity_cosine"]
    assert _judge(people[0], min_identity=cosine)["below_threshold"] is False
    again = _judge({**people[0], "tries": 1}, min_identity=cosine + 1e-4)
    assert (again["below_threshold"], again["tries"]) == (True, 2)


def test_another_face_pack_finds_and_the_models_own_network_compares(
    people: list[Row], tmp_path: Path
) -> None:
    shutil.copy(EMBEDDED / "face" / "detector.onnx", tmp_path)
    write_arcface(tmp_path / "arcface.onnx")
    assert _judge(people[0], face_pack=tmp_path)["scores"] == _judge(people[0])["scores"]


def test_a_network_of_whole_portraits_compares_whole_portraits(
    people: list[Row], tmp_path: Path
) -> None:
    for part in ("face", "pose"):
        shutil.copytree(EMBEDDED / part, tmp_path / part)
    (tmp_path / "identity").mkdir()
    write_arcface(tmp_path / "identity" / "arcface.onnx")
    replace(CONFIG, identity_input="portrait").save(tmp_path)
    front = render_u8(
        Gaussians.from_array(people[0]["gaussians"]), look_at_origin(0.0, 0.0), CONFIG.portrait_px
    )[0]
    itself = PortraitEmbedder(tmp_path / "identity").embed(front, [])
    stage = Judge(JudgeConfig(model=tmp_path))
    stage.setup("cpu")
    (judged,) = run_stage(stage, [{**people[0], "identity": itself}])
    assert judged["scores"]["identity_cosine"] == pytest.approx(1, abs=1e-4)
