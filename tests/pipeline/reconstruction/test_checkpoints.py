"""Published weights load by name and shape, whole or not at all."""

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_lgm import SMALL, on_meta, small_lgm

from pipeline.errors import ModelNotFound
from pipeline.reconstruction.checkpoints import LPIPS_PREFIX, load_checkpoint, preset_of
from pipeline.reconstruction.lgm import lgm_config

LPIPS = f"{LPIPS_PREFIX}lin0.model.1.weight"


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_checkpoint_gives_the_network_it_was_saved_from(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model = small_lgm().to(dtype)
    path = tmp_path / "recon.safetensors"
    save_file({**model.state_dict(), LPIPS: torch.zeros(3)}, path)
    again = load_checkpoint(path, SMALL)
    assert again.dtype == dtype
    assert not again.training
    inputs = torch.randn(1, 2, 9, 16, 16)
    assert torch.equal(model.float()(inputs), again.float()(inputs))


def test_a_file_of_the_published_size_is_mapped_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "model_fp16_fixrot.safetensors"
    shapes = {name: one.shape for name, one in on_meta(lgm_config("big")).state_dict().items()}
    assert len(shapes) == 376
    numbers = dict(zip(shapes, range(376), strict=True))
    half = torch.float16
    save_file({name: torch.full(shapes[name], k, dtype=half) for name, k in numbers.items()}, path)
    assert path.stat().st_size == pytest.approx(2 * 415_042_848, rel=1e-4)
    try:
        assert preset_of(path) == "big"
        before = _resident_bytes()
        state = load_checkpoint(path, lgm_config("big")).state_dict()
        assert _resident_bytes() - before < 100e6
        assert {name: int(one.max()) for name, one in state.items()} == numbers
    finally:
        path.unlink()  # pytest keeps the folder, and this is 830 MB


@pytest.mark.parametrize(
    ("preset", "first", "last"), [("tiny", 32, 128), ("small", 64, 256), ("big", 64, 128)]
)
def test_the_preset_is_told_from_two_shapes(
    tmp_path: Path, preset: str, first: int, last: int
) -> None:
    path = tmp_path / "some.safetensors"
    shapes = {"unet.conv_in.weight": (first, 9, 3, 3), "unet.conv_out.weight": (14, last, 3, 3)}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    assert preset_of(path) == preset
    with pytest.raises(
        ModelNotFound, match="does not fit the network, which has 376 tensors: 374 missing"
    ):
        load_checkpoint(path, lgm_config("big"))


def test_other_files_are_no_preset(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ModelNotFound, match=r"holds 1 tensors, but not unet\.conv_in\.weight"):
        preset_of(path)
    save_file(small_lgm().state_dict(), path)
    with pytest.raises(ModelNotFound, match=r"have \(32, 64\) channels.*tiny \(32, 128\), small"):
        preset_of(path)


def test_every_fault_is_counted_and_some_are_named(tmp_path: Path) -> None:
    state = small_lgm().state_dict()
    for name in ("bias", "weight"):
        del state[f"unet.norm_out.{name}"]
    state["conv.bias"] = torch.zeros(15)
    state["unet.conv_in.bias"] = torch.zeros(32, dtype=torch.int32)
    state |= {f"deconv.{k}": torch.zeros(1) for k in range(5)}
    path = tmp_path / "odd.safetensors"
    save_file(state, path)
    with pytest.raises(ModelNotFound) as caught:
        load_checkpoint(path, SMALL)
    count = len(on_meta(SMALL).state_dict())
    assert str(caught.value) == (
        f"{path} does not fit the network, which has {count} tensors: "
        "2 missing (unet.norm_out.bias, unet.norm_out.weight); "
        "5 unexpected (deconv.0, deconv.1, deconv.2, ...); "
        "1 misshapen (conv.bias (15,) instead of (14,)); "
        "1 not F16, BF16, F32 (unet.conv_in.bias I32). "
        "Give the file as it was published."
    )


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(small_lgm().state_dict(), path)
    with pytest.raises(ModelNotFound, match=r"model\.pt is a pickle.* give the \.safetensors file"):
        preset_of(path)
    with pytest.raises(ModelNotFound, match="is not a readable"):
        preset_of(path.rename(tmp_path / "renamed.safetensors"))


@pytest.mark.parametrize("content", [None, b"", b"not weights at all", b"truncated"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "damaged.safetensors"
    if content == b"truncated":
        save_file(small_lgm().state_dict(), path)
        content = path.read_bytes()[:-100]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelNotFound, match=re.escape(f"{path} is not a readable .safetensors")):
        load_checkpoint(path, SMALL)
