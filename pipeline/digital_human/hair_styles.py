"""The table of hairstyles: what makes one different from another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HairStyle:
    """How guides grow and how strands follow them; lengths in decimetres.

    Attributes:
        comb: which direction field the hair follows.
        length: of a guide; ``steps`` points along it.
        stiffness, gravity, pull: weights of going straight on, of falling and of the comb field.
        volume: how far the outer layer stands off the scalp.
        disorder: random turning per step.
        wave: radius of a shared wave along guides; ``wave_turns`` its turns per decimetre.
        curl: radius of each strand's own curl.
        frizz: scatter of strands about their guides.
        strands: count at quality one.
        spread: how strands diverge from their guides towards the tip.
        tapered: shorter at the sides and in the nape, as barbers cut.
        falls: hangs to the shoulders and is kept off the face.
    """

    comb: str
    length: float
    steps: int
    stiffness: float
    gravity: float
    pull: float
    volume: float
    disorder: float
    wave: float = 0.0
    wave_turns: float = 0.0
    curl: float = 0.0
    frizz: float = 0.010
    strands: int = 11000
    spread: float = 0.9
    tapered: bool = False
    falls: bool = False

    @property
    def points(self) -> int:
        """Points of a finished strand: guides need fine steps to grow, straight hair does not."""
        return self.steps if self.curl else max(7, round(0.4 * self.steps + 4 * bool(self.wave)))


STYLES: dict[str, HairStyle] = {
    "short_side": HairStyle("side", 0.60, 10, 0.45, 0.16, 0.9, 0.13, 0.20, tapered=True),
    "short_forward": HairStyle("forward", 0.42, 8, 0.7, 0.05, 0.9, 0.14, 0.30, tapered=True),
    "slick_back": HairStyle(
        "back", 0.85, 10, 0.75, 0.06, 1.1, 0.12, 0.12, frizz=0.006, tapered=True
    ),
    "pixie": HairStyle("forward", 0.62, 9, 0.65, 0.16, 0.8, 0.15, 0.25, tapered=True),
    "curly_short": HairStyle(
        "free", 0.45, 14, 0.6, 0.03, 0.25, 0.26, 0.50, 0.05, 3.2, 0.035, 0.02, 13000, 1.2
    ),
    "afro": HairStyle(
        "radial", 0.62, 12, 0.8, 0.0, 0.0, 0.9, 0.30, 0.05, 4.5, 0.035, 0.02, 15000, 1.6
    ),
    "receding": HairStyle("down", 0.20, 7, 0.7, 0.10, 0.9, 0.05, 0.20, strands=7000),
    "bob": HairStyle("fall", 1.55, 20, 0.55, 0.42, 0.55, 0.19, 0.10, falls=True),
    "fringe_bob": HairStyle("fringe", 1.55, 20, 0.55, 0.42, 0.5, 0.18, 0.10, falls=True),
    "long_straight": HairStyle("fall", 3.5, 32, 0.55, 0.50, 0.5, 0.15, 0.07, falls=True),
    "long_wavy": HairStyle(
        "fall", 3.3, 34, 0.55, 0.48, 0.5, 0.20, 0.10, 0.05, 1.1, frizz=0.012, falls=True
    ),
    "curly_long": HairStyle(
        "fall", 2.2, 28, 0.5, 0.42, 0.4, 0.30, 0.25, 0.06, 2.4, 0.03, 0.022, 10000, falls=True
    ),
    "bun": HairStyle("gather", 1.6, 18, 0.6, 0.0, 1.6, 0.06, 0.06, frizz=0.004),
    "ponytail": HairStyle("gather", 1.6, 18, 0.6, 0.0, 1.6, 0.06, 0.06, frizz=0.004),
    "man_bun": HairStyle("gather", 1.6, 18, 0.6, 0.0, 1.6, 0.06, 0.06, frizz=0.005),
}
"""``bald`` has no strands and ``buzz`` only stubble: neither grows guides."""

GATHER_POINTS = {
    "bun": (0.0, 8.15, -0.55),
    "man_bun": (0.0, 8.2, -0.45),
    "ponytail": (0.0, 7.75, -0.62),
}
"""Where tied hair meets, template coordinates."""
