#!/usr/bin/env python3
"""Power cuts: the whole machine is killed while it perceives, and booted again from the same disk; called by tests/vm/run --power-cut.

After each cut the file system recovers, the unit starts by itself and every sense is embedded again. What the host does not see: blocks
that a real disk had acknowledged and lost. Here what the guest's kernel has written counts, and what it still held is gone.
"""

import random
import time

from robot import READY_SECS, say, tell, wait_for

CUTS = 2


def story(robot):
    """Cut at moments that differ, but not from run to run."""
    chance = random.Random(1)
    robot.starts(["heat"])
    robot.plugs_in()
    robot.machine.sh("systemctl enable --quiet perceptd.service && sync")
    for cut in range(CUTS):
        time.sleep(chance.uniform(0.0, 3.0))
        robot.goes_down()
        say(f"power cut {cut + 1}")
        robot.boots(is_new=False)
        wait_for("the unit's start at boot", lambda: robot.systemd("ActiveState") == "active", READY_SECS, every=2)
        robot.plugs_in()
    robot.summary["power_cuts"] = CUTS


if __name__ == "__main__":
    tell(__doc__.splitlines()[0], story, keeps_disk=True)
