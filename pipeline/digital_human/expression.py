"""What changes between two pictures of the same person: expression, gaze, accessory."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.digital_human.identity import Identity
from pipeline.errors import UsageError

EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {
        "mouthSmile": 0.85, "cheekSquint": 0.55, "eyeSquint": 0.15, "mouthDimple": 0.3,
        "mouthUpperUp": 0.15,
    },
    "laugh": {
        "mouthSmile": 0.85, "jawOpen": 0.22, "cheekSquint": 0.8, "eyeSquint": 0.4,
        "mouthUpperUp": 0.85, "mouthLowerDown": 0.55,
    },
    "angry": {
        "browDown": 0.7, "+eyebrows-left-down": 0.7, "+eyebrows-right-down": 0.7,
        "noseSneer": 0.5, "eyeSquint": 0.35, "mouthPress": 0.6, "mouthFrown": 0.5,
        "jawForward": 0.25,
    },
    "sad": {
        "browInnerUp": 0.8, "+eyebrows-left-inner-up": 0.7, "+eyebrows-right-inner-up": 0.7,
        "mouthFrown": 1.0, "mouthShrugLower": 0.6, "eyeBlink": 0.15, "mouthPucker": 0.1,
    },
    "surprised": {
        "browInnerUp": 0.9, "browOuterUp": 1.0, "eyeWide": 1.0, "jawOpen": 0.6,
        "mouthFunnel": 0.2,
    },
    "disgust": {
        "noseSneer": 1.0, "mouthUpperUp": 0.8, "browDown": 0.6, "eyeSquint": 0.6,
        "mouthFrown": 0.6, "mouthShrugLower": 0.3,
    },
    "wink": {
        "eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.8, "mouthSmileLeft": 0.8,
        "mouthSmileRight": 0.3, "browDownLeft": 0.5, "eyeSquintLeft": 0.4,
    },
    "pucker": {"mouthPucker": 1.0, "mouthFunnel": 0.35, "browInnerUp": 0.25, "jawOpen": 0.05},
}  # fmt: skip
"""Weights of face units per expression; a leading + names a MakeHuman brow target."""
PAIRED_UNITS = frozenset(
    (
        "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide",
        "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile",
        "mouthStretch", "mouthUpperUp", "noseSneer",
    )
)  # fmt: skip
ACCESSORIES = (
    "glasses", "sunglasses", "beanie", "cap", "headphones", "earrings", "hat", "headband",
)  # fmt: skip
ACCESSORY_SHARES = (0.38, 0.10, 0.10, 0.10, 0.06, 0.12, 0.07, 0.07)
DECK = 10
"""Appearances of a person after which a new deck is shuffled."""
DECK_ACCESSORIES = 3
"""Cards of a deck with an accessory; the others are bare heads, each with another expression."""
MILD = ("neutral", "smile")
"""Expressions under an accessory."""


@dataclass(frozen=True)
class Appearance:
    """One state of a person.

    Attributes:
        number: of the person's appearances, from 0 on; its details are drawn of it too.
        expression: a key of `EXPRESSIONS`.
        unit_weights: template target weights that make the expression.
        accessory: one of `ACCESSORIES` or None.
        gaze_yaw_deg: eyes turned towards the subject's left when positive.
        gaze_pitch_deg: eyes turned up when positive.
    """

    number: int
    expression: str
    unit_weights: dict[str, float]
    accessory: str | None
    gaze_yaw_deg: float
    gaze_pitch_deg: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)


def sample_appearance(
    identity: Identity,
    number: int,
    expression: str | None = None,
    accessory: str | None = None,
) -> Appearance:
    """Deal an expression, or an accessory with a mild expression, to a person.

    Appearances 0 to 9 of a person are a shuffled deck: the neutral face, six other expressions
    and three accessories, none twice. Each further block of ten is another deck.

    Args:
        identity: whose appearance; the same number gives different people different draws.
        number: of the appearance, from 0 on.
        expression: force one of `EXPRESSIONS`; without ``accessory``, on a bare head.
        accessory: force one of `ACCESSORIES`; without ``expression``, with a mild one.

    Raises:
        UsageError: a forced name does not exist.
    """
    if expression is not None and expression not in EXPRESSIONS:
        raise UsageError(f"expression {expression!r} is none of {', '.join(EXPRESSIONS)}")
    if accessory is not None and accessory not in ACCESSORIES:
        raise UsageError(f"accessory {accessory!r} is none of {', '.join(ACCESSORIES)}")
    rng = np.random.default_rng((identity.seed, number, 71))
    mild = str(rng.choice(MILD))
    if expression is None and accessory is None:
        expression, accessory = _deck(identity, number // DECK)[number % DECK]
    expression = expression or mild
    gaze = rng.normal(size=2) * np.array([4.0, 2.5])
    return Appearance(
        number=number,
        expression=expression,
        unit_weights=_unit_weights(expression, rng),
        accessory=accessory,
        gaze_yaw_deg=float(gaze[0]),
        gaze_pitch_deg=float(gaze[1] - (8.0 if expression == "sad" else 0.0)),
    )


def _deck(identity: Identity, block: int) -> list[tuple[str | None, str | None]]:
    """Expression and accessory of ten appearances in a row; no expression stands for a mild one."""
    rng = np.random.default_rng((identity.seed, block, 72))
    strong = [name for name in EXPRESSIONS if name != "neutral"]
    shown = rng.choice(strong, DECK - DECK_ACCESSORIES - 1, replace=False)
    worn = rng.choice(ACCESSORIES, DECK_ACCESSORIES, replace=False, p=ACCESSORY_SHARES)
    cards: list[tuple[str | None, str | None]] = [("neutral", None)]
    cards += [(str(name), None) for name in shown]
    cards += [(None, str(name)) for name in worn]
    return [cards[place] for place in rng.permutation(DECK)]


def _unit_weights(expression: str, rng: np.random.Generator) -> dict[str, float]:
    """Jittered target weights; a pure zero face looks stern, so the eyes are a little open."""
    weights = {"unit/eyeWideLeft": 0.25, "unit/eyeWideRight": 0.25}
    if expression == "neutral":
        smile = float(rng.uniform(0, 0.25))
        weights["unit/mouthSmileLeft"] = weights["unit/mouthSmileRight"] = smile
        weights["unit/browInnerUp"] = float(rng.uniform(0, 0.25))
    for unit, base in EXPRESSIONS[expression].items():
        amount = base * float(rng.uniform(0.7, 1.1))
        if unit.startswith("+"):
            weights[f"brow/{unit[1:]}"] = amount
        elif unit in PAIRED_UNITS:
            for side in ("Left", "Right"):
                key = f"unit/{unit}{side}"
                uneven = amount * float(rng.uniform(0.93, 1.07))
                weights[key] = min(1.1, weights.get(key, 0.0) + uneven)
        else:
            weights[f"unit/{unit}"] = weights.get(f"unit/{unit}", 0.0) + amount
    return weights
