"""Assembles a pack: exports every encoder, makes the bank, writes the manifest.

    python models/recipe/pack.py reference|tiny [--senses]

`--senses` makes sound and motion again and leaves the rest as it lies in the folder.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import audio
import bank
import image
import imu
import manifest
import scenes
import text
import tiny
from encoders import Encoders
from graph import Graph
from paths import DIM, REFERENCE, SEED, TINY

VERSION = "2026.11.0"
LICENCE = "Apache-2.0"
ONLY_SENSES = "--senses" in sys.argv


def other_senses(folder: Path, prefix: str) -> tuple[dict, dict]:
    """Sound and motion: their sections and their bank tensors."""
    sections, tensors = {}, {}
    for modality, module in (("audio", audio), ("imu", imu)):
        sections[modality] = dict(module.MANIFEST)
        getattr(module, prefix + "export")(folder / sections[modality]["file"])
        tensors |= getattr(module, prefix + "bank_tensors")()
    return sections, tensors


def assemble(folder: Path, name: str, dim: int, sections: dict, prefix: str, **sizes):
    sections["thermal"], sections["depth"] = manifest.grey_section(False), manifest.grey_section(True)
    other, brought = other_senses(folder, prefix)
    seen = load_file(folder / "bank.safetensors") if ONLY_SENSES else bank.packed(bank.tensors(Encoders(folder, sections), **sizes))
    tensors = seen | bank.packed(brought)
    save_file({k: np.ascontiguousarray(tensors[k]) for k in sorted(tensors)}, folder / "bank.safetensors")
    (folder / "bank.safetensors").chmod(0o644)
    manifest.write(folder, name, VERSION, LICENCE, dim, sections | other, tensors)
    print(name, {p.name: p.stat().st_size for p in sorted(folder.iterdir())})


def save_text(folder: Path, graph: Graph, tokenizer: str):
    graph.save(folder / "text.onnx")
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def reference_sections() -> dict:
    return {
        "image": manifest.image_section(image.EMBED_SIZE, image.MAP_SIZE, image.MEAN, image.STD),
        "text": manifest.text_section(text.MAX_TOKENS),
    }


def reference():
    REFERENCE.mkdir(exist_ok=True)
    if not ONLY_SENSES:
        image.build(fed=image.seen(bank.rounded_by())).save(REFERENCE / "image.onnx")
        save_text(REFERENCE, *text.build())
    assemble(REFERENCE, "reference", DIM, reference_sections(), "")


def tiny_pack():
    TINY.mkdir(exist_ok=True)
    if not ONLY_SENSES:
        teacher = Encoders(REFERENCE, reference_sections())
        seen = [p for s in bank.stamps.calibration() for p in (s.over(g) for g in bank.GREYS)]
        seen += [p for p, _ in scenes.scenes("calibration", 240, SEED + 3)]
        tiny.build_image(tiny.distil_image(teacher.image_raw, seen)).save(TINY / "image.onnx")
        save_text(TINY, *tiny.build_text())
    sections = {
        "image": manifest.image_section(tiny.EMBED_SIZE, tiny.MAP_SIZE, image.MEAN, image.STD),
        "text": manifest.text_section(tiny.MAX_TOKENS),
    }
    assemble(TINY, "tiny", tiny.DIM, sections, "tiny_", map_frames=48, n=64, cohort=64)


if __name__ == "__main__":
    {"reference": reference, "tiny": tiny_pack}[sys.argv[1]]()
