"""Writes `tests/golden`: small synthetic inputs, and what preprocessing and encoders of both packs make of them.

The inputs are drawn here from a fixed seed, so nobody else's rights are in them.
"""

import io
import sys
import tomllib
import wave

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

import encoders
import logmel
from encoders import Encoders, unit
from paths import GOLDEN, REFERENCE, SEED, TINY

TEXTS = (
    "dog",
    "a photo of a zebra",
    "Der Hund bellt, naïve café — 犬!",
    "  the   sound of a\tfire engine's siren  ",
    "a very long prompt that goes on and on about a small brown dog which sleeps under an old wooden table in the kitchen of a "
    "house by the sea where it rains all day and nobody ever comes to visit",
)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Gradients, ellipses with hard edges and fine grain: what a wrong filter or a shifted crop shows at once."""
    rng = np.random.default_rng([SEED, 10, seed])
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pixels = np.stack([x / width, y / height, (x + y) / (width + height)], -1) * 200
    for _ in range(7):
        cx, cy, rx, ry = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, width / 4), rng.uniform(4, height / 4)
        pixels[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = rng.uniform(0, 255, 3)
    stripes = slice(height // 3, height // 3 + height // 8)
    pixels[stripes] = np.where(((x[stripes] // 2) % 2)[..., None] > 0, 255, 0)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))


def sounds() -> dict[str, np.ndarray]:
    """PCM16 at 16 kHz: exactly a window, shorter than one, and two and a half windows with a quiet middle."""
    rng = np.random.default_rng([SEED, 11])
    rate = logmel.SAMPLE_RATE_HZ

    def seconds(n):
        return np.arange(int(n * rate)) / rate

    t = seconds(2.0)
    chirp = 0.4 * np.sin(2 * np.pi * (200 * t + 900 * t**2)) + 0.02 * rng.normal(size=len(t)) + 0.05
    t = seconds(0.7)
    bell = 0.6 * np.exp(-5 * t) * sum(np.sin(2 * np.pi * f * t) for f in (523.0, 1318.5, 2637.0)) / 3
    t = seconds(5.0)
    knocks = 0.3 * rng.normal(size=len(t)) * np.exp(-12 * (t % 0.5)) * np.where((t > 1.4) & (t < 3.6), 0.005, 1.0)
    return {n: np.clip(np.rint(s * 32767), -32768, 32767).astype("<i2") for n, s in (("chirp", chirp), ("bell", bell), ("knocks", knocks))}


def motion() -> np.ndarray:
    """[50, 6] at 10 Hz: m/s², rad/s."""
    rng = np.random.default_rng([SEED, 12])
    t = np.arange(50) / 10
    swing = np.stack([2 * np.sin(2 * np.pi * 1.5 * t), np.cos(2 * np.pi * 1.5 * t), 9.81 + 0 * t, 0.5 * np.sin(9 * t), 0.2 * np.cos(5 * t), 0 * t], 1)
    return np.round(swing + rng.normal(0, 0.1, swing.shape), 4)


def heat() -> np.ndarray:
    rng = np.random.default_rng([SEED, 13])
    y, x = np.mgrid[0:24, 0:32]
    celsius = 18 + 0.1 * y + 14 * (((x - 20) / 5) ** 2 + ((y - 14) / 7) ** 2 < 1) + rng.normal(0, 0.2, (24, 32))
    celsius[3, 5] = np.nan
    return np.round(celsius, 2)


def millimetres() -> np.ndarray:
    rng = np.random.default_rng([SEED, 14])
    y, x = np.mgrid[0:60, 0:80]
    depth = np.where(y > 32, 90000 / np.maximum(y - 20, 1), 4000) + rng.normal(0, 10, (60, 80))
    depth[((x - 30) / 9) ** 2 + ((y - 30) / 18) ** 2 < 1] = 1500
    depth[rng.random((60, 80)) < 0.03] = 0
    return depth.astype(np.uint16)


def write_inputs() -> dict:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    pictures = {"wide": picture(320, 180, 0), "tall": picture(97, 131, 1)}
    for name, made in pictures.items():
        made.save(GOLDEN / f"{name}.png", optimize=True)
    for name, samples in sounds().items():
        whole = io.BytesIO()
        with wave.open(whole, "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(logmel.SAMPLE_RATE_HZ)
            file.writeframes(samples.tobytes())
        (GOLDEN / f"{name}.wav").write_bytes(whole.getvalue())
    rows = [",".join(f"{v:g}" for v in row) for row in motion()]
    (GOLDEN / "motion.csv").write_text("acc_x_mps2,acc_y_mps2,acc_z_mps2,gyro_x_radps,gyro_y_radps,gyro_z_radps\n" + "\n".join(rows) + "\n")
    (GOLDEN / "thermal_celsius.csv").write_text("\n".join(",".join(f"{v:g}" for v in row) for row in heat()) + "\n")
    Image.fromarray(millimetres()).save(GOLDEN / "depth_millimetres.png")
    (GOLDEN / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return pictures


def readings() -> dict[str, np.ndarray]:
    """As read back from the files: thermal in °C, depth in metres."""
    return {"thermal": heat().astype(np.float32), "depth": (millimetres() / 1000).astype(np.float32)}


def of_pack(folder, pictures: dict) -> dict[str, np.ndarray]:
    manifest = tomllib.loads((folder / "pack.toml").read_text(encoding="utf-8"))
    kept = load_file(folder / "bank.safetensors")
    means = {k.removeprefix("mean."): v for k, v in kept.items() if k.startswith("mean.")}
    e = Encoders(folder, {m: manifest[m] for m in means}, means)
    out = {}
    for name, made in pictures.items():
        out[f"embed_pixels.{name}"] = np.asarray(e.pixels(made, "embed"))
        out[f"map_pixels.{name}"] = np.asarray(e.pixels(made, "map"))
        out[f"published.image.{name}"] = e.images([made])[0]
        out[f"patches.{name}"] = e.patches(made)
    for modality, reading in readings().items():
        out[f"published.{modality}"] = e.publish(modality, e.grey_raw(reading, modality))
    for name, samples in sounds().items():
        out[f"published.audio.{name}"] = e.sound(samples.astype(np.float32) / np.float32(32768)).astype(np.float32)
    out["published.imu"] = e.publish("imu", e.imu_raw(motion().T))
    for i, line in enumerate(TEXTS):
        fed = e.text.tokens(line)
        out[f"input_ids.{i}"], out[f"published.text.{i}"] = fed["input_ids"][0], e.texts([line])[0]
    return {f"{manifest['name']}.{k}": np.ascontiguousarray(v) for k, v in out.items()}


def of_front_end() -> dict[str, np.ndarray]:
    """What does not depend on a pack: log-mel in f64 of the first clip, and the grey pictures."""
    out = {}
    for name, samples in sounds().items():
        first = logmel.clips(samples.astype(np.float32) / np.float32(32768))[0]
        out[f"log_mel.{name}"] = logmel.log_mel(first)[0, 0]
    for modality, reading in readings().items():
        section = {"low_percentile": 1.0, "high_percentile": 99.0, "inverted": modality == "depth"}
        out[f"grey_pixels.{modality}"] = np.asarray(encoders.grey(reading, section))[..., 0]
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


README = """# Golden vectors

