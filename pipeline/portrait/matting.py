"""Cutting the bust out of a framed portrait.

A small network gives alpha at low resolution, cut where the digital humans' busts are cut; a guided
filter then moves the edge onto the photo's own.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.portrait.alpha import on_white
from pipeline.portrait.onnx_sessions import open_session

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_SOLID, _CLEAR = 0.95, 0.05
"""Alpha beyond these is taken to be certain."""


class Matting:
    """The matting network of a model folder.

    Args:
        path: its ONNX file.
        threads: onnxruntime threads.

    Raises:
        ModelNotFound: the file is missing or damaged.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self._session = open_session(path, threads)
        self._size_px = int(self._session.get_inputs()[0].shape[2])

    def cut_out(self, framed: Image, has_alpha: bool = False) -> Image:
        """Give a framed portrait the alpha of its bust.

        Args:
            framed: [S, S, 4] uint8 straight alpha, transparent outside the photo.
            has_alpha: the photo brought its own alpha, which bounds the result.

        Returns:
            [S, S, 4] uint8 straight alpha, rgb 0 where alpha is 0.
        """
        alpha = refine(framed[..., :3], self._network_alpha(framed))
        if has_alpha:
            # the user's edge is better than ours; ours only says where the bust ends
            alpha = np.where(_grow(alpha, 0.02) > 0.5, 1.0, alpha)
        bounded = np.minimum(np.round(255 * alpha), framed[..., 3]).astype(np.uint8)
        rgb = np.where(bounded[..., None] > 0, framed[..., :3], 0).astype(np.uint8)
        return np.concatenate([rgb, bounded[..., None]], 2)

    def _network_alpha(self, framed: Image) -> Floats:
        """The network's opinion, [S, S] float32 in 0..1, at the portrait's size."""
        size_px = framed.shape[0]
        shrinks = size_px > self._size_px
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = framed
        if size_px != self._size_px:
            small = cv2.resize(framed, (self._size_px, self._size_px), interpolation=how)
        (alpha,) = self._session.run(None, {"images": network_input(small)})
        result: Floats = cv2.resize(alpha[0, 0], (size_px, size_px), interpolation=cv2.INTER_LINEAR)
        return result


def network_input(framed: Image) -> Floats:
    """What the network is fed: [1, 4, S, S] float32 from a framed [S, S, 4] uint8 photo."""
    rgb = on_white(framed).astype(np.float32) / 127.5 - 1
    inside = (framed[..., 3:] > 127).astype(np.float32)
    return np.ascontiguousarray(np.concatenate([rgb, inside], 2).transpose(2, 0, 1)[None])


def refine(rgb: Image, alpha: Floats, radius: float = 0.02, smoothness: float = 2e-4) -> Floats:
    """Let the edge of ``alpha`` follow the photo's: a guided filter with the colours as guide.

    Args:
        rgb: [S, S, 3] uint8.
        alpha: [S, S] float32 in 0..1.
        radius: of the filter's window, in image widths.
        smoothness: colour variance below which a window counts as flat.

    Returns:
        [S, S] float32 in 0..1; what was certain stays so.
    """
    window = 2 * max(2, round(radius * rgb.shape[0])) + 1
    guide = rgb.astype(np.float32) / 255

    def mean(values: npt.NDArray[np.floating[Any]]) -> Floats:
        return np.asarray(cv2.blur(values, (window, window)), np.float32)

    guide_mean, alpha_mean = mean(guide), mean(alpha)
    covariance = mean(guide * alpha[..., None]) - guide_mean * alpha_mean[..., None]
    products = guide[..., :, None] * guide[..., None, :]
    spread = mean(products.reshape(*alpha.shape, 9)).reshape(*alpha.shape, 3, 3)
    spread = spread - guide_mean[..., :, None] * guide_mean[..., None, :]
    spread = spread + smoothness * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, covariance[..., None])[..., 0].astype(np.float32)
    offset = alpha_mean - (slope * guide_mean).sum(-1)
    filtered = (mean(slope) * guide).sum(-1) + mean(offset)
    certain = (_grow(alpha, radius / 2) < _CLEAR) | (_grow(alpha, -radius / 2) > _SOLID)
    stretched = (filtered - _CLEAR) / (_SOLID - _CLEAR)
    return np.where(certain, alpha.round(), stretched.clip(0, 1)).astype(np.float32)


def _grow(alpha: Floats, share: float) -> Floats:
    """Dilate by a share of the image's width, or erode by a negative one."""
    reach = max(1, round(abs(share) * alpha.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    change = cv2.dilate if share > 0 else cv2.erode
    return np.asarray(change(alpha, kernel), np.float32)
