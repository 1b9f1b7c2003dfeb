"""The figures of the reference pack's card, on data that nothing was trained, calibrated or tuned on; writes `CARD.md`.

    python models/recipe/evaluate.py [pointing] [senses] [plain]      (all, if none is named)
"""

import json
import sys
import tomllib

import numpy as np
from safetensors.numpy import load_file

import anchors
import audio
import bank
import beside
import card
import evaluate_scenes
import image
import imu
import remade
import scenes
import sounds
import stamps
import text
from encoders import Encoders
from ort import Session
from paths import REFERENCE, SEED, WORK
from tallies import ranks, share


def pack() -> Encoders:
    manifest = tomllib.loads((REFERENCE / "pack.toml").read_text(encoding="utf-8"))
    kept = load_file(REFERENCE / "bank.safetensors")
    means = {k.removeprefix("mean."): v for k, v in kept.items() if k.startswith("mean.")}
    return Encoders(REFERENCE, {m: manifest[m] for m in means}, means)


def in_f32(e: Encoders) -> Encoders:
    """The same pack with f32 image and text models."""
    full = Encoders(REFERENCE, e.manifest, e.means)
    full.sessions["image"] = Session(image.build(int8=False).model().SerializeToString())
    full.text.session = Session(text.build(int8=False)[0].model().SerializeToString())
    return full


def centred_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (anchors.unit(anchors.unit(a) - anchors.unit(a).mean(0)) * anchors.unit(anchors.unit(b) - anchors.unit(a).mean(0))).sum(1)


def zero_shot(e: Encoders, full: Encoders) -> tuple[list[str], dict]:
    """Test cut-outs against all names; also what the other figures reuse, of it the vectors by int8 and by f32 weights."""
    cuts, names = stamps.test(), sorted({s.name for s in stamps.load()})
    truth = np.array([names.index(s.name) for s in cuts])
    grey = lambda x, modality, frame: x.publish(modality, np.stack([x.grey_raw(frame(i, [s]), modality) for i, s in enumerate(cuts)]))
    views = {
        f"cut-outs on white, {len(cuts)} of {len(names)} names": lambda x: x.images([s.over(255) for s in cuts]),
        f"cut-outs on grey, {len(cuts)} of {len(names)} names": lambda x: x.images([s.over(128) for s in cuts]),
        "the same without colour": lambda x: x.images([s.over(255).convert("L").convert("RGB") for s in cuts]),
        "**synthetic** thermal silhouettes of them, 160×120": lambda x: grey(x, "thermal", bank.heat),
        "**synthetic** depth silhouettes of them, 160×120": lambda x: grey(x, "depth", bank.distance),
    }
    rows, seen = [], []
    for label, view in views.items():
        seen.append((view(e), view(full)))
        r, r_full = (ranks(vectors @ x.texts(names).T, truth) for x, vectors in zip((e, full), seen[-1], strict=True))
        rows.append(f"| {label} | {share(r == 0)} | {share(r < 5)} | {100 / len(names):.1f} / {500 / len(names):.1f} % | {share(r_full == 0)}, {share(r_full < 5)} |")
    images, _, _, thermal, depth = seen
    return rows, {"cuts": cuts, "names": names, "truth": truth, "prompts": e.texts(names), "images": images, "thermal": thermal, "depth": depth}


def in_box(cell: int, columns: int, rows: int, box) -> bool:
    y, x = divmod(cell, columns)
    across, down = (x + 0.5) * scenes.WIDTH_PX / columns, (y + 0.5) * scenes.HEIGHT_PX / rows
    return box[0] <= across <= box[2] and box[1] <= down <= box[3]


def pointing(e: Encoders, full: Encoders, n: int = 80) -> tuple[list[str], np.ndarray]:
    """The greatest cell of the raw map for a name, and for the name of something that is not in the scene."""
    made = list(scenes.scenes("test", n, 3, 3))
    every = sorted({name for _, truth in made for name, _, _ in truth})
    prompts = dict(zip(every, e.texts(every), strict=True))
    rng = np.random.default_rng(SEED)
    hits, hits_full, wrong, area, cosines = [], [], [], [], []
    for picture, truth in made:
        maps = [m.patches(picture) for m in (e, full)]
        rows, columns = maps[0].shape[1:]
        cells, exact = (m.reshape(len(m), -1).T for m in maps)
        centre = exact.mean(0)
        cosines.append((anchors.unit(cells - centre) * anchors.unit(exact - centre)).sum(1))
        absent = [name for name in every if name not in {t[0] for t in truth}]
        for name, _, box in truth:
            hits.append(in_box(int((cells @ prompts[name]).argmax()), columns, rows, box))
            hits_full.append(in_box(int((exact @ prompts[name]).argmax()), columns, rows, box))
            wrong.append(in_box(int((cells @ prompts[absent[rng.integers(len(absent))]]).argmax()), columns, rows, box))
            area.append((box[2] - box[0]) * (box[3] - box[1]) / (scenes.WIDTH_PX * scenes.HEIGHT_PX))
    hits, hits_full, wrong = map(np.array, (hits, hits_full, wrong))
    row = f"| greatest cell lies in the named thing's box, {n} scenes of 3 | {share(hits)} | {share(wrong)} | {100 * np.mean(area):.0f} % | {share(hits_full)} |"
    return [row], np.concatenate(cosines)


