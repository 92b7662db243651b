from pathlib import Path

import pytest

from pipeline.errors import ModelNotFound
from pipeline.model_folder import components, model_hash, resolve_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in (
        ("unet/config.json", "{}"),
        ("unet/weights.safetensors", "12345"),
        ("face/detector.onnx", "678"),
        ("evaluator/arcface.onnx", "9"),
        ("README.md", "how it was made"),
    ):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text(content)
    return tmp_path / "model"


def test_components_are_listed_with_their_sizes(model: Path) -> None:
    found = {part.name: (part.size_bytes, part.files) for part in components(model)}
    assert found == {
        "evaluator": (1, ("evaluator/arcface.onnx",)),
        "face": (3, ("face/detector.onnx",)),
        "unet": (5, ("unet/weights.safetensors",)),
    }


def test_the_hash_follows_what_makes_avatars_and_nothing_else(model: Path) -> None:
    before = model_hash(model)
    (model / "README.md").write_text("changed")
    (model / "evaluator" / "arcface.onnx").write_text("changed")
    assert model_hash(model) == before
    assert model_hash(model.rename(model.with_name("moved"))) == before
    moved = model.with_name("moved")
    (moved / "unet" / "config.json").write_text("[]")
    changed = model_hash(moved)
    assert changed != before
    (moved / "unet" / "config.json").rename(moved / "unet" / "other.json")
    assert model_hash(moved) not in (before, changed)


def test_a_folder_without_weights_is_refused(model: Path, tmp_path: Path) -> None:
    assert resolve_model(model) == model
    with pytest.raises(ModelNotFound, match="is not a folder"):
        resolve_model(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ModelNotFound, match=r"holds no \.safetensors or \.onnx"):
        resolve_model(tmp_path / "bare")
