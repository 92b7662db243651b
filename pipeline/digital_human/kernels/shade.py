"""Deferred shading of the id image: surfaces, strands and blended lenses.

All colours are linear. Irradiance and visibility of the key lights come baked per vertex, so a
view only adds the reflections that depend on the camera.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Index = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Triple = tuple[float, float, float]

SKIN, EYE, TEETH, MOUTH, CLOTH, PLASTIC, KNIT, LENS, HAIR = range(9)
NOTHING = 255


POINT, DIRECTION, ALBEDO, IRRADIANCE, VISIBILITY, GLOSS = range(0, 18, 3)
"""First column of each property in the rows of a surface or strands.

One row a vertex keeps what a fragment needs together in memory. ``DIRECTION`` is a normal or a
strand's tangent. ``GLOSS`` is roughness, specular strength and ambient reflection; of strands it is
one column, the strength of the white reflection.
"""


class Surface(NamedTuple):
    """Triangles to shade: ``rows`` [N, 18] per vertex, ``parts`` per triangle."""

    screen: Array
    triangles: Index
    parts: Bytes
    rows: Image


class StrandSurface(NamedTuple):
    """Segments to shade: indices [S, 2] into ``rows`` [P, 16] per point."""

    screen: Array
    segments: Index
    rows: Image


class Lights(NamedTuple):
    """Three key lights (direction, colour, angular spread) and a sky-to-ground gradient."""

    direction: Array
    color: Array
    spread: Array
    sky: Array
    ground: Array


class Eyes(NamedTuple):
    """Centres [2, 3] (left first), world-to-eye rotations [2, 3, 3] and iris parameters [6]."""

    centers: Array
    rotations: Array
    iris: Array


class Target(NamedTuple):
    """Images to fill: linear RGBA, world normals and part ids."""

    color: Image
    normals: Image
    parts: Bytes


@compiled
def _mix(
    rows: Image, k: int, a: int, b: int, c: int, w0: float, w1: float, w2: float
) -> Triple:  # fmt: skip
    """Columns ``k`` to ``k + 2`` of three rows, weighted."""
    return (
        w0 * rows[a, k] + w1 * rows[b, k] + w2 * rows[c, k],
        w0 * rows[a, k + 1] + w1 * rows[b, k + 1] + w2 * rows[c, k + 1],
        w0 * rows[a, k + 2] + w1 * rows[b, k + 2] + w2 * rows[c, k + 2],
    )


@compiled
def _unit(x: float, y: float, z: float) -> Triple:
    scale = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-12)
    return x * scale, y * scale, z * scale


@compiled
def _weights(screen: Array, a: int, b: int, c: int, px: float, py: float) -> Triple:
    """Perspective-correct barycentric weights of a pixel."""
    x0, y0, x1, y1 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
    x2, y2 = screen[c, 0], screen[c, 1]
    w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * screen[a, 2]
    w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * screen[b, 2]
    w2 = ((x0 - px) * (y1 - py) - (x1 - px) * (y0 - py)) * screen[c, 2]
    scale = 1.0 / (w0 + w1 + w2)
    return w0 * scale, w1 * scale, w2 * scale


@compiled
def _lobe(nh: float, alpha: float) -> float:
    """The GGX distribution for squared roughness ``alpha``."""
    d = nh * nh * (alpha - 1) + 1
    return alpha / (math.pi * d * d)


@compiled
def _key_reflection(
    normal: Triple, view: Triple, nv: float, light: Array, spread: float, rough: float, f0: float,
    skin: bool,
) -> float:  # fmt: skip
    """Reflection of one key light, visibility not included; skin has a second, wider lobe."""
    nl = normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]
    if nl <= 0:
        return 0.0
    hx, hy, hz = _unit(light[0] + view[0], light[1] + view[1], light[2] + view[2])
    nh = max(0.0, normal[0] * hx + normal[1] * hy + normal[2] * hz)
    vh = max(0.0, view[0] * hx + view[1] * hy + view[2] * hz)
    alpha = rough**4
    distribution = _lobe(nh, alpha + spread)
    if skin:
        distribution = 0.45 * distribution + 0.55 * _lobe(nh, min(0.6, 6 * alpha + spread))
    fresnel: float = f0 + (1 - f0) * (1 - vh) ** 5
    k = rough * 0.5 + 0.1
    masking = 1.0 / ((nv * (1 - k) + k) * (nl * (1 - k) + k) * 4)
    reflected: float = distribution * masking * fresnel * nl
    return reflected


@compiled
def _reflection(
    normal: Triple, view: Triple, nv: float, visible: Triple, gloss: Triple, f0: float, skin: bool,
    lights: Lights,
) -> Triple:  # fmt: skip
    """Key lights plus the ambient gradient in the mirror direction, times specular strength."""
    rough, strength, ambient = gloss
    nv = max(nv, 0.04)
    upness = 0.5 + 0.5 * (2 * nv * normal[1] - view[1])
    fresnel = f0 + (max(1 - rough, f0) - f0) * (1 - nv) ** 5
    scale = fresnel * ambient * (1.0 - 0.4 * rough)
    # Wide lights would veil a wet eye: polished surfaces show only their bright core.
    core = min(1.0, 4 * rough)
    red = scale * (lights.ground[0] + (lights.sky[0] - lights.ground[0]) * upness)
    green = scale * (lights.ground[1] + (lights.sky[1] - lights.ground[1]) * upness)
    blue = scale * (lights.ground[2] + (lights.sky[2] - lights.ground[2]) * upness)
    for k in range(3):
        if visible[k] > 0:
            s = visible[k] * _key_reflection(
                normal, view, nv, lights.direction[k], core * lights.spread[k], rough, f0, skin
            )
            red += s * lights.color[k, 0]
            green += s * lights.color[k, 1]
            blue += s * lights.color[k, 2]
    return red * strength, green * strength, blue * strength


@compiled
def _rotate(rotation: Array, x: float, y: float, z: float) -> Triple:
    return (
        rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z,
        rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z,
        rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z,
    )


@compiled
def _iris(angle: float, share: float, radius: float, iris: Array) -> Triple:
    """Colour at ``share`` of the iris radius; ``iris`` = size, pupil, red, green, blue, ring."""
    fibre = 0.75 + 0.35 * math.sin(angle * 23 + 3 * math.sin(angle * 7)) * math.sin(
        angle * 41 + 6 * share
    )
    fibre += 0.15 * math.sin(angle * 67)
    collar = 1.0 if share > 0.55 else 0.75 + 0.45 * share
    k = fibre * collar * (1.15 - 0.5 * share)
    ring = max(0.0, 1 - abs(share - 0.42) / 0.16) * iris[5]
    dark = 1 - 0.75 * min(1.0, max(0.0, (share - 0.80) / 0.2))
    dark *= min(1.0, max(0.0, (radius - iris[1]) / 0.03))
    return (
        (iris[2] * k * (1 - ring) + 0.30 * ring) * dark,
        (iris[3] * k * (1 - ring) + 0.17 * ring) * dark,
        (iris[4] * k * (1 - ring) + 0.06 * ring) * dark,
    )


@compiled
def _eye_albedo(point: Triple, view: Triple, center: Array, rotation: Array, iris: Array) -> Triple:
    """Linear albedo of an eyeball point, in the frame whose z is the gaze.

    The iris lies behind the cornea: the look-up shifts against the view for parallax.
    """
    x, y, z = point[0] - center[0], point[1] - center[1], point[2] - center[2]
    scale = 1.0 / math.sqrt(x * x + y * y + z * z)
    ex, ey, ez = _rotate(rotation, x * scale, y * scale, z * scale)
    vx, vy, _ = _rotate(rotation, view[0], view[1], view[2])
    radius = math.sqrt(ex * ex + ey * ey) if ez > 0 else 1.0
    if radius < iris[0] * 1.15:
        depth = 0.10 * (1 - min(1.0, radius / iris[0]))
        ex -= vx * depth
        ey -= vy * depth
        radius = math.sqrt(ex * ex + ey * ey)
    angle = math.atan2(ey, ex)
    vein = 0.5 + 0.5 * math.sin(angle * 17 + 6 * math.sin(radius * 9 + angle * 3))
    red = min(1.0, max(0.0, (radius - 0.45) / 0.5))
    white = (0.84, 0.79 - 0.08 * red * vein - 0.05 * red, 0.75 - 0.10 * red * vein - 0.07 * red)
    if radius >= iris[0] * 1.08:
        return white
    share = radius / iris[0]
    colored = _iris(angle, share, radius, iris)
    s = min(1.0, max(0.0, (share - 0.96) / 0.12))
    return (
        colored[0] * (1 - s) + white[0] * s,
        colored[1] * (1 - s) + white[1] * s,
        colored[2] * (1 - s) + white[2] * s,
    )


@compiled
def _catchlight(normal: Triple, view: Triple, nv: float, light: Array) -> float:
    """Mirror image of the key lamp, a disc of about 10 degrees radius with a soft rim."""
    toward = (
        light[0] * (2 * nv * normal[0] - view[0])
        + light[1] * (2 * nv * normal[1] - view[1])
        + light[2] * (2 * nv * normal[2] - view[2])
    )
    inside: float = min(1.0, max(0.0, (toward - 0.975) / 0.012))
    return 0.55 * inside


@compiled
def _shade_triangle(
    t: int, px: float, py: float, s: Surface, eyes: Eyes, lights: Lights, camera: Array
) -> tuple[Triple, Triple, int]:
    a, b, c = s.triangles[t, 0], s.triangles[t, 1], s.triangles[t, 2]
    part = int(s.parts[t])
    facing = (s.screen[b, 0] - s.screen[a, 0]) * (s.screen[c, 1] - s.screen[a, 1]) - (
        s.screen[c, 0] - s.screen[a, 0]
    ) * (s.screen[b, 1] - s.screen[a, 1])
    w0, w1, w2 = _weights(s.screen, a, b, c, px, py)
    point = _mix(s.rows, POINT, a, b, c, w0, w1, w2)
    nx, ny, nz = _mix(s.rows, DIRECTION, a, b, c, w0, w1, w2)
    nx, ny, nz = _unit(nx, ny, nz)
    albedo = _mix(s.rows, ALBEDO, a, b, c, w0, w1, w2)
    if facing > 0 and part in (SKIN, CLOTH):
        # The hollow inside of the cut bust: dark cloth, whatever the light.
        dim = 0.07 if part == SKIN else 0.15
        return (albedo[0] * dim, albedo[1] * dim, albedo[2] * dim), (-nx, -ny, -nz), CLOTH
    view = _unit(camera[0] - point[0], camera[1] - point[1], camera[2] - point[2])
    nv = nx * view[0] + ny * view[1] + nz * view[2]
    if nv < 0 and part == SKIN:
        nx, ny, nz = nx - nv * view[0], ny - nv * view[1], nz - nv * view[2]
        nv = 0.0
    elif nv < 0:
        nx, ny, nz, nv = -nx, -ny, -nz, -nv
    irradiance = _mix(s.rows, IRRADIANCE, a, b, c, w0, w1, w2)
    gloss = _mix(s.rows, GLOSS, a, b, c, w0, w1, w2)
    visible = _mix(s.rows, VISIBILITY, a, b, c, w0, w1, w2)
    f0 = 0.028
    if part == EYE:
        e = 0 if point[0] > 0 else 1
        albedo = _eye_albedo(point, view, eyes.centers[e], eyes.rotations[e], eyes.iris)
        gloss, f0 = (0.10, 1.1, 0.5), 0.04
        # A lamp is in sight of the wet eye through gaps in the lashes that the bake closes.
        visible = (max(visible[0], 0.5), visible[1], visible[2])
        mean = (irradiance[0] + irradiance[1] + irradiance[2]) / 6
        irradiance = (
            0.5 * irradiance[0] + mean, 0.5 * irradiance[1] + mean, 0.5 * irradiance[2] + mean
        )  # fmt: skip
    normal = (nx, ny, nz)
    shine = _reflection(normal, view, nv, visible, gloss, f0, part == SKIN, lights)
    if part == EYE:
        lamp = visible[0] * _catchlight(normal, view, nv, lights.direction[0])
        shine = (
            shine[0] + lamp * lights.color[0, 0],
            shine[1] + lamp * lights.color[0, 1],
            shine[2] + lamp * lights.color[0, 2],
        )
    color = (
        albedo[0] * irradiance[0] + shine[0],
        albedo[1] * irradiance[1] + shine[1],
        albedo[2] * irradiance[2] + shine[2],
    )
    return color, normal, part


@compiled
def _strand_reflection(tl: float, tv: float, cos_phi: float) -> tuple[float, float]:
    """Marschner-like reflection of one light: (white surface part, part tinted by the pigment)."""
    middle = (tl + tv) * 0.5
    half = math.sqrt(max(0.0, 0.5 + 0.5 * cos_phi))
    surface = math.exp(-((middle - 0.05) ** 2) / 0.0128) * 0.055 * half
    inner = math.exp(-((middle + 0.08) ** 2) / 0.0512) * half * half * 0.30
    through = math.exp(-(middle**2) / 0.08) * max(0.0, -cos_phi) ** 3 * 0.5
    return surface, inner + through


@compiled
def _shade_segment(
    index: int, px: float, py: float, s: StrandSurface, lights: Lights, camera: Array
) -> tuple[Triple, Triple]:
    a, b = s.segments[index, 0], s.segments[index, 1]
    dx, dy = s.screen[b, 0] - s.screen[a, 0], s.screen[b, 1] - s.screen[a, 1]
    q = ((px - s.screen[a, 0]) * dx + (py - s.screen[a, 1]) * dy) / (dx * dx + dy * dy + 1e-9)
    q = min(1.0, max(0.0, q))
    point = _mix(s.rows, POINT, a, b, b, 1 - q, q, 0.0)
    tx, ty, tz = _mix(s.rows, DIRECTION, a, b, b, 1 - q, q, 0.0)
    tx, ty, tz = _unit(tx, ty, tz)
    vx, vy, vz = _unit(camera[0] - point[0], camera[1] - point[1], camera[2] - point[2])
    pigment = _mix(s.rows, ALBEDO, a, b, b, 1 - q, q, 0.0)
    light = _mix(s.rows, IRRADIANCE, a, b, b, 1 - q, q, 0.0)
    visible = _mix(s.rows, VISIBILITY, a, b, b, 1 - q, q, 0.0)
    red, green, blue = pigment[0] * light[0], pigment[1] * light[1], pigment[2] * light[2]
    tv = tx * vx + ty * vy + tz * vz
    ax, ay, az = vx - tv * tx, vy - tv * ty, vz - tv * tz
    for k in range(3):
        if visible[k] <= 0.003:
            continue
        lx, ly, lz = lights.direction[k, 0], lights.direction[k, 1], lights.direction[k, 2]
        tl = tx * lx + ty * ly + tz * lz
        sines = math.sqrt(max(0.0, 1 - tl * tl)) * math.sqrt(max(0.0, 1 - tv * tv)) + 1e-3
        cos_phi = ((lx - tl * tx) * ax + (ly - tl * ty) * ay + (lz - tl * tz) * az) / sines
        white, tinted = _strand_reflection(tl, tv, cos_phi)
        white *= s.rows[a, GLOSS]
        red += visible[k] * lights.color[k, 0] * (white + tinted * pigment[0])
        green += visible[k] * lights.color[k, 1] * (white + tinted * pigment[1])
        blue += visible[k] * lights.color[k, 2] * (white + tinted * pigment[2])
    return (red, green, blue), _unit(ax, ay, az)


@compiled
def shade(
    ids: Index,
    surface: Surface,
    strands: StrandSurface,
    eyes: Eyes,
    lights: Lights,
    camera: Array,
    target: Target,
) -> None:
    """Shade every covered pixel; ids from ``len(triangles)`` on are strand segments."""
    height, width = ids.shape
    strand_ids = surface.triangles.shape[0]
    for y in range(height):
        for x in range(width):
            index = ids[y, x]
            if index < 0:
                continue
            if index < strand_ids:
                color, normal, part = _shade_triangle(
                    index, x + 0.5, y + 0.5, surface, eyes, lights, camera
                )
            else:
                color, normal = _shade_segment(
                    index - strand_ids, x + 0.5, y + 0.5, strands, lights, camera
                )
                part = HAIR
            target.parts[y, x] = part
            target.color[y, x, 3] = 1.0
            for k in range(3):
                target.color[y, x, k] = color[k]
                target.normals[y, x, k] = normal[k]


@compiled
def blend_lenses(
    ids: Index, surface: Surface, tint: Array, lights: Lights, camera: Array, target: Target
) -> None:
    """Blend one layer of lens over the shaded image; ``ids`` holds the nearest lens triangle.

    ``tint`` is linear RGB and the opacity.
    """
    height, width = ids.shape
    for y in range(height):
        for x in range(width):
            if ids[y, x] < 0:
                continue
            a = surface.triangles[ids[y, x], 0]
            view = _unit(
                camera[0] - surface.rows[a, POINT],
                camera[1] - surface.rows[a, POINT + 1],
                camera[2] - surface.rows[a, POINT + 2],
            )
            n = surface.rows[a, DIRECTION : DIRECTION + 3]
            nv = n[0] * view[0] + n[1] * view[1] + n[2] * view[2]
            sign = 1.0 if nv >= 0 else -1.0
            normal, nv = (sign * n[0], sign * n[1], sign * n[2]), abs(nv)
            shine = _reflection(
                normal, view, nv, (0.6, 0.6, 0.6), (0.08, 1.0, 1.0), 0.05, False, lights
            )
            for k in range(3):
                glow = 0.5 * (lights.sky[k] + lights.ground[k]) * tint[k]
                through = target.color[y, x, k] * (1 - tint[3])
                target.color[y, x, k] = through + tint[3] * glow + min(shine[k], 1.0)
            target.color[y, x, 3] = max(target.color[y, x, 3], 0.25 + 0.75 * tint[3])
