"""The identity term: the exported network in torch, and what it says of faces."""

import numpy as np
import onnxruntime
import pytest
import torch
from drawn_heads import drawn_views
from tiny_arcface import write_arcface
from tiny_gaussians import SIZE_PX, small_part
from tiny_heads import write_heads

from pipeline.errors import ModelNotFound
from pipeline.images import to_signed
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.alignment import ARCFACE_TEMPLATE, arcface_crop, similarity
from pipeline.training.gaussian_presets import GaussianConfig
from pipeline.training.gaussians import GaussianPart
from pipeline.training.identity import IdentityPart
from pipeline.training.identity_loss import face_transform, identity_distance, load_identity

ARCFACE = EMBEDDED / "face" / "arcface.onnx"


@pytest.fixture(scope="module")
def network():
    return load_identity(ARCFACE)


def _face(seed: int, size_px: int = 200) -> np.ndarray:
    """A smooth picture, so that a crop of it hardly depends on how it is sampled."""
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (size_px,) * 2, mode="bicubic")
    return (fine[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("folder", ["face", "evaluator"])
def test_it_is_the_network_that_was_exported(folder):
    path = EMBEDDED / folder / "arcface.onnx"
    crops = torch.rand(5, 3, 112, 112) * 2 - 1
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: crops.numpy()})[0]
    np.testing.assert_allclose(load_identity(path)(crops).numpy(), theirs, atol=1e-4)


def test_a_network_of_another_width_comes_back_too(tmp_path):
    part = IdentityPart(drawn_views(), drawn_views(), batch_size=8, width=8)
    model = part.build_model()
    batch = part.batch(0, 0)
    model(batch.crops, batch.labels)  # its norms learn means
    part.export(model, tmp_path)
    expected = model.eval().embedder(batch.crops)
    assert (load_identity(tmp_path / "arcface.onnx")(batch.crops) - expected).abs().max() < 1e-2


def test_other_networks_and_no_network_are_refused(tmp_path):
    with pytest.raises(ModelNotFound, match="run headsplat train identity first"):
        load_identity(tmp_path / "arcface.onnx")
    with pytest.raises(ModelNotFound, match="no network of headsplat train identity"):
        load_identity(write_arcface(tmp_path / "other" / "arcface.onnx"))


def test_a_network_that_computes_something_else_is_refused(tmp_path):
    import onnx

    model = onnx.load(ARCFACE)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute[0].f = 0.5  # epsilon, which no tensor shows
    onnx.save(model, tmp_path / "arcface.onnx")
    with pytest.raises(ModelNotFound, match="its vectors differ by"):
        load_identity(tmp_path / "arcface.onnx")


def test_the_crop_is_that_of_the_pipeline(network):
    image = _face(0)
    turn = np.array([[0.9, -0.2], [0.2, 0.9]])
    landmarks = (ARCFACE_TEMPLATE @ turn.T + 40).astype(np.float32)
    assert 0.6 < np.sqrt(np.linalg.det(similarity(landmarks, ARCFACE_TEMPLATE)[:, :2])) < 1.5
    crop = to_signed(arcface_crop(image, landmarks)[None])
    theta = torch.from_numpy(face_transform(landmarks, len(image)))[None]
    grid = torch.nn.functional.affine_grid(theta, [1, 3, 112, 112], align_corners=False)
    ours = torch.nn.functional.grid_sample(
        to_signed(image[None]), grid, padding_mode="border", align_corners=False
    )
    assert (ours - crop).abs().max() < 0.05


def test_equal_faces_are_at_distance_0_and_the_gradient_is_in_the_face(network):
    images = torch.from_numpy(np.stack([_face(1), _face(2)])).permute(0, 3, 1, 2).float() / 255
    landmarks = (ARCFACE_TEMPLATE * 0.5 + 20).astype(np.float32)
    faces = torch.from_numpy(np.stack([face_transform(landmarks, 200)] * 2))
    assert identity_distance(network, images, images, faces).abs().max() < 1e-5
    shown = images.clone().requires_grad_()
    distance = identity_distance(network, shown, images.flip(0), faces)
    assert (distance > 0.1).all()
    distance.sum().backward()
    assert shown.grad[:, :, 20:76, 20:76].abs().max() > 0
    assert shown.grad[:, :, 80:].abs().max() == 0
    assert all(one.grad is None for one in network.parameters())


def test_the_term_counts_front_views_alone(network, tmp_path):
    small = small_part(write_heads(tmp_path, (0, 9), SIZE_PX))
    part = GaussianPart(
        small.train,
        small.held_out,
        GaussianConfig(targets=17, id_weight=0.5),
        network=small.network,
        identity=network,
    )
    batch = part.batch(0, 0)
    assert batch.shows_face.sum() == 4  # at -22.5, 0, 22.5 and the photo-like view at 20 degrees
    with torch.no_grad():
        terms = part.loss(part.build_model(), batch)
    total = terms["color"] + terms["alpha"] + 0.2 * terms["structure"] + 0.5 * terms["identity"]
    assert float(terms["loss"]) == pytest.approx(float(total))
    assert 0 < float(terms["identity"]) < 2
    batch.shows_face[:] = False
    with torch.no_grad():
        assert float(part.loss(part.build_model(), batch)["identity"]) == 0
