"""Writing trained networks as ONNX files that onnxruntime and insightface load."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LARGE = 1024
"""Elements from which a tensor is stored in half precision."""


def export_onnx(
    model: nn.Module,
    example: Tensor,
    path: Path,
    inputs: list[str],
    outputs: list[str],
    any_size: bool = False,
    any_batch: bool = False,
    half: bool = True,
) -> None:
    """Write ``model`` in evaluation mode as one ONNX file with its weights inside.

    Args:
        model: takes one tensor.
        example: an input, [B, C, H, W] float32.
        path: the file; its folder is made.
        inputs: name of the input.
        outputs: names of the outputs.
        any_size: leave height and width open.
        any_batch: leave the batch size open.
        half: store the weights in half precision, which halves the file; they are computed with in
            float32 all the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    axes: dict[int, str] = {0: "batch"} if any_batch else {}
    if any_size:
        axes |= {2: "height", 3: "width"}
    model = model.eval().float().cpu()
    silence = io.StringIO()  # the exporter prints its progress
    with warnings.catch_warnings(), redirect_stdout(silence), redirect_stderr(silence):
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        # group norm looks at its input's size, and finds nothing that a graph would depend on
        warnings.simplefilter("ignore", torch.jit._trace.TracerWarning)
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={inputs[0]: axes} if axes else None,
            opset_version=17,
            dynamo=False,
        )
    if half:
        _store_in_half_precision(path)


def _store_in_half_precision(path: Path) -> None:
    """Store a file's large tensors as float16; a node that casts one back goes before its user.

    insightface reads the first nodes of a graph to learn how it wants its pixels: a cast may not
    stand among them before the node that needs it.
    """
    import onnx

    model = onnx.load(path)
    graph, nodes, cast = model.graph, [], set[str]()
    stored = {one.name: one for one in graph.initializer}
    for node in graph.node:
        for number, name in enumerate(node.input):
            if name not in stored or not _is_large(stored[name]):
                continue
            node.input[number] = f"{name}.float32"
            if name not in cast:
                cast.add(name)
                to_float32 = onnx.helper.make_node(
                    "Cast", [name], [f"{name}.float32"], f"{name}.cast", to=onnx.TensorProto.FLOAT
                )
                nodes.append(to_float32)
        nodes.append(node)
    for name in cast:
        half = onnx.numpy_helper.to_array(stored[name]).astype(np.float16)
        stored[name].CopyFrom(onnx.numpy_helper.from_array(half, name))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)


def _is_large(tensor: Any) -> bool:
    import onnx

    return bool(tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= _LARGE)
