"""Labels say what is to be seen: a small classifier learns them on some people for others."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from skimage.feature import hog

from pipeline.cameras import look_at_origin
from pipeline.digital_human import build_head, sample_appearance, sample_identity
from pipeline.digital_human.expression import EXPRESSIONS
from tests.pipeline.digital_human.conftest import QUICK

PEOPLE = 14
CLOSE = look_at_origin(0, 0, 1.1)


def face_gradients(seed: int, expression: str) -> npt.NDArray[np.float64]:
    """Histograms of gradients of a shaven person's face, hair and beard being no help here."""
    person = replace(sample_identity(seed), hair_style="bald", beard="none")
    appearance = sample_appearance(person, seed, expression=expression)
    scene = build_head(person, appearance, bake_quality=QUICK)
    view = scene.render(CLOSE, 96)[0].astype(float)
    grey = view[..., :3].mean(-1) * (view[..., 3] / 255)
    gradients: npt.NDArray[np.float64] = hog(
        grey[20:90, 14:82], pixels_per_cell=(8, 8), cells_per_block=(2, 2)
    )
    return gradients


@pytest.mark.slow
def test_expressions_of_people_never_seen_are_told_apart() -> None:
    names = list(EXPRESSIONS)
    truth = np.tile(np.arange(len(names)), PEOPLE)
    features = np.array([face_gradients(s, name) for s in range(PEOPLE) for name in names])
    training = np.repeat(np.arange(PEOPLE), len(names)) % 2 == 0
    mean = features[training].mean(0)
    known, unknown = features[training] - mean, features[~training] - mean
    wanted = np.eye(len(names))[truth[training]]
    ridge = known.T @ np.linalg.solve(known @ known.T + 100 * np.eye(len(known)), wanted)
    right = (unknown @ ridge).argmax(1) == truth[~training]
    assert right.mean() > 0.5  # chance is 0.11
