"""A real network in ArcFace's layout: its embedding is the mean colour of 16 blocks of the crop."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def write_arcface(path: Path) -> Path:
    """Save the network at ``path``; crops of 112 px in, 48 numbers out."""
    pool = helper.make_node(
        "AveragePool", ["input"], ["pooled"], kernel_shape=[28, 28], strides=[28, 28]
    )
    flatten = helper.make_node("Flatten", ["pooled"], ["embedding"])
    crops = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 3, 112, 112])
    vectors = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, 48])
    graph = helper.make_graph([pool, flatten], "blocks", [crops], [vectors])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
