#!/usr/bin/env python3
"""perceptd as its systemd unit on a real kernel with real device nodes, in a virtual machine; called by tests/vm/run.

Cameras are vivid, the microphone is snd-aloop, the IMU a USB serial adapter, the thermal array a UART; the host plays the last two.
All is checked from outside, by subscribing. The last line printed is one JSON summary; exit code 1 when a check failed.
"""

import argparse
import json
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from harness.devices import gy_mcu90640, witmotion  # noqa: E402
from harness.ear import Ear  # noqa: E402
from harness.waiting import Failed, wait_for  # noqa: E402
from machine import Feed, Machine  # noqa: E402

# Limits are for an emulated CPU on a loaded machine; the summary has what it really took.
READY_SECS = 400
SEEN_SECS = 60
BACK_SECS = 180

CAMERAS = ["front", "rear", "nv12", "grey", "lepton", "depth"]
SENSORS = [*CAMERAS, "mic", "motion", "heat"]
FRONT = "/dev/v4l/by-id/vivid-000-vid-cap"
VIVID = "/sys/bus/platform/drivers/vivid"
ALOOP = "/sys/bus/platform/drivers/snd_aloop"


def say(words):
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {words}", flush=True)


BEGAN = time.monotonic()


class Robot:
    """The machine with perceptd in it, and who listens to it."""

    def __init__(self, machine):
        self.machine = machine
        self.summary = {"boot_secs": round(machine.start(), 1), "faults": []}
        say(f"the guest is up after {self.summary['boot_secs']} s")
        self.imu, self.heat = Feed(machine, "imu", witmotion, 0.02), Feed(machine, "uart", gy_mcu90640, 0.5)
        self.imu.start()
        self.heat.start()
        machine.sh("/host/install", 300)
        self.ear = Ear(machine.mqtt_port)

    def systemd(self, key):
        """A property of the unit."""
        return self.machine.sh(f"systemctl show --property={key} --value perceptd.service")

    def starts(self, sensors):
        """The unit is started; its start waits for READY. Then `sensors` are heard."""
        mark, began = self.ear.mark(), time.monotonic()
        code, printed = self.machine.ask("systemctl start perceptd.service", READY_SECS)
        if code != 0:
            raise Failed(f"the unit does not start: {printed}")
        self.summary["ready_secs"] = round(time.monotonic() - began, 1)
        status = self.systemd("StatusText")
        if status != "perceiving":
            raise Failed(f"the unit's status text is {status!r}")
        self.ear.await_status("running", mark, 60)
        say(f"the unit is ready after {self.summary['ready_secs']} s")
        self.ear.await_embeddings(sensors, mark, BACK_SECS)
        for sensor in sensors:
            self.ear.await_sensor(sensor, ["ok"], mark, 60)
        say(f"embedded are {', '.join(sensors)}")

    def fault(self, what, sensors, states, begin, end, reason=""):
        """`begin` takes `sensors` away, `end` gives them back: seen in health, the others go on, and they come back."""
        others = [sensor for sensor in SENSORS if sensor not in sensors]
        mark, began = self.ear.mark(), time.monotonic()
        begin()
        lines = {sensor: self.ear.await_sensor(sensor, states, mark, SEEN_SECS) for sensor in sensors}
        for sensor, line in lines.items():
            if reason not in line["reason"]:
                raise Failed(f"{what}: {sensor} gives as its reason {line['reason']!r}, without {reason!r}")
        seen_secs = max(line["at"] for line in lines.values()) - began
        self.ear.await_embeddings(others, self.ear.mark(), BACK_SECS)
        mark, began = self.ear.mark(), time.monotonic()
        end()
        self.ear.await_embeddings(sensors, mark, BACK_SECS)
        for sensor in sensors:
            self.ear.await_sensor(sensor, ["ok"], mark, 60)
        back_secs = time.monotonic() - began
        self.ear.await_embeddings(others, self.ear.mark(), BACK_SECS)
        reasons = {sensor: line["reason"] for sensor, line in lines.items()}
        fault = {"fault": what, "seen_secs": round(seen_secs, 1), "back_secs": round(back_secs, 1), "reasons": reasons}
        self.summary["faults"].append(fault)
        say(f"{what}: seen after {seen_secs:.1f} s, back after {back_secs:.1f} s: {reasons}")

    def stays_up(self):
        """Through all of this it was one process."""
        restarts = self.systemd("NRestarts")
        if restarts != "0":
            raise Failed(f"the unit was restarted {restarts} times")


