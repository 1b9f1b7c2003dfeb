"""The parts of the bundled recording: a robot looks over a meadow while things come and go.

Everything shown or heard is kept out of the pack's making (`held_out.txt`, `held_out_sounds.txt`). The camera frames are composed
of photographs, the sounds and the motion data are recordings, the thermal and depth frames are simulated from the composition.

    python models/recipe/bundled.py --deploy deploy/bundled    # the parts themselves go to models/.work/bundled_parts
"""

import argparse
import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

import bundled_sources
import imu
import scenes
import sounds
import stamps
from paths import SEED, STAMPS, WORK
from scenes import HEIGHT_PX, LANDSCAPES_IN_PACKAGE, WIDTH_PX

SECS = 24.0
CAMERA_HZ, HEAT_HZ, DEPTH_HZ, SOUND_HZ, MOTION_HZ = 5, 4, 4, 16000, 10
SMALL = (80, 60)
JPEG_QUALITY = 75
LANDSCAPE = LANDSCAPES_IN_PACKAGE + "summer/haselstein.png"
WINDOW_PX = (1440, 1080)  # of the landscape, scaled to the camera's frame; it pans from FIRST to LAST
FIRST_PX, LAST_PX = (640, 800), (980, 810)
# For the simulated depth and heat: a level plain, the horizon and focal length as shares of the frame's height.
HORIZON, FOCAL, EYE_M = 0.30, 0.72, 1.5
STAMP = stamps.PACKAGE_PREFIX


@dataclass(frozen=True)
class Thing:
    """One thing that comes into the picture, stays and leaves."""

    name: str
    in_package: str
    enters_secs: float
    leaves_secs: float
    side: str  # where it comes from and leaves to
    centre: float  # where it stands, as a share of the width
    foot: float  # where it touches the ground, as a share of the height
    height: float  # as a share of the frame's height
    surface_c: float  # surface temperature of its darkest parts
    prompt: str | None  # "audio", "text", or nothing asks for it

    def distance_m(self) -> float:
        return EYE_M * FOCAL / (self.foot - HORIZON)


THINGS = [
    Thing("sheep", STAMP + "animals/mammals/bovines/sheep.png", 1.4, 6.6, "left", 0.34, 0.93, 0.54, 22.0, "audio"),
    Thing("garbage truck", STAMP + "vehicles/garbagetruck.png", 4.8, 9.4, "right", 0.72, 0.86, 0.31, 19.0, None),
    Thing("elephant", STAMP + "animals/mammals/elephant.png", 9.0, 13.8, "left", 0.38, 0.93, 0.58, 27.0, "text"),
    Thing("cement mixer", STAMP + "household/tools/cementmixer.png", 11.8, 16.4, "right", 0.79, 0.95, 0.46, 16.0, None),
    Thing("duck", STAMP + "animals/birds/duck.png", 14.0, 18.8, "left", 0.32, 0.92, 0.54, 25.0, "audio"),
    Thing("horse", STAMP + "animals/mammals/equines/horse.png", 18.4, 22.8, "right", 0.62, 0.93, 0.54, 29.0, None),
]

# (class, from_secs, most secs, peak as a share of full scale): with the thing in the picture, and without it.
HEARD = [
    ("sheep", 2.6, 2.5, 0.5),
    ("duck", 7.0, 2.5, 0.5),
    ("sheep", 11.4, 2.5, 0.5),
    ("duck", 15.0, 2.5, 0.5),
]

# Clips that go beside the recording. No pig is ever seen or heard: its prompt must stay silent.
PROMPTS = ["sheep", "duck", "pig"]

# (activity, secs, series of the test split)
DONE = [("Standing", 8.0, 1), ("Walking", 8.0, 2), ("Running", 8.0, 1)]


@dataclass(frozen=True)
class Laid:
    """A thing in one frame: where its cut-out lies and what can be seen of it."""

    thing: Thing
    cut: Image.Image
    left: int
    top: int
    box: scenes.Box
    seen: float


