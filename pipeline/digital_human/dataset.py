"""Reading datasets of digital humans, in a folder or in an object store."""

import dataclasses
import os
from collections.abc import Sequence as ListLike
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cameras import Cameras, azimuth_distance_deg
from pipeline.digital_human.dataset_options import SAME_ANGLE_DEG, DatasetOptions, no_ring
from pipeline.digital_human.ground_truth import TRUTH_COLUMNS, GroundTruth, decode_png
from pipeline.digital_human.index import damaged
from pipeline.digital_human.sequence import LABELS
from pipeline.digital_human.store import (
    is_held_out,
    list_sequences,
    read_description,
    sequence_file,
)
from pipeline.errors import UnreadableSource, UsageError
from pipeline.portrait.alignment import MIRRORED_ORDER
from pipeline.storage import locate

SPLITS = ("train", "test", "all")
_COLUMNS = (
    "identity_id", "kind", "azimuth_deg", "elevation_deg", "image", "cam_to_world", "fov_y_deg",
    "landmarks", "landmark_visible", "head_cut", *LABELS,
)  # fmt: skip


@dataclass(frozen=True)
class Sequence:
    """Views of one sequence.

    Attributes:
        identity_id, sequence_id: who, and which appearance.
        views: [V, H, W, 4] uint8 sRGB, straight alpha.
        cameras: V cameras.
        kind: [V] ``grid`` or ``random``.
        azimuth_deg, elevation_deg: [V] float32.
        landmarks: [V, 5, 2] float32 pixels.
        landmark_visible: [V, 5] bool.
        head_cut: [V] bool, whether more than the bust reaches the top or side borders.
        labels: text and number labels of the sequence.
        truth: depth, normals and parts of the views, if they were asked for.
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
    head_cut: npt.NDArray[np.bool_]
    labels: dict[str, str | float]
    truth: GroundTruth | None = None

    def ring(self, elevation_deg: float = 0.0) -> npt.NDArray[np.int64]:
        """Places in ``views`` of the ring at this elevation, in azimuth order from the front.

        Raises:
            UnreadableSource: there is no such ring among the views.
        """
        on_grid = self.kind == "grid"
        near = np.abs(self.elevation_deg - elevation_deg) < SAME_ANGLE_DEG
        ring = np.flatnonzero(on_grid & near)
        if not len(ring):
            raise no_ring(elevation_deg, self.elevation_deg[on_grid])
        return ring[np.argsort(self.azimuth_deg[ring], kind="stable")]

    def mirrored(self) -> "Sequence":
        """The sequence as a mirror shows it: another plausible person, seen from the same grid.

        The view of a ring at azimuth a shows the old view at -a, so rings keep their azimuths;
        random views keep their place and change the sign of theirs.

        Raises:
            UsageError: a ring is not symmetric about the face.
        """
        order = self._mirror_order()
        signs = np.outer([-1, 1, 1, 1], [-1, 1, 1, 1])
        poses = (self.cameras.cam_to_world[order] * signs).astype(np.float32)
        landmarks = self.landmarks[order][:, MIRRORED_ORDER]
        landmarks[..., 0] = self.views.shape[2] - landmarks[..., 0]
        return dataclasses.replace(
            self,
            views=np.ascontiguousarray(self.views[order, :, ::-1]),
            cameras=Cameras(poses, self.cameras.fov_y_deg),
            azimuth_deg=np.where(self.kind == "grid", self.azimuth_deg, -self.azimuth_deg),
            landmarks=landmarks,
            landmark_visible=self.landmark_visible[order][:, MIRRORED_ORDER],
            head_cut=self.head_cut[order],
            truth=None if self.truth is None else self.truth.mirrored(order),
        )

    def _mirror_order(self) -> npt.NDArray[np.int64]:
        """The view that a mirror shows at each place."""
        order = np.arange(len(self.views))
        for elevation in np.unique(self.elevation_deg[self.kind == "grid"]):
            ring = self.ring(float(elevation))
            azimuths = self.azimuth_deg[ring]
            apart = azimuth_distance_deg(azimuths[:, None], -azimuths)
            if (alone := apart.min(1) > SAME_ANGLE_DEG).any():
                azimuth = float(azimuths[alone][0])
                raise UsageError(
                    f"the ring at elevation {elevation:g} has a view at azimuth {azimuth:g} but "
                    f"none at {-azimuth % 360:g}: only rings that are symmetric about the face "
                    "can be mirrored"
                )
            order[ring] = ring[apart.argmin(1)]
        return order


class HeadDataset:
    """Reads a dataset; one that is still being rendered shows what is complete.

    The folder is listed once, here; `load` opens one file. Instances can be pickled.

    Args:
        address: folder, or URI such as ``s3://bucket/heads``, with ``dataset.json``.
        split: ``train``, ``test`` (held-out identities) or ``all``.

    Attributes:
        root: where it is.
        options: that the dataset was rendered with.
        sequences: ids of the split's sequences, ascending.

    Raises:
        UsageError: for an unknown split.
        UnreadableSource: when there is no dataset.
    """

    def __init__(self, address: str | os.PathLike[str], split: str = "train") -> None:
        if split not in SPLITS:
            raise UsageError(f"split {split!r} is none of {', '.join(SPLITS)}")
        self.root = locate(os.fspath(address))
        self.options = DatasetOptions.from_json(read_description(self.root)["options"])
        self.sequences = [
            sequence_id
            for sequence_id in list_sequences(self.root)
            if split == "all"
            or is_held_out(self.options.identity_of(sequence_id)) == (split == "test")
        ]

    def __len__(self) -> int:
        return len(self.sequences)

    def load(
        self, sequence_id: int, views: ListLike[int] | None = None, truth: bool = False
    ) -> Sequence:
        """Read a sequence and decode the views that are asked for.

        Args:
            sequence_id: one of ``sequences``.
            views: numbers of the views, see `DatasetOptions.ring`, in the order wanted; None
                takes all.
            truth: also decode depth, normals and parts.

        Raises:
            UnreadableSource: the sequence does not exist, is damaged, or holds no truth.
            UsageError: there is no such view.
        """
        columns = self._columns(sequence_id, views, truth)
        return Sequence(
            identity_id=columns["identity_id"][0],
            sequence_id=sequence_id,
            views=np.stack([decode_png(image) for image in columns["image"]]),
            cameras=Cameras(
                np.array(columns["cam_to_world"], np.float32).reshape(-1, 4, 4),
                float(columns["fov_y_deg"][0]),
            ),
            kind=np.array(columns["kind"]),
            azimuth_deg=np.array(columns["azimuth_deg"], np.float32),
            elevation_deg=np.array(columns["elevation_deg"], np.float32),
            landmarks=np.array(columns["landmarks"], np.float32).reshape(-1, 5, 2),
            landmark_visible=np.array(columns["landmark_visible"], bool),
            head_cut=np.array(columns["head_cut"], bool),
            labels={name: columns[name][0] for name in LABELS},
            truth=GroundTruth.decode(*(columns[name] for name in TRUTH_COLUMNS)) if truth else None,
        )

    def _columns(
        self, sequence_id: int, views: ListLike[int] | None, truth: bool
    ) -> dict[str, list[Any]]:
        if truth and not self.options.ground_truth:
            raise UnreadableSource(
                f"{self.root.uri} holds no ground truth; render it with --ground-truth"
            )
        table = self._table(sequence_id, [*_COLUMNS, *(TRUTH_COLUMNS if truth else ())])
        if views is not None:
            wrong = [view for view in views if not 0 <= view < table.num_rows]
            if wrong or not views:
                raise UsageError(
                    f"view {wrong[0] if wrong else 'none'} of sequence {sequence_id} was asked "
                    f"for; it has views 0 to {table.num_rows - 1}"
                )
            table = table.take(list(views))
        return {name: table[name].to_pylist() for name in table.column_names}

    def _table(self, sequence_id: int, columns: list[str]) -> pa.Table:
        place = sequence_file(self.root, sequence_id)
        try:
            with self.root.filesystem.open_input_file(place.path) as file:
                # in one thread: whoever wants more speed loads several sequences side by side
                return pq.ParquetFile(file).read(columns, use_threads=False)
        except FileNotFoundError as error:
            raise UnreadableSource(f"sequence {sequence_id} is not in {self.root.uri}") from error
        except (OSError, pa.ArrowException) as error:
            raise damaged(place, error) from error
