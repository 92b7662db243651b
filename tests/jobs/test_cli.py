import importlib
import json
import subprocess
import sys
import time
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import VERBS, main

SURFACE = Path(__file__).with_name("cli_surface.json")


def _surface() -> dict[str, dict[str, Any]]:
    """Every verb's options with their defaults."""
    verbs = {}
    for name, verb in VERBS.items():
        options, _ = verb.load()
        verbs[name] = {
            field.name: "required" if field.default is MISSING else str(field.default)
            for field in fields(options)
        }
    return verbs


def test_the_surface_changes_only_on_purpose() -> None:
    """After a change on purpose, put what this prints into cli_surface.json and the changelog."""
    assert _surface() == json.loads(SURFACE.read_text()), json.dumps(_surface(), indent=1)


def test_help_answers_at_once_and_names_every_verb() -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", "--help"], capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - started)
    assert all(f"  {name} " in done.stdout for name in VERBS)
    assert min(seconds) < 0.3


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from jobs.cli import main; main(['--help']); main(['--version']);"
        "print([m for m in ('torch', 'ray', 'numpy', 'tyro', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_an_example_and_json(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*name.split(), "--help"])
    shown = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert f"Example: headsplat {name}" in shown
    assert "--json" in shown


def test_options_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["make", "--colour", "red"])
    assert exit_info.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_verb_and_unknown_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["frobnicate"]) == 2
    assert "see headsplat --help" in capsys.readouterr().err
    assert main(["models"]) == 2
    assert "did you mean models import or models info?" in capsys.readouterr().err


def test_the_command_is_installed_under_its_name() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["headsplat"].split(":")
    assert getattr(importlib.import_module(module), function) is main


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"headsplat {project['version']}\n"


def test_doctor_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == int(not report["healthy"])
    levels = {finding["what"]: finding["level"] for finding in report["findings"]}
    assert report["healthy"] is ("bad" not in levels.values())
    assert {"python", "packages", "memory", "gpu", "model"} <= set(levels)
    assert (main(["doctor"]), "avatars can" in capsys.readouterr().out) == (code, True)
