"""The encoders of a pack as perceptd runs them: preprocessing by the manifest, then the model, then (with means) the published vector.

Reads only what `pack.toml` and the files beside it say, so that a mistake there shows here too.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import image
import logmel
from anchors import unit
from ort import Session
from text import Encoder

FITS = {"center-crop": image.center_crop, "stretch": image.stretch}


def grey(reading: np.ndarray, section: dict) -> Image.Image:
    """A radiometric or depth frame as a grey picture: percentiles to 0 and 255."""
    valid = np.isfinite(reading) & ((reading != 0) if section["inverted"] else True)
    if not valid.any():
        return Image.fromarray(np.zeros(reading.shape, np.uint8)).convert("RGB")
    low, high = np.percentile(reading[valid].astype(np.float64), [section["low_percentile"], section["high_percentile"]])
    share = (np.where(valid, reading, low).astype(np.float64) - low) / max(high - low, 1e-12)
    share = 1 - share if section["inverted"] else share
    pixels = np.rint(np.clip(share, 0, 1) * 255) * valid
    return Image.fromarray(pixels.astype(np.uint8)).convert("RGB")


class Encoders:
    def __init__(self, folder: Path, manifest: dict, means: dict[str, np.ndarray] | None = None):
        self.manifest, self.means = manifest, means or {}
        self.sessions = {m: Session(folder / s["file"]) for m, s in manifest.items() if "input" in s or "input_ids" in s}
        section = manifest["text"]
        self.text = Encoder(self.sessions["text"], (folder / section["tokenizer"]).read_text(encoding="utf-8"), section["max_tokens"])

    def publish(self, modality: str, raw: np.ndarray) -> np.ndarray:
        return unit(unit(raw) - self.means[modality]).astype(np.float32)

    def pixels(self, picture: Image.Image, use: str) -> Image.Image:
        """`use` is `embed` or `map`: the resized u8 pixels that the model is fed."""
        section = self.manifest["image"]
        return FITS[section[f"{use}_fit"]](picture, section[f"{use}_size"])

    def fed(self, pixels: Image.Image) -> np.ndarray:
        section = self.manifest["image"]
        x = np.asarray(pixels, np.float32) / np.float32(255)
        x = (x - np.float32(section["mean"])) / np.float32(section["std"])
        return np.ascontiguousarray(x.transpose(2, 0, 1)[None].astype(np.float32))

    def image_raw(self, picture: Image.Image) -> np.ndarray:
        return self.sessions["image"](image=self.fed(self.pixels(picture, "embed")))["embedding"][0]

    def patches(self, picture: Image.Image) -> np.ndarray:
        """[dim, rows, cols], un-normalised."""
        return self.sessions["image"](image=self.fed(self.pixels(picture, "map")))["patches"][0]

    def grey_raw(self, reading: np.ndarray, modality: str) -> np.ndarray:
        return self.image_raw(grey(reading, self.manifest[modality]))

    def text_raw(self, texts: list[str]) -> np.ndarray:
        return self.text(texts)

    def audio_raw(self, samples: np.ndarray) -> np.ndarray:
        """[clips, dim] of one sound at 16 kHz."""
        return np.concatenate([self.sessions["audio"](log_mel=logmel.log_mel(c).astype(np.float32))["embedding"] for c in logmel.clips(samples)])

    def imu_raw(self, window: np.ndarray) -> np.ndarray:
        """[dim] of [6, T]."""
        section = self.manifest["imu"]
        x = (window - np.array(section["mean"])[:, None]) / np.array(section["std"])[:, None]
        return self.sessions["imu"](imu=x[None].astype(np.float32))["embedding"][0]

    def images(self, pictures: list[Image.Image]) -> np.ndarray:
        return self.publish("image", np.stack([self.image_raw(p) for p in pictures]))

    def texts(self, texts: list[str]) -> np.ndarray:
        return self.publish("text", self.text_raw(texts))

    def sound(self, samples: np.ndarray) -> np.ndarray:
        return unit(self.publish("audio", self.audio_raw(samples)).mean(0))
