"""Every limit and every kind of damage, and pixels that survive orientation, profile and alpha."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline.errors import ImageTooLarge, ImageTooSmall, UnreadableImage
from pipeline.portrait.decode import Limits, decode


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 40)], -1)
    return Image.fromarray(rgb.astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for name, body in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        crc = zlib.crc32(name + body)
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_formats_are_decoded_to_opaque_rgba(kind: str) -> None:
    photo = decode(encode(scene(), kind))
    assert photo.rgba.shape == (48, 64, 4)
    assert photo.rgba.dtype == np.uint8
    assert not photo.has_alpha
    assert abs(photo.rgba[..., :3].astype(int) - np.asarray(scene())).mean() < 4


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(UnreadableImage, match="no JPEG, PNG or WebP"):
        decode(encode(scene(), kind))


@pytest.mark.parametrize(
    "data", [b"", b"<html>not a photo</html>", b"\xff\xd8\xff", b"\x89PNG\r\n"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("sixteenths", [4, 8, 12, 15])
def test_truncated_images_are_refused(kind: str, sixteenths: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImage):
        decode(data[: len(data) * sixteenths // 16])


def test_damage_in_a_png_stream_is_no_black_lower_half() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    png = encode(noise)
    start = png.index(b"IDAT")
    size = struct.unpack(">I", png[start - 4 : start])[0]
    body = png[start : start + 4 + size // 2] + b"\xff" * (size - size // 2)
    damaged = png[:start] + body + struct.pack(">I", zlib.crc32(body)) + png[start + 8 + size :]
    with pytest.raises(UnreadableImage, match="damaged"):
        decode(damaged)


@pytest.mark.parametrize("size", [(30_000, 30_000), (17_000, 100), (8_000, 7_000), (13_000, 7_400)])
def test_huge_images_are_refused_from_their_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLarge, match="save it smaller"):
        decode(png_header(*size))


def test_too_many_bytes_are_refused_before_anything_is_parsed() -> None:
    with pytest.raises(ImageTooLarge, match=r"0\.2 MiB, over the limit of 0 MiB"):
        decode(b"x" * 200_000, Limits(max_bytes=100_000))


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 3)])
def test_tiny_images_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooSmall, match="at least 16"):
        decode(encode(scene(*size)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int) -> None:
    upright = np.asarray(scene())
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
    photo = decode(encode(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(photo.rgba[..., :3], upright)
    assert (photo.width_px, photo.height_px) == (64, 48)


def test_damaged_metadata_does_not_reject_a_photo() -> None:
    data = encode(scene(), "JPEG", exif=b"Exif\0\0garbage", icc_profile=b"no profile")
    assert decode(data).rgba.shape == (48, 64, 4)


def test_a_profile_is_converted_to_srgb() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode(encode(scene(), icc_profile=srgb)).rgba[..., :3]
    assert abs(same.astype(int) - np.asarray(scene())).max() <= 1
    wrong_space = decode(encode(scene(), icc_profile=lab)).rgba[..., :3]
    np.testing.assert_array_equal(wrong_space, np.asarray(scene()))


def test_modes_become_rgba() -> None:
    grey = scene().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for image, kind in ((grey, "PNG"), (deep, "PNG"), (scene().convert("CMYK"), "JPEG")):
        rgba = decode(encode(image, kind)).rgba
        assert rgba.shape == (48, 64, 4)
        expected = np.asarray(image.convert("RGB") if image.mode == "CMYK" else grey)
        reference = expected if expected.ndim == 3 else expected[..., None]
        assert abs(rgba[..., :3].astype(int) - reference).mean() < 6


def test_an_alpha_channel_is_kept() -> None:
    image = scene().convert("RGBA")
    alpha = np.zeros((48, 64), np.uint8)
    alpha[10:30, 20:50] = 200
    image.putalpha(Image.fromarray(alpha))
    photo = decode(encode(image))
    assert photo.has_alpha
    np.testing.assert_array_equal(photo.rgba[..., 3], alpha)
    palette = image.quantize(16)
    assert decode(encode(palette)).has_alpha


def test_large_photos_are_reduced_and_remember_their_size() -> None:
    photo = decode(encode(scene(1600, 1200), "JPEG"), Limits(work_side_px=400))
    assert photo.rgba.shape == (300, 400, 4)
    assert (photo.width_px, photo.height_px) == (1600, 1200)
    assert photo.original_per_work_px == 4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_flipped_bytes_give_an_image_or_a_typed_error(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(encode(scene(), kind), np.uint8).copy()
    where = rng.integers(0, len(data), 8)
    data[where] = rng.integers(0, 256, 8)
    try:
        photo = decode(data.tobytes())
    except (UnreadableImage, ImageTooLarge, ImageTooSmall):
        return
    assert photo.rgba.ndim == 3
