"""How each preset of the diffusion stages is built and trained: the paper's way, and ours."""

from dataclasses import dataclass, replace

from pipeline.diffusion.edm import PAPER_MIX, PURE_NOISE, NoiseMix
from pipeline.errors import UsageError
from pipeline.model_config import ModelConfig, StageConfig
from pipeline.training.options import TrainOptions

ABLATIONS = ("identity", "two-stage")
"""``identity`` is the paper's -ID, ``two-stage`` its -TS."""


@dataclass(frozen=True, kw_only=True)
class PixelTerms:
    """The terms of Eq. 5 that compare decoded views.

    Attributes:
        views: decoded views a step, of all subjects together; 0 leaves the terms out.
        sigma: a subject is decoded only below this noise level: above, the best estimate is a
            blur, which the terms would reward for sharpness that it made up.
        perceptual_weight: of LPIPS or, where it has no weights, of structural dissimilarity.
        identity_weight: of 1 - cosine of ArcFace embeddings, in views that show a face.
    """

    views: int = 0
    sigma: float = 2.0
    perceptual_weight: float = 1.0
    identity_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Sizes, noise and losses of one stage; by default the embedded preset's.

    Attributes:
        size_px: side of the views.
        channels: of the U-Net's levels. None: the networks are those of the model that training
            starts from, whatever their sizes.
        heads: attention heads of each level.
        train_encoder: whether it learns too.
        checkpointing: run blocks again in the backward pass instead of keeping what they computed.
        mix: what corrupts the target.
        sigma_mean: mean of ln sigma in training.
        sigma_std: its standard deviation.
        sigma_max: where sampling starts.
        sigma_min: its last noise level.
        mirrored: learn from each subject's mirror image too.
        without: accessories whose wearers are left out of training.
        batch_views: views a batch holds, all subjects together.
        views: views of a subject in most batches; every eighth batch holds full orbits.
        identity_token: whether the network is told who it draws; False is the paper's -ID.
        pixels: the terms that compare decoded views.
    """

    size_px: int
    channels: tuple[int, ...] | None = (64, 128, 160)
    heads: tuple[int, ...] = (2, 4, 5)
    train_encoder: bool = True
    checkpointing: bool = False
    mix: NoiseMix = PURE_NOISE
    sigma_mean: float = 1.5
    sigma_std: float = 1.4
    sigma_max: float = 40.0
    sigma_min: float = 8.0
    mirrored: bool = False
    without: tuple[str, ...] = ()
    batch_views: int = 32
    views: int = 4
    identity_token: bool = True
    pixels: PixelTerms = PixelTerms()


LOWRES = DiffusionConfig(size_px=64, mirrored=True, without=("beanie", "cap", "hat"))
"""Hats are left out: a stage that had seen 5 % of them took full hair for a cap."""
HIGHRES = DiffusionConfig(
    size_px=128,
    channels=(64, 128),
    heads=(2, 4),
    mix=NoiseMix(noise_weight=0.2, lowres_weight=0.8),
    sigma_mean=2.0,
    sigma_std=1.2,
    sigma_max=20.0,
    sigma_min=3.0,
)
"""Sampled in a step or two, this stage lives at high noise; and there the paper's pair of 0.4 and
0.6 would hide more of the low-resolution views than so small a network can restore."""
PAPER_LOWRES = DiffusionConfig(
    size_px=256,
    channels=None,
    train_encoder=False,
    checkpointing=True,
    sigma_mean=1.0,
    sigma_std=1.6,
    sigma_max=700.0,
    sigma_min=0.002,
    views=16,
    pixels=PixelTerms(views=4),
)
"""Stable Video Diffusion's networks and noise, ViT-H/14 frozen; two full orbits a step and GPU."""
PAPER_HIGHRES = replace(
    PAPER_LOWRES, size_px=512, mix=PAPER_MIX, batch_views=16, pixels=PixelTerms(views=2)
)
"""One orbit a step and GPU, and two decoded views: what a GPU of 48 GB holds."""
STAGES = {
    "embedded": {"lowres": LOWRES, "highres": HIGHRES},
    "paper": {"lowres": PAPER_LOWRES, "highres": PAPER_HIGHRES},
}
PAPER_OPTIONS = TrainOptions(
    steps=50_000,
    learning_rate=1e-5,
    last_share=0.1,
    warmup_steps=1_000,
    ema_decay=0.9999,
    sharded=True,
)
"""The release's 1e-5 falling to the paper's 1e-6. How many steps it takes has not been measured."""


