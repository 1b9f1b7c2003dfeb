"""How well things are found in composed scenes: by perceptd itself, or by the numpy reference where no binary is given.

    python models/recipe/scenes.py --split test --objects 3 --n 80 --out DIR
    python models/recipe/evaluate_scenes.py DIR [--perceptd target/release/perceptd] [--by text|audio]
    python models/recipe/evaluate_scenes.py --card

`--by audio` asks with the held-out recordings, in scenes made with `--split sounding`. Beside every figure stands its control: the same
prompt of another thing of the same scene, and what a box of that size would hit by chance.
"""

import argparse
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

import detector
import scenes
import sounds
from paths import REFERENCE, WORK

ABSENT_PER_SCENE = 3
P_FALSE = 0.05


@dataclass
class Found:
    box: list[float]
    score: float
    fires: bool


@dataclass
class Tally:
    asked: int = 0
    pointed: int = 0
    pointed_by_wrong: int = 0
    chance: float = 0.0
    right_of_all: int = 0
    overlapped: int = 0
    overlapped_by_wrong: int = 0
    fired: int = 0
    absent: int = 0
    absent_fired: int = 0
    present_scores: list[float] = field(default_factory=list)
    absent_scores: list[float] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        n, pairs = self.asked, len(self.present_scores) * len(self.absent_scores)
        share = lambda count: f"{100 * count / n:5.1f} %"
        present, absent = np.array(self.present_scores), np.array(self.absent_scores)
        yield f"asked for {n} things that are there"
        yield f"pointing (centre of the best box inside)   {share(self.pointed)}   chance {share(self.chance)}   prompt of another thing {share(self.pointed_by_wrong)}"
        yield f"best box overlaps the right thing most     {share(self.right_of_all)}"
        yield f"IoU ≥ 0.5                                  {share(self.overlapped)}   prompt of another thing {share(self.overlapped_by_wrong)}"
        yield f"fires at p_false {P_FALSE}                      {share(self.fired)}"
        yield f"fires for {self.absent} things that are not there    {100 * self.absent_fired / max(1, self.absent):5.1f} %"
        if pairs:
            yield f"present scores above absent (AUC)          {(present[:, None] > absent[None]).mean():.3f}"


class Reference:
    """The numpy detector on a pack."""

    def __init__(self, pack: Path):
        self.detector = detector.Detector(pack)

    @cache
    def vector(self, prompt: str) -> tuple[np.ndarray, str]:
        kind, what = prompt.split(":", 1)
        if kind == "text":
            return self.detector.encoders.texts([what])[0], kind
        return self.detector.encoders.sound(sounds.load(Path(what))), kind

    def detect(self, file: Path, prompts: list[str]) -> dict[str, list[Found]]:
        picture = Image.open(file).convert("RGB")
        patches = self.detector.encoders.patches(picture)
        least = detector.threshold(P_FALSE)
        out = {}
        for prompt in prompts:
            vector, kind = self.vector(prompt)
            candidates = self.detector.detect(picture, patches, prompt, vector, kind)
            out[prompt] = [Found(list(c.box), c.score, c.score >= least) for c in candidates]
        return out


class Binary:
    """`perceptd detect`."""

    def __init__(self, perceptd: Path, pack: Path):
        self.perceptd, self.pack = perceptd, pack

    def detect(self, file: Path, prompts: list[str]) -> dict[str, list[Found]]:
        asked = [argument for prompt in prompts for argument in ("--prompt", prompt)]
        command = [self.perceptd, "detect", file, "--pack", self.pack, "--p-false", str(P_FALSE), *asked]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        out = defaultdict(list)
        for line in map(json.loads, printed.splitlines()):
            out[line["prompt"]].append(Found(line["box"], line["score"], line["fires"]))
        return out


