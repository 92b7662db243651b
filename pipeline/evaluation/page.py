"""An evaluation as one HTML file: tables, curves and pictures, with nothing from elsewhere."""

import html
from base64 import b64encode
from collections.abc import Iterable, Sequence

from pipeline.evaluation.columns import (
    PREFERENCE,
    Json,
    cell,
    cells,
    key_of,
    row_name,
    shown_columns,
)
from pipeline.evaluation.curves import orbit_chart
from pipeline.evaluation.floors import NEAREST_IDENTITY
from pipeline.evaluation.groups import LABELS, group_columns, group_means, judged_row
from pipeline.evaluation.report import notes, table_rows

Rows = Iterable[Sequence[str]]
"""Cells of a table as HTML."""

_STYLE = """
:root { color-scheme: light dark; --paper: light-dark(#f6f5f2, #131413);
  --card: light-dark(#fff, #1c1e1d); --line: light-dark(#dedbd4, #363a38);
  --ink: light-dark(#1d1f1e, #eceeec); --soft: light-dark(#5f635f, #a3aaa6);
  font: 400 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
body { margin: 0 auto; width: min(100% - 2rem, 80rem); padding: 1rem 0 4rem;
  background: var(--paper); color: var(--ink) }
h1, h2 { line-height: 1.15; letter-spacing: -.02em } h2 { margin-top: 2.5rem; font-size: 1.2rem }
p, li, figcaption, summary { color: var(--soft); font-size: .9rem; max-width: 60rem;
  overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse;
  background: var(--card); font-size: .875rem }
td, th { border: 1px solid var(--line); padding: .35rem .6rem; text-align: left;
  font-variant-numeric: tabular-nums; white-space: nowrap }
th { white-space: normal; vertical-align: bottom }
td + td, th + th { text-align: right } tbody + tbody { border-top: 3px double var(--line) }
figure { margin: 1rem 0 } .chart { max-width: 45rem } .chart svg { width: 100% }
.chart text { fill: var(--soft); font-size: 12px } .chart .grid { stroke: var(--line) }
.chart span { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1.2rem }
.chart i { width: 1.6rem } img { max-width: 100%; background: #fff }
"""


def html_report(evaluation: Json, sheet_png: bytes) -> str:
    """The report as one HTML file.

    Args:
        evaluation: what `Evaluation.to_json` returned, as read from ``evaluation.json``.
        sheet_png: the best, median and worst subjects as a PNG file, see `sheets.sheet`.
    """
    said = html.escape(notes(evaluation)).replace("`", "").split("\n\n")
    paragraphs = [f"<p>{note.removeprefix('- ')}</p>".replace("\n- ", "<br>") for note in said]
    picture = b64encode(sheet_png).decode()
    parts = [
        "<h1>Evaluation</h1>",
        _main_table(evaluation),
        *paragraphs,
        "<h2>PSNR round the orbit</h2>",
        _curves(evaluation),
        "<h2>The best, the median and the worst subject</h2>",
        f'<img src="data:image/png;base64,{picture}" alt="portraits, true and generated views">',
        *_groups(evaluation),
        "<h2>Every subject</h2>",
        *_subjects(evaluation),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>headsplat: evaluation</title><style>{_STYLE}</style></head><body>",
            *parts,
            "</body></html>\n",
        ]
    )


def _main_table(evaluation: Json) -> str:
    rows = table_rows(evaluation["summary"])
    columns = shown_columns(rows)
    lines = [
        [html.escape(row_name(row)), str(row["size_px"]), *texts]
        for row, texts in zip(rows, cells(rows, columns, "<b>{}</b>"), strict=True)
    ]
    floors = [bool(row["is_floor"]) for row in rows]
    bodies = [
        [line for line, is_floor in zip(lines, floors, strict=True) if is_floor is kind]
        for kind in (False, True)
    ]
    return _table(["", "px", *(column.title for column in columns)], *bodies)


def _curves(evaluation: Json) -> str:
    rows = [
        row
        for row in table_rows(evaluation["summary"])
        if not row["is_floor"] or row["name"] == NEAREST_IDENTITY
    ]
    names = [f"{row_name(row)}, {row['size_px']} px" for row in rows]
    return orbit_chart(
        evaluation["azimuths_deg"],
        {name: row["psnr_db_by_azimuth"] for name, row in zip(names, rows, strict=True)},
        "PSNR, dB",
        [name for name, row in zip(names, rows, strict=True) if row["is_floor"]],
    )


def _groups(evaluation: Json) -> list[str]:
    row = judged_row(evaluation)
    columns, groups = group_columns(row), group_means(evaluation, row)
    if not groups:
        return []
    lines = [
        [
            f"{LABELS[group['label']]}: {html.escape(group['group'])}",
            str(group["people"]),
            *(cell(group[column.metric], column.digits) for column in columns),
        ]
        for group in groups
    ]
    return [
        f"<h2>Groups of people, {html.escape(row_name(row))} at {row['size_px']} px</h2>",
        _table(["", "people", *(column.title for column in columns)], lines),
        "<p>Groups of a few people differ by chance.</p>",
    ]


def _subjects(evaluation: Json) -> list[str]:
    """A table to unfold for each product and method."""
    found = []
    for row in table_rows(evaluation["summary"]):
        if row["is_floor"]:
            continue
        key = key_of(row)
        columns = [column for column in shown_columns([row]) if column.metric != PREFERENCE]
        lines = [
            [html.escape(subject), *(_number(of[key][c.metric], c.digits) for c in columns)]
            for subject, of in evaluation["by_identity"].items()
        ]
        shown = _table(["", *(column.title for column in columns)], lines)
        found.append(f"<details><summary>{html.escape(key)} px</summary>{shown}</details>")
    return found


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], *bodies: Rows) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    groups = (
        "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in lines)
        for lines in bodies
    )
    inner = "".join(f"<tbody>{rows}</tbody>" for rows in groups if rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead>{inner}</table></div>'
