"""Training of the Gaussian network on digital humans (section 3.4, LGM's recipe).

Four orbit views a quarter turn apart go in; the Gaussians that come out are rendered into other
views, from wherever the dataset has cameras, and compared. What an image distance of LPIPS needs is
not shipped: without it, structural dissimilarity at two scales stands in, and is called that.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.cameras import Cameras
from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.gaussians import CHANNELS, Gaussians
from pipeline.reconstruction.images import resized
from pipeline.reconstruction.lgm import LargeGaussianModel, lgm_config, network_inputs
from pipeline.reconstruction.losses import psnr
from pipeline.reconstruction.lpips import Lpips, load_lpips
from pipeline.reconstruction.rays import plucker_rays
from pipeline.rendering import render
from pipeline.training.augment_views import distort, jitter_cameras
from pipeline.training.devices import device_of
from pipeline.training.gaussian_presets import GaussianConfig
from pipeline.training.heads import INPUT_VIEWS, Heads, SeenView, cameras_of, images_of
from pipeline.training.identity_loss import face_transform, identity_distance, load_identity
from pipeline.training.perceptual import perceptual_distance

_START_DEPTH, _START_SCALE = -0.35, -2.0
"""Biases of the last layer: Gaussians start small, a little before the middle of their rays."""
_HELD_OUT = 8


@dataclass(frozen=True)
class Batch:
    """B heads.

    Attributes:
        inputs: [B, 4, 9, P, P] for the network.
        targets: [B, T, 4, R, R] colour on white and alpha.
        cameras: T target cameras of each head.
        faces: [B, T, 2, 3] where the face is, see `face_transform`.
        shows_face: [B, T] bool, which targets are front views.
    """

    inputs: Tensor
    targets: Tensor
    cameras: tuple[Cameras, ...]
    faces: Tensor
    shows_face: Tensor


class GaussianPart:
    """The Gaussian network: which views it sees, what it minimises, how it is judged.

    Args:
        train: digital humans to learn from.
        held_out: digital humans to be judged on.
        config: how it is trained.
        network: arguments of `LargeGaussianModel`; None takes the preset's.
        lpips: the perceptual distance; None takes structural dissimilarity.
        identity: the embedder of the identity term; None leaves the term out.

    Raises:
        UsageError: the heads have fewer views than are compared.
    """

    def __init__(
        self,
        train: Heads,
        held_out: Heads,
        config: GaussianConfig,
        *,
        network: dict[str, Any] | None = None,
        lpips: Lpips | None = None,
        identity: nn.Module | None = None,
    ) -> None:
        if train.view_count < config.targets:
            raise UsageError(
                f"the heads have {train.view_count} views and {config.targets} are compared at a "
                "step; render more views"
            )
        self.train, self.held_out, self.config = train, held_out, config
        self.network = network or lgm_config(config.preset)
        self.lpips, self.identity = lpips, identity
        self.input_px = _input_px(self.network)

    def build_model(self) -> LargeGaussianModel:
        """The network with fresh weights."""
        model: LargeGaussianModel = LargeGaussianModel(**self.network)
        if model.config.positions == "ray":
            bias = torch.zeros(CHANNELS)
            bias[0] = _START_DEPTH
            bias[4:7] = _START_SCALE
            model.conv.bias = nn.Parameter(bias)
        return model

    def batch(self, seed: int, step: int) -> Batch:
        """Random heads, their input views turned by up to a quarter, and views to match."""
        rng = np.random.default_rng((seed, step))
        count = self.config.batch_heads
        heads = rng.choice(len(self.train), count).tolist()
        drawn = [self._draw(rng) for _ in heads]
        if count == 1:
            rows = [self.train.views(heads[0], seen + shown) for seen, shown in drawn]
        else:
            with ThreadPoolExecutor() as readers:  # decoding lets go of the interpreter
                wanted = [seen + shown for seen, shown in drawn]
                rows = list(readers.map(self.train.views, heads, wanted))
        inputs = [self._inputs(views[:INPUT_VIEWS], rng) for views in rows]
        targets = [views[INPUT_VIEWS:] for views in rows]
        faces = [[face_transform(one.landmarks, self.train.size_px) for one in t] for t in targets]
        return Batch(
            torch.stack(inputs),
            torch.stack([images_of(views) for views in targets]),
            tuple(cameras_of(views) for views in targets),
            torch.from_numpy(np.stack(faces)),
            torch.tensor([[one.shows_face for one in views] for views in targets]),
        )

    def loss(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """LGM's terms (squared differences of colour and alpha, a perceptual one) and identity."""
        rendered = [
            render(Gaussians.from_tensor(row), cameras, batch.targets.shape[-1])
            for row, cameras in zip(model(batch.inputs), batch.cameras, strict=True)
        ]
        shown = torch.stack([images for images, _ in rendered]).movedim(-1, -3)
        alphas = torch.stack([alpha for _, alpha in rendered])
        wanted, c = batch.targets[:, :, :3], self.config
        terms = {
            "color": functional.mse_loss(shown, wanted),
            "alpha": functional.mse_loss(alphas, batch.targets[:, :, 3]),
        }
        total = terms["color"] + c.alpha_weight * terms["alpha"]
        name, weight = "structure", c.structure_weight
        if self.lpips is not None:
            name, weight = "lpips", c.lpips_weight
        distances = perceptual_distance(self.lpips, shown.flatten(0, 1), wanted.flatten(0, 1))
        terms[name] = distances.mean()
        total = total + weight * terms[name]
        if self.identity is not None:
            terms["identity"] = self._identity(shown, wanted, batch)
            total = total + c.id_weight * terms["identity"]
        return {"loss": total, **terms}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """PSNR in dB of held-out heads from four views: in the orbit, and in the other views."""
        scores: dict[str, list[float]] = {"psnr_orbit": [], "psnr_off_orbit": []}
        heads, where = self.held_out, device_of(model)
        for head in range(len(heads)):
            inputs = self._inputs(heads.views(head, self._input_views(0)), None)
            gaussians = Gaussians.from_tensor(model(inputs[None].to(where))[0])
            every = list(range(heads.view_count))
            for name, numbers in (
                ("psnr_orbit", every[: heads.orbit_views]),
                ("psnr_off_orbit", every[heads.orbit_views :]),
            ):
                if numbers:
                    views = heads.views(head, numbers)
                    images, _ = render(gaussians, cameras_of(views), heads.size_px)
                    shown = images.permute(0, 3, 1, 2).clamp(0, 1)
                    scores[name] += psnr(shown, images_of(views)[:, :3].to(where)).tolist()
        return {name: float(np.mean(values)) for name, values in scores.items() if values}

    def export(self, model: nn.Module, out: Path) -> None:
        """Write the network in half precision, as the model folder holds it."""
        assert isinstance(model, LargeGaussianModel)
        model.to(torch.float16).save_pretrained(out)

    def _input_views(self, start: int) -> list[int]:
        return [start + k * self.train.orbit_views // INPUT_VIEWS for k in range(INPUT_VIEWS)]

    def _draw(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Numbers of the input views and of the views that are compared."""
        seen = self._input_views(int(rng.integers(self.train.orbit_views // INPUT_VIEWS)))
        if not self.config.inputs_too:
            return seen, rng.choice(self.train.view_count, self.config.targets, False).tolist()
        others = np.setdiff1d(np.arange(self.train.view_count), seen)
        return seen, seen + rng.choice(others, self.config.targets - len(seen), False).tolist()

    def _inputs(self, views: list[SeenView], rng: np.random.Generator | None) -> Tensor:
        """Network inputs [4, 9, P, P]; all but the first view are augmented, given an ``rng``."""
        images = resized(images_of(views)[:, :3], self.input_px)
        cameras = cameras_of(views)
        poses = cameras.cam_to_world
        if rng is not None and rng.random() < self.config.augment:
            images[1:] = distort(images[1:], rng)
        if rng is not None and rng.random() < self.config.augment:
            turned = jitter_cameras(poses[1:], rng, self.config.jitter_share)
            poses = np.concatenate([poses[:1], turned])
        return network_inputs(
            images, plucker_rays(Cameras(poses, cameras.fov_y_deg), self.input_px)
        )

    def _identity(self, shown: Tensor, wanted: Tensor, batch: Batch) -> Tensor:
        """Mean distance of the faces in front views, 0 where the batch has none."""
        assert self.identity is not None
        front = batch.shows_face
        if not front.any():
            return shown.new_zeros(())
        network = self.identity.to(shown.device)
        return identity_distance(network, shown[front], wanted[front], batch.faces[front]).mean()


def gaussian_part(data: str, model: Path, config: GaussianConfig) -> GaussianPart:
    """The part from the address of a dataset; `_HELD_OUT` held-out heads judge it.

    Args:
        data: address of the dataset.
        model: model folder with ``face/arcface.onnx``, if the config has an identity term.
        config: how the network is trained.

    Raises:
        UsageError: the dataset is too small, or its orbit cannot be seen in quarter turns.
        ModelNotFound: there are no weights of LPIPS or ArcFace where they should be.
    """
    identity = load_identity(model / "face" / "arcface.onnx") if config.id_weight else None
    lpips = load_lpips(config.lpips) if config.lpips else None
    train, test = HeadDataset(data, "train"), HeadDataset(data, "test")
    size_px = max(
        min(config.render_px, train.options.size_px), _input_px(lgm_config(config.preset))
    )
    return GaussianPart(
        Heads(train, size_px),
        Heads(test, size_px, _HELD_OUT),
        config,
        lpips=lpips,
        identity=identity,
    )


def _input_px(network: dict[str, Any]) -> int:
    with torch.device("meta"):
        return int(LargeGaussianModel(**network).config.input_px)
