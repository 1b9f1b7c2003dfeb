"""Counting of hits, as every page of the card does it."""

import numpy as np

from audio import interval


def ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many candidates score above the true one: [n] of [n, candidates]."""
    return (scores > scores[np.arange(len(truth)), truth][:, None]).sum(1)


def share(hits: np.ndarray) -> str:
    low, high = interval(int(hits.sum()), len(hits))
    return f"{100 * hits.mean():.0f} % ({100 * low:.0f}–{100 * high:.0f})"
