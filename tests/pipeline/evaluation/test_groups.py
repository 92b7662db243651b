import numpy as np
import pytest
from tiny_evaluation import AVATAR, evaluation_of, scores, tiny_evaluation
from tiny_heads import write_heads

from pipeline.digital_human.dataset import HeadDataset
from pipeline.evaluation.groups import group_means, groups_table, judged_row, labels_of, yaw_band


def test_means_are_over_the_people_of_each_group() -> None:
    found = tiny_evaluation()
    groups = group_means(found, judged_row(found))
    psnr_db = {(one["label"], one["group"]): one["psnr_db"] for one in groups}
    assert {group: one["mean"] for group, one in psnr_db.items()} == {
        ("sex", "female"): 20.5,
        ("sex", "male"): 22.5,
        ("age_group", "old"): 20.0,
        ("age_group", "young"): 21.5,
    }
    assert psnr_db["sex", "male"]["standard_error"] == pytest.approx(0.5)
    assert psnr_db["age_group", "old"]["standard_error"] is None
    assert [one["people"] for one in groups] == [2, 2, 1, 2], "whoever has no label is in no group"


def test_a_person_counts_once_however_many_expressions_they_have() -> None:
    labels = {
        "9/0": {"sex": "female", "portrait_yaw": "from the front"},
        "9/1": {"sex": "female", "portrait_yaw": "turned by 15 to 45 deg"},
        "19/0": {"sex": "male", "portrait_yaw": "from the front"},
    }
    scored = {
        name: {AVATAR: scores(psnr_db)} for name, psnr_db in zip(labels, (10, 20, 30), strict=True)
    }
    found = {**evaluation_of(scored), "labels": labels}
    groups = group_means(found, judged_row(found))
    assert [(one["group"], one["people"], one["psnr_db"]["mean"]) for one in groups] == [
        ("female", 1, 15.0),
        ("male", 1, 30.0),
        ("from the front", 2, 20.0),
        ("turned by 15 to 45 deg", 1, 20.0),
    ]


def test_the_table_shows_the_avatar_and_nothing_where_nothing_is_known() -> None:
    found = tiny_evaluation()
    table = groups_table(found)
    assert "| sex | male | 2 | 22.50 +- 0.50 |" in table
    assert "Of the avatar at 32 px" in table
    assert "from the front" not in table, "all portraits are"
    assert groups_table({**found, "labels": {}}) == ""


@pytest.mark.parametrize(
    ("azimuth_deg", "band"),
    [
        (0, "from the front"),
        (345, "from the front"),
        (-15.5, "turned by 15 to 45 deg"),
        (45, "turned by 15 to 45 deg"),
        (300, "turned by more than 45 deg"),
    ],
)
def test_yaw_bands_do_not_know_left_from_right(azimuth_deg: float, band: str) -> None:
    assert yaw_band(azimuth_deg) == band


def test_labels_come_from_the_dataset(tmp_path) -> None:
    dataset = HeadDataset(write_heads(tmp_path, (9, 19), 16, appearances=2), "test")
    labels = labels_of(dataset, {"9": 0.0, "19/39": np.float32(60)})
    # the balls of the tests have no labels but the portrait's direction
    assert labels == {
        "9": {"portrait_yaw": "from the front"},
        "19/39": {"portrait_yaw": "turned by more than 45 deg"},
    }
