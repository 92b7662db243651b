"""An evaluation as Markdown and as a picture. Both are made from its JSON alone or its images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import UsageError
from pipeline.evaluation.floors import NEAREST_IDENTITY
from pipeline.evaluation.metrics import estimate
from pipeline.images import resize

Views = npt.NDArray[np.uint8]

BEGIN, END = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"
"""Between these lines of a document `insert_table` keeps the table."""

_COLUMNS = (
    ("psnr_db", "PSNR, dB", 2),
    ("psnr_head_db", "PSNR on the head, dB", 2),
    ("ssim", "SSIM", 3),
    ("csim", "CSIM", 3),
)
_LABEL_WIDTH_PX = 130
_TITLE_HEIGHT_PX = 22


def table(evaluation: Mapping[str, Any]) -> str:
    """The results table in Markdown, mean and standard error over subjects, products first.

    The nearest identity stands at every size, the weaker floors only at the size of the views.

    Args:
        evaluation: what `Evaluation.to_json` returned, as read from ``evaluation.json``.
    """
    lines = [
        "| | px | " + " | ".join(title for _, title, _ in _COLUMNS) + " |",
        "|---|---|" + "---|" * len(_COLUMNS),
    ]
    for row in _worth_a_line(evaluation["summary"]):
        name = f"floor: {row['name']}" if row["is_floor"] else f"**{row['name']}**"
        cells = [_cell(row[metric], digits) for metric, _, digits in _COLUMNS]
        lines.append(f"| {name} | {row['size_px']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def notes(evaluation: Mapping[str, Any]) -> str:
    """How the numbers were made, one paragraph of Markdown."""
    setup = evaluation["setup"]
    failed = setup["failed_identities"]
    return (
        f"{evaluation['subjects']} held-out digital humans that no training saw, 16 views each, "
        f"mean +- standard error over subjects; images over white. Portrait: each subject's "
        f"{setup['condition']} view; model `{setup['model']}` ({setup['model_hash']}), seed "
        f"{setup['seed']}. CSIM: cosine of an evaluator ArcFace that took no part in the model, on "
        f"faces aligned by the true landmarks, in the {100 * setup['face_coverage']:.0f} % of "
        f"views that show a whole face. Floors are drawn from {setup['training_identities']} "
        "training identities; the nearest identity is chosen by the subject's true front view, and "
        "the portrait copy is not scored on a view that is the portrait itself."
        + _leads(evaluation)
        + (f" Left out because a stage failed: identities {list(failed)}." if failed else "")
        + "\n"
    )


def report(evaluation: Mapping[str, Any]) -> str:
    """The whole report in Markdown: table, notes and PSNR round the orbit."""
    rows = _worth_a_line(evaluation["summary"])
    curves = [
        "| azimuth, deg | " + " | ".join(f"{r['name']} ({r['size_px']})" for r in rows) + " |",
        "|---|" + "---|" * len(rows),
    ]
    for index, azimuth in enumerate(evaluation["azimuths_deg"]):
        cells = [_number(row["psnr_db_by_azimuth"][index], 1) for row in rows]
        curves.append(f"| {azimuth:g} | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            "# Evaluation\n",
            table(evaluation),
            notes(evaluation),
            "## PSNR round the orbit, dB\n",
            *curves,
            "\n![best, median and worst subject](sheet.png)\n",
        ]
    )


def insert_table(document: str, evaluation: Mapping[str, Any]) -> str:
    """``document`` with the table and notes between the `BEGIN` and `END` lines replaced.

    Raises:
        UsageError: the document does not have both lines, in that order.
    """
    check_document(document)
    head, _, rest = document.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{table(evaluation)}\n{notes(evaluation)}\n{END}{tail}"


def check_document(document: str) -> None:
    """Check that `insert_table` will find its place.

    Raises:
        UsageError: the document does not have the `BEGIN` and `END` lines, in that order.
    """
    if END not in document.partition(BEGIN)[2]:
        raise UsageError(f"the document lacks a line {BEGIN} followed by a line {END}; add both")


def sheet(
    blocks: Sequence[tuple[str, npt.NDArray[np.uint8], Mapping[str, Views]]], thumb_px: int = 96
) -> Image.Image:
    """A picture that shows subjects one below the other.

    Args:
        blocks: for each subject a title, its portrait [H, W, 3] uint8, and its rows: label ->
            views [V, H, W, 3] uint8.
        thumb_px: side of each small view.
    """
    strips = [strip for block in blocks for strip in _block(*block, thumb_px)]
    picture = Image.new(
        "RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white"
    )
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def _worth_a_line(summary: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    products = [row for row in summary if not row["is_floor"]]
    view_px = [row["size_px"] for row in products if row["name"] == "views"]
    floors = [
        row
        for row in summary
        if row["is_floor"] and (row["name"] == NEAREST_IDENTITY or row["size_px"] in view_px)
    ]
    return products + floors


def _block(
    title: str, portrait: npt.NDArray[np.uint8], rows: Mapping[str, Views], thumb_px: int
) -> list[Image.Image]:
    strips = [_text(title, 60 + 8 * len(title), _TITLE_HEIGHT_PX)]
    for index, (label, views) in enumerate(rows.items()):
        first = portrait[None] if index == 0 else np.full((1, 1, 1, 3), 255, np.uint8)
        thumbs = np.concatenate([resize(first, thumb_px), resize(views, thumb_px)])
        strip = np.concatenate(list(thumbs), axis=1)
        picture = Image.new("RGB", (_LABEL_WIDTH_PX + strip.shape[1], thumb_px), "white")
        picture.paste(_text(label, _LABEL_WIDTH_PX, thumb_px), (0, 0))
        picture.paste(Image.fromarray(strip), (_LABEL_WIDTH_PX, 0))
        strips.append(picture)
    return strips


def _text(text: str, width: int, height: int) -> Image.Image:
    label = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(14)
    ImageDraw.Draw(label).text((6, height / 2), text, "black", font, anchor="lm")
    return label


def _leads(evaluation: Mapping[str, Any]) -> str:
    """How far each product is above the nearest identity, which has the same subjects to show."""
    parts = []
    for row in evaluation["summary"]:
        key, floor = (f"{name} @{row['size_px']}" for name in (row["name"], NEAREST_IDENTITY))
        subjects = [one for one in evaluation["by_identity"].values() if floor in one]
        if not row["is_floor"] and subjects:
            lead = estimate([one[key]["psnr_db"] - one[floor]["psnr_db"] for one in subjects])
            parts.append(f"{row['name']} by {_cell(asdict(lead), 2)} dB")
    said = "Subject by subject, in PSNR, the nearest identity is beaten as follows"
    return f" {said}: {', '.join(parts)}." if parts else ""


def _cell(value: Mapping[str, Any], digits: int) -> str:
    if value["mean"] is None:
        return "-"
    error = value["standard_error"]
    spread = "" if error is None else f" +- {error:.{digits}f}"
    return f"{value['mean']:.{digits}f}{spread}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
