import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_evaluation import VIEWS, evaluation_of, scores, tiny_evaluation
from tiny_study import answers, write_renders

from jobs.cli import main
from jobs.evaluation_files import write_evaluation


@pytest.fixture
def study(tmp_path: Path) -> Path:
    methods = [f"{name}={path}" for name, path in write_renders(tmp_path / "renders").items()]
    assert main(["evaluate", "study", *methods, "-o", str(tmp_path / "study")]) == 0
    return tmp_path / "study"


def answered(study: Path, *methods: str) -> Path:
    key = json.loads((study / "key.json").read_text())
    folder = study.parent / "answers"
    folder.mkdir(exist_ok=True)
    file = folder / f"{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps(answers(key, file.stem, *methods)))
    return folder


def evaluated(folder: Path) -> Path:
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "sheet.png")
    write_evaluation(folder, tiny_evaluation())
    return folder


def test_the_command_says_what_to_give_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = [f"{name}={path}" for name, path in write_renders(tmp_path / "renders").items()]
    command = ["evaluate", "study", *methods, "-o", str(tmp_path / "study")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "study.html: 3 questions" in said
    assert "give this file to people" in said
    assert "key.json: says whose pictures are whose; keep it" in said
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["questions"] == 3
    assert found["study"] in Path(found["page"]).read_text()


def test_an_evaluation_gets_a_column(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(study, "avatar", "avatar", "avatar")
    folder = answered(study, "avatar", "panohead", "avatar")
    evaluation = evaluated(tmp_path / "evaluation")
    before = (evaluation / "report.md").read_text()
    assert "preferred" not in before
    command = ["evaluate", "tally", str(study / "key.json"), str(folder)]
    capsys.readouterr()
    assert main([*command, "--evaluation", str(evaluation)]) == 0
    assert "| avatar | 83.3 +- 16.7 |" in capsys.readouterr().out
    after = (evaluation / "report.md").read_text()
    assert "| preferred, % \u2191 |" in after
    assert "| 83 +- 17 |" in after, "in the avatar's row"
    assert 'share of 2 people\'s answers to "Which head looks better?"' in after
    assert "83 +- 17" in (evaluation / "report.html").read_text()
    for row in json.loads((evaluation / "evaluation.json").read_text())["summary"]:
        assert ("preference" in row) is (row["name"] == "avatar")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "a", "-o", "x"], "'a' is not NAME=FOLDER"),
        (["study", "a=b", "a=c", "-o", "x"], "the name a was given twice"),
        (["study", "a=none", "b=none", "-o", "x"], "none is not a folder"),
        (["study", "a=b", "c=d", "-o", "x", "--size-px", "2000"], "size-px is 2000; it must be 64"),
        (["tally", "none.json", "none.json"], "none.json cannot be read as JSON"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_mistakes_with_answers_are_told(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = answered(study, "panohead")
    evaluation = evaluated(tmp_path / "evaluation")
    write_evaluation(evaluation, evaluation_of({"9": {VIEWS: scores(20)}}))
    command = ["evaluate", "tally", str(study / "key.json"), str(folder)]
    assert main([*command, "--evaluation", str(evaluation)]) == 2
    assert "the study avatar, panohead; name a study's methods" in capsys.readouterr().err
    assert main([*command, "--evaluation", str(tmp_path)]) == 2
    assert "is not the output of headsplat evaluate" in capsys.readouterr().err
    (folder / "list.json").write_text("[]")
    assert main(command) == 2
    assert "list.json holds no JSON object" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([*command[:3], str(tmp_path / "empty")]) == 2
    assert "empty holds no .json file" in capsys.readouterr().err
