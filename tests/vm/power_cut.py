#!/usr/bin/env python3
"""Power cuts: the whole machine is killed while events wait for the broker, and booted again from the same disk; called by tests/vm/run --power-cut.

After each cut the file system recovers, the unit starts by itself, every sense is embedded again, and the events that had been there for
longer than the outbox takes to bring them to the disk are delivered, without a hole in their numbers. What this does not show: blocks that a
disk had acknowledged and lost. Here what the guest's kernel had written counts, and what it still held is gone.
"""

import random
import time

from robot import READY_SECS, Failed, say, tell, wait_for

CUTS = 2
WAITING_EVENTS = 8

# The outbox syncs 0.5 s after an event ([state] sync_secs); the rest is for an emulated, loaded machine.
SYNC_SECS = 3.0


def logged(robot, since):
    """When, by the guest's clock, perceptd logged events after `since`."""
    lines = robot.machine.sh("journalctl --unit=perceptd --boot --output=short-unix --no-pager --grep='event prompt=' || true")
    times = [float(line.split()[0]) for line in lines.splitlines() if "event prompt=" in line]
    return [secs for secs in times if secs > since]


def clock(robot):
    """The guest's."""
    return float(robot.machine.sh("date +%s.%N"))


def outbox(robot):
    """Its part of the newest health."""
    return robot.ear.since(0, "health")[-1]["body"].get("outbox", {})


def events(robot, boot):
    """The numbers of a boot's events that were heard."""
    return {int(said["body"]["seq"]) for said in robot.ear.since(0, "event/chirp") if said["body"]["boot_id"] == boot}


def cut(robot):
    """One cut with events that wait. Gives how many had to be delivered after it, and how many were."""
    boot = wait_for("the birth", lambda: robot.ear.since(0, "status"), 60)[-1]["body"]["boot_id"]
    wait_for("events", lambda: len(events(robot, boot)) >= 2, 120)
    if not outbox(robot).get("durable"):
        raise Failed("the outbox is not on disk")
    robot.machine.sh("systemctl stop mosquitto.service")
    stopped, last = clock(robot), max(events(robot, boot))
    wait_for(f"{WAITING_EVENTS} events that wait", lambda: len(logged(robot, stopped)) >= WAITING_EVENTS, 240, every=1)
    time.sleep(CHANCE.uniform(0.0, 1.0))
    times, moment = logged(robot, stopped), clock(robot)
    robot.goes_down()
    owed = sum(secs < moment - SYNC_SECS for secs in times)
    say(f"power cut: {len(times)} events waited, {owed} of them for more than {SYNC_SECS} s")

    robot.boots(is_new=False)
    wait_for("the unit's start at boot", lambda: robot.systemd("ActiveState") == "active", READY_SECS, every=2)
    robot.plugs_in()

    def delivered():
        return {seq for seq in events(robot, boot) if seq > last}

    wait_for(f"the {owed} events from before the cut", lambda: len(delivered()) >= owed, 120)
    heard = delivered()
    if heard and len(heard) != max(heard) - last:
        raise Failed(f"there is a hole among the events from before the cut: after {last} came {sorted(heard)}")
    damaged = int(outbox(robot).get("damaged", 0))
    if damaged:
        raise Failed(f"the outbox found {damaged} events damaged")
    say(f"{len(heard)} events from before the cut were delivered")
    return {"waited": len(times), "owed": owed, "delivered": len(heard)}


# Moments that differ, but not from run to run.
CHANCE = random.Random(1)


def story(robot):
    """The unit is enabled, as on a robot, and the power goes again and again."""
    robot.starts(["heat"])
    robot.plugs_in()
    robot.machine.sh("systemctl enable --quiet perceptd.service && sync")
    robot.summary["power_cuts"] = [cut(robot) for _ in range(CUTS)]


if __name__ == "__main__":
    tell(__doc__.splitlines()[0], story, "few.toml", ["mic", "motion", "heat"], keeps_disk=True)
