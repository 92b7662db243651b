import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from jobs import gallery, manifest
from jobs.manifest import Stamp, Writer
from pipeline.stage import Row
from pipeline.storage import Location, locate

GOOD: Row = {"source": "a.jpg", "id": "1", "outcome": "ok", "timings_s": {"Load": 0.5}}
BAD: Row = {
    "source": "<b>.jpg",
    "outcome": "rejected",
    "error_code": "no_face",
    "error_message": "no <face>",
}


def _written(root: Location, rows: list[Row]) -> dict[str, str]:
    """The pages of a gallery, by name."""
    with Writer(root, Stamp(run="r", recipe="k", model_hash="m")) as writer:
        for row in rows:
            writer.add(row)
    gallery.write_gallery(root, manifest.load(root, gallery.COLUMNS))
    paths = [*Path(root.path).glob("*.html"), *Path(root.path).glob("gallery/*.html")]
    return {str(path.relative_to(root.path)): path.read_text() for path in paths}


def test_it_shows_everything_and_trusts_no_name(tmp_path: Path) -> None:
    two = {**GOOD, "id": "5-1", "face_index": 1, "face_count": 2, "source": 'x"><script>.jpg'}
    twin = {"source": "s3://b/c.tar#1.jpg", "outcome": "ok", "duplicate_of": "a.jpg", "id": "1"}
    weak = {"tries": 3, "below_threshold": True}
    rows = [GOOD, {**two, **weak}, BAD, twin]
    pages = _written(locate(str(tmp_path)), rows)
    assert list(pages) == ["index.html"], "a small run has one page"
    (page,) = pages.values()
    assert page.count("<mark>below the threshold, best of 3</mark>") == 1
    assert "<script" not in page
    assert "<face>" not in page
    assert "no &lt;face&gt; (no_face)" in page
    assert "2 avatars" in page
    assert 'src="5-1/turntable.webp"' in page
    assert "face 2 of 2" in page
    assert "<td>c.tar#1.jpg</td><td>a.jpg</td>" in page
    assert page.count("<img") == page.count('loading="lazy"') == 6


def test_large_runs_have_small_pages_and_every_link_leads_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("CARDS_A_PAGE", 3), ("LINES_A_PAGE", 4), ("LINES_IN_INDEX", 2)):
        monkeypatch.setattr(gallery, name, size)
    rows = [{**GOOD, "source": f"{i}.jpg", "id": f"{i}"} for i in range(100)]
    rows += [{**BAD, "source": f"bad {i}.jpg"} for i in range(9)]
    rows += [{**BAD, "source": "odd.jpg", "error_code": "../odd&"}] * 1
    pages = _written(locate(str(tmp_path)), rows)
    assert len(pages) == 34 + 3
    assert all(page.count("<article>") <= 3 for page in pages.values())
    shown = [name for page in pages.values() for name in re.findall(r"<h2>(\d+).jpg", page)]
    assert sorted(map(int, shown)) == list(range(100))
    lists = "".join(page for name, page in pages.items() if "no_face" in name)
    assert {f"bad {i}.jpg" for i in range(9)} == set(re.findall(r"<td>(bad \d.jpg)", lists))
    for name, page in pages.items():
        for link in re.findall(r'href="([^"#]*\.html)"', page):
            target = (tmp_path / name).parent / unquote(link)
            assert target.is_file(), f"{name} links to {link}"
    seen, page = [], "index.html"
    while page not in seen:
        seen.append(page)
        following = re.search(r'rel="next" href="(?:\.\./)?([^"]*)"', pages[page])
        page = following[1] if following else page
    assert len(seen) == 34, "all pages can be leafed through"
    assert "9 no_face" in pages["index.html"]
    assert "1 ../odd&amp;" in pages["index.html"]
