"""A tile rasteriser in plain batched torch: what our kernels are measured against.

The same rules and tiles of 16x16 pixels. Tiles with about as many hits are blended together, as
dense [tiles, pixels, hits] arithmetic that torch differentiates; gradients match our kernels'.
"""

import torch

from pipeline.cameras import Cameras

TILE = 16
PIXELS = TILE * TILE
MIN_ALPHA = 1 / 255
CELLS_AT_ONCE = 2**19
"""Numbers in one array: 2 MB. 2^17 and 2^20 to 2^23 were slower."""

Scene = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Ellipses = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def render(scene: Scene, cameras: Cameras, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Render means, quats, scales, opacities and colours on black.

    Returns:
        Images [V, size_px, size_px, 3] and alphas [V, size_px, size_px, 1], float32.
    """
    means, quats, scales, opacities, colors = scene
    views = [
        _render_view(
            _project(means, quats, scales, torch.from_numpy(view), torch.from_numpy(K)),
            opacities,
            colors,
            size_px,
        )
        for view, K in zip(cameras.world_to_cam, cameras.intrinsics(size_px), strict=True)
    ]
    stacked = torch.stack(views)
    return stacked[..., :3], stacked[..., 3:]


def _project(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    view: torch.Tensor,
    K: torch.Tensor,
) -> Ellipses:
    """Positions [N, 2], covariances' diagonals [N, 2], conics [N, 3] and depths [N]."""
    x, y, z = (means @ view[:3, :3].T + view[:3, 3]).unbind(-1)
    fx, fy = K[0, 0] / z, K[1, 1] / z
    none = torch.zeros_like(z)
    jacobian = torch.stack([fx, none, -fx * x / z, none, fy, -fy * y / z], -1).view(-1, 2, 3)
    spread = jacobian @ view[:3, :3] @ (_rotations(quats) * scales[:, None])
    covariance = spread @ spread.mT + 0.3 * torch.eye(2)
    conic = torch.linalg.inv(covariance)
    positions = torch.stack([fx * x + K[0, 2], fy * y + K[1, 2]], -1)
    conics = torch.stack([conic[:, 0, 0], conic[:, 0, 1], conic[:, 1, 1]], -1)
    return positions, covariance.diagonal(dim1=1, dim2=2), conics, z


def _rotations(quats: torch.Tensor) -> torch.Tensor:
    """Matrices [N, 3, 3] of quaternions wxyz of any length."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], 1)


@torch.no_grad()
def _hits_by_tile(
    ellipses: Ellipses, opacities: torch.Tensor, across: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussians of all hits, tile by tile and front to back, and hits per tile."""
    positions, variances, _, depths = ellipses
    reach = (2 * (opacities / MIN_ALPHA).clamp(min=1).log()[:, None] * variances).sqrt()
    low = ((positions - reach - 0.5).ceil().long() // TILE).clamp(0, across)
    high = ((positions + reach - 0.5).floor().long() // TILE + 1).clamp(0, across)
    wide, tall = (high - low).clamp(min=0).unbind(-1)
    tiles = torch.where((depths > 0.01) & (opacities >= MIN_ALPHA), wide * tall, 0)
    order = depths.argsort()
    gaussians = order.repeat_interleave(tiles[order])
    first = tiles[order].cumsum(0) - tiles[order]
    step = torch.arange(len(gaussians)) - first.repeat_interleave(tiles[order])
    column = low[gaussians, 0] + step % wide[gaussians]
    row = low[gaussians, 1] + step // wide[gaussians]
    by_tile, at = (row * across + column).sort(stable=True)
    return gaussians[at], by_tile.bincount(minlength=across * across)


def _render_view(
    ellipses: Ellipses, opacities: torch.Tensor, colors: torch.Tensor, size_px: int
) -> torch.Tensor:
    """Colour and alpha [size_px, size_px, 4] of one view."""
    across = -(-size_px // TILE)
    gaussians, counts = _hits_by_tile(ellipses, opacities, across)
    starts = counts.cumsum(0) - counts
    fields = torch.cat([ellipses[0], ellipses[2], opacities[:, None], colors], -1)
    fields = torch.cat([fields, torch.zeros(1, fields.shape[1])])
    canvas = torch.zeros(across * across, PIXELS, 4)
    busy = counts.argsort()[int((counts == 0).sum()) :]
    while len(busy):
        longest = int(counts[busy[-1]])
        together = busy[-max(1, CELLS_AT_ONCE // (PIXELS * longest)) :]
        together = together[counts[together] * 2 > longest]
        busy = busy[: -len(together)]
        step = torch.arange(longest)
        there = step < counts[together, None]
        hits = gaussians[(starts[together, None] + step).clamp(max=len(gaussians) - 1)]
        hits = torch.where(there, hits, len(opacities))
        canvas = canvas.index_put((together,), _blend(fields[hits], _pixels(together, across)))
    image = canvas.view(across, across, TILE, TILE, 4).transpose(1, 2)
    return image.reshape(across * TILE, across * TILE, 4)[:size_px, :size_px]


def _pixels(tiles: torch.Tensor, across: int) -> torch.Tensor:
    """Pixel centres [tiles, PIXELS, 1, 2] as x, y."""
    inside = torch.arange(PIXELS)
    x = (tiles % across * TILE)[:, None] + inside % TILE
    y = (tiles // across * TILE)[:, None] + inside // TILE
    return torch.stack([x, y], -1)[:, :, None] + 0.5


def _blend(fields: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Colour and alpha [tiles, PIXELS, 4] of hits ``fields`` [tiles, hits, 9], front to back."""
    x, y, xx, xy, yy, opacity = fields[:, None, :, :6].unbind(-1)
    dx, dy = x - pixels[..., 0], y - pixels[..., 1]
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacity * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha)
    after = torch.cumprod(1 - alpha, -1)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], -1)
    weights = torch.where(after > 1e-4, alpha * before, 0)
    return torch.cat([weights @ fields[..., 6:], weights.sum(-1, keepdim=True)], -1)
