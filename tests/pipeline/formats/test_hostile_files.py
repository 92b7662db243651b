"""Truncated, foreign and malicious files give one clear error, and no memory is asked for them."""

import gzip
import struct
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_head import marked_head

from pipeline.errors import UnreadableSource
from pipeline.formats.ply import write_ply
from pipeline.formats.registry import FORMATS, read_gaussians, write_gaussians

ENDINGS = pytest.mark.parametrize("ending", FORMATS)
WHOLE = {ending: write_gaussians(marked_head(), ending) for ending in FORMATS}


@ENDINGS
@given(kept=st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_a_truncated_file_is_refused(ending: str, kept: float) -> None:
    data = WHOLE[ending]
    cut = data[: int(kept * len(data))]
    if ending == ".splat" and cut and len(cut) % 32 == 0:
        cut += b"\0"  # a whole number of Gaussians is a file
    with pytest.raises(UnreadableSource):
        read_gaussians(cut, ending)


@ENDINGS
@given(st.binary(max_size=200))
@settings(deadline=None)
def test_garbage_is_refused_or_read_never_worse(ending: str, data: bytes) -> None:
    for garbage in (data, WHOLE[ending][:40] + data):
        try:
            assert len(read_gaussians(garbage, ending)) == len(garbage) // 32
        except UnreadableSource:
            continue
        assert ending == ".splat"


@ENDINGS
@given(at=st.integers(0, 2000), value=st.integers(0, 255))
@settings(deadline=None, max_examples=200)
def test_one_wrong_byte_is_no_traceback(ending: str, at: int, value: int) -> None:
    data = bytearray(WHOLE[ending])
    data[at] = value
    with suppress(UnreadableSource):
        assert len(read_gaussians(bytes(data), ending)) > 0


@ENDINGS
@pytest.mark.parametrize("other", FORMATS)
def test_another_formats_file_is_refused(ending: str, other: str) -> None:
    if ending != other:
        with pytest.raises(UnreadableSource):
            read_gaussians(WHOLE[other], ending)


def _ply(header: bytes) -> bytes:
    body = write_ply(marked_head())
    return body.replace(b"element vertex 303", header)


def _spz(count: int, body: bytes = bytes(1000), version: int = 3, degree: int = 0) -> bytes:
    header = struct.pack("<IIIBBBB", 0x5053474E, version, count, degree, 12, 0, 0)
    return gzip.compress(header + body, mtime=0)


def _spz_4(count: int, size: int = 10, parts: int = 6) -> bytes:
    header = struct.pack("<IIIBBBBI12x", 0x5053474E, 4, count, 0, 12, 0, parts, 32)
    return header + struct.pack("<QQ", size, size) * 6 + bytes(60)


@pytest.mark.parametrize(
    ("data", "ending", "reason"),
    [
        (_ply(b"element vertex 4000000000"), ".ply", "promises 56,000,000,000 numbers"),
        (_ply(b"element other 4000000000\nproperty int a\nelement vertex 303"), ".ply", "promises"),
        (_ply(b" element\tvertex  4000000000"), ".ply", "promises 56,000,000,000 numbers"),
        (_ply(b"element vertex 4000000000").replace(b"\n", b"\r"), ".ply", "promises"),
        (_ply(b"element vertex " + b"9" * 5000), ".ply", "not a .ply file"),
        (_ply(b"element vertex 0"), ".ply", "0 Gaussians"),
        (_spz(4_000_000_000), ".spz", "4,000,000,000 Gaussians"),
        (_spz(15_000_000), ".spz", "promises 300,000,000 bytes"),
        (_spz(100), ".spz", "1,000 of 2,000"),
        (_spz(0), ".spz", "0 Gaussians"),
        (_spz(1, bytes(50_000_000)), ".spz", "cut off or damaged"),
        (_spz(1, version=9), ".spz", "version 9, and 2, 3 and 4"),
        (_spz(1, degree=9), ".spz", "degree 9"),
        (_spz_4(4_000_000_000), ".spz", "4,000,000,000 Gaussians"),
        (_spz_4(15_000_000), ".spz", "promises"),
        (_spz_4(1, size=2**60), ".spz", "not an .spz file"),
        (_spz_4(1, parts=2), ".spz", "2 streams and needs 5"),
        (bytes(31), ".splat", "31 bytes, no multiple of 32"),
        (b"\xff" * 32, ".splat", "NaN or infinite"),
        (struct.pack("<6f8B", 0, 0, 0, -1, 1, 1, *range(8)), ".splat", "negative scale"),
    ],
)
def test_hostile_headers_ask_for_no_memory(data: bytes, ending: str, reason: str) -> None:
    read_gaussians(WHOLE[ending], ending)  # what is imported first is not counted
    tracemalloc.start()
    with pytest.raises(UnreadableSource, match=reason):
        read_gaussians(data, ending)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
