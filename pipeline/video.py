"""Videos of avatars, by PyAV: the extra ``video``."""

import io
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pipeline.errors import BackendUnavailable

_CRF = "18"
"""x264's quality: 18 is hard to tell from the original."""


def check_video() -> None:
    """Make sure that `mp4` can be called, before frames are rendered for it.

    Raises:
        BackendUnavailable: PyAV is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            "an .mp4 needs PyAV, which is not installed; run pip install 'headsplat[video]', or "
            "name a .webp"
        ) from error


def mp4(frames: Iterable[npt.NDArray[np.uint8]], size_px: int, fps: float) -> bytes:
    """Encode frames [H, W, 3] as H.264, which every browser and phone plays.

    Args:
        frames: RGB, at least one.
        size_px: height and width, even.
        fps: pictures a second.

    Raises:
        BackendUnavailable: PyAV is not installed.
    """
    check_video()
    import av

    rate = Fraction(fps).limit_denominator(1000)
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        # one thread, because the bytes depend on their number
        stream = container.add_stream("libx264", rate=rate, options={"crf": _CRF, "threads": "1"})
        stream.width = stream.height = size_px
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()
