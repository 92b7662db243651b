"""Writing trained networks as ONNX files that onnxruntime and insightface load."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from torch import Tensor, nn


def export_onnx(
    model: nn.Module,
    example: Tensor,
    path: Path,
    inputs: list[str],
    outputs: list[str],
    any_size: bool = False,
    any_batch: bool = False,
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