def ease(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


class World:
    """What stands where at a time. Camera, heat and depth all look at the same."""

    STEP_SECS = 0.9

    def __init__(self, things: list[Thing]) -> None:
        rng = np.random.default_rng([SEED, 1])
        self.landscape = Image.open(scenes.landscapes_root() / LANDSCAPE).convert("RGB")
        self.things = things
        self.cuts = {t.name: self.prepared(t) for t in things}
        # A robot's head is never still: a slow wander of a few pixels, sampled at 20 Hz.
        steps = rng.normal(0, 1, (int(SECS * 20) + 2, 2))
        self.wander_px = lfilter([0.25], [1, -0.93], steps, axis=0)

    @staticmethod
    def prepared(thing: Thing) -> Image.Image:
        path = STAMPS / thing.in_package.removeprefix(stamps.PACKAGE_PREFIX)
        cut = stamps.Stamp(path, thing.in_package, thing.name, calibration=False).rgba()
        cut = scenes.cut_to_height(cut, round(thing.height * HEIGHT_PX))
        alpha = cut.getchannel("A")
        toned = ImageEnhance.Brightness(cut.convert("RGB")).enhance(0.97)
        toned.putalpha(alpha)
        return toned

    def shake_px(self, secs: float) -> np.ndarray:
        return self.wander_px[int(secs * 20)]

    def at(self, secs: float) -> list[Laid]:
        laid = []
        for thing in self.things:
            if not thing.enters_secs <= secs <= thing.leaves_secs:
                continue
            cut = self.cuts[thing.name]
            inside = ease((secs - thing.enters_secs) / self.STEP_SECS) * ease((thing.leaves_secs - secs) / self.STEP_SECS)
            away = -cut.width if thing.side == "left" else WIDTH_PX
            there = thing.centre * WIDTH_PX - cut.width / 2 + 6 * np.sin(0.9 * secs)
            shake = self.shake_px(secs)
            left = round(away + (there - away) * inside + shake[0])
            top = round(thing.foot * HEIGHT_PX - cut.height + 2 * np.sin(2.3 * secs) * inside + shake[1])
            x0, y0, x1, y1 = cut.getchannel("A").point(lambda a: 255 if a > 96 else 0).getbbox()
            box = (max(0, left + x0), max(0, top + y0), min(WIDTH_PX, left + x1), min(HEIGHT_PX, top + y1))
            seen = max(0, box[2] - box[0]) * max(0, box[3] - box[1]) / ((x1 - x0) * (y1 - y0))
            if seen > 0.02:
                laid.append(Laid(thing, cut, left, top, box, seen))
        return sorted(laid, key=lambda one: -one.thing.distance_m())

    def view(self, secs: float, size: tuple[int, int]) -> Image.Image:
        """The landscape alone."""
        share = ease(secs / SECS) if secs < SECS else 1.0
        shake = -self.shake_px(secs) * WINDOW_PX[0] / WIDTH_PX
        left, top = (a + (b - a) * share + s for a, b, s in zip(FIRST_PX, LAST_PX, shake))
        top = min(top, self.landscape.height - WINDOW_PX[1])
        window = (left, top, left + WINDOW_PX[0], top + WINDOW_PX[1])
        return self.landscape.resize(size, Image.Resampling.BICUBIC, window, reducing_gap=3.0)

    def mask(self, one: Laid) -> np.ndarray:
        """How much of each small pixel the thing covers."""
        whole = Image.new("L", (WIDTH_PX, HEIGHT_PX), 0)
        whole.paste(one.cut.getchannel("A"), (one.left, one.top))
        return np.asarray(whole.resize(SMALL, Image.Resampling.BOX), np.float32) / 255

    def lightness(self, one: Laid) -> np.ndarray:
        whole = Image.new("L", (WIDTH_PX, HEIGHT_PX), 0)
        whole.paste(one.cut.convert("L"), (one.left, one.top), one.cut.getchannel("A"))
        return np.asarray(whole.resize(SMALL, Image.Resampling.BOX), np.float32) / 255


def stamp_ms(secs: float) -> str:
    return f"{round(secs * 1000):09d}"


def ticks(rate_hz: int) -> list[float]:
    return [k / rate_hz for k in range(int(SECS * rate_hz))]


def camera(world: World, out: Path) -> dict[str, list[dict]]:
    out.mkdir(parents=True)
    boxes: dict[str, list[dict]] = {}
    rng = np.random.default_rng([SEED, 2])
    for secs in ticks(CAMERA_HZ):
        frame = world.view(secs, (WIDTH_PX, HEIGHT_PX))
        for one in world.at(secs):
            scenes.lay(frame, one.cut, one.left, one.top, 0.4)
            boxes.setdefault(one.thing.name, []).append({"t_secs": secs, "box": list(one.box), "seen": round(one.seen, 3)})
        exposure = 1 + rng.normal(0, 0.012)
        light = np.asarray(frame, np.float32) * exposure
        # Shot noise grows with the light, read noise does not.
        noisy = light + rng.normal(0, 1, light.shape) * np.sqrt(1.5**2 + 0.03 * light)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out / f"{stamp_ms(secs)}.jpg", quality=JPEG_QUALITY)
    return boxes


