"""Judge: how well an avatar came out, and whether that is good enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.cameras import look_at_origin
from pipeline.model_config import ModelConfig
from pipeline.portrait.faces import FaceEmbedder, FacePack, face_networks, largest
from pipeline.portrait.pose_network import PoseEstimator
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.tries import judged

if TYPE_CHECKING:
    from pipeline.gaussians import Gaussians

DIGITS = 4
"""Of the cosine, which is compared with the threshold as it is recorded."""


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """What `Judge` is built from.

    Attributes:
        model: model folder.
        face_pack: the one that `Prepare` has; identities of different networks are no more alike
            than chance.
        min_identity: least cosine with the portrait, -1 to 1; None lets every avatar pass.
        threads: onnxruntime threads.
    """

    model: Path
    face_pack: Path | None = None
    min_identity: float | None = None
    threads: int = 1


class Judge(Stage):
    """Compare an avatar with its views, and its face with the portrait's."""

    name: ClassVar[str] = "Judge"
    inputs: ClassVar[tuple[str, ...]] = ("gaussians", "views", "identity")
    outputs: ClassVar[tuple[str, ...]] = ("scores", "face_found", "below_threshold", "tries")
    resources = Resources(cpus=1.0, memory_gb=2.0)

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self._pack: FacePack | None = None
        self._embedder: FacePack | FaceEmbedder | None = None
        self._pose: PoseEstimator | None = None

    def setup(self, device: str) -> None:
        """Load the face networks; they run on the CPU whatever ``device``.

        Raises:
            ModelNotFound: one is missing or damaged.
        """
        self.model_config = ModelConfig.load(self.config.model)
        self._pack, self._embedder = face_networks(
            self.config.model,
            self.config.face_pack,
            self.config.threads,
            self.model_config.identity_input,
        )
        self._pose = PoseEstimator(self.config.model, self.config.threads)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Add ``scores`` and ``face_found``, and what follows from them, see `pipeline.tries`.

        The scores are those of `reconstruction.scores.avatar_scores` and ``identity_cosine``,
        -1 to 1: how like the portrait's face the avatar's is, seen from the front. An avatar that
        shows no face there has ``face_found`` False and a cosine of 0.
        """
        return [self._judge(row, context) for row in rows]

    def _judge(self, row: Row, context: Context) -> Row:
        from pipeline.gaussians import Gaussians
        from pipeline.reconstruction.scores import avatar_scores

        context.checkpoint(self.name, 0, 2)
        gaussians = Gaussians.from_array(row["gaussians"])
        cameras = look_at_origin(self.model_config.azimuths, self.model_config.elevation_deg)
        scores = avatar_scores(gaussians, row["views"], cameras)
        context.checkpoint(self.name, 1, 2)
        identity = self._front_identity(gaussians)
        cosine = 0.0 if identity is None else float(identity @ row["identity"])
        scores["identity_cosine"] = round(cosine, DIGITS)
        return {
            **judged(row, scores, self.config.min_identity),
            "face_found": identity is not None,
        }

    def _front_identity(self, gaussians: "Gaussians") -> npt.NDArray[np.float32] | None:
        """Unit vector of the face seen from the front; None if none is seen."""
        from pipeline.rendering import render_u8

        assert self._pack is not None, "setup was not called"
        assert self._embedder is not None, "setup was not called"
        assert self._pose is not None, "setup was not called"
        front = render_u8(gaussians, look_at_origin(0.0, 0.0), self.model_config.portrait_px)[0]
        faces = self._pack.find(front)
        if not faces:
            return None
        _, landmarks = self._pose(front, largest(faces).landmarks)
        return self._embedder.embed(front, landmarks)
