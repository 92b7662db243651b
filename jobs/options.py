"""Options that several verbs share."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.graph import GraphOptions


@dataclass(frozen=True, kw_only=True)
class AvatarOptions(GraphOptions):
    """How avatars are made, and how the command reports.

    Attributes:
        json: print one JSON object on stdout instead of a summary.
    """

    json: bool = False


def graph_options(options: AvatarOptions) -> GraphOptions:
    """The part of the options that decides the avatars."""
    names = [field.name for field in fields(GraphOptions)]
    return GraphOptions(**{name: getattr(options, name) for name in names})


def named_folders(texts: Sequence[str]) -> dict[str, Path]:
    """NAME=FOLDER texts as folders by name.

    Raises:
        UsageError: a text has no name or folder, or a name repeats.
    """
    folders: dict[str, Path] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise UsageError(f"{text!r} is not NAME=FOLDER")
        if name in folders:
            raise UsageError(f"the name {name} was given twice")
        folders[name] = Path(folder)
    return folders
