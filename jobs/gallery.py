"""The run's ``index.html``: every input at a glance, without scripts or anything from elsewhere."""

import html
from collections.abc import Sequence
from urllib.parse import quote

from pipeline.avatar_folder import GAUSSIANS, PORTRAIT, RECORD, TURNTABLE, VIEWS
from pipeline.stage import Row
from pipeline.stages.export import source_name
from pipeline.storage import Location

INDEX = "index.html"
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px;
       padding: 0 1rem; color: #222; background: #fafafa }
article { display: grid; grid-template-columns: 256px 256px 1fr; gap: 12px; background: #fff;
          border: 1px solid #ddd; border-radius: 8px; padding: 12px; margin: 12px 0;
          content-visibility: auto; contain-intrinsic-size: auto 340px }
article h2 { grid-column: 1 / -1; font-size: 1rem; margin: 0; overflow-wrap: anywhere }
article p { grid-column: 1 / -1; margin: 0; color: #555; font-size: .85rem }
img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #fff }
table { border-collapse: collapse; width: 100%; background: #fff }
td, th { border: 1px solid #ddd; padding: 6px 10px; text-align: left; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } article, table { background: #222 }
  article, td, th { border-color: #444 } article p { color: #aaa } a { color: #8bf } }
"""


def write_gallery(root: Location, rows: Sequence[Row]) -> None:
    """Write ``index.html`` under ``root`` from the rows of the manifest."""
    root.child(INDEX).write(gallery(rows).encode())


def gallery(rows: Sequence[Row]) -> str:
    """The page: a card for each avatar, then a table of the inputs that gave none."""
    made = [row for row in rows if row["outcome"] == "ok" and not row.get("duplicate_of")]
    twins = [row for row in rows if row["outcome"] == "ok" and row.get("duplicate_of")]
    rest = [row for row in rows if row["outcome"] != "ok"]
    heading = f"{len(made)} avatars" if len(made) != 1 else "1 avatar"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>headsplat: {heading}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{heading}</h1>",
        *(_card(row) for row in made),
        _table("Not made", ("input", "outcome", "why"), [_failure(row) for row in rest]),
        _table("Duplicates", ("input", "same as"), [_twin(row) for row in twins]),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _card(row: Row) -> str:
    folder = quote(row["id"])
    name = html.escape(source_name(row["source"]))
    if (row.get("face_count") or 1) > 1:
        name += f", face {row['face_index'] + 1} of {row['face_count']}"
    pictures = "".join(
        f'<a href="{folder}/{file}"><img loading="lazy" src="{folder}/{file}" alt="{text}"></a>'
        for file, text in (
            (PORTRAIT, f"portrait of {name}"),
            (TURNTABLE, f"avatar of {name}, turning"),
            (VIEWS, f"16 views of {name}"),
        )
    )
    links = (
        f'<a href="{folder}/{GAUSSIANS}">{GAUSSIANS}</a> <a href="{folder}/{RECORD}">{RECORD}</a>'
    )
    facts = [f"{row['seconds']:.1f} s"] if row.get("seconds") else []
    facts += [f"{key} {value:.3g}" for key, value in sorted((row.get("scores") or {}).items())]
    text = html.escape(", ".join(facts))
    badge = f" <mark>below the threshold, best of {row['tries']}</mark>"
    heading = name + badge if row.get("below_threshold") else name
    return f"<article><h2>{heading}</h2>{pictures}<p>{links} {text}</p></article>"


def _failure(row: Row) -> tuple[str, str, str]:
    return (
        source_name(row["source"]),
        row["outcome"],
        f"{row['error_message']} ({row['error_code']})",
    )


def _twin(row: Row) -> tuple[str, str]:
    return source_name(row["source"]), source_name(row["duplicate_of"])


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{title}</h2><table><tr>{head}</tr>{body}</table>"
