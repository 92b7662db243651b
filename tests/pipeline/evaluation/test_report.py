import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_evaluation import evaluation_of, tiny_evaluation

from pipeline.errors import UsageError
from pipeline.evaluation.report import (
    BEGIN,
    END,
    GROUPS_BEGIN,
    GROUPS_END,
    insert_table,
    notes,
    report,
    table,
)
from pipeline.evaluation.results import Candidate, Evaluation, Setup
from pipeline.evaluation.scores import ViewScores
from pipeline.evaluation.sheets import sheet

VIEWS = Candidate(name="views", size_px=32)
FLOOR = Candidate(name="mean image", size_px=32, is_floor=True)


def scores(psnr_db: float, csim: float = np.nan) -> ViewScores:
    return ViewScores(
        psnr_db=np.array([psnr_db - 1, psnr_db + 1]),
        psnr_head_db=np.full(2, psnr_db - 3),
        ssim=np.full(2, 0.5),
        csim=np.array([csim, np.nan]),
    )


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        setup=Setup(
            model="embedded",
            model_hash="abc",
            data="heads",
            condition="front",
            seed=3,
            training_identities=40,
            face_coverage=0.25,
            evaluator="eee",
            failed_identities=("29",),
        ),
        candidates=(VIEWS, FLOOR),
        scores={
            "9": {VIEWS.key: scores(18, 0.6), FLOOR.key: scores(14)},
            "19": {VIEWS.key: scores(20, 0.8), FLOOR.key: scores(15)},
            "39": {VIEWS.key: scores(16), FLOOR.key: scores(13)},
        },
        azimuths_deg=(0.0, 180.0),
    )


def test_json_survives_and_holds_no_nan(evaluation: Evaluation) -> None:
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    back = json.loads(text)
    views = back["summary"][0]
    assert views["psnr_db"] == {
        "mean": 18.0,
        "standard_error": pytest.approx(2 / np.sqrt(3), abs=1e-6),
        "standard_deviation": 2.0,
        "subjects": 3,
        "coverage": 1.0,
    }
    assert views["csim"]["mean"] == pytest.approx(0.7)
    assert views["csim"]["subjects"] == 2
    assert views["csim"]["coverage"] == pytest.approx(2 / 6, abs=1e-6)
    assert views["psnr_db_by_azimuth"] == [17.0, 19.0]
    assert back["by_identity"]["39"][VIEWS.key]["csim"] is None


def test_subjects_are_ranked_best_first(evaluation: Evaluation) -> None:
    assert evaluation.ranked(VIEWS) == ["19", "9", "39"]


def test_the_table_shows_what_there_is_and_the_best_in_bold(evaluation: Evaluation) -> None:
    head, _, views, floor = table(evaluation.to_json()).splitlines()
    assert head == (
        "| | px | PSNR, dB \u2191 | PSNR on the head, dB \u2191 | SSIM \u2191 | CSIM \u2191 |"
    )
    assert views == (
        "| views | 32 | **18.00 +- 1.15** | **15.00 +- 1.15** | 0.500 +- 0.000 | 0.700 +- 0.100 |"
    )
    assert floor == (
        "| floor: mean image | 32 | 14.00 +- 0.58 | 11.00 +- 0.58 | 0.500 +- 0.000 | - |"
    )


def test_a_method_per_row_ours_first_and_distances_the_other_way_round() -> None:
    rows = table(tiny_evaluation()).splitlines()
    assert rows[0] == "| | px | PSNR, dB \u2191 | SSIM \u2191 | LPIPS (VGG) \u2193 | CSIM \u2191 |"
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| views", "| avatar", "| lgm", "| floor: nearest identity"
    ]  # fmt: skip
    assert "**" not in rows[2], "alone at its size"
    avatar, lgm = (row.split(" | ") for row in rows[3:5])
    assert avatar[2] == "**21.50 +- 0.65**"
    assert avatar[4] == "0.385 +- 0.006"
    assert lgm[4] == "**0.285 +- 0.006**"


