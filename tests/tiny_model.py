"""A model folder with the parts that training examples are made with, tiny and untrained."""

from pathlib import Path

import torch
from tiny_arcface import write_arcface
from tiny_diffusion import tiny_image_encoder, tiny_unet, tiny_vae

from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.pipeline import LowResPipeline
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.model_config import ModelConfig, StageConfig

EMBEDDING_DIM = 48
VIEWS = 4
"""Of an orbit."""


def write_model(folder: Path) -> Path:
    """An autoencoder, a face pack without detector, and a first stage of 16 px in two steps."""
    torch.manual_seed(3)
    encoder, projection = tiny_image_encoder(), IdentityProjection(EMBEDDING_DIM, 32).eval()
    stage = LowResPipeline(tiny_vae(), encoder, projection, tiny_unet(), edm_scheduler(40.0))
    stage.save_pretrained(folder / "lowres")
    stage.vae.save_pretrained(folder / "vae")
    write_arcface(folder / "face" / "arcface.onnx")
    ModelConfig(
        lowres=StageConfig(size_px=16, steps=2), highres=StageConfig(size_px=32, steps=2)
    ).save(folder)
    return folder
