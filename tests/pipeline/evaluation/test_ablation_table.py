import json

import pytest
from tiny_evaluation import AVATAR, PEOPLE, VIEWS, evaluation_of, scores, tiny_evaluation

from pipeline.errors import UsageError
from pipeline.evaluation.ablations import ablation_table, compare, ordering
from pipeline.evaluation.results import Candidate


def estimate(mean: float | None, standard_error: float | None) -> dict[str, float | None]:
    return {"mean": mean, "standard_error": standard_error}


@pytest.mark.parametrize(
    ("row", "difference", "higher_is_better", "said"),
    [
        (estimate(19.0, 0.4), estimate(-1.0, 0.3), True, "holds"),
        (estimate(19.0, 0.4), estimate(-1.0, 0.3), False, "reversed"),
        (estimate(19.5, 0.4), estimate(-0.5, 0.1), True, "holds in pairs"),
        (estimate(20.5, 0.4), estimate(0.5, 0.1), True, "reversed in pairs"),
        (estimate(19.5, 0.4), estimate(-0.5, 0.3), True, "undecided"),
        (estimate(20.0, 0.4), estimate(0.0, 0.0), True, "the same"),
        (estimate(19.0, None), estimate(-1.0, None), True, "undecided"),
        (estimate(None, None), estimate(None, None), True, "undecided"),
    ],
)
def test_an_ordering_needs_bars_apart_or_a_clear_paired_difference(
    row: dict, difference: dict, higher_is_better: bool, said: str
) -> None:
    assert ordering(row, estimate(20.0, 0.4), difference, higher_is_better) == said


def test_differences_are_of_the_same_people() -> None:
    """People differ by more than the models, so that only pairs can tell the models apart."""
    full = tiny_evaluation()
    worse = tiny_evaluation(offset_db=-0.5, model_hash="def")
    worse["by_identity"].pop("39")
    found = compare(full, {"no-fit": worse})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["people"] == 3
    whole, without = found["products"]["avatar"]
    assert (whole["name"], without["name"]) == ("full", "no-fit")
    assert whole["psnr_db"]["mean"] == 21.0, "of the three that both have"
    assert without["psnr_db"]["mean"] == 20.5
    assert without["psnr_db"]["difference"]["mean"] == -0.5
    assert without["psnr_db"]["difference"]["standard_error"] == 0.0
    assert without["psnr_db"]["ordering"] == "holds in pairs"
    assert without["csim"]["ordering"] == "the same"
    table = ablation_table(found)
    assert "| full | 32 | **21.00 +- 0.58** |" in table
    assert "| no-fit | -0.50 +- 0.00, holds in pairs |" in table
    assert "3 people of `heads`" in table
    assert table.endswith("- DreamSim: not available: no weights\n")


def test_other_sizes_are_shown_and_not_compared() -> None:
    small = Candidate(name="views", size_px=8)
    coarse = evaluation_of(
        {person: {small: scores(25.0), AVATAR: scores(15.0)} for person in PEOPLE}
    )
    found = compare(tiny_evaluation(), {"no-highres": coarse})
    full, row = found["products"]["views"]
    assert (full["size_px"], row["size_px"]) == (VIEWS.size_px, 8)
    assert "difference" not in row["psnr_db"]
    assert found["products"]["avatar"][1]["psnr_db"]["ordering"] == "holds"
    table = ablation_table(found)
    assert "| no-highres | 8 | 25.00 +- 0.00 |" in table, "not bold, though the number is larger"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="b was evaluated with seed 4 and the full model with 3"):
        compare(tiny_evaluation(), {"a": tiny_evaluation(), "b": tiny_evaluation(seed=4)})
    with pytest.raises(UsageError, match="a was evaluated with evaluator other and the full"):
        compare(tiny_evaluation(), {"a": tiny_evaluation(evaluator="other")})
    others = tiny_evaluation()
    others["by_identity"] = {"99": others["by_identity"]["9"]}
    with pytest.raises(UsageError, match="share no person"):
        compare(tiny_evaluation(), {"a": others})