MODELS = {
    "embedded": ModelConfig(),
    "paper": ModelConfig(
        preset="paper",
        portrait_px=512,
        lowres=StageConfig(size_px=256, steps=25, guidance=2.5),
        highres=StageConfig(size_px=512, steps=25, guidance=2.5),
    ),
}
"""What the index of a model folder says if its first part is trained with a preset."""


@dataclass(frozen=True, kw_only=True)
class StageChoices:
    """What may be changed of a preset.

    Attributes:
        ablate: what is left out, of `ABLATIONS`.
        noise_weight: share of fresh noise in the second stage (xi 1); None takes the preset's.
        lowres_weight: share of the low-resolution views (xi 2); None takes the preset's.
        decoded_views: views a step that Eq. 5's terms see; None takes the preset's.
        pixel_sigma: noise level below which they are decoded; None takes the preset's.
    """

    ablate: tuple[str, ...] = ()
    noise_weight: float | None = None
    lowres_weight: float | None = None
    decoded_views: int | None = None
    pixel_sigma: float | None = None


def stage_config(preset: str, stage: str, choices: StageChoices) -> DiffusionConfig:
    """The config of a preset's ``lowres`` or ``highres`` stage with what was chosen.

    Raises:
        UsageError: an ablation is unknown, or a choice has no meaning for the stage.
    """
    if unknown := [one for one in choices.ablate if one not in ABLATIONS]:
        raise UsageError(f"ablation {unknown[0]!r} is none of {', '.join(ABLATIONS)}")
    stages = STAGES[preset]
    config = replace(
        stages[stage],
        mix=_chosen_mix(stages[stage].mix, stage, choices),
        pixels=_chosen_pixels(stages[stage].pixels, choices),
    )
    if "two-stage" in choices.ablate:
        if stage == "highres":
            raise UsageError("ablation 'two-stage' leaves no second stage; give it to lowres")
        last = stages["highres"]
        config = replace(config, size_px=last.size_px, batch_views=last.batch_views)
    if "identity" in choices.ablate:
        pixels = replace(config.pixels, identity_weight=0.0)
        config = replace(config, identity_token=False, pixels=pixels)
    return config


def _chosen_mix(mix: NoiseMix, stage: str, choices: StageChoices) -> NoiseMix:
    pair = choices.noise_weight, choices.lowres_weight
    if pair == (None, None):
        return mix
    noise, lowres = pair
    if stage != "highres" or noise is None or lowres is None or noise <= 0 or lowres <= 0:
        raise UsageError(
            f"noise-weight is {noise} and lowres-weight {lowres} for {stage}; they are a pair of "
            "numbers above 0 for highres, such as 0.4 and 0.6"
        )
    return NoiseMix(noise_weight=noise, lowres_weight=lowres)


def _chosen_pixels(pixels: PixelTerms, choices: StageChoices) -> PixelTerms:
    views = pixels.views if choices.decoded_views is None else choices.decoded_views
    sigma = pixels.sigma if choices.pixel_sigma is None else choices.pixel_sigma
    if views < 0 or sigma <= 0:
        raise UsageError(
            f"decoded-views is {views} and pixel-sigma {sigma:g}; they are 0 or more, and above 0"
        )
    return replace(pixels, views=views, sigma=sigma)
