import json
from pathlib import Path

import pytest
from tiny_study import answers, tiny_study

from pipeline.errors import UsageError
from pipeline.evaluation.tally import count_answers, tally_table

OURS, OTHER = "avatar", "panohead"


@pytest.fixture
def key(tmp_path: Path) -> dict:
    return json.loads(json.dumps(tiny_study(tmp_path).key()))


def test_shares_are_means_over_people(key: dict) -> None:
    files = {
        "a": answers(key, "a", OURS, OURS, OURS),
        "b": answers(key, "b", OURS, OTHER),  # stopped before the last question
        "c": answers(key, "c", OTHER, OTHER, OTHER),
    }
    found = count_answers(key, files)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["people"], found["answers"], found["questions"]) == (3, 8, 3)
    assert found["chance"] == 50
    ours = found["preference"][OURS]
    assert ours["mean"] == pytest.approx(50)  # of 100, 50 and 0 %
    assert ours["standard_error"] == pytest.approx(50 / 3**0.5)
    assert ours["mean"] + found["preference"][OTHER]["mean"] == pytest.approx(100)
    assert sum(place["mean"] for place in found["by_place"]) == pytest.approx(100)
    first = key["questions"][0]["subject"]
    assert found["by_subject"][first] == {OURS: 2, OTHER: 1}
    table = tally_table(found)
    assert "| avatar | 50.0 +- 28.9 |" in table
    assert "3 people, 8 answers to 3 questions" in table


def test_one_person_has_no_standard_error(key: dict) -> None:
    found = count_answers(key, {"a": answers(key, "a", OURS, OURS, OTHER)})
    assert found["preference"][OURS]["standard_error"] is None
    assert tally_table(found).splitlines()[2] == "| avatar | 66.7 |"


def test_a_file_counts_once(key: dict) -> None:
    one = answers(key, "a", OURS, OURS, OURS)
    assert count_answers(key, {"a": one, "copy of a": one})["people"] == 1
    with pytest.raises(UsageError, match="a and b are of one person and differ"):
        count_answers(key, {"a": one, "b": answers(key, "a", OTHER, OURS, OURS)})


def test_answers_to_another_study_are_refused(key: dict, tmp_path: Path) -> None:
    other = json.loads(json.dumps(tiny_study(tmp_path / "other", ask="Who?").key()))
    with pytest.raises(UsageError, match=f"b answers study {other['study']}, but the key is of"):
        count_answers(
            key, {"a": answers(key, "a", OURS), "b": answers(other, "b", OURS, OURS, OURS)}
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choice": "0" * 12}, "an answer that the study does not offer"),
        ({"question": "0" * 12}, "an answer that the study does not offer"),
        ({"position": 2}, "an answer that the study does not offer"),
    ],
)
def test_invented_answers_are_refused(key: dict, change: dict, said: str) -> None:
    file = answers(key, "a", OURS, OURS)
    file["answers"][1] |= change
    with pytest.raises(UsageError, match=said):
        count_answers(key, {"a": file})


def test_damaged_files_are_refused(key: dict) -> None:
    file = answers(key, "a", OURS)
    for wrong, said in (
        ({**file, "answers": []}, "a holds no answer"),
        ({**file, "answers": file["answers"] * 2}, "twice"),
        ({"study": key["study"]}, "not a file of answers"),
        ({**file, "answers": [1]}, "not a file of answers"),
        ({**file, "answers": [{**file["answers"][0], "choice": []}]}, "does not offer"),
    ):
        with pytest.raises(UsageError, match=said):
            count_answers(key, {"a": wrong})


def test_a_key_that_was_changed_is_refused(key: dict) -> None:
    swapped = json.loads(json.dumps(key))
    swapped["questions"][0]["seen"][2].reverse()
    with pytest.raises(UsageError, match="the key was changed"):
        count_answers(swapped, {})
    swapped = json.loads(json.dumps(key))
    swapped["questions"][0]["methods"] = dict.fromkeys(swapped["questions"][0]["methods"], OURS)
    with pytest.raises(UsageError, match="does not name"):
        count_answers(swapped, {})
    with pytest.raises(UsageError, match="not the key of a study"):
        count_answers({"study": key["study"]}, {})
