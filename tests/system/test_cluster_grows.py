import json
import subprocess
import sys
from pathlib import Path

import growing_cluster
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.mark.slow
def test_a_job_grows_the_cluster_past_a_refused_type_and_leaves_it_empty(tmp_path: Path) -> None:
    photos, out, log = tmp_path / "photos", tmp_path / "out", tmp_path / "requests"
    photos.mkdir()
    for i in range(18):
        Image.new("RGB", (64, 64), (10 * i, 99, 40)).save(photos / f"{i}.png")
    with growing_cluster.growing_cluster(log) as address:
        command = [sys.executable, growing_cluster.__file__, address, str(photos), str(out)]
        environment = growing_cluster._environment()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    gpus = json.loads(done.stdout.splitlines()[-1])["gpus"]
    assert (gpus[0], max(gpus), gpus[-1]) == (0, growing_cluster.GPUS, 0)
    requests = log.read_text().split()
    assert requests[0] == "gpu_spot"
    assert requests.count("gpu_on_demand") >= 1
    assert requests.count("gpu_spot") == 1, "a type that was refused is asked for again and again"
    rows = pq.read_table(out / "manifest").to_pylist()
    assert [row["outcome"] for row in rows] == ["ok"] * 18
