"""Head shapes: weights of MakeHuman's macro and local targets."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ANCESTRIES = ("african", "asian", "caucasian")
OPPOSITES = (
    ("decr", "incr"), ("in", "out"), ("down", "up"), ("compress", "uncompress"),
    ("concave", "convex"), ("backward", "forward"),
)  # fmt: skip
LOCAL_SIGMA = {
    "head": 0.22, "nose": 0.36, "mouth": 0.27, "eyes": 0.24, "cheek": 0.30, "chin": 0.28,
    "ears": 0.3, "forehead": 0.3, "eyebrows": 0.25, "neck": 0.12,
}  # fmt: skip
"""Standard deviation of a local target's weight; 0.4 looked deformed."""
LOCAL_MEAN = {
    "nose/nose-scale-vert": -0.28,
    "nose/nose-scale-depth": -0.12,
    "eyes/l-eye-scale": 0.38,
    "eyebrows/eyebrows-trans": 0.10,
}
"""Shifts of the mean: the base mesh has a long nose and small, deep eyes."""
HEAD_FORMS = ("oval", "round", "rectangular", "square", "triangular", "invertedtriangular",
              "diamond")  # fmt: skip


def sample_shape(
    rng: np.random.Generator,
    gender: float,
    age: float,
    ancestry: Array,
    targets: dict[str, int],
) -> dict[str, float]:
    """Draw the target weights of one person.

    Args:
        rng: the identity's generator.
        gender: 0 female to 1 male.
        age: MakeHuman's scale, 0 to 1.
        ancestry: [3] weights of the base shapes, sum 1.
        targets: the targets that exist, by name.

    Returns:
        Weight in [0, 1] of each used target.
    """
    weight = float(np.clip(rng.normal(0.5, 0.17), 0.1, 0.95))
    muscle = float(np.clip(rng.normal(0.5, 0.15), 0.1, 0.9))
    wanted = macro_weights(gender, age, ancestry, weight, muscle)
    shape = {name: value for name, value in wanted.items() if name in targets and value > 0}
    for base, (low, high) in local_pairs(targets).items():
        shape |= _local_weights(rng, base, low, high)
    for form in HEAD_FORMS:
        if rng.random() < 0.25:
            shape[f"head/head-{form}"] = float(rng.uniform(0.15, 0.65))
    for name in targets:
        if name.startswith("asym/") and rng.random() < 0.25:
            shape[name] = float(rng.uniform(0, 0.25))
    return {name: value for name, value in shape.items() if name in targets}


def macro_weights(
    gender: float, age: float, ancestry: Array, weight: float, muscle: float
) -> dict[str, float]:
    """Products of the gender, age, ancestry, weight and muscle axes (all 0 to 1)."""
    ages = _age_weights(age)
    heavy, strong = _three_way(weight, "weight"), _three_way(muscle, "muscle")
    result: dict[str, float] = {}
    for sex, of_sex in (("female", 1 - gender), ("male", gender)):
        for era, of_era in ages.items():
            for people, share in zip(ANCESTRIES, ancestry, strict=True):
                result[f"macro/{people}-{sex}-{era}"] = of_sex * of_era * float(share)
            for muscle_name, of_muscle in strong.items():
                for weight_name, of_weight in heavy.items():
                    name = f"macro/universal-{sex}-{era}-{muscle_name}-{weight_name}"
                    result[name] = of_sex * of_era * of_muscle * of_weight
    return result


def _age_weights(age: float) -> dict[str, float]:
    """Blend of the two neighbouring ages on MakeHuman's scale."""
    eras = (("baby", 0.0), ("child", 0.1875), ("young", 0.5), ("old", 1.0))
    for (young, start), (old, end) in pairwise(eras):
        if age <= end:
            share = (age - start) / (end - start)
            return {young: 1 - share, old: share}
    return {"old": 1.0}


def _three_way(value: float, name: str) -> dict[str, float]:
    return {
        f"min{name}": max(0.0, 1 - 2 * value),
        f"average{name}": 1 - abs(2 * value - 1),
        f"max{name}": max(0.0, 2 * value - 1),
    }


def local_pairs(targets: dict[str, int]) -> dict[str, tuple[str, str]]:
    """Opposite targets by common stem: ``nose/nose-hump`` -> (``...-decr``, ``...-incr``)."""
    pairs = {}
    for name in targets:
        for low, high in OPPOSITES:
            partner = name.removesuffix(f"-{low}") + f"-{high}"
            if name.endswith(f"-{low}") and partner in targets:
                pairs[name.removesuffix(f"-{low}")] = (name, partner)
    return {stem: pair for stem, pair in pairs.items() if stem.split("/")[0] in LOCAL_SIGMA}


def _local_weights(rng: np.random.Generator, stem: str, low: str, high: str) -> dict[str, float]:
    """One draw; left and right share it, up to a little asymmetry."""
    folder, name = stem.split("/")
    moved = folder in ("head", "neck") and ("trans" in name or (folder == "head" and "age" in name))
    if moved or name.startswith("r-"):
        return {}
    value = rng.normal() * _sigma(folder, name) + LOCAL_MEAN.get(stem, 0.0)
    value = float(np.clip(value, -0.95, 0.95))
    target = high if value > 0 else low
    if not name.startswith("l-"):
        return {target: abs(value)}
    left, right = rng.uniform(0.9, 1.05, 2)
    return {
        target: abs(value) * float(left),
        target.replace("/l-", "/r-"): abs(value) * float(right),
    }


def _sigma(folder: str, name: str) -> float:
    sigma = LOCAL_SIGMA[folder]
    if folder == "neck" and "height" in name:
        return 0.2
    if "trans" in name:
        sigma *= 0.5
    if folder == "eyes" and any(word in name for word in ("height", "push", "scale")):
        sigma *= 0.6
    if "jaw-drop" in name or "septum" in name:
        sigma *= 0.5
    return sigma
