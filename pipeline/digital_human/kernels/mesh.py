"""Vertex normals and value noise."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


@compiled
def vertex_normals(vertices: Array, triangles: Index) -> Array:
    """Area-weighted unit normals, [V, 3] float64, of a triangle mesh."""
    normals = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(vertices.shape[0]):
        length = math.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-20
        normals[i] /= length
    return normals


@compiled
def _lattice(x: int, y: int, z: int) -> float:
    mixed = (x * 374761393 + y * 668265263 + z * 2147483647 * 3) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFFFF) / 16777216.0


@compiled
def _noise_octave(points: Array, frequency: float, seed: float, out: Array) -> None:
    for i in range(points.shape[0]):
        x = points[i, 0] * frequency + seed * 17.13
        y = points[i, 1] * frequency + seed * 5.71
        z = points[i, 2] * frequency + seed * 3.37
        ix, iy, iz = math.floor(x), math.floor(y), math.floor(z)
        fx, fy, fz = x - ix, y - iy, z - iz
        fx = fx * fx * (3 - 2 * fx)
        fy = fy * fy * (3 - 2 * fy)
        fz = fz * fz * (3 - 2 * fz)
        total = 0.0
        for a in range(2):
            wx = fx if a else 1 - fx
            for b in range(2):
                wy = fy if b else 1 - fy
                for c in range(2):
                    wz = fz if c else 1 - fz
                    total += wx * wy * wz * _lattice(ix + a, iy + b, iz + c)
        out[i] = total * 2 - 1


def noise(points: Array, frequency: float, seed: float = 0.0, octaves: int = 1) -> Array:
    """Value noise in [-1, 1] at points [N, 3]; ``frequency`` in cells per unit, [N] float64."""
    contiguous = np.ascontiguousarray(points, np.float64)
    total, octave = np.zeros(len(points)), np.empty(len(points))
    amplitude, weight = 1.0, 0.0
    for k in range(octaves):
        _noise_octave(contiguous, frequency * 2.03**k, seed + k * 7.7, octave)
        total += amplitude * octave
        weight += amplitude
        amplitude *= 0.5
    return total / weight
