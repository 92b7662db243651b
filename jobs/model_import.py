"""``headsplat models import``: weights that others published, into a model folder.

What a file holds decides where it goes. So far that is LGM's network and the one of the paper's
release, which become the folder's Gaussian network.
"""

import dataclasses
import json as json_module
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from pipeline.errors import UsageError
from pipeline.model_config import ModelConfig
from pipeline.model_folder import file_sha256
from pipeline.stages.reconstruct import INPUT_VIEWS, NETWORK


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Put published weights into a model folder, which from then on reconstructs with them.

    Example: headsplat models import recon.safetensors my-model --cameras release --licence unknown

    Attributes:
        source: a .safetensors file with a Gaussian network of LGM's tiny, small or big size.
        model: the model folder it goes into, a copy of another one or made by headsplat train.
        cameras: which orbit the network was trained on, which its file does not say: LGM's, or
            that of the paper's release (recon.safetensors).
        licence: of the weights, as their authors state it; it is kept in the model folder.
        json: print one JSON object.
    """

    source: tyro.conf.Positional[Path]
    model: tyro.conf.Positional[Path]
    cameras: Literal["lgm", "release"]
    licence: str
    json: bool = False


def import_weights(options: ImportOptions) -> int:
    """Load the weights, check them against the network and write them as a component.

    Raises:
        ModelNotFound: the source is no such file, or the model no model folder.
        UsageError: the model folder has a Gaussian network already, or the licence is empty.
    """
    config = ModelConfig.load(options.model)
    folder = options.model / NETWORK
    if folder.exists():
        raise UsageError(f"{folder} exists; delete it, or import into another model folder")
    if not options.licence.strip():
        raise UsageError("--licence is empty; say under which licence the weights are")
    record = _write_network(options.source, folder, options.cameras)
    licences = {**config.licences, NETWORK: options.licence}
    dataclasses.replace(config, licences=licences).save(options.model)
    record |= {"licence": options.licence, "sha256": file_sha256(options.source)}
    if options.json:
        print(json_module.dumps(record))
        return 0
    print("\n".join(f"  {name:<20}{value}" for name, value in record.items()))
    return 0


def _write_network(source: Path, folder: Path, cameras: str) -> dict[str, Any]:
    """Write a Gaussian network to ``folder``, whole or not at all, and say what was found."""
    from pipeline.reconstruction.checkpoints import TRAINED_CAMERAS, load_checkpoint, preset_of
    from pipeline.reconstruction.lgm import lgm_config

    preset = preset_of(source)
    network = load_checkpoint(source, {**lgm_config(preset), **TRAINED_CAMERAS[cameras]})
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".import-") as partial:
        network.save_pretrained(Path(partial) / NETWORK)
        (Path(partial) / NETWORK).rename(folder)
    return {
        "component": str(folder),
        "preset": preset,
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
        "dtype": str(network.dtype).removeprefix("torch."),
        "gaussians": INPUT_VIEWS * network.splat_px**2,
        "camera_radius": network.config.camera_radius,
        "fov_y_deg": network.config.fov_y_deg,
    }
