"""Detector, ArcFace and matting parts: targets, losses that fall, exports that load."""

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_heads import drawn_sequence, drawn_views
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.portrait.faces import FacePack
from pipeline.portrait.matting import Matting
from pipeline.training.detector import DetectorPart, anchor_grid, assign, box_overlap, iou
from pipeline.training.head_views import HeadViews
from pipeline.training.identity import (
    MARGIN,
    SCALE,
    FaceEmbedder,
    IdentityClassifier,
    IdentityPart,
    draw_crop,
    verification_scores,
)
from pipeline.training.matting import MattingPart, draw_portrait
from pipeline.training.mosaic import Mosaic, draw_mosaic, vary

SIZE_PX = 96


def mosaic_of(*boxes: tuple[float, float, float, float]) -> Mosaic:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    inner = np.linspace(0.3, 0.7, 5)[:, None]
    landmarks = corners[:, None, :2] + inner * (corners[:, 2:] - corners[:, :2])[:, None]
    none = np.zeros((0, 4), np.float32)
    rgb = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    return Mosaic(rgb, corners, landmarks.astype(np.float32), none)


def losses(part: DetectorPart | IdentityPart | MattingPart, steps: int, rate: float) -> list[float]:
    torch.manual_seed(0)
    model = part.build_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    batch, values = part.batch(0, 0), []
    for _ in range(steps):
        loss = part.loss(model, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


@settings(max_examples=60, deadline=None)
@given(st.floats(9, 90), st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.7, 1.4))
def test_every_face_has_anchors_whose_targets_decode_to_it(
    size: float, x: float, y: float, aspect: float
) -> None:
    half = size / 2 * np.array([1 / np.sqrt(aspect), np.sqrt(aspect)])
    centre = SIZE_PX * np.array([x, y])
    mosaic = mosaic_of(tuple(np.concatenate([centre - half, centre + half])))
    anchors = anchor_grid(SIZE_PX)
    targets = assign(mosaic, anchors)
    face = targets["face"]
    assert face.any()
    points, stride = anchors[face, :2], anchors[face, 2:3]
    near = points - targets["boxes"][face, :2] * stride
    far = points + targets["boxes"][face, 2:] * stride
    np.testing.assert_allclose(np.concatenate([near, far], 1) - mosaic.boxes[0], 0, atol=1e-3)
    landmarks = points[:, None] + targets["landmarks"][face].reshape(-1, 5, 2) * stride[:, None]
    np.testing.assert_allclose(landmarks - mosaic.landmarks[0], 0, atol=1e-3)


def test_the_smaller_of_two_faces_keeps_its_anchors() -> None:
    both = assign(mosaic_of((10, 10, 70, 70), (30, 30, 50, 50)), anchor_grid(SIZE_PX))
    small = both["size"][both["face"]] * anchor_grid(SIZE_PX)[both["face"], 2]
    assert {round(float(value)) for value in small} == {20, 60}