def test_aligned_rows_say_so(evaluation: Evaluation) -> None:
    aligned = replace(VIEWS, alignment="2d")
    scored = {i: {VIEWS.key: scores(15), aligned.key: scores(17)} for i in evaluation.scores}
    found = replace(evaluation, candidates=(VIEWS, aligned), scores=scored).to_json()
    assert "| views, aligned in 2d | 32 | 17.00 +- 0.00 |" in table(found), "not to be compared"


def test_floors_of_avatars_alone_are_shown() -> None:
    avatar = Candidate(name="avatar", size_px=32)
    copy = Candidate(name="portrait copy", size_px=32, is_floor=True)
    scored = {"1": {avatar: scores(20), copy: scores(15)}}
    found = evaluation_of(scored, protocol="nersemble", training_identities=0)
    assert "| floor: portrait copy | 32 | 15.00 |" in table(found)
    assert "people of NeRSemble" in notes(found)
    assert "drawn from" not in notes(found)


def test_report_says_how_and_what_failed_and_what_is_missing(evaluation: Evaluation) -> None:
    missing = replace(evaluation, unavailable={"dreamsim": "no weights: give --dreamsim"})
    text = report(missing.to_json())
    for said in ("3 held-out", "front view", "CSIM 33 %", "40 training", "failed: 29.", "| 180 |"):
        assert said in text
    assert "\n- DreamSim: not available: no weights: give --dreamsim\n" in text
    assert "Groups" not in text, "nothing is known of these people"
    assert "## Groups of people\n\n| | | people |" in report(tiny_evaluation())


def test_notes_say_how_far_products_are_above_the_nearest_identity(evaluation: Evaluation) -> None:
    assert "beaten" not in notes(evaluation.to_json())
    nearest = Candidate(name="nearest identity", size_px=32, is_floor=True)
    floors = {"9": 17.0, "19": 18.0, "39": 16.0}
    scored = {i: {**s, nearest.key: scores(floors[i])} for i, s in evaluation.scores.items()}
    above = replace(evaluation, candidates=(VIEWS, nearest), scores=scored)
    assert "beaten as follows: views by 1.00 +- 0.58 dB." in notes(above.to_json())


def test_table_is_replaced_in_place(evaluation: Evaluation) -> None:
    document = f"# Title\n\n{BEGIN}\nold numbers\n{END}\n\nmore\n"
    once = insert_table(document, evaluation.to_json())
    assert "old numbers" not in once
    assert once.startswith("# Title")
    assert once.endswith("\n\nmore\n")
    assert insert_table(once, evaluation.to_json()) == once
    with pytest.raises(UsageError, match="add both"):
        insert_table("# Title\n", evaluation.to_json())


def test_groups_go_where_a_document_wants_them() -> None:
    marks = f"{GROUPS_BEGIN}\nstale rows\n{GROUPS_END}"
    document = f"{BEGIN}\n{END}\n## Groups\n{marks}\nmore\n"
    once = insert_table(document, tiny_evaluation())
    assert "| sex | male | 2 |" in once.partition(GROUPS_BEGIN)[2].partition(GROUPS_END)[0]
    assert "stale rows" not in once
    assert insert_table(once, tiny_evaluation()) == once


def test_sheet_shows_every_row(tmp_path) -> None:
    portrait = np.full((20, 20, 3), 90, np.uint8)
    rows = {
        "truth": np.zeros((4, 32, 32, 3), np.uint8),
        "views": np.full((4, 16, 16, 3), 128, np.uint8),
    }
    picture = np.asarray(sheet([("identity 9", portrait, rows)], thumb_px=24))
    assert picture.shape == (22 + 2 * 24, 130 + 5 * 24, 3)
    assert (picture[30, 130 + 12] == 90).all()
    assert (picture[30, 130 + 24 :] == 0).all()
    assert (picture[60, 130 + 24 :] == 128).all()
    assert (picture[60, 130 + 12] == 255).all()
