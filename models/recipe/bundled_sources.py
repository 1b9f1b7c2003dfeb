"""What lies beside the bundled recording: prompt clips, the truth about it, and `SOURCES.md`."""

import hashlib
import json
import shutil
from pathlib import Path

import scenes
import sounds
import stamps
from paths import STAMPS

# As the package's changelog credits them.
MAKERS = {
    "sheep": "photographed at Mudchute Park and Farm, prepared by Caroline Ford",
    "garbage truck": "by Caroline Ford",
    "elephant": "prepared by Pere Pujal i Carabantes",
    "cement mixer": "by Caroline Ford",
    "duck": "prepared by Pere Pujal i Carabantes",
    "horse": "prepared by Pere Pujal i Carabantes",
}

SOURCES_TEXT = """# Where the bundled recording comes from

Written by `models/recipe/bundled.py`. Every file below is kept out of the making and the calibration of the packs.
The recording as a whole may be passed on under the GPL, version 2 or later (`LICENSES/GPL-2.0.txt`): the Debian packages state that or
something compatible for everything in it. Paths are inside the Debian 12 packages; digests are of the original files.

| what | package | path | licence and makers | SHA-256 |
|---|---|---|---|---|
{table}
| imu | PyPI aeon 1.6.0 | `aeon/datasets/data/BasicMotions/BasicMotions_TEST.ts` | package BSD-3-Clause (`LICENSES/aeon-BSD-3-Clause.txt`); data set of the UEA archive, made by four students with a smart watch; it states no licence of its own | `79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc` |

**Composed.** Each camera frame is one photographed landscape with photographed cut-outs on it, a drawn shadow, a pan, a shake and
noise that is new in every frame. It is not footage of these animals in that valley.
**Simulated.** `thermal` and `depth` are computed from the composition: surface temperatures are assumed, the ground is a level plain,
noise and missing readings are drawn. They show that the senses run, not that recognition in them works.
**Real.** The sound track is recordings mixed at stated times over synthetic hush. The motion data are the test split of BasicMotions at
10 Hz (standing, walking, running, 8 s each), unchanged but for the first second of each series, which is left out. The watch recorded
neither sound nor picture: the senses were put together here.

Prompt and sound track of a class are different files of one package, and neither was trained on; nor was a file found to share a
recording with them (`duck_02`). For the sheep a third file of the package (`sheep_02`) was: the animal may be the same. The card's
figures across sources do not have this help.

The scenes were chosen from cases that work; `CARD.md` of the pack has the figures for things in general. `truth.json` says what is where
and when. `prompts/pig.ogg` names nothing that is seen or heard: it should stay silent.
"""


def sources(prompts: dict[str, sounds.Recording], truth: dict, landscape: str, shown: dict[str, str]) -> str:
    """Who made what. The licences are those that the Debian packages state."""
    world, widelands = "widelands-data", sounds.SOURCES["widelands-data"][1]
    tuxpaint = "GPL-2.0-or-later, 2002-2022 Bill Kendrick and the makers of the Tux Paint stamps"
    rows = [
        (f"prompts/{name}{recording.path.suffix}", recording.package, recording.in_package, sounds.SOURCES[recording.package][1], recording.sha256)
        for name, recording in prompts.items()
    ]
    rows.append(("camera, background", world, landscape, widelands, digest(scenes.landscapes_root() / landscape)))
    for name, in_package in shown.items():
        path = STAMPS / in_package.removeprefix(stamps.PACKAGE_PREFIX)
        rows.append((f"camera, {name}", "tuxpaint-stamps-default", in_package, f"{tuxpaint}; {MAKERS[name]}", digest(path)))
    heard_once = {r.in_package: r for _, _, r in sounds.demo() if r.in_package in {sound["path"] for sound in truth["sounds"]}}
    for path, recording in heard_once.items():
        rows.append(("sound track", recording.package, path, sounds.SOURCES[recording.package][1], recording.sha256))
    table = "\n".join("| " + " | ".join((what, package, f"`{path.lstrip('/')}`", licence, f"`{sha}`")) + " |" for what, package, path, licence, sha in rows)
    return SOURCES_TEXT.format(table=table)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def deploy(folder: Path, truth: dict, classes: list[str], landscape: str, shown: dict[str, str]) -> None:
    """Prompt clips byte for byte as they came, the truth, and who made what."""
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    prompts = {name: recording for name, role, recording in sounds.demo() if role == "prompt" and name in classes}
    for old in (folder / "prompts").iterdir():
        old.unlink()
    for name, recording in prompts.items():
        shutil.copyfile(recording.path, folder / "prompts" / (name + recording.path.suffix))
    (folder / "truth.json").write_text(json.dumps(truth) + "\n")
    (folder / "SOURCES.md").write_text(sources(prompts, truth, landscape, shown))
