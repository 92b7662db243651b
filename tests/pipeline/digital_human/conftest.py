import dataclasses

import pytest

from pipeline.digital_human import HeadScene, build_head, sample_appearance, sample_identity
from pipeline.digital_human.light import BakeQuality

QUICK = BakeQuality(ambient_directions=6, key_directions=2, map_size=64)


def quick_head(seed: int, accessory: str | None = None, **changes: object) -> HeadScene:
    """A head with little hair and a coarse light bake."""
    identity = dataclasses.replace(sample_identity(seed), **changes)
    appearance = sample_appearance(identity, 0, expression="neutral", accessory=accessory)
    return build_head(identity, appearance, hair_quality=0.3, bake_quality=QUICK)


@pytest.fixture(scope="session")
def head() -> HeadScene:
    """A shaven head: nothing hides the landmarks."""
    return quick_head(3, hair_style="buzz", beard="none")
