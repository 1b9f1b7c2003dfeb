"""The motion encoder: a small 1-D convolution net over five seconds of accelerometer and gyroscope, trained towards the names of activities.

Data: BasicMotions (a student project: four people, a smart watch, five recordings of each of four activities), which PyPI's `aeon`
carries. 10 Hz, ten seconds a recording. Its units are not documented; we believe them to be m/s² without gravity and rad/s: at rest
the acceleration is near zero on all axes and running reaches 29, too much for g; the largest rate of turn is 34.87, which is 1998
degrees a second when read as rad/s, the limit of a ±2000 °/s gyroscope. The values are used as they are.
"""

import hashlib
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import anchors
import audio
from graph import Graph
from ort import Session
from paths import DIM, SEED, WORK

AEON = "aeon==1.6.0"
RATE_HZ, WINDOW, AXES = 10.0, 50, 6
GRAVITY_MPS2 = 9.80665
# activity in the data: names whose text vectors are averaged into the anchor
ACTIVITIES = {
    "Walking": ["walking", "a person walking"],
    "Running": ["running", "a person running"],
    "Standing": ["standing still", "a person standing still"],
    "Badminton": ["playing badminton", "a person playing badminton"],
}
STEPS, BATCH, NOTHING_PER_BATCH = 700, 64, 12
BACKGROUND_WINDOWS = 256
# Typical magnitudes, so that both sensors enter the net at the order of one.
CHANNEL_STD = [6.0, 6.0, 6.0, 2.5, 2.5, 2.5]
MANIFEST = {
    "file": "imu.onnx",
    "input": "imu",
    "embedding": "embedding",
    "rate_hz": RATE_HZ,
    "window_secs": WINDOW / RATE_HZ,
    "mean": [0.0] * AXES,
    "std": CHANNEL_STD,
    "logit_scale": 1 / audio.TEMPERATURE,
    "quantization": "w8",
    "validated": True,
    "joint_weight": 0.5,
}


@cache
def wheel() -> Path:
    """aeon's wheel as a plain archive: neither it nor what it depends on is installed."""
    folder = WORK / "wheels"
    found = sorted(folder.glob("aeon-*.whl"))
    if not found:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder, AEON], check=True)
        found = sorted(folder.glob("aeon-*.whl"))
    return found[-1]


@cache
def recordings(part: str) -> tuple[np.ndarray, np.ndarray]:
    """([n, 6, 100] in m/s² and rad/s, [n] class number) of the official `TRAIN` or `TEST` split."""
    with zipfile.ZipFile(wheel()) as archive:
        lines = archive.read(f"aeon/datasets/data/BasicMotions/BasicMotions_{part}.ts").decode().splitlines()
    rows = [line.split(":") for line in lines if line and line[0] not in "#@"]
    motion = np.array([[[float(v) for v in axis.split(",")] for axis in row[:-1]] for row in rows])
    return motion, np.array([list(ACTIVITIES).index(row[-1]) for row in rows])


