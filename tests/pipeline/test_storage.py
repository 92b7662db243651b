import json
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import ImageTooLarge, UnreadableSource, UsageError
from pipeline.storage import PARTIAL, check_writable, locate, publishing, remove_stale


def test_local_files_are_read_and_written_whole(tmp_path: Path) -> None:
    place = locate(str(tmp_path)).child("a", "b.bin")
    assert not place.exists()
    place.write(b"12345")
    assert place.exists()
    assert place.read() == place.read(limit_bytes=5) == b"12345"
    assert os.listdir(tmp_path / "a") == ["b.bin"]
    with pytest.raises(ImageTooLarge, match="more than 4 bytes"):
        place.read(limit_bytes=4)


def test_compressed_names_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(b"not gzip")
    assert locate(str(tmp_path / "x.gz")).read() == b"not gzip"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, text in (("none", "does not exist"), ("pipe", "is not a regular file")):
        with pytest.raises(UnreadableSource, match=text):
            locate(str(tmp_path / name)).read()


def test_addresses_become_paths_and_uris(tmp_path: Path) -> None:
    assert locate(f"file://{tmp_path}/a b").path == f"{tmp_path}/a b"
    assert locate(str(tmp_path)).is_local
    memory = locate("memory://folder/x")
    assert not memory.is_local
    assert memory.uri == "memory://folder/x"
    with pytest.raises(UsageError, match="nonsense"):
        locate("nonsense://x")
    with pytest.raises(UsageError, match="'colour' is unknown"):
        locate("s3://bucket/x?colour=red")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    root = locate(str(tmp_path))
    with pytest.raises(FileNotFoundError), publishing(root, "abc", last="z.json") as folder:
        (folder / "missing" / "a").write_bytes(b"1")
    assert not (tmp_path / "abc").exists()
    with publishing(root, "abc", last="z.json") as folder:
        (folder / "a").write_bytes(b"1")
        (folder / "z.json").write_bytes(b"{}")
        assert not (tmp_path / "abc").exists()
    assert sorted(os.listdir(tmp_path / "abc")) == ["a", "z.json"]


def test_a_complete_folder_is_kept_and_an_incomplete_one_replaced(tmp_path: Path) -> None:
    root = locate(str(tmp_path))
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "half").write_bytes(b"?")
    for content in ("first", "second"):
        with publishing(root, "abc", last="z.json") as folder:
            (folder / "z.json").write_text(json.dumps(content))
    assert os.listdir(tmp_path / "abc") == ["z.json"]
    assert json.loads((tmp_path / "abc" / "z.json").read_text()) == "first"
    assert os.listdir(tmp_path / PARTIAL) == []


@pytest.mark.parametrize("scheme", ["", "memory://replaced"])
def test_a_complete_folder_is_replaced_on_request(tmp_path: Path, scheme: str) -> None:
    root = locate(scheme + str(tmp_path))
    for content in ("first", "second"):
        with publishing(root, "abc", last="z.json", replace=content == "second") as folder:
            (folder / "a").write_text(content)
            (folder / f"only-in-{content}").write_text(content)
            (folder / "z.json").write_text(content)
    assert not root.child("abc", "only-in-first").exists()
    names = [root.child("abc", name) for name in ("a", "z.json")]
    assert [place.read() for place in names] == [b"second", b"second"]
    if root.is_local:
        assert os.listdir(tmp_path / PARTIAL) == []


def test_what_killed_runs_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / PARTIAL / name).mkdir(parents=True)
    os.utime(tmp_path / PARTIAL / "old", (0, 0))
    remove_stale(locate(str(tmp_path)))
    assert os.listdir(tmp_path / PARTIAL) == ["new"]
    os.utime(tmp_path / PARTIAL / "new", (0, 0))
    remove_stale(locate(str(tmp_path)))
    assert os.listdir(tmp_path) == []


def test_names_that_look_like_options_stay_names(tmp_path: Path) -> None:
    assert locate("s3://bucket/a#1?.jpg").path == "bucket/a#1?.jpg"
    assert locate("s3://bucket/a.jpg?region=eu-west-1").uri == "s3://bucket/a.jpg"
    assert locate(f"file://{tmp_path}/a%20b").path == f"{tmp_path}/a b"
    assert locate(f"{tmp_path}/a?b=c.jpg").path == f"{tmp_path}/a?b=c.jpg"
    with pytest.raises(UsageError, match="download the photo"):
        locate("https://example.org/a.jpg?size=1")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    check_writable(locate(str(tmp_path / "new" / "folder")))
    assert os.listdir(tmp_path / "new" / "folder") == []
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="nothing can be written under"):
        check_writable(locate(str(tmp_path / "file")))


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()  # a file cannot take the place of a folder
    with pytest.raises(IsADirectoryError):
        locate(str(tmp_path / "name")).write(b"x")
    assert os.listdir(tmp_path) == ["name"]


class QuotaExceeded(Exception):
    """Of a family that is not OSError's, as those of gcsfs."""


class Broken(MemoryFileSystem):
    protocol = "broken"

    def _refuse(self, *args: object, **kwargs: object) -> object:
        raise QuotaExceeded("quota exceeded")

    open = _open = rm = rm_file = _rm = isdir = isfile = exists = info = _refuse


def test_what_an_object_store_raises_is_an_os_error() -> None:
    fsspec.register_implementation("broken", Broken, clobber=True)
    place = locate("broken://bucket/a")
    for call in (lambda: place.write(b"x"), place.delete, place.delete_folder):
        with pytest.raises(OSError, match="quota exceeded"):
            call()
    with pytest.raises(UsageError, match="nothing can be written under broken://bucket/a"):
        check_writable(place)
