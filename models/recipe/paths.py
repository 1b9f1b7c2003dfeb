"""Where the recipe reads and writes. Everything under `.work` can be deleted and made again by `models/build`."""

from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent
WORK = MODELS / ".work"
STAMPS = WORK / "stamps" / "usr" / "share" / "tuxpaint" / "stamps"
REFERENCE = MODELS / "reference"
TINY = MODELS / "tiny"
GOLDEN = MODELS.parent / "tests" / "golden"
HELD_OUT = MODELS / "recipe" / "held_out.txt"

SEED = 20261124
DIM = 384
