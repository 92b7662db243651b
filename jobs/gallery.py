"""The run's ``index.html``: every input at a glance, without scripts or anything from elsewhere.

It shows the first avatars and what went wrong by kind; more are on pages of a fixed size under
``gallery/``, so that a page opens as fast whether there are ten avatars or a million.
"""

import html
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import quote

import pyarrow.compute as pc

from jobs.manifest import Snapshot
from pipeline.avatar_folder import GAUSSIANS, PORTRAIT, RECORD, TURNTABLE, VIEWS
from pipeline.stage import Row
from pipeline.stages.export import source_name
from pipeline.storage import Location

INDEX = "index.html"
FOLDER = "gallery"
CARDS_A_PAGE, LINES_A_PAGE, LINES_IN_INDEX = 200, 500, 20
COLUMNS = ("outcome", "error_code", "duplicate_of")
"""Of the manifest, that the snapshot must hold."""
_SHOWN = (
    *("source", "id", "outcome", "error_code", "error_message", "face_index", "face_count"),
    *("duplicate_of", "seconds", "scores", "below_threshold", "tries"),
)
_DUPLICATE = "duplicate"
_ROWS_AT_ONCE = 1000
_PAGES_AT_ONCE, _WRITERS = 64, 8
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
nav a, nav b { margin-right: .6em }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } article, table { background: #222 }
  article, td, th { border-color: #444 } article p { color: #aaa } a { color: #8bf } }
"""


def write_gallery(root: Location, snapshot: Snapshot) -> None:
    """Write the pages under ``root``, ``index.html`` last.

    Args:
        root: the destination.
        snapshot: the manifest, with `COLUMNS`.
    """
    pages = gallery_pages(snapshot)
    with ThreadPoolExecutor(_WRITERS) as pool:
        while some := list(islice(pages, _PAGES_AT_ONCE)):
            list(pool.map(lambda page: root.child(page[0]).write(page[1].encode()), some))


def is_current(root: Location, snapshot: Snapshot) -> bool:
    """Whether ``index.html`` was made when the manifest's newest outcome was there already."""
    index = root.child(INDEX)
    return index.exists() and _mark(snapshot).encode() in index.read()


def gallery_pages(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """The names of the pages and their HTML, ``index.html`` last."""
    kinds = _kinds(snapshot)
    cards = _Pages("", kinds.pop("", 0), CARDS_A_PAGE)
    lists = {kind: _Pages(kind, count, LINES_A_PAGE) for kind, count in sorted(kinds.items())}
    heading = f"{cards.count:,} avatars" if cards.count != 1 else "1 avatar"
    first: list[Row] = []
    heads: dict[str, list[Row]] = defaultdict(list)
    for row in _rows(snapshot):
        kind = _kind(row["outcome"], row["error_code"], row["duplicate_of"])
        head, most = (heads[kind], LINES_IN_INDEX) if kind else (first, CARDS_A_PAGE)
        if len(head) < most:
            head.append(row)
        book = lists[kind] if kind else cards
        if full := book.add(row):
            yield from _page(book, full, heading)
    for book in (cards, *lists.values()):
        yield from _page(book, book.waiting, heading)
    summary = [_summary(book, heads[book.kind]) for book in lists.values()]
    body = [_navigation(cards, 1, ""), *(_card(row, "") for row in first), *summary]
    top = [_mark(snapshot), f"<h1>{heading}</h1>", _jumps(lists)]
    yield INDEX, _document(heading, [*top, *body])


def _mark(snapshot: Snapshot) -> str:
    return f"<!-- newest outcome: {snapshot.newest_us()} us -->"


def _kind(outcome: str, error_code: str | None, duplicate_of: str | None) -> str:
    """The list that a row is on; empty if it is shown as an avatar."""
    if outcome == "ok":
        return _DUPLICATE if duplicate_of else ""
    return error_code or outcome


def _kinds(snapshot: Snapshot) -> dict[str, int]:
    rows = snapshot.rows.select(COLUMNS)
    rows = rows.set_column(2, "duplicate_of", pc.is_valid(rows["duplicate_of"]))
    counts: dict[str, int] = defaultdict(int)
    for entry in rows.group_by(list(COLUMNS)).aggregate([([], "count_all")]).to_pylist():
        counts[_kind(*(entry[name] for name in COLUMNS))] += entry["count_all"]
    return counts


def _rows(snapshot: Snapshot) -> Iterator[Row]:
    for _, table in snapshot.stream(_SHOWN):
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from batch.to_pylist(maps_as_pydicts="strict")


@dataclass
class _Pages:
    """Rows of one kind on their way to pages; of avatars the first page is the index."""

    kind: str
    count: int
    rows_a_page: int
    number: int = 0
    waiting: list[Row] = field(default_factory=list)

    @property
    def last(self) -> int:
        return max(1, -(-self.count // self.rows_a_page))

    def add(self, row: Row) -> list[Row]:
        """Take a row; give those of a page when it is full."""
        self.waiting.append(row)
        if len(self.waiting) < self.rows_a_page:
            return []
        full, self.waiting = self.waiting, []
        return full

    def name(self, number: int) -> str:
        if not self.kind and number == 1:
            return INDEX
        return f"{FOLDER}/{quote(self.kind, safe='') or 'avatars'}-{number}.html"


def _page(book: _Pages, rows: list[Row], heading: str) -> Iterator[tuple[str, str]]:
    if not rows:
        return
    book.number += 1
    name = book.name(book.number)
    if name == INDEX or (book.kind and book.count <= LINES_IN_INDEX):
        return  # the index shows them
    links = _navigation(book, book.number, "../")
    shown = [_card(row, "../") for row in rows] if not book.kind else [_table(book.kind, rows)]
    title = f"{heading}: {book.kind or 'page'} {book.number} of {book.last}"
    top = f'<p><a href="../{INDEX}">{INDEX}</a></p><h1>{html.escape(title)}</h1>'
    yield name, _document(title, [top, links, *shown, links])


def _document(title: str, parts: list[str]) -> str:
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>headsplat: {html.escape(title)}</title><style>{_STYLE}</style></head><body>",
    ]
    return "\n".join(part for part in (*head, *parts, "</body></html>") if part) + "\n"


def _navigation(book: _Pages, number: int, up: str) -> str:
    """Links to the ends, the neighbours, and 10, 100, ... pages on, which is how far they go."""
    if book.last == 1:
        return ""
    steps = [10**power for power in range(len(str(book.last)))]
    near = {1, number, book.last, *(number + s for s in steps), *(number - s for s in steps)}
    links = []
    for page in sorted(page for page in near if 1 <= page <= book.last):
        relation = {number - 1: ' rel="prev"', number + 1: ' rel="next"'}.get(page, "")
        link = f'<a{relation} href="{up}{book.name(page)}">{page}</a>'
        links.append(link if page != number else f"<b>{page}</b>")
    return f"<nav>Page {' '.join(links)}</nav>"


def _jumps(lists: dict[str, _Pages]) -> str:
    links = (
        f'<a href="#{quote(k)}">{book.count:,} {html.escape(k)}</a>' for k, book in lists.items()
    )
    return f"<nav>{' '.join(links)}</nav>" if lists else ""


def _summary(book: _Pages, head: list[Row]) -> str:
    title = f'<h2 id="{quote(book.kind)}">{book.count:,} {html.escape(book.kind)}</h2>'
    if book.count <= LINES_IN_INDEX:
        return title + _table(book.kind, head)
    more = f'<p><a href="{book.name(1)}">All {book.count:,} on {book.last} pages</a></p>'
    return title + more + _table(book.kind, head)


def _card(row: Row, up: str) -> str:
    folder = up + quote(row["id"])
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


def _table(kind: str, rows: list[Row]) -> str:
    """A line for each input that gave no avatar of its own."""
    titles = ("input", "same as") if kind == _DUPLICATE else ("input", "outcome", "why")
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{_line(row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _line(row: Row) -> str:
    cells = [source_name(row["source"])]
    if row["outcome"] == "ok":
        cells.append(source_name(row["duplicate_of"]))
    else:
        cells += [row["outcome"], f"{row['error_message']} ({row['error_code']})"]
    return "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
