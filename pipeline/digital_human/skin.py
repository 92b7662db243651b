"""Skin colour, gloss and relief per vertex, from a two-pigment model."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.mesh import noise
from pipeline.digital_human.palette import hair_color
from pipeline.digital_human.scalp import scalp_cover
from pipeline.digital_human.template import SKULL_CENTER, HeadTemplate, ramp

Array = npt.NDArray[np.float64]

BARE_ALBEDO = np.array([0.84, 0.70, 0.575])
MELANIN_ABSORPTION = np.array([0.72, 1.03, 1.30])
HEMOGLOBIN_ABSORPTION = np.array([0.06, 0.44, 0.36])
YELLOW_ABSORPTION = np.array([-0.02, 0.0, 0.6])
STUBBLE_STRENGTH = {"none": 0.04, "stubble": 0.75, "full": 0.8, "goatee": 0.2, "moustache": 0.12}


@dataclass(frozen=True)
class Skin:
    """Per fine vertex: linear albedo [N, 3], roughness, specular strength and relief [N]."""

    albedo: Array
    roughness: Array
    specular: Array
    relief: Array


@dataclass(frozen=True)
class _Grain:
    """Noise at four scales, from patches of 8 mm to pores."""

    broad: Array
    patchy: Array
    fine: Array
    pores: Array


def paint_skin(identity: Identity, template: HeadTemplate) -> Skin:
    """Paint a person's skin on the static template: expressions do not move it."""
    rng = np.random.default_rng(identity.skin_seed)
    seed = int(rng.integers(1000))
    at = template.vertices
    grain = _Grain(
        noise(at, 1.3, seed, 2),
        noise(at, 6, seed + 3, 2),
        noise(at, 22, seed + 5, 2),
        noise(at, 60, seed + 9),
    )
    age = max(0.0, (identity.age - 0.55) / 0.45)
    melanin = _melanin(identity, template, grain, age, seed, rng)
    hemoglobin = _hemoglobin(identity, template, grain, age)
    absorbed = (
        melanin[:, None] * MELANIN_ABSORPTION
        + hemoglobin[:, None] * HEMOGLOBIN_ABSORPTION
        + identity.yellowness * YELLOW_ABSORPTION
    )
    albedo = BARE_ALBEDO * np.exp(-absorbed)
    albedo = _paint_lips(identity, template, albedo, seed)
    albedo = _paint_stubble(identity, template, albedo, grain)
    albedo, cover = _paint_scalp(identity, template, albedo, grain)
    inside = template.inner_mouth
    roughness = 0.52 + 0.05 * grain.patchy - 0.14 * template.lips + 0.25 * cover
    roughness -= 0.09 * np.clip(template.nose + template.forehead, 0, 1) * identity.oiliness
    specular = 0.75 * identity.oiliness * (1 + 0.3 * template.nose + 0.25 * template.forehead)
    specular = np.clip(specular * (1 + 0.5 * template.lips) * (1 + 0.25 * grain.fine), 0.2, 2)
    return Skin(
        albedo=albedo,
        roughness=np.where(inside > 0.5, 0.3, roughness),
        specular=specular * (1 - 0.7 * cover) * (1 - 0.6 * inside),
        relief=0.26 * grain.pores + 0.12 * grain.fine + age * _wrinkles(template, grain),
    )


def _wrinkles(template: HeadTemplate, grain: _Grain) -> Array:
    """Lines across the forehead, fans at the outer eye corners, and coarse grain; about 0-0.3."""
    x, y, _ = template.vertices.T
    across = np.abs(x)
    brow = ramp(y - 7.52, 0.1) * ramp(7.95 - y, 0.1) * ramp(0.62 - across, 0.2)
    lines = 1 - np.abs(np.sin(np.pi * (9 * y + 1.5 * across**2 + 0.5 * grain.broad)))
    out, up = across - 0.44, y - 7.25
    reach = np.exp(-((np.hypot(out - 0.1, up) / 0.11) ** 2)) * ramp(out, 0.04)
    fan = 1 - np.abs(np.sin(6 * np.arctan2(up, out + 0.05) + 0.5 * grain.broad))
    furrows: Array = -0.35 * brow * lines**2 - 0.3 * reach * fan**2
    return furrows + 0.22 * grain.pores + 0.10 * grain.fine


