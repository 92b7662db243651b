"""Options that several verbs share."""

from dataclasses import dataclass, fields

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
