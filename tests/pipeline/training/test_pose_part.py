"""The pose part: what it says of a crop is true, it learns, and what it exports is used."""

from pathlib import Path

import numpy as np
import torch
from drawn_heads import drawn_views
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras import look_at_origin
from pipeline.portrait.pose import MEAN_LANDMARKS, fit_pose
from pipeline.portrait.pose_network import (
    MOST_MOVED,
    PoseEstimator,
    PoseNetwork,
    Sight,
    corrected,
    from_half_widths,
)
from pipeline.training.pose import PHOTO_PX, PosePart, draw_crop, draw_photo, misframed

turns = st.tuples(st.floats(-0.3, 0.3), st.floats(-0.5, 0.5)).map(lambda p: np.exp(complex(*p)))
centres = st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)).map(lambda p: complex(*p))
sights = st.builds(
    Sight,
    st.floats(-70, 70),
    st.floats(-30, 40),
    st.tuples(turns, centres),
    st.lists(st.floats(-1, 1), min_size=10, max_size=10).map(lambda v: np.reshape(v, (5, 2))),
)


def same(a: Sight, b: Sight) -> None:
    np.testing.assert_allclose(a.to_outputs(), b.to_outputs(), atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(sights)
def test_outputs_and_mirrors_can_be_undone(sight: Sight) -> None:
    same(Sight.from_outputs(sight.to_outputs()), sight)
    same(sight.mirrored().mirrored(), sight)


@settings(max_examples=50, deadline=None)
@given(sights)
def test_the_truth_about_a_bad_crop_frames_the_photo_well(sight: Sight) -> None:
    pose = corrected(misframed(sight.framing), sight)
    wanted = np.array([[1, 0, 0], [0, 1, 0]]) / PHOTO_PX
    np.testing.assert_allclose(pose.photo_to_portrait, wanted, atol=1e-9)
    assert abs(pose.roll_deg) < 1e-6
    assert pose.yaw_deg == sight.yaw_deg


def test_the_dots_are_where_crops_say_that_the_landmarks_are() -> None:
    views = drawn_views(1, 192)
    darker = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        crop, sight = draw_crop(draw_photo(views.view(0, seed % 2), rng), rng)
        grey = crop.mean(2)
        for x, y in from_half_widths(sight.landmarks).astype(int):
            if 8 <= x < 120 and 8 <= y < 120:
                darker.append(grey[y - 8 : y + 9, x - 8 : x + 9].mean() - grey[y, x])
    assert len(darker) > 120
    assert np.mean(np.array(darker) > 0) > 0.9


def test_the_pose_network_learns_exports_and_refines(tmp_path: Path) -> None:
    views = drawn_views(2, 128)
    part = PosePart(views, views, batch_size=8, width=4)
    torch.manual_seed(0)
    model = part.build_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    values = []
    for step in range(30):
        loss = part.loss(model, part.batch(0, step % 3))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert np.mean(values[-5:]) < 0.7 * values[0]
    scores = part.evaluate(model.eval())
    assert 0 < scores["framing_error"] < 0.2
    part.export(model, tmp_path)
    photo = draw_photo(views.view(0, 0), np.random.default_rng(0))
    seen = look_at_origin(0.0, 0.0).project(MEAN_LANDMARKS, PHOTO_PX)[0]
    network = PoseNetwork(tmp_path / "pose.onnx")
    pose, landmarks = network.refine(photo.rgb, fit_pose(seen))
    assert landmarks.shape == (5, 2)
    mirrored, _ = network.refine(
        np.ascontiguousarray(photo.rgb[:, ::-1]),
        fit_pose((PHOTO_PX, 0) + seen[[1, 0, 2, 4, 3]] * (-1, 1)),
    )
    # averaged over both, the answer to a mirror image is the mirrored answer
    np.testing.assert_allclose(mirrored.yaw_deg, -pose.yaw_deg, atol=0.5)
    np.testing.assert_allclose(mirrored.elevation_deg, pose.elevation_deg, atol=0.5)


def test_a_network_that_sees_no_face_changes_nothing(tmp_path: Path) -> None:
    views = drawn_views(1, 128)
    part = PosePart(views, views, width=4)
    torch.manual_seed(0)
    part.export(part.build_model(), tmp_path / "pose")
    photo = draw_photo(views.view(0, 0), np.random.default_rng(0))
    seen = look_at_origin(0.0, 0.0).project(MEAN_LANDMARKS, PHOTO_PX)[0].astype(np.float64)
    pose, landmarks = PoseEstimator(tmp_path)(photo.rgb, seen)
    np.testing.assert_array_equal(landmarks, seen)
    assert pose.yaw_deg == fit_pose(seen).yaw_deg
    _, moved = PoseNetwork(tmp_path / "pose" / "pose.onnx").refine(photo.rgb, fit_pose(seen))
    assert np.linalg.norm(moved - seen, axis=1).mean() > MOST_MOVED * PHOTO_PX
