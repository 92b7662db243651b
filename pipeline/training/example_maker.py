"""Makes training examples with the networks that embed and encode them, loaded once."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pipeline.diffusion.latents import Autoencoder
from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.digital_human.dataset import HeadDataset
from pipeline.images import Bytes
from pipeline.model_config import IDENTITY_FOLDER, ModelConfig
from pipeline.portrait.faces import FaceEmbedder, PortraitEmbedder
from pipeline.training.example_source import ExampleSource
from pipeline.training.examples import Columns, Examples
from pipeline.training.lowres_views import FirstStage, imitate_lowres
from pipeline.training.subjects import Embed, encode_all, load_orbits, load_subjects


class ExampleMaker:
    """Makes the columns of some people; cheap to pickle before the first ones.

    Args:
        source: what they are made from.
        dataset: the source's.
    """

    def __init__(self, source: ExampleSource, dataset: HeadDataset) -> None:
        self.source, self.dataset = source, dataset

    def make(self, places: range) -> Columns:
        """The examples of the sequences at these places; none if everybody is left out.

        Raises:
            ModelNotFound: the model folder lacks a part that the examples need.
            UnreadableSource: a sequence is damaged.
        """
        source = self.source
        if source.model is None:
            return load_orbits(self.dataset, places, source.size_px)
        columns = load_subjects(
            self.dataset,
            places,
            source.size_px,
            self._embed,
            copies=source.copies,
            mirrored=source.mirrored,
            without=source.without,
        )
        return self._with_latents(columns) if columns else {}

    def _with_latents(self, columns: Columns) -> Columns:
        kinds = self._lowres_views(columns) if self.source.second_stage else []
        if self.source.held_out:
            return columns | ({"lowres": torch.from_numpy(kinds[-1])} if kinds else {})
        made = columns | {
            "view_latents": self._encoded(columns["orbit"].numpy()),
            "portrait_latents": self._encoded(columns["portraits"].numpy()),
        }
        if kinds:
            made["lowres_latents"] = torch.cat([self._encoded(kind) for kind in kinds], 1)
        if not self.source.images:
            del made["orbit"]
        return made

    def _lowres_views(self, columns: Columns) -> list[Bytes]:
        """Imitated views and what the first stage makes; [S, V, P, P, 3] each."""
        total = len(self.dataset) * (2 if self.source.mirrored else 1)
        people = Examples([columns], self.dataset.options.azimuths_deg)
        imitated = imitate_lowres(
            columns["orbit"].numpy(), self.source.size_px // 2, columns["number"].numpy(), total
        )
        return [imitated, self._first_stage.views(people)]

    def _encoded(self, images: Bytes) -> Tensor:
        return encode_all(self._vae, images)

    @property
    def _model(self) -> Path:
        assert self.source.model is not None, "orbits alone need no network"
        return self.source.model

    @cached_property
    def _embed(self) -> Embed:
        name = self.source.identity_folder
        kind = PortraitEmbedder if name == IDENTITY_FOLDER else FaceEmbedder
        return kind(self._model / name).embed

    @cached_property
    def _vae(self) -> Autoencoder:
        vae: Autoencoder = load_vae(self._model).to(_device())
        return vae

    @cached_property
    def _first_stage(self) -> FirstStage:
        settings = ModelConfig.load(self._model).lowres
        pipeline = load_pipeline(self._model, "lowres", _device())
        return FirstStage(pipeline, settings.size_px, settings.steps)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
