"""How each preset of the Gaussian network is trained: LGM's ways, and ours on a CPU."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from pipeline.reconstruction.lgm import Preset  # diffusers comes with it, and takes seconds


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """What the Gaussian network sees and minimises; by default the embedded preset's.

    Attributes:
        preset: of the network.
        batch_heads: heads a step and worker.
        targets: views that a head is compared in.
        inputs_too: whether the four input views are among these.
        render_px: side of the compared views; those of a smaller dataset keep their size.
        alpha_weight: of the squared difference of alphas.
        structure_weight: of the structural dissimilarity, where LPIPS has no weights.
        lpips_weight: of LPIPS, where it has.
        lpips: files with its weights, see `pipeline.reconstruction.lpips`.
        id_weight: of the identity term in front views.
        augment: probability of each of the two augmentations.
        jitter_share: of LGM's largest camera jitter. A network that places Gaussians along its
            rays cannot undo a turn of 18 degrees, and sees a tenth of it.
    """

    preset: "Preset" = "embedded"
    batch_heads: int = 1
    targets: int = 4
    inputs_too: bool = False
    render_px: int = 128
    alpha_weight: float = 1.0
    structure_weight: float = 0.2
    lpips_weight: float = 1.0
    lpips: tuple[Path, ...] = ()
    id_weight: float = 0.0
    augment: float = 0.5
    jitter_share: float = 0.1


_LGM = GaussianConfig(
    batch_heads=8, inputs_too=True, render_px=256, id_weight=1.0, jitter_share=1.0
)
PRESETS: dict[str, GaussianConfig] = {
    "embedded": GaussianConfig(),
    "tiny": replace(_LGM, preset="tiny", targets=8),
    "small": replace(_LGM, preset="small", targets=12),
    "big": replace(_LGM, preset="big", targets=8, render_px=512),
}
"""``tiny``, ``small`` and ``big`` see what LGM's see; the identity term is the paper's (3.4)."""
EMBEDDED_OPTIONS = TrainOptions(steps=20_000, learning_rate=4e-4)
LGM_OPTIONS = TrainOptions(
    steps=30_000,
    learning_rate=4e-4,
    one_cycle=True,
    betas=(0.9, 0.95),
    weight_decay=0.05,
    warmup_steps=3_000,
)
"""LGM's optimiser. Its 30 epochs were of 80,000 objects; how many steps a dataset of heads needs
has not been measured."""
