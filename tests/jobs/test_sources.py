from pathlib import Path

import pytest

from jobs.sources import list_sources
from pipeline.errors import UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.md", ".hidden.jpg", ".git/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_its_images_in_order(photos: Path) -> None:
    expected = [str(photos / name) for name in ("a.png", "b.JPG", "sub/c.webp")]
    assert list_sources([str(photos)]) == expected
    assert list_sources([f"file://{photos}"]) == expected


def test_a_named_file_is_taken_whatever_it_is_called(photos: Path) -> None:
    assert list_sources([str(photos / "notes.md")]) == [str(photos / "notes.md")]
    assert list_sources([str(photos / "gone.jpg")]) == [str(photos / "gone.jpg")]


def test_everything_is_listed_once(photos: Path) -> None:
    twice = [str(photos / "a.png"), str(photos), str(photos / "*.png")]
    assert len(list_sources(twice)) == 3


def test_globs_and_lists(photos: Path) -> None:
    assert list_sources([str(photos / "**" / "*.webp")]) == [str(photos / "sub" / "c.webp")]
    listed = photos / "list.txt"
    listed.write_text(f"# mine\n{photos / 'a.png'}\n\n{photos / 'sub'}\n")
    assert list_sources([str(listed)]) == [str(photos / "a.png"), str(photos / "sub" / "c.webp")]


def test_the_destination_is_not_an_input(photos: Path) -> None:
    sources = list_sources([str(photos)], exclude=str(photos / "sub"))
    assert sources == [str(photos / "a.png"), str(photos / "b.JPG")]


def test_a_photo_that_is_named_may_lie_in_the_destination(photos: Path) -> None:
    named = str(photos / "a.png")
    assert list_sources([named], exclude=str(photos)) == [named]
    with pytest.raises(UsageError, match="lie inside the destination"):
        list_sources([str(photos / "sub")], exclude=str(photos))
    with pytest.raises(UsageError, match="lie inside the destination"):
        list_sources([named, str(photos / "*.png")], exclude=str(photos))


def test_a_list_in_another_encoding_is_named(photos: Path) -> None:
    (photos / "list.txt").write_bytes("b\u00e9b\u00e9.jpg".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8"):
        list_sources([str(photos / "list.txt")])


def test_remote_prefixes_globs_and_objects() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("/bucket/a.jpg", "/bucket/deep/b.png", "/bucket/readme.md"):
        memory.pipe(name, b"x")
    root = "memory://bucket"
    expected = ["memory:///bucket/a.jpg", "memory:///bucket/deep/b.png"]
    assert list_sources([root]) == expected
    assert len(list_sources([root + "/readme.md"])) == 1
    gone = f"{root}/gone.jpg"
    assert list_sources([root, gone]) == [*expected, gone], "a named photo has an outcome"
    for nothing in (f"{root}/typo*.jpg", "memory://bukket/photos"):
        with pytest.raises(UsageError, match="no photos in memory"):
            list_sources([root, nothing])
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("address", ["nowhere", "nothing*.jpg"])
def test_a_mistake_is_named(address: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        list_sources([address])


def test_a_folder_without_photos_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file name ends in \.jpg"):
        list_sources([str(tmp_path)])
    with pytest.raises(UsageError, match="no photos were named"):
        list_sources([])
