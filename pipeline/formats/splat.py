"""Gaussians as .splat files, the 32 bytes a Gaussian of the first viewer in a browser.

No header: float32 position, float32 scales, then bytes for red, green, blue, opacity and the
quaternion (w, x, y, z) as 128 + 128 q. Viewers show a file from its start while it loads, so the
large and opaque Gaussians come first. The frame is y down, see `pipeline.formats.frames`.

The layout is the one of github.com/antimatter15/splat, where the format comes from.
"""

import numpy as np

from pipeline.errors import UnreadableSource
from pipeline.formats.frames import turned
from pipeline.formats.numbers import readable, writable
from pipeline.gaussians import Gaussians

_ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def write_splat(gaussians: Gaussians) -> bytes:
    """Encode Gaussians, the largest and most opaque first.

    Args:
        gaussians: in the canonical frame.

    Raises:
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    g = turned(writable(gaussians, ".splat"))
    weight = g.scales.log().sum(-1) + g.opacities.clamp(min=1e-6).log()
    g = g[weight.argsort(descending=True, stable=True)]
    rows = np.empty(len(g), _ROW)
    rows["means"], rows["scales"] = g.means.numpy(), g.scales.numpy()
    rows["rgba"][:, :3] = (g.colors.numpy() * 255).round().clip(0, 255)
    rows["rgba"][:, 3] = (g.opacities.numpy() * 255).round().clip(0, 255)
    rows["quats"] = (g.quats.numpy() * 128 + 128).round().clip(0, 255)
    return rows.tobytes()


def read_splat(data: bytes) -> Gaussians:
    """Decode a .splat file into the canonical frame, in the file's order.

    Raises:
        UnreadableSource: the bytes cannot be Gaussians.
    """
    if not data or len(data) % _ROW.itemsize:
        raise UnreadableSource(
            f"The data is not a .splat file: it has {len(data):,} bytes, "
            f"no multiple of {_ROW.itemsize}."
        )
    rows = np.frombuffer(data, _ROW)
    return turned(
        readable(
            means=rows["means"],
            quats=(rows["quats"].astype(np.float32) - 128) / 128,
            scales=rows["scales"],
            opacities=rows["rgba"][:, 3].astype(np.float32) / 255,
            colors=rows["rgba"][:, :3].astype(np.float32) / 255,
            ending=".splat",
        )
    )
