"""Composed scenes with exact boxes: photographed cut-outs on photographed landscapes.

Used to choose the map size and the recipe from map to box (calibration split) and to score them (test split). The cut-outs are
those of `stamps.py`, the landscapes the loading screens of Debian's `widelands-data`; both are split by the same rule, and what
the bundled recording shows (`held_out.txt`) is in neither split.

    python models/recipe/scenes.py --split test --n 80 --out DIR
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

import sounds
import stamps
from paths import WORK

WIDTH_PX, HEIGHT_PX = 640, 480
LANDSCAPES_IN_PACKAGE = "usr/share/games/widelands/data/templates/default/loadscreens/gameloading/"
# A goose, two lambs and oystercatchers stand in these: a scene must not hold what its truth does not name.
INHABITED = {"summer/jaegersee.png", "desert/sunsetlambs.png", "summer/austernfischer.png"}
SPLITS = {"calibration": 0, "test": 1}

Box = tuple[int, int, int, int]
Truth = list[tuple[str, str, Box]]


def landscapes_root() -> Path:
    root = WORK / "landscapes"
    if not root.is_dir():
        sounds.fetch()
        package = next(sounds.PACKAGES.glob("widelands-data_*.deb"))
        # Beside, and then at once in its place: half of them must not pass for all.
        beside = WORK / "landscapes.new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:
            subprocess.run(["tar", "x", "-C", beside, "./" + LANDSCAPES_IN_PACKAGE.rstrip("/")], stdin=unpacked.stdout, check=True)
        if unpacked.returncode != 0:
            raise RuntimeError(f"{package} could not be unpacked")
        beside.rename(root)
    return root


def landscapes(split: str) -> list[tuple[Path, str]]:
    """(file, path in package) of the landscapes of one split."""
    root, shown = landscapes_root(), stamps.held_out()
    found = []
    for path in sorted((root / LANDSCAPES_IN_PACKAGE).rglob("*.png")):
        in_package = path.relative_to(root).as_posix()
        side = "calibration" if stamps.is_calibration(in_package) else "test"
        if side == split and in_package not in shown and in_package.removeprefix(LANDSCAPES_IN_PACKAGE) not in INHABITED:
            found.append((path, in_package))
    return found


def cut_outs(split: str) -> list[stamps.Stamp]:
    return stamps.calibration() if split == "calibration" else stamps.test()


def random_crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.3, 1.0)
    width = int(share * min(picture.width, picture.height * WIDTH_PX / HEIGHT_PX))
    height = width * HEIGHT_PX // WIDTH_PX
    left, top = rng.integers(0, picture.width - width + 1), rng.integers(0, picture.height - height + 1)
    crop = picture.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC, (left, top, left + width, top + height), reducing_gap=3.0)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def wall(rng: np.random.Generator) -> Image.Image:
    """A plain lit surface: two colours, a gradient between them, blotches and grain."""
    ends = rng.uniform(40, 220, (2, 3)) * 0.4 + rng.uniform(60, 210, (2, 1)) * 0.6
    down, across = np.meshgrid(np.linspace(0, 1, HEIGHT_PX), np.linspace(0, 1, WIDTH_PX), indexing="ij")
    tilt = rng.uniform(0, 1)
    ramp = (down * tilt + across * (1 - tilt))[..., None]
    coarse = Image.fromarray(rng.normal(128, 40, (9, 12)).clip(0, 255).astype(np.uint8))
    blotches = np.asarray(coarse.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC), np.float32)[..., None] - 128
    grain = rng.normal(0, rng.uniform(2, 10), (HEIGHT_PX, WIDTH_PX, 1))
    return Image.fromarray((ends[0] + (ends[1] - ends[0]) * ramp + 0.3 * blotches + grain).clip(0, 255).astype(np.uint8))


def background(pictures: list[Image.Image], rng: np.random.Generator) -> Image.Image:
    kind = rng.random()
    if kind < 0.15:
        return wall(rng)
    ground = random_crop(pictures[rng.integers(len(pictures))], rng)
    if kind < 0.35:  # out of focus, as behind a near object
        ground = ground.filter(ImageFilter.GaussianBlur(rng.uniform(2, 8)))
    return ImageEnhance.Brightness(ground).enhance(rng.uniform(0.85, 1.2))


def cut_to_height(cut: Image.Image, height_px: int, soften_px: float = 0.6) -> Image.Image:
    """The cut-out at a height, its outline softened so that no hard edge gives it away."""
    width = max(1, round(cut.width * height_px / cut.height))
    scaled = cut.resize((width, height_px), Image.Resampling.LANCZOS)
    scaled.putalpha(scaled.getchannel("A").filter(ImageFilter.GaussianBlur(soften_px)))
    return scaled


def jitter(cut: Image.Image, rng: np.random.Generator) -> Image.Image:
    alpha = cut.getchannel("A")
    colour = ImageEnhance.Brightness(cut.convert("RGB")).enhance(rng.uniform(0.8, 1.15))
    colour = ImageEnhance.Contrast(colour).enhance(rng.uniform(0.85, 1.15))
    colour = ImageEnhance.Color(colour).enhance(rng.uniform(0.8, 1.15))
    tint = np.asarray(colour, np.float32) * rng.uniform(0.94, 1.06, 3)
    toned = Image.fromarray(tint.clip(0, 255).astype(np.uint8))
    toned.putalpha(alpha)
    return toned


def lay(ground: Image.Image, cut: Image.Image, left: int, top: int, shadow: float = 0.45) -> Box:
    """Pastes with a soft shadow at the foot; returns the box of what can be seen of it."""
    dark = Image.new("L", ground.size, 0)
    depth = max(4, cut.height // 12)
    ellipse = Image.new("L", (cut.width, 2 * depth), 0)
    ellipse.paste(int(255 * shadow), (cut.width // 12, depth // 2, cut.width - cut.width // 12, 2 * depth - depth // 2))
    dark.paste(ellipse, (left, top + cut.height - int(1.3 * depth)))
    ground.paste((8, 8, 10), (0, 0), dark.filter(ImageFilter.GaussianBlur(depth * 0.6)))
    ground.paste(cut.convert("RGB"), (left, top), cut.getchannel("A"))
    solid = cut.getchannel("A").point(lambda a: 255 if a > 96 else 0).getbbox()
    x0, y0, x1, y1 = solid
    return (max(0, left + x0), max(0, top + y0), min(ground.width, left + x1), min(ground.height, top + y1))


def overlaps(box: Box, others: list[Box]) -> bool:
    x0, y0, x1, y1 = box
    return any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in others)


def place(cut: Image.Image, taken: list[Box], rng: np.random.Generator) -> tuple[int, int, int]:
    """(height, left, top) of a free place, 25 to 60 % of the picture high."""
    for attempt in range(400):
        ceiling = 0.6 if attempt < 200 else 0.35
        height = int(HEIGHT_PX * rng.uniform(0.25, ceiling))
        height = min(height, int(0.6 * WIDTH_PX * cut.height / cut.width))
        width = max(1, round(cut.width * height / cut.height))
        left, top = int(rng.integers(0, WIDTH_PX - width + 1)), int(rng.integers(0, HEIGHT_PX - height + 1))
        if not overlaps((left, top, left + width, top + height), taken):
            return height, left, top
    raise RuntimeError("no free place")


def scene(pictures: list[Image.Image], cuts: list[stamps.Stamp], count: int, rng: np.random.Generator) -> tuple[Image.Image, Truth]:
    ground = background(pictures, rng)
    truth: Truth = []
    chosen: list[stamps.Stamp] = []
    while len(chosen) < count:
        stamp = cuts[rng.integers(len(cuts))]
        if stamp.name not in {other.name for other in chosen}:
            chosen.append(stamp)
    taken: list[Box] = []
    for stamp in chosen:
        cut = stamp.rgba()
        if rng.random() < 0.5:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        height, left, top = place(cut, taken, rng)
        box = lay(ground, jitter(cut_to_height(cut, height), rng), left, top, rng.uniform(0.2, 0.5))
        taken.append((left, top, left + cut.width * height // cut.height + 1, top + height))
        truth.append((stamp.name, stamp.in_package, box))
    pixels = np.asarray(ground, np.float32) + rng.normal(0, rng.uniform(1, 5), (HEIGHT_PX, WIDTH_PX, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), truth


def scenes(split: str, n: int, seed: int = 0, count: int | None = None, cuts: list[stamps.Stamp] | None = None) -> Iterator[tuple[Image.Image, Truth]]:
    """`n` scenes of one split; `count` things in each, or one to three. 0 gives backgrounds alone. `cuts`: others than the split's."""
    pictures = [Image.open(path).convert("RGB") for path, _ in landscapes(split)]
    cuts = cuts or cut_outs(split)
    made = index = 0
    while made < n:
        rng = np.random.default_rng([seed, SPLITS[split], index])
        index += 1
        try:
            yield scene(pictures, cuts, int(rng.integers(1, 4)) if count is None else count, rng)
        except RuntimeError:  # three wide things that do not fit: the next draw will
            continue
        made += 1


