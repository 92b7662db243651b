import json
from typing import get_args, get_type_hints

import numpy as np
import pytest

from jobs.heads import RenderOptions, _dataset
from pipeline.cameras import RELEASE_AZIMUTHS_DEG
from pipeline.digital_human.dataset_options import AZIMUTHS, DatasetOptions
from pipeline.digital_human.looks import LOOKS
from pipeline.errors import UnreadableSource, UsageError


def test_the_default_is_the_papers_grid() -> None:
    options = DatasetOptions()
    assert (options.views, options.grid_views, options.random()) == (96, 96, [])
    assert options.elevations_deg == (-10, 0, 10, 20, 30, 40)
    assert options.ring(0) == list(range(16, 32))
    assert options.ring(-10) == list(range(16))
    assert (options.level_deg, options.front) == (0, 16)
    assert _dataset(RenderOptions(out="heads")) == options


def test_views_are_counted_ring_by_ring_and_random_ones_last() -> None:
    options = DatasetOptions(elevations_deg=(20, -5.5), views_per_ring=4, random_views=2)
    assert (options.ring(-5.5), options.ring(20.001)) == ([4, 5, 6, 7], [0, 1, 2, 3])
    assert options.random() == [8, 9]
    assert options.front == 4
    np.testing.assert_array_equal(options.azimuths_deg, [0, 90, 180, 270])
    only_random = DatasetOptions(elevations_deg=(), random_views=3)
    assert (only_random.views, only_random.level_deg, only_random.front) == (3, None, 0)


def test_the_releases_azimuths_are_its_formula_and_symmetric() -> None:
    azimuths = DatasetOptions(azimuths="release").azimuths_deg
    share = np.arange(9) / 8
    np.testing.assert_allclose(azimuths[:9], 270 * share**2 - 90 * share**3, atol=0.01)
    np.testing.assert_allclose(-azimuths[1:][::-1] % 360, azimuths[1:], atol=1e-4)
    assert len(RELEASE_AZIMUTHS_DEG) == 16


def test_the_command_offers_every_look_and_orbit() -> None:
    offered = get_type_hints(RenderOptions)
    assert set(get_args(offered["look"])) == set(LOOKS)
    assert get_args(offered["azimuths"]) == AZIMUTHS
    with pytest.raises(UsageError, match="look 'oil' is none of natural, flat"):
        DatasetOptions(look="oil")


def test_options_survive_json() -> None:
    options = DatasetOptions(elevations_deg=(0, 15), ground_truth=True, seed=3)
    assert DatasetOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_seeds_never_share_a_person() -> None:
    assert DatasetOptions(seed=1).identity_seed(0) > DatasetOptions().identity_seed(999_999)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 8}, "size_px is 8; it must be 16 to 1024"),
        ({"samples": 0}, "samples is 0; it must be 1 to 8"),
        ({"appearances": 0}, "appearances is 0"),
        ({"seed": -1}, "seed is -1; it must be 0 to"),
        ({"elevations_deg": (0, 90)}, "elevation 90 is outside -90 to 90 degrees"),
        ({"elevations_deg": (float("nan"),)}, "elevation nan is outside"),
        ({"elevations_deg": (0, 10, 0.001)}, r"elevations 0, 10, 0\.001 repeat; give each once"),
        ({"azimuths": "odd"}, "azimuths 'odd' is none of even, release"),
        ({"azimuths": "release", "views_per_ring": 8}, "azimuths are 16 a ring, not 8"),
        ({"elevations_deg": ()}, "there are no views: give elevations, random views or both"),
    ],
)
def test_mistakes_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DatasetOptions(**changes)


def test_a_ring_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UnreadableSource, match=r"elevation 15: rings are at -10, 0, 10, 20, 30"):
        DatasetOptions().ring(15)
    with pytest.raises(UnreadableSource, match="elevation 0: there are no rings; render one with"):
        DatasetOptions(elevations_deg=(), random_views=1).ring()