def pair(label: str, a: np.ndarray, b: np.ndarray, same: np.ndarray) -> str:
    """A row: dot products of matched and of mismatched pairs, and how often a matched pair beats a mismatched one."""
    dots, counted = a @ b.T, np.ones(same.shape, bool)
    if a is b:  # a vector is neither a match nor a mismatch of itself
        np.fill_diagonal(counted, False)
    right, wrong = dots[same & counted], dots[~same & counted]
    better = np.searchsorted(np.sort(wrong), right).mean() / max(len(wrong), 1)
    return f"| {label} | {right.mean():.2f} | {wrong.mean():.2f} | {100 * better:.0f} % | {len(right)} |"


def last_word(name: str) -> str:
    return name.split()[-1]


def across_senses(e: Encoders, shown: dict) -> list[str]:
    cuts, names = shown["cuts"], np.array([s.name for s in shown["cuts"]])
    pictures, prompts = shown["images"][0], e.texts(list(names))
    own = names[:, None] == names[None]
    heard = audio.evaluate(audio.cross_source(), audio.cross_source_test(), sounds.cross_source_split()[0])
    heard_names = np.array(audio.class_list())[heard["labels"]]
    spoken = anchors.text_vectors([n.replace("_", " ") for n in heard_names])
    same_sound = heard_names[:, None] == heard_names[None]
    seen_and_heard = np.array([[last_word(n) == h for n in names] for h in heard_names])
    moved = imu.evaluate(imu.shipped())
    activities = imu.windows("TEST")[1]
    activity_text = imu.class_anchors()
    rows = [
        pair("image × text (cut-outs, their names)", pictures, prompts, own),
        pair("image × image (another picture whose name ends in the same word)", pictures, pictures, np.array([[last_word(a) == last_word(b) for b in names] for a in names])),
        pair("text × text (a name, the name in “a photo of a …”)", prompts, e.texts([f"a photo of a {n}" for n in names]), own),
        pair("sound × text (source not trained on, class names)", heard["vectors"], spoken, same_sound),
        pair("sound × sound (another recording of the class)", heard["vectors"], heard["vectors"], same_sound),
        pair("motion × text (official test split, activities)", moved["vectors"], activity_text, activities[:, None] == np.arange(len(activity_text))[None]),
        pair("thermal × text (synthetic silhouettes)", shown["thermal"][0], prompts, own),
        pair("thermal × image (synthetic silhouettes, the same cut-out)", shown["thermal"][0], pictures, np.eye(len(cuts), dtype=bool)),
        pair("depth × text (synthetic silhouettes)", shown["depth"][0], prompts, own),
        pair("depth × image (synthetic silhouettes, the same cut-out)", shown["depth"][0], pictures, np.eye(len(cuts), dtype=bool)),
    ]
    if seen_and_heard.any():
        rows.insert(4, pair("sound × image (cut-outs of the class)", heard["vectors"], pictures, seen_and_heard))
    return rows


def quantization(e: Encoders, full: Encoders, shown: dict, cells: np.ndarray) -> list[str]:
    prompts = [*shown["names"], *(f"the sound of a {n}" for n in shown["names"][:40])]
    written = centred_cosine(full.text_raw(prompts), e.text_raw(prompts))

    def row(label, cosines, n):
        return f"| {label} | {cosines.mean():.4f} | {np.quantile(cosines, 0.01):.4f} | {cosines.min():.4f} | {n} |"

    of = lambda what: (shown[what][0] * shown[what][1]).sum(1)
    kinds = {"image": of("images"), "map cells (less the frame's mean)": cells, "text": written}
    kinds |= {"thermal (synthetic silhouettes)": of("thermal"), "depth (synthetic silhouettes)": of("depth")}
    return [row(label, cosines, len(cosines)) for label, cosines in kinds.items()]


def main(wanted: list[str]):
    e = pack()
    full = in_f32(e)
    kept = WORK / "figures.json"
    figures = json.loads(kept.read_text()) if kept.exists() and wanted else {}

    def keep(name: str, lines: list[str]):
        figures[name] = lines
        kept.write_text(json.dumps(figures, indent=1, ensure_ascii=False))
        print(name, *lines, sep="\n", flush=True)

    if not wanted or {"pointing", "senses"} & set(wanted):
        rows, shown = zero_shot(e, full)
        keep("zero_shot", rows)
    if not wanted or "pointing" in wanted:
        pointed, cells = pointing(e, full)
        keep("pointing", pointed)
        keep("quantization", quantization(e, full, shown, cells))
    if not wanted or "senses" in wanted:
        keep("across_senses", across_senses(e, shown))
        keep("boxes", evaluate_scenes.card(evaluate_scenes.Reference(REFERENCE), WORK / "card_scenes").splitlines())
        keep("audio", audio.card().splitlines())
        keep("imu", imu.card().splitlines())
    if not wanted or "plain" in wanted:
        for name, lines in beside.lines(e, full, WORK / "card_scenes").items():
            keep(name, lines)
        keep("remade", remade.lines(full, WORK / "card_scenes"))
    card.write(figures)


if __name__ == "__main__":
    main(sys.argv[1:])