def unplugs(robot):
    """Each device goes and comes back, in the way in which its kernel driver loses devices."""
    sh, qmp = robot.machine.sh, robot.machine.qmp

    def control(name, value):
        return lambda: sh(f"v4l2-ctl --device={FRONT} --set-ctrl={name}={value}")

    def rebind():
        sh(f"echo vivid.0 > {VIVID}/unbind; udevadm settle; echo vivid.0 > {VIVID}/bind; udevadm settle")

    robot.fault("camera without frames", ["front"], ["stalled"], control("percentage_of_dropped_buffers", 100), control("percentage_of_dropped_buffers", 0), "no data")
    robot.fault("camera's stream broken", ["front"], ["lost"], control("inject_fatal_streaming_error", 1), lambda: None, "Input/output error")
    robot.fault("camera disconnected", ["front"], ["lost"], control("disconnect", 1), rebind, "No such device")
    robot.fault(
        "all cameras unbound",
        CAMERAS,
        ["lost"],
        lambda: sh(f"echo vivid.0 > {VIVID}/unbind"),
        lambda: sh(f"echo vivid.0 > {VIVID}/bind; udevadm settle"),
    )
    robot.fault(
        "microphone unbound",
        ["mic"],
        ["lost"],
        lambda: sh(f"echo snd_aloop.0 > {ALOOP}/unbind"),
        lambda: sh(f"echo snd_aloop.0 > {ALOOP}/bind; udevadm settle"),
    )

    def pull_imu():
        robot.imu.speaks.clear()
        qmp("device_del", id="imu")

    def plug_imu():
        qmp("device_add", driver="usb-serial", id="imu", serial="imu", chardev="imu", **{"always-plugged": True})
        robot.imu.speaks.set()

    robot.fault("IMU's USB adapter pulled out", ["motion"], ["lost"], pull_imu, plug_imu, "imu")
    uart = sh("basename $(readlink -f /sys/class/tty/ttyS1/device)")
    robot.fault(
        "thermal array's port unbound",
        ["heat"],
        ["lost"],
        lambda: sh(f"echo {uart} > /sys/bus/pnp/drivers/serial/unbind"),
        lambda: sh(f"echo {uart} > /sys/bus/pnp/drivers/serial/bind; udevadm settle"),
        "ttyS1",
    )
    robot.fault("thermal array silent", ["heat"], ["stalled"], robot.heat.speaks.clear, robot.heat.speaks.set, "no data")


def agree(robot):
    """All cameras show the same picture, so whatever way a frame took, its vector is about the same; grey ones lack the colour."""
    newest = {sensor: robot.ear.since(0, f"embedding/{sensor}")[-1]["body"]["vector"] for sensor in CAMERAS}
    cosines = {
        f"{one}/{other}": round(sum(a * b for a, b in zip(newest[one], newest[other])), 3)
        for one, other in (("front", "rear"), ("front", "nv12"), ("front", "grey"))
    }
    robot.summary["cosines"] = cosines
    say(f"the same picture by different ways, cosines: {cosines}")


def stops(robot):
    """An ordered stop says `stopped`."""
    mark, began = robot.ear.mark(), time.monotonic()
    robot.machine.sh("systemctl stop perceptd.service")
    robot.summary["stop_secs"] = round(time.monotonic() - began, 1)
    robot.ear.await_status("stopped", mark, 30)
    result = robot.systemd("Result")
    if result != "success":
        raise Failed(f"the stop ended with {result}")
    say(f"stopped within {robot.summary['stop_secs']} s, and said so")


