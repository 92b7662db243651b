"""Gaussians as .spz files, the compressed format of github.com/nianticlabs/spz.

Version 3 is written: Spark, Babylon.js and Niantic's library all say that they read it. Version 2
keeps rotations only to 13 degrees; version 4 is refused by viewers older than itself. Versions 2,
3 and 4 are read.

Every attribute is a stream of bytes, in this order: positions (24-bit fixed point), opacities,
colours (of the constant harmonic), logarithms of scales, rotations, higher harmonics (none
written, ignored on reading). In versions 2 and 3 one gzip stream holds a header and all of them;
in version 4 each is a zstd stream of its own behind a plain header. The frame is RUB (x right, y
up, z back), which is the canonical one seen from in front of the face: nothing is turned.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnreadableSource
from pipeline.formats.numbers import Array, from_harmonic, readable, to_harmonic, writable
from pipeline.formats.spz_numbers import (
    pack_positions,
    pack_rotations,
    unpack_positions,
    unpack_rotations,
)
from pipeline.gaussians import Gaussians

VERSION = 3
_MAGIC = 0x5053474E
_HEADER = struct.Struct("<IIIBBBB")
_HEADER_4 = struct.Struct("<IIIBBBBI12x")
_STREAM = struct.Struct("<QQ")
_FRACTION_BITS = 12
_COLOR_SCALE = 0.15
_GZIP = 31
"""zlib's number for a gzip header and the largest window."""
_MAX_RATIO = 1032
"""How many times its size a compressed stream may become; deflate cannot reach more."""
_MAX_COUNT = 20_000_000
_MAX_EXTENSIONS = 1 << 16
"""Bytes behind the streams that are put up with."""
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Header:
    version: int
    count: int
    sh_degree: int
    fraction_bits: int

    @property
    def rotation_bytes(self) -> int:
        return 3 if self.version == 2 else 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes a Gaussian in each stream that is read."""
        return (9, 1, 3, 3, self.rotation_bytes)


def write_spz(gaussians: Gaussians) -> bytes:
    """Encode Gaussians as version 3; the same Gaussians give the same bytes.

    Args:
        gaussians: in the canonical frame. Positions are cut off at 2048, scales at exp(-10) and
            exp(5.94).

    Raises:
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    g = writable(gaussians, ".spz")
    colors = to_harmonic(g.colors.numpy()) * _COLOR_SCALE + 0.5
    parts = (
        pack_positions(g.means.numpy(), _FRACTION_BITS),
        _byte(g.opacities.numpy() * 255),
        _byte(colors * 255),
        _byte((np.log(g.scales.numpy()) + 10) * 16),
        pack_rotations(g.quats.numpy()),
    )
    header = _HEADER.pack(_MAGIC, VERSION, len(g), 0, _FRACTION_BITS, 0, 0)
    return gzip.compress(header + b"".join(part.tobytes() for part in parts), mtime=0)


def read_spz(data: bytes) -> Gaussians:
    """Decode an .spz file of version 2, 3 or 4 into the canonical frame.

    Raises:
        UnreadableSource: not an .spz file, of another version, or damaged.
    """
    try:
        header, streams = _open_zstd(data) if data[:4] == b"NGSP" else _open_gzip(data)
        positions, opacities, colors, scales, rotations = streams
    except (struct.error, zlib.error, OSError, ValueError) as error:
        raise UnreadableSource(f"The data is not an .spz file: {error}.") from error
    unpacked = colors.astype(np.float32) / 255 - 0.5
    return readable(
        means=unpack_positions(positions, header.fraction_bits),
        quats=unpack_rotations(rotations),
        scales=np.exp(scales.astype(np.float32) / 16 - 10),
        opacities=opacities[:, 0].astype(np.float32) / 255,
        colors=from_harmonic(unpacked / _COLOR_SCALE),
        ending=".spz",
    )


def _byte(values: Array) -> Bytes:
    return values.round().clip(0, 255).astype(np.uint8)


def _open_gzip(data: bytes) -> tuple[_Header, Iterator[Bytes]]:
    stream = zlib.decompressobj(_GZIP)
    head = stream.decompress(data, _HEADER.size)
    magic, version, count, degree, fraction_bits, _, _ = _HEADER.unpack(head)
    header = _checked(magic, _Header(version, count, degree, fraction_bits), (2, 3))
    needed = count * (sum(header.widths) + 3 * ((degree + 1) ** 2 - 1))
    _check_size(needed, len(data))
    body = stream.decompress(stream.unconsumed_tail, needed + _MAX_EXTENSIONS)
    if not stream.eof:
        raise ValueError("it is cut off or damaged")
    return header, _streams(header, body)


def _open_zstd(data: bytes) -> tuple[_Header, Iterator[Bytes]]:
    # not at the top: only files of version 4 need it
    import pyarrow

    magic, version, count, degree, fraction_bits, _, parts, at = _HEADER_4.unpack_from(data)
    header = _checked(magic, _Header(version, count, degree, fraction_bits), (4,))
    if parts < len(header.widths):
        raise ValueError(f"it has {parts} streams and needs {len(header.widths)}")
    start, bodies = at + parts * _STREAM.size, []
    for k, width in enumerate(header.widths):
        packed, _ = _STREAM.unpack_from(data, at + k * _STREAM.size)
        _check_size(count * width, len(data))
        part = data[start : start + packed]
        bodies.append(pyarrow.decompress(part, count * width, "zstd", asbytes=True))
        start += packed
    return header, _streams(header, b"".join(bodies))


def _checked(magic: int, header: _Header, versions: tuple[int, ...]) -> _Header:
    if magic != _MAGIC:
        raise ValueError("it does not begin with NGSP")
    if header.version not in versions:
        raise ValueError(f"it is of version {header.version}, and 2, 3 and 4 can be read")
    if not 1 <= header.count <= _MAX_COUNT:
        raise ValueError(f"it has {header.count:,} Gaussians, and 1 to {_MAX_COUNT:,} can be read")
    if header.fraction_bits > 23 or header.sh_degree > 4:
        raise ValueError(
            f"it has {header.fraction_bits} fractional bits and harmonics of degree "
            f"{header.sh_degree}; at most 23 and 4 are possible"
        )
    return header


def _check_size(needed: int, has: int) -> None:
    """Refuse a count that the file is too small for, before memory is asked for it."""
    if needed > has * _MAX_RATIO:
        raise ValueError(f"its header promises {needed:,} bytes, too many for {has:,} compressed")


def _streams(header: _Header, body: bytes) -> Iterator[Bytes]:
    needed = header.count * sum(header.widths)
    if len(body) < needed:
        raise ValueError(f"it ends after {len(body):,} of {needed:,} bytes")
    everything = np.frombuffer(body, np.uint8)
    start = 0
    for width in header.widths:
        end = start + header.count * width
        yield everything[start:end].reshape(header.count, width)
        start = end
