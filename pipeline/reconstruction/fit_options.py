"""How hard and how long the Gaussians of a head are fitted."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of `pipeline.reconstruction.optimise`, for Gaussians as the unknowns.

    Attributes:
        steps: optimiser steps.
        coarse: share of the steps at half the resolution, before the portrait joins; below 1.
        views_per_step: generated views drawn at each step; the portrait comes on top.
        size_px: side at which images are compared; None takes that of the views, or of a larger
            portrait up to 256 px.
        means_rate: learning rate of the positions, world units; like all rates, it falls to a
            tenth over the fine steps. This one is for generated views: they contradict the
            portrait, and faster Gaussians leave the head to please both. True views gain from
            1.5e-3.
        quats_rate: of the rotations.
        scales_rate: of the scales' logarithms.
        opacities_rate: of the opacities' logits.
        colors_rate: of the colours' logits.
        camera_rate: of the portrait's camera, radians and world units.
        dssim_weight: of structural dissimilarity, beside the mean absolute difference.
        alpha_weight: of the alphas' mean absolute difference.
        scale_weight: of scales over ``max_scale``.
        max_scale: world units.
        portrait_weight: of the portrait against one generated view.
        portrait_reach_deg: angle within which the portrait outranks generated views.
        mirror_weight: of the portrait's mirror image, seen from the other side, against one
            generated view. Faces are nearly symmetric: a portrait from the side says more of the
            half that it hides than generated views do.
        mirror_from_deg: azimuth of a portrait beyond which its mirror image counts.
        lay_portrait: replace the face by the portrait on the mean face, when the portrait joins.
        min_opacity: Gaussians that end below are left out.
        patience: stop when the mean loss of this many steps is no better than that of the same
            number before; 0 never stops.
        time_budget_s: stop after this many seconds, for all subjects together; rates fall with
            whichever of steps and seconds is further along. Results then depend on the machine.
    """

    steps: int = 200
    coarse: float = 0.5
    views_per_step: int = 1
    size_px: int | None = None
    means_rate: float = 6e-4
    quats_rate: float = 5e-3
    scales_rate: float = 2e-2
    opacities_rate: float = 5e-2
    colors_rate: float = 5e-2
    camera_rate: float = 2e-3
    dssim_weight: float = 0.2
    alpha_weight: float = 0.3
    scale_weight: float = 1.0
    max_scale: float = 0.05
    portrait_weight: float = 5.0
    portrait_reach_deg: float = 35.0
    mirror_weight: float = 3.0
    mirror_from_deg: float = 15.0
    lay_portrait: bool = True
    min_opacity: float = 0.02
    patience: int = 40
    time_budget_s: float = math.inf


@dataclass(frozen=True, kw_only=True)
class TuneOptions(FitOptions):
    """Options for the network's weights as the unknowns, as the paper has them (section 3.4).

    Attributes:
        network_rate: peak of AdamW's learning rate; None takes the network's own ``tune_rate``.
        weight_decay: AdamW's.
        warmup: share of the steps over which the rate rises; the release takes 300 of 500.
        clip_norm: gradient norm limit.
    """

    steps: int = 500
    coarse: float = 0.0
    views_per_step: int = 8
    lay_portrait: bool = False
    patience: int = 0
    network_rate: float | None = None
    weight_decay: float = 0.05
    warmup: float = 0.6
    clip_norm: float = 1.0
