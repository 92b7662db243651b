"""Evaluations with known numbers, through the real types to JSON and back."""

import json
from typing import Any

import numpy as np

from pipeline.evaluation.results import Candidate, Evaluation, Setup
from pipeline.evaluation.scores import ViewScores

AVATAR = Candidate(name="avatar", size_px=32)
VIEWS = Candidate(name="views", size_px=16)
LGM = Candidate(name="lgm", size_px=32, is_baseline=True)
NEAREST = Candidate(name="nearest identity", size_px=32, is_floor=True)
AZIMUTHS_DEG = (0.0, 90.0, 180.0, 270.0)
PEOPLE = ("9", "19", "29", "39")
LABELS = {
    "9": {"sex": "female", "age_group": "old", "portrait_yaw": "from the front"},
    "19": {"sex": "female", "age_group": "young", "portrait_yaw": "from the front"},
    "29": {"sex": "male", "age_group": "young", "portrait_yaw": "from the front"},
    "39": {"sex": "male", "portrait_yaw": "from the front"},
}


def scores(psnr_db: float, csim: float = np.nan, lpips_vgg: float = np.nan) -> ViewScores:
    """Four views round ``psnr_db``; only the first shows a face."""
    return ViewScores(
        psnr_db=psnr_db + np.array([2.0, 0.0, -2.0, 0.0]),
        ssim=np.full(4, 0.5),
        lpips_vgg=np.full(4, lpips_vgg),
        csim=np.array([csim, np.nan, np.nan, np.nan]),
    )


def evaluation_of(scored: dict[str, dict[Candidate, ViewScores]], **setup: Any) -> dict[str, Any]:
    """``evaluation.json`` with the scores of each subject."""
    made = Evaluation(
        setup=Setup(
            **{
                "model": "embedded",
                "model_hash": "abc",
                "data": "heads",
                "condition": "front",
                "seed": 3,
                "training_identities": 40,
                "face_coverage": 0.25,
                "evaluator": "eee",
                **setup,
            }
        ),
        candidates=tuple(next(iter(scored.values()))),
        scores={
            subject: {candidate.key: one for candidate, one in candidates.items()}
            for subject, candidates in scored.items()
        },
        azimuths_deg=AZIMUTHS_DEG,
        unavailable={"dreamsim": "no weights"},
        labels=LABELS,
    )
    found: dict[str, Any] = json.loads(json.dumps(made.to_json(), allow_nan=False))
    return found


def tiny_evaluation(offset_db: float = 0.0, **setup: Any) -> dict[str, Any]:
    """Four people, of whom the later ones are easier; another method; a floor."""
    return evaluation_of(
        {
            person: {
                VIEWS: scores(22 + place + offset_db, 0.3 + 0.1 * place),
                AVATAR: scores(20 + place + offset_db, 0.5 + 0.1 * place, 0.4 - 0.01 * place),
                LGM: scores(18 + place, 0.4 + 0.1 * place, 0.3 - 0.01 * place),
                NEAREST: scores(16 + place, 0.2),
            }
            for place, person in enumerate(PEOPLE)
        },
        **setup,
    )