def windows(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Every window that starts on a whole second."""
    motion, labels = recordings(part)
    starts = range(0, motion.shape[2] - WINDOW + 1, int(RATE_HZ))
    return np.concatenate([motion[:, :, s : s + WINDOW] for s in starts]), np.tile(labels, len(starts))


def rotation(rng: np.random.Generator) -> np.ndarray:
    """Uniform over all orientations."""
    q = rng.standard_normal(4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def with_gravity(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a plain accelerometer would have measured it, held in some direction."""
    down = rng.standard_normal(3)
    out = window.copy()
    out[:3] += (GRAVITY_MPS2 * down / np.linalg.norm(down))[:, None]
    return out


def augmented(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[6, 50] from [6, 100]: another pace, strength, wearing position; with and without gravity."""
    pace = np.exp(rng.uniform(-0.12, 0.12))
    length = min(WINDOW * pace, motion.shape[1] - 1)
    at = rng.uniform(0, motion.shape[1] - 1 - length) + np.linspace(0, length, WINDOW)
    x = np.stack([np.interp(at, np.arange(motion.shape[1]), axis) for axis in motion])
    turned = rotation(rng) if rng.random() < 0.7 else np.eye(3)
    x = np.concatenate([turned @ x[:3], turned @ x[3:]]) * np.exp(rng.normal(0, 0.12))
    x[3:] *= np.exp(rng.normal(0, 0.1))
    x += rng.normal(0, 1, x.shape) * np.array([0.15] * 3 + [0.03] * 3)[:, None]
    return with_gravity(x, rng) if rng.random() < 0.5 else x


def nothing(rng: np.random.Generator) -> np.ndarray:
    """Motion that is none of the activities: a machine's hum, being carried or turned, bumps, a dead or saturated sensor. Synthetic."""
    t = np.arange(WINDOW) / RATE_HZ
    x = rng.normal(0, 1, (AXES, WINDOW)) * np.array([0.05] * 3 + [0.01] * 3)[:, None]
    kind = rng.integers(6)
    if kind == 0:  # vibration
        x += rng.normal(0, 1, (AXES, WINDOW)) * np.array([rng.uniform(0.3, 4)] * 3 + [rng.uniform(0.05, 0.6)] * 3)[:, None]
    elif kind == 1:  # slow turning
        x[3:] += rng.normal(0, 1.0, (3, 1)) * np.sin(2 * np.pi * (rng.uniform(0.03, 0.25) * t + rng.random()))
        x[:3] += rng.normal(0, 2.5, (3, 1)) * np.sin(2 * np.pi * (rng.uniform(0.03, 0.25) * t + rng.random()))
    elif kind == 2:  # a bump or two
        for _ in range(rng.integers(1, 4)):
            shape = np.exp(-np.abs(t - rng.uniform(0, 5)) / rng.uniform(0.05, 0.2))
            x += rng.normal(0, 1, (AXES, 1)) * np.array([12.0] * 3 + [2.0] * 3)[:, None] * shape
    elif kind == 3:  # driving: low-frequency random motion
        walk = np.cumsum(rng.normal(0, 1, (AXES, WINDOW)), 1)
        walk -= np.linspace(0, 1, WINDOW) * walk[:, -1:]
        x += walk * np.array([rng.uniform(0.1, 0.6)] * 3 + [rng.uniform(0.01, 0.1)] * 3)[:, None]
    elif kind == 4:  # a constant reading
        x = np.repeat(rng.normal(0, 1, (AXES, 1)) * np.array([10.0] * 3 + [2.0] * 3)[:, None], WINDOW, 1)
    else:  # a steady swing, too slow or too fast for a person
        rate_hz = rng.choice([rng.uniform(0.1, 0.4), rng.uniform(3.6, 4.9)])
        x += rng.normal(0, 1, (AXES, 1)) * np.array([5.0] * 3 + [1.5] * 3)[:, None] * np.sin(2 * np.pi * (rate_hz * t + rng.random((AXES, 1))))
    return with_gravity(x, rng) if rng.random() < 0.5 else x


class Encoder(nn.Module):
    def __init__(self, channels, dim: int):
        super().__init__()
        self.strides = [1] + [2] * (len(channels) - 1)
        self.convs = nn.ModuleList(
            nn.Conv1d(i, o, 5, s, 2, bias=False) for i, o, s in zip((AXES, *channels[:-1]), channels, self.strides)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(o) for o in channels)
        self.head = nn.Linear(2 * channels[-1], dim)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x)))
        return self.head(torch.cat([x.mean(2), x.amax(2)], 1))

    def graph(self, int8: bool) -> Graph:
        """As 2-D convolutions of height one, which every runtime does well."""
        graph = Graph("imu", int8)
        x = graph.reshape(graph.input("imu", [1, AXES, WINDOW]), [1, AXES, 1, WINDOW])
        for conv, norm, stride in zip(self.convs, self.norms, self.strides):
            scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy()
            weight = conv.weight.detach().double().numpy()[:, :, None] * scale[:, None, None, None]
            bias = norm.bias.detach().double().numpy() - norm.running_mean.double().numpy() * scale
            x = graph.op("Relu", graph.conv(x, weight, bias, (1, stride), (0, 2, 0, 2)))
        pooled = graph.op("Concat", graph.op("GlobalAveragePool", x), graph.op("GlobalMaxPool", x), axis=1)
        dim = self.head.out_features
        # A 1×1 convolution, not a MatMul: onnxruntime quantizes the activations of a MatMul behind DequantizeLinear, tract does not.
        raw = graph.conv(pooled, self.head.weight.detach().numpy()[:, :, None, None], self.head.bias.detach().numpy())
        graph.output(graph.reshape(raw, [1, dim]), "embedding", [1, dim])
        return graph


