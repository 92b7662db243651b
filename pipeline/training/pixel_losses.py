"""The terms of Eq. 5 that compare decoded views: a perceptual and an identity distance.

The release computes both without gradient, on all frames, at any noise level. Here they have one:
the best estimate of a few views of little noise goes through the frozen decoder with its graph.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.diffusion.latents import Autoencoder, decode
from pipeline.reconstruction.lpips import Lpips
from pipeline.training.diffusion_presets import PixelTerms
from pipeline.training.examples import Examples, Indices
from pipeline.training.identity_loss import identity_distance
from pipeline.training.perceptual import perceptual_distance


@dataclass(frozen=True)
class TrueViews:
    """The views of a batch as images.

    Attributes:
        images: [B, F, 3, P, P] uint8.
        faces: [B, F, 2, 3] where the face is, see `face_transform`.
        shows_face: [B, F] whether there is one; it stays on the CPU, where views are chosen.
    """

    images: Tensor
    faces: Tensor
    shows_face: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Compared:
    """What comparing decoded views gave.

    Attributes:
        total: [] to add to the loss.
        terms: [] each, unweighted and without gradient, to be logged; none without views.
    """

    total: Tensor
    terms: dict[str, Tensor]


class PixelLosses:
    """Decodes some views of a batch and compares them with the truth.

    Args:
        vae: the frozen autoencoder.
        config: how many views, below which noise level, and the weights.
        lpips: see `perceptual_distance`.
        identity: from `load_identity`; None leaves the term out.
    """

    def __init__(
        self, vae: Autoencoder, config: PixelTerms, lpips: Lpips | None, identity: nn.Module | None
    ) -> None:
        self.vae, self.config, self.lpips, self.identity = vae, config, lpips, identity

    def __call__(self, denoised: Tensor, truth: TrueViews, sigma: Tensor) -> Compared:
        """Compare up to ``config.views`` random views of the subjects with little noise.

        Each view counts by 1 / (1 + sigma ** 2), which is the share of the truth in what the
        network was given.

        Args:
            denoised: [B, F, C, h, w] scaled latents, the best estimate of the views.
            truth: the views.
            sigma: [B] noise levels, on the CPU.
        """
        who, which = self._choose(sigma, denoised.shape[1])
        if not len(who):
            return Compared(denoised.new_zeros(()), {})
        shown = self._decode(denoised[who, which])
        wanted = truth.images[who, which].float() / 255
        weight = (1 / (1 + sigma[who].square())).to(shown.device)
        distance = perceptual_distance(self.lpips, shown, wanted)
        terms = {"structure" if self.lpips is None else "lpips": distance.mean().detach()}
        total = self.config.perceptual_weight * (weight * distance).mean()
        front = torch.from_numpy(np.flatnonzero(truth.shows_face[who.numpy(), which.numpy()]))
        if self.identity is not None and len(front):
            faces = truth.faces[who, which]
            network = self.identity.to(shown.device)
            distance = identity_distance(network, shown[front], wanted[front], faces[front])
            terms["identity"] = distance.mean().detach()
            total = total + self.config.identity_weight * (weight[front] * distance).mean()
        return Compared(total, terms)

    def _choose(self, sigma: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """Subject and view of what is decoded, [K] each."""
        low = torch.nonzero(sigma < self.config.sigma)[:, 0]
        chosen = torch.randperm(len(low) * views)[: self.config.views]
        return low[chosen // views], chosen % views

    def _decode(self, latents: Tensor) -> Tensor:
        """[K, 3, P, P] in [0, 1]; one by one, as a temporal decoder would mix the subjects."""
        vae = self.vae.to(latents.device)
        return torch.cat([decode(vae, one[None]) for one in latents]) / 2 + 0.5


def true_views(people: Examples, who: Indices, which: Indices) -> TrueViews:
    """The orbit views ``which`` [B, F] of the people ``who`` [B]."""
    return TrueViews(
        people.pick("orbit", who, which).movedim(-1, -3),
        people.pick("faces", who, which),
        people.pick("shows_face", who, which).numpy(),
    )
