"""From patch map to boxes, in numpy: the reference for perceptd's `detect`, and what `evaluate_scenes.py` scores without a binary.

A cell scores how much more it resembles the prompt than it resembles other prompts of that modality (the cohort); the frame's score
is its best cell against the best cells of background frames. All constants were chosen on calibration scenes.
"""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file
from scipy.ndimage import label

from anchors import unit
from bank import unpacked
from encoders import Encoders
from paths import GOLDEN

SPREAD_FLOOR = 2.0  # of the cohort's mean spread on background cells, added to its spread at a cell: keeps cells that resemble nothing from counting
OWN_SHARE = 0.6  # of the region's likeness to the peak's own vector; the rest is the likeness to the prompt
REGION_LEVEL = 0.3
UPSAMPLING = 4
MOST_CANDIDATES = 5


@dataclass(frozen=True)
class Candidate:
    box: tuple[float, float, float, float]
    raw: float
    score: float


def threshold(p_false: float) -> float:
    """The score that the best cell of a background frame passes with this probability: Gumbel's law, fitted by moments."""
    return float(-np.log(-np.log1p(-p_false)) * np.sqrt(6) / np.pi - np.euler_gamma * np.sqrt(6) / np.pi)


def smooth(plane: np.ndarray) -> np.ndarray:
    """3 × 3, weights 1 4 1 each way, edges repeated."""
    padded = np.pad(plane, 1, mode="edge")
    across = (padded[:, :-2] + 4 * padded[:, 1:-1] + padded[:, 2:]) / 6
    return (across[:-2] + 4 * across[1:-1] + across[2:]) / 6


def upsample(plane: np.ndarray) -> np.ndarray:
    """Bilinear, half-pixel centres, edges held."""

    def places(n: int):
        at = (np.arange(n * UPSAMPLING) + 0.5) / UPSAMPLING - 0.5
        low = np.clip(np.floor(at).astype(int), 0, n - 1)
        return low, np.minimum(low + 1, n - 1), np.clip(at - low, 0, 1)

    (r0, r1, fr), (c0, c1, fc) = places(plane.shape[0]), places(plane.shape[1])
    rows = plane[r0] * (1 - fr)[:, None] + plane[r1] * fr[:, None]
    return rows[:, c0] * (1 - fc) + rows[:, c1] * fc


def relative(plane: np.ndarray, peak: tuple[int, int]) -> np.ndarray:
    """0 at the plane's median, 1 at the peak."""
    middle = np.median(plane)
    return (plane - middle) / max(plane[peak] - middle, 1e-9)


