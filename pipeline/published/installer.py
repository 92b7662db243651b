"""Putting checked components into a model folder: each whole or not at all, none twice."""

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.model_config import IDENTITY_FOLDER, INDEX, ModelConfig
from pipeline.model_folder import file_sha256
from pipeline.published.parts import Part
from pipeline.published.policy import restriction

_STAGES = ("lowres", "highres")
_LEARNT = ("portrait_px", "azimuths_deg", "identity_input", *_STAGES)
"""Settings that diffusion stages learnt to live with, and that a folder has once for both."""


@dataclass
class Installed:
    """What an import did.

    Attributes:
        components: a record of each component that was written.
        notes: what its user should know besides.
    """

    components: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_policy(parts: Sequence[Part], licence: str) -> None:
    """Refuse components that are not for commercial use.

    Raises:
        UsageError: there are such.
    """
    reasons = {part.component: restriction(part.origin, licence) for part in parts}
    told = [f"{component}: {reason}" for component, reason in reasons.items() if reason]
    if told:
        raise UsageError(
            f"not for commercial use ({'; '.join(told)}); import without --commercial if your own "
            "agreement with their authors allows it"
        )


def install(parts: Sequence[Part], model: Path, wanted: ModelConfig, licence: str) -> Installed:
    """Write the components and record their licence, origin and digests.

    Args:
        parts: of a source. Components that several of its files bring are written once, and so
            are the autoencoder and identity network that the folder has from the other stage.
        model: the folder; made with ``wanted`` if it does not exist.
        wanted: settings that the source's diffusion stages need.
        licence: of the weights.

    Raises:
        UsageError: a component exists already, or needs another autoencoder or other settings than
            the folder has.
        ModelNotFound: the folder is not a model.
    """
    config = _config(model, wanted, any(part.component in _STAGES for part in parts))
    done = Installed()
    made = not model.exists()
    fresh = _fresh(parts, model, config, done)
    model.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=model, prefix=".import-") as partial:
            for part in fresh:
                part.write(Path(partial) / part.component)
            for part in fresh:
                (Path(partial) / part.component).rename(model / part.component)
    except BaseException:
        if made:
            model.rmdir()
        raise
    records = {part.component: _source(part) for part in fresh}
    done.components = [
        {"component": one.component, "licence": licence, **records[one.component], **one.facts}
        for one in fresh
    ]
    dataclasses.replace(
        config,
        licences={**config.licences, **dict.fromkeys(records, licence)},
        sources={**config.sources, **records},
    ).save(model)
    return done


def _fresh(parts: Sequence[Part], model: Path, config: ModelConfig, done: Installed) -> list[Part]:
    """The parts to write; the others are compared with what is there."""
    known = {name: one.get("tensors") for name, one in config.sources.items()}
    fresh: list[Part] = []
    for part in parts:
        written = {one.component for one in fresh}
        if part.component not in written and not (model / part.component).exists():
            fresh.append(part)
            known[part.component] = part.tensors
        elif part.tensors is None or known.get(part.component) is None:
            raise UsageError(
                f"{model / part.component} exists; delete it, or import into another model folder"
            )
        elif part.tensors != known[part.component]:
            _refuse_or_note(part, model, done)
    if not fresh:
        raise UsageError(f"{model} has all of this already; delete what shall be replaced")
    return fresh


def _refuse_or_note(part: Part, model: Path, done: Installed) -> None:
    name = next(iter(part.files))
    if part.component != IDENTITY_FOLDER:
        raise UsageError(
            f"{name} brings another {part.component} than {model} has, and both stages share one; "
            "import it into another model folder"
        )
    done.notes.append(
        f"{name} holds another identity network than the one in use; the identities that its "
        "stage is told are then a little different from those it learnt from"
    )


def _config(model: Path, wanted: ModelConfig, stages: bool) -> ModelConfig:
    """The folder's config, with the settings that imported diffusion stages need."""
    if not model.exists():
        return wanted
    config = ModelConfig.load(model)
    if not stages:
        return config
    settings = {name: getattr(wanted, name) for name in ("preset", *_LEARNT)}
    if not any((model / stage).exists() for stage in _STAGES):
        return dataclasses.replace(config, **settings)
    differ = [name for name in _LEARNT if getattr(config, name) != getattr(wanted, name)]
    if differ:
        raise UsageError(
            f"the diffusion stage in {model} needs other settings ({', '.join(differ)} in "
            f"{INDEX}) than the one to import; import it into another model folder"
        )
    return config


def _source(part: Part) -> dict[str, Any]:
    files = {name: file_sha256(path) for name, path in part.files.items()}
    record: dict[str, Any] = {"origin": part.origin, "sha256": files}
    return record if part.tensors is None else record | {"tensors": part.tensors}
