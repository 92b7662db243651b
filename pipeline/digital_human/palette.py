"""Linear RGB reflectances of hair, irises and cloth."""

import numpy as np

HAIR_COLORS: dict[str, tuple[float, float, float]] = {
    "black": (0.012, 0.010, 0.009),
    "dark_brown": (0.035, 0.020, 0.013),
    "brown": (0.085, 0.045, 0.024),
    "light_brown": (0.16, 0.095, 0.05),
    "blond": (0.36, 0.235, 0.115),
    "platinum": (0.46, 0.37, 0.25),
    "auburn": (0.15, 0.052, 0.022),
    "ginger": (0.25, 0.105, 0.042),
    "grey": (0.26, 0.25, 0.24),
    "white": (0.36, 0.355, 0.345),
    "dyed_blue": (0.05, 0.09, 0.28),
    "dyed_pink": (0.42, 0.09, 0.19),
}
NATURAL_HAIR = (
    "black", "dark_brown", "brown", "light_brown", "blond", "platinum", "auburn", "ginger",
)  # fmt: skip

EYE_COLORS: dict[str, tuple[float, float, float]] = {
    "brown": (0.13, 0.06, 0.025),
    "dark_brown": (0.06, 0.03, 0.015),
    "hazel": (0.14, 0.10, 0.035),
    "green": (0.10, 0.14, 0.07),
    "blue": (0.12, 0.20, 0.30),
    "grey": (0.19, 0.21, 0.22),
    "amber": (0.22, 0.11, 0.025),
}

GARMENT_COLORS = np.array(
    [
        (0.03, 0.03, 0.035), (0.60, 0.60, 0.58), (0.08, 0.11, 0.20), (0.30, 0.04, 0.04),
        (0.07, 0.18, 0.10), (0.35, 0.28, 0.18), (0.20, 0.20, 0.22), (0.45, 0.30, 0.05),
        (0.15, 0.05, 0.20), (0.12, 0.20, 0.35), (0.02, 0.03, 0.06), (0.45, 0.42, 0.38),
    ]
)  # fmt: skip

TRIM_COLORS = np.array(
    [
        (0.02, 0.02, 0.022), (0.25, 0.13, 0.05), (0.5, 0.5, 0.52), (0.35, 0.03, 0.03),
        (0.05, 0.10, 0.30), (0.55, 0.42, 0.15),
    ]
)  # fmt: skip
"""Frames, hats and headphones."""


def hair_color(name: str) -> np.ndarray:
    """Linear RGB [3] float64 of a hair colour."""
    return np.array(HAIR_COLORS[name])
