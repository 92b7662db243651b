"""Images between the graph, where they are uint8 arrays, and the networks, which take tensors."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]


def resize(images: Bytes, size_px: int) -> Bytes:
    """Shrink or enlarge images [V, H, W, C] uint8 to squares of ``size_px``."""
    if images.shape[1] == size_px:
        return images
    mode = cv2.INTER_AREA if images.shape[1] > size_px else cv2.INTER_CUBIC
    return np.stack([cv2.resize(one, (size_px, size_px), interpolation=mode) for one in images])


def to_signed(images: Bytes) -> Tensor:
    """[..., H, W, 3] uint8 to [..., 3, H, W] float32 in [-1, 1]."""
    return torch.from_numpy(images).movedim(-1, -3).float() / 127.5 - 1


def to_bytes(images: Tensor) -> Bytes:
    """[..., 3, H, W] in [-1, 1] to [..., H, W, 3] uint8."""
    rounded = ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    result: Bytes = rounded.to(torch.uint8).movedim(-3, -1).contiguous().numpy()
    return result
