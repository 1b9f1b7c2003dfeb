#!/usr/bin/env python3
"""perceptd as its systemd unit on a real kernel with real device nodes, in a virtual machine; called by tests/vm/run.

Cameras are vivid and v4l2loopback, the microphone is snd-aloop, the IMU a USB serial adapter, the thermal array a UART; the host plays the last two. Two more
IMUs are chips on a bus of I2C that is memory, behind Linux Industrial I/O, one polled and one through the kernel's buffer.
All is checked from outside, by subscribing. The last line printed is one JSON summary; exit code 1 when a check failed.
"""

import json
import os
import struct
import subprocess
import sys
import time

import frames
from robot import BACK_SECS, READY_SECS, ROOT, SEEN_SECS, Failed, say, tell, wait_for

# Of vivid, and of v4l2loopback.
VIVIDS = ["front", "rear", "nv12", "grey", "lepton", "depth"]
LOOPS = ["jpeg", "jpeg_too", "range"]
SENSORS = [*VIVIDS, *LOOPS, "mic", "motion", "heat", "polled", "buffered"]
# As the config has it for every sense.
HOP_SECS = 2.0
RECORD_SECS = 20
RECORD_ATTEMPTS = 4
# From the report that a wish is tried to the one that it is rolled back, by perceptd's own clock.
ROLLED_BACK_SECS = 10
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
        VIVIDS,
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

    robot.fault("IMU's USB adapter pulled out", ["motion"], ["lost"], pull_imu, plug_imu, "the device is gone")
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
    wanted |= {"/dev/v4l/by-id/loop-jpeg", "/dev/v4l/by-id/loop-depth"}
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
    newest = {sensor: robot.ear.since(0, f"embedding/{sensor}")[-1]["body"]["vector"] for sensor in VIVIDS}
    cosines = {
        f"{one}/{other}": round(sum(a * b for a, b in zip(newest[one], newest[other])), 3)
        for one, other in (("front", "rear"), ("front", "nv12"), ("front", "grey"))
    }
    robot.summary["cosines"] = cosines
    say(f"the same picture by different ways, cosines: {cosines}")


def asks(robot, *arguments):
    """Sends commands as a client that shares no code with perceptd; what it prints."""
    command = [sys.executable, os.path.join(ROOT, "tests", "control", "commands.py"), "--root", "perceptd/v1/vm/robot/"]
    asked = subprocess.run([*command, "--port", str(robot.machine.mqtt_port), *arguments], capture_output=True, text=True)
    if asked.returncode != 0:
        raise Failed(f"{' '.join(arguments)}: {asked.stderr}")
    return asked.stdout.strip()


def records(robot):
    """Some seconds of all devices by command, in mid-run; gives what was embedded live meanwhile, and the file."""
    # What was installed is on its disk before; an emulated one may still be too slow for a moment, which costs samples and is told.
    robot.machine.sh("sync", 300)
    for attempt in range(1, RECORD_ATTEMPTS + 1):
        mark = robot.ear.mark()
        file = asks(robot, "--record", str(RECORD_SECS), "--wait")
        if file:
            break
        say(f"recording {attempt} of at most {RECORD_ATTEMPTS}: the disk was too slow, and samples were lost")
    else:
        raise Failed(f"in {RECORD_ATTEMPTS} recordings the disk was too slow")
    # The last windows inside are still on their way.
    robot.ear.await_embeddings(SENSORS, robot.ear.mark(), BACK_SECS)
    live = {sensor: [said["body"] for said in robot.ear.since(mark, f"embedding/{sensor}")] for sensor in SENSORS}
    robot.machine.sh(f"cp {file} /host/live.mcap")
    recording = frames.Recording(os.path.join(robot.share, "live.mcap"))
    for sensor, name, kind in (("jpeg", "jpeg", "CompressedImage"), ("jpeg_too", "jpeg_too", "CompressedImage"), ("range", "depth", "PlaneFrame")):
        taken = [bytes(message.data) for _, message in recording.messages[sensor]]
        kinds = {type(message).__name__ for _, message in recording.messages[sensor]}
        # nokhwa hands on a camera's whole buffer: behind the picture lies what was there before.
        if sensor == "jpeg_too":
            taken = [next((frame for frame in robot.frames[name] if whole.startswith(frame)), whole) for whole in taken]
        strange = sum(frame not in robot.frames[name] for frame in taken)
        if kinds != {kind} or strange or len(set(taken)) < 5:
            raise Failed(f"{sensor}: of {len(taken)} frames ({kinds}) {strange} are none that were written, {len(set(taken))} differ")
    # Millimetres stand in the file as the sensor's values in metres say.
    encodings = {message.encoding for _, message in recording.messages["range"]}
    if encodings != {3}:
        raise Failed(f"the depth camera's frames are recorded in the encodings {encodings}, not in millimetres")
    # Registers as guest/plug sets them, times the scale of the chip's driver.
    for sensor in ("polled", "buffered"):
        readings = [reading for _, message in recording.messages[sensor] for reading in message.readings]
        axes = {(round(one.accel_mps2.z, 2), round(one.gyro_radps.x, 4), one.accel_mps2.x, one.gyro_radps.y) for one in readings}
        if axes != {(9.8, 0.1065, 0.0, 0.0)} or len(readings) < 5 * RECORD_SECS:
            raise Failed(f"{sensor}: {len(readings)} readings of {axes}")
    counts = {sensor: len(said) for sensor, said in recording.messages.items()}
    say(f"recorded {RECORD_SECS} s in mid-run, every JPEG and every millimetre as it was written: {counts}")
    return live, recording.spans()


