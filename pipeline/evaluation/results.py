"""What an evaluation found, as plain data that goes to JSON and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import Estimate, estimate
from pipeline.evaluation.scores import METRICS, ViewScores

UNALIGNED, IN_THE_PLANE, IN_SPACE = "none", "2d", "3d"
"""Kinds of alignment by landmarks, see `pipeline.evaluation.keypoints`."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that was compared with the true views.

    Attributes:
        name: "views", "avatar", a floor, or what another method's renders were called.
        size_px: side of the images it was compared at.
        is_floor: whether it is a floor rather than a product.
        is_baseline: whether it is another method's renders.
        alignment: by landmarks before it was scored: "none", "2d" or "3d".
    """

    name: str
    size_px: int
    is_floor: bool = False
    is_baseline: bool = False
    alignment: str = UNALIGNED

    @property
    def key(self) -> str:
        """Unique among the candidates of an evaluation."""
        aligned = "" if self.alignment == UNALIGNED else f" aligned {self.alignment}"
        return f"{self.name} @{self.size_px}{aligned}"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What was evaluated on what.

    Attributes:
        model: name of the model folder.
        model_hash: content hash of what is in it.
        data: name of the dataset folder.
        condition: which view each subject's portrait was, ``front`` or ``photo``.
        camera: whether the portrait's camera is ``known`` or ``estimated`` from the picture.
        protocol: the test set: ``front`` or ``photo`` on any dataset, ``paper`` or ``nersemble``.
        seed: of the generation.
        training_identities: that the floors were drawn from.
        face_coverage: share of the true views that show a whole face, on which CSIM rests.
        evaluator: content hash of the network of CSIM; of nothing if there was none.
        failed_identities: keys of the subjects for which the stages failed, left out of the means.
    """

    model: str
    model_hash: str
    data: str
    condition: str
    camera: str = "known"
    protocol: str = "front"
    seed: int
    training_identities: int
    face_coverage: float
    evaluator: str
    failed_identities: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of every candidate on every subject.

    Attributes:
        setup: what was evaluated.
        candidates: in the order of the report.
        scores: subject key -> candidate key -> scores of each view. The key is the identity's
            number, or "identity/sequence" where an identity has several expressions.
        azimuths_deg: of the views.
        unavailable: metric -> why nothing was scored by it.
        labels: subject key -> label -> value, of what is known of the subject.
    """

    setup: Setup
    candidates: tuple[Candidate, ...]
    scores: Mapping[str, Mapping[str, ViewScores]]
    azimuths_deg: Sequence[float]
    unavailable: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def subjects(self) -> int:
        """How many people; the expressions of one are not independent, and count as one."""
        return len({_identity(key) for key in self.scores})

    def summary(self, candidate: Candidate) -> dict[str, Estimate]:
        """Each metric's mean over people of their mean over expressions of that over views."""
        by_identity: dict[str, list[dict[str, float]]] = {}
        for key, subject in self.scores.items():
            by_identity.setdefault(_identity(key), []).append(subject[candidate.key].means())
        return {
            metric: estimate(
                [estimate([mean[metric] for mean in means]).mean for means in by_identity.values()]
            )
            for metric in METRICS
        }

    def coverage(self, candidate: Candidate) -> dict[str, float]:
        """The share of all views that each metric has a number for, 0 to 1."""
        scores = [subject[candidate.key] for subject in self.scores.values()]
        return {
            metric: float(np.mean([~np.isnan(getattr(one, metric)) for one in scores]))
            for metric in METRICS
        }

    def psnr_by_azimuth(self, candidate: Candidate) -> list[float]:
        """Mean PSNR over subjects for each view, dB; NaN where no subject has one."""
        curves = np.array([subject[candidate.key].psnr_db for subject in self.scores.values()])
        return [estimate(column).mean for column in curves.T]

    def ranked(self, candidate: Candidate) -> list[str]:
        """Subject keys from the best to the worst mean PSNR of ``candidate``."""
        return sorted(
            self.scores,
            key=lambda i: self.scores[i][candidate.key].means()["psnr_db"],
            reverse=True,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values: the setup, the summary, the curves and the numbers of every subject."""
        return {
            "setup": _json(asdict(self.setup)),
            "subjects": self.subjects,
            "unavailable": dict(self.unavailable),
            "summary": [self._row(candidate) for candidate in self.candidates],
            "azimuths_deg": [float(azimuth) for azimuth in self.azimuths_deg],
            "by_identity": {
                subject: {key: _json(scores.means()) for key, scores in candidates.items()}
                for subject, candidates in self.scores.items()
            },
            "labels": {subject: dict(known) for subject, known in self.labels.items()},
        }

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        coverage = self.coverage(candidate)
        estimates = self.summary(candidate)
        return {
            **asdict(candidate),
            **{
                name: _json({**asdict(one), "coverage": coverage[name]})
                for name, one in estimates.items()
            },
            "psnr_db_by_azimuth": _json(self.psnr_by_azimuth(candidate)),
        }


def _identity(subject: str) -> str:
    return subject.partition("/")[0]


def _json(value: Any) -> Any:
    """``value`` rounded to six decimals, with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
