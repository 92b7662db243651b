"""How much memory a diffusion stage needs, before any weight is loaded.

The stage's real networks run once on PyTorch's meta device, which has shapes and no numbers, and
every tensor that lives at a time is counted: eager PyTorch holds just these. Attention counts as
the fused kernels do, without its matrix of weights. Not counted are the CUDA context (`CONTEXT_GB`
stands for it), what kernels borrow while they work, and fragmentation (`HEADROOM`).
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.latents import Autoencoder, decode, encode
from pipeline.diffusion.loading import VAE_CLASSES
from pipeline.diffusion.paper_sizes import (
    HIGHRES_PX,
    LOWRES_PX,
    paper_identity_projection,
    paper_image_encoder,
    paper_unet,
    paper_vae,
)
from pipeline.diffusion.unet import OrbitUNet
from pipeline.errors import ModelNotFound
from pipeline.model_config import ModelConfig, StageConfig
from pipeline.reconstruction.lgm import LargeGaussianModel, lgm_config

StageName = Literal["lowres", "highres"]
CONTEXT_GB = 0.6
"""Set aside for the CUDA context and its libraries: an estimate, there was no GPU to measure."""
HEADROOM = 1.1
"""Allowance for fragmentation and for what kernels borrow; an estimate as well."""
FIT_GB = 1.0
"""Set aside for fitting Gaussians side by side, whose kernels need a GPU to be measured."""
_MAX_BATCH = 64
_STAGE_NAMES = {"lowres": "LowRes", "highres": "HighRes"}
_INPUT_VIEWS = 4


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if _is_tensor(t)}
        for tensor in filter(_is_tensor, tree_leaves(result)):
            storage = tensor.untyped_storage()
            if id(storage) not in known and storage not in self._known:
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.live -= size


class _FusedAttention(TorchFunctionMode):
    """Lets attention allocate its result and nothing else."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            query: Tensor = args[0] if args else kwargs["query"]
            return torch.empty_like(query)
        return func(*args, **(kwargs or {}))


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes alive at a time of what ``call``, on the meta device, allocates."""
    live = _LiveTensors()
    with torch.no_grad(), _FusedAttention(), live:
        call()
    return live.peak


@dataclass(frozen=True, kw_only=True)
class StageMemory:
    """What one diffusion stage needs, in GB of 1e9 bytes.

    Attributes:
        stage: which.
        views: of the orbit.
        weights_gb: of each component: bfloat16 on a GPU, but float32 for the autoencoder.
        unet_gb: activations of one avatar's U-Net call without guidance, by a call for two: a lone
            one saves a few copies.
        decode_gb: activations per view that is decoded.
        guided: whether the U-Net runs twice as many rows.
    """

    stage: StageName
    views: int
    weights_gb: dict[str, float]
    unet_gb: float
    decode_gb: float
    guided: bool

    def peak_gb(self, batch: int, decode_views: int, *, offload: bool = False) -> float:
        """The most memory at a time: the weights there are, and the larger phase's activations."""
        denoising = self.unet_gb * batch * (2 if self.guided else 1)
        decoding = self.decode_gb * decode_views
        if not offload:
            phase = sum(self.weights_gb.values()) + max(denoising, decoding)
        else:
            phase = max(
                self.weights_gb["unet"] + denoising,
                self.weights_gb["vae"] + decoding,
                *self.weights_gb.values(),
            )
        return CONTEXT_GB + HEADROOM * phase


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """How a stage runs on a GPU.

    Attributes:
        batch: avatars at a time; 0 if not even one fits.
        decode_views: views decoded at a time.
        offload: whether networks wait on the host between uses.
        peak_gb: memory that this takes.
    """

    batch: int
    decode_views: int
    offload: bool
    peak_gb: float


