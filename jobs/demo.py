"""``python -m jobs.demo OUT``: avatars of the portraits that come with headsplat's dependencies.

They are scikit-image's astronaut and the group photo of insightface's package, read where they are
installed. The portrait gives one avatar, the group one of each face that is found in it.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UsageError

PORTRAIT = ("skimage", "data/astronaut.png")
GROUP = ("insightface", "data/images/t1.jpg")
"""The package, and where in it the photo is."""


def demo_photos() -> list[Path]:
    """The paths of the demo's photos: a portrait, then a group.

    Raises:
        UsageError: a package or its photo is not installed.
    """
    return [find_photo(package, inner) for package, inner in (PORTRAIT, GROUP)]


def main(arguments: list[str]) -> int:
    """Make the avatars; the arguments are the folder, "demo" by default, and options."""
    from jobs.cli import main as headsplat

    out, *options = arguments or ["demo"]
    try:
        portrait, group = (str(path) for path in demo_photos())
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return headsplat(["generate", portrait, group, out, "--faces", "all", *options])


def find_photo(package: str, inner: str) -> Path:
    """The path of a photo that comes with a package.

    Raises:
        UsageError: the package or its photo is not installed.
    """
    spec = find_spec(package)
    homes = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [path for home in homes if (path := Path(home, inner)).is_file()]
    if not found:
        raise UsageError(f"{package} is installed without {inner}; run pip install {package} again")
    return found[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
