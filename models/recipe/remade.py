"""An earlier experiment's image head and map, made again from their description, beside this pack's: the same pictures and scenes for both, in one run.

The head is ConSE as here, less the mean of the class texts and no other mean, over an even mean of names, templates, lemmas and definitions; the map is 448×448
with the head's own temperature. The description leaves more to guess for sound: there stands this pack's CNN by itself, which is of the experiment's form.
`evaluate.py` runs it.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binomtest, hypergeom

import anchors
import audio
import detector
import evaluate_scenes
import image
import plain
import sounds
import stamps
from anchors import softmax, unit
from encoders import Encoders
from paths import REFERENCE
from tallies import ranks

TEMPERATURE = 1.5
MAP_SIZE = [448, 448]
ONE_PACKAGE = "tuxpaint-stamps-default"


@cache
def class_texts() -> np.ndarray:
    """[1000, 384] unit, uncentred."""
    written = lambda texts: anchors.minilm().encode(texts).numpy()
    names, synsets = anchors.class_names(), anchors.synset_texts()
    templates = np.mean([written([template.format(name) for name in names]) for template in anchors.TEMPLATES], 0)
    parts = [lemmas.split(",") for lemmas, _ in synsets]
    every = iter(written([part.strip() for group in parts for part in group]))
    lemmas = np.stack([np.mean([next(every) for _ in group], 0) for group in parts])
    return unit(written(names) + templates + lemmas + written([definition for _, definition in synsets]))


@cache
def class_matrix() -> np.ndarray:
    return unit(class_texts() - class_texts().mean(0))


def texts(names: list[str]) -> np.ndarray:
    own = unit(anchors.minilm().encode(names).numpy() - class_texts().mean(0))
    return unit(own / 2 + unit(softmax(own @ class_matrix().T / anchors.SMOOTHING_TEMPERATURE) @ class_matrix()) / 2)


def pictures(given: list[Image.Image]) -> np.ndarray:
    return unit(softmax(image.whole_logits(given) / TEMPERATURE) @ class_matrix())


def patches(picture: Image.Image, size: list[int]) -> np.ndarray:
    """[dim, rows, cols], un-normalised."""
    logits = image.classifier()(image=image.tensor(image.stretch(picture, size)))["cells"][0]
    return np.moveaxis(softmax(np.moveaxis(logits, 0, -1) / TEMPERATURE) @ class_matrix(), -1, 0)


def named(full: Encoders, cuts: list[stamps.Stamp], names: list[str], margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the cut-outs' names, by the experiment's head and by this pack's."""
    truth = np.array([names.index(s.name) for s in cuts])
    given = [s.over(margin=margin) for s in cuts]
    return ranks(pictures(given) @ texts(names).T, truth), ranks(full.images(given) @ full.texts(names).T, truth)


def asked(cells: np.ndarray, vectors: np.ndarray, prompt: np.ndarray, boxes: list) -> np.ndarray:
    """[1 + 2]: the box (its place in the list, −1 for none) of the greatest cell; the likest box by the mean over its cells, and by its greatest."""
    places = [plain.inside(cells.shape[1:], box) for box in boxes]
    greatest, likeness = np.tensordot(prompt, cells, (0, 0)).argmax(), np.tensordot(prompt, vectors, (0, 0))
    held = [k for k, place in enumerate(places) if place.ravel()[greatest]]
    likest = [int(np.argmax([by(likeness[place]) if place.any() else -1.0 for place in places])) for by in (np.mean, np.max)]
    return np.array([held[0] if held else -1, *likest])


