"""The identity term of the Gaussian network: ArcFace on rendered and on true front views."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ModelNotFound
from pipeline.portrait import alignment
from pipeline.portrait.alignment import ARCFACE_SIZE_PX, ARCFACE_TEMPLATE
from pipeline.reconstruction.images import resized
from pipeline.training.identity import FaceEmbedder

_LARGEST_PX = 256
"""Views are shrunk to this side first: the crop samples four pixels, whatever the scale."""
_TOLERANCE = 1e-3
"""Between the components of our unit vectors and onnxruntime's."""


def load_identity(path: Path) -> FaceEmbedder:
    """The embedder that ``headsplat train identity`` wrote, in torch, frozen, with gradients.

    Args:
        path: ``arcface.onnx``.

    Raises:
        ModelNotFound: there is no such file, or it is another network than `FaceEmbedder`; what
            comes out is compared with onnxruntime's result.
    """
    if not path.exists():
        raise ModelNotFound(f"there is no {path}; run headsplat train identity first")
    try:
        model = _read(path)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelNotFound(_foreign(path, str(error).splitlines()[-1].strip())) from error
    crops = torch.rand(2, 3, ARCFACE_SIZE_PX, ARCFACE_SIZE_PX, generator=torch.Generator()) * 2 - 1
    with torch.no_grad():
        ours = functional.normalize(model(crops))
    theirs = functional.normalize(torch.from_numpy(_run(path, crops.numpy())))
    if (apart := float((ours - theirs).abs().max())) > _TOLERANCE:
        raise ModelNotFound(_foreign(path, f"its vectors differ by {apart:.2g}"))
    return model


def face_transform(landmarks: npt.NDArray[np.float32], size_px: int) -> npt.NDArray[np.float32]:
    """Where ArcFace's crop of a view lies, as `torch.nn.functional.affine_grid` wants it.

    Args:
        landmarks: [5, 2] pixels of a view of ``size_px``.
        size_px: side of the view.

    Returns:
        [2, 3] float32 from coordinates of the crop to those of the view, both -1 to 1.
    """
    from_crop = alignment.invert(alignment.similarity(landmarks, ARCFACE_TEMPLATE))
    linear = from_crop[:, :2] * (ARCFACE_SIZE_PX / size_px)
    shift = linear.sum(1) + from_crop[:, 2] * (2 / size_px) - 1
    return np.concatenate([linear, shift[:, None]], 1).astype(np.float32)


def identity_distance(network: nn.Module, images: Tensor, targets: Tensor, faces: Tensor) -> Tensor:
    """1 - cosine between the faces of image pairs, with gradients to the images.

    Args:
        network: from `load_identity`.
        images: [N, 3, P, P] in [0, 1].
        targets: the same shape, of the same cameras.
        faces: [N, 2, 3] from `face_transform`; both images are cropped alike.

    Returns:
        [N], 0 where the faces are equal, at most 2.
    """
    both = torch.cat([images, targets])
    both = resized(both, min(both.shape[-1], _LARGEST_PX))
    shape = [len(both), 3, ARCFACE_SIZE_PX, ARCFACE_SIZE_PX]
    grid = functional.affine_grid(faces.repeat(2, 1, 1), shape, align_corners=False)
    crops = functional.grid_sample(both, grid, padding_mode="border", align_corners=False)
    first, second = network(2 * crops - 1).float().chunk(2)
    return 1 - functional.cosine_similarity(first, second)


def _read(path: Path) -> FaceEmbedder:
    import onnx

    graph = onnx.load(path).graph
    stored = {
        one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).astype(np.float32))
        for one in graph.initializer
    }

    def weights(kind: str) -> list[list[Tensor]]:
        """What the nodes of a kind hold, in the order of the graph."""
        nodes = [node for node in graph.node if node.op_type == kind]
        names = [[name.removesuffix(".float32") for name in node.input] for node in nodes]
        return [[stored[name] for name in row if name in stored] for row in names]

    model = FaceEmbedder(len(stored["norm.weight"]) // 8)
    [[projection]] = weights("MatMul")
    state = {name: value for name, value in stored.items() if name in model.state_dict()}
    state["project.weight"] = projection.T
    convolutions = [
        f"features.{name}"
        for name, one in model.features.named_modules()
        if isinstance(one, nn.Sequential) and isinstance(one[0], nn.Conv2d)
    ]
    for name, (weight, bias) in zip(convolutions, weights("Conv"), strict=True):
        state |= _unfolded(name, weight, bias)
    complete = model.state_dict()  # it knows its version, and norms count no batches
    if missing := complete.keys() ^ state.keys():
        raise ValueError(f"{min(missing)} is in one of the two")
    complete.update(state)
    model.load_state_dict(complete)
    return model.eval().requires_grad_(False)


def _unfolded(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A convolution into which its norm was folded, and a norm that only adds the bias."""
    one = torch.ones_like(bias)
    return {
        f"{name}.0.weight": weight,
        f"{name}.1.weight": one,
        f"{name}.1.bias": bias,
        f"{name}.1.running_mean": 0 * one,
        f"{name}.1.running_var": one - nn.BatchNorm2d(1).eps,
    }


def _run(path: Path, crops: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result: npt.NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: crops})[0]
    return result


def _foreign(path: Path, why: str) -> str:
    return (
        f"{path} is no network of headsplat train identity, the only kind that gives gradients to "
        f"pictures here: {why}"
    )
