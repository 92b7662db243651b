"""Run the real stages on evaluation subjects and score what they make, beside the floors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.errors import ProcessingError
from pipeline.evaluation.floors import NEAREST_IDENTITY, PORTRAIT_COPY, Floors, portrait_copy
from pipeline.evaluation.keypoints import (
    Find,
    Placement,
    aligned_in_the_plane,
    alignment_in_space,
)
from pipeline.evaluation.results import (
    IN_SPACE,
    IN_THE_PLANE,
    UNALIGNED,
    Candidate,
    Evaluation,
)
from pipeline.evaluation.scores import Backbones, ViewScores, score_views
from pipeline.evaluation.subjects import Pixels, Subject
from pipeline.gaussians import Gaussians
from pipeline.images import resize
from pipeline.portrait.alpha import on_white
from pipeline.rendering import render_u8
from pipeline.stage import Context, Row, Stage, run_stage

VIEWS = "views"
PRODUCT_COLUMNS = (("low-res views", "lowres_views"), (VIEWS, "views"))
"""Names in the report of the image columns that the stages write; a model of one stage has one."""
AVATAR = "avatar"
_FRAMING_ERROR = 2
"""Grey levels by which framing, which multiplies by alpha and back, may change a portrait."""

Shown = dict[Candidate, Pixels | None]
"""Views [V, h, w, 3] uint8 of each candidate; None where it could not be aligned."""


@dataclass(frozen=True, kw_only=True)
class Yardsticks:
    """What subjects are judged by, the same for all.

    Attributes:
        floors_at: the floors for an image size in pixels; None if there is no training set.
        backbones: networks of the metrics.
        find: landmark detector; with one, candidates are also compared after alignment.
        renders: other methods' views [V, H, W, 3] uint8 on white of a subject's key, by name.
    """

    floors_at: Callable[[int], Floors | None]
    backbones: Backbones
    find: Find | None = None
    renders: Mapping[str, Callable[[str], Pixels]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of one subject.

    Attributes:
        subject: the subject.
        images: candidate -> views [V, h, w, 3] uint8, products first.
        scores: candidate key -> scores; also of candidates without images, which have none.
        candidates: all of them, in the order of the report.
    """

    subject: Subject
    images: Mapping[Candidate, Pixels]
    scores: Mapping[str, ViewScores]
    candidates: tuple[Candidate, ...]


def prepared(subject: Subject, identity: npt.NDArray[np.float32]) -> Row:
    """What `Prepare` would make of the subject's photo if it made no mistake."""
    return {
        "portrait": subject.portrait,
        "identity": identity,
        "yaw_deg": subject.azimuth_deg,
        "elevation_deg": subject.elevation_deg,
    }


def products(stages: Iterable[Stage], row: Row) -> Row:
    """Take a subject's row through ``stages``, which are already set up.

    Returns:
        The finished row.

    Raises:
        ProcessingError: a stage failed.
    """
    rows = [row]
    for stage in stages:
        rows = run_stage(stage, rows, Context())
    if rows[0].get("outcome") is not None:
        raise ProcessingError(f"{rows[0]['error_stage']}: {rows[0]['error_message']}")
    return rows[0]


def judge(row: Row, subject: Subject, yardsticks: Yardsticks) -> Outcome:
    """Score a finished row's views and avatar, other methods' renders, and the floors.

    Args:
        row: of `products`.
        subject: whose it is.
        yardsticks: what to compare with and by.
    """
    shown = _made(row, subject) | _rendered(subject, yardsticks)
    if yardsticks.find is not None:
        shown |= _aligned(shown, row, subject, yardsticks.find)
    shown |= _floors(shown, subject, yardsticks)
    return Outcome(
        subject=subject,
        images={candidate: views for candidate, views in shown.items() if views is not None},
        scores={
            candidate.key: _score(candidate, views, subject, yardsticks.backbones)
            for candidate, views in shown.items()
        },
        candidates=tuple(shown),
    )


def _made(row: Row, subject: Subject) -> Shown:
    made: Shown = {}
    for name, column in PRODUCT_COLUMNS:
        if column in row and subject.on_orbit:
            made[Candidate(name=name, size_px=row[column].shape[1])] = row[column]
    size_px = subject.views.shape[1]
    views = render_u8(_avatar(row, subject), subject.cameras, size_px)
    return made | {Candidate(name=AVATAR, size_px=size_px): views}


def _avatar(row: Row, subject: Subject) -> Gaussians:
    """The avatar in the world of the subject's cameras."""
    gaussians = Gaussians.from_array(row["gaussians"])
    if subject.head_scale == 1.0:
        return gaussians
    return Placement(subject.head_scale, np.zeros(3)).move(gaussians)


