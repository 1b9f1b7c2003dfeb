"""The tiny pack's image and text encoders: the reference pack's, distilled in a minute or two into less than one million multiplications.

Its space is the reference's, projected on the 64 directions in which the classes differ most. It is for tests in which accuracy is
not judged: different things give different vectors, like things like ones, and no more is promised.
"""

from functools import cache

import numpy as np
import torch

import anchors
import stamps
import text as reference_text
from graph import Graph
from image import MEAN, STD
from paths import SEED, WORK

DIM = 64
EMBED_SIZE, MAP_SIZE = [64, 64], [96, 128]
CHANNELS = (6, 16, 32, 64, 88)  # after each stride of 2
STRIDE_PADS = (0, 0, 1, 1)  # TensorFlow's SAME on even sizes, as the reference trunk
MAX_TOKENS = 16


@cache
def projection() -> np.ndarray:
    """[384, 64] orthonormal: the principal directions of the class matrix."""
    _, _, rows = np.linalg.svd(anchors.class_matrix().astype(np.float64), full_matrices=False)
    # The sign of a singular vector is arbitrary: fix it, so that every run gives the same space.
    rows = rows[:DIM] * np.sign(rows[:DIM][np.arange(DIM), np.abs(rows[:DIM]).argmax(1)])[:, None]
    return rows.T.astype(np.float32)


def project(vectors: np.ndarray) -> np.ndarray:
    return anchors.unit(vectors @ projection())


def text_vectors(texts: list[str]) -> np.ndarray:
    """[n, 64] published: where a tiny encoder of another sense should land."""
    return project(anchors.text_vectors(texts))


def kept_tokens() -> set[str]:
    """Pieces that the class names, the cut-outs' names and plain English prompts are made of, and every single letter."""
    t = reference_text.minilm.tokenizer()
    said = anchors.prompts() + [s.name for s in stamps.load()] + list(PLAIN)
    pieces = {piece for line in said for piece in t.encode(line).tokens}
    letters = {chr(c) for c in range(33, 127)}
    return pieces | {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} | letters | {"##" + c for c in letters}


PLAIN = (
    "the a an of in on at with and or near behind no not by from to is are",
    "person people man woman child face hand street road tree light window door wall floor table room kitchen garden sky grass",
    "sound of a barking dog meowing cat ringing bell horn siren alarm engine hammering sawing fire water rain wind train traffic crowd",
    "someone talking singing laughing clapping walking running standing sitting falling resting badminton",
    "red green blue yellow black white brown small big old broken open closed burning moving at night day",
    "robot machine smoke glass breaking gun shot knock footsteps thunder baby crying bird chirping rooster cow sheep horse pig duck goat",
)


def text_batches() -> list[str]:
    names = anchors.class_names() + [s.name for s in stamps.load() if s.calibration] + PLAIN[1].split() + list(PLAIN[2:])
    return names + [frame.format(n) for n in names for frame in ("a photo of a {}", "the sound of a {}", "a {} in the room")]


def distil_text(rows: list[int], tokenizer: str) -> np.ndarray:
    """[vocabulary, 64]: a vector a token, so that their mean points where the reference encoder's text does."""
    target = torch.from_numpy(project(anchors.unit(anchors.smooth(anchors.minilm().encode(text_batches()).numpy()))))
    encoder = reference_text.Encoder(None, tokenizer, MAX_TOKENS)
    fed = [encoder.tokens(line) for line in text_batches()]
    ids = torch.from_numpy(np.concatenate([f["input_ids"] for f in fed]))
    mask = torch.from_numpy(np.concatenate([f["attention_mask"] for f in fed]).astype(np.float32))
    torch.manual_seed(SEED)
    table = torch.nn.Parameter(0.05 * torch.randn(len(rows), DIM))
    steps = torch.optim.Adam([table], lr=0.02)
    for step in range(600):
        chosen = torch.randint(len(ids), (512,))
        mean = (table[ids[chosen]] * mask[chosen][..., None]).sum(1) / mask[chosen].sum(1, keepdim=True)
        loss = 1 - torch.nn.functional.cosine_similarity(mean, target[chosen]).mean() + 1e-3 * table.square().mean()
        steps.zero_grad(), loss.backward(), steps.step()
    print(f"tiny text: 1 - cosine {loss.item():.3f} on what it was distilled on")
    return table.detach().numpy()


