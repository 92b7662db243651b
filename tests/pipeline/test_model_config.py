import pytest

from pipeline.errors import ModelNotFound
from pipeline.model_config import INDEX, ModelConfig, StageConfig


def test_saved_config_is_loaded_again(tmp_path):
    config = ModelConfig(highres=StageConfig(size_px=512, steps=25, guidance=2.5))
    config.save(tmp_path)
    assert ModelConfig.load(tmp_path) == config


@pytest.mark.parametrize("text", ["", "{}", '{"lowres": {"size": 1}}', "[1]"])
def test_damaged_index_is_named(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ModelNotFound, match=INDEX):
        ModelConfig.load(tmp_path)
