"""``headsplat models info``: what a model folder holds."""

import json as json_module
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from pipeline.model_config import ModelConfig
from pipeline.model_folder import components, model_hash, resolve_model
from pipeline.published.policy import NOT_RECORDED, restriction


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Say what a model folder holds, and the hash that goes into every avatar made with it.

    Example: headsplat models info runs/my-model

    Attributes:
        model: the model folder; without it, the one that ships with headsplat.
        commercial: say which components are not for commercial use, and fail if there are any.
        json: print one JSON object.
    """

    model: tyro.conf.Positional[Path | None] = None
    commercial: bool = False
    json: bool = False


def info(options: InfoOptions) -> int:
    """Print the components, sizes and hash of a model folder.

    Returns:
        1 if the components shall be for commercial use and some are not, else 0.

    Raises:
        ModelNotFound: there is none.
    """
    folder = resolve_model(options.model)
    config = ModelConfig.load(folder)
    parts = components(folder)
    card = folder / "README.md"
    record = {
        "model": str(folder),
        "hash": model_hash(folder),
        "size_bytes": sum(part.size_bytes for part in parts),
        "card": str(card) if card.is_file() else None,
        "licences": dict(config.licences),
        "sources": dict(config.sources),
        "components": [asdict(part) for part in parts],
    }
    refused = _refused(config, [part.name for part in parts]) if options.commercial else {}
    if options.commercial:
        record["not_commercial"] = refused
    print(json_module.dumps(record) if options.json else _told(record, refused))
    return 1 if refused else 0


def _refused(config: ModelConfig, names: list[str]) -> dict[str, str]:
    """The components that are not for commercial use, and why."""
    reasons = {
        name: restriction(
            config.sources.get(name, {}).get("origin"), config.licences.get(name, NOT_RECORDED)
        )
        for name in names
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _told(record: dict[str, Any], refused: dict[str, str]) -> str:
    lines = [record["model"], f"  hash {record['hash']}"]
    for part in record["components"]:
        licence = record["licences"].get(part["name"], NOT_RECORDED)
        lines.append(f"  {part['name']:<20}{part['size_bytes'] / 1e6:8.1f} MB  {licence}")
        digests = record["sources"].get(part["name"], {}).get("sha256", {})
        lines += [f"    from {name}, sha256 {digest}" for name, digest in digests.items()]
    if record["card"]:
        lines.append(f"  how it was made: {record['card']}")
    lines += [f"  not for commercial use: {name}, {reason}" for name, reason in refused.items()]
    return "\n".join(lines)