def build_text() -> tuple[Graph, str]:
    keep = kept_tokens()
    tokenizer, rows = reference_text.renumbered(lambda token: token in keep)
    g = Graph("perceptd_tiny_text")
    ids = g.input("input_ids", [1, MAX_TOKENS], reference_text.TensorProto.INT64)
    given = g.input("attention_mask", [1, MAX_TOKENS], reference_text.TensorProto.INT64)
    mask = g.op("Cast", given, to=reference_text.TensorProto.FLOAT)
    x = reference_text.gather_int8(g, ids, distil_text(rows, tokenizer))
    row = g.reshape(mask, [1, 1, MAX_TOKENS])
    mean = g.op("Div", g.op("MatMul", row, x), g.op("MatMul", row, g.const(np.ones((1, MAX_TOKENS, 1), np.float32))))
    g.output(g.reshape(mean, [1, DIM]), "embedding", [1, DIM])
    return g, tokenizer


class Trunk(torch.nn.Module):
    """Stride 32 by five separable stages; then a 1×1 head as in the reference, linear because there is no classifier."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, CHANNELS[0], 3, 2)
        pairs = list(zip(CHANNELS, CHANNELS[1:]))
        self.deep = torch.nn.ModuleList(torch.nn.Conv2d(a, a, 3, 2, groups=a) for a, _ in pairs)
        self.wide = torch.nn.ModuleList(torch.nn.Conv2d(a, b, 1) for a, b in pairs)
        self.norm = torch.nn.ModuleList(torch.nn.BatchNorm2d(c) for c in CHANNELS)
        self.head = torch.nn.Conv2d(CHANNELS[-1], DIM, 1)

    def features(self, x):
        def padded(x):
            return torch.nn.functional.pad(x, (0, 1, 0, 1))

        x = torch.nn.functional.relu6(self.norm[0](self.stem(padded(x))))
        for deep, wide, norm in zip(self.deep, self.wide, self.norm[1:]):
            x = torch.nn.functional.relu6(norm(wide(deep(padded(x)))))
        return x

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3), keepdim=True)).flatten(1)


def distil_image(teacher, pictures: list) -> Trunk:
    """`teacher(picture) -> [384]` raw outputs; a student sees `pictures` at 80×80, in random crops of 64×64."""
    target = torch.from_numpy(project(anchors.unit(np.stack([teacher(p) for p in pictures]))))
    target = torch.nn.functional.normalize(target, dim=1)
    x = torch.from_numpy(np.stack([np.asarray(p.resize((80, 80)), np.float32) for p in pictures]) / 255)
    x = ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).contiguous()
    torch.manual_seed(SEED)
    student = Trunk()
    steps = torch.optim.AdamW(student.parameters(), lr=4e-3, weight_decay=1e-2)
    total = 1500
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(steps, total)
    for step in range(total):
        chosen = torch.randint(len(x), (32,))
        top, left = torch.randint(0, 17, (2,)).tolist()
        batch = x[chosen][:, :, top : top + 64, left : left + 64]
        batch = batch.flip(3) if step % 2 else batch
        out = torch.nn.functional.normalize(student(batch), dim=1)
        like = out @ target[chosen].T / 0.1
        loss = (1 - (out * target[chosen]).sum(1)).mean() + 0.3 * torch.nn.functional.cross_entropy(like, torch.arange(32))
        steps.zero_grad(), loss.backward(), steps.step(), decay.step()
    print(f"tiny image: loss {loss.item():.3f} on what it was distilled on")
    return student.eval()


def build_image(student: Trunk) -> Graph:
    g = Graph("perceptd_tiny_image")

    def fused(conv, norm):
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
        bias = norm.bias.detach().numpy() + (conv.bias.detach().numpy() - norm.running_mean.numpy()) * scale
        return conv.weight.detach().numpy() * scale[:, None, None, None], bias

    x = g.relu6(g.conv(g.input("image", [1, 3, "height", "width"]), *fused(student.stem, student.norm[0]), stride=2, pads=STRIDE_PADS))
    for deep, wide, norm in zip(student.deep, student.wide, student.norm[1:]):
        weight = deep.weight.detach().numpy()
        x = g.conv(x, weight, deep.bias.detach().numpy(), 2, STRIDE_PADS, group=len(weight), int8=False)
        x = g.relu6(g.conv(x, *fused(wide, norm)))
    weight, bias = student.head.weight.detach().numpy(), student.head.bias.detach().numpy()
    g.output(g.reshape(g.conv(g.op("GlobalAveragePool", x), weight, bias), [1, DIM]), "embedding", [1, DIM])
    g.output(g.conv(x, weight, bias), "patches", [1, DIM, "rows", "cols"])
    return g


def multiplications(height: int, width: int) -> int:
    """Per run of image.onnx at a size, both outputs."""
    cells, total, inputs = height * width, 0, 3
    for stage, out in enumerate(CHANNELS):
        cells //= 4
        total += cells * (out * inputs * 9 if stage == 0 else inputs * 9 + inputs * out)
        inputs = out
    return total + (cells + 1) * inputs * DIM


if __name__ == "__main__":
    print("image", multiplications(*EMBED_SIZE), "map", multiplications(*MAP_SIZE), "of 1,000,000; tokens", len(kept_tokens()))