def plan_stage(memory: StageMemory, gpu_memory_gb: float) -> StagePlan:
    """The largest batch that fits, decoding fewer views at a time and offloading only if needed."""
    for offload in (False, True):
        for decode_views in (memory.views, memory.views // 4 or 1, 1):
            if memory.peak_gb(1, decode_views, offload=offload) <= gpu_memory_gb:
                batch = max(
                    size
                    for size in range(1, _MAX_BATCH + 1)
                    if memory.peak_gb(size, decode_views, offload=offload) <= gpu_memory_gb
                )
                peak_gb = memory.peak_gb(batch, decode_views, offload=offload)
                return StagePlan(
                    batch=batch, decode_views=decode_views, offload=offload, peak_gb=peak_gb
                )
    least = memory.peak_gb(1, 1, offload=True)
    return StagePlan(batch=0, decode_views=1, offload=True, peak_gb=least)


def model_memory(model: Path) -> list[StageMemory]:
    """The memory of the stages of a model folder.

    Raises:
        ModelNotFound: the folder or a component's config is missing.
    """
    config = ModelConfig.load(model)
    found = []
    stages: dict[StageName, StageConfig | None] = {
        "lowres": config.lowres,
        "highres": config.highres,
    }
    for stage, settings in stages.items():
        if settings is None:
            continue
        try:
            with _meta():
                networks = _networks_of(model, model / stage)
        except (OSError, KeyError) as error:
            raise ModelNotFound(f"{model / stage} is not a complete stage ({error})") from error
        views, guided = len(config.azimuths_deg), settings.guidance != 1
        found.append(stage_memory(stage, *networks, settings.size_px, views, guided))
    return found


def paper_memory() -> list[StageMemory]:
    """The memory of both stages at the paper's sizes: 16 views, guided, 256 and 512 px."""
    found = []
    sizes: tuple[tuple[StageName, int], ...] = (("lowres", LOWRES_PX), ("highres", HIGHRES_PX))
    for stage, size_px in sizes:
        with _meta():
            networks = (
                paper_unet(size_px),
                paper_vae(),
                paper_image_encoder(),
                paper_identity_projection(),
            )
        found.append(stage_memory(stage, *networks, size_px, 16, True))
    return found


def model_reconstruct_gb(model: Path, *, tuned: bool = False) -> float:
    """`reconstruct_gb` of a model folder."""
    folder = model / "reconstructor"
    if not folder.is_dir():
        return reconstruct_gb(None, tuned=tuned)
    with _meta():
        config = LargeGaussianModel.load_config(folder)
        return reconstruct_gb(LargeGaussianModel.from_config(config), tuned=tuned)


def paper_reconstruct_gb() -> float:
    """`reconstruct_gb` at the paper's size, whose network is tuned."""
    with _meta():
        return reconstruct_gb(LargeGaussianModel(**lgm_config("big")), tuned=True)


def stage_memory(
    stage: StageName,
    unet: OrbitUNet,
    vae: Autoencoder,
    image_encoder: CLIPVisionModelWithProjection,
    identity_projection: IdentityProjection,
    size_px: int,
    views: int,
    guided: bool,
) -> StageMemory:
    """Measure a stage's networks on the meta device; they need no weights.

    Args:
        stage: which of the two.
        unet: its U-Net.
        vae: the autoencoder.
        image_encoder: CLIP's image half.
        identity_projection: of the face embedding.
        size_px: side of the views.
        views: of the orbit.
        guided: whether the stage is guided.
    """
    half = {
        "unet": unet,
        "image_encoder": image_encoder,
        "identity_projection": identity_projection,
    }
    for network in half.values():
        nn.Module.to(network, "meta", torch.bfloat16).eval()  # diffusers' own would log a warning
    vae.to("meta").eval()
    with torch.device("meta"), torch.no_grad():
        latents = encode(vae, torch.empty(1, 3, size_px, size_px))
        sample = latents.new_empty(2, views, unet.config.in_channels, *latents.shape[2:])
        tokens = torch.empty(2, 2, unet.config.cross_attention_dim, dtype=torch.bfloat16)
        arguments = (torch.empty(2), tokens, torch.empty(2, 3), torch.empty(2, views))
        unet_bytes = peak_bytes(lambda: unet(sample.bfloat16(), *arguments))
        decode_bytes = peak_bytes(lambda: decode(vae, latents))
    return StageMemory(
        stage=stage,
        views=views,
        weights_gb={name: _weight_bytes(one) / 1e9 for name, one in (half | {"vae": vae}).items()},
        unet_gb=unet_bytes / 2 / 1e9,
        decode_gb=decode_bytes / 1e9,
        guided=guided,
    )


def _networks_of(
    model: Path, stage: Path
) -> tuple[OrbitUNet, Autoencoder, CLIPVisionModelWithProjection, IdentityProjection]:
    vae = AutoencoderKL.load_config(model / "vae")
    return (
        OrbitUNet.from_config(OrbitUNet.load_config(stage / "unet")),
        VAE_CLASSES[vae["_class_name"]].from_config(vae),
        CLIPVisionModelWithProjection(CLIPVisionConfig.from_pretrained(stage / "image_encoder")),
        IdentityProjection.from_config(
            IdentityProjection.load_config(stage / "identity_projection")
        ),
    )


@contextmanager
def _meta() -> Iterator[None]:
    with torch.device("meta"):
        yield


def _weight_bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def reconstruct_gb(network: LargeGaussianModel | None, *, tuned: bool) -> float:
    """The most memory that the Gaussian network and the fit after it take, in GB.

    Args:
        network: on any device; None where a model has none.
        tuned: whether its weights are fitted to each head, which takes their gradients, Adam's two
            moments, and the activations that the gradients need.
    """
    if network is None:
        return CONTEXT_GB + FIT_GB
    network = nn.Module.to(network, "meta")  # diffusers' own would log a warning
    side = int(network.config.input_px)
    inputs = torch.empty(1, _INPUT_VIEWS, 9, side, side, device="meta")
    if tuned:
        activations = _peak_with_gradient(network, inputs)
    else:
        activations = peak_bytes(lambda: network(inputs))
    weights = _weight_bytes(network) * (3 if tuned else 1)  # the gradients are in the peak
    return CONTEXT_GB + HEADROOM * (weights + activations) / 1e9 + FIT_GB


def gpu_levels(memories: Sequence[StageMemory], reconstructing_gb: float) -> list[dict[str, float]]:
    """What each stage on a GPU needs for one avatar at a time, in GB, ever more frugal.

    First without compromise, then decoding fewer views at a time, at last with offload as well.
    """
    levels = []
    for offload in (False, True):
        for part in (1, 4, 16):
            needs = {
                _STAGE_NAMES[memory.stage]: memory.peak_gb(
                    1, max(1, memory.views // part), offload=offload
                )
                for memory in memories
            }
            levels.append({**needs, "Reconstruct": reconstructing_gb})
    return levels


def gpu_shares(levels: Sequence[dict[str, float]], gpu_memory_gb: float) -> dict[str, float]:
    """The share of one GPU's memory that each stage may use, so that one of each fits on it.

    They fill the GPU, in proportion to the first of ``levels`` that fits. If none does, they are
    what the last one needs, together more than 1.
    """
    fitting = (level for level in levels if sum(level.values()) <= gpu_memory_gb)
    needs = next(fitting, None)
    if needs is None:
        return {name: round(gb / gpu_memory_gb, 3) for name, gb in levels[-1].items()}
    total_gb = sum(needs.values())
    return {name: int(gb / total_gb * 1000) / 1000 for name, gb in needs.items()}


def _peak_with_gradient(network: LargeGaussianModel, inputs: Tensor) -> int:
    live = _LiveTensors()
    with torch.enable_grad(), _FusedAttention(), live:
        network(inputs).sum().backward()
    return live.peak
