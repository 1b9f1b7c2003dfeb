"""Assembles a pack: exports every encoder, makes the bank, writes the manifest.

    python models/recipe/pack.py reference|tiny
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import bank
import image
import manifest
import scenes
import text
import tiny
from encoders import Encoders
from paths import DIM, REFERENCE, SEED, TINY

VERSION = "2026.11.0"
LICENCE = "Apache-2.0"


def other_senses(folder: Path, dim: int, prefix: str) -> tuple[dict, dict]:
    """Sound and motion: their sections and their bank tensors."""
    sections, tensors = {}, {}
    for modality in ("audio", "imu"):
        if importlib.util.find_spec(modality) is None or not ready(modality, prefix):
            section, made = placeholder(folder, modality, dim)
        else:
            module = importlib.import_module(modality)
            getattr(module, prefix + "export")(folder / f"{modality}.onnx")
            section = getattr(module, (prefix + "manifest").upper(), None) or module.MANIFEST
            made = getattr(module, prefix + "bank_tensors")()
        sections[modality] = dict(section)
        tensors |= {k: np.asarray(v, np.float32) for k, v in made.items()}
    return sections, tensors


def ready(modality: str, prefix: str) -> bool:
    module = importlib.import_module(modality)
    return hasattr(module, prefix + "export") and getattr(module, "READY", lambda: True)()


def placeholder(folder: Path, modality: str, dim: int) -> tuple[dict, dict]:
    from graph import Graph

    print(f"PLACEHOLDER {modality}: random weights")
    rng = np.random.default_rng(SEED)
    g = Graph(f"placeholder_{modality}")
    common = {"file": f"{modality}.onnx", "embedding": "embedding", "logit_scale": 20.0, "quantization": "w8", "validated": False, "joint_weight": 0.0}
    if modality == "audio":
        x = g.input("log_mel", [1, 1, 128, 204])
        x = g.relu6(g.conv(x, rng.normal(0, 0.3, (16, 1, 16, 12)), np.zeros(16), stride=[16, 12]))
        section = common | {
            "input": "log_mel", "sample_rate_hz": 16000, "window_secs": 2.0, "mel_bins": 128, "frame_length_ms": 25.0,
            "frame_shift_ms": 10.0, "target_frames": 204, "mean": -4.268, "std": 9.138,
        }  # fmt: skip
    else:
        x = g.reshape(g.input("imu", [1, 6, 50]), [1, 6, 1, 50])
        x = g.relu6(g.conv(x, rng.normal(0, 0.3, (16, 6, 1, 5)), np.zeros(16), stride=[1, 5]))
        section = common | {"input": "imu", "rate_hz": 10.0, "window_secs": 5.0, "mean": [0.0] * 6, "std": [1.0] * 6}
    g.output(g.reshape(g.conv(g.op("GlobalAveragePool", x), rng.normal(0, 0.3, (dim, 16, 1, 1)), np.zeros(dim)), [1, dim]), "embedding", [1, dim])
    g.save(folder / f"{modality}.onnx")
    background = rng.normal(0, 1, (32, dim)).astype(np.float32)
    background /= np.linalg.norm(background, axis=1, keepdims=True)
    made = {f"mean.{modality}": np.zeros(dim, np.float32), f"background.{modality}": background}
    return section, made | ({"cohort.audio": background[:16]} if modality == "audio" else {})


def assemble(folder: Path, name: str, dim: int, sections: dict, prefix: str, **sizes):
    sections["thermal"], sections["depth"] = manifest.grey_section(False), manifest.grey_section(True)
    other, brought = other_senses(folder, dim, prefix)
    encoders = Encoders(folder, sections)
    tensors = bank.tensors(encoders, **sizes) | brought
    save_file({k: np.ascontiguousarray(tensors[k]) for k in sorted(tensors)}, folder / "bank.safetensors")
    (folder / "bank.safetensors").chmod(0o644)
    manifest.write(folder, name, VERSION, LICENCE, dim, sections | other, tensors)
    print(name, {p.name: p.stat().st_size for p in sorted(folder.iterdir())})


def reference():
    REFERENCE.mkdir(exist_ok=True)
    image.build().save(REFERENCE / "image.onnx")
    graph, tokenizer = text.build()
    graph.save(REFERENCE / "text.onnx")
    (REFERENCE / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    sections = {
        "image": manifest.image_section(image.EMBED_SIZE, image.MAP_SIZE, image.MEAN, image.STD),
        "text": manifest.text_section(text.MAX_TOKENS),
    }
    assemble(REFERENCE, "reference", DIM, sections, "")


def tiny_pack():
    TINY.mkdir(exist_ok=True)
    sections = {
        "image": manifest.image_section(image.EMBED_SIZE, image.MAP_SIZE, image.MEAN, image.STD),
        "text": manifest.text_section(text.MAX_TOKENS),
    }
    teacher = Encoders(REFERENCE, sections)
    seen = [p for s in bank.stamps.calibration() for p in (s.over(g) for g in bank.GREYS)]
    seen += [p for p, _ in scenes.scenes("calibration", 240, SEED + 3)]
    tiny.build_image(tiny.distil_image(teacher.image_raw, seen)).save(TINY / "image.onnx")
    graph, tokenizer = tiny.build_text()
    graph.save(TINY / "text.onnx")
    (TINY / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    sections = {
        "image": manifest.image_section(tiny.EMBED_SIZE, tiny.MAP_SIZE, image.MEAN, image.STD),
        "text": manifest.text_section(tiny.MAX_TOKENS),
    }
    assemble(TINY, "tiny", tiny.DIM, sections, "tiny_", map_frames=48, n=64, cohort=64)


if __name__ == "__main__":
    {"reference": reference, "tiny": tiny_pack}[sys.argv[1]]()
