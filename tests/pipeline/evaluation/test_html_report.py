import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from tiny_evaluation import AZIMUTHS_DEG, tiny_evaluation

from pipeline.evaluation.curves import orbit_chart
from pipeline.evaluation.page import html_report


class Text(HTMLParser):
    """The tags of a page, checked to be closed, and the cells of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def sheet() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    return stream.getvalue()


def test_the_page_has_the_numbers_and_needs_nothing_else(sheet: bytes) -> None:
    page = html_report(tiny_evaluation(), sheet)
    rows = Text(page).rows
    assert rows[0][:3] == ["", "px", "PSNR, dB \u2191"]
    assert "LPIPS (VGG) \u2193" in rows[0]
    assert [row[0] for row in rows[1:5]] == ["views", "avatar", "lgm", "floor: nearest identity"]
    assert rows[2][2] == "21.50 +- 0.65"
    assert "<b>21.50 +- 0.65</b>" in page, "the best at 32 px"
    assert ["9", "20.00", "0.500", "0.400", "0.500"] in rows, "each person's numbers"
    assert ["sex: male", "2"] in [row[:2] for row in rows]
    assert "DreamSim: not available: no weights" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "://" not in page


def test_no_name_can_break_out_of_the_page(sheet: bytes) -> None:
    found = tiny_evaluation(model="<script>alert(1)</script>")
    for row in found["summary"]:
        if row["name"] == "lgm":
            row["name"] = "<b>&x"
    found["by_identity"] = {
        person: {key.replace("lgm", "<b>&x"): one for key, one in candidates.items()}
        for person, candidates in found["by_identity"].items()
    }
    page = html_report(found, sheet)
    assert "<script" not in page
    assert "&lt;b&gt;&amp;x" in page
    assert ["<b>&x", "32"] in [row[:2] for row in Text(page).rows]


def test_a_chart_puts_the_front_in_the_middle_and_leaves_gaps_out() -> None:
    chart = orbit_chart(AZIMUTHS_DEG, {"a": (20.0, 18.0, 16.0, None)}, "PSNR, dB", ("a",))
    (points,) = re.findall(r'points="([^"]*)"', chart)
    x, y = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert len(x) == 4, "the back twice, the front, and one side"
    assert (x[0], x[-1]) == (44, 708)
    assert x[1] == pytest.approx((44 + 708) / 2)
    assert y[1] < y[2] < y[0] == y[3], "higher is further up"
    assert "stroke-dasharray" in chart
    assert orbit_chart(AZIMUTHS_DEG, {"a": (None,) * 4}, "dB", ()) == ""
