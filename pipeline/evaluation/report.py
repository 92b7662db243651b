"""An evaluation as Markdown, made from its JSON alone."""

from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.evaluation.columns import (
    PREFERENCE,
    Json,
    cell,
    cells,
    json_estimate,
    key_of,
    missing_list,
    numbers_of_people,
    row_name,
    shown_columns,
)
from pipeline.evaluation.floors import NEAREST_IDENTITY
from pipeline.evaluation.groups import groups_table

BEGIN, END = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"
"""Between these lines of a document `insert_table` keeps the table."""
GROUPS_BEGIN, GROUPS_END = "<!-- evaluation groups: begin -->", "<!-- evaluation groups: end -->"
"""And between these, where a document has them, the table of groups of people."""


def table(evaluation: Json) -> str:
    """The results table in Markdown, mean and standard error over people; the best is bold.

    Products come first, then other methods, then floors: the nearest identity at every size, the
    weaker ones only at the size of the views, or of the avatar where there are none. Columns
    without a number are left out.

    Args:
        evaluation: what `Evaluation.to_json` returned, as read from ``evaluation.json``.
    """
    rows = table_rows(evaluation["summary"])
    columns = shown_columns(rows)
    lines = [
        "| | px | " + " | ".join(column.title for column in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for row, texts in zip(rows, cells(rows, columns, "**{}**"), strict=True):
        lines.append(f"| {row_name(row)} | {row['size_px']} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def table_rows(summary: Sequence[Json]) -> list[Json]:
    """The rows of the summary that are worth a line, in the order of the table."""
    made = [row for row in summary if not row["is_floor"]]
    own = [row for row in made if not row["is_baseline"]]
    sizes_px = {row["name"]: row["size_px"] for row in own}
    judged_px = sizes_px.get("views", sizes_px.get("avatar"))
    floors = [
        row
        for row in summary
        if row["is_floor"] and (row["name"] == NEAREST_IDENTITY or row["size_px"] == judged_px)
    ]
    return sorted(made, key=lambda row: bool(row["is_baseline"])) + floors


def notes(evaluation: Json) -> str:
    """How the numbers were made, and which are missing: Markdown paragraphs."""
    return (
        "\n\n".join(
            note for note in (_how(evaluation), missing_list(evaluation["unavailable"])) if note
        )
        + "\n"
    )


def report(evaluation: Json) -> str:
    """The whole report in Markdown: table, notes, groups of people, PSNR round the orbit."""
    rows = table_rows(evaluation["summary"])
    curves = [
        "| azimuth, deg | " + " | ".join(f"{row_name(r)} ({r['size_px']})" for r in rows) + " |",
        "|---|" + "---|" * len(rows),
    ]
    for index, azimuth in enumerate(evaluation["azimuths_deg"]):
        values = [row["psnr_db_by_azimuth"][index] for row in rows]
        texts = ["-" if value is None else f"{value:.1f}" for value in values]
        curves.append(f"| {azimuth:g} | " + " | ".join(texts) + " |")
    groups = groups_table(evaluation)
    return "\n".join(
        [
            "# Evaluation\n",
            table(evaluation),
            notes(evaluation),
            *([f"## Groups of people\n\n{groups}"] if groups else []),
            "## PSNR round the orbit, dB\n",
            *curves,
            "\n![best, median and worst subject](sheet.png)\n",
        ]
    )


def insert_table(document: str, evaluation: Json) -> str:
    """``document`` with the table and notes between the `BEGIN` and `END` lines replaced.

    A document that has the `GROUPS_BEGIN` and `GROUPS_END` lines gets the groups of people too.

    Raises:
        UsageError: the document does not have the first two lines, in that order.
    """
    check_document(document)
    document = _put(document, BEGIN, END, f"{table(evaluation)}\n{notes(evaluation)}")
    if GROUPS_END in document.partition(GROUPS_BEGIN)[2]:
        document = _put(document, GROUPS_BEGIN, GROUPS_END, groups_table(evaluation))
    return document


def _put(document: str, begin: str, end: str, text: str) -> str:
    head, _, rest = document.partition(begin)
    return f"{head}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}"


def check_document(document: str) -> None:
    """Check that `insert_table` will find its place.

    Raises:
        UsageError: the document does not have the `BEGIN` and `END` lines, in that order.
    """
    if END not in document.partition(BEGIN)[2]:
        raise UsageError(f"the document lacks a line {BEGIN} followed by a line {END}; add both")


def _how(evaluation: Json) -> str:
    setup, rows = evaluation["setup"], table_rows(evaluation["summary"])
    failed = setup["failed_identities"]
    sentences = [
        f"{evaluation['subjects']} {_people(setup)}, {len(evaluation['azimuths_deg'])} views each, "
        "mean +- standard error over people; images over white; the best number of an image size "
        f"is bold. Portrait: each subject's {setup['condition']} view, its camera "
        f"{setup['camera']}; model `{setup['model']}` ({setup['model_hash']}), seed "
        f"{setup['seed']}.",
        _coverage(rows),
        "CSIM: cosine of an evaluator ArcFace that took no part in the model, on faces aligned by "
        "the true landmarks."
        if "csim" in [column.metric for column in shown_columns(rows)]
        else "",
        _floors(setup) if any(row["is_floor"] for row in rows) else "",
        _leads(evaluation),
        _study(evaluation),
        f"Left out because a stage failed: {', '.join(map(str, failed))}." if failed else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _floors(setup: Json) -> str:
    copied = "the portrait copy is not scored on a view that is the portrait itself."
    if not setup["training_identities"]:
        return f"The floor needs no model; {copied}"
    return (
        f"Floors, which need no model, are drawn from {setup['training_identities']} training "
        f"identities; the nearest identity is chosen by the subject's true front view, and {copied}"
    )


def _people(setup: Json) -> str:
    if setup["protocol"] == "nersemble":
        return "people of NeRSemble"
    return "held-out digital humans that no training saw"


def _coverage(rows: Sequence[Json]) -> str:
    """What share of the views the metrics rest on that not every view has."""
    products = [row for row in rows if not row["is_floor"]]
    shares = [
        (column.name, max(row[column.metric]["coverage"] for row in products))
        for column in shown_columns(products)
        if column.metric != PREFERENCE
    ]
    partial = [f"{name} {100 * share:.0f} %" for name, share in shares if share < 1]
    said = "Some numbers need a whole face in the view, and rest on a share of the views"
    return f"{said}: {', '.join(partial)}." if partial else ""


def _leads(evaluation: Json) -> str:
    """How far each product is above the nearest identity, which has the same subjects to show."""
    parts = []
    for row in evaluation["summary"]:
        if row["is_floor"]:
            continue
        own, floor = (
            numbers_of_people(evaluation, key, "psnr_db")
            for key in (key_of(row), f"{NEAREST_IDENTITY} @{row['size_px']}")
        )
        if both := own.keys() & floor.keys():
            lead = json_estimate([own[person] - floor[person] for person in sorted(both)])
            parts.append(f"{row_name(row)} by {cell(lead, 2)} dB")
    said = "Person by person, in PSNR, the nearest identity is beaten as follows"
    return f"{said}: {', '.join(parts)}." if parts else ""


def _study(evaluation: Json) -> str:
    if "study" not in evaluation:
        return ""
    study = evaluation["study"]
    return (
        f'Preferred: share of {study["people"]} people\'s answers to "{study["ask"]}", over '
        f"{study['questions']} heads; chance would give {study['chance']:.0f} %."
    )
