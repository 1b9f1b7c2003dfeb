"""`pack.toml`: the manifest, the digests and the space id."""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np

ORDER = ("image", "thermal", "depth", "audio", "imu", "text")


def image_section(embed_size, map_size, mean, std) -> dict:
    return {
        "file": "image.onnx", "input": "image", "embedding": "embedding", "patches": "patches",
        "embed_size": list(embed_size), "map_size": list(map_size), "mean": list(mean), "std": list(std),
        "embed_fit": "center-crop", "map_fit": "stretch",
        "logit_scale": 20.0, "quantization": "w8", "validated": True, "joint_weight": 1.0,
    }  # fmt: skip


def grey_section(inverted: bool) -> dict:
    return {
        "kind": "grey", "low_percentile": 1.0, "high_percentile": 99.0, "inverted": inverted,
        "logit_scale": 20.0, "quantization": "w8", "validated": False, "joint_weight": 0.0,
    }  # fmt: skip


def text_section(max_tokens: int) -> dict:
    return {
        "file": "text.onnx", "tokenizer": "tokenizer.json", "input_ids": "input_ids", "attention_mask": "attention_mask",
        "embedding": "embedding", "max_tokens": max_tokens,
        "logit_scale": 20.0, "quantization": "w8", "validated": True, "joint_weight": 1.0,
    }  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def space_id(dim: int, digests: dict[str, str], bank_file: str, tensors: dict[str, np.ndarray]) -> str:
    means = hashlib.sha256()
    for name in sorted(n for n in tensors if n.startswith("mean.")):
        means.update(np.ascontiguousarray(tensors[name], "<f4").tobytes())
    lines = [f"{name} {digests[name]}\n" for name in sorted(digests) if name != bank_file]
    whole = "".join(lines) + f"means {means.hexdigest()}\n"
    return f"p{dim}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def value(v) -> str:
    return str(v).lower() if isinstance(v, bool) else json.dumps(v, ensure_ascii=False)


def table(name: str, entries: dict) -> str:
    return f"\n[{name}]\n" + "".join(f"{key} = {value(v)}\n" for key, v in entries.items())


def write(folder: Path, name: str, version: str, licence: str, dim: int, sections: dict, tensors: dict[str, np.ndarray]):
    files = {s["file"] for s in sections.values() if "file" in s} | {sections["text"]["tokenizer"], "bank.safetensors"}
    digests = {file: sha256(folder / file) for file in sorted(files)}
    head = {"format": 2, "name": name, "version": version, "licence": licence}
    out = "".join(f"{key} = {value(v)}\n" for key, v in head.items())
    out += table("space", {"dim": dim, "id": space_id(dim, digests, "bank.safetensors", tensors)})
    out += "\n[files]\n" + "".join(f'"{file}" = "{digest}"\n' for file, digest in digests.items())
    out += table("bank", {"file": "bank.safetensors", "revision": 1})
    out += "".join(table(modality, sections[modality]) for modality in ORDER if modality in sections)
    tomllib.loads(out)
    (folder / "pack.toml").write_text(out, encoding="utf-8")
