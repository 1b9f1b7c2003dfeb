#!/usr/bin/env python3
"""perceptd as its systemd unit on a real kernel with real device nodes, in a virtual machine; called by tests/vm/run.

Cameras are vivid, the microphone is snd-aloop, the IMU a USB serial adapter, the thermal array a UART; the host plays the last two.
All is checked from outside, by subscribing. The last line printed is one JSON summary; exit code 1 when a check failed.
"""

import json
import time

from robot import BACK_SECS, READY_SECS, SEEN_SECS, Failed, say, tell, wait_for

CAMERAS = ["front", "rear", "nv12", "grey", "lepton", "depth"]
SENSORS = [*CAMERAS, "mic", "motion", "heat"]
FRONT = "/dev/v4l/by-id/vivid-000-vid-cap"
VIVID = "/sys/bus/platform/drivers/vivid"
ALOOP = "/sys/bus/platform/drivers/snd_aloop"


def unplugs(robot):
    """Each device goes and comes back, in the way in which its kernel driver loses devices."""
    sh = robot.machine.sh

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
        robot.machine.pull_imu()

    def plug_imu():
        robot.machine.plug_imu()
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


def lists_devices(robot):
    """`perceptd devices` names what is plugged in as the config of this robot does, with sections that can be pasted."""
    found = json.loads(robot.machine.sh("perceptd devices --json"))
    named = {entry["device"] for entries in found.values() for entry in entries}
    wanted = {f"/dev/v4l/by-id/vivid-00{n}-vid-cap" for n in range(6)}
    wanted |= {"plughw:CARD=Loopback,DEV=1", "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_imu-if00-port0", "/dev/ttyS1"}
    if not wanted <= named:
        raise Failed(f"perceptd devices does not name {', '.join(sorted(wanted - named))}; it names {', '.join(sorted(named))}")
    head = '[robot]\nname = "pasted"\n[pack]\npath = "/usr/share/perceptd/models/tiny"\n'
    for entry in (entries[0] for entries in found.values() if entries):
        robot.machine.sh(f"cat > /tmp/pasted.toml <<'END'\n{head}{entry['config']}\nEND\nperceptd check /tmp/pasted.toml")
    robot.summary["devices"] = {kind: len(entries) for kind, entries in found.items()}
    say(f"perceptd devices lists {robot.summary['devices']}")


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
    told = sh(
        "sed 's/^name = .*/name = \"root\"/' /host/odd.toml > /tmp/root.toml; perceptd run --config /tmp/root.toml > /tmp/told 2>&1 & "
        "for second in $(seq 100); do grep --quiet busy: /tmp/told && break; sleep 1; done; kill $!; wait; "
        "grep --max-count=1 --only-matching 'busy:.*' /tmp/told",
        300,
    )
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


def story(robot):
    """All of it, in the order in which the machine is left as it was found."""
    robot.starts(["heat"])
    robot.plugs_in()
    agree(robot)
    lists_devices(robot)
    before = robot.process()
    unplugs(robot)
    robot.stays_as_it_was(before)
    stops(robot)
    odd_devices(robot)
    robot.starts(SENSORS)
    hangs(robot)


if __name__ == "__main__":
    tell(__doc__.splitlines()[0], story, "perceptd.toml", SENSORS)
