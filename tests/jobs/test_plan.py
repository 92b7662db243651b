import json
from pathlib import Path

import pytest

from jobs.cli import main


def test_the_plan_shows_its_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", "--gpu-memory-gb", "8"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in report["stages"]] == ["lowres", "highres"]
    assert all(0 < stage["plan"]["peak_gb"] <= 8 for stage in report["stages"])
    assert main(["plan", "--gpu-memory-gb", "0.3"]) == 1
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "paper", "--model", "x"], "contradict"),
        (["--gpu-memory-gb", "-1"], "must be positive"),
        (["--model", "no/such/model"], "not a folder"),
        (["--measure", "2"], "needs photos"),
        (["x", "--measure", "2", "--costs", "y"], "contradict"),
        (["--photos", "0"], "must be positive"),
        (["--photos", "5", "--costs", __file__], "holds no costs"),
        (["--photos", "5", "--costs", "no/such/run"], "neither a file of costs nor"),
        (["--photos", "5", "--memory-gb", "2"], "one worker of each stage needs Load 0.5 + "),
        (["--photos", "5", "--gpus", "1", "--gpu-memory-gb", "2"], "of one GPU, more than 1"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    assert told in capsys.readouterr().err


GPUS = ["--cpus", "16", "--gpus", "2"]


def _costs(tmp_path: Path, device: str, **facts: object) -> str:
    names = ["Load", "Prepare", "LowRes", "HighRes", "Reconstruct", "Judge", "Export"]
    seconds = dict(zip(names, [0.01, 0.4, 1.0, 2.0, 1.0, 0.4, 0.2], strict=True))
    told = {"machine": "test", "avatars": 9, "photos": 10, "model_hash": "x", "avatar_files": 5}
    path = tmp_path / "costs.json"
    path.write_text(json.dumps({"seconds": seconds, "device": device, **told, **facts}))
    return str(path)


def test_a_job_on_gpus_is_planned_by_measured_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = _costs(tmp_path, "GPU X", photo_bytes=100_000, avatar_bytes=1e6)
    prices = ["--gpu-hour-usd", "1.5", "--put-usd", "0.005"]
    command = ["plan", "--photos", "100000", *GPUS, "--costs", known, *prices]
    assert main([*command, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    pools = {pool["stage"]: pool for pool in plan["pools"]}
    assert [pools[name]["actors"] for name in ("LowRes", "HighRes", "Reconstruct")] == [2, 2, 2]
    assert 0.99 < sum(pool["gpus"] for pool in plan["pools"]) <= 1
    assert plan["gpu_shares"] == {n: p["gpus"] for n, p in pools.items() if p["gpus"]}
    job = plan["job"]
    assert (job["bottleneck"], job["avatars"]) == ("GPUs", 90_000)
    assert job["avatars_per_s"] == pytest.approx(2 / 4, abs=1e-9)
    assert job["gpu_hours"] == pytest.approx(100)
    assert (job["gets"], job["puts"]) == (200_000, 450_100)
    assert job["usd"] == pytest.approx(150 + 450.1 * 0.005)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "100.0 of GPUs" in shown
    assert "0.5 avatars a second; the GPUs are the bottleneck (busiest pool HighRes)" in shown
    assert "10 GB read, 90 GB written" in shown
    assert "with other options" in shown


def test_costs_of_a_cpu_say_nothing_of_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--photos", "9", *GPUS, "--costs", _costs(tmp_path, "cpu")]) == 0
    shown = capsys.readouterr().out
    assert "those that are known are of a CPU:\n  headsplat plan PHOTOS --measure" in shown
    assert "s/avatar" not in shown


def test_the_shipped_costs_are_of_the_shipped_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--photos", "1000", "--cpus", "8", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["costs"]["device"] == "cpu"
    assert plan["job"]["bottleneck"] == "CPUs"
    assert sum(pool["cpus"] * pool["actors"] for pool in plan["pools"]) <= 8
    one_s = sum(plan["costs"]["seconds"][pool["stage"]] for pool in plan["pools"])
    assert plan["job"]["wall_s"] == pytest.approx(1000 * one_s / 8, rel=0.01)
    assert main(["plan", "--photos", "1000", "--highres-steps", "9"]) == 0
    assert "hours need costs, and none are known" in capsys.readouterr().out


def test_a_paper_sized_job_has_shares_and_no_invented_hours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--preset", "paper", "--photos", "9", "--gpu-memory-gb", "80"]) == 0
    shown = capsys.readouterr().out
    assert "one of each on a GPU of 80 GB, by memory: LowRes 0." in shown
    assert "hours need the model's weights, and costs:" in shown
    assert "rate" not in shown
