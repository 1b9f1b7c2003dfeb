"""Inputs for `deploy/build-arm64`, and the comparison of what two builds made of them. Python's standard library only.

    arm64_check.py inputs FOLDER     makes one file of each sense, and FOLDER/inputs with a line MODALITY:INPUT for each
    arm64_check.py compare A B       prints the cosine of each pair of vectors; 1 when one is below 0.999
"""

import json
import math
import pathlib
import random
import struct
import sys
import wave
import zlib

LEAST_COSINE = 0.999


def png(path, width, height, depth, colour, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def make_inputs(folder):
    rng = random.Random(7)
    blobs = [(rng.random(), rng.random(), 0.05 + 0.2 * rng.random(), [rng.random() for _ in range(3)]) for _ in range(12)]

    def shade(x, y, channel):
        near = (strength[channel] * math.exp(-((x - bx) ** 2 + (y - by) ** 2) / size**2) for bx, by, size, strength in blobs)
        return min(1.0, sum(near) / 2)

    def rgb(y, width, height):
        values = (shade(x / width, y / height, c) + rng.gauss(0, 0.02) for x in range(width) for c in range(3))
        return bytes(max(0, min(255, round(255 * v))) for v in values)

    def grey16(y, width, height, low, high):
        values = (round(low + (high - low) * shade(x / width, y / height, 0)) for x in range(width))
        return b"".join(struct.pack(">H", v) for v in values)

    png(folder / "image.png", 320, 240, 8, 2, [rgb(y, 320, 240) for y in range(240)])
    # Hundredths of a kelvin around 20 to 37 °C; millimetres.
    png(folder / "thermal.png", 80, 60, 16, 0, [grey16(y, 80, 60, 29315, 31015) for y in range(60)])
    png(folder / "depth.png", 80, 60, 16, 0, [grey16(y, 80, 60, 500, 6000) for y in range(60)])
    with wave.open(str(folder / "audio.wav"), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        for n in range(2 * 16000):
            t = n / 16000
            bark = math.exp(-8 * (t % 0.5)) * math.sin(2 * math.pi * (500 + 200 * math.sin(30 * t)) * t)
            out.writeframes(struct.pack("<h", round(12000 * bark + rng.gauss(0, 300))))
    with open(folder / "imu.csv", "w", encoding="ascii") as out:
        for n in range(60):
            t = n / 10
            row = [math.sin(3 * t), math.cos(2 * t), 9.8 + rng.gauss(0, 0.3), 0.2 * math.sin(t), 0.1, rng.gauss(0, 0.05)]
            out.write(",".join(f"{v:.6f}" for v in [t, *row]) + "\n")
    senses = {s: folder / f for s, f in [("image", "image.png"), ("thermal", "thermal.png"), ("depth", "depth.png"), ("audio", "audio.wav"), ("imu", "imu.csv")]}
    lines = [f"{sense}:{path}" for sense, path in senses.items()] + ["text:a dog barks", "text:Ein roter Zug fährt über eine Brücke"]
    (folder / "inputs").write_text("\n".join(lines) + "\n", encoding="utf-8")


def compare(first, second):
    pairs = list(zip(*([json.loads(line) for line in open(path, encoding="utf-8")] for path in (first, second)), strict=True))
    least = 1.0
    for a, b in pairs:
        assert (a["file"], a["space"]) == (b["file"], b["space"]), (a["file"], b["file"])
        norms = math.hypot(*a["vector"]) * math.hypot(*b["vector"])
        cosine = sum(x * y for x, y in zip(a["vector"], b["vector"], strict=True)) / norms
        least = min(least, cosine)
        print(f"{cosine:.7f}  {a.get('modality', '')}  {pathlib.Path(a['file']).name}")
    print(f"{least:.7f}  least of {len(pairs)}")
    return 0 if pairs and least >= LEAST_COSINE else 1


if sys.argv[1] == "inputs":
    make_inputs(pathlib.Path(sys.argv[2]))
else:
    sys.exit(compare(sys.argv[2], sys.argv[3]))
