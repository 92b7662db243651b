"""Procedural digital humans: seeds in, relightable full heads with exact ground truth out.

``sample_identity`` -> ``sample_appearance`` -> ``build_head`` -> ``HeadScene.render``. Everything
is made from CC0 MakeHuman geometry and numpy; no photo and no scan of a person is involved.
"""

from pipeline.digital_human.expression import Appearance, sample_appearance
from pipeline.digital_human.identity import Identity, sample_identity
from pipeline.digital_human.scene import HeadScene, build_head

__all__ = [
    "Appearance",
    "HeadScene",
    "Identity",
    "build_head",
    "sample_appearance",
    "sample_identity",
]
