from pathlib import Path

import pytest

from jobs.sources import list_sources
from pipeline.errors import UsageError


def names(addresses: list[str], **options: object) -> list[str]:
    return list_sources(addresses, **options).table["source"].to_pylist()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.md", ".hidden.jpg", ".git/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_its_images_in_order(photos: Path) -> None:
    expected = [str(photos / name) for name in ("a.png", "b.JPG", "sub/c.webp")]
    assert names([str(photos)]) == expected
    assert names([f"file://{photos}"]) == expected


def test_a_named_file_is_taken_whatever_it_is_called(photos: Path) -> None:
    assert names([str(photos / "notes.md")]) == [str(photos / "notes.md")]
    assert names([str(photos / "gone.jpg")]) == [str(photos / "gone.jpg")]


def test_everything_is_listed_once(photos: Path) -> None:
    twice = [str(photos / "a.png"), str(photos), str(photos / "*.png")]
    assert len(names(twice)) == 3


def test_globs_and_lists(photos: Path) -> None:
    assert names([str(photos / "**" / "*.webp")]) == [str(photos / "sub" / "c.webp")]
    listed = photos / "list.txt"
    listed.write_text(f"# mine\n{photos / 'a.png'}\n\n{photos / 'sub'}\n")
    assert names([str(listed)]) == [str(photos / "a.png"), str(photos / "sub" / "c.webp")]


def test_the_destination_is_not_an_input(photos: Path) -> None:
    sources = names([str(photos)], exclude=str(photos / "sub"))
    assert sources == [str(photos / "a.png"), str(photos / "b.JPG")]


def test_a_photo_that_is_named_may_lie_in_the_destination(photos: Path) -> None:
    named = str(photos / "a.png")
    assert names([named], exclude=str(photos)) == [named]
    with pytest.raises(UsageError, match="lie inside the destination"):
        names([str(photos / "sub")], exclude=str(photos))
    with pytest.raises(UsageError, match="lie inside the destination"):
        names([named, str(photos / "*.png")], exclude=str(photos))


def test_a_list_in_another_encoding_is_named(photos: Path) -> None:
    (photos / "list.txt").write_bytes("b\u00e9b\u00e9.jpg".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8"):
        names([str(photos / "list.txt")])


def test_remote_prefixes_globs_and_objects() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("/bucket/a.jpg", "/bucket/deep/b.png", "/bucket/readme.md"):
        memory.pipe(name, b"x")
    root = "memory://bucket"
    expected = ["memory:///bucket/a.jpg", "memory:///bucket/deep/b.png"]
    assert names([root]) == expected
    assert len(names([root + "/readme.md"])) == 1
    gone = f"{root}/gone.jpg"
    assert names([root, gone]) == [*expected, gone], "a named photo has an outcome"
    for nothing in (f"{root}/typo*.jpg", "memory://bukket/photos"):
        with pytest.raises(UsageError, match="no photos in memory"):
            names([root, nothing])
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("address", ["nowhere", "nothing*.jpg"])
def test_a_mistake_is_named(address: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        names([address])


def test_a_folder_without_photos_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file name ends in \.jpg"):
        names([str(tmp_path)])
    with pytest.raises(UsageError, match="no photos were named"):
        names([])
