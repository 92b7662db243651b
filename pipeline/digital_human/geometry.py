"""Small shapes: meshes swept along curves, ellipsoids, normalisation, bumps."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


def normalize(vectors: npt.ArrayLike) -> Array:
    """Scale the last axis to unit length; zero vectors stay zero."""
    values = np.asarray(vectors, np.float64)
    unit: Array = values / (np.linalg.norm(values, axis=-1, keepdims=True) + 1e-12)
    return unit


def direction(azimuth_deg: float, elevation_deg: float) -> Array:
    """Unit vector of the canonical frame, [3]: azimuth 0 is +z, positive towards +x."""
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    return np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )


def triangulate(quads: npt.NDArray[np.integer]) -> Index:
    """Split quads [F, 4] into triangles [2 F, 3]."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def grid_triangles(rows: int, columns: int, wrap: bool) -> Index:
    """Triangles of a row-major vertex grid; ``wrap`` joins the last column to the first."""
    row, column = np.mgrid[0 : rows - 1, 0 : columns if wrap else columns - 1]
    a = row * columns + column
    b = row * columns + (column + 1) % columns
    c, d = a + columns, b + columns
    first = np.stack([a, b, c], -1).reshape(-1, 3)
    second = np.stack([b, d, c], -1).reshape(-1, 3)
    return np.concatenate([first, second]).astype(np.int32)


def _moving_frames(path: Array, closed: bool) -> tuple[Array, Array]:
    """Two unit vectors across the path at each point, turning as little as possible."""
    if closed:
        tangents = normalize(np.roll(path, -1, 0) - np.roll(path, 1, 0))
    else:
        tangents = normalize(np.gradient(path, axis=0))
    side = np.cross(tangents[0], [0.0, 1.0, 0.0])
    if np.linalg.norm(side) < 0.1:
        side = np.cross(tangents[0], [1.0, 0.0, 0.0])
    sides = np.empty_like(path)
    for i, tangent in enumerate(tangents):
        side = normalize(side - tangent * (side @ tangent))
        sides[i] = side
    return sides, np.cross(tangents, sides)


def tube(
    path: npt.ArrayLike, radius: float, around: int = 8, closed: bool = False
) -> tuple[Array, Index]:
    """A round tube along a path [N, 3]: vertices and triangles; open ends are capped."""
    points = np.asarray(path, np.float64)
    across, up = _moving_frames(points, closed)
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)[:, None]
    rings = points[:, None] + radius * (np.cos(turn) * across[:, None] + np.sin(turn) * up[:, None])
    vertices = rings.reshape(-1, 3)
    if closed:
        looped = np.concatenate([rings, rings[:1]]).reshape(-1, 3)
        triangles = grid_triangles(len(points) + 1, around, wrap=True) % len(vertices)
        return looped[: len(vertices)], triangles
    triangles = grid_triangles(len(points), around, wrap=True)
    start, last = len(vertices), len(vertices) - around
    spoke = np.arange(around)
    first_cap = np.stack([np.full(around, start), (spoke + 1) % around, spoke], 1)
    last_cap = np.stack([np.full(around, start + 1), last + spoke, last + (spoke + 1) % around], 1)
    vertices = np.concatenate([vertices, points[:1], points[-1:]])
    return vertices, np.concatenate([triangles, first_cap, last_cap]).astype(np.int32)


def ellipsoid(center: npt.ArrayLike, radii: npt.ArrayLike, rings: int = 16) -> tuple[Array, Index]:
    """An axis-aligned ellipsoid: vertices and triangles."""
    theta = np.linspace(0, np.pi, rings)[:, None]
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    unit = np.stack(
        [np.sin(theta) * np.cos(phi), np.cos(theta) + 0 * phi, np.sin(theta) * np.sin(phi)], -1
    ).reshape(-1, 3)
    vertices = np.asarray(center) + unit * np.asarray(radii)
    return vertices, grid_triangles(rings, 2 * rings, wrap=True)


def smooth_loop(points: Array, rounds: int = 2) -> Array:
    """Average each point of a closed loop [N, 3] with its neighbours."""
    for _ in range(rounds):
        points = (np.roll(points, 1, 0) + 2 * points + np.roll(points, -1, 0)) / 4
    return points


def relief_normals(vertices: Array, normals: Array, triangles: Index, relief: Array) -> Array:
    """Tilt normals [N, 3] against the surface gradient of a height field [N]."""
    origin = vertices[triangles[:, 0]]
    first = vertices[triangles[:, 1]] - origin
    second = vertices[triangles[:, 2]] - origin
    rise_1 = relief[triangles[:, 1]] - relief[triangles[:, 0]]
    rise_2 = relief[triangles[:, 2]] - relief[triangles[:, 0]]
    a, b, c = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    determinant = a * c - b * b + 1e-14
    u = (c * rise_1 - b * rise_2) / determinant
    v = (a * rise_2 - b * rise_1) / determinant
    gradient = u[:, None] * first + v[:, None] * second
    area = 0.5 * np.sqrt(np.maximum(determinant, 0))
    flat = triangles.ravel()
    total = np.bincount(flat, np.repeat(area, 3), len(vertices)) + 1e-12
    mean = np.stack(
        [
            np.bincount(flat, np.repeat(gradient[:, k] * area, 3), len(vertices)) / total
            for k in range(3)
        ],
        1,
    )
    return normalize(normals - 0.0065 * mean)
