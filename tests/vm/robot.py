"""perceptd as a package installs it, in a virtual machine with a device for every sense, and who listens to it from outside."""

import argparse
import json
import os
import shutil
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests"))

import frames  # noqa: E402
from harness.devices import gy_mcu90640, witmotion  # noqa: E402
from harness.ear import Ear  # noqa: E402
from harness.waiting import Failed, wait_for  # noqa: E402
from machine import Feed, Machine  # noqa: E402

# Limits are for an emulated CPU on a loaded machine; the summary has what it really took.
READY_SECS = 400
SEEN_SECS = 60
BACK_SECS = 180

BEGAN = time.monotonic()


def say(words):
    """One line of the test's story."""
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {words}", flush=True)


class Robot:
    """The machine with perceptd in it, and who listens to it."""

    def __init__(self, machine, sensors):
        self.machine, self.sensors = machine, sensors
        self.share = machine.share
        # What the cameras of v4l2loopback see, by their names.
        self.frames = frames.write(os.path.join(self.share, "frames"))
        self.summary = {"failed": None}
        self.ear = self.imu = self.heat = None

    def boots(self, is_new=True):
        """Powers the machine on, without devices but the serial port of the board; a new one gets perceptd."""
        secs = self.machine.start()
        say(f"the guest is up after {secs:.0f} s")
        self.summary["boot_secs"] = round(secs, 1)
        # At a boot on a busy host the mount may come before its device.
        mounted = lambda: self.machine.ask("mountpoint --quiet /host || systemctl restart host.mount")[0] == 0
        wait_for("the host's files in the guest", mounted, 60, every=1)
        self.imu, self.heat = Feed(self.machine, "imu", witmotion, 0.02), Feed(self.machine, "uart", gy_mcu90640, 0.5)
        self.imu.start()
        self.heat.start()
        if is_new:
            self.machine.sh("/host/install", 300)
        self.ear = Ear(self.machine.mqtt_port)

    def plugs_in(self):
        """Cameras, sound card and USB adapter go in, under a perceptd that runs; with them come their kernel modules."""
        mark = self.ear.mark()
        self.machine.plug_imu()
        self.machine.sh("/host/plug", 600)
        self.ear.await_embeddings(self.sensors, mark, BACK_SECS)
        for sensor in self.sensors:
            self.ear.await_sensor(sensor, ["ok"], mark, 60)
        say("all devices were plugged in: every sense is embedded")

    def goes_down(self):
        """Without warning. Gives what the subscriber found wrong until then."""
        for feed in (self.imu, self.heat):
            if feed is not None:
                feed.end()
        self.machine.power_cut()
        complaints = self.ear.end() if self.ear is not None else []
        self.ear = self.imu = self.heat = None
        return complaints

    def systemd(self, key):
        """A property of the unit."""
        return self.machine.sh(f"systemctl show --property={key} --value perceptd.service")

    def starts(self, sensors):
        """The unit is started; its start waits for READY, and not for any device. Then `sensors` are heard."""
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
        others = [sensor for sensor in self.sensors if sensor not in sensors]
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
        back_secs = time.monotonic() - began
        for sensor in sensors:
            self.ear.await_sensor(sensor, ["ok"], mark, 60)
        self.ear.await_embeddings(others, self.ear.mark(), BACK_SECS)
        reasons = {sensor: line["reason"] for sensor, line in lines.items()}
        fault = {"fault": what, "seen_secs": round(seen_secs, 1), "embedded_again_secs": round(back_secs, 1), "reasons": reasons}
        self.summary.setdefault("faults", []).append(fault)
        say(f"{what}: seen after {seen_secs:.1f} s, embedded again after {back_secs:.1f} s: {reasons}")

    def process(self):
        """What the kernel says of perceptd: its number, threads and open files."""
        pid = self.systemd("MainPID")
        threads, fds = self.machine.sh(f"ls /proc/{pid}/task | wc -l; ls /proc/{pid}/fd | wc -l").split()
        return {"pid": int(pid), "threads": int(threads), "fds": int(fds)}

    def stays_as_it_was(self, before):
        """Through all of this it was one process, and it keeps nothing of the devices that it lost."""

        def calm():
            self.summary["process"] = {"before": before, "after": self.process()}
            after = self.summary["process"]["after"]
            return after["pid"] == before["pid"] and all(after[what] <= before[what] for what in ("threads", "fds"))

        try:
            wait_for("calm", calm, 60, every=2)
        except Failed:
            raise Failed(f"perceptd is not as it was before the faults: {self.summary['process']}") from None