def _rendered(subject: Subject, yardsticks: Yardsticks) -> Shown:
    size_px = subject.views.shape[1]
    return {
        Candidate(name=name, size_px=size_px, is_baseline=True): load(subject.key)
        for name, load in yardsticks.renders.items()
    }


def _aligned(shown: Shown, row: Row, subject: Subject, find: Find) -> Shown:
    """Every candidate aligned in the plane, and then the avatar in space."""
    aligned: Shown = {}
    for candidate, views in shown.items():
        assert views is not None, "what is not aligned has images"
        truth = resize(subject.views, candidate.size_px)
        moved = aligned_in_the_plane(views, truth, subject.front, find)
        aligned[_as_aligned(candidate, IN_THE_PLANE)] = moved
    avatar = Candidate(name=AVATAR, size_px=subject.views.shape[1])
    views = shown[avatar]
    assert views is not None, "an avatar is always rendered"
    faces = np.flatnonzero(subject.face_visible).tolist()
    found = alignment_in_space(views[faces], subject.views[faces], subject.cameras[faces], find)
    aligned[_as_aligned(avatar, IN_SPACE)] = (
        None
        if found is None
        else render_u8(found.move(_avatar(row, subject)), subject.cameras, avatar.size_px)
    )
    return aligned


def _as_aligned(candidate: Candidate, alignment: str) -> Candidate:
    return Candidate(
        name=candidate.name,
        size_px=candidate.size_px,
        is_baseline=candidate.is_baseline,
        alignment=alignment,
    )


def _floors(shown: Shown, subject: Subject, yardsticks: Yardsticks) -> Shown:
    """The floors at each size that something is shown at, the largest first."""
    floors: Shown = {}
    for size_px in sorted({candidate.size_px for candidate in shown}, reverse=True):
        front = resize(subject.views[subject.front][None], size_px)[0]
        portrait = resize(on_white(subject.portrait)[None], size_px)[0]
        known = yardsticks.floors_at(size_px)
        guesses = (
            {PORTRAIT_COPY: portrait_copy(portrait, len(subject.views))}
            if known is None
            else known.guesses(front, portrait)
        )
        for name, views in guesses.items():
            floors[Candidate(name=name, size_px=size_px, is_floor=True)] = views
    return floors


def _score(
    candidate: Candidate, images: Pixels | None, subject: Subject, backbones: Backbones
) -> ViewScores:
    """Score at the candidate's size; a copied portrait is not scored on the portrait itself."""
    if images is None:
        return ViewScores.none(len(subject.views))
    truth = resize(subject.views, candidate.size_px)
    landmarks = subject.landmarks * np.float32(candidate.size_px / subject.views.shape[1])
    scores = score_views(images, truth, landmarks, subject.face_visible, backbones)
    if candidate.name != PORTRAIT_COPY:
        return scores
    apart = np.abs(images.astype(np.int16) - truth).max((1, 2, 3))
    return scores.without(apart <= _FRAMING_ERROR)


def face_coverage(subjects: Iterable[Subject]) -> float:
    """Share of all true views that show a whole face, 0 to 1."""
    return float(np.mean(np.concatenate([subject.face_visible for subject in subjects])))


def examples(
    evaluation: Evaluation, outcomes: Iterable[Outcome]
) -> list[tuple[str, Pixels, dict[str, Pixels]]]:
    """The best, median and worst subjects by PSNR, as `report.sheet` takes them.

    Judged are the model's views or, where it is not asked for any, its avatars.
    """
    by_key = {outcome.subject.key: outcome for outcome in outcomes}
    products = [c for c in evaluation.candidates if not c.is_floor and c.alignment == UNALIGNED]
    judged = max(products, key=lambda c: (c.name == VIEWS, c.name == AVATAR))
    ranked = evaluation.ranked(judged)
    chosen = dict.fromkeys((ranked[0], ranked[len(ranked) // 2], ranked[-1]))
    return [_example(by_key[key], judged) for key in chosen]


def _example(outcome: Outcome, judged: Candidate) -> tuple[str, Pixels, dict[str, Pixels]]:
    psnr_db = outcome.scores[judged.key].means()["psnr_db"]
    rows = {"truth": outcome.subject.views}
    for candidate, views in outcome.images.items():
        nearest = candidate.name == NEAREST_IDENTITY and candidate.size_px == judged.size_px
        if candidate.alignment == UNALIGNED and (nearest or not candidate.is_floor):
            rows[candidate.name] = views
    title = f"identity {outcome.subject.key}: {judged.name} {psnr_db:.2f} dB"
    return title, on_white(outcome.subject.portrait), rows
