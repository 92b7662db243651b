"""What published files are, by their names and tensors, and which components they hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import ModelNotFound, UsageError
from pipeline.model_config import ModelConfig
from pipeline.published.face_pack import face_pack_parts
from pipeline.published.gaussian_network import gaussian_parts
from pipeline.published.parts import Part
from pipeline.published.release import (
    ARCFACE_FILE,
    MODEL,
    RECON_FILE,
    STAGE_FILES,
    arcface_parts,
    stage_parts,
)
from pipeline.published.video_diffusion import MODEL as START_MODEL
from pipeline.published.video_diffusion import is_video_diffusion, video_diffusion_parts
from pipeline.stages.reconstruct import NETWORK

RELEASE_FILES = (*STAGE_FILES, RECON_FILE, ARCFACE_FILE)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a source holds.

    Attributes:
        parts: components; the first of a name is the one to write.
        model: the config that a folder needs whose diffusion stages these are.
    """

    parts: list[Part]
    model: ModelConfig


def read_source(
    path: Path, cameras: Literal["lgm", "release"] | None, stage: Literal["lowres", "highres"]
) -> Source:
    """Open a source and check each tensor in it.

    Args:
        path: a file of the release or of LGM, or a folder with files of the release, with a
            diffusers pipeline of Stable Video Diffusion or with a face pack.
        cameras: of a Gaussian network's training, which its file does not say.
        stage: which one a Stable Video Diffusion folder shall start.

    Raises:
        ModelNotFound: it is none of these, or a tensor is missing, misshapen or unknown.
        UsageError: the cameras are needed and not given.
    """
    if path.is_file():
        return _of_files([path], cameras)
    release = [path / name for name in RELEASE_FILES if (path / name).is_file()]
    if release:
        return _of_files(release, "release")
    if is_video_diffusion(path):
        return Source(parts=video_diffusion_parts(path, stage), model=START_MODEL)
    if any(path.glob("*.onnx")):
        return Source(parts=face_pack_parts(path), model=START_MODEL)
    raise ModelNotFound(
        f"{path} holds nothing that can be imported; give a folder with some of "
        f"{', '.join(RELEASE_FILES)}, with a diffusers pipeline of Stable Video Diffusion or with "
        "a face pack, or one of these files, or a .safetensors file of LGM"
    )


def _of_files(paths: list[Path], cameras: str | None) -> Source:
    parts = [part for path in paths for part in _file_parts(path, cameras)]
    alone = all(part.component == NETWORK for part in parts)  # goes with any diffusion stages
    return Source(parts=parts, model=START_MODEL if alone else MODEL)


def _file_parts(path: Path, cameras: str | None) -> list[Part]:
    if path.name in STAGE_FILES:
        return stage_parts(path, STAGE_FILES[path.name])
    if path.name == ARCFACE_FILE:
        return arcface_parts(path)
    if path.suffix != ".safetensors":
        raise ModelNotFound(
            f"{path} has the name of no published file; the release's are "
            f"{', '.join(RELEASE_FILES)}, and other Gaussian networks are .safetensors files"
        )
    if cameras is None:
        raise UsageError(
            f"{path.name} does not say which cameras its network learnt from; add --cameras lgm, "
            "or --cameras release for the recon.safetensors of the paper's release"
        )
    return gaussian_parts(path, cameras)