def class_anchors(text_vectors=anchors.text_vectors) -> np.ndarray:
    return np.stack([anchors.unit(text_vectors(names).mean(0)) for names in ACTIVITIES.values()]).astype(np.float32)


def _fed(batch: np.ndarray) -> np.ndarray:
    return (batch / np.array(CHANNEL_STD)[:, None]).astype(np.float32)


def train(channels, targets: np.ndarray, nowhere: np.ndarray, steps: int) -> Encoder:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    motion, labels = recordings("TRAIN")
    of_class = [motion[labels == c] for c in range(len(ACTIVITIES))]
    encoder = Encoder(channels, targets.shape[1])
    aims = torch.from_numpy(np.concatenate([targets, nowhere[None]]))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    mean = torch.zeros(targets.shape[1])
    for step in range(steps):
        y = np.concatenate([rng.integers(len(ACTIVITIES), size=BATCH - NOTHING_PER_BATCH), np.full(NOTHING_PER_BATCH, len(ACTIVITIES))])
        drawn = [nothing(rng) if c == len(ACTIVITIES) else augmented(of_class[c][rng.integers(len(of_class[c]))], rng) for c in y]
        raw = F.normalize(encoder(torch.from_numpy(_fed(np.stack(drawn)))), dim=1)
        with torch.no_grad():
            momentum = min(audio.MEAN_MOMENTUM, step / (step + 1))
            mean = momentum * mean + (1 - momentum) * raw.mean(0)
        published = F.normalize(raw - mean, dim=1)
        y = torch.from_numpy(y)
        own = (published * aims[y]).sum(1)
        loss = F.cross_entropy(published @ aims.T / audio.TEMPERATURE, y) + audio.REGRESSION_WEIGHT * (1 - own).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder.eval()


def _trained(kind: str, channels: tuple[int, ...], text_vectors, matrix: np.ndarray, steps: int) -> Encoder:
    """Trains, or reads what the same code made before."""
    targets, nowhere = class_anchors(text_vectors), audio.least_named(matrix)
    code = Path(__file__).read_text().split("# ---- " + "export")[0]
    path = WORK / "imu" / f"{kind}-{hashlib.sha256(code.encode()).hexdigest()[:16]}.pt"
    return audio.remembered(path, Encoder(channels, targets.shape[1]), targets, lambda: train(channels, targets, nowhere, steps))


def shipped() -> Encoder:
    return _trained("shipped", (48, 96, 128, 192), anchors.text_vectors, anchors.class_matrix(), STEPS)


def tiny() -> Encoder:
    import tiny as tiny_space

    return _trained("tiny", (8, 16, 24), tiny_space.text_vectors, tiny_space.project(anchors.class_matrix()), 200)


# ---- export


def export(path: Path) -> None:
    shipped().graph(int8=True).save(Path(path))


def tiny_export(path: Path) -> None:
    tiny().graph(int8=True).save(Path(path))


def _session(encoder: Encoder, int8: bool = True) -> Session:
    return Session(encoder.graph(int8).model().SerializeToString())


def outputs(session: Session, batch: np.ndarray) -> np.ndarray:
    """[n, dim] unit outputs, not centred."""
    return anchors.unit(np.stack([session(imu=_fed(window)[None])["embedding"][0] for window in batch]))


