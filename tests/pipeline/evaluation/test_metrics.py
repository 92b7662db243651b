import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pipeline.evaluation.metrics import (
    PSNR_CEILING_DB,
    estimate,
    face_box,
    head_mask,
    psnr,
    ssim,
)


def noisy_pair(seed: int, size: tuple[int, int] = (40, 32), spread: int = 60):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 256, (*size, 3), np.uint8)
    shift = rng.integers(-spread, spread + 1, target.shape)
    return np.clip(target + shift, 0, 255).astype(np.uint8), target


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 255))
def test_both_metrics_agree_with_scikit_image(seed: int, spread: int) -> None:
    image, target = noisy_pair(seed, spread=spread)
    assert psnr(image, target) == pytest.approx(
        peak_signal_noise_ratio(target, image, data_range=255), abs=1e-9
    )
    oracle = structural_similarity(
        target,
        image,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(image, target) == pytest.approx(oracle, abs=1e-9)


def test_identical_images_are_perfect() -> None:
    image, _ = noisy_pair(0)
    assert psnr(image, image) == PSNR_CEILING_DB == pytest.approx(58.92, abs=0.01)
    assert ssim(image, image) == pytest.approx(1)


def test_masked_psnr_sees_only_the_mask() -> None:
    target = np.full((12, 12, 3), 255, np.uint8)
    image = target.copy()
    image[:6] = 205
    mask = np.zeros((12, 12), bool)
    mask[:6] = True
    assert psnr(image, target, mask) == pytest.approx(20 * np.log10(255 / 50))
    assert psnr(image, target) == pytest.approx(psnr(image, target, mask) + 10 * np.log10(2))
    with pytest.raises(ValueError, match="no true pixel"):
        psnr(image, target, ~np.ones_like(mask))


def test_head_mask_is_the_union_of_what_is_not_white() -> None:
    left, right = (np.full((4, 4, 3), 255, np.uint8) for _ in range(2))
    left[0, 0, 1] = 3
    right[3, 3] = 100
    assert np.argwhere(head_mask(left, right)).tolist() == [[0, 0], [3, 3]]
    white = np.full((4, 4, 3), 255, np.uint8)
    assert head_mask(white, white).all()


@pytest.mark.parametrize("metric", [psnr, ssim, head_mask])
def test_what_cannot_be_compared_is_refused(metric) -> None:
    image, _ = noisy_pair(1)
    with pytest.raises(ValueError, match="differ in shape"):
        metric(image, image[1:])
    with pytest.raises(ValueError, match="uint8"):
        metric(image.astype(np.float32), image)


def test_ssim_refuses_tiny_images() -> None:
    tiny = np.zeros((10, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(tiny, tiny)


def test_standard_error_is_over_subjects_and_nan_means_no_value() -> None:
    result = estimate([1.0, 2.0, float("nan"), 3.0])
    assert (result.mean, result.subjects) == (2.0, 3)
    assert result.standard_error == pytest.approx(1 / np.sqrt(3))
    assert result.standard_deviation == pytest.approx(1)
    assert np.isnan([estimate([4.0]).standard_error, estimate([4.0]).standard_deviation]).all()
    assert estimate([float("nan")]).subjects == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(8, 300))
def test_a_face_box_is_a_square_round_the_landmarks_as_far_as_there_is_image(
    seed: int, size_px: int
) -> None:
    points = np.random.default_rng(seed).uniform(0, size_px, (5, 2))
    rows, columns = face_box(points, size_px)
    image = np.zeros((size_px, size_px))
    image[rows, columns] = 1
    assert image.any()
    inside = np.clip(points.round(), 0, size_px - 1).astype(int)
    assert image[inside[:, 1], inside[:, 0]].all()
    middle = points * 0.1 + 0.45 * size_px  # far from the border
    rows, columns = face_box(middle, size_px)
    side = 2.5 * np.ptp(middle, axis=0).max()
    assert rows.stop - rows.start == pytest.approx(side, abs=1)
    assert columns.stop - columns.start == pytest.approx(side, abs=1)
