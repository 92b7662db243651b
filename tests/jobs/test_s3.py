import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy_avatars
from bad_photos import photo
from pyarrow import fs

from jobs import manifest
from jobs.cli import main
from jobs.head_source import read_heads
from pipeline.avatar_folder import FILES
from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UnreadableSource
from pipeline.storage import locate


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import jobs.batch

    monkeypatch.setattr(jobs.batch, "build_graph", toy_avatars.graph)
    monkeypatch.setattr(jobs.batch, "build_recipe", toy_avatars.recipe)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    s3 = fs.S3FileSystem(
        endpoint_override=s3_server.removeprefix("http://"),
        scheme="http",
        allow_bucket_creation=True,
    )
    s3.create_dir("photos")
    return "s3://photos"


def test_photos_and_avatars_in_a_bucket(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        data = photo(tmp_path / "p.png", i).read_bytes()
        locate(f"{bucket}/in/{i}.png").write(data)
    locate(f"{bucket}/in/notes.md").write(b"no photo")
    locate(f"{bucket}/in/bad.jpg").write(b"no photo")
    command = ["make", f"{bucket}/in", "-o", f"{bucket}/out", "--json"]
    assert main(command) == 1
    first = json.loads(capsys.readouterr().out)
    counted = {name: number for name, number in first["totals"].items() if number}
    assert counted == {"ok": 2, "rejected": 1}
    root = locate(f"{bucket}/out")
    rows = manifest.load(root, ["id"]).rows.sort_by("source").to_pylist()
    names = ("0.png", "1.png", "bad.jpg")
    assert [row["source"] for row in rows] == [f"{bucket}/in/{name}" for name in names]
    assert all(root.child(rows[0]["id"], name).exists() for name in FILES)
    assert b"1.png" in root.child("index.html").read()
    assert main([*command, "--formats", "spz"]) == 1
    assert json.loads(capsys.readouterr().out)["totals"]["resumed"] == 2
    assert all(root.child(rows[k]["id"], "avatar.spz").exists() for k in range(2))
    assert main(["make", f"{bucket}/in/1*.png", "-o", str(tmp_path / "here")]) == 0
    local = tmp_path / "here" / rows[1]["id"] / "avatar.ply"
    assert local.read_bytes() == root.child(rows[1]["id"], "avatar.ply").read()


def test_ray_reads_from_and_writes_to_a_bucket(bucket: str, tmp_path: Path) -> None:
    for i in range(3):
        data = photo(tmp_path / "p.png", i).read_bytes()
        locate(f"{bucket}/album/{i}.png").write(data)
    program = [sys.executable, str(toy_avatars.__file__), "generate"]
    command = [*program, f"{bucket}/album", f"{bucket}/heads", "--json", "--formats", "glb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"]["ok"] == 3
    root = locate(f"{bucket}/heads")
    rows = manifest.load(root, ["id"]).rows.sort_by("source").to_pylist()
    files = (*FILES, "avatar.glb")
    assert all(root.child(row["id"], name).exists() for row in rows for name in files)
    here = tmp_path / "here"
    assert main(["make", f"{bucket}/album/2.png", "-o", str(here)]) == 0
    local = here / rows[2]["id"] / "avatar.ply"
    assert local.read_bytes() == root.child(rows[2]["id"], "avatar.ply").read()


@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # its own calls
@pytest.mark.usefixtures("ray_cluster")
def test_heads_are_rendered_into_and_read_from_a_bucket(
    bucket: str, s3_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = s3_server.removeprefix("http://")
    # in the address, not the environment: the cluster's workers were started without it
    address = f"{bucket}/people?endpoint_override={server}&scheme=http&region=us-east-1"
    small = "--identities 1 --appearances 2 --size 32 --samples 1 --elevations 0"
    command = ["heads", "render", address, *small.split(), "--views-per-ring", "4", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 2
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 0
    heads = HeadDataset(address)
    assert heads.sequences == [0, 1]
    assert heads.load(1, [2, 0]).azimuth_deg.tolist() == [180, 0]
    assert main(["heads", "stats", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["views"] == 8
    views = read_heads(address, columns=["sequence_id", "azimuth_deg"]).take_all()
    assert sorted(row["sequence_id"] for row in views) == [0] * 4 + [1] * 4
    with pytest.raises(UnreadableSource, match=r"sequence 7 is not in s3://photos/people"):
        heads.load(7)


def test_what_is_not_there_is_named(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", f"{bucket}/nothing", "-o", f"{bucket}/out"]) == 2
    assert "no photos in s3://photos/nothing" in capsys.readouterr().err
    assert main(["make", "s3://no-such-bucket/x", "-o", f"{bucket}/out"]) == 2
    assert "no-such-bucket" in capsys.readouterr().err