def grey16(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values.round().clip(0, 65535).astype(np.uint16)).save(path)


def below_horizon() -> np.ndarray:
    rows = (np.arange(SMALL[1]) + 0.5) / SMALL[1]
    return np.repeat((rows - HORIZON)[:, None], SMALL[0], axis=1)


def heat(world: World, out: Path) -> None:
    """Simulated long-wave frames in centikelvin: cool slopes, sunlit ground, warm bodies, the noise of a small bolometer."""
    out.mkdir(parents=True)
    rng = np.random.default_rng([SEED, 3])
    columns_k = rng.normal(0, 0.05, (1, SMALL[0]))
    for secs in ticks(HEAT_HZ):
        light = np.asarray(world.view(secs, SMALL).convert("L"), np.float32) / 255
        depth = below_horizon()
        ground_c = 13 + 5 * light + 2 * np.clip(depth, 0, 1)
        far_c = 6 + 5 * light
        scene_c = np.where(depth > 0, ground_c, far_c)
        for one in world.at(secs):
            cover, shine = world.mask(one), world.lightness(one)
            scene_c = scene_c * (1 - cover) + (one.thing.surface_c + 3 * shine) * cover
        seen_c = gaussian_filter(scene_c, 0.6) + columns_k + rng.normal(0, 0.06, scene_c.shape) + rng.normal(0, 0.03)
        grey16((seen_c + 273.15) * 100, out / f"{stamp_ms(secs)}.png")


def depths(world: World, out: Path) -> None:
    """Simulated range frames in millimetres: a ground plane, things at their distance, no reading beyond 10 m and at edges."""
    out.mkdir(parents=True)
    rng = np.random.default_rng([SEED, 4])
    reach_m = 10.0
    for secs in ticks(DEPTH_HZ):
        with np.errstate(divide="ignore"):
            range_m = np.where(below_horizon() > 0, EYE_M * FOCAL / np.maximum(below_horizon(), 1e-6), np.inf)
        edge = np.zeros(range_m.shape, bool)
        for one in world.at(secs):
            cover = world.mask(one)
            range_m = np.where(cover > 0.5, one.thing.distance_m(), range_m)
            edge |= (cover > 0.2) & (cover < 0.8)
        noisy = range_m + rng.normal(0, 1, range_m.shape) * 0.004 * np.minimum(range_m, reach_m) ** 2
        missing = (range_m > reach_m) | (edge & (rng.random(range_m.shape) < 0.5)) | (rng.random(range_m.shape) < 0.005)
        grey16(np.where(missing, 0, noisy * 1000), out / f"{stamp_ms(secs)}.png")