def share(folder, binary, config):
    """The folder that the guest sees as /host."""
    os.makedirs(os.path.join(folder, "models"))
    shutil.copy(binary, os.path.join(folder, "perceptd"))
    shutil.copytree(os.path.join(ROOT, "models", "tiny"), os.path.join(folder, "models", "tiny"))
    for name in ("perceptd.service", "buffered-iio.conf", "60-perceptd-iio.rules"):
        shutil.copy(os.path.join(ROOT, "systemd", name), folder)
    shutil.copy(os.path.join(ROOT, "tests", "golden", "chirp.wav"), folder)
    for name in ("install", "plug", "feed", "odd.toml", "slow.conf", "sound.service", "feed@.service", "90-cameras.rules"):
        shutil.copy(os.path.join(HERE, "guest", name), folder)
    shutil.copy(os.path.join(HERE, "guest", config), os.path.join(folder, "perceptd.toml"))


def show_failure(robot):
    """What a person needs who was not there."""
    if robot.ear is not None:
        for complaint in robot.ear.complaints[-10:]:
            print("subscriber:", complaint, file=sys.stderr)
        for said in robot.ear.since(0, "health")[-1:]:
            for sensor in said["body"].get("sensors", []):
                print("last health:", json.dumps(sensor), file=sys.stderr)
    if robot.machine.agent is not None:
        journals = "journalctl --unit=perceptd --unit=laptop --no-pager --lines=60; journalctl --dmesg --no-pager --lines=30"
        try:
            print(robot.machine.ask(journals, 60)[1], file=sys.stderr)
        except Failed as why:
            print(f"the guest's journal cannot be read: {why}", file=sys.stderr)
    console = robot.machine.console
    if os.path.exists(console):
        print(f"the end of {console}:", file=sys.stderr)
        with open(console, errors="replace") as lines:
            print("".join(lines.readlines()[-30:]), file=sys.stderr)


def tell(description, story, config, sensors, keeps_disk=False, parts=None):
    """Runs `story(robot)` on a new machine with this config, which has these sensors; prints the summary as the last line and ends the process.

    `parts` are the machine's own, beside what every machine has.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--image", required=True, help="folder made by tests/vm/image")
    parser.add_argument("--binary", required=True, help="perceptd, built for the guest's Debian 12")
    parser.add_argument("--work", required=True, help="folder for sockets and logs, made anew")
    args = parser.parse_args()

    # Whoever ends the test early wants no virtual machine left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    share(os.path.join(args.work, "share"), args.binary, config)
    robot = Robot(Machine(args.image, os.path.join(args.work, "share"), args.work, keeps_disk, parts), sensors)
    summary = robot.summary
    try:
        robot.boots()
        story(robot)
        with open(os.path.join(args.work, "journal.log"), "w") as journal:
            journal.write(robot.machine.ask("journalctl --unit=perceptd --no-pager")[1])
        complaints = robot.goes_down()
        if complaints:
            raise Failed("the subscriber complains: " + "; ".join(complaints[:10]))
    except Failed as why:
        summary["failed"] = str(why)
        print(f"FAILED: {why}", file=sys.stderr)
        show_failure(robot)
    finally:
        robot.goes_down()
        robot.machine.forget()
    summary["wall_secs"] = round(time.monotonic() - BEGAN)
    print(json.dumps(summary))
    sys.exit(1 if summary["failed"] else 0)
