"""Photographs of things with their outline: the cut-outs of Debian's `tuxpaint-stamps-default`.

They serve to calibrate (means, background bank) and to test. A file belongs to one side for ever: the first byte of the SHA-256 of
its path inside the Debian package is even for calibration, odd for test. Nothing of the test half, and nothing named in
`held_out.txt`, is ever used to make a pack.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from paths import HELD_OUT, STAMPS

# Drawings live in folders of these names; symbols and money are flat graphics.
NOT_PHOTOGRAPHS = {"cartoon", "symbols", "abstract", "dinosaur"}
PACKAGE_PREFIX = "usr/share/tuxpaint/stamps/"


@dataclass(frozen=True)
class Stamp:
    path: Path
    in_package: str
    name: str
    calibration: bool

    def rgba(self) -> Image.Image:
        """The cut-out, cropped to what is not transparent."""
        picture = Image.open(self.path).convert("RGBA")
        return picture.crop(picture.getchannel("A").point(lambda a: 255 if a > 32 else 0).getbbox())

    def over(self, grey: int = 255, margin: float = 0.06) -> Image.Image:
        """The cut-out on a plain square, as a photograph of one thing."""
        cut = self.rgba()
        side = int(max(cut.size) * (1 + 2 * margin)) + 1
        ground = Image.new("RGB", (side, side), (grey, grey, grey))
        ground.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2), cut)
        return ground


def is_calibration(in_package: str) -> bool:
    return hashlib.sha256(in_package.encode()).digest()[0] % 2 == 0


def held_out() -> set[str]:
    """Package paths that the bundled recording shows."""
    lines = (line.split("#")[0].split() for line in HELD_OUT.read_text().splitlines())
    return {field for words in lines for field in words if "/" in field}


def plain_name(described: str) -> str:
    """`An albino peahen (a female peafowl).` → `albino peahen`."""
    name = re.sub(r"\(.*?\)", "", described).strip().rstrip(".!").strip()
    name = re.sub(r"^(this is|these are|it's|it is)\s+", "", name, flags=re.I)
    return re.sub(r"^(an?|the|some|two|three)\s+", "", name, flags=re.I).strip().lower()


def is_photograph(path: Path) -> bool:
    picture = Image.open(path)
    if picture.mode not in ("RGBA", "LA", "P") or min(picture.size) < 80:
        return False
    rgba = np.asarray(picture.convert("RGBA"))
    solid = rgba[..., 3] > 128
    if not 0.05 < solid.mean() < 0.97:
        return False
    # Drawings repeat few colours; a photograph's pixels are nearly all different.
    colours = np.unique(rgba[solid][:, :3] >> 2, axis=0)
    return len(colours) > 0.02 * solid.sum() and len(colours) > 600


def described() -> list[Stamp]:
    """Everything that is not a drawing by its folder, by the name that its description gives, which may be a sentence."""
    found = []
    for path in sorted(STAMPS.rglob("*.png")):
        inside = path.relative_to(STAMPS)
        words = path.with_suffix(".txt")
        if NOT_PHOTOGRAPHS & set(inside.parts) or path.stem.endswith("_mirror") or not words.exists():
            continue
        name = plain_name(words.read_text(encoding="utf-8").splitlines()[0])
        in_package = PACKAGE_PREFIX + inside.as_posix()
        found.append(Stamp(path, in_package, name, is_calibration(in_package)))
    return found


@cache
def load() -> list[Stamp]:
    found = []
    for stamp in described():
        name = stamp.name
        if not 0 < len(name.split()) <= 4:  # a sentence: the file name says what it is
            name = re.sub(r"[\W\d_]+", " ", stamp.path.stem).strip().lower()
        if name and is_photograph(stamp.path):
            found.append(replace(stamp, name=name))
    return found


def calibration() -> list[Stamp]:
    shown = held_out()
    return [stamp for stamp in load() if stamp.calibration and stamp.in_package not in shown]


def test() -> list[Stamp]:
    shown = held_out()
    return [stamp for stamp in load() if not stamp.calibration and stamp.in_package not in shown]


if __name__ == "__main__":
    stamps = load()
    print(len(stamps), "cut-outs,", len({s.name for s in stamps}), "names,", sum(s.calibration for s in stamps), "for calibration")
    for s in stamps:
        print("C" if s.calibration else "T", s.in_package.removeprefix(PACKAGE_PREFIX), "|", s.name)
