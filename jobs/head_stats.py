"""``headsplat heads stats``: who is in a dataset, and whether its pictures are sound."""

import json as json_module
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.digital_human.dataset import HeadDataset

LABELS = (
    "sex", "age_group", "ancestry", "hair_style", "hair_color", "beard", "eye_color", "garment",
    "expression", "accessory",
)  # fmt: skip
OF_APPEARANCES = ("expression", "accessory")
"""Labels that are counted by sequence; the others are of people."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True)
class StatsOptions:
    """Count who is in a dataset and check a sample of its pictures.

    Example: headsplat heads stats heads/

    Attributes:
        address: folder or URI of the dataset.
        check: sequences whose pictures are checked, spread over the dataset.
        json: print one JSON object.
    """

    address: tyro.conf.Positional[str]
    check: int = 50
    json: bool = False


def stats(options: StatsOptions) -> int:
    """Print `dataset_stats`; return the exit code.

    Raises:
        UsageError: the number of sequences to check is negative.
        UnreadableSource: there is no dataset, or a file of it is damaged.
    """
    if options.check < 0:
        raise UsageError(f"check is {options.check}; it must be at least 0")
    record = dataset_stats(options.address, options.check)
    if options.json:
        print(json_module.dumps(record))
        return 0
    for name, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in value.items())
        print(f"{name:<18}{'-' if value is None else value}")
    return 0


def dataset_stats(address: str, check: int) -> dict[str, Any]:
    """Who is in a dataset, and how its pictures are framed.

    Args:
        address: of the dataset.
        check: how many sequences' pictures are looked at.

    Returns:
        Numbers of sequences, identities, held-out identities, views and bytes; per label its
        values and their counts, of identities or, for `OF_APPEARANCES`, of sequences; quantiles
        of the identities' melanin; and `_picture_checks`.
    """
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.digital_human.index import read_index

    heads = HeadDataset(address, split="all")
    columns = [*LABELS, "melanin", "sequence_id", "identity_id", "split", "views", "bytes"]
    rows = read_index(heads.root).select(columns).to_pylist()
    people = list({row["identity_id"]: row for row in reversed(rows)}.values())
    return {
        "sequences": len(rows),
        "identities": len(people),
        "held_out": sum(row["split"] == "test" for row in people),
        "views": sum(row["views"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        **{label: _counts(rows if label in OF_APPEARANCES else people, label) for label in LABELS},
        "melanin": _quantiles([row["melanin"] for row in people]),
        **_picture_checks(heads, check),
    }


def _counts(rows: list[dict[str, Any]], label: str) -> dict[str, int]:
    return dict(Counter(str(row[label]) for row in rows).most_common())


def _quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    found = np.quantile(values, QUANTILES)
    return {
        f"{100 * share:g}%": round(float(q), 3) for share, q in zip(QUANTILES, found, strict=True)
    }


def _picture_checks(heads: "HeadDataset", check: int) -> dict[str, Any]:
    """What a sample of the sequences looks like.

    Returns:
        Sequences looked at; mean alpha coverage of their views; share of the views in which
        something but skin and clothes touches the top or side borders; share of the front views
        that show all landmarks.
    """
    places = np.linspace(0, len(heads) - 1, min(check, len(heads))).round().astype(int)
    coverage: list[float] = []
    cut: list[bool] = []
    visible: list[bool] = []
    for place in places.tolist():
        loaded = heads.load(heads.sequences[place])
        coverage.extend((loaded.views[..., 3].mean((1, 2)) / 255).tolist())
        cut.extend(loaded.head_cut.tolist())
        visible.append(bool(loaded.landmark_visible[heads.options.front].all()))
    return {
        "checked": len(places),
        "coverage": _mean(coverage),
        "head_cut": _mean(cut),
        "front_landmarks": _mean(visible),
    }


def _mean(values: list[float] | list[bool]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
