"""How an evaluation's numbers differ between groups of people and directions of the portrait."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.columns import (
    PREFERENCE,
    Column,
    Json,
    cell,
    json_estimate,
    key_of,
    numbers_of_people,
    shown_columns,
)

if TYPE_CHECKING:
    from pipeline.digital_human.dataset import HeadDataset

LABELS = {"sex": "sex", "age_group": "age", "ancestry": "ancestry", "portrait_yaw": "portrait"}
"""Labels that make groups, in the order of the table, and their titles."""
YAW_BANDS_DEG = ((15.0, "from the front"), (45.0, "turned by 15 to 45 deg"))
"""Upper ends of the bands of the portrait's yaw, and their names."""
TURNED_FURTHER = "turned by more than 45 deg"


def labels_of(
    dataset: "HeadDataset | None", azimuths_deg: Mapping[str, float]
) -> dict[str, dict[str, str]]:
    """What is known of the people of an evaluation, without opening an image.

    Args:
        dataset: of digital humans, where they are from; None knows nobody.
        azimuths_deg: key of each subject, which starts with the identity's number -> the azimuth
            of its portrait.

    Returns:
        Subject -> label -> value, of the `LABELS` that are known.
    """
    from pipeline.digital_human.index import read_index

    people = {}
    if dataset is not None:
        rows = read_index(dataset.root).select(["identity_id", "sex", "age_group", "ancestry"])
        people = {str(row.pop("identity_id")): row for row in rows.to_pylist()}
    labels = {}
    for subject, azimuth_deg in azimuths_deg.items():
        known = people.get(subject.partition("/")[0], {})
        labels[subject] = {name: value for name, value in known.items() if value}
        labels[subject]["portrait_yaw"] = yaw_band(azimuth_deg)
    return labels


def yaw_band(azimuth_deg: float) -> str:
    """The band of a portrait's azimuth, whichever side it is seen from."""
    turned_deg = abs((azimuth_deg + 180) % 360 - 180)
    return next((name for end, name in YAW_BANDS_DEG if turned_deg <= end), TURNED_FURTHER)


def group_means(evaluation: Json, row: Json) -> list[dict[str, Any]]:
    """One candidate's means over the people of each group.

    Args:
        evaluation: what ``evaluation.json`` holds.
        row: of the summary.

    Returns:
        For each group its ``label``, ``group``, number of ``people`` and, by metric, an estimate.
        Labels that all share are left out.
    """
    key, metrics = key_of(row), [column.metric for column in group_columns(row)]
    found = []
    for label in LABELS:
        groups: dict[str, list[str]] = {}
        for subject, known in evaluation["labels"].items():
            if label in known:
                groups.setdefault(known[label], []).append(subject)
        for value, subjects in sorted(groups.items()) if len(groups) > 1 else ():
            people = {
                metric: numbers_of_people(evaluation, key, metric, subjects) for metric in metrics
            }
            means = {metric: json_estimate([*of.values()]) for metric, of in people.items()}
            count = max(map(len, people.values()))
            found.append({"label": label, "group": value, "people": count, **means})
    return found


def group_columns(row: Json) -> list[Column]:
    """The columns that differ between groups."""
    return [column for column in shown_columns([row]) if column.metric != PREFERENCE]


def groups_table(evaluation: Json) -> str:
    """The groups in Markdown, of the avatar; empty where nothing is known of the people."""
    row = judged_row(evaluation)
    groups = group_means(evaluation, row)
    if not groups:
        return ""
    columns = group_columns(row)
    lines = [
        "| | | people | " + " | ".join(column.title for column in columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for group in groups:
        cells = [cell(group[column.metric], column.digits) for column in columns]
        title = f"{LABELS[group['label']]} | {group['group']} | {group['people']}"
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + (
        f"\n\nOf the {row['name']} at {row['size_px']} px, mean +- standard error over the people "
        "of a group. Groups of a few people differ by chance.\n"
    )


def judged_row(evaluation: Json) -> Json:
    """The summary's row that speaks for the model: its avatar, unaligned, else what comes last."""
    own = [row for row in evaluation["summary"] if not (row["is_floor"] or row["is_baseline"])]
    return next((row for row in own if row["name"] == "avatar"), own[-1])
