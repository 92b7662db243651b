"""What ``headsplat submit`` makes of its options, and refuses before anything is sent."""

import shlex
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import tyro

from jobs.cli import VERBS, main
from jobs.generate import GenerateOptions
from jobs.submit import SubmitOptions, _runtime_env, entrypoint

ROOT = Path(__file__).parents[2]
NOT_PASSED_ON = {"address", "json"}


def _another(hint: Any, value: Any) -> Any:
    """A value of the type ``hint`` other than ``value``."""
    if get_origin(hint) is Literal:
        return next(choice for choice in get_args(hint) if choice != value)
    if get_origin(hint) in (Union, UnionType):
        return _another(get_args(hint)[0], value)
    if hint is bool:
        return not value
    if get_origin(hint) is tuple:
        return ("s3://b/in photos", "s3://b/out")
    others = {int: 7, float: -0.25, str: "some text", Path: Path("/models/mine")}
    return others[hint]


def test_every_option_of_generate_reaches_the_job() -> None:
    hints = get_type_hints(GenerateOptions)
    changed = {
        field.name: _another(hints[field.name], field.default)
        for field in fields(GenerateOptions)
        if field.name not in NOT_PASSED_ON
    }
    command = shlex.split(entrypoint(SubmitOptions(**changed)))
    assert command[:2] == ["headsplat", "generate"]
    config = (tyro.conf.FlagCreatePairsOff,)
    received = tyro.cli(GenerateOptions, args=command[2:], config=config)
    assert received == GenerateOptions(**changed)


def test_defaults_are_not_written_down() -> None:
    command = entrypoint(SubmitOptions(paths=("s3://b/in", "s3://b/out")))
    assert command == "headsplat generate s3://b/in s3://b/out"


def test_a_source_tree_runs_in_place_of_the_images(tmp_path: Path) -> None:
    options = SubmitOptions(paths=("s3://b/in", "s3://b/out"), working_dir=ROOT)
    assert entrypoint(options) == "python -m jobs.cli generate s3://b/in s3://b/out"
    environment = _runtime_env(options)
    assert environment["working_dir"] == str(ROOT)
    assert {".git", "tests"} <= set(environment["excludes"])


def test_regions_go_along_and_keys_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MINE", "here")
    options = SubmitOptions(paths=("s3://b/in", "s3://b/out"), env=("MINE", "A=b=c"))
    variables = _runtime_env(options)["env_vars"]
    assert variables["AWS_REGION"] == "eu-west-1"
    assert (variables["MINE"], variables["A"]) == ("here", "b=c")
    assert "AWS_SECRET_ACCESS_KEY" not in variables


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://b/in"], "submit needs photos and a destination"),
        (["photos", "s3://b/out"], "nodes do not see photos of this machine"),
        (["s3://b/in", "/data/out"], "nodes do not see /data/out"),
        (["file:///in", "s3://b/out"], "nodes do not see file:///in"),
        (["s3://b/in", "s3://b/out", "--model", "mine"], "nodes do not see mine"),
        (["s3://b/in?colour=red", "s3://b/out"], "s3 option 'colour' is unknown"),
        (["s3://b/in", "s3://b/out", "--turntable-frames", "0"], "turntable-frames is 0"),
        (["s3://b/in", "s3://b/out", "--formats", "obj"], "obj"),
        (["s3://b/in", "s3://b/out", "--tries", "3"], "min-identity is not given"),
        (["s3://b/in", "s3://b/out", "--env", "NOT_THERE"], "--env NOT_THERE is not set"),
        (["s3://b/in", "s3://b/out", "--working-dir", "/tmp"], "no source tree of headsplat"),
        (["s3://b/in", "s3://b/out", "--address", "head:8265"], "give http://HOST:PORT"),
    ],
)
def test_mistakes_are_found_here(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_options_that_do_not_exist_are_found_here(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["submit", "s3://b/in", "s3://b/out", "--sede", "3"])
    assert exit_info.value.code == 2
    assert "sede" in capsys.readouterr().err


def test_the_commands_of_the_guide_are_taken() -> None:
    guide = (ROOT / "docs" / "cluster.md").read_text()
    commands = [
        shlex.split(line, comments=True)[1:]
        for line in guide.splitlines()
        if line.startswith("    ") and line.split()[0] == "headsplat" and "[" not in line
    ]
    assert len(commands) >= 6
    for command in commands:
        name = next(n for n in (" ".join(command[:2]), command[0]) if n in VERBS)
        options, _ = VERBS[name].load()
        arguments = [word for word in command[len(name.split()) :] if word != "..."]
        tyro.cli(options, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
