import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_heads import write_heads

from jobs.cli import main
from jobs.head_sheets import SheetOptions, sheet
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.parts import HAIR, SKIN
from pipeline.digital_human.scene import NOTHING
from pipeline.digital_human.store import prepare, write_sequence
from pipeline.digital_human.truth_pictures import depth_picture, normals_picture, parts_picture
from pipeline.errors import UnreadableSource, UsageError
from pipeline.storage import locate


def draw(source: str, png: Path, show: str, **more: int) -> np.ndarray:
    """The sheet as an array [H, W, 3]."""
    options = SheetOptions(source=source, png=png, show=show, size=32, samples=1, **more)  # type: ignore[arg-type]
    assert sheet(options) == 0
    with Image.open(png) as written:
        return np.asarray(written)


@pytest.mark.parametrize(
    ("show", "columns"),
    [("identities", 1), ("orbit", 16), ("expressions", 9), ("accessories", 8), ("truth", 5)],
)
def test_sheets_of_seeds(show: str, columns: int, tmp_path: Path) -> None:
    picture = draw("3:4", tmp_path / "sheets" / "one.png", show)
    assert picture.shape == (32, 32 * columns, 3)
    cells = picture.reshape(32, columns, 32, 3).transpose(1, 0, 2, 3)
    assert (cells.min((1, 2, 3)) < 150).all()
    assert len({cell.tobytes() for cell in cells}) == columns
    assert (cells[:, 0, 0] == 255).all()


def test_sheets_of_a_dataset_show_each_person_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, png = str(write_heads(tmp_path / "data", (0, 1, 9), 32, appearances=2)), tmp_path / "s"
    assert draw(data, png, "identities", columns=2).shape == (64, 64, 3)
    assert draw(data, png, "orbit", count=2).shape == (64, 16 * 32, 3)
    capsys.readouterr()
    assert main(["heads", "sheet", data, str(png), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == {"png": str(png), "heads": 3, "width": 96, "height": 32}


def test_a_dataset_shows_truth_if_it_holds_it(tmp_path: Path) -> None:
    options = DatasetOptions(
        size_px=32, samples=1, appearances=1, elevations_deg=(10.0, 0.0), views_per_ring=2
    )
    with_truth = DatasetOptions(**{**options.to_json(), "ground_truth": True})
    root = locate(str(tmp_path / "truth"))
    prepare(root, with_truth)
    write_sequence(root, with_truth, 3)
    stored = draw(root.uri, tmp_path / "stored.png", "truth")
    fresh = draw("3:4", tmp_path / "fresh.png", "truth")
    parts = np.s_[:, 96:128]
    assert (stored[parts] == fresh[parts]).mean() > 0.95  # fewer hairs than the fresh head has
    without = str(write_heads(tmp_path / "without", (0,), 32))
    with pytest.raises(UnreadableSource, match="holds no ground truth"):
        draw(without, tmp_path / "none.png", "truth")


def test_what_cannot_be_shown_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="5:5 has no heads to show"):
        draw("5:5", tmp_path / "sheet.png", "identities")
    data = str(write_heads(tmp_path, (0,), 32))
    with pytest.raises(UsageError, match="does not hold all accessories of a person; give seeds"):
        draw(data, tmp_path / "sheet.png", "accessories")


def test_pictures_of_truth_are_white_where_nothing_is() -> None:
    depth = np.array([[0, 1.5], [2.0, 2.5]], np.float32)
    grey = depth_picture(depth)[..., 0]
    assert grey[0, 0] == 255
    assert grey[0, 1] > grey[1, 0] > grey[1, 1]
    assert (depth_picture(np.zeros((2, 2), np.float32)) == 255).all()
    normals = np.array([[[0, 0, 0], [0, 0, 1]]], np.float32)
    assert normals_picture(normals)[0].tolist() == [[255, 255, 255], [127, 127, 255]]
    colors = parts_picture(np.array([[NOTHING, SKIN, HAIR]], np.uint8))[0]
    assert colors[0].tolist() == [255, 255, 255]
    assert colors[1].tolist() != colors[2].tolist()
