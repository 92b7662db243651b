import json

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
    ],
)
def test_mistakes_are_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    assert told in capsys.readouterr().err