Written by `models/recipe/golden.py` (and `detector.py`); do not edit. The inputs are synthetic (drawn from a fixed seed) and carry the project's own licence.

| file | what |
|---|---|
| `wide.png` (320×180), `tall.png` (97×131) | pictures |
| `chirp.wav` (2 s), `bell.wav` (0.7 s), `knocks.wav` (5 s, quiet in the middle) | 16 kHz mono PCM16; a sample is `i16 / 32768` |
| `motion.csv` | 50 rows at 10 Hz |
| `thermal_celsius.csv` | 24×32, one `nan` |
| `depth_millimetres.png` | 60×80, 16 bit, 0 = no reading |
| `texts.txt` | a text a line (spaces at its ends belong to it) |
| `detect.json` | a case for map to boxes, written by `models/recipe/detector.py` |

`golden.safetensors`:

| tensor | what |
|---|---|
| `log_mel.<wav>` f64 [128, 204] | normalised model input of the sound's first clip, computed in f64 |
| `grey_pixels.thermal`, `grey_pixels.depth` u8 [rows, cols] | after the percentiles |
| `<pack>.embed_pixels.<png>`, `<pack>.map_pixels.<png>` u8 [height, width, 3] | resized pixels, Pillow BICUBIC |
| `<pack>.published.image.<png>`, `….audio.<wav>`, `….text.<line>`, `….thermal`, `….depth`, `….imu` f32 [dim] | published vectors, by onnxruntime |
| `<pack>.patches.<png>` f32 [dim, rows, cols] | un-normalised |
| `<pack>.input_ids.<line>` i64 [max_tokens] | tokens |

`<pack>` is `reference` or `tiny`. Expect differences of about 1e-4 from another runtime, and one step of 255 in a pixel where a resampler rounds.
"""


def main(packs):
    pictures = write_inputs()
    tensors = of_front_end()
    for folder in packs:
        tensors |= of_pack(folder, pictures)
    save_file({k: tensors[k] for k in sorted(tensors)}, GOLDEN / "golden.safetensors")
    (GOLDEN / "README.md").write_text(README, encoding="utf-8")
    print({p.name: p.stat().st_size for p in sorted(GOLDEN.iterdir())})


if __name__ == "__main__":
    main([folder for folder in (REFERENCE, TINY) if not sys.argv[1:] or folder.name in sys.argv[1:]])
