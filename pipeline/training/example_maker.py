"""Makes training examples with the networks that embed and encode them, loaded once."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.cameras import look_at_origin
from pipeline.diffusion.latents import Autoencoder
from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.digital_human.dataset import HeadDataset
from pipeline.images import Bytes
from pipeline.model_config import IDENTITY_FOLDER, ModelConfig
from pipeline.portrait.faces import FaceEmbedder, PortraitEmbedder
from pipeline.reconstruction.projected_portrait import project_portrait
from pipeline.training.example_source import ExampleSource
from pipeline.training.examples import Columns, Examples, Indices
from pipeline.training.lowres_views import FirstStage, enlarge_all, imitate_lowres
from pipeline.training.subjects import Embed, encode_all, load_orbits, load_subjects

_PORTRAITS = 2
"""Of which the first stage makes the views of a person, where portraits are laid over them."""


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
        kinds, portraits = self._lowres_views(columns) if self.source.second_stage else ([], None)
        del columns["cutouts"]
        if self.source.held_out:
            return columns | ({"lowres": torch.from_numpy(kinds[0])} if kinds else {})
        made = columns | {
            "view_latents": self._encoded(columns["orbit"].numpy()),
            "portrait_latents": self._encoded(columns["portraits"].numpy()),
        }
        if kinds:
            made["lowres_latents"] = torch.cat([self._encoded(kind) for kind in kinds], 1)
            made["lowres_portraits"] = torch.from_numpy(portraits)
        if not self.source.images:
            del made["orbit"]
        return made

    def _lowres_views(self, columns: Columns) -> tuple[list[Bytes], Indices]:
        """What the first stage makes of some portraits, [S, V, P, P, 3] each, and imitated views.

        Returns:
            L kinds of views, and which portrait [S, L] each was made from.
        """
        source = self.source
        people = Examples([columns], self.dataset.options.azimuths_deg)
        numbers, count = columns["number"].numpy(), people.shape("portraits")[0]
        apart = count // _PORTRAITS + 1  # not a copy of the same view
        turns = range(1 if source.held_out or not source.projects_portrait else _PORTRAITS)
        which = [(numbers + turn * apart) % count for turn in turns]
        kinds = [self._first_stage.views(people, one) for one in which]
        if not source.held_out:
            total = len(self.dataset) * (2 if source.mirrored else 1)
            orbit = columns["orbit"].numpy()
            kinds.append(imitate_lowres(orbit, self._lowres_px, numbers, total))
            which.append((numbers + 1) % count)
        laid = [self._enlarged(people, *one) for one in zip(kinds, which, strict=True)]
        return laid, np.stack(which, 1)

    def _enlarged(self, people: Examples, views: Bytes, which: Indices) -> Bytes:
        """Orbits [S, V, P, P, 3] as the second stage is given them."""
        size_px = self.source.size_px
        if not self.source.projects_portrait:
            return enlarge_all(views, size_px)
        orbit = look_at_origin(people.orbit_azimuths_deg, 0.0)
        who = np.arange(len(people))
        cutouts, azimuths_deg, elevations_deg = (
            people.pick(column, who, which).numpy()
            for column in ("cutouts", "azimuth_deg", "elevation_deg")
        )
        cameras = look_at_origin(azimuths_deg, elevations_deg)
        people_views = zip(views, cutouts, range(len(who)), strict=True)
        return np.stack(
            [
                project_portrait(one, orbit, cutout, cameras[[number]], size_px)
                for one, cutout, number in people_views
            ]
        )

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

    @property
    def _lowres_px(self) -> int:
        return ModelConfig.load(self._model).lowres.size_px

    @cached_property
    def _first_stage(self) -> FirstStage:
        settings = ModelConfig.load(self._model).lowres
        pipeline = load_pipeline(self._model, "lowres", _device())
        return FirstStage(pipeline, settings.size_px, settings.steps)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