def odd_devices(robot):
    """Devices that are there but cannot be had, or not in that way, are told as such; the others go on."""
    sh = robot.machine.sh
    sh(f"systemd-run --quiet --unit=holder v4l2-ctl --device={FRONT} --stream-mmap --stream-count=0 && cp /host/odd.toml /etc/perceptd/perceptd.toml")
    mark = robot.ear.mark()
    robot.starts(["motion"])
    wanted = {
        # The service may not look at other users' processes, so that it cannot name the holder.
        "busy": ["busy", "holds it"],
        "odd_size": ["no 333x222 in YUYV", "320x180"],
        "odd_rate": ["no 200 frames a second at 320x180", "30"],
        "odd_layout": ["none of MJPG", "YUYV"],
        "no_card": ["plughw:CARD=Absent"],
        "no_port": ["/dev/ttyUSB7", "No such file"],
    }
    reasons = {sensor: robot.ear.await_sensor(sensor, ["lost"], mark, SEEN_SECS)["reason"] for sensor in wanted}
    robot.summary["reasons"] = reasons
    wrong = [f"{sensor}: {reasons[sensor]!r}" for sensor, parts in wanted.items() if any(part not in reasons[sensor] for part in parts)]
    if wrong:
        raise Failed(f"reasons that do not help: {'; '.join(wrong)}")
    # Who looks as root is told the name.
    told = sh("timeout 300 sh -c 'perceptd run --config /etc/perceptd/perceptd.toml 2>&1 | grep --max-count=1 --only-matching \"busy:.*\"'", 320)
    if "v4l2-ctl (process " not in told:
        raise Failed(f"the holder of a busy camera is not named: {told!r}")
    say(f"odd devices are told: {reasons}; as root {told!r}")
    mark = robot.ear.mark()
    sh("systemctl stop holder.service")
    robot.ear.await_embeddings(["busy"], mark, BACK_SECS)
    sh("systemctl stop perceptd.service; cp /host/perceptd.toml /etc/perceptd/perceptd.toml")


def hangs(robot):
    """A process that hangs is ended by systemd's watchdog and started anew."""
    mark, began = robot.ear.mark(), time.monotonic()
    robot.machine.sh("systemctl kill --signal=STOP perceptd.service")
    wait_for("the watchdog's restart", lambda: robot.systemd("NRestarts") not in ("", "0"), 300, every=2)
    robot.ear.await_status("running", mark, READY_SECS)
    robot.ear.await_embeddings(SENSORS, robot.ear.mark(), BACK_SECS)
    robot.summary["watchdog_secs"] = round(time.monotonic() - began, 1)
    say(f"hung, ended by the watchdog and perceiving again after {robot.summary['watchdog_secs']} s")


def share(folder, binary):
    """The folder that the guest sees as /host."""
    os.makedirs(os.path.join(folder, "models"))
    shutil.copy(binary, os.path.join(folder, "perceptd"))
    shutil.copytree(os.path.join(ROOT, "models", "tiny"), os.path.join(folder, "models", "tiny"))
    shutil.copy(os.path.join(ROOT, "systemd", "perceptd.service"), folder)
    shutil.copy(os.path.join(ROOT, "tests", "golden", "chirp.wav"), folder)
    for name in ("install", "perceptd.toml", "odd.toml", "slow.conf", "sound.service", "90-vivid.rules"):
        shutil.copy(os.path.join(HERE, "guest", name), folder)


def show_failure(robot):
    """What a person needs who was not there."""
    for complaint in robot.ear.complaints[-10:]:
        print("subscriber:", complaint, file=sys.stderr)
    for said in robot.ear.since(0, "health")[-1:]:
        for sensor in said["body"].get("sensors", []):
            print("last health:", json.dumps(sensor), file=sys.stderr)
    try:
        print(robot.machine.ask("journalctl --unit=perceptd --no-pager --lines=60; journalctl --dmesg --no-pager --lines=30", 60)[1], file=sys.stderr)
    except Failed as why:
        print(f"the guest's journal cannot be read: {why}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", required=True, help="folder made by tests/vm/image")
    parser.add_argument("--binary", required=True, help="perceptd, built for the guest's Debian 12")
    parser.add_argument("--work", required=True, help="folder for sockets and logs, made anew")
    args = parser.parse_args()

    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    share(os.path.join(args.work, "share"), args.binary)
    machine, robot, summary = Machine(args.image, os.path.join(args.work, "share"), args.work), None, {}
    try:
        robot = Robot(machine)
        summary = robot.summary
        robot.starts(SENSORS)
        agree(robot)
        unplugs(robot)
        robot.stays_up()
        stops(robot)
        odd_devices(robot)
        robot.starts(SENSORS)
        hangs(robot)
        complaints = robot.ear.end()
        if complaints:
            raise Failed("the subscriber complains: " + "; ".join(complaints[:10]))
        summary["failed"] = None
    except Failed as why:
        summary["failed"] = str(why)
        print(f"FAILED: {why}", file=sys.stderr)
        if robot is not None:
            show_failure(robot)
        print(f"console: {machine.console}", file=sys.stderr)
        if os.path.exists(machine.console):
            with open(machine.console, errors="replace") as console:
                print("".join(console.readlines()[-30:]), file=sys.stderr)
    finally:
        machine.power_cut()
    summary["wall_secs"] = round(time.monotonic() - BEGAN)
    print(json.dumps(summary))
    sys.exit(1 if summary["failed"] else 0)


if __name__ == "__main__":
    main()
