"""The pack's figures again, asked the way in which packs of this kind are often reported: plain nouns, a choice between the boxes that
are there, fifteen sound classes at a time. Easier than the card's own tests, of the same pack; `evaluate.py` runs it.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import hypergeom

import anchors
import audio
import evaluate_scenes
import image
import scenes
import sounds
import stamps
from anchors import unit
from encoders import Encoders
from paths import REFERENCE
from tallies import ranks, share

WORDS = 3
SOUND_CLASSES = 15
SCENES = 160

# A thing cut out of a photograph, by the folder and by what is opaque: how many pixels, of how many colours, how much of the picture.
NOT_THINGS = {"symbols", "roadsigns", "flags", "seasonal", "people", "space", "naturalforces"}
LEAST_PIXELS = 2000
COLOURS_PER_PIXEL = 0.01
OPAQUE_SHARE = (0.2, 0.95)


def is_thing(stamp: stamps.Stamp) -> bool:
    if NOT_THINGS & set(Path(stamp.in_package).parts) or "cartoon" in stamp.in_package or not 0 < len(stamp.name.split()) <= WORDS:
        return False
    rgba = np.asarray(Image.open(stamp.path).convert("RGBA"))
    opaque = rgba[..., 3] > 128
    colours = len(np.unique(rgba[opaque][:, :3], axis=0))
    least, most = OPAQUE_SHARE
    return least < opaque.mean() < most and opaque.sum() >= LEAST_PIXELS and colours > COLOURS_PER_PIXEL * opaque.sum()


@cache
def nouns() -> list[stamps.Stamp]:
    """Cut-outs of both halves and of the bundled recording, named by the last word of a short description. More pass than in `stamps.load`."""
    return [replace(stamp, name=stamp.name.split()[-1]) for stamp in stamps.described() if is_thing(stamp)]


def tested() -> list[stamps.Stamp]:
    """Of these, what was not calibrated on."""
    shown = stamps.held_out()
    return [stamp for stamp in nouns() if not stamp.calibration or stamp.in_package in shown]


def named(full: Encoders) -> tuple[list[str], np.ndarray]:
    """By the pack in f32: the published vectors, and beside them what there would be without the head, plain names and nothing centred.

    Also the published vectors' ranks of all cut-outs."""
    cuts = nouns()
    names = sorted({s.name for s in cuts})
    truth = np.array([names.index(s.name) for s in cuts])
    written = lambda texts: anchors.minilm().encode(texts).numpy()
    pictures = [s.over(margin=0.0) for s in cuts]
    shares = anchors.softmax(image.whole_logits(pictures))
    scores = {
        "the published vectors": full.images(pictures) @ full.texts(names).T,
        "plain names, uncentred": unit(shares @ written(anchors.class_names())) @ written(names).T,
    }
    kept = set(tested())
    halves = {"all": np.ones(len(cuts), bool), "without the calibration half": np.array([s in kept for s in cuts])}
    rows = []
    for label, score in scores.items():
        r = ranks(score, truth)
        rows += [f"| {label}, {half}, {taken.sum()} cut-outs | {len(names)} | {share(r[taken] == 0)} | {share(r[taken] < 5)} |" for half, taken in halves.items()]
    return rows, ranks(scores["the published vectors"], truth)


def inside(shape: tuple[int, int], box) -> np.ndarray:
    """[rows, columns]: the cells whose middle lies in the box."""
    rows, columns = shape
    across = (np.arange(columns) + 0.5) * scenes.WIDTH_PX / columns
    down = (np.arange(rows) + 0.5) * scenes.HEIGHT_PX / rows
    return ((down >= box[1]) & (down <= box[3]))[:, None] & ((across >= box[0]) & (across <= box[2]))


def likeness(e: Encoders, patches: np.ndarray, box, prompt: np.ndarray) -> float:
    """Of the cells inside the box, each of unit length and centred: the mean dot product with the prompt."""
    cells = inside(patches.shape[1:], box)
    if not cells.any():
        return -1.0
    return float((e.publish("image", patches[:, cells].T) @ prompt).mean())


def prompt_vector(e: Encoders, prompt: str) -> np.ndarray:
    kind, what = prompt.split(":", 1)
    return e.texts([what])[0] if kind == "text" else e.sound(sounds.load(Path(what)))


