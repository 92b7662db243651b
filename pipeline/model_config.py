"""The ``model_index.json`` of a model folder: sizes, orbit and sampling defaults of its stages."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from pipeline.cameras import orbit_azimuths_deg
from pipeline.errors import ModelNotFound

INDEX = "model_index.json"
IDENTITY_FOLDER = "identity"
"""Subfolder with an ArcFace network of whole portraits, in models whose stages learnt from one."""
POSE_FOLDER = "pose"
"""Subfolder with a network that corrects the pose, in models that do not leave it to landmarks."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One diffusion stage of a model folder.

    Attributes:
        size_px: side of the stage's views.
        steps: denoising steps.
        guidance: of the view that is guided most, see `OrbitPipeline`; 1 switches it off.
    """

    size_px: int
    steps: int
    guidance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the stages must know of a model folder besides its weights.

    Attributes:
        preset: ``embedded`` or ``paper``.
        portrait_px: side of the framed portrait.
        lowres: the first diffusion stage.
        highres: the second; its size is a multiple of the first one's. None: the first one's views
            are the avatar's, as in the paper's ablation -TS.
        azimuths_deg: the views of the orbit, starting with 0.
        elevation_deg: of the orbit.
        identity_input: what the identity network sees: the ``face``, cut out by its landmarks for
            the network in ``face/``; or the whole ``portrait``, small, for the one in
            `IDENTITY_FOLDER`, as in the paper's release.
        licences: licence of each component's weights.
        sources: for each imported component its ``origin``, the ``sha256`` of the published files
            by name and, where several files bring the same, the digest of its ``tensors``.
    """

    preset: str = "embedded"
    portrait_px: int = 256
    lowres: StageConfig = StageConfig(size_px=64, steps=10)
    highres: StageConfig | None = StageConfig(size_px=128, steps=8)
    azimuths_deg: tuple[float, ...] = tuple(float(a) for a in orbit_azimuths_deg())
    elevation_deg: float = 0.0
    identity_input: Literal["face", "portrait"] = "face"
    licences: dict[str, str] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def azimuths(self) -> npt.NDArray[np.float32]:
        """The orbit's azimuths, [V] float32 in [0, 360) degrees."""
        return np.asarray(self.azimuths_deg, np.float32)

    @classmethod
    def load(cls, model: Path) -> Self:
        """Read the config of a model folder.

        Raises:
            ModelNotFound: the file is missing or does not hold these fields.
        """
        path = model / INDEX
        try:
            values = json.loads(path.read_text())
            lowres, highres = StageConfig(**values.pop("lowres")), values.pop("highres")
            highres = None if highres is None else StageConfig(**highres)
            azimuths_deg = tuple(values.pop("azimuths_deg"))
            return cls(lowres=lowres, highres=highres, azimuths_deg=azimuths_deg, **values)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelNotFound(
                f"{path} is not a headsplat model index ({error}); give a folder that "
                "`headsplat train` wrote"
            ) from error

    def save(self, model: Path) -> None:
        """Write ``model_index.json`` into a model folder."""
        model.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)
        (model / INDEX).write_text(text + "\n")
