import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_heads import write_heads
from torch.utils.data import DataLoader

from pipeline.cameras import azimuth_distance_deg
from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UnreadableSource, UsageError
from pipeline.training.orbit_pairs import OrbitPair, OrbitPairs

SIZE_PX = 24


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder, (0, 1, 9), SIZE_PX, elevations_deg=(20.0, 0.0), views_per_ring=8)
    return str(folder)


def same(first: OrbitPair, second: OrbitPair) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_pair_is_views_of_one_head_with_their_cameras(address: str) -> None:
    pairs = OrbitPairs(address, draws=3, seed=1)
    assert len(pairs) == 6
    heads = HeadDataset(address)
    for index in range(6):
        pair = pairs[index]
        assert int(pair.sequence_id) == heads.sequences[index // 3]
        whole = heads.load(int(pair.sequence_id))
        orbit = np.moveaxis(pair.orbit.numpy(), 1, -1)
        np.testing.assert_array_equal(orbit, whole.views[whole.ring()])
        np.testing.assert_array_equal(
            pair.orbit_cam_to_world, whole.cameras.cam_to_world[whole.ring()]
        )
        poses = np.abs(whole.cameras.cam_to_world - pair.condition_cam_to_world.numpy())
        place = int(poses.sum((1, 2)).argmin())
        condition = np.moveaxis(pair.condition.numpy(), 0, -1)
        np.testing.assert_array_equal(condition, whole.views[place])
        azimuth, elevation = pair.condition_angles_deg.tolist()
        assert abs(azimuth) <= 65
        assert azimuth_distance_deg(azimuth, whole.azimuth_deg[place]) < 1e-4
        assert elevation == whole.elevation_deg[place]


def test_conditions_come_from_random_views_and_from_all_rings(address: str) -> None:
    pairs = OrbitPairs(address, draws=40)
    elevations = {float(pairs[index].condition_angles_deg[1]) for index in range(40)}
    assert elevations == {0.0, 10.0, 20.0}
    assert pairs[0].orbit_azimuths_deg.tolist() == [45.0 * view for view in range(8)]
    above = OrbitPairs(address, elevation_deg=20)[0]
    assert not torch.equal(above.orbit_cam_to_world, pairs[0].orbit_cam_to_world)


def test_workers_load_what_the_seed_says(address: str) -> None:
    pairs = OrbitPairs(address, draws=2, seed=5)
    loader = DataLoader(pairs, batch_size=2, num_workers=2)
    batches = list(loader)
    assert batches[0].orbit.shape == (2, 8, 4, SIZE_PX, SIZE_PX)
    assert batches[0].orbit.dtype == torch.uint8
    assert batches[0].condition_cam_to_world.shape == (2, 4, 4)
    loaded = [OrbitPair(*(field[k] for field in batch)) for batch in batches for k in range(2)]
    assert all(same(one, pairs[index]) for index, one in enumerate(loaded))
    again = pickle.loads(pickle.dumps(pairs))
    assert same(again[3], pairs[3])
    other = OrbitPairs(address, draws=2, seed=6)
    assert not all(same(other[index], pairs[index]) for index in range(4))


def test_only_the_split_is_served_at_the_asked_size(address: str) -> None:
    pairs = OrbitPairs(address, "test", size_px=12)
    assert [int(pair.identity_id) for pair in pairs] == [9]
    assert pairs[0].condition.shape == (4, 12, 12)
    clear = pairs[0].orbit[:, 3] == 0
    assert not pairs[0].orbit[:, :3].movedim(1, -1)[clear].any()


def test_what_is_missing_is_named(address: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="elevation 5: rings are at 0, 20"):
        OrbitPairs(address, elevation_deg=5)
    write_heads(tmp_path, (0,), SIZE_PX)
    with pytest.raises(UsageError, match=r"the test split of .* has no sequences"):
        OrbitPairs(str(tmp_path), "test")
    with pytest.raises(IndexError, match="pair 2 is outside 0 to 1"):
        OrbitPairs(address)[2]