class Detector:
    def __init__(self, pack: Path):
        manifest = tomllib.loads((pack / "pack.toml").read_text())
        self.bank = unpacked(load_file(pack / manifest["bank"]["file"]))
        means = {name.removeprefix("mean."): v for name, v in self.bank.items() if name.startswith("mean.")}
        self.encoders = Encoders(pack, {name: section for name, section in manifest.items() if isinstance(section, dict)}, means)
        size = manifest["image"]["map_size"]
        rows, cols = size[0] // 32, size[1] // 32
        self.background = [m.T.reshape(-1, rows, cols) for m in self.bank["background.map"]]
        self.floors = {modality: SPREAD_FLOOR * self.mean_spread(modality) for modality in ("text", "audio")}
        self.known: dict[tuple[str, str], tuple[float, float]] = {}

    def mean_spread(self, modality: str) -> float:
        """Of the cohort's dot products, over all background cells."""
        return float(np.mean([np.tensordot(self.bank[f"cohort.{modality}"], self.centred(m), (1, 0)).std(0) for m in self.background]))

    def centred(self, patches: np.ndarray) -> np.ndarray:
        return patches - np.linalg.norm(patches, axis=0) * self.encoders.means["image"][:, None, None]

    def likeness(self, centred: np.ndarray, prompt: np.ndarray, modality: str) -> np.ndarray:
        cohort = np.tensordot(self.bank[f"cohort.{modality}"], centred, (1, 0))
        own = np.tensordot(prompt, centred, (0, 0))
        return smooth((own - cohort.mean(0)) / (cohort.std(0) + self.floors[modality]))

    def prompt(self, name: str, prompt: np.ndarray, modality: str) -> tuple[float, float]:
        """Mean and spread of the best cell over the background frames."""
        if (name, modality) not in self.known:
            best = np.array([self.likeness(self.centred(m), prompt, modality).max() for m in self.background])
            self.known[name, modality] = (float(best.mean()), float(best.std()))
        return self.known[name, modality]

    def detect(self, picture: Image.Image, patches: np.ndarray, name: str, prompt: np.ndarray, modality: str) -> list[Candidate]:
        middle, spread = self.prompt(name, prompt, modality)
        centred = self.centred(patches)
        plane = self.likeness(centred, prompt, modality)
        published = unit(unit(patches.reshape(len(patches), -1).T) - self.encoders.means["image"]) @ prompt
        free = np.ones(plane.shape, bool)
        found: list[Candidate] = []
        while free.any() and len(found) < MOST_CANDIDATES:
            peak = np.unravel_index(np.where(free, plane, -np.inf).argmax(), plane.shape)
            score = (plane[peak] - middle) / spread
            if found and score < 0:
                break
            region = self.region(centred, plane, peak, free)
            found.append(Candidate(box(region, picture.size), float(published[peak[0] * plane.shape[1] + peak[1]]), float(score)))
            free &= ~region.reshape(plane.shape[0], UPSAMPLING, plane.shape[1], UPSAMPLING).any((1, 3))
        return found

    @staticmethod
    def region(centred: np.ndarray, plane: np.ndarray, peak: tuple[int, int], free: np.ndarray) -> np.ndarray:
        """The upsampled places round the peak that resemble it and the prompt, outside of what is taken."""
        r, c = peak
        around = centred[:, max(0, r - 1) : r + 2, max(0, c - 1) : c + 2].mean((1, 2))
        own = smooth(np.tensordot(unit(around), centred, (0, 0)))
        blend = upsample(OWN_SHARE * relative(own, peak) + (1 - OWN_SHARE) * relative(plane, peak))
        blend[~np.kron(free, np.ones((UPSAMPLING, UPSAMPLING), bool))] = -1
        start = (r * UPSAMPLING + UPSAMPLING // 2, c * UPSAMPLING + UPSAMPLING // 2)
        blend[start] = 1
        regions, _ = label(blend >= REGION_LEVEL)
        return regions == regions[start]


def box(region: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    rows, cols = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    across, down = size[0] / region.shape[1], size[1] / region.shape[0]
    return (cols[0] * across, rows[0] * down, (cols[-1] + 1) * across, (rows[-1] + 1) * down)


def golden() -> dict:
    """A small case, all numbers made up, for perceptd's own test of `detect`: what goes in and what comes out."""
    rng = np.random.default_rng(7)
    dim, rows, cols, size = 8, 6, 8, (640, 480)
    round4 = lambda array: np.round(array, 4).astype(np.float64)
    mean = round4(rng.normal(0, 0.05, dim))
    cohort, prompt = round4(unit(rng.normal(size=(6, dim)))), round4(unit(rng.normal(size=dim)))
    background = [round4(rng.normal(0, 0.3, (dim, rows, cols))) for _ in range(5)]
    patches = rng.normal(0, 0.15, (dim, rows, cols))
    patches[:, 1:4, 1:4] += prompt[:, None, None] * 0.9
    patches[:, 3:6, 5:8] += prompt[:, None, None] * 0.6 + cohort[0][:, None, None] * 0.4
    patches = round4(patches)
    finder = object.__new__(Detector)
    finder.bank, finder.background, finder.known, finder.floors = {"cohort.text": cohort}, background, {}, {"text": 0.05}
    finder.encoders = type("Means", (), {"means": {"image": mean}})
    found = finder.detect(Image.new("RGB", size), patches, "golden", prompt, "text")
    middle, spread = finder.known["golden", "text"]
    return {
        "shape": [dim, rows, cols],
        "size_px": list(size),
        "mean": mean.tolist(),
        "prompt": prompt.tolist(),
        "cohort": cohort.tolist(),
        "background": [b.ravel().tolist() for b in background],
        "patches": patches.ravel().tolist(),
        "plane": finder.likeness(finder.centred(patches), prompt, "text").ravel().tolist(),
        "background_mean": middle,
        "background_std": spread,
        "threshold": {str(p): threshold(p) for p in (0.05, 0.01, 0.002)},
        "candidates": [{"box": list(c.box), "raw": c.raw, "score": c.score} for c in found],
    }


if __name__ == "__main__":
    (GOLDEN / "detect.json").write_text(json.dumps(golden()) + "\n")
