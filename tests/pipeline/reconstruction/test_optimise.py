"""Fitting Gaussians to views, and the portrait's camera to the Gaussians."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_ball import SIZE_PX, Ball

from pipeline.cameras import Cameras, look_at_origin
from pipeline.gaussians import Gaussians
from pipeline.reconstruction.carving import gaussians_from_views
from pipeline.reconstruction.evidence import Evidence, default_confidence
from pipeline.reconstruction.fit_options import FitOptions
from pipeline.reconstruction.images import rgba_tensor
from pipeline.reconstruction.losses import dssim, psnr
from pipeline.reconstruction.optimise import Optimised, optimise_gaussians
from pipeline.reconstruction.photo_camera import PhotoCamera, locate_photo
from pipeline.reconstruction.scores import avatar_scores
from pipeline.rendering import render_u8


@pytest.fixture(scope="module")
def start(ball: Ball) -> Gaussians:
    return gaussians_from_views(ball.views, ball.cameras, count=3000)


def _evidence(ball: Ball, portrait_camera: Cameras | None = None) -> Evidence:
    portrait = None if portrait_camera is None else ball.rgba(portrait_camera)[0]
    return Evidence(
        views=ball.views, cameras=ball.cameras, portrait=portrait, portrait_camera=portrait_camera
    )


def _fit(start: Gaussians, evidence: Evidence, **options: Any) -> Optimised:
    return optimise_gaussians([start], [evidence], options=FitOptions(**options))[0]


def _psnr(gaussians: Gaussians, ball: Ball, cameras: Cameras) -> float:
    shown = render_u8(gaussians, cameras, SIZE_PX) / 255.0
    wanted = render_u8(ball.gaussians, cameras, SIZE_PX) / 255.0
    return float(-10 * np.log10(((shown - wanted) ** 2).mean()))


def _angle_deg(a: Cameras, b: Cameras) -> float:
    x, y = a.cam_to_world[0, :3, 3], b.cam_to_world[0, :3, 3]
    return float(np.degrees(np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y))))


def test_fitting_improves_views_seen_and_unseen(ball: Ball, start: Gaussians) -> None:
    fitted = _fit(start, _evidence(ball), steps=24)
    unseen = look_at_origin([20.0, 110.0, 200.0], [15.0, -10.0, 5.0])
    assert _psnr(fitted.gaussians, ball, ball.cameras) > _psnr(start, ball, ball.cameras) + 2
    assert _psnr(fitted.gaussians, ball, unseen) > _psnr(start, ball, unseen) + 1
    assert fitted.portrait_camera is None


def test_the_portrait_teaches_what_the_views_do_not_show(ball: Ball, start: Gaussians) -> None:
    """A green cheek is in the portrait only."""
    evidence = _evidence(ball, look_at_origin(10, 5))
    assert evidence.portrait is not None
    evidence.portrait[44:56, 54:70, :3] = [30, 220, 30]
    fitted = _fit(start, evidence, steps=40, coarse=0)
    assert fitted.portrait_camera is not None
    before, after = (
        render_u8(one, fitted.portrait_camera, SIZE_PX)[0, 47:53, 57:67].reshape(-1, 3).mean(0)
        for one in (start, fitted.gaussians)
    )
    assert after[1] - after[0] > before[1] - before[0] + 25


@pytest.mark.parametrize("side", [40, -40])
def test_a_portrait_from_the_side_teaches_the_half_that_it_hides(
    ball: Ball, start: Gaussians, side: float
) -> None:
    """A green cheek is in the portrait only, and the other cheek becomes green too."""
    evidence = _evidence(ball, look_at_origin(side, 5))
    assert evidence.portrait is not None
    evidence.portrait[44:56, 40:56, :3] = [30, 220, 30]

    def other_cheek(**options: Any) -> float:
        fitted = _fit(start, evidence, steps=40, coarse=0, **options)
        assert fitted.portrait_camera is not None
        shown = render_u8(fitted.gaussians, fitted.portrait_camera.mirrored(), SIZE_PX)[0]
        cheek = shown[47:53, SIZE_PX - 53 : SIZE_PX - 43].reshape(-1, 3).mean(0)
        return float(cheek[1] - cheek[0])

    assert other_cheek() > other_cheek(mirror_weight=0) + 25
    assert other_cheek(mirror_from_deg=60) == other_cheek(mirror_weight=0)


def test_what_the_portrait_shows_beside_the_head_is_left_out(ball: Ball, start: Gaussians) -> None:
    """A dark bar by the border, as a hand or a shoulder would be, leaves no speck."""
    evidence = _evidence(ball, look_at_origin(0, 0))
    assert evidence.portrait is not None
    evidence.portrait[:, :10] = [40, 40, 40, 255]
    fitted = _fit(start, evidence, steps=12, coarse=0, means_rate=5e-2)
    assert fitted.portrait_camera is not None
    shown = render_u8(fitted.gaussians, fitted.portrait_camera, SIZE_PX)[0]
    assert shown[:, :10].min() > 200


def test_same_seed_same_bytes_with_any_threads(ball: Ball, start: Gaussians) -> None:
    evidence = [_evidence(ball, look_at_origin(0, 0))]
    first, second, other = (
        optimise_gaussians(
            [start], evidence, options=FitOptions(steps=4), seeds=[seed], threads=threads
        )[0].gaussians.to_array()
        for seed, threads in ((1, 1), (1, 3), (2, 1))
    )
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("with_portrait", [False, True])
def test_a_head_does_not_depend_on_its_company(
    ball: Ball, start: Gaussians, with_portrait: bool
) -> None:
    """Two heads of unequal size side by side, and each alone, are the same but for rounding."""
    sides = [look_at_origin(side, 0) if with_portrait else None for side in (0, 30)]
    evidence = [_evidence(ball, side) for side in sides]
    starts = [start, start[: len(start) // 2]]
    options = FitOptions(steps=6)
    together = optimise_gaussians(starts, evidence, options=options, seeds=[3, 4])
    for number, fitted in enumerate(together):
        (alone,) = optimise_gaussians(
            [starts[number]], [evidence[number]], options=options, seeds=[3 + number]
        )
        assert fitted.losses == pytest.approx(alone.losses, rel=1e-3)
        np.testing.assert_allclose(
            fitted.gaussians.to_array(), alone.gaussians.to_array(), atol=1e-3
        )


def test_a_head_that_has_converged_waits_for_the_others(ball: Ball, start: Gaussians) -> None:
    """Of two heads one has nothing to learn: it shows nothing, and is to show nothing."""
    options = FitOptions(steps=24, patience=4, coarse=0, views_per_step=4)
    nothing = Evidence(views=np.full_like(ball.views, 255), cameras=ball.cameras)
    absent = dataclasses.replace(start, opacities=torch.zeros(len(start)))
    learner, idler = optimise_gaussians(
        [start, absent], [_evidence(ball), nothing], options=options
    )
    assert idler.losses == (0.0,) * 8
    assert len(learner.losses) > 8
    (alone,) = optimise_gaussians([start], [_evidence(ball)], options=options)
    assert learner.losses == pytest.approx(alone.losses, rel=1e-2)


def test_time_budget_and_plateau_end_the_fit(ball: Ball, start: Gaussians) -> None:
    late = _fit(start, _evidence(ball), time_budget_s=1e-9)
    assert len(late.losses) == 1
    still = _fit(
        start, _evidence(ball), steps=60, patience=5, coarse=0, means_rate=0, quats_rate=0,
        scales_rate=0, opacities_rate=0, colors_rate=0, views_per_step=8,
    )  # fmt: skip
    assert 10 <= len(still.losses) < 40


def test_transparent_gaussians_are_left_out(ball: Ball, start: Gaussians) -> None:
    clear = Gaussians.from_array(np.concatenate([start.to_array(), start.to_array()[:50]]))
    clear.opacities[-50:] = 0.003
    assert len(_fit(clear, _evidence(ball), steps=1).gaussians) == len(start)


@pytest.mark.parametrize("off_deg", [(8.0, 0.0), (-6.0, 5.0)])
def test_a_wrong_portrait_camera_is_corrected(ball: Ball, off_deg: tuple[float, float]) -> None:
    true = look_at_origin(15, 5)
    camera = PhotoCamera(look_at_origin(15 + off_deg[0], 5 + off_deg[1]))
    before = _angle_deg(camera.cameras(), true)
    locate_photo(rgba_tensor(ball.rgba(true))[0], ball.gaussians, camera)
    assert _angle_deg(camera.cameras(), true) < 0.5 * before


def test_portrait_and_camera_come_together(ball: Ball) -> None:
    with pytest.raises(ValueError, match="together or not at all"):
        Evidence(views=ball.views, cameras=ball.cameras, portrait=np.zeros((8, 8, 4), np.uint8))


def test_the_face_is_trusted_most(ball: Ball) -> None:
    confidence = default_confidence(ball.cameras)
    assert confidence[0] == confidence.max() == 1
    assert confidence[4] == confidence.min() == 0.5


def test_scores_tell_a_good_avatar_from_a_bad_one(ball: Ball) -> None:
    good = avatar_scores(ball.gaussians, ball.views, ball.cameras)
    assert good["cross_view_psnr"] > 40
    assert good["mask_iou"] > 0.97
    assert good["floaters"] == 0
    array = ball.gaussians.to_array()
    array[:460, 0] += 0.5
    bad = avatar_scores(Gaussians.from_array(array), ball.views, ball.cameras)
    assert bad["cross_view_psnr"] < 25
    assert bad["mask_iou"] < 0.9
    assert bad["floaters"] == pytest.approx(0.08, abs=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.floats(0.01, 0.5))
def test_dssim_is_zero_for_equals_and_grows_with_noise(seed: int, amount: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 24, 24, generator=generator)
    noise = torch.randn(2, 3, 24, 24, generator=generator)
    some = dssim(image, image + amount * noise)
    more = dssim(image, image + 3 * amount * noise)
    assert dssim(image, image).abs().max() < 1e-5
    assert (some > 0).all()
    assert (some < more).all()
    assert (more <= 1).all()


def test_psnr_of_a_known_error() -> None:
    image = torch.zeros(2, 3, 4, 4)
    assert psnr(image, image + 0.1).tolist() == pytest.approx([20, 20], abs=1e-4)
