"""Datasets of digital humans: one Parquet file per sequence, resumable, split by identity.

Layout: ``dataset.json`` (options, versions, conventions) and ``sequences/000123.parquet`` with one
row per view. Files appear by rename, so whatever exists is complete and a killed run goes on.
"""

import dataclasses
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.cameras import Cameras
from pipeline.digital_human.sequence import DatasetOptions, render_sequence
from pipeline.errors import UnreadableSource, UsageError

HELD_OUT_EVERY = 10
SPLITS = ("train", "test", "all")
FORMAT_VERSION = 1
_MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]


def sequence_path(folder: Path, sequence_id: int) -> Path:
    """Where a sequence is stored."""
    return folder / "sequences" / f"{sequence_id:06d}.parquet"


def is_held_out(identity_id: int) -> bool:
    """Whether an identity belongs to the test split: every tenth does."""
    return identity_id % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def prepare_folder(folder: Path, options: DatasetOptions) -> None:
    """Create the folder and its ``dataset.json``, or check that it was made with these options.

    Raises:
        UsageError: when the folder holds a dataset with other options.
    """
    (folder / "sequences").mkdir(parents=True, exist_ok=True)
    description = folder / "dataset.json"
    if description.exists():
        stored = json.loads(description.read_text())["options"]
        if stored != asdict(options):
            raise UsageError(
                f"{folder} holds a dataset with options {stored}, not {asdict(options)}; give "
                "the same options to go on with it, or another folder"
            )
        return
    _write_atomically(description, json.dumps(_description(options), indent=2).encode())


def _description(options: DatasetOptions) -> dict[str, object]:
    return {
        "format_version": FORMAT_VERSION,
        "options": asdict(options),
        "split": f"identity_id % {HELD_OUT_EVERY} == {HELD_OUT_EVERY - 1} is held out",
        "image": "PNG, sRGB, straight alpha, rgb 0 where alpha is 0",
        "world": "right-handed, y up, head centred at the origin facing +z, subject's left = +x",
        "azimuth_deg": "0 in front of the face, positive towards the subject's left",
        "elevation_deg": "positive when the camera is above",
        "cam_to_world": "4x4 row-major, OpenCV camera axes: x right, y down, z forward",
        "landmarks": "x, y pixels of image-left eye, image-right eye, nose tip, image-left mouth "
        "corner, image-right mouth corner (image sides as seen from the front)",
        "versions": {"numpy": np.__version__, "pyarrow": pa.__version__},
    }


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_sequence(folder: Path, options: DatasetOptions, sequence_id: int) -> bool:
    """Render a sequence into its file unless it exists.

    Returns:
        Whether it was rendered now.
    """
    path = sequence_path(folder, sequence_id)
    if path.exists():
        return False
    buffer = io.BytesIO()
    pq.write_table(render_sequence(options, sequence_id), buffer, compression="none")
    _write_atomically(path, buffer.getvalue())
    return True


