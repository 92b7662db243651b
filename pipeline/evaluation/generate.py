"""Run the real stages on evaluation subjects and score what they make, beside the floors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.cameras import Cameras
from pipeline.evaluation.floors import NEAREST_IDENTITY, PORTRAIT_COPY, Floors
from pipeline.evaluation.results import Candidate, Evaluation
from pipeline.evaluation.scores import Backbones, Embed, ViewScores, score_views
from pipeline.evaluation.subjects import Pixels, Subject
from pipeline.images import resize
from pipeline.portrait.alpha import on_white
from pipeline.stage import Context, Row, Stage, run_stage

PRODUCT_COLUMNS = (("low-res views", "lowres_views"), ("views", "views"))
"""Names in the report of the image columns that the stages write; a model of one stage has one."""
AVATAR = "avatar"
_FRAMING_ERROR = 2
"""Grey levels by which framing, which multiplies by alpha and back, may change a portrait."""


@dataclass(frozen=True)
class Outcome:
    """What came of one subject.

    Attributes:
        subject: the subject.
        images: candidate -> views [V, h, w, 3] uint8, products first; empty if a stage failed.
        scores: candidate key -> scores; empty if a stage failed.
        error: why a stage failed, else None.
    """

    subject: Subject
    images: Mapping[Candidate, Pixels]
    scores: Mapping[str, ViewScores]
    error: str | None = None


def products(
    stages: Iterable[Stage], subject: Subject, identity: npt.NDArray[np.float32], seed: int
) -> Row:
    """Take a subject's portrait through ``stages``, which are already set up.

    Returns:
        The finished row, or one whose ``outcome`` says that a stage failed.
    """
    row: Row = {
        "portrait": subject.portrait,
        "identity": identity,
        "yaw_deg": subject.azimuth_deg,
        "elevation_deg": subject.elevation_deg,
        "seed": seed,
    }
    rows = [row]
    for stage in stages:
        rows = run_stage(stage, rows, Context())
    return rows[0]


def render_avatar(gaussians: npt.NDArray[np.float32], cameras: Cameras, size_px: int) -> Pixels:
    """An avatar [N, 14] seen from V cameras, [V, size_px, size_px, 3] uint8."""
    from pipeline.gaussians import Gaussians
    from pipeline.rendering import render_u8

    return render_u8(Gaussians.from_array(gaussians), cameras, size_px)


def judge(
    row: Row,
    subject: Subject,
    floors_at: Callable[[int], Floors],
    embed: Embed | None,
) -> Outcome:
    """Score a finished row's views and avatar, and the floors at the same sizes.

    Args:
        row: of `products`.
        subject: whose it is.
        floors_at: the floors for an image size in pixels.
        embed: face embedder for CSIM.
    """
    if row.get("outcome") is not None:
        return Outcome(subject, {}, {}, f"{row['error_stage']}: {row['error_message']}")
    images: dict[Candidate, Pixels] = {}
    for name, views in _made(row, subject).items():
        images[Candidate(name=name, size_px=views.shape[1])] = views
    for size_px in sorted({candidate.size_px for candidate in images}, reverse=True):
        front = resize(subject.views[:1], size_px)[0]
        portrait = resize(on_white(subject.portrait)[None], size_px)[0]
        for name, views in floors_at(size_px).guesses(front, portrait).items():
            images[Candidate(name=name, size_px=size_px, is_floor=True)] = views
    scores = {
        candidate.key: _score(candidate, views, subject, embed)
        for candidate, views in images.items()
    }
    return Outcome(subject, images, scores)


def _made(row: Row, subject: Subject) -> dict[str, Pixels]:
    made: dict[str, Pixels] = {name: row[at] for name, at in PRODUCT_COLUMNS if at in row}
    size_px = subject.views.shape[1]
    return made | {AVATAR: render_avatar(row["gaussians"], subject.cameras, size_px)}


def _score(
    candidate: Candidate, images: Pixels, subject: Subject, embed: Embed | None
) -> ViewScores:
    """Score at the candidate's size; a copied portrait is not scored on the portrait itself."""
    truth = resize(subject.views, candidate.size_px)
    landmarks = subject.landmarks * np.float32(candidate.size_px / subject.views.shape[1])
    scores = score_views(images, truth, landmarks, subject.face_visible, Backbones(embed=embed))
    if candidate.name != PORTRAIT_COPY:
        return scores
    apart = np.abs(images.astype(np.int16) - truth).max((1, 2, 3))
    return scores.without(apart <= _FRAMING_ERROR)


def face_coverage(subjects: Iterable[Subject]) -> float:
    """Share of all true views that show a whole face, 0 to 1."""
    return float(np.mean(np.concatenate([subject.face_visible for subject in subjects])))


def candidates_of(outcome: Outcome) -> tuple[Candidate, ...]:
    """What was compared: products at the size they are made, then floors at each of these sizes."""
    return tuple(outcome.images)


def examples(
    evaluation: Evaluation, outcomes: Iterable[Outcome]
) -> list[tuple[str, Pixels, dict[str, Pixels]]]:
    """The best, median and worst subjects by their views' PSNR, as `report.sheet` takes them."""
    by_identity = {str(outcome.subject.identity_id): outcome for outcome in outcomes}
    judged = next(c for c in evaluation.candidates if c.name == "views")
    ranked = evaluation.ranked(judged)
    chosen = dict.fromkeys((ranked[0], ranked[len(ranked) // 2], ranked[-1]))
    return [_example(by_identity[identity], judged) for identity in chosen]


def _example(outcome: Outcome, judged: Candidate) -> tuple[str, Pixels, dict[str, Pixels]]:
    psnr_db = outcome.scores[judged.key].means()["psnr_db"]
    rows = {"truth": outcome.subject.views}
    for candidate, views in outcome.images.items():
        same_size = candidate.size_px == judged.size_px
        if not candidate.is_floor or (candidate.name == NEAREST_IDENTITY and same_size):
            rows[candidate.name] = views
    title = f"identity {outcome.subject.identity_id}: views {psnr_db:.2f} dB"
    return title, on_white(outcome.subject.portrait), rows
