"""Fine-tuning of ArcFace on expression times identity."""

import numpy as np
import pytest
import torch
from drawn_heads import drawn_views

from pipeline.errors import ModelNotFound
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.faces import FaceEmbedder as OnnxEmbedder
from pipeline.training.identity import IdentityPart
from pipeline.training.identity_loss import load_identity
from pipeline.training.loop import TrainOptions, train

FACES = ("neutral", "laugh")
OPTIONS = TrainOptions(
    steps=20, learning_rate=1e-4, warmup_steps=1, ema_decay=0.5, bf16=False, threads=1
)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    views = drawn_views(2, expressions=FACES)
    part = IdentityPart(views, views, batch_size=8, width=8)
    model = part.build_model()
    model(part.batch(0, 0).crops, part.batch(0, 0).labels)  # its norms learn means
    part.export(model.eval(), folder)
    return folder / "arcface.onnx"


def test_classes_are_people_or_their_expressions():
    views = drawn_views(3, expressions=FACES)
    people, faces = (
        IdentityPart(views, views, width=8, classes=one) for one in ("identity", "expression")
    )
    assert people.build_model().directions.shape == (3, 512)
    assert faces.build_model().directions.shape == (6, 512)
    assert set(faces.batch(0, 0).labels.tolist()) == set(range(6))
    assert set(people.batch(0, 0).labels.tolist()) == set(range(3))


def test_it_starts_as_the_network_it_starts_from_and_keeps_its_norms(pretrained):
    views = drawn_views(2, expressions=FACES)
    part = IdentityPart(views, views, width=8, classes="expression", start_from=pretrained)
    model = part.build_model().train()
    crops = part.batch(0, 0).crops[:4]
    expected = load_identity(pretrained)(crops)
    torch.testing.assert_close(model.embedder(crops), expected)
    assert not any(one.training for one in model.embedder.modules())
    assert all(one.requires_grad for one in model.parameters())
    torch.testing.assert_close(model.directions.norm(dim=1), torch.ones(4))
    with pytest.raises(ModelNotFound, match="run headsplat train identity first"):
        IdentityPart(views, views, start_from=pretrained.with_name("other.onnx")).build_model()


def test_fine_tuning_keeps_the_expression_and_exports_what_the_pipeline_loads(tmp_path):
    views = drawn_views(2, expressions=FACES)
    start = EMBEDDED / "face" / "arcface.onnx"
    part = IdentityPart(views, views, batch_size=12, classes="expression", start_from=start)
    before = part.evaluate(part.build_model().eval())
    after = train(part, tmp_path / "run", OPTIONS, tmp_path / "face")
    assert after["expression_auc"] > before["expression_auc"] + 0.05, (before, after)
    assert after["verification_auc"] > before["verification_auc"] - 0.02
    image = np.ascontiguousarray(views.sequences[0].rgba[0, ..., :3])
    vector = OnnxEmbedder(tmp_path / "face").embed(image, views.sequences[0].landmarks[0])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    load_identity(tmp_path / "face" / "arcface.onnx")
