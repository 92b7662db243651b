import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_heads import ball_sequence

from jobs.cli import main
from jobs.heads import RenderOptions, SequenceTask, render
from jobs.ray_cluster import connected
from pipeline.digital_human.dataset import HeadDataset
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.store import list_sequences, prepare, write_sequence, write_table
from pipeline.errors import UsageError
from pipeline.evaluation.paper_set import paper_sequences
from pipeline.storage import locate

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # its own calls

TINY = DatasetOptions(
    size_px=32, samples=1, appearances=2, elevations_deg=(-10.0, 0.0), views_per_ring=2
)
SMALL = ["--size", "32", "--samples", "1", "--appearances", "2"]
COMMAND = [*SMALL, "--elevations", "-10", "0", "--views-per-ring", "2", "--json"]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "views").glob("0*"))}


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_render_goes_on_and_gives_the_same_bytes_as_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, alone = tmp_path / "out", tmp_path / "alone"
    command = ["heads", "render", str(out), "--identities", "3", *COMMAND]
    process = subprocess.Popen([sys.executable, "-m", "jobs.cli", *command])
    while len(list(out.glob("views/0*"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("views/0*")}
    assert len(finished) < 6
    assert not (out / "sequences.parquet").exists()

    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["sequences"], record["views"], record["failed"]) == (6, 24, {})
    assert 0 < record["rendered"] <= 6 - len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert pq.read_table(out / "sequences.parquet")["sequence_id"].to_pylist() == list(range(6))

    prepare(locate(str(alone)), TINY)
    for number in (5, 2, 0):
        write_sequence(locate(str(alone)), TINY, number)
    made = _files(out)
    assert len(made) == 6
    assert _files(alone).items() <= made.items()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 0


@pytest.mark.usefixtures("ray_cluster")
def test_a_failure_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "views" / "000001.parquet").mkdir(parents=True)  # in the way of the second one
    command = ["heads", "render", str(tmp_path), "--identities", "1", *COMMAND]
    assert main(command) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["rendered"] == 1
    assert list(record["failed"]) == ["1"]
    assert "IsADirectoryError" in record["failed"]["1"]
    assert len(HeadDataset(tmp_path, "all")) == 1
    (tmp_path / "views" / "000001.parquet").rmdir()
    assert main(command[:-1]) == 0
    assert "  were there         1" in capsys.readouterr().out


def test_an_error_is_a_column_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "views").write_text("in the way")
    task = pickle.loads(pickle.dumps(SequenceTask(locate(str(tmp_path)), TINY)))
    row = task({"sequence_id": 3})
    assert row["sequence_id"] == 3
    assert row["error"].startswith(("FileExistsError", "NotADirectoryError"))


@pytest.mark.usefixtures("ray_cluster")
def test_sigterm_stops_a_job_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), connected(None):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_mistakes_are_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="identities 0 from 0: give at least 1"):
        render(RenderOptions(out=str(tmp_path), identities=0))
    with pytest.raises(UsageError, match="up to 1,000,000 in all; another seed"):
        render(RenderOptions(out=str(tmp_path), start=999_999, identities=2))
    with pytest.raises(UsageError, match="elevation 95 is outside"):
        render(RenderOptions(out=str(tmp_path), elevations=(95.0,)))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="nothing can be written under"):
        render(RenderOptions(out=str(tmp_path / "file")))
    prepare(locate(str(tmp_path)), TINY)
    with pytest.raises(UsageError, match=r"size_px 32 \(not 256\)"):
        render(RenderOptions(out=str(tmp_path), appearances=2))
    assert not (tmp_path / "views").exists()


def test_the_papers_test_set_is_fifty_sequences_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All are there already, so none is rendered and Ray is not started."""
    dataset = DatasetOptions(size_px=16, samples=1, elevations_deg=(0.0,), views_per_ring=2)
    options = RenderOptions(
        out=str(tmp_path),
        protocol="paper",
        size=16,
        samples=1,
        elevations=(0.0,),
        views_per_ring=2,
        json=True,
    )
    root = locate(str(tmp_path))
    prepare(root, dataset)
    for number in paper_sequences():
        write_table(root, number, ball_sequence(dataset, number))
    assert render(options) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["sequences"], record["rendered"], record["views"]) == (50, 0, 100)
    assert sorted(list_sequences(root)) == paper_sequences()
    with pytest.raises(UsageError, match="appearances is 3; the paper's test set has appearances"):
        render(RenderOptions(out=str(tmp_path / "other"), protocol="paper", appearances=3))
