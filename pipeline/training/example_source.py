"""What training examples are made from; two sources with one key have the same examples."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.digital_human.dataset import HeadDataset
from pipeline.digital_human.store import list_sequences, read_description
from pipeline.errors import UsageError
from pipeline.model_config import IDENTITY_FOLDER, ModelConfig
from pipeline.model_folder import model_hash
from pipeline.portrait.faces import FACE_FOLDER

HELD_OUT_PEOPLE = 8
_CODE_VERSION = 1
"""Raised with every change of code that changes examples, so that older ones are made anew."""


@dataclass(frozen=True, kw_only=True)
class ExampleSource:
    """What a set of training examples is made from.

    Attributes:
        data: address of the dataset.
        size_px: side of all images.
        model: model folder with the autoencoder, the face pack and, for the second stage, the
            first one. None: the examples are orbits alone, for an autoencoder.
        held_out: the first `HELD_OUT_PEOPLE` of the test split as images, to judge by, instead of
            the training split as latents.
        copies: portraits made of each random view.
        mirrored: each sequence is also there as a mirror shows it.
        without: accessories whose wearers are left out.
        images: the training split's orbits are there as images too.
        second_stage: the low-resolution views that it starts from are there as well.
    """

    data: str
    size_px: int
    model: Path | None = None
    held_out: bool = False
    copies: int = 1
    mirrored: bool = False
    without: tuple[str, ...] = ()
    images: bool = False
    second_stage: bool = False

    def dataset(self) -> HeadDataset:
        """The split of the dataset.

        Raises:
            UsageError: there is nobody in it.
            UnreadableSource: there is no dataset.
        """
        found = HeadDataset(self.data, "test" if self.held_out else "train")
        if not found.sequences:
            raise UsageError(
                f"{found.root.uri} lacks people to train on or to judge by; render 10 identities "
                "or more, every tenth is held out"
            )
        if self.held_out:
            found.sequences = found.sequences[:HELD_OUT_PEOPLE]
        return found

    @property
    def identity_folder(self) -> str:
        """The subfolder of the model with the network that embeds the portraits."""
        assert self.model is not None, "orbits alone have no portraits"
        whole = ModelConfig.load(self.model).identity_input == "portrait"
        return IDENTITY_FOLDER if whole else FACE_FOLDER

    def made_of(self, dataset: HeadDataset) -> dict[str, Any]:
        """Everything that the examples depend on, as JSON values.

        Weights count by their content, so that copies of a model folder share examples.
        """
        sizes = list_sequences(dataset.root)
        options = {name: value for name, value in asdict(self).items() if name != "model"}
        return {
            **options,
            "data": dataset.root.uri,
            "code_version": _CODE_VERSION,
            "dataset": read_description(dataset.root),
            "sequences": _digest([[one, sizes.get(one)] for one in dataset.sequences]),
            "networks": {} if self.model is None else self._networks(self.model),
        }

    def _networks(self, model: Path) -> dict[str, Any]:
        used = {name: model_hash(model / name) for name in ("vae", self.identity_folder)}
        if not self.second_stage:
            return used
        return used | {"lowres": [model_hash(model / "lowres"), *_sampled(model)]}


def key_of(made_of: dict[str, Any]) -> str:
    """The name of a set of examples, 16 hex digits."""
    return _digest(made_of)[:16]


def _sampled(model: Path) -> tuple[int, int]:
    stage = ModelConfig.load(model).lowres
    return stage.size_px, stage.steps


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
