import json
import pickle
from pathlib import Path

import pytest
from PIL import Image

from jobs.heads import (
    RenderOptions,
    SheetOptions,
    StatsOptions,
    _SequenceTask,
    render,
    sheet,
    stats,
)
from pipeline.digital_human.sequence import DatasetOptions
from pipeline.errors import UsageError

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # its own calls


@pytest.mark.timeout(600)  # a busy machine starts workers slowly
@pytest.mark.usefixtures("ray_cluster")
def test_render_resumes_and_sheet_and_stats_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "heads"
    assert render(RenderOptions(out=out, identities=1, size=32, photo_views=1, json=True)) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 1
    assert render(RenderOptions(out=out, identities=1, size=32, photo_views=1, json=True)) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["sequences"], again["rendered"]) == (1, 0)

    picture = tmp_path / "sheet.png"
    assert sheet(SheetOptions(source=str(out), png=picture, orbit=True)) == 0
    with Image.open(picture) as written:
        assert written.size == (16 * 32, 32)
    capsys.readouterr()
    assert stats(StatsOptions(folder=out, json=True)) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["sequences"], record["views"]) == (1, 17)
    assert 0.1 < record["coverage"] < 0.6
    assert sum(record["sex"].values()) == 1
    assert stats(StatsOptions(folder=out)) == 0
    assert "hair_style" in capsys.readouterr().out


def test_nothing_to_render_or_show_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="identities 0 from 0"):
        render(RenderOptions(out=tmp_path, identities=0))
    with pytest.raises(UsageError, match="no heads to show"):
        sheet(SheetOptions(source="5:5", png=tmp_path / "sheet.png"))


def test_a_sequence_that_cannot_be_written_is_a_row_with_its_error(tmp_path: Path) -> None:
    options = DatasetOptions(size_px=16, samples=1, orbit_views=1, photo_views=0)
    task = pickle.loads(pickle.dumps(_SequenceTask(tmp_path / "gone", options)))
    row = task({"sequence_id": 3})
    assert row["sequence_id"] == 3
    assert row["error"].startswith("FileNotFoundError")