def replays(robot, live, spans):
    """The recording gives the live vectors again, byte for byte, of every window that lies wholly inside."""
    began = time.monotonic()
    robot.machine.sh("perceptd replay /host/live.mcap --config /etc/perceptd/perceptd.toml --out /host/again.jsonl", 900)
    secs = time.monotonic() - began
    again = {}
    with open(os.path.join(robot.share, "again.jsonl")) as lines:
        for said in map(json.loads, lines):
            if said["heard"] == "embedding":
                again[said["sensor"], said["window_index"]] = said
    packed = lambda vector: struct.pack(f"<{len(vector)}f", *vector)
    same, differ = {}, []
    for sensor, windows in live.items():
        first, last = spans[sensor]
        for body in windows:
            index, end = int(body["window_index"]), int(body["end"]["mono_nanos"])
            start = round(index * HOP_SECS * 1e9)
            # The last tenth of a second may still be in the resampler's filter.
            if start < first or max(end, start + round(HOP_SECS * 1e9)) + 100_000_000 > last:
                continue
            said = again.get((sensor, index))
            presence = body["presence"]
            if (
                said is None
                or packed(said["vector"]) != packed(body["vector"])
                or (said["end_mono_nanos"], said["count"]) != (end, presence["count"])
            ):
                differ.append(f"{sensor} {index}")
            same[sensor] = same.get(sensor, 0) + 1
    robot.summary["replayed_alike"] = {"windows": same, "replay_secs": round(secs, 1)}
    if differ:
        raise Failed(f"of {sum(same.values())} live windows {len(differ)} differ in the replay, or are missing: {', '.join(differ[:20])}")
    few = [sensor for sensor in SENSORS if same.get(sensor, 0) < 3]
    if few:
        raise Failed(f"fewer than 3 windows to compare of {', '.join(few)}: {same}")
    say(f"{sum(same.values())} windows replay to the bytes of their live vectors, in {secs:.0f} s: {same}")


def drops(robot):
    """Of each sensor, as the newest health has them."""
    lines = robot.ear.since(0, "health")[-1]["body"]["sensors"]
    return {line["sensor"]: {reason: int(count) for reason, count in line.get("drops", {}).items()} for line in lines}


def rolls_back(robot):
    """A size that passes every check and that the camera cannot do is taken back by itself, and costs no other sensor a window."""
    others = [sensor for sensor in SENSORS if sensor != "front"]
    robot.ear.await_sensor("heat", ["ok"], robot.ear.mark(), 60)
    mark, before = robot.ear.mark(), drops(robot)
    robot.ear.await_embeddings(others, mark, BACK_SECS)
    wish = "sensors.front.width_px=640 sensors.front.height_px=222"
    code, told = robot.machine.ask(f"perceptd config set {wish} --config /etc/perceptd/perceptd.toml --timeout 180s", 240)
    if code != 1 or "rolled back" not in told or "no 640x222 in YUYV; it offers 320x180" not in told:
        raise Failed(f"a size that the camera cannot do gave {code}: {told}")
    said = [report["body"] for report in robot.ear.since(mark, "config/reported")]
    when = {report["state"].removeprefix("WISH_STATE_"): int(report["at"]["mono_nanos"]) for report in said}
    secs = (when["ROLLED_BACK"] - when["PENDING"]) / 1e9
    robot.ear.await_embeddings(SENSORS, robot.ear.mark(), BACK_SECS)
    robot.ear.await_sensor("front", ["ok"], robot.ear.mark(), 60)
    if secs > ROLLED_BACK_SECS:
        raise Failed(f"it took {secs:.1f} s to roll back")
    # An emulated CPU may be too slow to embed every window; it then takes the newest, and counts the others as replaced.
    lost, missing = {}, {}
    for sensor in others:
        after = drops(robot)[sensor]
        more = {reason: count - before[sensor].get(reason, 0) for reason, count in after.items()}
        indices = [int(heard["body"]["window_index"]) for heard in robot.ear.since(mark, f"embedding/{sensor}")]
        missing[sensor] = indices[-1] - indices[0] + 1 - len(indices)
        replaced = more.get("window_replaced", 0) + more.get("embedding_replaced", 0)
        if missing[sensor] > replaced or more.get("too_incomplete", 0):
            lost[sensor] = {"missing": missing[sensor], "replaced": replaced, "drops": more, "indices": indices}
    robot.summary["rolled_back"] = {"secs": round(secs, 1), "too_slow_for": sum(missing.values())}
    if lost:
        raise Failed(f"windows of other sensors were lost: {lost}")
    say(f"a size that the camera cannot do was rolled back after {secs:.1f} s, and no other sensor lost a window: {told.splitlines()[-1].strip()}")


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
        # The service may not look at other users' processes, so that it cannot name the holder, but how to find it.
        "busy": ["busy", "holds it", f"fuser -v {FRONT}"],
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
        # The serial port is busy too: the service has it.
        "for second in $(seq 100); do grep --quiet 'sensor=busy .*busy:' /tmp/told && break; sleep 1; done; kill $!; wait; "
        "grep --max-count=1 --only-matching 'sensor=busy .*' /tmp/told",
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
    live, spans = records(robot)
    rolls_back(robot)
    before = robot.process()
    unplugs(robot)
    robot.stays_as_it_was(before)
    stops(robot)
    replays(robot, live, spans)
    odd_devices(robot)
    robot.starts(SENSORS)
    hangs(robot)


if __name__ == "__main__":
    tell(__doc__.splitlines()[0], story, "perceptd.toml", SENSORS)
