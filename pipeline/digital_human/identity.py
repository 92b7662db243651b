"""Who a digital human is: a JSON-able record drawn from one seed."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.digital_human.assets import load_base_mesh
from pipeline.digital_human.palette import EYE_COLORS, GARMENT_COLORS, NATURAL_HAIR
from pipeline.digital_human.shape import sample_shape

AGE_GROUPS = ("child", "young", "middle", "old")
AGE_SHARES = (0.07, 0.48, 0.28, 0.17)
AGE_RANGES = ((0.27, 0.42), (0.46, 0.58), (0.58, 0.78), (0.78, 1.0))
"""MakeHuman's age scale: 0.19 child, 0.5 young adult, 1 very old."""

GARMENTS = ("crew", "v_neck", "turtleneck", "shirt", "hoodie")
BEARDS = ("none", "stubble", "full", "goatee", "moustache")
BEARD_SHARES = (0.42, 0.28, 0.16, 0.08, 0.06)

MALE_STYLES = {
    "bald": 0.07, "buzz": 0.13, "short_side": 0.21, "short_forward": 0.19, "slick_back": 0.10,
    "curly_short": 0.11, "afro": 0.02, "pixie": 0.08, "bob": 0.02, "long_wavy": 0.02,
    "man_bun": 0.04, "receding": 0.01,
}  # fmt: skip
FEMALE_STYLES = {
    "bob": 0.16, "long_straight": 0.18, "long_wavy": 0.18, "bun": 0.10, "ponytail": 0.12,
    "curly_long": 0.09, "pixie": 0.08, "afro": 0.02, "fringe_bob": 0.07,
}  # fmt: skip
BOY_STYLES = {"short_forward": 0.45, "short_side": 0.3, "curly_short": 0.15, "pixie": 0.1}
GIRL_STYLES = {"bob": 0.25, "long_straight": 0.3, "ponytail": 0.25, "fringe_bob": 0.2}
AFRICAN_MALE = {"buzz": 0.45, "afro": 0.13, "curly_short": 0.22, "bald": 0.15, "slick_back": 0.05}
AFRICAN_FEMALE = {
    "afro": 0.22, "curly_long": 0.30, "bun": 0.22, "buzz": 0.04, "long_straight": 0.10,
    "curly_short": 0.12,
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """A person; hair, clothes and light belong to the identity, not to the appearance.

    Attributes:
        seed: the seed it was drawn from.
        sex: ``female`` or ``male``.
        age: MakeHuman scale, 0.19 (child) to 1 (very old); ``age_group`` names the range.
        ancestry: weights of the African, Asian and Caucasian base shapes; sum 1.
        shape: weight of each template target.
        melanin, hemoglobin, yellowness: skin pigments, about 0.04-2, 0.25-1 and 0-0.35.
        freckles, oiliness: strengths, about 0-1 and 0.6-1.35.
        mole_count: 0 to 8.
        hair_style, hair_color, beard, eye_color: names of the tables.
        iris: size and pupil (sine of the angle on the eyeball), linear RGB, inner ring 0-1.
        brow_thickness: 0.5 to 1.3.
        lip_color_strength: 0.5 to 1.
        makeup: linear RGB of lipstick, or None.
        garment, garment_color: kind and linear RGB.
        hair_seed, skin_seed, light_seed: for the procedural details.
    """

    seed: int
    sex: str
    age: float
    age_group: str
    ancestry: tuple[float, float, float]
    shape: dict[str, float]
    melanin: float
    hemoglobin: float
    yellowness: float
    freckles: float
    oiliness: float
    mole_count: int
    hair_style: str
    hair_color: str
    beard: str
    eye_color: str
    iris: tuple[float, ...]
    brow_thickness: float
    lip_color_strength: float
    makeup: tuple[float, float, float] | None
    garment: str
    garment_color: tuple[float, float, float]
    hair_seed: int
    skin_seed: int
    light_seed: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)


