"""Photo mode: what a camera, a lamp and a wardrobe make of a rendered head.

Digital humans are clean; photos are not. Networks that must work on photos (face detector,
ArcFace, matting, the diffusion model's condition) are trained on what these functions return. All
randomness comes from the generator passed in.
"""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.digital_human.photo_backdrop import backdrop, random_colour, smooth_field
from pipeline.digital_human.photo_body import add_body
from pipeline.portrait.alpha import premultiply, straight

Image = npt.NDArray[np.uint8]


def photograph(rgba: Image, rng: np.random.Generator, body: bool = True) -> Image:
    """Put a head into a scene and take its photo.

    Args:
        rgba: [H, W, 4] uint8 straight alpha; the head is not moved, so masks and landmarks hold.
        rng: source of every choice.
        body: also draw clothes and shoulders beyond the bust.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    height, width = rgba.shape[:2]
    lit = relight(rgba, rng)
    if body and rng.random() < 0.92:
        lit = add_body(lit, rng)
    return take_photo(over(lit, backdrop(height, width, rng), rng), rng)


def augment_portrait(
    rgba: Image, rng: np.random.Generator, strength: float = 0.5, jitter: float = 1.0
) -> Image:
    """Make a clean portrait look like one that was cut out of a photo.

    Args:
        rgba: [H, W, 4] uint8 straight alpha.
        rng: source of every choice.
        strength: of colour and light changes and image defects; 0 none, 1 as in `photograph`.
        jitter: of the framing error; 1 is about 2 % in scale and place and 1.5 degrees of roll.

    Returns:
        [H, W, 4] uint8 straight alpha, rgb 0 where alpha is 0.
    """
    height, width = rgba.shape[:2]
    moved = straight(_jitter(premultiply(rgba), rng, jitter))
    lit = relight(moved, rng, strength)
    behind = np.tile(random_colour(rng).astype(np.uint8), (height, width, 1))
    photo = take_photo(over(lit, behind), rng, strength)
    alpha = _imperfect_alpha(moved[..., 3], rng)
    photo[alpha == 0] = 0
    return np.concatenate([photo, alpha[..., None]], 2)


def over(rgba: Image, behind: Image, rng: np.random.Generator | None = None) -> Image:
    """Composite straight-alpha ``rgba`` [H, W, 4] over RGB ``behind`` [H, W, 3], uint8.

    With ``rng`` the subject may cast a soft shadow on what is behind it.
    """
    alpha = rgba[..., 3:].astype(np.uint16)
    if rng is not None and rng.random() < 0.3:
        behind = _shadow(rgba[..., 3], behind, rng)
    mixed = rgba[..., :3] * alpha + behind * (np.uint16(255) - alpha) + np.uint16(127)
    return np.asarray(mixed // 255).astype(np.uint8)


def relight(rgba: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Change the light on the subject: smooth coloured falloff, sometimes a hard shadow edge.

    Returns:
        [H, W, 4] uint8; alpha is kept.
    """
    height, width = rgba.shape[:2]
    gain = np.ones((height, width), np.float32)
    if rng.random() < 0.7:
        gain *= np.exp(strength * rng.uniform(0, 0.3) * smooth_field(height, width, rng, 2))
    if rng.random() < 0.2 * strength:
        gain *= _shadow_edge(height, width, rng)
    cast = np.exp(strength * rng.normal(0, 0.07, 3)) * np.exp(strength * rng.normal(0, 0.15))
    lit = rgba.copy()
    lit[..., :3] = (rgba[..., :3] * (gain[..., None] * cast.astype(np.float32))).clip(0, 255)
    return lit


