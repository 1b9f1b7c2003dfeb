"""The pack beside an earlier experiment with the same parts, of which only the totals are known. `evaluate.py` runs it."""

from pathlib import Path

import numpy as np
from scipy.stats import fisher_exact

import evaluate_scenes
import plain
import scenes
from encoders import Encoders
from paths import REFERENCE

# What was asked, how often the experiment was right, and of how many; of some that is not known.
EARLIER = (
    ("pointing by sound", 0.57, None),
    ("the right thing of three, by sound", 0.68, None),
    ("pointing by text, the same scenes", 0.67, None),
    ("the right thing of three, by text, the same scenes", 0.83, None),
    ("pointing by text, scenes of any things", 0.70, 240),
    ("IoU ≥ 0.5, by text, scenes of any things", 0.42, 240),
    ("the right one of three boxes that are given, by text", 0.86, 240),
    ("cut-outs among 189 names, top-1", 0.49, 237),
    ("cut-outs among 189 names, top-5", 0.69, 237),
    ("sounds of another source among 15 classes, top-1", 0.76, 17),
    ("sounds of another source among 15 classes, top-5", 0.94, 17),
    ("sounds of another source among all trained classes, top-1", 0.47, 17),
    ("sounds of another source among all trained classes, top-5", 0.71, 17),
)


def row(what: str, earlier: float, earlier_asked: int | None, share: float, asked: int) -> str:
    right = round(share * asked)
    told, p = "not known", ""
    if earlier_asked is not None:
        earlier_right = round(earlier * earlier_asked)
        told = str(earlier_asked)
        p = f"{fisher_exact([[right, asked - right], [earlier_right, earlier_asked - earlier_right]]).pvalue:.1f}"
    return f"| {what} | {100 * earlier:.0f} % | {told} | {100 * share:.0f} % | {asked} | {p} |"


def lines(e: Encoders, full: Encoders, work: Path) -> dict[str, list[str]]:
    """The card's figures of `plain`, and these."""
    nouns, ranks = plain.named(full)
    pointing, found = plain.pointed(work)
    choices, chosen = plain.choices(e, work)
    sounds, heard = plain.heard()
    finder, folder = evaluate_scenes.Reference(REFERENCE), work / "heard"
    names = evaluate_scenes.named(folder)
    by_sound, _ = evaluate_scenes.evaluate(folder, finder, "audio", names)
    by_text, _ = evaluate_scenes.evaluate(folder, finder, "text", [name for name in names if name in scenes.SOUNDING])
    ours = [(hits / tally.asked, tally.asked) for tally in (by_sound, by_text) for hits in (tally.pointed, tally.right_of_all)]
    ours += [(hits / found.asked, found.asked) for hits in (found.pointed, found.overlapped)]
    ours += [(float(np.mean(hits)), len(hits)) for hits in (chosen, ranks == 0, ranks < 5)]
    rows = [row(*theirs, *own) for theirs, own in zip(EARLIER, ours + heard, strict=True)]
    return {"plain_nouns": nouns, "plain_pointing": pointing, "plain_choices": choices, "plain_sounds": sounds, "beside": rows}