def sample_identity(seed: int) -> Identity:
    """Draw a person; the same seed gives the same person on every machine."""
    rng = np.random.default_rng((seed, 20))
    male = bool(rng.random() < 0.5)
    gender = float(np.clip((0.92 if male else 0.08) + rng.normal() * 0.06, 0, 1))
    ancestry = rng.dirichlet([0.38] * 3)
    group = int(rng.choice(4, p=AGE_SHARES))
    age = float(rng.uniform(*AGE_RANGES[group]))
    adult_male, child = male and group > 0, group == 0
    shape = sample_shape(rng, gender, age, ancestry, load_base_mesh().target_index)
    melanin = float(
        np.clip(ancestry @ np.array([1.45, 0.45, 0.22]) + rng.normal() * 0.13, 0.04, 2.0)
    )
    hair_color = _hair_color(rng, ancestry, age)
    style = _hair_style(rng, male, child, age, ancestry)
    beard = str(rng.choice(BEARDS, p=BEARD_SHARES)) if adult_male else "none"
    long_hair = style in ("long_straight", "long_wavy", "bob", "curly_long", "fringe_bob")
    if long_hair and beard == "moustache":
        beard = "stubble"
    eye_color, iris = _iris(rng, ancestry)
    paints = not male and not child and rng.random() < 0.4
    lipstick = tuple(float(rng.uniform(*r)) for r in ((0.25, 0.55), (0.02, 0.10), (0.03, 0.11)))
    garment_color = GARMENT_COLORS[rng.integers(len(GARMENT_COLORS))] * rng.uniform(0.7, 1.3, 3)
    return Identity(
        seed=seed,
        sex="male" if male else "female",
        age=age,
        age_group=AGE_GROUPS[group],
        ancestry=(float(ancestry[0]), float(ancestry[1]), float(ancestry[2])),
        shape=shape,
        melanin=melanin,
        hemoglobin=float(np.clip(rng.normal(0.58, 0.14), 0.28, 1.0)),
        yellowness=float(0.25 * ancestry[1] + rng.uniform(0, 0.08)),
        freckles=float(rng.uniform(0.3, 1) if melanin < 0.35 and rng.random() < 0.3 else 0.0),
        oiliness=float(rng.uniform(0.6, 1.35)),
        mole_count=int(rng.integers(0, 9)),
        hair_style=style,
        hair_color=hair_color,
        beard=beard,
        eye_color=eye_color,
        iris=iris,
        brow_thickness=float(rng.uniform(0.55, 1.0) * (1.15 if male else 0.85)),
        lip_color_strength=float(rng.uniform(0.5, 1.0)),
        makeup=(lipstick[0], lipstick[1], lipstick[2]) if paints else None,
        garment=str(rng.choice(GARMENTS)),
        garment_color=tuple(float(c) for c in np.clip(garment_color, 0.01, 0.75)),  # type: ignore[arg-type]
        hair_seed=int(rng.integers(1 << 30)),
        skin_seed=int(rng.integers(1 << 30)),
        light_seed=int(rng.integers(1 << 30)),
    )


def _draw(rng: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def _hair_style(
    rng: np.random.Generator, male: bool, child: bool, age: float, ancestry: np.ndarray
) -> str:
    """A style plausible for sex, age and hair type; styles are not exclusive to any."""
    if child:
        style = _draw(rng, BOY_STYLES if male else GIRL_STYLES)
    elif ancestry[0] > 0.6:
        style = _draw(rng, AFRICAN_MALE if male else AFRICAN_FEMALE)
    else:
        style = _draw(rng, MALE_STYLES if male else FEMALE_STYLES)
    if male and age > 0.62 and rng.random() < 0.45 * min(1.0, (age - 0.55) * 3):
        style = str(rng.choice(["receding", "bald", "buzz"], p=[0.5, 0.25, 0.25]))
    return style


def _hair_color(rng: np.random.Generator, ancestry: np.ndarray, age: float) -> str:
    dark = np.array([0.80, 0.20, 0, 0, 0, 0, 0, 0])
    mixed = np.array([0.10, 0.22, 0.25, 0.15, 0.14, 0.03, 0.06, 0.05])
    shares = dark * (ancestry[0] + ancestry[1]) + mixed * ancestry[2]
    color = str(rng.choice(NATURAL_HAIR, p=shares / shares.sum()))
    years = max(0.0, (age - 0.6) / 0.4)
    if years > 0.3 and rng.random() < years:
        return "grey" if rng.random() < 0.6 else "white"
    if rng.random() < 0.05:
        return str(rng.choice(["dyed_blue", "dyed_pink", "platinum", "auburn", "blond"]))
    return color


def _iris(rng: np.random.Generator, ancestry: np.ndarray) -> tuple[str, tuple[float, ...]]:
    dark = np.array([0.35, 0.60, 0.05, 0, 0, 0, 0])
    mixed = np.array([0.25, 0.08, 0.17, 0.14, 0.25, 0.08, 0.03])
    shares = dark * (ancestry[0] + ancestry[1]) + mixed * ancestry[2]
    name = str(rng.choice(list(EYE_COLORS), p=shares / shares.sum()))
    size, pupil = 0.49 + rng.normal() * 0.012, rng.uniform(0.14, 0.22)
    ringed = name in ("hazel", "green", "blue") and rng.random() < 0.5
    values = (size, pupil, *EYE_COLORS[name], 0.6 if ringed else 0.1)
    return name, tuple(float(value) for value in values)
