"""What the tables of an evaluation show: columns, cells, the best of a column, people's numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import estimate
from pipeline.evaluation.results import UNALIGNED, Candidate
from pipeline.evaluation.scores import LOWER_IS_BETTER

Json = Mapping[str, Any]
"""An object of ``evaluation.json``, see docs/evaluation.md."""
UP, DOWN = "\u2191", "\u2193"
"""Arrows to what is better."""
PREFERENCE = "preference"
"""Share of the people of a study who preferred a method, in percent; `headsplat evaluate tally`."""


@dataclass(frozen=True)
class Column:
    """One metric as a column.

    Attributes:
        metric: its name in ``evaluation.json``.
        name: in words.
        digits: after the point.
        unit: of the numbers, if they have one.
    """

    metric: str
    name: str
    digits: int
    unit: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self.metric not in LOWER_IS_BETTER

    @property
    def title(self) -> str:
        """The name, the unit, and an arrow to what is better."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.name}{unit} {UP if self.higher_is_better else DOWN}"


COLUMNS = (
    Column("psnr_db", "PSNR", 2, "dB"),
    Column("psnr_head_db", "PSNR on the head", 2, "dB"),
    Column("psnr_face_db", "PSNR on the face", 2, "dB"),
    Column("ssim", "SSIM", 3),
    Column("ssim_face", "SSIM on the face", 3),
    Column("lpips_vgg", "LPIPS (VGG)", 3),
    Column("lpips_alex", "LPIPS (Alex)", 3),
    Column("dreamsim", "DreamSim", 3),
    Column("csim", "CSIM", 3),
    Column("csim_raw", "CSIM, whole image", 3),
    Column(PREFERENCE, "preferred", 0, "%"),
)
"""In the order of the tables."""


def shown_columns(rows: Sequence[Json]) -> list[Column]:
    """The columns in which any of the rows has a number."""
    return [
        column
        for column in COLUMNS
        if any(row[column.metric]["mean"] is not None for row in rows if column.metric in row)
    ]


def cell(value: Json | None, digits: int) -> str:
    """Mean and standard error as text, ``-`` where there is no number."""
    if value is None or value["mean"] is None:
        return "-"
    error = value["standard_error"]
    spread = "" if error is None else f" +- {error:.{digits}f}"
    return f"{value['mean']:.{digits}f}{spread}"


def best_rows(rows: Sequence[Json], column: Column) -> set[int]:
    """Places of the best means; a row that no comparable one is worse than is not best.

    Numbers at different sizes cannot be compared, since fewer pixels hide more mistakes; nor can
    aligned ones with others.
    """
    alike: dict[tuple[Any, Any], dict[int, float]] = {}
    for place, row in enumerate(rows):
        mean = row.get(column.metric, {"mean": None})["mean"]
        if mean is not None:
            alike.setdefault((row["size_px"], row.get("alignment")), {})[place] = mean
    pick = max if column.higher_is_better else min
    return {
        place
        for means in alike.values()
        if len({*means.values()}) > 1
        for place, mean in means.items()
        if mean == pick(means.values())
    }


def cells(rows: Sequence[Json], columns: Sequence[Column], bold: str) -> list[list[str]]:
    """The text of each row's cells.

    Args:
        rows: of one table.
        columns: to be shown.
        bold: format of the best of a column, such as ``**{}**``.
    """
    best = [best_rows(rows, column) for column in columns]
    return [
        [
            (bold if place in among else "{}").format(cell(row.get(column.metric), column.digits))
            for column, among in zip(columns, best, strict=True)
        ]
        for place, row in enumerate(rows)
    ]


def row_name(row: Json) -> str:
    """What the tables call a row of the summary, besides its size."""
    name = f"floor: {row['name']}" if row["is_floor"] else str(row["name"])
    return name if row["alignment"] == UNALIGNED else f"{name}, aligned in {row['alignment']}"


def key_of(row: Json) -> str:
    """The key of a summary's row in ``by_identity``."""
    named = {name: row[name] for name in ("name", "size_px", "alignment")}
    return Candidate(**named).key


def numbers_of_people(
    evaluation: Json, key: str, metric: str, subjects: Collection[str] | None = None
) -> dict[str, float]:
    """A candidate's number for each person who has one: the mean over their expressions.

    Args:
        evaluation: what `Evaluation.to_json` returned.
        key: of the candidate.
        metric: which number.
        subjects: keys of the subjects that count; None counts all.
    """
    of_people: dict[str, list[float]] = {}
    for subject, candidates in evaluation["by_identity"].items():
        value = candidates.get(key, {}).get(metric)
        if value is not None and (subjects is None or subject in subjects):
            of_people.setdefault(subject.partition("/")[0], []).append(value)
    return {person: float(np.mean(values)) for person, values in of_people.items()}


def missing_list(unavailable: Mapping[str, str]) -> str:
    """Why metrics have no numbers, a Markdown list."""
    names = {column.metric: column.name for column in COLUMNS}
    return "\n".join(
        f"- {names[metric]}: not available: {why}" for metric, why in unavailable.items()
    )


def json_estimate(values: Sequence[float]) -> dict[str, float | int | None]:
    """`estimate` as JSON values, with None for what is not known."""
    found = asdict(estimate(values))
    return {name: None if np.isnan(value) else round(value, 6) for name, value in found.items()}
