import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs
from tiny_heads import ball_sequence, write_heads

from pipeline.cameras import look_at_origin
from pipeline.digital_human import build_head, sample_appearance, sample_identity
from pipeline.digital_human import dataset as dataset_module
from pipeline.digital_human.dataset import HeadDataset
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.ground_truth import DEPTH_STEP
from pipeline.digital_human.index import INDEX, read_index, write_index
from pipeline.digital_human.store import (
    is_held_out,
    list_sequences,
    prepare,
    sequence_file,
    write_sequence,
    write_table,
)
from pipeline.errors import UnreadableSource, UsageError
from pipeline.storage import Location, locate

TINY = DatasetOptions(
    size_px=32,
    samples=1,
    appearances=2,
    elevations_deg=(-10.0, 0.0),
    views_per_ring=4,
    random_views=2,
    ground_truth=True,
)
BALLS = DatasetOptions(size_px=16, samples=1, appearances=2, elevations_deg=(0.0,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads")
    prepare(locate(str(path)), TINY)
    write_sequence(locate(str(path)), TINY, 4)  # identity 2, appearance 0
    return path


def test_a_sequence_reads_back_what_was_rendered(folder: Path) -> None:
    sequence = HeadDataset(folder).load(4)
    assert sequence.identity_id == 2
    assert sequence.views.shape == (10, 32, 32, 4)
    assert sequence.views.dtype == np.uint8
    assert list(sequence.kind) == ["grid"] * 8 + ["random"] * 2
    np.testing.assert_allclose(sequence.azimuth_deg[:8], [0, 90, 180, 270] * 2)
    np.testing.assert_allclose(sequence.elevation_deg[:8], [-10] * 4 + [0] * 4)
    np.testing.assert_allclose(
        sequence.cameras.cam_to_world[:8],
        look_at_origin([0, 90, 180, 270] * 2, [-10] * 4 + [0] * 4).cam_to_world,
        atol=1e-7,
    )
    assert sequence.landmarks.shape == (10, 5, 2)
    assert not sequence.landmark_visible[[2, 6]].any()
    assert (np.abs(sequence.azimuth_deg[8:]) <= 65).all()
    assert ((sequence.elevation_deg[8:] >= -15) & (sequence.elevation_deg[8:] <= 35)).all()
    person = sample_identity(2)
    assert sequence.labels["hair_style"] == person.hair_style
    assert sequence.labels["expression"] == sample_appearance(person, 0).expression
    assert sequence.labels["ancestry"] in ("african", "asian", "caucasian")


def test_the_stored_views_and_truth_are_what_the_scene_shows(folder: Path) -> None:
    sequence = HeadDataset(folder).load(4, [4], truth=True)
    person = sample_identity(2)
    scene = build_head(person, sample_appearance(person, 0), hair_quality=0.55)
    frame = scene.frame(look_at_origin(0, 0), 0, 32, 1)
    np.testing.assert_array_equal(sequence.views[0], frame.rgba)
    np.testing.assert_array_equal(sequence.landmarks[0], frame.landmarks)
    assert sequence.truth is not None
    np.testing.assert_array_equal(sequence.truth.parts[0], frame.parts)
    np.testing.assert_allclose(sequence.truth.depth[0], frame.depth, atol=0.51 * DEPTH_STEP)
    np.testing.assert_allclose(sequence.truth.normals[0], frame.normals, atol=0.005)


def test_only_the_asked_views_are_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = HeadDataset(folder).load(4)
    decoded: list[bytes] = []
    decode = dataset_module.decode_png

    def counted(data: bytes) -> np.ndarray:
        decoded.append(data)
        return decode(data)

    monkeypatch.setattr(dataset_module, "decode_png", counted)
    some = HeadDataset(folder).load(4, [9, 0])
    assert len(decoded) == 2
    np.testing.assert_array_equal(some.views, whole.views[[9, 0]])
    assert list(some.kind) == ["random", "grid"]
    assert some.truth is None


def test_a_ring_is_in_azimuth_order(folder: Path) -> None:
    heads = HeadDataset(folder)
    sequence = heads.load(4)
    assert sequence.ring().tolist() == heads.options.ring() == [4, 5, 6, 7]
    assert sequence.ring(-10).tolist() == [0, 1, 2, 3]
    turned = heads.load(4, [6, 8, 4, 7, 5])
    assert turned.ring().tolist() == [2, 4, 0, 3]
    with pytest.raises(UnreadableSource, match="elevation 30: rings are at -10, 0 degrees"):
        sequence.ring(30)
    with pytest.raises(UnreadableSource, match="no ring of views at elevation 0: there are no"):
        heads.load(4, [8, 9]).ring()


def test_a_mirrored_sequence_is_another_person_on_the_same_grid(folder: Path) -> None:
    sequence = HeadDataset(folder).load(4, truth=True)
    mirrored = sequence.mirrored()
    np.testing.assert_array_equal(mirrored.views[1], sequence.views[3, :, ::-1])
    np.testing.assert_array_equal(mirrored.views[5], sequence.views[7, :, ::-1])
    np.testing.assert_array_equal(mirrored.azimuth_deg[:8], sequence.azimuth_deg[:8])
    np.testing.assert_allclose(
        mirrored.cameras.cam_to_world[:8], sequence.cameras.cam_to_world[:8], atol=1e-6
    )
    positions = mirrored.cameras.cam_to_world[8:, :3, 3]
    seen_from_deg = np.degrees(np.arctan2(positions[:, 0], positions[:, 2]))
    np.testing.assert_allclose(mirrored.azimuth_deg[8:], seen_from_deg, rtol=1e-4)
    np.testing.assert_allclose(mirrored.azimuth_deg[8:], -sequence.azimuth_deg[8:])
    left, right = mirrored.landmarks[4, :2]
    assert left[0] < right[0]
    assert mirrored.truth is not None
    assert sequence.truth is not None
    np.testing.assert_array_equal(mirrored.truth.depth[5], sequence.truth.depth[7, :, ::-1])
    np.testing.assert_array_equal(
        mirrored.truth.normals[4, ..., 0], -sequence.truth.normals[4, :, ::-1, 0]
    )
    again = mirrored.mirrored()
    for name in ("views", "azimuth_deg", "elevation_deg", "landmark_visible", "head_cut"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sequence, name))
    np.testing.assert_allclose(again.landmarks, sequence.landmarks, atol=1e-5)


def test_the_releases_uneven_ring_can_be_mirrored_but_half_of_one_cannot(tmp_path: Path) -> None:
    write_heads(tmp_path, (0,), 16, azimuths="release")
    heads = HeadDataset(tmp_path)
    whole = heads.load(0).mirrored()
    assert whole.azimuth_deg[3] == pytest.approx(33.22)
    np.testing.assert_array_equal(whole.views[3], heads.load(0).views[13, :, ::-1])
    with pytest.raises(UsageError, match=r"at azimuth 4\.04 but none at 355\.96: only rings"):
        heads.load(0, [0, 1, 2]).mirrored()


def test_rows_know_who_they_are_and_footers_everything(folder: Path) -> None:
    file = pq.ParquetFile(sequence_file(locate(str(folder)), 4).path)
    assert (file.metadata.num_row_groups, file.metadata.num_rows) == (1, 10)
    images = next(
        column
        for index in range(file.metadata.num_columns)
        if (column := file.metadata.row_group(0).column(index)).path_in_schema == "image"
    )
    assert images.compression == "UNCOMPRESSED"
    assert not images.has_dictionary_page
    footer = file.metadata.metadata
    assert json.loads(footer[b"identity"]) == json.loads(json.dumps(sample_identity(2).to_dict()))
    assert json.loads(footer[b"appearance"])["expression"] in footer[b"labels"].decode()
    assert json.loads(footer[b"options"]) == TINY.to_json()
    row = read_index(locate(str(folder))).to_pylist()[0]
    assert (row["sequence_id"], row["identity_id"], row["split"], row["views"]) == (
        4,
        2,
        "train",
        10,
    )
    assert row["bytes"] == Path(sequence_file(locate(str(folder)), 4).path).stat().st_size
    assert json.loads(row["identity"])["hair_style"] == row["hair_style"]


def test_truth_is_a_column_of_its_own_and_null_where_it_was_not_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    write_heads(tmp_path, (0,), 16)
    without = pq.ParquetFile(sequence_file(locate(str(tmp_path)), 0).path).read()
    assert [without[name].null_count for name in ("depth", "normals", "parts")] == [17] * 3
    with pytest.raises(UnreadableSource, match="holds no ground truth; render it with --ground"):
        HeadDataset(tmp_path).load(0, truth=True)
    table = pq.ParquetFile(sequence_file(locate(str(folder)), 4).path).read()
    assert [table[name].null_count for name in ("depth", "normals", "parts")] == [0] * 3


def test_a_killed_write_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = locate(str(tmp_path))
    prepare(root, BALLS)

    def stopped(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_table(root, 4, ball_sequence(BALLS, 4))
    assert list((tmp_path / "views").iterdir())
    assert HeadDataset(tmp_path, "all").sequences == []


def test_other_options_and_another_engine_are_refused(folder: Path, tmp_path: Path) -> None:
    prepare(locate(str(folder)), TINY)
    with pytest.raises(UsageError, match=r"options appearances 2 \(not 10\), .* the same options"):
        prepare(locate(str(folder)), DatasetOptions())
    write_heads(tmp_path, (), 16)
    description = json.loads((tmp_path / "dataset.json").read_text())
    options = DatasetOptions.from_json(description["options"])
    description["versions"]["engine"] = 1
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UsageError, match="was made with engine 1, this is"):
        prepare(locate(str(tmp_path)), options)


def test_splits_go_by_identity(tmp_path: Path) -> None:
    assert [k for k in range(30) if is_held_out(k)] == [9, 19, 29]
    write_heads(tmp_path, (2, 9, 10), 16, appearances=2)
    assert HeadDataset(tmp_path, "test").sequences == [18, 19]
    assert HeadDataset(tmp_path, "train").sequences == [4, 5, 20, 21]
    assert len(HeadDataset(tmp_path, "all")) == 6
    index = write_index(locate(str(tmp_path))).to_pylist()
    assert [(row["sequence_id"], row["split"]) for row in index] == [
        (4, "train"),
        (5, "train"),
        (18, "test"),
        (19, "test"),
        (20, "train"),
        (21, "train"),
    ]


def test_the_index_follows_what_is_there(tmp_path: Path) -> None:
    root = locate(str(tmp_path))
    write_heads(tmp_path, (0, 1), 16)
    assert write_index(root)["sequence_id"].to_pylist() == [0, 1]
    write_heads(tmp_path, (5,), 16)
    Path(sequence_file(root, 0).path).unlink()
    assert read_index(root)["sequence_id"].to_pylist() == [1, 5]
    assert pq.read_table(tmp_path / INDEX)["sequence_id"].to_pylist() == [0, 1]
    (tmp_path / INDEX).write_bytes(b"half a file")
    assert write_index(root)["sequence_id"].to_pylist() == [1, 5]
    Path(sequence_file(root, 5).path).write_bytes(b"damaged")
    with pytest.raises(UnreadableSource, match=r"000005.parquet cannot be read .* delete it"):
        read_index(root)


def test_what_exists_is_listed_once_and_not_asked_for_one_by_one(tmp_path: Path) -> None:
    write_heads(tmp_path, tuple(range(12)), 16)
    asked: Counter[str] = Counter()

    class Counted(LocalFileSystem):
        protocol = "counted"

        def ls(self, path: str, *args: Any, **options: Any) -> list[Any]:
            asked["list"] += 1
            return super().ls(path, *args, **options)

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            asked["info"] += "views" in str(path) and str(path).endswith(".parquet")
            return super().info(path, **options)

        def _open(self, path: str, *args: Any, **options: Any) -> Any:
            asked["open"] += str(path).endswith(".parquet")
            return super()._open(path, *args, **options)

    fsspec.register_implementation("counted", Counted, clobber=True)
    filesystem = fs.PyFileSystem(fs.FSSpecHandler(Counted()))
    root = Location(filesystem, str(tmp_path), "counted://")
    assert len(list_sequences(root)) == 12
    assert +asked == Counter(list=1)
    write_index(locate(str(tmp_path)))
    asked.clear()
    assert read_index(root).num_rows == 12
    assert (asked["open"], asked["list"]) == (1, 1)


def test_a_reader_can_be_pickled(folder: Path) -> None:
    again = pickle.loads(pickle.dumps(HeadDataset(folder)))
    assert again.load(again.sequences[0], [0]).views.shape == (1, 32, 32, 4)


def test_the_description_says_what_a_reader_needs(folder: Path) -> None:
    text = json.loads((folder / "dataset.json").read_text())
    assert text["options"]["size_px"] == 32
    assert "OpenCV" in text["cam_to_world"]
    assert "0.0001 world units" in text["depth"]
    assert len(text["versions"]["template_sha256"]) == 64
    assert text["part_names"][0] == "skin"


def test_mistakes_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"no dataset\.json .* heads render"):
        HeadDataset(tmp_path)
    with pytest.raises(UsageError, match="'dev' is none of train, test, all"):
        HeadDataset(folder, "dev")
    with pytest.raises(UnreadableSource, match="sequence 99 is not in"):
        HeadDataset(folder).load(99)
    with pytest.raises(UsageError, match="view 10 of sequence 4 was asked for; it has views 0 to"):
        HeadDataset(folder).load(4, [0, 10])
    (tmp_path / "dataset.json").write_text('{"format_version": 1}')
    with pytest.raises(UnreadableSource, match=r"dataset of format 1, .* render it again"):
        HeadDataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UnreadableSource, match=r"dataset\.json is damaged"):
        HeadDataset(tmp_path)