def found(full: Encoders, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By text, in scenes of three, both in f32: whether the greatest cell lies in the thing's box, and whether its own box is the likest of the three.

    Of the experiment, whatever does best: its map's size or this pack's, a box's mean or its greatest cell. Of this pack also the greatest cell of the map
    that perceptd looks at, which is the raw one less what other prompts find there; the experiment had no such bank."""
    names, scored = evaluate_scenes.named(folder), detector.Detector(REFERENCE)
    remade, own = (dict(zip(names, vectors, strict=True)) for vectors in (texts(names), full.texts(names)))
    right, right_as_scored = [], []
    for scene in evaluate_scenes.truths(folder):
        picture = Image.open(folder / scene["file"]).convert("RGB")
        boxes = [thing["box"] for thing in scene["objects"]]
        maps = [(cells, unit(cells.T).T, remade) for cells in (patches(picture, size) for size in (MAP_SIZE, image.MAP_SIZE))]
        cells = full.patches(picture)
        maps.append((cells, full.publish("image", cells.reshape(len(cells), -1).T).T.reshape(cells.shape), own))
        for k, thing in enumerate(scene["objects"]):
            right.append([asked(cells, vectors, prompts[thing["name"]], boxes) == k for cells, vectors, prompts in maps])
            plane = scored.likeness(scored.centred(cells), own[thing["name"]], "text")
            right_as_scored.append(plain.inside(plane.shape, boxes[k]).ravel()[plane.argmax()])
    right = np.array(right)  # [asked, two of the experiment and this pack, pointed and two ways to choose]
    best = lambda ways: max(ways, key=np.mean)
    pointed = best([right[:, m, 0] for m in (0, 1)])
    return {
        "greatest cell": (pointed, right[:, 2, 0]),
        "greatest cell, this pack's as perceptd scores it": (pointed, np.array(right_as_scored)),
        "the likest box of three": (best([right[:, m, way] for m in (0, 1) for way in (1, 2)]), right[:, 2, 1]),
    }


def row(what: str, remade: np.ndarray, own: np.ndarray) -> str:
    """p: how often chance alone divides the cases on which the two differ at least so unevenly (sign test, two-sided)."""
    better, worse = int((own & ~remade).sum()), int((remade & ~own).sum())
    p = binomtest(better, better + worse).pvalue if better + worse else 1.0
    return f"| {what} | {len(own)} | {100 * remade.mean():.0f} % | {100 * own.mean():.0f} % | {better}, {worse} | {p:.2f} |"


def heard(what: str, encoder: audio.Joined, test: list, trained: dict[str, list]) -> list[str]:
    """Rows of the CNN by itself and of this pack's whole encoder."""
    results = [audio.ranked(made, test, trained) for made in (encoder.cnn, encoder)]
    clips, shared, every = (results[0][key] for key in ("clips", "shared", "all"))
    rows = []
    for among, key in ((f"the {shared} classes tested", "ranks_among_tested"), (f"all {every} classes", "ranks")):
        rows += [row(f"{what}, among {among}, top-{k}", *(r[key] < k for r in results)) for k in (1, 5)]
    for k in (1, 5):
        remade, own = (hypergeom.cdf(k - 1, shared - 1, r["ranks_among_tested"], plain.SOUND_CLASSES - 1).mean() for r in results)
        rows.append(f"| the same, among {plain.SOUND_CLASSES} classes, the mean over all choices, top-{k} | {clips} | {100 * remade:.0f} % | {100 * own:.0f} % | | |")
    return rows


def heard_from_one_package() -> list[str]:
    """Trained as the experiment's encoder was, on the classes and recordings of one package."""
    trained, test = sounds.one_package_split(ONE_PACKAGE)
    with sounds.only(trained):
        encoder = audio.of_these_alone("one-package", trained)
        first = [(name, group[0]) for name, group in test.items()]
        every = [(name, recording) for name, group in test.items() for recording in group]
        rows = heard("trained on Tux Paint's alone: one recording a class", encoder, first, trained)
        return rows + heard("trained on Tux Paint's alone: all of them", encoder, every, trained)


def lines(full: Encoders, work: Path) -> list[str]:
    nouns, test, every = plain.nouns(), stamps.test(), sorted({s.name for s in stamps.load()})
    rows = []
    for label, cuts, names, margin in (
        ("the 237 cut-outs above, 189 names", nouns, sorted({s.name for s in nouns}), 0.0),
        (f"cut-outs of the test half, {len(every)} names", test, every, 0.06),
    ):
        both = named(full, cuts, names, margin)
        rows += [row(f"{label}, top-{k}", *(r < k for r in both)) for k in (1, 5)]
    for label, folder in (("these cut-outs", "nouns"), ("them without the calibration half", "nouns_tested"), ("the test half's cut-outs, by full names", "three")):
        rows += [row(f"scenes of three of {label}, by text: {what}", *pair) for what, pair in found(full, work / folder).items()]
    rows += heard("sounds of another source", audio.cross_source(), audio.cross_source_test(), sounds.cross_source_split()[0])
    return rows + heard_from_one_package()