@dataclass(frozen=True)
class Sequence:
    """All views of one sequence, orbit views first.

    Attributes:
        identity_id, sequence_id: who, and which appearance.
        views: [V, H, W, 4] uint8 sRGB, straight alpha.
        cameras: V cameras.
        kind: [V] ``orbit`` or ``photo``.
        azimuth_deg, elevation_deg: [V] float32.
        landmarks: [V, 5, 2] float32 pixels.
        landmark_visible: [V, 5] bool.
        labels: text and number labels of the sequence.
    """

    identity_id: int
    sequence_id: int
    views: npt.NDArray[np.uint8]
    cameras: Cameras
    kind: npt.NDArray[np.str_]
    azimuth_deg: npt.NDArray[np.float32]
    elevation_deg: npt.NDArray[np.float32]
    landmarks: npt.NDArray[np.float32]
    landmark_visible: npt.NDArray[np.bool_]
    labels: dict[str, str | float]

    def mirrored(self) -> "Sequence":
        """The sequence as a mirror shows it: another plausible person, seen from the same orbit.

        The view at azimuth a shows the old view at -a, so the orbit keeps its order of azimuths;
        other views keep their place and change the sign of their azimuth.
        """
        order = np.arange(len(self.views))
        orbit = np.flatnonzero(self.kind == "orbit")
        order[orbit] = orbit[-np.arange(len(orbit))]
        turned = self.azimuth_deg[order]
        signs = np.outer([-1, 1, 1, 1], [-1, 1, 1, 1])
        poses = (self.cameras.cam_to_world[order] * signs).astype(np.float32)
        landmarks = self.landmarks[order][:, _MIRRORED_LANDMARKS]
        landmarks[..., 0] = self.views.shape[2] - landmarks[..., 0]
        return dataclasses.replace(
            self,
            views=np.ascontiguousarray(self.views[order, :, ::-1]),
            cameras=Cameras(poses, self.cameras.fov_y_deg),
            azimuth_deg=np.where(self.kind == "orbit", -turned % 360, -turned),
            elevation_deg=self.elevation_deg[order],
            landmarks=landmarks,
            landmark_visible=self.landmark_visible[order][:, _MIRRORED_LANDMARKS],
        )


LABELS = (
    "expression", "accessory", "sex", "age", "age_group", "hair_style", "hair_color", "beard",
    "eye_color", "melanin", "garment",
)  # fmt: skip


class HeadDataset:
    """Reads a dataset folder; a folder that is still being rendered shows what is complete.

    Args:
        folder: with ``dataset.json``.
        split: ``train``, ``test`` (held-out identities) or ``all``.

    Attributes:
        options: that the dataset was rendered with.
        sequences: ids of the split's sequences, ascending.

    Raises:
        UsageError: for an unknown split.
        UnreadableSource: when the folder is no dataset.
    """

    def __init__(self, folder: str | Path, split: str = "train") -> None:
        if split not in SPLITS:
            raise UsageError(f"split {split!r} is none of {', '.join(SPLITS)}")
        self.folder = Path(folder)
        description = self.folder / "dataset.json"
        if not description.is_file():
            raise UnreadableSource(
                f"no dataset.json in {self.folder}; render one with 'headsplat heads render'"
            )
        self.options = DatasetOptions(**json.loads(description.read_text())["options"])
        found = sorted(int(p.stem) for p in (self.folder / "sequences").glob("[0-9]*.parquet"))
        self.sequences = [
            sequence_id
            for sequence_id in found
            if split == "all"
            or is_held_out(self.options.identity_of(sequence_id)) == (split == "test")
        ]

    def __len__(self) -> int:
        return len(self.sequences)

    def load(self, sequence_id: int) -> Sequence:
        """Read and decode all views of a sequence.

        Raises:
            UnreadableSource: when the sequence does not exist.
        """
        path = sequence_path(self.folder, sequence_id)
        if not path.is_file():
            raise UnreadableSource(f"sequence {sequence_id} is not in {self.folder}")
        # ParquetFile reads this one file; read_table would scan the path as a data set.
        table = pq.ParquetFile(path).read()
        columns = {name: table[name].to_pylist() for name in table.column_names}
        views = [np.asarray(Image.open(io.BytesIO(image))) for image in columns["image"]]
        return Sequence(
            identity_id=columns["identity_id"][0],
            sequence_id=sequence_id,
            views=np.stack(views),
            cameras=Cameras(
                np.array(columns["cam_to_world"], np.float32).reshape(-1, 4, 4),
                float(columns["fov_y_deg"][0]),
            ),
            kind=np.array(columns["kind"]),
            azimuth_deg=np.array(columns["azimuth_deg"], np.float32),
            elevation_deg=np.array(columns["elevation_deg"], np.float32),
            landmarks=np.array(columns["landmarks"], np.float32).reshape(-1, 5, 2),
            landmark_visible=np.array(columns["landmark_visible"], bool),
            labels={name: columns[name][0] for name in LABELS},
        )
