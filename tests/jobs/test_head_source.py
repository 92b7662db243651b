from pathlib import Path

import pyarrow as pa
import pytest
import ray.data
from tiny_heads import write_heads

from jobs.head_source import read_heads
from pipeline.digital_human.ground_truth import decode_png
from pipeline.errors import UnreadableSource, UsageError

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # its own calls
]


def rows(stream: ray.data.Dataset) -> list[dict[str, object]]:
    tables = list(stream.iter_batches(batch_size=None, batch_format="pyarrow"))
    assert not any(table.schema.metadata for table in tables)
    found: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_ray_streams_the_views_of_a_split(tmp_path: Path) -> None:
    address = str(write_heads(tmp_path, (0, 1, 9, 10), 16, views_per_ring=4))
    before = ray.data.DataContext.get_current().use_datasource_v2
    held_out = rows(read_heads(address, "test"))
    assert ray.data.DataContext.get_current().use_datasource_v2 == before
    assert [row["identity_id"] for row in held_out] == [9] * 5
    assert decode_png(held_out[0]["image"]).shape == (16, 16, 4)
    columns = ("sequence_id", "view", "cam_to_world")
    train = rows(read_heads(address, "train", columns))
    assert set(train[0]) == set(columns)
    views = sorted((row["sequence_id"], row["view"]) for row in train)
    assert views == [(sequence, view) for sequence in (0, 1, 10) for view in range(5)]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="heads render"):
        read_heads(str(tmp_path))
    address = str(write_heads(tmp_path, (0,), 16))
    with pytest.raises(UsageError, match=r"the test split of .* holds no sequence"):
        read_heads(address, "test")
    with pytest.raises(UsageError, match="column 'picture' is none of identity_id, "):
        read_heads(address, "train", ["picture"])
