"""Both diffusion stages from a dataset folder and the parts of the model trained before them."""

from pathlib import Path

from pipeline.diffusion.loading import load_vae
from pipeline.digital_human.dataset import HeadDataset
from pipeline.portrait.faces import FaceEmbedder
from pipeline.training.diffusion import HIGHRES, LOWRES, DiffusionConfig, DiffusionPart
from pipeline.training.subjects import load_subjects

HELD_OUT_SUBJECTS = 8


def lowres_part(data: Path, model: Path, start_from: Path | None = None) -> DiffusionPart:
    """The first stage; ``model`` holds the autoencoder and the face pack."""
    return _part(data, model, LOWRES, start_from)


def highres_part(data: Path, model: Path, start_from: Path | None = None) -> DiffusionPart:
    """The second stage; ``model`` holds the autoencoder and the face pack."""
    return _part(data, model, HIGHRES, start_from)


def _part(
    data: Path, model: Path, config: DiffusionConfig, start_from: Path | None
) -> DiffusionPart:
    embed = FaceEmbedder(model / "face").embed
    train = load_subjects(HeadDataset(data, "train"), config.size_px, embed)
    held_out = load_subjects(
        HeadDataset(data, "test"), config.size_px, embed, copies=1, limit=HELD_OUT_SUBJECTS
    )
    return DiffusionPart(train, held_out, load_vae(model), config, start_from)
