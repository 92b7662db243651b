"""What an evaluation found, as plain data that goes to JSON and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import Estimate, estimate
from pipeline.evaluation.scores import METRICS, ViewScores


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that was compared with the true views.

    Attributes:
        name: "views", "avatar" or a floor.
        size_px: side of the images it was compared at.
        is_floor: whether it is a floor rather than a product.
    """

    name: str
    size_px: int
    is_floor: bool = False

    @property
    def key(self) -> str:
        """Unique among the candidates of an evaluation."""
        return f"{self.name} @{self.size_px}"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What was evaluated on what.

    Attributes:
        model: name of the model folder.
        model_hash: content hash of what is in it.
        data: name of the dataset folder.
        condition: which view each subject's portrait was, ``front`` or ``photo``.
        seed: of the generation.
        training_identities: that the floors were drawn from.
        face_coverage: share of the true views that show a whole face, on which CSIM rests.
        failed_identities: held-out identities for which the stages failed, left out of the means.
    """

    model: str
    model_hash: str
    data: str
    condition: str
    seed: int
    training_identities: int
    face_coverage: float
    failed_identities: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of every candidate on every subject.

    Attributes:
        setup: what was evaluated.
        candidates: in the order of the report.
        scores: identity id -> candidate key -> scores of each view.
        azimuths_deg: of the views.
    """

    setup: Setup
    candidates: tuple[Candidate, ...]
    scores: Mapping[int, Mapping[str, ViewScores]]
    azimuths_deg: Sequence[float]

    def summary(self, candidate: Candidate) -> dict[str, Estimate]:
        """Each metric's mean over subjects of their mean over views."""
        means = [subject[candidate.key].means() for subject in self.scores.values()]
        return {metric: estimate([mean[metric] for mean in means]) for metric in METRICS}

    def psnr_by_azimuth(self, candidate: Candidate) -> list[float]:
        """Mean PSNR over subjects for each view, dB; NaN where no subject has one."""
        curves = np.array([subject[candidate.key].psnr_db for subject in self.scores.values()])
        return [estimate(column).mean for column in curves.T]

    def ranked(self, candidate: Candidate) -> list[int]:
        """Identity ids from the best to the worst mean PSNR of ``candidate``."""
        return sorted(
            self.scores,
            key=lambda i: self.scores[i][candidate.key].means()["psnr_db"],
            reverse=True,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values: the setup, the summary, the curves and the numbers of every subject."""
        return {
            "setup": _json(asdict(self.setup)),
            "subjects": len(self.scores),
            "summary": [
                {
                    **asdict(candidate),
                    **{name: _json(asdict(e)) for name, e in self.summary(candidate).items()},
                    "psnr_db_by_azimuth": _json(self.psnr_by_azimuth(candidate)),
                }
                for candidate in self.candidates
            ],
            "azimuths_deg": [float(azimuth) for azimuth in self.azimuths_deg],
            "by_identity": {
                str(identity): {key: _json(scores.means()) for key, scores in subject.items()}
                for identity, subject in self.scores.items()
            },
        }


def _json(value: Any) -> Any:
    """``value`` rounded to six decimals, with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
