"""Pictures of a run: the course of everything that its log holds, and sheets of what it makes."""

import csv
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.images import Bytes

CURVES = "curves.png"
SHEETS = "sheets"
NEWEST = 5
"""Sheets that are kept."""
_PANEL, _MARGIN = (360, 200), 34
_COLUMNS = 2
_INK, _LINE, _GRID = (40, 40, 40), (30, 100, 200), (215, 215, 215)

Curve = list[tuple[int, float]]


def read_log(log: Path) -> dict[str, Curve]:
    """The values of a run's ``log.csv``, as steps and numbers by name, in order of appearance."""
    curves: dict[str, Curve] = {}
    with log.open(newline="") as file:
        for step, _, name, value in csv.reader(file):
            curves.setdefault(name, []).append((int(step), float(value)))
    return curves


def draw_curves(curves: dict[str, Curve]) -> Image.Image:
    """A panel for each name: values over steps, the range of both written beside the axes."""
    rows = max(1, math.ceil(len(curves) / _COLUMNS))
    picture = Image.new("RGB", (_COLUMNS * _PANEL[0], rows * _PANEL[1]), "white")
    for number, (name, curve) in enumerate(curves.items()):
        row, column = divmod(number, _COLUMNS)
        picture.paste(_panel(name, curve), (column * _PANEL[0], row * _PANEL[1]))
    return picture


def write_curves(folder: Path) -> None:
    """Draw ``log.csv`` of a training folder into its ``curves.png``."""
    draw_curves(read_log(folder / "log.csv")).save(folder / CURVES)


def write_sheet(folder: Path, step: int, sheet: Bytes) -> None:
    """Keep the picture [H, W, 3] of an evaluation, and of the earlier ones the newest."""
    sheets = folder / SHEETS
    sheets.mkdir(exist_ok=True)
    Image.fromarray(sheet).save(sheets / f"{step:09d}.png")
    for old in sorted(sheets.glob("*.png"))[:-NEWEST]:
        old.unlink()


def _panel(name: str, curve: Curve) -> Image.Image:
    panel = Image.new("RGB", _PANEL, "white")
    draw = ImageDraw.Draw(panel)
    values = [value for _, value in curve if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    first, last = curve[0][0], curve[-1][0]
    left, top, right, bottom = _MARGIN, _MARGIN, _PANEL[0] - 12, _PANEL[1] - _MARGIN
    draw.rectangle((left, top, right, bottom), outline=_GRID)
    points = [
        (
            left + (right - left) * (step - first) / max(last - first, 1),
            bottom - (bottom - top) * (value - low) / ((high - low) or 1),
        )
        for step, value in curve
        if math.isfinite(value)
    ]
    if len(points) > 1:
        draw.line(points, fill=_LINE, width=2)
    for x, y in points[-1:]:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_LINE)
    draw.text((left, 4), f"{name}  {curve[-1][1]:.4g}", fill=_INK)
    draw.text((left, top - 12), f"{high:.4g}", fill=_INK)
    draw.text((left, bottom + 2), f"{low:.4g}", fill=_INK)
    draw.text((left + 80, bottom + 14), f"steps {first:,} to {last:,}", fill=_INK)
    return panel


def tiled(rows: list[list[Bytes]]) -> Bytes:
    """Images [P, P, 3] of one size in rows, shorter rows filled up with white: [H, W, 3]."""
    longest = max(len(row) for row in rows)
    white = np.full_like(rows[0][0], 255)
    filled = [row + [white] * (longest - len(row)) for row in rows]
    return np.concatenate([np.concatenate(row, 1) for row in filled])
