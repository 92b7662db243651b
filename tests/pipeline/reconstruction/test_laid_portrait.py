"""A portrait on the mean face: its colours, its directions, and what makes room for it."""

import pytest
import torch
from painted_ball import SIZE_PX, Ball

from pipeline.cameras import Cameras, look_at_origin
from pipeline.gaussians import Gaussians
from pipeline.portrait.mean_face import mean_face
from pipeline.reconstruction.carving import gaussians_from_views
from pipeline.reconstruction.evidence import Evidence
from pipeline.reconstruction.fit_options import FitOptions
from pipeline.reconstruction.laid_portrait import Picture, Surface, lay
from pipeline.reconstruction.optimise import optimise_gaussians

RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])


@pytest.fixture
def surface() -> Surface:
    return Surface.of(mean_face(), torch.device("cpu"))


def _halves(camera: Cameras, alpha: float = 1.0) -> Picture:
    """A picture whose left half is red and whose right half is blue."""
    pixels = torch.full((4, 64, 64), alpha)
    pixels[:3, :, :32], pixels[:3, :, 32:] = RED[:, None, None], BLUE[:, None, None]
    viewmat, K = torch.from_numpy(camera.world_to_cam[0]), torch.from_numpy(camera.intrinsics(64))
    return Picture(pixels, viewmat, K[0])


def _specks(means: list[list[float]], opacity: float = 0.9) -> Gaussians:
    count = len(means)
    return Gaussians(
        means=torch.tensor(means).reshape(count, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        scales=torch.full((count, 3), 0.01),
        opacities=torch.full((count,), opacity),
        colors=torch.full((count, 3), 0.5),
    )


def test_each_point_takes_the_colour_that_the_picture_has_there(surface: Surface) -> None:
    added = lay(_specks([]), surface, [_halves(look_at_origin(0, 0))], 0.02).added
    apart = added.means[:, 0].abs() > 0.02
    wanted = torch.where(added.means[apart, :1] < 0, RED, BLUE)
    assert len(added) > 0.9 * len(surface.points)
    torch.testing.assert_close(added.colors[apart], wanted)


def test_from_the_side_the_mirror_image_paints_the_half_that_is_hidden(surface: Surface) -> None:
    camera = look_at_origin(50, 0)
    seen, mirrored = _halves(camera), _halves(camera.mirrored())
    mirrored.pixels[:3] = torch.tensor([0.1, 0.9, 0.1])[:, None, None]
    alone = lay(_specks([]), surface, [seen], 0.02).added
    both = lay(_specks([]), surface, [seen, mirrored], 0.02).added
    green = both.colors[:, 1] > 0.5
    assert len(both) > len(alone) + 100
    assert (both.means[green, 0] < 0).float().mean() > 0.9  # the nose has sides of its own
    assert (both.means[~green, 0] > 0).float().mean() > 0.9


def test_laid_gaussians_lie_flat_on_the_surface(surface: Surface) -> None:
    added = lay(_specks([]), surface, [_halves(look_at_origin(0, 0))], 0.02).added
    w, x, y, z = added.quats.T
    third = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1)
    shown = torch.cdist(added.means, surface.points).argmin(1)
    torch.testing.assert_close(third, surface.normals[shown], atol=1e-5, rtol=0)
    assert (added.scales[:, 2] < 0.3 * added.scales[:, :2].amin(1)).all()


def test_room_is_made_on_the_face_and_nowhere_else(surface: Surface) -> None:
    tip = surface.points[surface.points[:, 2].argmax()].tolist()
    before, behind = [tip[0], tip[1], tip[2] + 0.05], [tip[0], tip[1], tip[2] - 0.03]
    far, crown, nape = [tip[0], tip[1], tip[2] - 0.3], [0.0, 0.4, 0.0], [0.0, 0.0, -0.3]
    picture = _halves(look_at_origin(0, 0))
    kept = lay(_specks([tip, before, behind, far, crown, nape]), surface, [picture], 0.02).kept
    assert kept.tolist() == [False, False, False, True, True, True]
    assert not lay(_specks([crown], opacity=0.01), surface, [picture], 0.02).kept.any()


def test_a_picture_without_a_head_changes_nothing(surface: Surface) -> None:
    laid = lay(
        _specks([[0.0, -0.07, 0.37]]), surface, [_halves(look_at_origin(0, 0), alpha=0.5)], 0.02
    )
    assert laid.kept.all()
    assert len(laid.added) == 0


def test_the_fit_leaves_what_was_laid_in_its_place(ball: Ball) -> None:
    camera = look_at_origin(0, 0)
    evidence = Evidence(
        views=ball.views,
        cameras=ball.cameras,
        portrait=ball.rgba(camera)[0],
        portrait_camera=camera,
    )
    start = gaussians_from_views(ball.views, ball.cameras, count=2000)
    on_face = {}
    for laid in (True, False):
        options = FitOptions(steps=12, size_px=SIZE_PX, lay_portrait=laid)
        fitted = optimise_gaussians([start], [evidence], options=options)[0].gaussians
        points = torch.from_numpy(mean_face().points)
        on_face[laid] = int((torch.cdist(fitted.means, points).amin(1) < 1e-6).sum())
    assert on_face[True] > 0.5 * len(mean_face().points)
    assert on_face[False] == 0
