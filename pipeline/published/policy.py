"""Which published weights may not be used commercially, as far as their authors say.

The facts are those of the licences as published; they are no legal advice, and a user with an
agreement of their own imports without the switch.
"""

import re

ORIGINS: dict[str, str | None] = {
    "release": (
        "the paper's release states no licence for its weights, which derive from Stable Video "
        "Diffusion's and from faces collected for research"
    ),
    "stable-video-diffusion": (
        "Stable Video Diffusion's weights were published for non-commercial use; a commercial one "
        "needs a licence from Stability AI"
    ),
    "insightface": "insightface's packs are for non-commercial research only",
    "lgm": None,
    "face pack": None,
}
"""Why the weights of an origin are not for commercial use; None if only their licence decides."""
_RESTRICTED = re.compile(
    r"non.?commercial|research|unknown|unclear|not (stated|recorded|known)|none\b|\bnc\b", re.I
)
NOT_RECORDED = "licence not recorded"


def restriction(origin: str | None, licence: str) -> str | None:
    """Why a component is not for commercial use; None if nothing speaks against it.

    Args:
        origin: a key of `ORIGINS`, or None for weights that were not imported.
        licence: as the model folder states it.
    """
    if reason := ORIGINS.get(origin or ""):
        return reason
    if not licence.strip() or _RESTRICTED.search(licence):
        return f"its licence is {licence.strip() or 'empty'!r}"
    return None
