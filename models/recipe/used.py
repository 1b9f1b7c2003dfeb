"""Lists every file that the packs were trained or calibrated on, so that anyone can check what is disjoint from what.

    python models/recipe/used.py        writes models/reference/DATA.tsv: SHA-256, package:path, what for
"""

import hashlib
import zipfile
from pathlib import Path

import imu
import scenes
import sounds
import stamps
from paths import REFERENCE

STAMPS_PACKAGE, LANDSCAPES_PACKAGE = "tuxpaint-stamps-default", "widelands-data"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows() -> list[tuple[str, str, str]]:
    trained_on, calibrated_on = sounds.background()
    found = [(r.sha256, f"{r.package}:{r.in_package.lstrip('/')}", "sound, trained") for group in sounds.recordings().values() for r in group]
    found += [(r.sha256, f"{r.package}:{r.in_package.lstrip('/')}", "background sound, trained") for r in trained_on]
    found += [(r.sha256, f"{r.package}:{r.in_package.lstrip('/')}", "background sound, calibrated") for r in calibrated_on]
    found += [(digest(s.path), f"{STAMPS_PACKAGE}:{s.in_package}", "cut-out, calibrated") for s in scenes.cut_outs("calibration")]
    found += [(digest(path), f"{LANDSCAPES_PACKAGE}:{place}", "landscape, calibrated") for path, place in scenes.landscapes("calibration")]
    with zipfile.ZipFile(imu.wheel()) as archive:
        place = "aeon/datasets/data/BasicMotions/BasicMotions_TRAIN.ts"
        found.append((hashlib.sha256(archive.read(place)).hexdigest(), f"aeon:{place}", "motion, trained"))
    return sorted(set(found), key=lambda row: (row[2], row[1]))


def main() -> None:
    lines = ["sha256\tpackage:path\tuse"] + ["\t".join(row) for row in rows()]
    (REFERENCE / "DATA.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
