"""LPIPS with weights of the true shapes and random values."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.nn import functional

from pipeline.errors import ModelNotFound
from pipeline.reconstruction.lpips import Lpips, load_lpips


def _write(folder: Path) -> tuple[Path, Path]:
    """Files as torchvision and the lpips package name their tensors."""
    torch.manual_seed(0)
    state = Lpips().state_dict()
    vgg = {name: value for name, value in state.items() if name.startswith("features.")}
    linear = {
        name.replace(".weight", ".model.1.weight"): value.abs()
        for name, value in state.items()
        if name.startswith("lin")
    }
    torch.save({**vgg, "classifier.0.weight": torch.zeros(2, 2)}, folder / "vgg16.pth")
    safetensors.torch.save_file(linear, folder / "lpips.safetensors")
    return folder / "vgg16.pth", folder / "lpips.safetensors"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return _write(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def lpips(files) -> Lpips:
    return load_lpips(files)


def test_it_is_vgg16(lpips):
    """Shapes and places of torchvision's VGG16 without classifier, in its published order."""
    assert sum(one.numel() for one in lpips.features.parameters()) == 14_714_688
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert [int(n.split(".")[0]) for n in lpips.features.state_dict() if "weight" in n] == places
    assert lpips.ends == [4, 9, 16, 23, 30]
    assert not any(one.requires_grad for one in lpips.parameters())


def test_equal_images_are_at_distance_0_and_others_are_not(lpips):
    images = torch.rand(2, 3, 40, 40)
    assert lpips(images, images).tolist() == [0, 0]
    near, far = (lpips(images, (images + shift).clamp(0, 1)) for shift in (0.02, 0.3))
    assert (far > near).all()
    assert (near > 0).all()


def test_a_gradient_reaches_the_images(lpips):
    images = torch.rand(1, 3, 40, 40, requires_grad=True)
    lpips(images, torch.rand(1, 3, 40, 40)).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_images_in_0_to_1_are_normalised_as_imagenets_are(lpips):
    """The network's own mean and deviation are for images in [-1, 1]."""
    seen = []
    hook = lpips.features[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    images = torch.rand(1, 3, 256, 256)
    lpips(images, images)
    hook.remove()
    torch.testing.assert_close(seen[0][0], (images[0] - mean) / deviation, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kept", "reason"), [(0, "Missing key"), (1, "Missing key")])
def test_one_file_alone_is_refused(files, kept, reason):
    with pytest.raises(ModelNotFound, match=reason):
        load_lpips(files[kept : kept + 1])


def test_other_tensors_and_damage_are_refused(files, tmp_path):
    torch.save({"stranger": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ModelNotFound, match="Unexpected key"):
        load_lpips([*files, tmp_path / "more.pth"])
    (tmp_path / "bad.pth").write_bytes(b"no")
    with pytest.raises(ModelNotFound, match=r"bad\.pth is no file of LPIPS weights"):
        load_lpips([tmp_path / "bad.pth"])
    with pytest.raises(ModelNotFound, match=r"none\.safetensors is no file of LPIPS weights"):
        load_lpips([tmp_path / "none.safetensors"])
    torch.save({"run": print}, tmp_path / "code.pth")
    with pytest.raises(ModelNotFound, match=r"code\.pth is no file of LPIPS weights"):
        load_lpips([tmp_path / "code.pth"])


def test_alexnet_is_torchvisions_and_its_distance_is_the_published_one(tmp_path):
    """Shapes of torchvision's AlexNet; the distance against the formula, step by step."""
    torch.manual_seed(1)
    model = Lpips("alex", size_px=64)
    assert sum(one.numel() for one in model.features.parameters()) == 2_469_696
    places = [0, 3, 6, 8, 10]
    assert [int(n.split(".")[0]) for n in model.features.state_dict() if "weight" in n] == places
    for name, weights in model.named_parameters():
        if name.startswith("lin"):
            weights.abs_()
    torch.save({**model.state_dict(), "classifier.1.bias": torch.zeros(2)}, tmp_path / "alex.pth")
    loaded = load_lpips([tmp_path / "alex.pth"], "alex", size_px=64)
    images, targets = torch.rand(2, 2, 3, 64, 64)
    wanted = _alex_lpips(loaded.state_dict(), images, targets)
    torch.testing.assert_close(loaded(images, targets), wanted)
    with pytest.raises(
        ModelNotFound, match=r"alex\.pth are not VGG16 and the linear layers of LPIP"
    ):
        load_lpips([tmp_path / "alex.pth"])


def _alex_lpips(weights, images, targets):
    """Zhang et al. 2018, Eq. 1, on the ReLUs of AlexNet, pair by pair and place by place."""
    strides = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    totals = []
    for pair in zip(images, targets, strict=True):
        x = [(one - mean[:, None, None]) / deviation[:, None, None] for one in pair]
        total = torch.zeros(())
        for number, (place, (stride, padding)) in enumerate(strides.items()):
            if number in (1, 2):
                x = [functional.max_pool2d(one, 3, 2) for one in x]
            name = f"features.{place}"
            kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            x = [functional.conv2d(one, kernel, bias, stride, padding).relu() for one in x]
            first, second = (one / one.norm(dim=0).clamp(min=1e-10) for one in x)
            scaled = weights[f"lin{number}.weight"][0, :, 0, 0].sqrt()[:, None, None]
            total = total + (scaled * (first - second)).norm(dim=0).square().mean()
        totals.append(total)
    return torch.stack(totals)
