"""Builds ONNX files node by node: opset 17, batch 1, no shape computation, weights as int8 behind a per-channel DequantizeLinear.

Writing the nodes ourselves keeps out what exporters add (value_info, symbolic batches, Shape/Gather chains) and gives the same bytes
on every run.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import rounding
from rounding import Inputs

FOLDED_BYTES = 4 * 1024 * 1024  # the runtime folds a dequantized tensor below this once at load, above it at every run


class Graph:
    def __init__(self, name: str, int8: bool = True):
        self.name, self.int8 = name, int8
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.count = 0
        self.known = {}

    def input(self, name: str, shape: list, dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, shape: list):
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        self.count += 1
        result = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    def const(self, array, dtype=None) -> str:
        array = np.asarray(array, dtype=dtype or np.asarray(array).dtype)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = f"c{len(self.known)}"
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), self.known[key]))
        return self.known[key]

    def is_int8(self, int8: bool | None) -> bool:
        return self.int8 if int8 is None else int8

    def dequantized(self, whole: np.ndarray, scale: np.ndarray, axis: int) -> str:
        zero = np.zeros(scale.shape, np.int8)
        return self.op("DequantizeLinear", self.const(whole), self.const(scale), self.const(zero), axis=axis)

    def weight(self, array: np.ndarray, axis: int, int8: bool | None = None, gain: float = 1.0) -> str:
        """A weight, one scale per index of `axis`; times `gain`, which changes the scale alone so that int8 values can be shared."""
        array = np.asarray(array, np.float32)
        if not self.is_int8(int8):
            return self.const(array * np.float32(gain))
        assert array.nbytes < FOLDED_BYTES, f"{array.shape} would be dequantized at every run: split it"
        whole, scale = to_int8(array, axis)
        return self.dequantized(whole, scale * np.float32(gain), axis)

    def conv(self, x: str, weight: np.ndarray, bias: np.ndarray, stride=1, pads=(0, 0, 0, 0), group=1, int8=None, gain=1.0, fed: Inputs | None = None) -> str:
        """`fed`: what a 1×1 convolution is given, which then decides how its weights are rounded."""
        kernel = list(weight.shape[2:])
        strides = [stride] * len(kernel) if isinstance(stride, int) else list(stride)
        if fed is not None and self.is_int8(int8):
            flat = np.asarray(weight, np.float32).reshape(weight.shape[:2])
            scale = to_int8(flat, 0)[1]
            whole, missing = rounding.rounded(flat, scale, fed)
            w, bias = self.dequantized(whole.reshape(weight.shape), scale * np.float32(gain), 0), bias + missing
        else:
            w = self.weight(weight, 0, int8, gain)
        return self.op("Conv", x, w, self.const(np.multiply(bias, gain), np.float32), kernel_shape=kernel, strides=strides, pads=list(pads), group=group)

    def relu6(self, x: str) -> str:
        return self.op("Clip", x, self.const(np.float32(0)), self.const(np.float32(6)))

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray | None = None, int8=None) -> str:
        """x · weight (+ bias) with weight [in, out]."""
        product = self.op("MatMul", x, self.weight(weight, 1, int8))
        return product if bias is None else self.op("Add", product, self.const(bias, np.float32))

    def reshape(self, x: str, shape: list[int]) -> str:
        return self.op("Reshape", x, self.const(np.array(shape, np.int64)))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="perceptd models/build")
        onnx.checker.check_model(made, full_check=True)
        return made

    def save(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.model().SerializeToString(deterministic=True))


def to_int8(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric, one scale per index of `axis`; the scale that loses least in the square, of 16 around the largest value."""
    flat = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float64)
    largest = np.maximum(np.abs(flat).max(1), 1e-8)
    best, chosen = np.full(len(flat), np.inf), largest / 127
    for share in np.linspace(0.7, 1.0, 16):
        scale = largest * share / 127
        error = ((np.clip(np.rint(flat / scale[:, None]), -127, 127) * scale[:, None] - flat) ** 2).sum(1)
        chosen = np.where(error < best, scale, chosen)
        best = np.minimum(error, best)
    scale = chosen.astype(np.float32)
    shape = [1] * array.ndim
    shape[axis] = -1
    return np.clip(np.rint(array / scale.reshape(shape)), -127, 127).astype(np.int8), scale
