"""Catmull-Clark subdivision as sparse matrices: fine vertices = matrix @ coarse vertices."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Quads = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Subdivision:
    """One or more levels of refinement of a quad mesh.

    Attributes:
        smooth: [fine, coarse] sparse float64, Catmull-Clark weights (boundaries kept).
        linear: [fine, coarse] sparse float64, plain midpoints: for texture coordinates.
        quads: [4 * faces, 4] int32 refined faces.
    """

    smooth: sp.csr_matrix
    linear: sp.csr_matrix
    quads: Quads


def subdivide(quads: Quads, vertex_count: int, levels: int = 1) -> Subdivision:
    """Refine an all-quad mesh ``levels`` times; the first fine vertices are the coarse ones."""
    result = _subdivide_once(quads, vertex_count)
    for _ in range(levels - 1):
        step = _subdivide_once(result.quads, result.smooth.shape[0])
        result = Subdivision(
            (step.smooth @ result.smooth).tocsr(),
            (step.linear @ result.linear).tocsr(),
            step.quads,
        )
    return result


def _incidence(
    rows: npt.ArrayLike, columns: npt.ArrayLike, shape: tuple[int, int]
) -> sp.csr_matrix:
    rows, columns = np.ravel(rows), np.ravel(columns)
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)


def _inverse(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1.0 / np.maximum(counts, 1.0)


def _subdivide_once(quads: Quads, vertices: int) -> Subdivision:
    faces = len(quads)
    corners = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    edges, edge_of, uses = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(faces, 4)
    face_rows = np.repeat(np.arange(faces), 4)
    face_point = 0.25 * _incidence(face_rows, quads, (faces, vertices))
    midpoint = 0.5 * _incidence(np.repeat(np.arange(len(edges)), 2), edges, (len(edges), vertices))
    on_border = uses == 1
    edge_faces = _incidence(edge_of, face_rows, (len(edges), faces))
    edge_point = sp.diags(np.where(on_border, 1.0, 0.5)) @ midpoint + sp.diags(
        np.where(on_border, 0.0, 0.25)
    ) @ (edge_faces @ face_point)
    vertex_point = _vertex_points(quads, edges, on_border, face_point, midpoint, vertices)
    smooth = sp.vstack([vertex_point, edge_point, face_point]).tocsr()
    linear = sp.vstack([sp.identity(vertices), midpoint, face_point]).tocsr()
    centre = vertices + len(edges) + np.arange(faces)
    refined = [
        np.stack(
            [quads[:, k], vertices + edge_of[:, k], centre, vertices + edge_of[:, (k - 1) % 4]], 1
        )
        for k in range(4)
    ]
    return Subdivision(smooth, linear, np.concatenate(refined).astype(np.int32))


def _vertex_points(
    quads: Quads,
    edges: npt.NDArray[np.int32],
    on_border: npt.NDArray[np.bool_],
    face_point: sp.csr_matrix,
    midpoint: sp.csr_matrix,
    vertices: int,
) -> sp.csr_matrix:
    """Rows for the coarse vertices: (F + 2 R + (n - 3) P) / n, or (P + R) / 2 on borders."""
    faces = np.repeat(np.arange(len(quads)), 4)
    near_faces = _incidence(quads, faces, (vertices, len(quads)))
    near_edges = _incidence(edges, np.repeat(np.arange(len(edges)), 2), (vertices, len(edges)))
    valence = np.asarray(near_faces.sum(1)).ravel()
    edge_valence = np.asarray(near_edges.sum(1)).ravel()
    inside = (
        sp.diags(_inverse(valence * valence)) @ near_faces @ face_point
        + sp.diags(2 * _inverse(valence * edge_valence)) @ near_edges @ midpoint
        + sp.diags((valence - 3) * _inverse(valence))
    )
    border_edges = near_edges @ sp.diags(on_border.astype(np.float64))
    border_count = np.asarray(border_edges.sum(1)).ravel()
    border = 0.5 * sp.identity(vertices) + sp.diags(0.5 * _inverse(border_count)) @ (
        border_edges @ midpoint
    )
    is_border = (border_count > 0).astype(np.float64)
    return sp.diags(1 - is_border) @ inside + sp.diags(is_border) @ border
