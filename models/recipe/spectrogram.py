"""What EfficientNet-Lite0's first five stages, as ImageNet left them, see in a spectrogram taken for a grey picture.

Stage five's map has 8 rows. It is pooled over time in bands of frequency, not over the whole: a photograph's dog may stand anywhere in the picture,
but a sound that is moved up in frequency is another sound.
"""

import numpy as np

import image
from graph import Graph
from rounding import Inputs

STAGES = 5
ROWS = 8
BANDS = 4
WIDTH = 2 * BANDS * image.LITE0[STAGES - 1][-1]  # of what is pooled


def pooled(g: Graph, heard: str, loudest: float, fed: list[Inputs] | None = None) -> tuple[str, image.Trunk]:
    """[1, 896, 1, 1]: each band's mean, then each band's maximum. `heard` lies within 0 and `loudest`, which become black and white."""
    trunk = image.Trunk(g, image.checkpoint(), fed)
    picture = g.op("Sub", g.op("Mul", heard, scalar(g, 2 / loudest)), scalar(g, 1.0))
    seen = trunk.stages(picture, STAGES, channels=1)
    edges = np.linspace(0, ROWS, BANDS + 1).astype(np.int64)
    bands = [g.op("Slice", seen, *(g.const(np.array([i], np.int64)) for i in (low, high, 2))) for low, high in zip(edges, edges[1:])]
    return g.op("Concat", *(g.op(kind, band) for kind in ("GlobalAveragePool", "GlobalMaxPool") for band in bands), axis=1), trunk


def scalar(g: Graph, value: float) -> str:
    return g.const(np.full((1, 1, 1, 1), value, np.float32))
