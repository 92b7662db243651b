"""``headsplat models``: what a model folder holds."""

import json as json_module
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from pipeline.model_config import ModelConfig
from pipeline.model_folder import components, model_hash, resolve_model


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Say what a model folder holds, and the hash that goes into every avatar made with it.

    Example: headsplat models info runs/my-model

    Attributes:
        model: the model folder; without it, the one that ships with headsplat.
        json: print one JSON object.
    """

    model: tyro.conf.Positional[Path | None] = None
    json: bool = False


def info(options: InfoOptions) -> int:
    """Print the components, sizes and hash of a model folder.

    Raises:
        ModelNotFound: there is none.
    """
    folder = resolve_model(options.model)
    parts = components(folder)
    card = folder / "README.md"
    record = {
        "model": str(folder),
        "hash": model_hash(folder),
        "size_bytes": sum(part.size_bytes for part in parts),
        "card": str(card) if card.is_file() else None,
        "licences": dict(ModelConfig.load(folder).licences),
        "components": [asdict(part) for part in parts],
    }
    if options.json:
        print(json_module.dumps(record))
        return 0
    print(f"{folder}\n  hash {record['hash']}")
    for part in parts:
        licence = ModelConfig.load(folder).licences.get(part.name, "licence not recorded")
        print(f"  {part.name:<20}{part.size_bytes / 1e6:8.1f} MB  {licence}")
    if record["card"]:
        print(f"  how it was made: {card}")
    return 0
