"""``headsplat models import``: weights that others published, into a model folder."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from pipeline.errors import UsageError

_STILL_TO_GET = {
    "lowres": "import low_stage.pt of the release or a Stable Video Diffusion folder",
    "highres": "import high_stage.pt, or a Stable Video Diffusion folder with --stage highres",
    "reconstructor": "optional: import recon.safetensors or LGM's network",
    "face": "import a folder with insightface's buffalo_l, or copy face/ of another model",
    "matting": "copy matting/ of another model, such as the one that ships with headsplat",
}


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Put published weights into a model folder, checked tensor by tensor.

    Example: headsplat models import HQ-Head my-model --licence "not stated"

    Attributes:
        source: a folder with low_stage.pt, high_stage.pt, recon.safetensors and trained_arcface.pth
            of the paper's release, with a diffusers pipeline of Stable Video Diffusion or with an
            insightface pack; or one of the release's files, or a .safetensors file of LGM.
        model: the model folder it goes into; made if it does not exist.
        licence: of the weights, as their authors state it; it is kept in the model folder.
        cameras: which orbit a Gaussian network learnt from, needed for a .safetensors file alone.
        stage: which diffusion stage a Stable Video Diffusion folder shall start.
        commercial: refuse weights that are not for commercial use.
        json: print one JSON object.
    """

    source: tyro.conf.Positional[Path]
    model: tyro.conf.Positional[Path]
    licence: str
    cameras: Literal["lgm", "release"] | None = None
    stage: Literal["lowres", "highres"] = "lowres"
    commercial: bool = False
    json: bool = False


def import_weights(options: ImportOptions) -> int:
    """Load the weights, check them against our networks and write them as components.

    Raises:
        ModelNotFound: the source holds nothing we know or does not fit, or the model exists and is
            no model folder.
        UsageError: a component exists already, the licence is empty, or it is not for commercial
            use and shall be.
    """
    from pipeline.published.installer import check_policy, install
    from pipeline.published.sources import read_source

    if not options.licence.strip():
        raise UsageError("--licence is empty; say under which licence the weights are")
    source = read_source(options.source, options.cameras, options.stage)
    if options.commercial:
        check_policy(source.parts, options.licence)
    done = install(source.parts, options.model, source.model, options.licence)
    missing = {name: how for name, how in _STILL_TO_GET.items() if _lacks(options.model, name)}
    record = {
        "model": str(options.model),
        "components": done.components,
        "notes": done.notes,
        "missing": missing,
    }
    print(json_module.dumps(record) if options.json else _told(record))
    return 0


def _lacks(model: Path, component: str) -> bool:
    return not (model / component).is_dir()


def _told(record: dict[str, Any]) -> str:
    lines = [str(record["model"])]
    for component in record["components"]:
        lines.append(f"  {component['component']}")
        facts = {name: value for name, value in component.items() if name != "component"}
        lines += [f"    {name:<18}{_text(value)}" for name, value in facts.items()]
    lines += [f"  note: {note}" for note in record["notes"]]
    lines += [f"  missing: {name} - {how}" for name, how in record["missing"].items()]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return str(value)