def _melanin(
    identity: Identity,
    template: HeadTemplate,
    grain: _Grain,
    age: float,
    seed: int,
    rng: np.random.Generator,
) -> Array:
    at = template.vertices
    mottle = 1 + 0.06 * grain.broad + 0.05 * grain.patchy + 0.04 * grain.fine
    regions = 1 + 0.2 * template.lids + 0.18 * template.under_eyes + 0.10 * template.forehead
    melanin: Array = identity.melanin * mottle * regions
    spots = np.clip(grain.patchy + 0.55 * grain.fine - 0.25, 0, 1)
    melanin += 0.14 * age * spots + 0.05 * np.clip(grain.pores, 0, 1) * (identity.age > 0.45)
    if identity.freckles:
        zone = 1.2 * template.nose + template.cheeks + 0.5 * template.under_eyes
        small = ramp_above(noise(at, 42, seed + 20), 0.45) + ramp_above(
            noise(at, 64, seed + 23), 0.5
        )
        melanin += 0.55 * identity.freckles * np.clip(zone, 0, 1.2) * small
    outside = np.flatnonzero((at[:, 2] > 0.5) & (at[:, 1] > 6.2) & template.exterior)
    for _ in range(identity.mole_count):
        center, radius = at[rng.choice(outside)], rng.uniform(0.008, 0.018)
        melanin += 1.1 * np.exp(-((at - center) ** 2).sum(1) / radius**2)
    return melanin


def ramp_above(value: Array, threshold: float) -> Array:
    """0 below the threshold, 1 from 0.2 above it."""
    return np.clip((value - threshold) / 0.2, 0, 1)


def _hemoglobin(identity: Identity, template: HeadTemplate, grain: _Grain, age: float) -> Array:
    """Redness; melanin hides most of it, or dark skins come out orange."""
    mottle = 1 + 0.13 * grain.broad + 0.11 * grain.patchy + 0.09 * grain.fine
    regions = 1 + 0.42 * template.nose + 0.45 * template.cheeks + 0.55 * template.ears
    regions += 0.15 * template.chin + 0.25 * template.lids - 0.15 * template.forehead
    shown = max(0.3, 1 - 0.3 * identity.melanin)
    redness: Array = identity.hemoglobin * mottle * regions
    return shown * (redness + 0.2 * template.under_eyes * (0.4 + age))


def _paint_lips(identity: Identity, template: HeadTemplate, albedo: Array, seed: int) -> Array:
    creases = 1 + 0.10 * noise(template.vertices * np.array([3, 0.6, 1.0]), 30, seed + 31)
    if identity.makeup:
        color, strength = np.array(identity.makeup), 0.85
    else:
        color = albedo * np.array([0.92, 0.64, 0.67]) * (1 - 0.1 * identity.lip_color_strength)
        color, strength = color + np.array([0.02, 0, 0.005]), identity.lip_color_strength
    share = template.lips[:, None] * strength
    albedo = albedo * (1 - share) + share * color * creases[:, None]
    inside = template.inner_mouth[:, None]
    painted: Array = albedo * (1 - inside) + inside * np.array([0.22, 0.05, 0.045])
    return painted


def _paint_stubble(
    identity: Identity, template: HeadTemplate, albedo: Array, grain: _Grain
) -> Array:
    if identity.sex == "female" or identity.age_group == "child":
        return albedo
    dots = np.clip(0.5 + 0.9 * grain.pores + 0.5 * grain.fine, 0, 1)
    cover = template.beard * STUBBLE_STRENGTH[identity.beard] * (0.29 + 0.16 * dots)
    share = np.clip(cover, 0, 0.8)[:, None]
    under = hair_color(identity.hair_color) * 0.7 + 0.3 * albedo * np.array([0.7, 0.75, 0.85])
    painted: Array = albedo * (1 - share) + share * under
    return painted


def _paint_scalp(
    identity: Identity, template: HeadTemplate, albedo: Array, grain: _Grain
) -> tuple[Array, Array]:
    """Tint the scalp under the hair, so that thin spots do not shine through; also its cover."""
    cover = scalp_cover(identity, template.azimuth_deg, template.elevation_deg, template.vertices)
    above = (template.vertices - SKULL_CENTER)[:, 1] > -0.9
    cover = np.clip(cover * (1 - template.ears) * template.exterior * above, 0, 1)
    density = {"bald": 0.06, "buzz": 0.8, "receding": 0.5}.get(identity.hair_style, 0.8)
    share = np.clip(cover * density * (0.85 + 0.3 * grain.pores), 0, 0.95)[:, None]
    tint = 0.9 * hair_color(identity.hair_color) + 0.1 * albedo
    return albedo * (1 - share) + share * tint, cover
