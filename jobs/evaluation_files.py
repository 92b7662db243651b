"""The files of an evaluation: its numbers, both reports, and the picture that they show."""

import json as json_module
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError

NUMBERS, REPORT, PAGE, SHEET = "evaluation.json", "report.md", "report.html", "sheet.png"

_OF_STUDY = ("study", "ask", "people", "questions", "chance")


def write_evaluation(folder: Path, numbers: Mapping[str, Any]) -> None:
    """Write the numbers and both reports beside the sheet, which is there already."""
    from pipeline.evaluation.page import html_report
    from pipeline.evaluation.report import report

    text = json_module.dumps(numbers, indent=1, allow_nan=False)
    (folder / NUMBERS).write_text(text)
    (folder / REPORT).write_text(report(numbers))
    (folder / PAGE).write_text(html_report(numbers, (folder / SHEET).read_bytes()))


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The numbers of an evaluation.

    Raises:
        UsageError: there are none, or the file is damaged.
    """
    try:
        numbers: dict[str, Any] = json_module.loads((folder / NUMBERS).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} is not the output of headsplat evaluate: {NUMBERS}: {error}"
        ) from error
    return numbers


def add_study(folder: Path, tally: Mapping[str, Any]) -> None:
    """Give the tables of an evaluation a column of a study's shares.

    Args:
        folder: of the evaluation.
        tally: what `pipeline.evaluation.tally.count_answers` found, of methods named as the rows.

    Raises:
        UsageError: no row has the name of a method, or the folder is no evaluation.
    """
    from pipeline.evaluation.columns import PREFERENCE

    numbers = read_evaluation(folder)
    shares = tally["preference"]
    named = [row for row in numbers["summary"] if row["name"] in shares]
    if not named:
        raise UsageError(
            f"{folder} has rows {', '.join(dict.fromkeys(r['name'] for r in numbers['summary']))}, "
            f"the study {', '.join(shares)}; name a study's methods as the rows are named"
        )
    for row in named:
        row[PREFERENCE] = shares[row["name"]]
    numbers["study"] = {name: tally[name] for name in _OF_STUDY}
    write_evaluation(folder, numbers)
