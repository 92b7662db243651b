"""Photos in WebDataset tars and Parquet files, whole and hostile."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jobs.containers
from jobs.sources import list_sources
from pipeline.errors import UsageError
from pipeline.photo_files import PhotoReader
from pipeline.recipe import Recipe
from pipeline.stage import Row, run_stage
from pipeline.stages.load import Load, LoadConfig


def _load(*paths: Path, limit: int = 10_000) -> dict[str, Row]:
    """The row of each photo, by its name in its container."""
    listing = list_sources(map(str, paths))
    stage = Load(LoadConfig(recipe=Recipe(model_hash="m"), max_bytes=limit))
    rows = run_stage(stage, listing.rows(np.arange(len(listing))))
    return {row["source"].rpartition("/")[2]: row for row in rows}


def _images(rows: dict[str, Row]) -> dict[str, bytes | None]:
    return {name: row.get("image") for name, row in rows.items()}


def _member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, data


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return path


def test_a_shard_gives_its_images_and_nothing_else(tmp_path: Path) -> None:
    sample = [
        _member(f"{i:03}.{kind}", f"{i}{kind}".encode())
        for i in range(3)
        for kind in ("JPG", "json")
    ]
    _tar(tmp_path / "a.tar", *sample, _member("deep/x.png", b"x"), _member(".hidden.jpg", b"h"))
    (tmp_path / "b.jpg").write_bytes(b"b")
    rows = _load(tmp_path)
    assert _images(rows) == {
        "b.jpg": b"b",
        "a.tar#000.JPG": b"0JPG",
        "a.tar#001.JPG": b"1JPG",
        "a.tar#002.JPG": b"2JPG",
        "x.png": b"x",
    }
    assert rows["x.png"]["source"] == f"{tmp_path}/a.tar#deep/x.png"
    facts = os.stat(tmp_path / "a.tar")
    assert {row["source_mtime_ns"] for name, row in rows.items() if name != "b.jpg"} == {
        facts.st_mtime_ns
    }
    assert "input" not in rows["x.png"]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_that_are_no_plain_files_are_left_out(tmp_path: Path, format: int) -> None:
    long = "n" * 90 + ".jpg"
    path = _tar(
        tmp_path / "hostile.tar",
        _member("link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        _member("hard.jpg", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        _member("device.jpg", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        _member("pipe.jpg", type=tarfile.FIFOTYPE),
        _member("folder.jpg", type=tarfile.DIRTYPE),
        _member("/etc/absolute.jpg", b"absolute"),
        _member("../../up.jpg", b"up"),
        _member(long, b"long"),
        _member("twice.jpg", b"first"),
        _member("twice.jpg", b"second"),
        _member("large.jpg", bytes(2_000)),
        _member("none.jpg"),
        format=format,
    )
    rows = _load(path, limit=1_000)
    images = {name: data for name, data in _images(rows).items() if data is not None}
    assert sorted(images.values()) == [b"absolute", b"first", b"long", b"second", b"up"]
    codes = {name: row["error_code"] for name, row in rows.items() if "error_code" in row}
    assert codes == {
        "hostile.tar#large.jpg": "image_too_large",
        "hostile.tar#none.jpg": "unreadable_image",
    }


def test_names_in_any_encoding_become_text(tmp_path: Path) -> None:
    path = _tar(
        tmp_path / "a.tar",
        _member("b\udce9.jpg", b"1"),
        _member("two\nlines.jpg", b"2"),
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    )
    assert sorted(_images(_load(path))) == ["a.tar#b\\xe9.jpg", "a.tar#two\nlines.jpg"]
    name = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xe9.jpg"))
    Path(name).write_bytes(b"x")
    (row,) = (row for name, row in _load(tmp_path).items() if name == "\\xe9.jpg")
    assert (row["outcome"], row["error_code"]) == ("rejected", "unreadable_source")
    assert "not named in UTF-8" in row["error_message"]


def _cut(data: bytes) -> bytes:
    return data[: 3 * 1024 + 600]


def _overwrite(data: bytes) -> bytes:
    return data[:2048] + b"\xff" * 512 + data[2560:]


def _backwards(data: bytes) -> bytes:
    header = bytearray(data[1024:1536])
    header[124:136] = b"\xff" * 12  # a size of -1 in base 256
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return data[:1024] + bytes(header) + data[1536:]


def _endless_name(data: bytes) -> bytes:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**33
    return data[:2048] + member.tobuf(tarfile.GNU_FORMAT) + data[2560:]


@pytest.mark.parametrize("damage", [_cut, _overwrite, _backwards, _endless_name])
def test_a_damaged_tar_gives_what_lies_before_the_damage(tmp_path: Path, damage: Any) -> None:
    path = _tar(tmp_path / "a.tar", *(_member(f"{i}.jpg", bytes([65 + i]) * 100) for i in range(6)))
    path.write_bytes(damage(path.read_bytes()))
    rows = _load(path)
    assert rows["a.tar#0.jpg"]["image"] == b"A" * 100
    assert len(rows) < 7
    problem = rows["a.tar"]
    assert (problem["outcome"], problem["error_code"]) == ("rejected", "unreadable_source")
    assert f"the {len(rows) - 1} photos before it are taken" in problem["error_message"]


def test_what_is_no_tar_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_bytes(b"hello " * 1000)
    (tmp_path / "empty.tar").write_bytes(b"")
    with tarfile.open(tmp_path / "zipped.tar", "w:gz") as tar:
        tar.addfile(*_member("1.jpg"))
    rows = _load(tmp_path)
    assert [row["error_code"] for row in rows.values()] == ["unreadable_source"] * 3


@pytest.mark.parametrize(
    ("column", "kind", "names"),
    [
        ("image", pa.binary(), {}),
        ("bytes", pa.large_binary(), {"id": ["a", "b", "c", "d"]}),
        ("image_bytes", pa.binary(), {"path": ["x/1.jpg", "x/2.jpg", "x/3.jpg", "x/4.jpg"]}),
        ("bytes", pa.binary(), {"id": [1, 1, 2, 3]}),
    ],
)
def test_a_parquet_file_gives_a_photo_a_row(
    tmp_path: Path, column: str, kind: pa.DataType, names: dict[str, list[object]]
) -> None:
    images = [b"0", b"1", b"", None]
    table = pa.table({column: pa.array(images, kind), "label": [1, 2, 3, 4], **names})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    rows = _load(tmp_path / "*.parquet")
    listed = next(iter(names.values()), [0, 0])
    expected = listed if len(set(listed)) == 4 else range(4)
    ending = {row["source"].partition(".parquet#")[2] for row in rows.values()}
    assert ending == {str(name) for name in expected}
    assert [row.get("image") for row in rows.values()] == [b"0", b"1", None, None]
    assert [row.get("error_code") for row in rows.values()][2:] == ["unreadable_image"] * 2


def test_a_hugging_face_file_is_named_by_its_paths(tmp_path: Path) -> None:
    cells = [{"bytes": b"0", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet")
    rows = _load(tmp_path)
    assert [name.rpartition("#")[2] for name in rows] == ["0", "1", "2"], "one has no path"
    pq.write_table(pa.table({"image": cells[:2]}), tmp_path / "a.parquet")
    rows = _load(tmp_path)
    assert _images(rows) == {"a.parquet#a.jpg": b"0", "a.parquet#b.jpg": None}
    assert "has no bytes in column 'image'" in rows["a.parquet#b.jpg"]["error_message"]


def test_a_row_group_is_read_once_for_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [bytes([i]) * 10 for i in range(12)]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", row_group_size=4)
    read, groups = pq.ParquetFile.read_row_group, []

    def counted(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        groups.append(group)
        return read(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    rows = list_sources([str(tmp_path)]).rows(np.arange(12))
    reader = PhotoReader(100)
    assert [reader.read(row) for row in rows] == images
    assert groups == [0, 1, 2]


def test_a_parquet_file_without_images_is_a_mistake_that_names_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"url": ["x"], "image": ["text"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"it has url \(string\), image \(string\)"):
        list_sources([str(tmp_path)])
    pq.write_table(pa.table({"image": [bytes(500)] * 4}), tmp_path / "a.parquet")
    monkeypatch.setattr(jobs.containers, "MAX_ROW_GROUP_BYTES", 100)
    with pytest.raises(UsageError, match="write the file with row_group_size=100"):
        list_sources([str(tmp_path)])


def test_a_damaged_parquet_file_has_its_outcome(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": [os.urandom(3_000) for _ in range(4)]}),
        path,
        row_group_size=2,
        write_page_checksum=True,
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    (row,) = _load(path).values()
    assert (row["error_code"], row["source"]) == ("unreadable_source", str(path))
    path.write_bytes(whole[:100] + b"\0" * 400 + whole[500:])
    listing = list_sources([str(path)])
    stage = Load(LoadConfig(recipe=Recipe(model_hash="m")))
    rows = run_stage(stage, listing.rows(np.arange(4)))
    codes = [row.get("error_code") for row in rows]
    assert codes == ["unreadable_source", "unreadable_source", None, None]
