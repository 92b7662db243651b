"""Bytes to pixels, with every limit checked before a pixel is decoded.

Pillow reads the header first; format, side lengths and pixel count are checked there, so a small
file that claims to be a huge image costs nothing. Damaged metadata (EXIF, ICC) never rejects a
photo, damaged pixels always do.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from pipeline.errors import ImageTooLarge, ImageTooSmall, UnreadableImage

FORMATS = ("JPEG", "PNG", "WEBP")
"""What may be decoded; phones' MPO files open as their first JPEG."""

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an input photo may be.

    Attributes:
        max_bytes: encoded size.
        min_side_px: shortest side allowed.
        max_side_px: longest side allowed.
        max_pixels: width times height.
        work_side_px: photos are reduced to this longest side once they are decoded.
    """

    max_bytes: int = 32 * 2**20
    min_side_px: int = 16
    max_side_px: int = 16_384
    max_pixels: int = 50_000_000
    work_side_px: int = 2048


@dataclass(frozen=True)
class Photo:
    """A decoded photo, upright and in sRGB.

    Attributes:
        rgba: [H, W, 4] uint8, straight alpha; 255 everywhere unless the file brought an alpha.
        width_px: width of the upright original, before any reduction.
        height_px: height of the upright original.
    """

    rgba: npt.NDArray[np.uint8]
    width_px: int
    height_px: int

    @property
    def has_alpha(self) -> bool:
        """Whether the file brought an alpha channel that hides something."""
        return bool((self.rgba[..., 3] < 255).any())

    @property
    def original_per_work_px(self) -> float:
        """Original pixels per pixel of ``rgba``."""
        return self.width_px / int(self.rgba.shape[1])


DEFAULT_LIMITS = Limits()


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Photo:
    """Decode a JPEG, PNG or WebP photo.

    Args:
        data: the encoded file.
        limits: what is refused, and the size the photo is reduced to.

    Returns:
        The photo, upright, in sRGB.

    Raises:
        ImageTooLarge: more bytes, pixels or longer sides than the limits.
        ImageTooSmall: a side under the limit.
        UnreadableImage: empty, another format, truncated or damaged.
    """
    if not data:
        raise UnreadableImage("the file is empty (0 bytes); give a JPEG, PNG or WebP photo")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"the file has {len(data) / 2**20:.1f} MiB, over the limit of "
            f"{limits.max_bytes / 2**20:.0f} MiB; save it smaller"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata that we do without
        image = _open(data)
        _check_size(image, limits)
        return _pixels(image, limits)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"the {len(data)} bytes are no JPEG, PNG or WebP image; convert the photo to one"
        ) from None
    except Image.DecompressionBombError:
        raise ImageTooLarge(
            "the image claims more than twice the pixels that any photo has; save it smaller"
        ) from None
    except _DAMAGE as error:
        raise UnreadableImage(f"the image's header is damaged ({error}); save it again") from None


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if min(width, height) < limits.min_side_px:
        raise ImageTooSmall(
            f"the image has {width}x{height} pixels; each side needs at least "
            f"{limits.min_side_px}, and a good avatar a face of 100 or more"
        )
    if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the image has {width}x{height} pixels, over the limit of {limits.max_side_px} a "
            f"side and {limits.max_pixels / 1e6:.0f} million in all; save it smaller"
        )


def _pixels(image: Image.Image, limits: Limits) -> Photo:
    size = image.size
    # JPEG decodes several times faster straight to a half, quarter or eighth of its size
    image.draft(None, (limits.work_side_px, limits.work_side_px))
    try:
        image.load()
        rgba = _to_srgb(image)
    except _DAMAGE as error:
        raise UnreadableImage(
            f"the image is truncated or damaged ({error}); copy or save it again"
        ) from None
    # only now: looking for EXIF loads a PNG, and what is damaged in it would go unnoticed here
    orientation = _orientation(image)
    width, height = size[::-1] if orientation in (5, 6, 7, 8) else size
    rgba.thumbnail((limits.work_side_px, limits.work_side_px), Image.Resampling.LANCZOS)
    if orientation in _UPRIGHT:
        rgba = rgba.transpose(_UPRIGHT[orientation])
    return Photo(np.array(rgba), width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (*_DAMAGE, TypeError, KeyError):
        return 1


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colour = image.convert("RGB") if image.mode not in ("RGB", "L", "CMYK") else image
    rgb = _through_profile(colour, profile) if profile else colour
    rgba = rgb.convert("RGB").convert("RGBA")
    if alpha is not None:
        rgba.putalpha(alpha)
    return rgba


def _eight_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, *_DAMAGE):
        return image  # a profile of another colour space than the pixels', or a damaged one
    return converted or image
