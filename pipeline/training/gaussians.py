"""Training of the Gaussian network on digital humans (LGM's recipe, reference views of our own).

Four orbit views a quarter turn apart go in; the Gaussians that come out are rendered into other
orbit views and into photo-like ones, and compared. LPIPS, LGM's third term, needs weights that we
do not ship: structural dissimilarity at two scales stands in for it, and is called that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.cameras import ORBIT_VIEWS, Cameras
from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.gaussians import CHANNELS, Gaussians
from pipeline.images import resize
from pipeline.portrait.alpha import on_white
from pipeline.reconstruction.lgm import LargeGaussianModel, Preset, lgm_config, network_inputs
from pipeline.reconstruction.losses import dssim, psnr
from pipeline.reconstruction.rays import plucker_rays
from pipeline.rendering import render
from pipeline.training.augment_views import distort, jitter_cameras

INPUT_VIEWS = 4
_START_DEPTH, _START_SCALE = -0.35, -2.0
"""Biases of the last layer: Gaussians start small, a little before the middle of their rays."""


@dataclass(frozen=True)
class Heads:
    """S sequences of digital humans with V views each, orbit views first.

    Attributes:
        images: [S, V, P, P, 4] uint8, colour on white and alpha.
        cam_to_world: [S, V, 4, 4] float32.
        fov_y_deg: of all cameras.
        orbit_views: views at the start of each sequence that form the orbit, evenly spaced.
    """

    images: npt.NDArray[np.uint8]
    cam_to_world: npt.NDArray[np.float32]
    fov_y_deg: float
    orbit_views: int = ORBIT_VIEWS

    def __len__(self) -> int:
        return len(self.images)

    def cameras(self, head: int, views: list[int]) -> Cameras:
        """The cameras of some views of a head."""
        return Cameras(self.cam_to_world[head, views], self.fov_y_deg)

    def tensor(self, head: int, views: list[int]) -> Tensor:
        """Some views of a head, [len(views), 4, P, P] float32 in [0, 1]."""
        return torch.from_numpy(self.images[head, views]).permute(0, 3, 1, 2).float() / 255


def load_heads(dataset: HeadDataset, size_px: int, limit: int | None = None) -> Heads:
    """Read the sequences of a dataset at one size, up to ``limit`` of them.

    Raises:
        UsageError: their orbit cannot be seen in views a quarter turn apart.
        UnreadableSource: they have no orbit at elevation 0.
    """
    options = dataset.options
    ring = options.ring()
    if options.azimuths != "even" or len(ring) % INPUT_VIEWS:
        raise UsageError(
            f"{dataset.root.uri} has {len(ring)} {options.azimuths} views a ring; the Gaussian "
            f"network needs even ones, a multiple of {INPUT_VIEWS}"
        )
    views = ring + [view for view in range(options.views) if view not in ring]
    images, poses = [], []
    fov_y_deg = 0.0
    for sequence_id in dataset.sequences[:limit]:
        loaded = dataset.load(sequence_id, views)
        joined = np.concatenate([on_white(loaded.views), loaded.views[..., 3:]], -1)
        images.append(resize(joined, size_px))
        poses.append(loaded.cameras.cam_to_world)
        fov_y_deg = loaded.cameras.fov_y_deg
    return Heads(np.stack(images), np.stack(poses), fov_y_deg, len(ring))


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """How the network is trained.

    Attributes:
        preset: of the network.
        batch_heads: heads a step.
        targets: views that a head is compared in.
        alpha_weight: of the squared difference of alphas.
        structure_weight: of the structural dissimilarity.
        augment: probability of each of the two augmentations.
        jitter_share: of LGM's largest camera jitter. A network that places Gaussians along its
            rays cannot undo a turn of 18 degrees, and sees a tenth of it.
    """

    preset: Preset = "embedded"
    batch_heads: int = 1
    targets: int = 4
    alpha_weight: float = 1.0
    structure_weight: float = 0.2
    augment: float = 0.5
    jitter_share: float = 0.1


@dataclass(frozen=True)
class Batch:
    """B heads.

    Attributes:
        inputs: [B, 4, 9, P, P] for the network.
        targets: [B, T, 4, P, P] colour on white and alpha.
        cameras: T target cameras of each head.
    """

    inputs: Tensor
    targets: Tensor
    cameras: tuple[Cameras, ...]


class GaussianPart:
    """The Gaussian network: which views it sees, what it minimises, how it is judged.

    Args:
        train: digital humans to learn from.
        held_out: digital humans to be judged on.
        config: how it is trained.
    """

    def __init__(self, train: Heads, held_out: Heads, config: GaussianConfig) -> None:
        self.train, self.held_out, self.config = train, held_out, config

    def build_model(self) -> LargeGaussianModel:
        """The network with fresh weights."""
        model: LargeGaussianModel = LargeGaussianModel(**lgm_config(self.config.preset))
        if model.config.positions == "ray":
            bias = torch.zeros(CHANNELS)
            bias[0] = _START_DEPTH
            bias[4:7] = _START_SCALE
            model.conv.bias = nn.Parameter(bias)
        return model

    def batch(self, seed: int, step: int) -> Batch:
        """Random heads, their input views turned by up to a quarter, and other views to match."""
        rng = np.random.default_rng((seed, step))
        heads = rng.choice(len(self.train), self.config.batch_heads)
        inputs, targets, cameras = [], [], []
        for head in heads.tolist():
            seen = self._input_views(int(rng.integers(self._spacing)))
            shown = rng.choice(self.train.images.shape[1], self.config.targets, replace=False)
            inputs.append(self._inputs(self.train, head, seen, rng))
            targets.append(self.train.tensor(head, shown.tolist()))
            cameras.append(self.train.cameras(head, shown.tolist()))
        return Batch(torch.stack(inputs), torch.stack(targets), tuple(cameras))

    def loss(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Squared differences of colour and alpha, and structural dissimilarity."""
        rows = model(batch.inputs)
        terms = [
            self._compare(Gaussians.from_tensor(row), target, cameras)
            for row, target, cameras in zip(rows, batch.targets, batch.cameras, strict=True)
        ]
        color, alpha, structure = torch.stack(terms).mean(0)
        c = self.config
        total = color + c.alpha_weight * alpha + c.structure_weight * structure
        return {"loss": total, "color": color, "alpha": alpha, "structure": structure}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """PSNR in dB of held-out heads from four views: in the orbit, and in the other views."""
        scores: dict[str, list[float]] = {"psnr_orbit": [], "psnr_off_orbit": []}
        seen = self._input_views(0)
        for head in range(len(self.held_out)):
            rows = model(self._inputs(self.held_out, head, seen, None)[None])
            gaussians = Gaussians.from_tensor(rows[0])
            every = list(range(self.held_out.images.shape[1]))
            for name, views in (
                ("psnr_orbit", every[: self.held_out.orbit_views]),
                ("psnr_off_orbit", every[self.held_out.orbit_views :]),
            ):
                if views:
                    target = self.held_out.tensor(head, views)[:, :3]
                    cameras = self.held_out.cameras(head, views)
                    images, _ = render(gaussians, cameras, target.shape[-1])
                    shown = images.permute(0, 3, 1, 2).clamp(0, 1)
                    scores[name] += psnr(shown, target).tolist()
        return {name: float(np.mean(values)) for name, values in scores.items() if values}

    def export(self, model: nn.Module, out: Path) -> None:
        """Write the network in half precision, as the model folder holds it."""
        assert isinstance(model, LargeGaussianModel)
        model.to(torch.float16).save_pretrained(out)

    @property
    def _spacing(self) -> int:
        return self.train.orbit_views // INPUT_VIEWS

    def _input_views(self, start: int) -> list[int]:
        return [start + k * self._spacing for k in range(INPUT_VIEWS)]

    def _inputs(
        self, heads: Heads, head: int, views: list[int], rng: np.random.Generator | None
    ) -> Tensor:
        """Network inputs [4, 9, P, P]; all but the first view are augmented, given an ``rng``."""
        images = heads.tensor(head, views)[:, :3]
        poses = heads.cam_to_world[head, views]
        if rng is not None and rng.random() < self.config.augment:
            images[1:] = distort(images[1:], rng)
        if rng is not None and rng.random() < self.config.augment:
            turned = jitter_cameras(poses[1:], rng, self.config.jitter_share)
            poses = np.concatenate([poses[:1], turned])
        rays = plucker_rays(Cameras(poses, heads.fov_y_deg), images.shape[-1])
        return network_inputs(images, rays)

    def _compare(self, gaussians: Gaussians, target: Tensor, cameras: Cameras) -> Tensor:
        """Colour, alpha and structure terms of one head, [3]."""
        images, alphas = render(gaussians, cameras, target.shape[-1])
        shown, wanted = images.permute(0, 3, 1, 2), target[:, :3]
        small, small_wanted = (functional.avg_pool2d(one, 2) for one in (shown, wanted))
        structure = dssim(shown, wanted).mean() + dssim(small, small_wanted).mean()
        return torch.stack(
            [
                functional.mse_loss(shown, wanted),
                functional.mse_loss(alphas, target[:, 3]),
                structure / 2,
            ]
        )


def gaussian_part(data: str, config: GaussianConfig | None = None) -> GaussianPart:
    """The part from the address of a dataset; 8 held-out heads judge it."""
    config = config or GaussianConfig()
    with torch.device("meta"):
        size_px = int(LargeGaussianModel(**lgm_config(config.preset)).config.input_px)
    return GaussianPart(
        load_heads(HeadDataset(data, "train"), size_px),
        load_heads(HeadDataset(data, "test"), size_px, 8),
        config,
    )
