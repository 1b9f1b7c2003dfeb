"""`bank.safetensors`: modality means, what a background looks like to each sense, and the cohorts of other prompts.

Only the calibration half of the photographs is used, and of the composed scenes those made from it.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

import anchors
import image
import scenes
import stamps
from anchors import unit
from encoders import Encoders
from paths import SEED

MAP_FRAMES = 48
FRAMES = 192
GREY_FRAMES = 64  # thermal and depth, which are synthetic
ROUNDED_BY = 32  # frames, and as many single things
GREYS = (255, 128, 64, 190)  # plain grounds on which a single cut-out is photographed


def frames(n: int, seed: int) -> list[Image.Image]:
    """Of every eight: six scenes with one to three things, two empty ones."""
    empty = n // 4
    with_things = [picture for picture, _ in scenes.scenes("calibration", n - empty, seed)]
    without = [picture for picture, _ in scenes.scenes("calibration", empty, seed + 1, 0)]
    return with_things + without


def things() -> list[Image.Image]:
    return [s.over(GREYS[i % len(GREYS)]) for i, s in enumerate(stamps.calibration())]


def rounded_by() -> Iterator[np.ndarray]:
    """What the image encoder is fed while the int8 weights are chosen: frames and single things at the one size, every other frame at the other."""
    whole, single = frames(ROUNDED_BY, SEED + 5), things()
    for picture in whole + single[:: max(1, len(single) // ROUNDED_BY)]:
        yield image.tensor(image.center_crop(picture, image.EMBED_SIZE))
    for picture in whole[::2]:
        yield image.tensor(image.stretch(picture, image.MAP_SIZE))


def heat(seed: int, cuts: list | None = None, height: int = 120, width: int = 160) -> np.ndarray:
    """A synthetic radiometric frame in °C: cut-outs as warm, faintly textured silhouettes before a smooth scene. Not real data."""
    rng = np.random.default_rng([SEED, 1, seed])
    ground = rng.uniform(5, 25) + np.linspace(0, rng.uniform(-4, 4), height)[:, None] + np.zeros((1, width))
    for alpha, light in silhouettes(rng, cuts, height, width):
        ground = ground * (1 - alpha) + alpha * (rng.uniform(26, 37) + 3 * (light - 0.5))
    return (ground + rng.normal(0, 0.1, ground.shape)).astype(np.float32)


def distance(seed: int, cuts: list | None = None, height: int = 120, width: int = 160) -> np.ndarray:
    """A synthetic depth frame in metres: cut-outs standing on a floor; some pixels without a reading. Not real data."""
    rng = np.random.default_rng([SEED, 2, seed])
    rows = np.linspace(-1, 1, height)[:, None] + np.zeros((1, width))
    far = rng.uniform(4, 8)
    ground = np.where(rows > 0.05, np.minimum(far, rng.uniform(0.8, 1.4) / np.maximum(rows, 0.05)), far)
    for alpha, light in silhouettes(rng, cuts, height, width):
        ground = np.where(alpha > 0.5, rng.uniform(1, far) + 0.1 * (light - 0.5), ground)
    ground = ground + rng.normal(0, 0.01, ground.shape) * ground
    return np.where(rng.random(ground.shape) < 0.02, 0, ground).astype(np.float32)


def silhouettes(rng: np.random.Generator, cuts: list | None, height: int, width: int):
    """(alpha, lightness) planes of the given cut-outs, or of none, one or two of the calibration half."""
    if cuts is None:
        half = stamps.calibration()
        cuts = [half[rng.integers(len(half))] for _ in range(rng.integers(0, 3))]
    for chosen in cuts:
        cut = chosen.rgba()
        tall = int(height * rng.uniform(0.3, 0.7))
        wide = max(1, min(width - 1, cut.width * tall // cut.height))
        plane = Image.new("LA", (width, height))
        plane.paste(cut.convert("LA").resize((wide, tall), Image.BICUBIC), (int(rng.integers(0, width - wide)), int(height * 0.9) - tall))
        values = np.asarray(plane, np.float32) / 255
        yield values[..., 1], values[..., 0]


def packed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As they lie in the file: all but the means as int8, and beside each its `.scale`. A map keeps its length, a vector has unit length."""
    out = {}
    for name, rows in tensors.items():
        if name.startswith("mean.") or rows.dtype == np.int8 or name.endswith(".scale"):
            out[name] = rows
            continue
        flat = rows.reshape(len(rows), -1)
        greatest = np.abs(flat).max(1, keepdims=True)
        whole = np.rint(flat * (127 / greatest)).astype(np.int8)
        scale = greatest[:, 0] / 127 if name == "background.map" else 1 / np.linalg.norm(whole.astype(np.float64), axis=1)
        out |= {name: whole.reshape(rows.shape), f"{name}.scale": scale.astype(np.float32)}
    return out


def unpacked(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """f32 again, from what lies in the file."""
    rows = {name: t for name, t in tensors.items() if not name.endswith(".scale")}
    scaled = {n: t * tensors[f"{n}.scale"].reshape(-1, *[1] * (t.ndim - 1)) for n, t in rows.items() if t.dtype == np.int8}
    return rows | scaled


def tensors(encoders: Encoders, map_frames: int = MAP_FRAMES, n: int = FRAMES, cohort: int = 192) -> dict[str, np.ndarray]:
    """Everything that the image and text encoders give; `audio.py` and `imu.py` bring their own."""
    whole = frames(n, SEED)
    single = things()
    raw = {
        "image": np.stack([encoders.image_raw(p) for p in whole]),
        "thermal": np.stack([encoders.grey_raw(heat(i), "thermal") for i in range(min(n, GREY_FRAMES))]),
        "depth": np.stack([encoders.grey_raw(distance(i), "depth") for i in range(min(n, GREY_FRAMES))]),
    }
    raw_things = np.stack([encoders.image_raw(p) for p in single])
    raw_text = encoders.text_raw(anchors.prompts())
    # Frames and single things count alike: both whole views and crops are published with this mean.
    means = {m: unit(raw[m]).mean(0) for m in ("thermal", "depth")}
    means["image"] = (unit(raw["image"]).mean(0) + unit(raw_things).mean(0)) / 2
    means["text"] = unit(raw_text).mean(0)
    encoders.means.update(means)
    every = np.linspace(0, len(anchors.class_names()) - 1, cohort).astype(int)
    rows = {f"background.{m}": encoders.publish(m, raw[m]) for m in raw}
    rows["cohort.text"] = encoders.publish("text", raw_text[every])
    rows["cohort.image"] = encoders.publish("image", raw_things)
    out = {f"mean.{m}": v for m, v in means.items()}
    out |= {f"background.{m}": encoders.publish(m, raw[m]) for m in raw}
    out["cohort.text"] = encoders.publish("text", raw_text[every])
    out["cohort.image"] = encoders.publish("image", raw_things)
    patches = [encoders.patches(picture) for picture in frames(map_frames, SEED + 7)]
    out["background.map"] = np.stack([p.reshape(len(p), -1).T for p in patches])
    return {name: tensor.astype(np.float32) for name, tensor in out.items()}
