#!/usr/bin/env python3
"""As laptop.py, but live with the reference pack: the README's config with a sheep's sound as its prompt, and hops as long as an emulated CPU needs.

The webcam shows the sheep, the microphone hears it, and a subscriber on the host gets its embeddings and events; called by tests/vm/run.
"""

import os
import shutil

from laptop import LEAST_OVERLAP, SENSORS, lists, overlap, tell_of, true_box
from robot import ROOT, Failed, say, wait_for

FOLDER = "/srv/live"
HOPS = "[windows]\\nimage_hop_secs = 5.0\\naudio_hop_secs = 2.0\\n"
# The start alone takes half a minute on a quiet host.
PATIENCE_SECS = 300


def corners(box):
    """Zeros are left out of JSON."""
    return [box.get(side, 0.0) for side in ("x0", "y0", "x1", "y1")]


def looks(laptop):
    """`perceptd run` with the reference pack: both senses are embedded, and the sheep's sound finds the sheep in the picture, where it is."""
    shutil.copytree(os.path.join(ROOT, "models", "reference"), os.path.join(laptop.robot.share, "models", "reference"))
    laptop.sh(f"mkdir -p {FOLDER}/models; cp /host/host/*.* {FOLDER}; cp -r /host/models/reference {FOLDER}/models", PATIENCE_SECS)
    laptop.sh(f"cd {FOLDER}; printf '{HOPS}' >> perceptd.toml; perceptd check perceptd.toml", PATIENCE_SECS)
    mark = laptop.ear.mark()
    laptop.sh(f"systemd-run --quiet --unit=live --working-directory={FOLDER} perceptd run --config perceptd.toml")
    laptop.ear.await_embeddings(SENSORS, mark, PATIENCE_SECS, count=3)
    say(f"the reference pack embeds {', '.join(SENSORS)} live")
    events = lambda: [said["body"] for said in laptop.ear.since(mark, "event/sheep") if said["body"]["sensor"] == "front"]
    wait_for("an event of the sheep in the picture", events, PATIENCE_SECS)
    event, truth = events()[0], true_box()
    shared = max(round(overlap(corners(box), truth), 2) for box in event["boxes"])
    laptop.robot.summary["found"] = {"phase": event["phase"], "overlap": shared}
    if shared < LEAST_OVERLAP:
        raise Failed(f"the sheep is found elsewhere than it is: {event}")
    say(f"the sheep's sound finds the sheep live: {event['phase']}, its box overlaps the true one by {shared}")


if __name__ == "__main__":
    tell_of(__doc__, lists, looks)