def heard(name: str) -> tuple[np.ndarray, str]:
    """The held-out recording of a class that is not its prompt, at full scale, and its path in its package."""
    recording = next(r for kept, role, r in sounds.demo() if (kept, role) == (name, "track"))
    wave = recording.samples()
    return wave / np.abs(wave).max(), recording.in_package


def microphone(out: Path) -> list[dict]:
    rng = np.random.default_rng([SEED, 5])
    length = int(SECS * SOUND_HZ)
    # A room's hush: low-passed noise with a little white on top, near −52 dB of full scale.
    hush = lfilter([0.04], [1, -0.96], rng.normal(0, 1, length)) * 0.012 + rng.normal(0, 0.0008, length)
    truth = []
    for name, from_secs, most_secs, peak in HEARD:
        wave, path = heard(name)
        start = int(from_secs * SOUND_HZ)
        wave = wave[: min(length - start, int(most_secs * SOUND_HZ))] * peak
        fade = SOUND_HZ // 20
        wave[-fade:] *= np.linspace(1, 0, fade)
        hush[start : start + len(wave)] += wave
        truth.append({"name": name, "from_secs": from_secs, "to_secs": round(from_secs + len(wave) / SOUND_HZ, 3), "path": path})
    soundfile.write(out, hush.clip(-1, 1), SOUND_HZ, subtype="PCM_16")
    return truth


def motion(out: Path) -> list[dict]:
    recorded, labels = imu.recordings("TEST")
    truth, start, rows = [], 0.0, []
    for label, secs, index in DONE:
        steps = round(secs * MOTION_HZ)
        # The first second of each series holds the watch's start-up transient.
        series = recorded[np.flatnonzero(labels == list(imu.ACTIVITIES).index(label))[index]].T
        rows += [[f"{start + k / MOTION_HZ:.3f}", *row] for k, row in enumerate(series[MOTION_HZ : MOTION_HZ + steps].tolist())]
        truth.append({"name": label.lower(), "from_secs": start, "to_secs": start + secs})
        start += secs
    with out.open("w", newline="") as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow("t_secs ax_mps2 ay_mps2 az_mps2 gx_radps gy_radps gz_radps".split())
        table.writerows(rows)
    return truth


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=WORK / "bundled_parts")
    arguments.add_argument("--deploy", type=Path, help="also write prompts, truth.json and SOURCES.md into this folder")
    arguments.add_argument("--without", action="append", default=[], metavar="NAME", help="leave a thing out of the picture")
    chosen = arguments.parse_args()
    world = World([thing for thing in THINGS if thing.name not in chosen.without])
    out = chosen.out
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    boxes = camera(world, out / "camera")
    heat(world, out / "thermal")
    depths(world, out / "depth")
    objects = [
        {
            "name": thing.name,
            "sensor": "camera",
            "prompt": thing.prompt,
            "path": thing.in_package,
            "from_secs": min(b["t_secs"] for b in boxes[thing.name] if b["seen"] >= 0.5),
            "to_secs": max(b["t_secs"] for b in boxes[thing.name] if b["seen"] >= 0.5),
            "boxes": boxes[thing.name],
        }
        for thing in world.things
    ]
    truth = {
        "duration_secs": SECS,
        "size_px": [WIDTH_PX, HEIGHT_PX],
        "objects": objects,
        "sounds": microphone(out / "mic.wav"),
        "motions": motion(out / "imu.csv"),
        "simulated": ["thermal", "depth"],
    }
    (out / "truth.json").write_text(json.dumps(truth) + "\n")
    if chosen.deploy:
        bundled_sources.deploy(chosen.deploy, truth, PROMPTS, LANDSCAPE, {thing.name: thing.in_package for thing in THINGS})
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
