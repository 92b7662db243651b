import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_study import METHODS, SUBJECTS, tiny_study, write_renders

from pipeline.errors import UsageError
from pipeline.evaluation.study import draw_study, find_subjects
from pipeline.evaluation.study_page import study_page
from pipeline.evaluation.study_pictures import read_picture


def test_every_subject_is_asked_once_with_every_method(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    assert sorted(question.subject for question in study.questions) == list(SUBJECTS)
    for question in study.questions:
        assert sorted(option.method for option in question.options) == list(METHODS)
    tokens = [q.token for q in study.questions]
    tokens += [option.token for q in study.questions for option in q.options]
    assert len(set(tokens)) == 9


def test_the_seed_decides_the_orders(tmp_path: Path) -> None:
    folders = write_renders(tmp_path)

    def orders(seed: int) -> list[tuple[str, ...]]:
        study = draw_study(folders, None, "Which?", seed, 16)
        return [(q.subject, *(one.method for one in q.options)) for q in study.questions]

    assert orders(0) == orders(0)
    drawn = [orders(seed) for seed in range(20)]
    assert len({order[0][0] for order in drawn}) == 3, "each subject comes first sometimes"
    first = [order[1] == "avatar" for one in drawn for order in one]
    assert 20 < sum(first) < 40, "no method has a place of its own"


def test_the_page_names_nobody(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    page = study_page(study)
    pictures = b"".join(one.picture.data for q in study.questions for one in q.options)
    for secret in (*METHODS, *SUBJECTS, str(tmp_path), "made by", "Software"):
        assert secret not in page
        assert secret.encode() not in pictures
    assert page.count("data:image/webp;base64,") == 6
    assert "://" not in page


def test_a_question_cannot_end_the_pages_script(tmp_path: Path) -> None:
    ask = '</script><script>alert("1")</script>'
    page = study_page(tiny_study(tmp_path, ask=ask))
    assert page.count("</script>") == study_page(tiny_study(tmp_path / "plain")).count("</script>")


def test_the_id_is_of_what_is_seen(tmp_path: Path) -> None:
    study = tiny_study(tmp_path / "a")
    assert study.id == tiny_study(tmp_path / "b").id
    assert study.id != tiny_study(tmp_path / "c", ask="Which one?").id
    assert study.id != tiny_study(tmp_path / "d", seed=1).id
    assert study.key()["methods"] == list(METHODS)


def test_pictures_are_made_alike(tmp_path: Path) -> None:
    Image.new("RGBA", (30, 60), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (30, 60), "black").save(tmp_path / "b.jpg")
    clear, tall = (read_picture([tmp_path / name], 40) for name in ("a.png", "b.jpg"))
    with Image.open(io.BytesIO(clear.data)) as image:
        assert (image.format, image.size) == ("WEBP", (40, 40))
        assert np.asarray(image).min() > 250, "transparent pixels are white"
    with Image.open(io.BytesIO(tall.data)) as image:
        columns = np.asarray(image.convert("L"))[20]
    assert columns[20] < 10
    assert columns[[2, -3]].min() > 245, "white beside what is no square"


def frames_of(data: bytes) -> tuple[int, float, tuple[int, int]]:
    """How many frames, how long each is in ms, and their size."""
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        image.load()
        return image.n_frames, image.info["duration"], image.size


def test_moving_pictures_keep_frames_and_speed(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), (60 * k, 0, 0)) for k in range(4)]
    made, rendered = tmp_path / "anna", tmp_path / "9" / "92"
    made.mkdir()
    frames[0].save(made / "turntable.webp", save_all=True, append_images=frames[1:], duration=250)
    frames[0].save(made / "portrait.png")
    rendered.mkdir(parents=True)
    for number, frame in enumerate(frames[:2]):
        frame.save(rendered / f"{number:02d}.png")
    found = find_subjects(tmp_path)
    assert found == {
        "9/92": [rendered / "00.png", rendered / "01.png"],
        "anna": [made / "turntable.webp"],
    }
    pictures = {subject: read_picture(paths, 24) for subject, paths in found.items()}
    assert all(picture.moves for picture in pictures.values())
    assert frames_of(pictures["anna"].data) == (4, 250, (24, 24))
    assert frames_of(pictures["9/92"].data) == (2, 2000, (24, 24))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "avatar" / "bert.png").unlink(), "avatar lacks bert, which another method"),
        (lambda f: (f / "avatar" / "bert.webp").touch(), "are both of bert"),
        (lambda f: (f / "avatar" / "bert.png").write_bytes(b"text"), "cannot be read as a picture"),
        (lambda f: [p.unlink() for p in (f / "avatar").iterdir()], "holds no pictures"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, spoil, said: str) -> None:
    folders = write_renders(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UsageError, match=said):
        draw_study(folders, None, "Which?", 0, 16)


def test_methods_that_would_be_told_apart_are_refused(tmp_path: Path) -> None:
    folders = write_renders(tmp_path)
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green")]
    (tmp_path / "avatar" / "anna.png").unlink()
    frames[0].save(tmp_path / "avatar" / "anna.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(UsageError, match=r"of anna, .*avatar moves.*tell them apart"):
        draw_study(folders, None, "Which?", 0, 16)
    with pytest.raises(UsageError, match="1 methods were given; give 2 to 9"):
        draw_study({"avatar": tmp_path / "avatar"}, None, "Which?", 0, 16)


def test_portraits_must_be_complete(tmp_path: Path) -> None:
    folders = write_renders(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("anna", "bert", "zoe"):
        Image.new("RGB", (20, 20), "blue").save(photos / f"{name}.jpg")
    with pytest.raises(UsageError, match=r"photos has no portrait of carl"):
        draw_study(folders, photos, "Which?", 0, 16)
    (photos / "zoe.jpg").rename(photos / "carl.jpg")
    study = draw_study(folders, photos, "Which?", 0, 16)
    assert all(question.portrait is not None for question in study.questions)
    assert study_page(study).count("data:image/webp;base64,") == 9