def take_photo(rgb: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Vignette, exposure, white balance, tone, colour, blur, sensor noise and JPEG.

    Args:
        rgb: [H, W, 3] uint8.
        rng: source of every choice.
        strength: 0 leaves the image nearly as it is, 1 is the widest range.

    Returns:
        [H, W, 3] uint8.
    """
    if rng.random() < 0.3:
        rgb = _vignetted(rgb, strength * rng.uniform(0.05, 0.5))
    photo: Image = cv2.LUT(rgb, _tone_curves(rng, strength))
    if rng.random() < 0.7:
        photo = cv2.transform(photo, _colour_matrix(rng, strength))
    if rng.random() < 0.08 * strength:
        photo = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    if rng.random() < 0.45 * min(1, strength * 1.5):
        photo = _soften(photo, rng, strength)
    if rng.random() < 0.6:
        photo = _add_noise(photo, rng, strength)
    if rng.random() < 0.5:
        quality = int(rng.uniform(95 - 65 * min(strength, 1), 96))
        _, data = cv2.imencode(".jpg", photo, (cv2.IMWRITE_JPEG_QUALITY, quality))
        photo = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return photo


def _vignetted(rgb: Image, loss: float) -> Image:
    """Darken towards the corners as a wide-open lens does, by ``loss`` of the light there."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = 1 - loss * ((x * x + y * y) / 2) ** 1.5
    return np.asarray(rgb * (light ** (1 / 2.2))[..., None]).astype(np.uint8)


def _tone_curves(rng: np.random.Generator, strength: float) -> Image:
    """[256, 1, 3] uint8 lookup tables: exposure and white balance in light, then a tone curve."""
    light = np.linspace(0, 1, 256)[:, None] ** 2.2
    light = light * np.exp(strength * (rng.normal(0, 0.3) + rng.normal(0, 0.12, 3)))
    value = light ** (1 / 2.2)
    if rng.random() < 0.5:  # a film-like shoulder instead of clipping
        value = value / (1 + 0.25 * np.maximum(value - 0.5, 0))
    value = value ** np.exp(strength * rng.normal(0, 0.15))
    contrast = np.exp(strength * rng.normal(0, 0.2))
    value = 0.5 + (value - 0.5) * contrast + strength * rng.normal(0, 0.04)
    return np.asarray(255 * value.clip(0, 1)).astype(np.uint8)[:, None]


def _colour_matrix(rng: np.random.Generator, strength: float) -> npt.NDArray[np.float32]:
    """[3, 3] saturation and a slight turn of hue about the grey axis."""
    saturation = np.exp(strength * rng.normal(0, 0.35))
    grey = np.full((3, 3), 1.0) * [0.299, 0.587, 0.114]
    turn = strength * rng.normal(0, 0.05)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    matrix = (grey + saturation * (np.eye(3) - grey)) @ (np.eye(3) + turn * axis)
    return np.asarray(matrix, np.float32)


def _soften(photo: Image, rng: np.random.Generator, strength: float) -> Image:
    """Defocus, motion or a low resolution."""
    height, width = photo.shape[:2]
    kind = rng.integers(3)
    if kind == 0:
        sigma = strength * rng.uniform(0.3, 0.012 * height)
        return np.asarray(cv2.GaussianBlur(photo, (0, 0), max(sigma, 0.2)), np.uint8)
    if kind == 1:
        length = max(3, int(strength * rng.uniform(0.01, 0.04) * height))
        kernel = np.zeros((length, length), np.float32)
        end = np.array([np.cos(a := rng.uniform(0, np.pi)), np.sin(a)]) * length
        centre = np.full(2, length / 2)
        first, last = (tuple(int(v) for v in centre + s * end / 2) for s in (-1, 1))
        cv2.line(kernel, first, last, 1.0)
        return np.asarray(cv2.filter2D(photo, -1, kernel / max(kernel.sum(), 1)), np.uint8)
    scale = 1 - strength * rng.uniform(0.1, 0.65)
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _add_noise(photo: Image, rng: np.random.Generator, strength: float) -> Image:
    height, width = photo.shape[:2]
    bank = _noise_bank()
    repeat = (-(-height // bank.shape[0]) + 1, -(-width // bank.shape[1]) + 1, 1)
    tiled = np.tile(bank, repeat) if max(repeat) > 2 or height > 384 or width > 384 else bank
    top = int(rng.integers(tiled.shape[0] - height + 1))
    left = int(rng.integers(tiled.shape[1] - width + 1))
    noise = tiled[top : top + height, left : left + width]
    if rng.random() < 0.4:
        noise = np.repeat(noise[..., :1], 3, 2)
    if rng.random() < 0.3:  # grain of more than a pixel, as after denoising or enlarging
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * 2.2
    sigma = strength * np.exp(rng.uniform(np.log(1.0), np.log(18.0)))
    return (photo + noise * np.float32(sigma)).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise_bank() -> npt.NDArray[np.float32]:
    """Unit Gaussian noise drawn once: fresh noise would cost more than all else here."""
    return np.random.default_rng(0).standard_normal((512, 512, 3), np.float32)


def _shadow(alpha: Image, behind: Image, rng: np.random.Generator) -> Image:
    height = alpha.shape[0]
    shift = np.array([[1, 0, rng.normal(0, 0.06)], [0, 1, rng.uniform(0, 0.05)]])
    shift[:, 2] *= height
    moved = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.5, rng.uniform(0.005, 0.05) * height))
    dark = 1 - rng.uniform(0.1, 0.6) * soft[..., None] / np.float32(255)
    return np.asarray(behind * dark).astype(np.uint8)


def _shadow_edge(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    side = x * np.cos(angle) + y * np.sin(angle) + rng.normal(0, 0.15)
    side = side + 0.03 * smooth_field(height, width, rng, 4)
    softness = np.exp(rng.uniform(np.log(0.01), np.log(0.1)))
    lit = 1 / (1 + np.exp(-(side / softness).clip(-30, 30)))
    return np.asarray(1 - rng.uniform(0.2, 0.6) * (1 - lit), np.float32)


def _jitter(premultiplied: Image, rng: np.random.Generator, amount: float) -> Image:
    height, width = premultiplied.shape[:2]
    if amount == 0:
        return premultiplied
    angle, scale = amount * rng.normal(0, 1.5), np.exp(amount * rng.normal(0, 0.02))
    transform = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, scale)
    transform[:, 2] += amount * rng.normal(0, 0.012, 2) * (width, height)
    return np.asarray(cv2.warpAffine(premultiplied, transform, (width, height)), np.uint8)


def _imperfect_alpha(alpha: Image, rng: np.random.Generator) -> Image:
    """Matting errors: a soft, shifted or ragged edge."""
    height, width = alpha.shape
    if rng.random() < 0.3:
        return alpha
    soft = cv2.GaussianBlur(alpha, (0, 0), float(rng.uniform(0.3, 0.01 * height + 0.3)))
    offset = rng.normal(0, 0.12) + rng.uniform(0, 0.12) * smooth_field(height, width, rng, 12)
    gain = rng.uniform(1.0, 2.0)
    edged = (soft / np.float32(255) - 0.5 + offset) * gain + 0.5
    edged = np.where(soft == 0, 0, edged)
    return (255 * edged.clip(0, 1)).astype(np.uint8)