def _calibration() -> np.ndarray:
    """In training's proportions, from the training split."""
    rng = np.random.default_rng(SEED + 1)
    motion, _ = recordings("TRAIN")
    moves = [augmented(m, rng) for m in motion for _ in range(6)]
    return np.stack(moves + [nothing(rng) for _ in range(len(moves) * NOTHING_PER_BATCH // (BATCH - NOTHING_PER_BATCH))])


def _bank_tensors(encoder: Encoder) -> dict[str, np.ndarray]:
    session = _session(encoder)
    mean = outputs(session, _calibration()).mean(0)
    rng = np.random.default_rng(SEED + 2)
    background = np.stack([nothing(rng) for _ in range(BACKGROUND_WINDOWS)])
    return {
        "mean.imu": mean.astype(np.float32),
        "background.imu": anchors.unit(outputs(session, background) - mean).astype(np.float32),
    }


def bank_tensors() -> dict[str, np.ndarray]:
    return _bank_tensors(shipped())


def tiny_bank_tensors() -> dict[str, np.ndarray]:
    return _bank_tensors(tiny())


# ---- figures


def evaluate(encoder: Encoder, int8: bool = True, gravity: bool = False) -> dict:
    session = _session(encoder, int8)
    bank = _bank_tensors(encoder)
    batch, labels = windows("TEST")
    rng = np.random.default_rng(SEED + 3)
    if gravity:
        batch = np.stack([with_gravity(w, rng) for w in batch])
    vectors = anchors.unit(outputs(session, batch) - bank["mean.imu"])
    scores, text = vectors @ class_anchors().T, class_anchors()
    thresholds = np.quantile(bank["background.imu"] @ text.T, 0.95, axis=0)
    return {
        "windows": len(labels), "recordings": len(labels) // 6,
        "right": int((scores.argmax(1) == labels).sum()),
        "own_cosine": float(scores[np.arange(len(labels)), labels].mean()),
        "above_background": float((scores[np.arange(len(labels)), labels] > thresholds[labels]).mean()),
        "vectors": vectors,
    }


def card() -> str:
    encoder = shipped()
    plain, heavy = evaluate(encoder), evaluate(encoder, gravity=True)
    full = evaluate(encoder, int8=False)
    cosine = (plain["vectors"] * full["vectors"]).sum(1)

    def row(name, r):
        low, high = audio.interval(r["right"], r["windows"])
        return f"| {name} | {r['right']} of {r['windows']} = {100 * r['right'] / r['windows']:.0f} % ({100 * low:.0f}–{100 * high:.0f}) | 25 % | {100 * r['above_background']:.0f} % |"

    return "\n".join([
        "## Motion",
        "",
        f"A 1-D convolution net ({sum(p.numel() for p in encoder.parameters()) / 1e3:.0f} k parameters) from five seconds of six axes at 10 Hz to the text vectors of four activities.",
        "Data: BasicMotions, in PyPI's `aeon` (BSD-3-Clause): four people with a smart watch, walking, running, standing, playing badminton. Its units are",
        "undocumented; we believe m/s² without gravity and rad/s (see `recipe/imu.py`). Trained on the official training split, turned, and half the time with gravity",
        "added, since most accelerometers measure it.",
        "",
        f"| official test split, windows of 5 s ({plain['recordings']} recordings) | right activity (95 % interval, windows taken as independent) | chance | above 95 % of synthetic background |",
        "|---|---|---|---|",
        row("as recorded", plain),
        row("with gravity added in a random direction", heavy),
        "",
        f"int8 weights against f32: centred cosine {cosine.mean():.4f} on average, {cosine.min():.4f} at worst; right {plain['right']} against {full['right']} windows.",
        "The four people are in both splits, so this says nothing about a fifth; other activities, other places on the body and a robot's own motion were not measured.",
        "The motion background is synthetic (vibration, turning, bumps). It is a demonstration, not general activity recognition.",
    ])


if __name__ == "__main__":
    print(card())
