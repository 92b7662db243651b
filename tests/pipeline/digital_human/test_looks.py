import numpy as np
import pytest

from pipeline.cameras import look_at_origin
from pipeline.digital_human import HeadScene
from pipeline.digital_human.looks import LOOKS, OUTLINE, stylise
from pipeline.digital_human.scene import Frame
from pipeline.errors import UsageError


@pytest.fixture(scope="module")
def frame(head: HeadScene) -> Frame:
    return head.frame(look_at_origin(20, 0), 0, 128, 3)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_keeps_the_head_s_outline(frame: Frame, look: str) -> None:
    view = stylise(frame, look)
    np.testing.assert_array_equal(view[..., 3], frame.rgba[..., 3])
    assert not view[view[..., 3] == 0].any()
    np.testing.assert_array_equal(view, stylise(frame, look))


def test_natural_is_as_rendered(frame: Frame) -> None:
    np.testing.assert_array_equal(stylise(frame, "natural"), frame.rgba)


@pytest.mark.parametrize("look", ["flat", "cartoon"])
def test_few_tones_are_left_of_the_cheek(frame: Frame, look: str) -> None:
    cheek = np.s_[62:78, 60:80]
    colours = [
        len(np.unique(image[cheek][..., :3].reshape(-1, 3), axis=0))
        for image in (stylise(frame, look), frame.rgba)
    ]
    assert colours[0] < 0.6 * colours[1]


def test_a_cartoon_has_dark_lines_round_the_head(frame: Frame) -> None:
    view = stylise(frame, "cartoon").astype(int)
    inside = frame.rgba[..., 3] == 255
    edge = inside & ~np.roll(inside, 3, 1)
    assert np.abs(view[edge][:, :3] - OUTLINE).mean() < 45
    assert np.abs(frame.rgba[edge][:, :3].astype(int) - OUTLINE).mean() > 60


def test_an_unknown_look_is_named(frame: Frame) -> None:
    with pytest.raises(UsageError, match="'oil' is none of natural, flat"):
        stylise(frame, "oil")
