"""Photo mode changes what a camera would change, and nothing else."""

import numpy as np
import pytest

from pipeline.digital_human.photo import augment_portrait, over, photograph, relight, take_photo
from pipeline.digital_human.photo_backdrop import backdrop
from pipeline.digital_human.photo_body import add_body


@pytest.fixture
def bust() -> np.ndarray:
    """A head and shoulders of two colours, 96 px."""
    y, x = np.mgrid[:96, :96]
    rgba = np.zeros((96, 96, 4), np.uint8)
    rgba[((x - 48) / 34) ** 2 + ((y - 78) / 10) ** 2 < 1] = (30, 60, 160, 255)
    rgba[((x - 48) / 18) ** 2 + ((y - 45) / 28) ** 2 < 1] = (200, 150, 120, 255)
    return rgba


def test_the_generator_decides_everything(bust: np.ndarray) -> None:
    first, again, other = (photograph(bust, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_backgrounds_differ_and_fill_any_shape() -> None:
    images = [backdrop(40, 64, np.random.default_rng(seed)) for seed in range(30)]
    assert all(image.shape == (40, 64, 3) and image.dtype == np.uint8 for image in images)
    means = np.array([image.mean((0, 1)) for image in images])
    assert means.std(0).min() > 30


def test_the_head_stays_where_it_is(bust: np.ndarray) -> None:
    photos = np.stack([photograph(bust, np.random.default_rng(seed)) for seed in range(40)])
    grey = photos.mean(3)
    face, wall = grey[:, 30:60, 40:56], grey[:, 5:15, 2:14]
    # inside the head pixels vary together, so the head is there in every photo
    assert np.median(face.std((1, 2))) < 30
    assert np.median(abs(face.mean((1, 2)) - wall.mean((1, 2)))) > 15


def test_a_body_covers_what_lies_below_the_bust_and_leaves_the_bust(bust: np.ndarray) -> None:
    clothed = 0
    for seed in range(12):
        dressed = add_body(bust, np.random.default_rng(seed))
        assert (dressed[..., 3] >= bust[..., 3]).all()
        head = slice(18, 60)
        inside = bust[head, :, 3] == 255
        assert abs(dressed[head][inside].astype(int) - bust[head][inside]).max() <= 1
        clothed += dressed[94, 30:66, 3].mean() > 250
    assert clothed == 12


def test_a_body_needs_a_bust() -> None:
    empty = np.zeros((32, 32, 4), np.uint8)
    np.testing.assert_array_equal(add_body(empty, np.random.default_rng(0)), empty)


def test_without_strength_a_photo_is_almost_the_scene(bust: np.ndarray) -> None:
    rgb = bust[..., :3]
    change = [
        abs(take_photo(rgb, np.random.default_rng(seed), 0.0).astype(int) - rgb).mean()
        for seed in range(10)
    ]
    assert np.mean(change) < 8
    strong = [
        abs(take_photo(rgb, np.random.default_rng(seed), 1.0).astype(int) - rgb).mean()
        for seed in range(10)
    ]
    assert np.mean(strong) > 2 * np.mean(change)


def test_light_keeps_the_outline(bust: np.ndarray) -> None:
    lit = relight(bust, np.random.default_rng(0))
    np.testing.assert_array_equal(lit[..., 3], bust[..., 3])
    assert (lit[..., :3] != bust[..., :3]).any()


def test_augmented_portraits_are_cut_out_and_nearly_in_place(bust: np.ndarray) -> None:
    shares = []
    for seed in range(16):
        portrait = augment_portrait(bust, np.random.default_rng(seed))
        assert portrait.shape == bust.shape
        assert not portrait[portrait[..., 3] == 0].any()
        found, true = portrait[..., 3] > 127, bust[..., 3] > 127
        shares.append((found & true).sum() / (found | true).sum())
    assert min(shares) > 0.7
    assert np.mean(shares) < 0.995  # framing and matting are never perfect


def test_over_is_the_weighted_mean() -> None:
    front = np.array([[[200, 0, 100, 255], [200, 0, 100, 0], [200, 0, 100, 51]]], np.uint8)
    behind = np.full((1, 3, 3), 100, np.uint8)
    expected = [[[200, 0, 100], [100, 100, 100], [120, 80, 100]]]
    np.testing.assert_array_equal(over(front, behind), expected)


def test_mean_landmarks_of_the_portrait_code_are_the_engine_s() -> None:
    from pipeline.digital_human import sample_appearance, sample_identity
    from pipeline.digital_human.light import BakeQuality
    from pipeline.digital_human.scene import build_head
    from pipeline.portrait.pose import MEAN_LANDMARKS

    quick = BakeQuality(ambient_directions=4, key_directions=1, map_size=32)
    found = []
    for seed in range(3):
        identity = sample_identity(seed)
        appearance = sample_appearance(identity, 0, expression="neutral", accessory=None)
        head = build_head(identity, appearance, hair_quality=0.1, bake_quality=quick)
        found.append(head.landmarks)
    # people scatter by about 0.02 units each about the mean of sixty
    np.testing.assert_allclose(np.mean(found, 0), MEAN_LANDMARKS, atol=0.04)