def test_ignored_boxes_weigh_nothing_and_no_face_is_all_background() -> None:
    ignored = np.array([[20, 20, 60, 60]], np.float32)
    empty = mosaic_of()
    masked = Mosaic(empty.rgb, empty.boxes, empty.landmarks, ignored)
    anchors = anchor_grid(SIZE_PX)
    assert assign(empty, anchors)["weight"].all()
    weight = assign(masked, anchors)["weight"]
    inside = ((anchors[:, :2] >= 20) & (anchors[:, :2] <= 60)).all(1)
    np.testing.assert_array_equal(weight == 0, inside)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_overlap_of_distances_is_that_of_corners(seed: int) -> None:
    a, b = np.random.default_rng(seed).uniform(0.5, 5, (2, 4)).astype(np.float32)
    overlap, generalised = box_overlap(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    corners = [np.concatenate([-d[:2], d[2:]]) for d in (a, b)]
    assert overlap.item() == pytest.approx(iou(corners[0][None], corners[1])[0], abs=1e-4)
    assert generalised.item() <= overlap.item() + 1e-6


def test_mosaics_label_faces_and_leave_out_backs_of_heads() -> None:
    views = drawn_views()
    backs = HeadViews([drawn_sequence(0)])
    rng = np.random.default_rng(0)
    labelled = [draw_mosaic(views, SIZE_PX, rng) for _ in range(12)]
    assert sum(len(one.boxes) for one in labelled) > 6
    for one in labelled:
        assert one.rgb.shape == (SIZE_PX, SIZE_PX, 3)
        centres = (one.boxes[:, :2] + one.boxes[:, 2:]) / 2
        sizes = one.boxes[:, 2:] - one.boxes[:, :2]
        assert (abs(one.landmarks.mean(1) - centres) < 0.5 * sizes).all()
    assert backs.view(0, 4).is_turned_away
    assert not backs.view(0, 4).shows_face
    assert backs.view(0, 0).shows_face


def test_variations_keep_the_labels_on_the_faces() -> None:
    drawn = (draw_mosaic(drawn_views(), SIZE_PX, np.random.default_rng(i)) for i in range(20))
    original = next(mosaic for mosaic in drawn if len(mosaic.boxes))
    seen = {False: 0, True: 0}
    for seed in range(8):
        varied = vary(original, np.random.default_rng(seed))
        is_mirrored = not np.allclose(varied.boxes, original.boxes)
        seen[is_mirrored] += 1
        if is_mirrored:
            np.testing.assert_allclose(varied.boxes[:, 0], SIZE_PX - original.boxes[:, 2])
            # the image-left eye stays the one further left
            assert (np.sign(varied.landmarks[:, 1, 0] - varied.landmarks[:, 0, 0]) > 0).all()
    assert min(seen.values()) > 0


def test_batches_repeat_for_the_same_step_whatever_came_before() -> None:
    views = drawn_views()
    fresh, used = (DetectorPart(views, views, SIZE_PX, 3, width=16) for _ in range(2))
    used.batch(0, 5)
    torch.testing.assert_close(fresh.batch(0, 28).images, used.batch(0, 28).images)


def test_the_detector_learns_and_exports_what_insightface_reads(tmp_path: Path) -> None:
    views = drawn_views()
    part = DetectorPart(views, views, SIZE_PX, batch_size=4, width=16)
    values = losses(part, 12, 5e-3)
    assert values[-1] < 0.8 * values[0]
    model = part.build_model()
    part.export(model, tmp_path)
    identity = IdentityPart(views, views, batch_size=2, width=8)
    identity.export(identity.build_model(), tmp_path)
    pack = FacePack(tmp_path)
    picture = draw_mosaic(views, 160, np.random.default_rng(1)).rgb
    assert pack.find(picture, min_score=0.99) == []
    vector = pack.embed(picture, np.array([[50, 50], [80, 50], [65, 70], [52, 90], [78, 90]]))
    assert vector.shape == (512,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_exported_scores_are_the_network_s(tmp_path: Path) -> None:
    import onnxruntime

    views = drawn_views(1)
    part = DetectorPart(views, views, SIZE_PX, batch_size=1, width=16)
    torch.manual_seed(1)
    model = part.build_model().eval()
    part.export(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "detector.onnx")
    images = torch.randn(1, 3, 64, 128)
    outputs = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        predicted = model(images)
    scores = np.concatenate(outputs[:3], 1)[..., 0]
    # weights are stored in half precision, of three digits
    np.testing.assert_allclose(scores, predicted.logits.sigmoid().numpy(), atol=5e-4)
    np.testing.assert_allclose(np.concatenate(outputs[3:6], 1), predicted.boxes, atol=5e-3)
    np.testing.assert_allclose(np.concatenate(outputs[6:], 1), predicted.landmarks, atol=5e-3)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert (tmp_path / "detector.onnx").stat().st_size < 4 * weights


def test_the_margin_is_added_to_the_true_class_s_angle_only() -> None:
    torch.manual_seed(0)
    model = IdentityClassifier(FaceEmbedder(8), torch.randn(5, 512)).eval()
    crops, labels = torch.randn(3, 3, 112, 112), torch.tensor([0, 3, 1])
    with torch.no_grad():
        logits = model(crops, labels)
        unit = nn.functional.normalize
        cosines = unit(model.embedder(crops)) @ unit(model.directions).T
    angles = cosines.acos()
    expected = SCALE * torch.cos(angles + MARGIN * nn.functional.one_hot(labels, 5))
    torch.testing.assert_close(logits, expected, atol=1e-2, rtol=1e-3)


def test_the_arcface_part_learns() -> None:
    views = drawn_views(3)
    values = losses(IdentityPart(views, views, batch_size=4, width=8), 10, 5e-3)
    assert values[-1] < 0.8 * values[0]


def test_verification_scores_of_a_perfect_and_a_blind_network() -> None:
    labels = np.repeat(np.arange(5), 4)
    perfect = (labels[:, None] == labels).astype(np.float32)
    assert verification_scores(perfect, labels)["verification_auc"] == 1
    noise = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    assert 0.3 < verification_scores(noise + noise.T, labels)["verification_auc"] < 0.7


def test_crops_hold_the_face_where_the_template_wants_it() -> None:
    view = drawn_views(1, 256).view(0, 0)
    crops = np.stack([draw_crop(view, np.random.default_rng(seed)) for seed in range(24)])
    assert crops.shape == (24, 112, 112, 3)
    grey = crops.mean((0, 3))
    eye, cheek = grey[50:53, 36:41].mean(), grey[58:62, 20:26].mean()
    assert eye < cheek - 20  # the dark dots stay at the eyes through all that a camera does


def test_matting_targets_lie_inside_the_photo_and_on_the_bust() -> None:
    view = drawn_views(1, 192).view(0, 0)
    for seed in range(8):
        photo, alpha = draw_portrait(view, np.random.default_rng(seed))
        assert photo.shape == (192, 192, 4)
        assert not alpha[photo[..., 3] == 0].any()
        assert 0.1 < (alpha > 127).mean() < 0.6


def test_the_matting_network_learns_and_exports(tmp_path: Path) -> None:
    views = drawn_views(2, 192)
    part = MattingPart(views, views, batch_size=2, width=8)
    values = losses(part, 14, 5e-3)
    assert values[-1] < 0.75 * values[0]
    part.export(part.build_model(), tmp_path)
    framed = np.full((256, 256, 4), 255, np.uint8)
    framed[:, :40] = 0
    cut = Matting(tmp_path / "matting.onnx").cut_out(framed)
    assert cut.shape == (256, 256, 4)
    assert not cut[:, :40].any()
