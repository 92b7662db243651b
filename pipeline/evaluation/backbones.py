"""Loading the networks that some metrics need, from files that the user has.

A metric whose files are not there is left out, and the evaluation says why: what a network of
random weights makes of two images is no LPIPS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.errors import ModelNotFound
from pipeline.evaluation.scores import Backbones, Distance, Floats, Views
from pipeline.images import resize
from pipeline.portrait.faces import FaceEmbedder, PortraitEmbedder
from pipeline.reconstruction.lpips import Trunk, load_lpips

LPIPS_SIZE_PX: dict[Trunk, int] = {"vgg": 512, "alex": 224}
"""Side at which each trunk compares: numbers of another size are other numbers."""
DREAMSIM_FILES = (
    "dino_vitb16_pretrain.pth",
    "open_clip_vitb16_pretrain.pth.tar",
    "clip_vitb16_pretrain.pth.tar",
    "ensemble_lora",
    "facebookresearch_dino_main",
)
"""What the package ``dreamsim`` fetches into its cache for its default, the ensemble of three."""
_PAIRS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class BackboneFiles:
    """Where the networks are.

    Attributes:
        evaluator: folder with an ArcFace network; it need not be there.
        lpips_vgg: torchvision's VGG16 and the linear layers of LPIPS for it, or nothing.
        lpips_alex: the same for AlexNet.
        dreamsim: cache folder of the package ``dreamsim``, or None.
    """

    evaluator: Path
    lpips_vgg: tuple[Path, ...] = ()
    lpips_alex: tuple[Path, ...] = ()
    dreamsim: Path | None = None


def load_backbones(files: BackboneFiles) -> tuple[Backbones, dict[str, str]]:
    """The networks that are there, and why each other metric cannot be had.

    Raises:
        ModelNotFound: files that are there are damaged, or are not what they were given for.
    """
    distances: dict[str, Distance] = {}
    unavailable: dict[str, str] = {}
    for name, load in _LOADERS.items():
        found = load(files)
        if isinstance(found, str):
            unavailable[name] = found
        else:
            distances[name] = found
    if not files.evaluator.is_dir():
        reason = (
            f"{files.evaluator.name} is not in the model folder: train one with 'headsplat train "
            "evaluator', or give --evaluator"
        )
        return Backbones(distances=distances), unavailable | {"csim": reason, "csim_raw": reason}
    embed = FaceEmbedder(files.evaluator).embed
    embed_raw = PortraitEmbedder(files.evaluator).embed
    return Backbones(embed=embed, embed_raw=embed_raw, distances=distances), unavailable


def _lpips(files: tuple[Path, ...], trunk: Trunk) -> Distance | str:
    if not files:
        return f"no weights: --lpips-{trunk} takes the network's and those of LPIPS"
    size_px = LPIPS_SIZE_PX[trunk]
    network = load_lpips(files, trunk, size_px)

    def distance(images: Views, targets: Views) -> Floats:
        shown, wanted = (_in_0_to_1(resize(views, size_px)) for views in (images, targets))
        starts = range(0, len(images), _PAIRS_AT_ONCE)
        parts = [slice(start, start + _PAIRS_AT_ONCE) for start in starts]
        with torch.no_grad():
            found = torch.cat([network(shown[part], wanted[part]) for part in parts])
        return np.asarray(found.numpy(), np.float64)

    return distance


def _in_0_to_1(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """[V, H, W, 3] uint8 to [V, 3, H, W] float32."""
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1).float() / 255


def _dreamsim(folder: Path | None) -> Distance | str:
    if folder is None:
        return "no weights: --dreamsim takes the cache folder of the package dreamsim"
    missing = [name for name in DREAMSIM_FILES if not (folder / name).exists()]
    if missing:  # the package would fetch them
        raise ModelNotFound(
            f"{folder} lacks {', '.join(missing)}; let the package dreamsim fill it once: "
            f"dreamsim.dreamsim(cache_dir={str(folder)!r})"
        )
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        return f"the package dreamsim cannot be imported ({error}): pip install dreamsim"
    network, prepare = dreamsim(pretrained=True, device="cpu", cache_dir=str(folder))

    def distance(images: Views, targets: Views) -> Floats:
        pairs = zip(images, targets, strict=True)
        with torch.no_grad():
            return np.array(
                [float(network(*(prepare(Image.fromarray(one)) for one in pair))) for pair in pairs]
            )

    return distance


_LOADERS: dict[str, Callable[[BackboneFiles], Distance | str]] = {
    "lpips_vgg": lambda files: _lpips(files.lpips_vgg, "vgg"),
    "lpips_alex": lambda files: _lpips(files.lpips_alex, "alex"),
    "dreamsim": lambda files: _dreamsim(files.dreamsim),
}
