"""What decides an avatar besides the photo, and the id that follows from both.

The id is the hash of the photo's bytes and the recipe, so the same photo made in the same way has
the same name wherever and however often it is made. Resuming a run, leaving out duplicates and
writing the same artefact twice without harm are all this one idea.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

GRAPH_VERSION = 8
"""Raised with every change of code that changes avatars, so that older ones are made anew."""
ID_DIGITS = 24
"""Hexadecimal digits of an id: 96 bits, so ten million photos never share one by chance."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything besides the photo that the bytes of an avatar depend on.

    Attributes:
        model_hash: content hash of the model folder, see `pipeline.model_folder.model_hash`.
        seed: the user's seed; every photo starts from the same one.
        faces: ``largest`` makes one avatar a photo, ``all`` one a face.
        options: the quality options, JSON values by name.
        graph_version: of the code.
    """

    model_hash: str
    seed: int = 0
    faces: str = "largest"
    options: Mapping[str, Any] = field(default_factory=dict)
    graph_version: int = GRAPH_VERSION

    def photo_id(self, image_sha256: str) -> str:
        """The id for a photo, `ID_DIGITS` hexadecimal digits."""
        made_of = json.dumps([image_sha256, asdict(self)], sort_keys=True)
        return hashlib.sha256(made_of.encode()).hexdigest()[:ID_DIGITS]


def face_id(photo_id: str, face_index: int) -> str:
    """The id for one of several faces in a photo, ``face_index`` counted from 0."""
    return f"{photo_id}-{face_index}"