def chosen(e: Encoders, folder: Path, by: str) -> tuple[np.ndarray, np.ndarray]:
    """For each thing asked for: is its own box the likest of the scene's? And is it, for the prompt of something that is not there?"""
    names = evaluate_scenes.named(folder)
    asked = evaluate_scenes.prompts_of(names, by)
    vectors = {prompt: prompt_vector(e, prompt) for group in asked.values() for prompt in group}
    rng, right, wrong = np.random.default_rng(0), [], []
    for scene in evaluate_scenes.truths(folder):
        patches = e.patches(Image.open(folder / scene["file"]).convert("RGB"))
        boxes = [thing["box"] for thing in scene["objects"]]
        here = {thing["name"] for thing in scene["objects"]}
        absent = [p for name in asked if name not in here for p in asked[name]]
        for k, thing in enumerate(scene["objects"]):
            for prompt in asked.get(thing["name"], []):
                for kept, said in ((right, prompt), (wrong, absent[rng.integers(len(absent))])):
                    kept.append(int(np.argmax([likeness(e, patches, box, vectors[said]) for box in boxes])) == k)
    return np.array(right), np.array(wrong)


def composed(work: Path) -> dict[str, Path]:
    """Scenes of three of the cut-outs above."""
    folders = {"all cut-outs": work / "nouns", "without the calibration half": work / "nouns_tested"}
    for folder, cuts in zip(folders.values(), (nouns(), tested()), strict=True):
        scenes.write(scenes.scenes("test", SCENES, 5, 3, cuts), folder)
    return folders


def pointed(work: Path) -> tuple[list[str], evaluate_scenes.Tally]:
    """`evaluate_scenes`' table for these scenes: what perceptd finds by itself. Also the tally of all cut-outs."""
    rows, tallies = [], []
    for label, folder in composed(work).items():
        found, _ = evaluate_scenes.evaluate(folder, evaluate_scenes.Reference(REFERENCE), "text", evaluate_scenes.named(folder))
        tallies.append(found)
        counts = (found.pointed, found.pointed_by_wrong, found.right_of_all, found.overlapped, found.overlapped_by_wrong)
        rows.append(f"| {label} | {found.asked} | " + " | ".join(share(np.arange(found.asked) < n) for n in counts) + " |")
    return rows, tallies[0]


def choices(e: Encoders, work: Path) -> tuple[list[str], np.ndarray]:
    """On these scenes, and on those that `evaluate_scenes.card` wrote. Also which of all cut-outs were chosen."""
    asked = (
        ("text, all cut-outs of the table above", "nouns", "text"),
        ("text, without the calibration half", "nouns_tested", "text"),
        ("text, any thing of the test half, by its full name", "three", "text"),
        ("text, the classes with a held-out sound", "heard", "text"),
        ("sound, the same classes", "heard", "audio"),
    )
    rows, all_right = [], []
    for label, folder, by in asked:
        right, wrong = chosen(e, work / folder, by)
        all_right.append(right)
        rows.append(f"| {label} | {len(right)} | {share(right)} | {share(wrong)} |")
    return rows, all_right[0]


def heard() -> tuple[list[str], list[tuple[float, int]]]:
    """The sounds of another source among fifteen classes: the mean over all ways to choose the other fourteen.

    Also the shares of how many clips that are right: first and among five, of fifteen classes and of all."""
    result = audio.ranked(audio.cross_source(), audio.cross_source_test(), sounds.cross_source_split()[0])
    better, others = result["ranks_among_tested"], result["shared"] - 1
    first, five = (hypergeom.cdf(k, others, better, SOUND_CLASSES - 1).mean() for k in (0, 4))
    chance = f"{100 / SOUND_CLASSES:.1f} / {500 / SOUND_CLASSES:.0f} %"
    row = f"| {SOUND_CLASSES} of the {result['shared']} classes | {result['clips']} | {100 * first:.0f} % | {100 * five:.0f} % | {chance} |"
    clips = result["clips"]
    return [row], [(first, clips), (five, clips), *((float((result["ranks"] < k).mean()), clips) for k in (1, 5))]
