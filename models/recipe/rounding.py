"""Which int8 values stand for a 1×1 convolution's weights: those with which its outputs, on pictures, come out nearest.

Each weight is rounded in turn, and what that changes in the output is made up for by the weights that are still to be rounded
(GPTQ, Frantar et al. 2022: with H the second moment of the layer's inputs, the inverse's Cholesky factor says how). The mean of what is
left goes into the bias.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

DAMPING = 0.01  # of H's mean diagonal: GPTQ's own value
PIXELS = 2048  # of a plane that are looked at


@dataclass
class Inputs:
    """What a layer was fed: [channels] mean, [channels, channels] second moment."""

    mean: np.ndarray
    moment: np.ndarray


def seen(planes: Iterable[list[np.ndarray]]) -> list[Inputs]:
    """From the inputs [1, channels, rows, columns] of every layer in order, picture after picture."""
    total: list[Inputs] = []
    pictures = 0
    for pictures, layers in enumerate(planes, 1):
        for k, plane in enumerate(layers):
            x = plane.reshape(plane.shape[1], -1)
            x = x[:, :: -(-x.shape[1] // PIXELS)].astype(np.float64)
            mean, moment = x.mean(1), x @ x.T / x.shape[1]
            if k == len(total):
                total.append(Inputs(mean, moment))
            else:
                total[k].mean += mean
                total[k].moment += moment
    return [Inputs(t.mean / pictures, t.moment / pictures) for t in total]


def rounded(weight: np.ndarray, scale: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """(int8 of [out, in], what to add to the bias [out]) at the given scale of every output."""
    rest, scale = weight.astype(np.float64), scale.astype(np.float64)
    size = len(inputs.moment)
    damped = inputs.moment + DAMPING * np.trace(inputs.moment) / size * np.eye(size)
    upper = scipy.linalg.cholesky(np.linalg.inv(damped))
    whole = np.zeros(weight.shape, np.int8)
    for k in range(size):
        whole[:, k] = np.clip(np.rint(rest[:, k] / scale), -127, 127)
        lost = (rest[:, k] - whole[:, k] * scale) / upper[k, k]
        rest[:, k + 1 :] -= np.outer(lost, upper[k, k + 1 :])
    return whole, (weight - whole * scale[:, None]) @ inputs.mean