def overlap(a: list[float], b: list[float]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return wide * high / (area(a) + area(b) - wide * high)


def holds(box: list[float], found: Found) -> bool:
    x, y = (found.box[0] + found.box[2]) / 2, (found.box[1] + found.box[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def prompts_of(names: list[str], by: str) -> dict[str, list[str]]:
    """name → prompts that ask for it."""
    if by == "text":
        return {name: [f"text:{name}"] for name in names}
    kept = defaultdict(list)
    for name, _, recording in sounds.demo():
        kept[name].append(f"audio:{recording.path}")
    return {name: kept[name] for name in names if name in kept}


def score(tally: Tally, thing: dict, others: list[dict], prompt: str, wrong: str | None, found: dict[str, list[Found]], area_px: int) -> None:
    box, best = thing["box"], max(found[prompt], key=lambda f: f.score)
    tally.asked += 1
    tally.pointed += holds(box, best)
    tally.chance += (box[2] - box[0]) * (box[3] - box[1]) / area_px
    tally.right_of_all += overlap(best.box, box) > max([overlap(best.box, other["box"]) for other in others] + [0.0])
    tally.overlapped += overlap(best.box, box) >= 0.5
    tally.fired += any(f.fires and holds(box, f) for f in found[prompt])
    tally.present_scores.append(best.score)
    if wrong:
        strange = max(found[wrong], key=lambda f: f.score)
        tally.pointed_by_wrong += holds(box, strange)
        tally.overlapped_by_wrong += overlap(strange.box, box) >= 0.5


def evaluate(folder: Path, finder: Reference | Binary, by: str, names: list[str]) -> tuple[Tally, dict[str, Tally]]:
    """`names` are what may be asked for: each scene is also asked for some that it does not hold."""
    asked = prompts_of(names, by)
    whole, each = Tally(), defaultdict(Tally)
    rng = np.random.default_rng(0)
    for scene in truths(folder):
        here = {thing["name"] for thing in scene["objects"]}
        elsewhere = [name for name in asked if name not in here]
        absent = [asked[name][rng.integers(len(asked[name]))] for name in rng.choice(elsewhere, min(ABSENT_PER_SCENE, len(elsewhere)), replace=False)]
        present = [prompt for name in sorted(here) for prompt in asked.get(name, [])]
        found = finder.detect(folder / scene["file"], present + absent)
        area_px = int(np.prod(Image.open(folder / scene["file"]).size))
        for thing in scene["objects"]:
            others = [other for other in scene["objects"] if other["name"] != thing["name"]]
            strange = [p for other in others for p in asked.get(other["name"], [])] or absent
            for k, prompt in enumerate(asked.get(thing["name"], [])):
                for tally in (whole, each[thing["name"]]):
                    score(tally, thing, others, prompt, strange[k % len(strange)] if strange else None, found, area_px)
        for prompt in absent:
            whole.absent += 1
            whole.absent_fired += any(f.fires for f in found[prompt])
            whole.absent_scores.append(max(f.score for f in found[prompt]))
    return whole, each


def truths(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def named(folder: Path) -> list[str]:
    return sorted({thing["name"] for scene in truths(folder) for thing in scene["objects"]})


def card(finder: Reference | Binary, work: Path) -> str:
    """Markdown for CARD.md. The scenes are those of the test half that nothing was chosen on."""
    three, heard, empty = work / "three", work / "heard", work / "empty"
    scenes.write(scenes.scenes("test", 80, 5, 3), three)
    scenes.write(scenes.sounding(70, 5), heard)
    scenes.write(scenes.scenes("test", 60, 6, 0), empty)
    by_text, _ = evaluate(three, finder, "text", named(three))
    by_sound, classes = evaluate(heard, finder, "audio", named(heard))
    by_text_heard, _ = evaluate(heard, finder, "text", [name for name in named(heard) if name in scenes.SOUNDING])
    of_nothing, _ = evaluate(empty, finder, "text", named(three))
    of_no_sound, _ = evaluate(empty, finder, "audio", named(heard))
    percent = lambda part, whole: f"{100 * part / max(1, whole):.0f} %"
    rows = [
        f"| {what} | {t.asked} | {percent(t.pointed, t.asked)} | {percent(t.chance, t.asked)} | {percent(t.pointed_by_wrong, t.asked)} "
        f"| {percent(t.right_of_all, t.asked)} | {percent(t.overlapped, t.asked)} | {percent(t.overlapped_by_wrong, t.asked)} "
        f"| {percent(t.fired, t.asked)} | {percent(t.absent_fired, t.absent)} | {percent(n.absent_fired, n.absent)} |"
        for what, t, n in [
            ("text, any thing of the test half", by_text, of_nothing),
            ("text, classes with a held-out sound", by_text_heard, of_nothing),
            ("sound, the same classes", by_sound, of_no_sound),
        ]
    ]
    heads = (
        "| prompt | asked | pointing | chance | prompt of another thing | right of the three | IoU ≥ 0.5 | of another thing "
        f"| fires on it at p_false {P_FALSE} | fires without it, among other things | fires in an empty landscape |"
    )
    each = ", ".join(f"{name} {percent(t.pointed, t.asked)}" for name, t in sorted(classes.items()) if t.asked)
    return "\n".join([heads, "|" + "---|" * 11, *rows, "", f"Pointing by sound, two held-out recordings a class: {each}."])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, nargs="?")
    arguments.add_argument("--perceptd", type=Path, help="the binary; without it the numpy reference is scored")
    arguments.add_argument("--pack", type=Path, default=REFERENCE)
    arguments.add_argument("--by", choices=["text", "audio"], default="text")
    arguments.add_argument("--card", action="store_true", help="make the scenes of CARD.md and print its table")
    chosen = arguments.parse_args()
    finder = Binary(chosen.perceptd, chosen.pack) if chosen.perceptd else Reference(chosen.pack)
    if chosen.card:
        print(card(finder, WORK / "card_scenes"))
        return
    whole, each = evaluate(chosen.folder, finder, chosen.by, named(chosen.folder))
    print("\n".join(whole.lines()))
    if chosen.by == "audio":
        for name, tally in sorted(each.items()):
            if tally.asked:
                print(f"  {name}: pointing {100 * tally.pointed / tally.asked:.0f} % of {tally.asked}, median score {np.median(tally.present_scores):.1f}")


if __name__ == "__main__":
    main()
