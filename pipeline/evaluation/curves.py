"""Numbers round the orbit as a drawing, SVG that needs nothing from elsewhere."""

import html
from collections.abc import Mapping, Sequence

Curve = Sequence[float | None]
"""One number a view; None where there is none."""

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 40
_COLORS = ("#0d7a6f", "#c2571a", "#5b5bd6", "#b3267f", "#7a7000", "#3a7dbf")
_LINES = 4


def orbit_chart(
    azimuths_deg: Sequence[float], curves: Mapping[str, Curve], unit: str, dashed: Sequence[str]
) -> str:
    """A chart of numbers over azimuth, the front in the middle and the back at both ends.

    Args:
        azimuths_deg: of the views.
        curves: name -> one number a view.
        unit: of the numbers.
        dashed: names of the curves that are drawn with broken lines.
    """
    known = [value for curve in curves.values() for value in curve if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    low, high = (low, high) if high > low else (low - 1, high + 1)
    parts = [_grid(low, high, unit)]
    for number, (name, curve) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        style = ' stroke-dasharray="5 4"' if name in dashed else ""
        points = _points(azimuths_deg, curve, low, high)
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="2"{style}/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}">'
            f"<title>{html.escape(name)}: {said}</title></circle>"
            for x, y, said in points
        ]
    legend = "".join(
        f'<span><i style="border-top:3px {"dashed" if name in dashed else "solid"} '
        f'{_COLORS[number % len(_COLORS)]}"></i>{html.escape(name)}</span>'
        for number, name in enumerate(curves)
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(unit)} by azimuth">{"".join(parts)}</svg>'
        f"<figcaption>{legend}</figcaption></figure>"
    )


def _points(
    azimuths_deg: Sequence[float], curve: Curve, low: float, high: float
) -> list[tuple[float, float, str]]:
    """Where the values are, left to right, and what each says; the back is at both ends."""
    at = [
        ((azimuth + 180) % 360 - 180, value)
        for azimuth, value in zip(azimuths_deg, curve, strict=True)
        if value is not None
    ]
    at += [(180.0, value) for azimuth, value in at if azimuth == -180]
    return [
        (_x(azimuth), _y(value, low, high), f"{value:.4g} at {azimuth:g} deg")
        for azimuth, value in sorted(at)
    ]


def _grid(low: float, high: float, unit: str) -> str:
    lines = []
    for azimuth in (-180, -90, 0, 90, 180):
        x = _x(azimuth)
        lines.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        anchor = {-180: "start", 180: "end"}.get(azimuth, "middle")
        lines.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}">'
            f"{azimuth}</text>"
        )
    for step in range(_LINES + 1):
        value = low + (high - low) * step / _LINES
        y = _y(value, low, high)
        lines.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    said = f"{html.escape(unit)} over azimuth, deg; 0 is the front"
    lines.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{said}</text>')
    return "".join(lines)


def _x(azimuth_deg: float) -> float:
    return _LEFT + (azimuth_deg + 180) / 360 * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
