"""text.onnx and tokenizer.json: MiniLM-L6, masked mean, unit, and the smoothing over the class bank, for one text of 32 tokens.

Rows of the vocabulary that say nothing are left out and the ids renumbered, in the table and in tokenizer.json alike.
"""

import json
import math

import numpy as np
from onnx import TensorProto
from tokenizers import Tokenizer

import minilm
from anchors import SMOOTHED_SHARE, SMOOTHING_TEMPERATURE, class_matrix, class_mean
from graph import Graph, to_int8
from minilm import EPSILON, HEADS, LAYERS, MAX_TOKENS, WIDTH


def renumbered(keep) -> tuple[str, list[int]]:
    """tokenizer.json with only the tokens for which `keep(token)` holds, and the old id of each new one. `[PAD]` stays 0."""
    whole = json.loads(minilm.tokenizer().to_str())
    old = sorted((i, token) for token, i in whole["model"]["vocab"].items() if keep(token))
    new = {token: n for n, (_, token) in enumerate(old)}
    whole["model"]["vocab"] = new
    for added in whole["added_tokens"]:
        added["id"] = new[added["content"]]
    for name, special in whole["post_processor"]["special_tokens"].items():
        special["ids"] = [new[token] for token in special["tokens"]]
    whole["padding"] = whole["truncation"] = None
    assert new["[PAD]"] == 0
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")), [i for i, _ in old]


def is_used(token: str) -> bool:
    """Left out: placeholders, and the single letters of scripts that MiniLM was not taught to read."""
    return not token.startswith("[unused") and all(ord(c) < 0x250 for c in token)


def unit(g: Graph, x: str) -> str:
    """Rows of [1, 1, n] divided by their length; a product with itself needs no reduction operator."""
    square = g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1]))
    return g.op("Div", x, g.op("Sqrt", g.op("Add", square, g.const(np.float32(1e-24)))))


def gather_int8(g: Graph, ids: str, table: np.ndarray) -> str:
    """A lookup table gathered as int8, scaled after the gather: [1, tokens, width]."""
    quantized, scale = to_int8(table, 0)
    rows = g.op("Cast", g.op("Gather", g.const(quantized), ids, axis=0), to=TensorProto.FLOAT)
    return g.op("Mul", rows, g.op("Gather", g.const(scale[:, None]), ids, axis=0))


def gelu(g: Graph, x: str) -> str:
    bell = g.op("Erf", g.op("Mul", x, g.const(np.float32(1 / math.sqrt(2)))))
    return g.op("Mul", g.op("Mul", x, g.op("Add", bell, g.const(np.float32(1)))), g.const(np.float32(0.5)))


def transformer(g: Graph, ids: str, mask: str, w: dict, rows: list[int]) -> str:
    """Hidden states [1, 32, 384]; `mask` is f32 [1, 32]."""

    def norm(x, name):
        return g.op("LayerNormalization", x, g.const(w[name + ".weight"]), g.const(w[name + ".bias"]), axis=-1, epsilon=EPSILON)

    table = w["embeddings.word_embeddings.weight"][rows]
    x = gather_int8(g, ids, table) if g.int8 else g.op("Gather", g.const(table), ids, axis=0)
    place = w["embeddings.position_embeddings.weight"][:MAX_TOKENS] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(g.op("Add", x, g.const(place[None])), "embeddings.LayerNorm")
    hidden = g.op("Mul", g.op("Sub", mask, g.const(np.float32(1))), g.const(np.float32(1e4)))
    hidden = g.reshape(hidden, [1, 1, 1, MAX_TOKENS])
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."

        def dense(x, name, scale=1.0):
            return g.linear(x, w[layer + name + ".weight"].T * np.float32(scale), w[layer + name + ".bias"] * np.float32(scale))

        def heads(x, perm):
            return g.op("Transpose", g.reshape(x, [1, MAX_TOKENS, HEADS, WIDTH // HEADS]), perm=perm)

        q = heads(dense(x, "attention.self.query", 1 / math.sqrt(WIDTH // HEADS)), [0, 2, 1, 3])
        k = heads(dense(x, "attention.self.key"), [0, 2, 3, 1])
        v = heads(dense(x, "attention.self.value"), [0, 2, 1, 3])
        share = g.op("Softmax", g.op("Add", g.op("MatMul", q, k), hidden), axis=-1)
        mixed = g.reshape(g.op("Transpose", g.op("MatMul", share, v), perm=[0, 2, 1, 3]), [1, MAX_TOKENS, WIDTH])
        x = norm(g.op("Add", x, dense(mixed, "attention.output.dense")), layer + "attention.output.LayerNorm")
        wide = gelu(g, dense(x, "intermediate.dense"))
        x = norm(g.op("Add", x, dense(wide, "output.dense")), layer + "output.LayerNorm")
    return x


def masked_mean(g: Graph, x: str, mask: str) -> str:
    """[1, 1, width]: the mask as a row times the hidden states, over its sum."""
    row = g.reshape(mask, [1, 1, MAX_TOKENS])
    return g.op("Div", g.op("MatMul", row, x), g.op("MatMul", row, g.const(np.ones((1, MAX_TOKENS, 1), np.float32))))


def smoothed(g: Graph, uncentred: str) -> str:
    """As `anchors.smooth`: half itself, half the softmax-weighted classes around it."""
    own = unit(g, g.op("Sub", uncentred, g.const(class_mean()[None, None])))
    classes = g.weight(class_matrix(), 0)
    logits = g.op("MatMul", own, g.op("Transpose", classes, perm=[1, 0]))
    share = g.op("Softmax", g.op("Mul", logits, g.const(np.float32(1 / SMOOTHING_TEMPERATURE))), axis=-1)
    around = unit(g, g.op("MatMul", share, classes))
    parts = ((own, 1 - SMOOTHED_SHARE), (around, SMOOTHED_SHARE))
    return g.op("Add", *(g.op("Mul", x, g.const(np.float32(share))) for x, share in parts))


def build(int8: bool = True) -> tuple[Graph, str]:
    g = Graph("perceptd_text", int8)
    tokenizer, rows = renumbered(is_used)
    ids = g.input("input_ids", [1, MAX_TOKENS], TensorProto.INT64)
    mask = g.op("Cast", g.input("attention_mask", [1, MAX_TOKENS], TensorProto.INT64), to=TensorProto.FLOAT)
    pooled = masked_mean(g, transformer(g, ids, mask, minilm.weights(), rows), mask)
    g.output(g.reshape(smoothed(g, unit(g, pooled)), [1, WIDTH]), "embedding", [1, WIDTH])
    return g, tokenizer


class Encoder:
    """text.onnx with its tokenizer, as perceptd runs them."""

    def __init__(self, session, tokenizer: str, max_tokens: int = MAX_TOKENS):
        self.session, self.tokenizer, self.max_tokens = session, Tokenizer.from_str(tokenizer), max_tokens

    def tokens(self, text: str) -> dict[str, np.ndarray]:
        ids = self.tokenizer.encode(text).ids
        if len(ids) > self.max_tokens:
            ids = ids[: self.max_tokens - 1] + ids[-1:]
        padding = [0] * (self.max_tokens - len(ids))
        return {"input_ids": np.array([ids + padding], np.int64), "attention_mask": np.array([[1] * len(ids) + padding], np.int64)}

    def __call__(self, texts: list[str]) -> np.ndarray:
        return np.concatenate([self.session(**self.tokens(text))["embedding"] for text in texts])
