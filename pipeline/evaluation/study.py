"""A study of which method people prefer: the questions, blind, and the key that stays at home."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.study_pictures import Picture, read_picture

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
TURNING = "turntable.webp"
"""What is shown of a subject that is a folder, as those that ``headsplat make`` writes."""
MOST_METHODS = 9
"""So that each has a key of the keyboard."""


@dataclass(frozen=True)
class Option:
    """What one method made of a subject.

    Attributes:
        token: what the page and the answers call it.
        method: whose it is; never in the page.
        picture: what is shown.
    """

    token: str
    method: str
    picture: Picture


@dataclass(frozen=True)
class Question:
    """One subject, to choose between all methods for.

    Attributes:
        token: what the page and the answers call it.
        subject: whose head it is; never in the page.
        options: one for each method, in random order.
        portrait: the photo that the methods began with, to be shown beside them.
    """

    token: str
    subject: str
    options: tuple[Option, ...]
    portrait: Picture | None


@dataclass(frozen=True)
class Study:
    """All questions of a study.

    Attributes:
        ask: the text that stands above each question.
        seed: of all orders and tokens.
        questions: in random order.
    """

    ask: str
    seed: int
    questions: tuple[Question, ...]

    @property
    def id(self) -> str:
        """Hash of all that people see, 32 hex digits; methods and subjects take no part."""
        return study_id(self.ask, [_seen(question) for question in self.questions])

    def key(self) -> dict[str, Any]:
        """What the answers mean, as JSON values; whoever answers must not see it."""
        return {
            "study": self.id,
            "ask": self.ask,
            "seed": self.seed,
            "methods": sorted(option.method for option in self.questions[0].options),
            "questions": [
                {
                    "seen": _seen(question),
                    "subject": question.subject,
                    "methods": {option.token: option.method for option in question.options},
                }
                for question in self.questions
            ],
        }


def study_id(ask: str, seen: Sequence[Sequence[Any]]) -> str:
    """The id of the study that asks this about what `Study.key` calls ``seen``."""
    return hashlib.sha256(json.dumps([ask, seen]).encode()).hexdigest()[:32]


def draw_study(
    methods: Mapping[str, Path], portraits: Path | None, ask: str, seed: int, size_px: int
) -> Study:
    """Read what is to be compared and draw the orders.

    Args:
        methods: name -> folder of what each method made of each subject, see `find_subjects`.
        portraits: folder of the subjects' photos by the same names; None shows none.
        ask: what people are asked.
        seed: of orders and tokens.
        size_px: side of the squares that all pictures are brought to.

    Raises:
        UsageError: there are fewer than two methods or more than `MOST_METHODS`; a folder is
            missing or has no subject; a subject is missing in one; a file is no picture; or only
            some pictures of a subject move.
    """
    if not 2 <= len(methods) <= MOST_METHODS:
        raise UsageError(f"{len(methods)} methods were given; give 2 to {MOST_METHODS}")
    found = {name: find_subjects(folder) for name, folder in methods.items()}
    subjects = _common(methods, found)
    photos = {} if portraits is None else find_subjects(portraits)
    if portraits is not None and (missing := [one for one in subjects if one not in photos]):
        raise UsageError(f"{portraits} has no portrait of {_some(missing)}")
    rng = np.random.default_rng(seed)
    questions = []
    for subject in rng.permutation(subjects).tolist():
        options = tuple(
            Option(_token(rng), name, read_picture(found[name][subject], size_px))
            for name in rng.permutation(sorted(methods)).tolist()
        )
        if len({option.picture.moves for option in options}) > 1:
            kinds = ", ".join(
                f"{one.method} {'moves' if one.picture.moves else 'does not'}" for one in options
            )
            raise UsageError(f"of {subject}, {kinds}: people would tell them apart by that")
        portrait = read_picture(photos[subject], size_px) if photos else None
        questions.append(Question(_token(rng), subject, options, portrait))
    return Study(ask, seed, tuple(questions))


def find_subjects(folder: Path) -> dict[str, list[Path]]:
    """What there is of each subject in ``folder``, by the subject's name.

    That is ``SUBJECT.png`` (`ENDINGS`), still or moving; ``SUBJECT/turntable.webp``; or the
    pictures in the folder ``SUBJECT``, which may be a path such as ``9/92``, by their names the
    frames of a moving one.

    Raises:
        UsageError: the folder is missing, holds no picture, or two of one name.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give one of pictures named after subjects")
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS):
        if path.parent == folder:
            if path.stem in found:
                raise UsageError(f"{found[path.stem][0]} and {path} are both of {path.stem}")
            found[path.stem] = [path]
        else:
            found.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path)
    for subject, paths in found.items():
        found[subject] = [path for path in paths if path.name == TURNING] or paths
    if not found:
        raise UsageError(
            f"{folder} holds no pictures; it must have SUBJECT{'|'.join(ENDINGS)}, "
            f"SUBJECT/{TURNING}, or folders SUBJECT of frames"
        )
    return found


def _common(methods: Mapping[str, Path], found: Mapping[str, Collection[str]]) -> list[str]:
    subjects = sorted(set().union(*found.values()))
    for name, pictures in found.items():
        if missing := [subject for subject in subjects if subject not in pictures]:
            raise UsageError(
                f"{methods[name]} lacks {_some(missing)}, which another method has; every method "
                "needs the same subjects"
            )
    return subjects


def _seen(question: Question) -> list[Any]:
    portrait = None if question.portrait is None else question.portrait.sha256
    options = [[option.token, option.picture.sha256] for option in question.options]
    return [question.token, portrait, options]


def _token(rng: np.random.Generator) -> str:
    return rng.bytes(6).hex()


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
