"""What parts of a model are worth: evaluations of it and of what is left without them, compared.

The same people with the same seeds are compared one by one, so that what is hard for all of them
does not hide a difference.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError
from pipeline.evaluation.columns import (
    COLUMNS,
    PREFERENCE,
    Column,
    Json,
    cell,
    cells,
    json_estimate,
    key_of,
    missing_list,
    numbers_of_people,
    shown_columns,
)

FULL = "full"
"""Name of the model with all its parts."""
PRODUCTS = ("avatar", "views")
"""What is compared, each wherever both evaluations have it at one size."""
_SAME = ("data", "protocol", "condition", "camera", "seed", "evaluator")
"""Of the setup, that must be the same for the comparison to mean anything."""
SURE = 2.0
"""Standard errors by which a paired difference must be off zero to count."""

HOLDS, HOLDS_PAIRED = "holds", "holds in pairs"
SAME, UNDECIDED = "the same", "undecided"
REVERSED, REVERSED_PAIRED = "reversed", "reversed in pairs"


def compare(full: Json, ablated: Mapping[str, Json]) -> dict[str, Any]:
    """Compare evaluations of ablated models with that of the full one.

    Args:
        full: ``evaluation.json`` of the full model.
        ablated: name -> the same of a model without some part.

    Returns:
        JSON values: ``products``, for each of `PRODUCTS` a list of rows, the full model first.
        A row has its ``name``, ``model_hash`` and ``size_px``, and by metric an estimate over the
        people that all evaluations have, with ``difference``, the estimate of row minus full,
        person by person, and ``ordering``, see `ordering`. Rows of another size than the full
        model's have neither.

    Raises:
        UsageError: the evaluations are of other data, portraits or seeds, or share no person.
    """
    for name, one in ablated.items():
        _check_same(name, full, one)
    evaluations = {FULL: full, **ablated}
    subjects = sorted(set.intersection(*(set(one["by_identity"]) for one in evaluations.values())))
    if not subjects:
        raise UsageError("the evaluations share no person; evaluate the same identities")
    products = {
        product: [
            _row(name, product, one, full, subjects)
            for name, one in evaluations.items()
            if _find(one, product) is not None
        ]
        for product in PRODUCTS
    }
    return {
        "setup": {name: full["setup"][name] for name in _SAME},
        "people": len({subject.partition("/")[0] for subject in subjects}),
        "unavailable": full["unavailable"],
        "products": {product: rows for product, rows in products.items() if rows},
    }


def ordering(row: Json, full: Json, difference: Json, higher_is_better: bool) -> str:
    """Whether the full model is better than a row, by one metric.

    Args:
        row: estimate of the ablated model.
        full: estimate of the full one.
        difference: estimate of row minus full, person by person.
        higher_is_better: whether more is better.

    Returns:
        `HOLDS` if the means are apart by more than both standard errors together, so that error
        bars do not overlap; `HOLDS_PAIRED` if they do, but the paired difference is more than
        `SURE` of its standard errors from zero; `REVERSED` and `REVERSED_PAIRED` where the row
        is better; `SAME` if no person differs; else `UNDECIDED`.
    """
    if difference["mean"] is None or difference["standard_error"] is None:
        return UNDECIDED
    if difference["mean"] == difference["standard_error"] == 0:
        return SAME
    reach = full["standard_error"] + row["standard_error"]
    apart = abs(full["mean"] - row["mean"]) > reach
    paired = abs(difference["mean"]) > SURE * difference["standard_error"]
    worse = (difference["mean"] < 0) is higher_is_better
    if apart:
        return HOLDS if worse else REVERSED
    if paired:
        return HOLDS_PAIRED if worse else REVERSED_PAIRED
    return UNDECIDED


def ablation_table(compared: Json) -> str:
    """The paper's Table 2 in Markdown: means, then paired differences and orderings."""
    parts = []
    for product, rows in compared["products"].items():
        columns = shown_columns(rows)
        parts += [f"### {product.capitalize()}\n", _means(rows, columns), _pairs(rows, columns)]
    return "\n".join([*parts, _notes(compared)])


def _check_same(name: str, full: Json, one: Json) -> None:
    for what in _SAME:
        theirs, ours = one["setup"][what], full["setup"][what]
        if theirs != ours:
            raise UsageError(
                f"{name} was evaluated with {what} {theirs} and the full model with {ours}; they "
                "must be the same"
            )


def _find(evaluation: Json, product: str) -> Json | None:
    """The summary's row of a product, as it is, not aligned."""
    rows = evaluation["summary"]
    own = [row for row in rows if not (row["is_floor"] or row["is_baseline"])]
    return next((r for r in own if r["name"] == product and r["alignment"] == "none"), None)


def _row(
    name: str, product: str, evaluation: Json, full: Json, subjects: list[str]
) -> dict[str, Any]:
    own, whole = _find(evaluation, product), _find(full, product)
    assert own is not None
    found: dict[str, Any] = {
        "name": name,
        "model_hash": evaluation["setup"]["model_hash"],
        "size_px": own["size_px"],
    }
    same_size = whole is not None and whole["size_px"] == own["size_px"]
    for column in COLUMNS:
        if column.metric == PREFERENCE:
            continue
        values = numbers_of_people(evaluation, key_of(own), column.metric, subjects)
        estimate = json_estimate([*values.values()])
        found[column.metric] = estimate
        if whole is None or not same_size or evaluation is full:
            continue
        others = numbers_of_people(full, key_of(whole), column.metric, subjects)
        both = sorted(values.keys() & others.keys())
        difference = json_estimate([values[one] - others[one] for one in both])
        reference = json_estimate([*others.values()])
        said = ordering(estimate, reference, difference, column.higher_is_better)
        found[column.metric] = {**estimate, "difference": difference, "ordering": said}
    return found


def _means(rows: list[Json], columns: list[Column]) -> str:
    lines = [
        [row["name"], str(row["size_px"]), *texts]
        for row, texts in zip(rows, cells(rows, columns, "**{}**"), strict=True)
    ]
    return _table(["", "px", *(column.title for column in columns)], lines)


def _pairs(rows: list[Json], columns: list[Column]) -> str:
    lines = []
    for row in rows:
        if not all("difference" in row[column.metric] for column in columns):
            continue
        texts = [
            f"{cell(row[c.metric]['difference'], c.digits)}, {row[c.metric]['ordering']}"
            for c in columns
        ]
        lines.append([row["name"], *texts])
    if not lines:
        return ""
    return _table([f"minus {FULL}", *(column.title for column in columns)], lines)


def _notes(compared: Json) -> str:
    setup = compared["setup"]
    return (
        f"{compared['people']} people of `{setup['data']}`, portrait: the {setup['condition']} "
        f"view, seed {setup['seed']}, the same for all rows; mean +- standard error over people; "
        "the best of a size is bold. Differences are person by person. "
        f'That the full model is better "{HOLDS}" if the error bars of both means do not overlap, '
        f'and "{HOLDS_PAIRED}" if they do, but the difference is more than {SURE:g} of its own '
        "standard errors from zero. Rows of another size are not compared.\n\n"
        f"{missing_list(compared['unavailable'])}\n"
    )


def _table(head: list[str], lines: list[list[str]]) -> str:
    texts = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in texts) + "\n"