# Cut-outs of the classes of which recordings are held out, by the end of their path. What the bundled recording shows is left out.
SOUNDING = {
    "duck": ["birds/drake", "birds/duck"],
    "horse": ["equines/horse"],
    "cow": ["bovines/cow", "bovines/cow_white", "bovines/bull"],
    "sheep": ["bovines/sheep", "bovines/sheep_lamb", "bovines/ram"],
    "pig": ["mammals/pig", "mammals/pig_golden", "mammals/pig_golden2"],
    "chicken": ["birds/hen", "birds/rooster", "birds/chicken_profile"],
    "hammer": ["tools/hammer"],
    "saw": ["tools/saw"],
}


def sounding(n: int, seed: int = 0) -> Iterator[tuple[Image.Image, Truth]]:
    """Scenes of three things, one or two of them of a class with held-out recordings, named by that class; the rest of the test half."""
    shown = stamps.held_out()
    by_path = {stamp.in_package.removesuffix(".png"): stamp for stamp in stamps.load() if stamp.in_package not in shown}
    pools: dict[str, list[stamps.Stamp]] = {}
    for name, ends in SOUNDING.items():
        found = [replace(stamp, name=name) for path, stamp in by_path.items() if any(path.endswith("/" + end) for end in ends)]
        if found:
            pools[name] = found
    taken = {stamp.in_package for pool in pools.values() for stamp in pool}
    others = [stamp for stamp in cut_outs("test") if stamp.in_package not in taken]
    pictures = [Image.open(path).convert("RGB") for path, _ in landscapes("test")]
    made = index = 0
    while made < n:
        rng = np.random.default_rng([seed, 2, index])
        index += 1
        names = list(pools)
        wanted = [names[made % len(names)]]
        if rng.random() < 0.5:
            wanted.append(names[(made + int(rng.integers(1, len(names)))) % len(names)])
        chosen = [pools[name][rng.integers(len(pools[name]))] for name in wanted]
        chosen += [others[i] for i in rng.choice(len(others), 3 - len(chosen), replace=False)]
        try:
            yield scene(pictures, chosen, 3, rng)
        except RuntimeError:
            continue
        made += 1


def write(made: Iterator[tuple[Image.Image, Truth]], folder: Path) -> None:
    """JPEGs, and `truth.jsonl` with a line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "truth.jsonl").open("w") as lines:
        for index, (picture, truth) in enumerate(made):
            file = f"{index:04d}.jpg"
            picture.save(folder / file, quality=90)
            objects = [{"name": name, "path": path, "box": list(box)} for name, path, box in truth]
            lines.write(json.dumps({"file": file, "objects": objects}) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--split", choices=[*SPLITS, "sounding"], required=True)
    arguments.add_argument("--n", type=int, default=80)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--objects", type=int, choices=range(4), help="things in each scene; one to three if left out")
    arguments.add_argument("--out", type=Path, required=True)
    chosen = arguments.parse_args()
    if chosen.split == "sounding":
        made = sounding(chosen.n, chosen.seed)
    else:
        made = scenes(chosen.split, chosen.n, chosen.seed, chosen.objects)
    write(made, chosen.out)


if __name__ == "__main__":
    main()
