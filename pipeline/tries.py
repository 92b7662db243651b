"""Trying again: an avatar below the threshold is made anew with another seed; the best one stays.

Try n, counted from 0, has the user's seed plus n. How many tries an avatar had is in its record,
so the next pass over the photos, in this run or after a killed one, goes on where it was.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.avatar_folder import finished_row
from pipeline.stage import Row

TRIES = 3
"""With a threshold, unless the user says otherwise."""
MOST_TRIES = 100


def judged(row: Row, scores: Mapping[str, float], min_identity: float | None) -> Row:
    """``row`` with its ``scores``, one more of ``tries``, and whether it is ``below_threshold``.

    Args:
        row: ``tries`` is the number of earlier ones, 0 if it is missing.
        scores: with ``identity_cosine`` if there is a threshold.
        min_identity: the threshold, -1 to 1; None lets every avatar pass.
    """
    return {
        **row,
        "scores": dict(scores),
        "below_threshold": min_identity is not None and scores["identity_cosine"] < min_identity,
        "tries": row.get("tries", 0) + 1,
    }


def wants_retry(facts: Mapping[str, Any], tries: int) -> bool:
    """Whether an avatar, by its row or record, is below the threshold and has had fewer ``tries``.

    Records of before there were thresholds do not.
    """
    return bool(facts.get("below_threshold")) and facts["tries"] < tries


def is_better(row: Row, record: Mapping[str, Any]) -> bool:
    """Whether a try looks more like the portrait than the recorded one."""
    return bool(row["scores"]["identity_cosine"] > record["scores"]["identity_cosine"])


def resumed(row: Row, record: dict[str, Any] | None) -> Row:
    """``row`` as far as its avatar's record says that earlier passes came.

    Args:
        row: with the user's ``seed``.
        record: the avatar's ``avatar.json``; None if there is none.

    Returns:
        The finished row, or a row to make, with the seed of its next try.
    """
    if record is None:
        return row
    if wants_retry(record, record.get("options", {}).get("tries", 1)):
        return {**row, "seed": row["seed"] + record["tries"], "tries": record["tries"]}
    return finished_row(row, record)
