#!/usr/bin/env python3
"""perceptd on what a laptop has, with the config of the README: a UVC webcam and the microphone of an HDA codec; called by tests/vm/run.

The kernel's own drivers (`uvcvideo`, `snd_hda_intel`) drive them, as on a laptop; the hardware behind them is emulated: the webcam by
webcam.py, the codec by QEMU, which hears what this test plays into a pipe of PulseAudio. The webcam shows pictures of the bundled recording
with a sheep in them, the microphone hears the recording's sheep. Live it is embedded by the tiny pack. The reference pack, for which an emulated
CPU is slow, looks on the host for the sheep in what `perceptd record` recorded in the guest; laptop_live.py has it live, at long hops.
"""

import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import threading
import time

import frames
from robot import BACK_SECS, ROOT, SEEN_SECS, Failed, say, tell, wait_for
from webcam import MAKER, NAME, SERIAL, SIZES, Webcam

BUNDLED = os.path.join(ROOT, "deploy", "bundled")
SHEEP = os.path.join(BUNDLED, "prompts", "sheep.ogg")
CAMERA = f"/dev/v4l/by-id/usb-{MAKER}_{NAME.replace(' ', '_')}_{SERIAL}-video-index0"
# Of the bundled recording: while the whole sheep is in the picture, and while it is heard, with some hush around.
SEEN_SHEEP_SECS, HEARD_SHEEP_SECS = (2.4, 5.6), (2.0, 5.0)
SOUND_HZ, BLOCK_SECS = 48_000, 0.005
# Microseconds.
PIECES = "timer-period=2000,in.period-length=5000,in.buffer-length=80000"
RECORD_SECS, RAW_SECS = 10, 4
RECORD_ATTEMPTS = 3
# Of the webcam's 15, and of 5 raw ones.
LEAST_FRAMES_HZ = 3
# Intersection over union of a found box and the true one.
LEAST_OVERLAP = 0.4
SENSORS = ["front", "mic"]


class Parts:
    """What a laptop has built in; the machine asks for it when it starts."""

    def __init__(self):
        self.pulse = self.fifo = None

    def arguments(self, machine):
        """QEMU's. The webcam's socket is a port: what connects to it is plugged in."""
        return [
            *("-chardev", f"socket,id=webcam,path={machine.socket('webcam')},server=on,wait=off", "-device", "usb-redir,chardev=webcam"),
            # Of the ways to hear something that Debian's QEMU has without a desktop, ALSA leads to PulseAudio.
            # It comes in small pieces: what comes at once, the codec hands on at once, and a ring of two periods is soon overrun.
            *("-audiodev", f"alsa,id=room,out.dev=null,in.dev=room,in.frequency={SOUND_HZ},in.format=s16,in.channels=2,{PIECES}"),
            *("-device", "ich9-intel-hda", "-device", "hda-micro,audiodev=room"),
        ]

    def begin(self, machine):
        """A sound server that hears what is written to a pipe. Gives the environment in which QEMU finds it."""
        folder = os.path.join(machine.folder, "room")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o700)
        server, pipe, config = (os.path.join(folder, name) for name in ("pulse.sock", "pipe", "asound.conf"))
        with open(config, "w") as file:
            file.write(f'pcm.null {{ type null }}\npcm.room {{ type pulse server "unix:{server}" device "room" }}\n')
        home = {"HOME": folder, "XDG_RUNTIME_DIR": folder, "PULSE_RUNTIME_PATH": folder}
        with open(os.path.join(folder, "pulse.log"), "wb") as log:
            self.pulse = subprocess.Popen(
                [
                    *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--realtime=no"),
                    *("--high-priority=no", "--disable-shm=yes"),
                    *("-L", f"module-native-protocol-unix auth-anonymous=1 socket={server}"),
                    *("-L", f"module-pipe-source source_name=room file={pipe} format=s16le rate={SOUND_HZ} channels=2"),
                ],
                env=os.environ | home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for("PulseAudio", lambda: os.path.exists(server) and os.path.exists(pipe), 30)
        self.fifo = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        threading.Thread(target=self.play, args=(self.fifo, heard()), daemon=True).start()
        return {"ALSA_CONFIG_PATH": config, "HOME": folder}

    def play(self, fifo, sound):
        """The sound over and over, in real time: the server takes it as fast as it comes."""
        size = int(SOUND_HZ * BLOCK_SECS) * 4
        blocks = [sound[at : at + size] for at in range(0, len(sound), size)]
        began = time.monotonic()
        for n in itertools.count():
            time.sleep(max(0.0, began + n * BLOCK_SECS - time.monotonic()))
            if self.fifo != fifo:
                return
            try:
                os.write(fifo, blocks[n % len(blocks)])
            except BlockingIOError:
                pass  # nobody listens
            except OSError:
                return

    def end(self):
        """With the machine goes its room."""
        fifo, self.fifo = self.fifo, None
        if self.pulse is not None:
            self.pulse.kill()
            self.pulse.wait()
            self.pulse = None
            os.close(fifo)


def bundled():
    """Messages of the bundled recording by sensor, each with its time in seconds."""
    messages = {}
    with open(frames.MEADOW, "rb") as file:
        reader = frames.make_reader(file, decoder_factories=[frames.DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            messages.setdefault(channel.topic.strip("/"), []).append((message.publish_time / 1e9, decoded))
    zero = min(said[0][0] for said in messages.values())
    return {sensor: [(at - zero, decoded) for at, decoded in said] for sensor, said in messages.items()}


def within(span, at):
    return span[0] <= at <= span[1]


def heard():
    """The recording's sheep as stereo of 48 kHz, 16 bits: what a laptop's codec gives."""
    blocks = [block for at, block in bundled()["mic"] if within(HEARD_SHEEP_SECS, at)]
    times = SOUND_HZ // blocks[0].sample_rate_hz
    data = b"".join(block.data for block in blocks)
    mono = struct.unpack(f"<{len(data) // 2}h", data)
    both = ((now + (then - now) * step // times,) * 2 for now, then in zip(mono, mono[1:] + mono[:1]) for step in range(times))
    return b"".join(struct.pack("<2h", *pair) for pair in both)


def raw_picture(size):
    """YUYV without colour: bars of brightness that lean."""
    width, height = size
    lines = []
    for y in range(height):
        line = bytearray(b"\x80" * (2 * width))
        line[::2] = bytes(16 + (x + y) % 200 for x in range(width))
        lines.append(bytes(line))
    return b"".join(lines)


def readme_config(sound, pack):
    """The README's config, which listens for another sound than a dog's, with this pack."""
    with open(os.path.join(ROOT, "README.md")) as file:
        text = re.search(r"^## Config\n\n```toml\n(.*?)^```", file.read(), re.S | re.M)[1]
    for known, instead in (('id = "dog"', f'id = "{sound.split(".")[0]}"'), ('"bark.ogg"', f'"{sound}"'), ("models/reference", f"models/{pack}")):
        if text.count(known) != 1:
            raise Failed(f"the README's config is not what this test knows: it has not one {known}")
        text = text.replace(known, instead)
    return text


def overlap(box, other):
    """Intersection over union of two boxes, by corners."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0) * max(height, 0)
    area = lambda corners: (corners[2] - corners[0]) * (corners[3] - corners[1])
    return shared / (area(box) + area(other) - shared)


class Laptop:
    """The guest as a laptop: a folder with the config, and the webcam in its owner's hand."""

    folder = "/srv/laptop"

    def __init__(self, robot):
        self.robot, self.sh, self.ear = robot, robot.machine.sh, robot.ear
        pictures = [picture.data for at, picture in bundled()["camera"] if within(SEEN_SHEEP_SECS, at)]
        self.webcam = Webcam(robot.machine, pictures, {size: raw_picture(size) for size in SIZES.values()})
        # The tiny pack, which alone an emulated CPU is fast enough for at the usual hops, knows its chirp; the host has the reference pack, and the sheep.
        for place, sound, pack in (("laptop", os.path.join(ROOT, "tests", "golden", "chirp.wav"), "tiny"), ("host", SHEEP, "reference")):
            place = os.path.join(robot.share, place)
            os.makedirs(place)
            shutil.copy(sound, place)
            os.symlink(os.path.join(ROOT, "models"), os.path.join(place, "models"))
            with open(os.path.join(place, "perceptd.toml"), "w") as file:
                file.write(readme_config(os.path.basename(sound), pack))
        self.sh(f"mkdir -p {self.folder}/models; cp /host/laptop/*.* {self.folder}; cp -r /host/models/tiny {self.folder}/models")

    def plugs_for_all_frames(self):
        """The webcam goes in, and from now on its driver hands on damaged frames, marked as such, instead of throwing them away."""
        self.sh("echo 1 > /sys/module/uvcvideo/parameters/nodrop")
        self.plugs()

    def plugs(self):
        """The webcam goes in, and the driver has its two nodes."""
        self.webcam.plug()
        wait_for("the webcam's nodes", lambda: self.robot.machine.ask("ls /dev/video0 /dev/video1")[0] == 0, SEEN_SECS, every=0.5)
        self.sh("udevadm settle")

    def drops(self, sensor, reason):
        return sum(
            int(line.get("drops", {}).get(reason, 0))
            for said in self.ear.since(0, "health")[-1:]
            for line in said["body"]["sensors"]
            if line["sensor"] == sensor
        )

    def recorder(self, name, secs, changes=()):
        """The command that records with the README's config, in which something stands in the place of a line that begins so."""
        script = "; ".join(f"s|^{line}.*|{new}|" for line, new in changes)
        config = f"cd {self.folder} && sed '{script}' perceptd.toml > {name}.toml"
        return f"{config} && rm -f /host/{name}.mcap && perceptd record --out /host/{name}.mcap --for {secs}s --config {name}.toml 2>&1"

    def record(self, name, secs, changes=(), quirks=()):
        """What `perceptd record` said, and the recording. The quirks come in its midst."""
        told = []
        thread = threading.Thread(target=lambda: told.append(self.robot.machine.ask(self.recorder(name, secs, changes), 120)))
        before = self.webcam.sent["frames"]
        thread.start()
        if quirks:
            wait_for("frames", lambda: self.webcam.sent["frames"] > before + 30, SEEN_SECS)
            self.webcam.quirks.extend(quirks)
        thread.join()
        if not told or told[0][0] != 0:
            raise Failed(f"perceptd record: {told}")
        return told[0][1], frames.Recording(os.path.join(self.robot.share, f"{name}.mcap"))


def sound_of(recording):
    """The rate of a recording's sound, how many seconds there are of it, and its peak."""
    blocks = [block for _, block in recording.messages.get("mic", [])]
    rate, samples, peak = blocks[0].sample_rate_hz if blocks else 1, 0, 0.0
    for block in blocks:
        # Whole numbers of 16 bits, or parts of the full scale.
        kind, size, full = ("h", 2, 32_768) if block.encoding == 1 else ("f", 4, 1)
        values = struct.unpack(f"<{len(block.data) // size}{kind}", block.data)
        samples += len(values)
        peak = max(peak, max(values, default=0) / full)
    return rate, samples / rate, peak


def lists(laptop):
    """`perceptd devices` names both; of the webcam's two nodes only the one with pictures."""
    found = json.loads(laptop.sh("perceptd devices --json"))
    cameras, microphones = found["cameras"], found["microphones"]
    layouts = {offer["fourcc"] for camera in cameras for offer in camera["offers"]}
    if [camera["device"] for camera in cameras] != [CAMERA] or NAME not in cameras[0]["name"] or layouts != {"MJPG", "YUYV"}:
        raise Failed(f"perceptd devices lists as cameras {cameras}")
    if [microphone["device"] for microphone in microphones] != ["plughw:CARD=Intel,DEV=0"]:
        raise Failed(f"perceptd devices lists as microphones {microphones}")
    names = [cameras[0]["name"], microphones[0]["name"]]
    drivers = laptop.sh("basename -a $(readlink /sys/class/video4linux/video0/device/driver /sys/class/sound/card0/device/driver)").split()
    if drivers != ["uvcvideo", "snd_hda_intel"]:
        raise Failed(f"the devices are driven by {drivers}")
    say(f"perceptd devices lists {names}, driven by {drivers}")


def runs(laptop):
    """`perceptd check` and `perceptd run` with the README's config: both senses are embedded."""
    told = laptop.sh(f"cd {laptop.folder} && perceptd check perceptd.toml", 300)
    if "2 sensor(s), 1 prompt(s)" not in told:
        raise Failed(f"perceptd check: {told}")
    mark = laptop.ear.mark()
    laptop.sh(f"systemd-run --quiet --unit=laptop --working-directory={laptop.folder} perceptd run --config perceptd.toml")
    laptop.ear.await_embeddings(SENSORS, mark, BACK_SECS, count=4)
    for sensor in SENSORS:
        laptop.ear.await_sensor(sensor, ["ok"], mark, SEEN_SECS)
    say(f"perceptd run with the README's config embeds {', '.join(SENSORS)}")


def endures(laptop):
    """Frames that are cut short are counted, and embeddings go on."""
    before = laptop.drops("front", "undecodable")
    laptop.webcam.quirks.extend(["truncated"] * 40)
    wait_for("broken frames in health", lambda: laptop.drops("front", "undecodable") >= before + 6, SEEN_SECS)
    laptop.ear.await_embeddings(SENSORS, laptop.ear.mark(), BACK_SECS)
    laptop.ear.await_sensor("front", ["ok"], laptop.ear.mark(), SEEN_SECS)
    say(f"40 frames cut short: {laptop.drops('front', 'undecodable') - before} counted as undecodable, embeddings go on")


def replugs(laptop):
    """The webcam is pulled out and comes back."""
    laptop.robot.fault("webcam pulled out", ["front"], ["lost"], laptop.webcam.pull, laptop.plugs_for_all_frames, "No such ")
    # Meanwhile nobody else has it.
    told = laptop.robot.machine.ask(laptop.recorder("busy", 2), 60)[1]
    if "/dev/video0: busy: perceptd (process " not in told:
        raise Failed(f"that the webcam is busy is told as {told!r}")
    mark = laptop.ear.mark()
    laptop.sh("systemctl stop laptop.service")
    laptop.ear.await_status("stopped", mark, SEEN_SECS)


def takes(laptop, name, secs, is_ours, changes=(), quirks=()):
    """A recording that is whole: a busy host breaks frames and sound of an emulated machine, as a bad cable does, and that is no fault of perceptd.

    `is_ours` of a frame says whether the webcam sent it so. Gives what was said, the frames, and the sound's rate.
    """
    for attempt in range(1, RECORD_ATTEMPTS + 1):
        said, recording = laptop.record(name, secs, changes, quirks)
        pictures = [message for _, message in recording.messages.get("front", [])]
        strange = sum(not is_ours(picture) for picture in pictures)
        rate, heard_secs, peak = sound_of(recording)
        told = f"{len(pictures)} frames, {strange} of them none that were sent; {heard_secs:.1f} s of sound at {rate} Hz, up to {peak:.2f}"
        if strange == 0 and len(pictures) >= LEAST_FRAMES_HZ * secs and heard_secs > 0.8 * secs and peak > 0.1:
            say(f"recording {name} in {secs} s: {told}; {said.splitlines()[-1]}")
            return said, pictures, rate
        say(f"recording {name}, {attempt} of at most {RECORD_ATTEMPTS}: {told}")
    raise Failed(f"recording {name}: {told}; {said}")


def records(laptop):
    """What webcam and codec gave is in the recording, byte for byte, and what cannot be had is told."""
    whole = set(laptop.webcam.frames)
    cut = {frame[: len(frame) // 2] for frame in whole}
    said, pictures, _ = takes(laptop, "live", RECORD_SECS, lambda picture: bytes(picture.data) in whole | cut, quirks=["truncated", "error"])
    cuts = sum(bytes(picture.data) in cut for picture in pictures)
    if cuts != 1 or "more came damaged" not in said:
        raise Failed(f"of a frame cut short and a damaged one {cuts} of the first kind were recorded, and the other was not told: {said}")
    # The other ways: raw, as slow as that is, and the codec itself, with nothing that converts.
    changes = [
        ('driver = "v4l"', 'driver = "v4l"\\nfourcc = "YUYV"\\nrate_hz = 5.0'),
        ('driver = "microphone"', 'driver = "microphone"\\nhost = "alsa"\\ndevice = "hw:CARD=Intel,DEV=0"\\nsample_rate_hz = 44100'),
    ]
    raw = laptop.webcam.raw[640, 480]
    _, _, rate = takes(laptop, "raw", RAW_SECS, lambda picture: (picture.encoding, bytes(picture.data)) == ("yuyv", raw), changes)
    if rate != 44_100:
        raise Failed(f"the codec ran at {rate} Hz")
    # The second node of the webcam, which holds no pictures.
    told = laptop.robot.machine.ask(laptop.recorder("none", 2, [("device = ", 'device = "/dev/video1"')]), 60)[1]
    if "/dev/video1 cannot do this: it is no plain capture device" not in told:
        raise Failed(f"the webcam's node of metadata is told as {told!r}")


def true_box():
    """Where the sheep is while the webcam shows it, on average."""
    with open(os.path.join(BUNDLED, "truth.json")) as file:
        sheep = next(one for one in json.load(file)["objects"] if one["name"] == "sheep")
    boxes = [one["box"] for one in sheep["boxes"] if within(SEEN_SHEEP_SECS, one["t_secs"])]
    return [sum(corner) / len(boxes) for corner in zip(*boxes)]


def finds(laptop):
    """The reference pack finds the sheep in what was recorded: where it is in the picture, and in the sound."""
    truth = true_box()
    command = [os.path.join(laptop.robot.share, "perceptd"), "replay", "live.mcap", "--config", "host/perceptd.toml", "--events"]
    replayed = subprocess.run(command, cwd=laptop.robot.share, capture_output=True, text=True)
    if replayed.returncode != 0:
        raise Failed(f"perceptd replay: {replayed.stderr}")
    events = [json.loads(line) for line in replayed.stdout.splitlines()]
    best = {}
    for event in events:
        best[event["sensor"]] = max(best.get(event["sensor"], 0.0), round(event["calibrated"], 2))
    overlaps = [round(overlap(box["box"], truth), 2) for event in events if event["sensor"] == "front" for box in event["boxes"]]
    laptop.robot.summary["found"] = {"sheep": best, "overlaps": overlaps}
    if set(best) != set(SENSORS) or min(overlaps, default=0.0) < LEAST_OVERLAP:
        raise Failed(f"the sheep is found as {best}, with boxes that overlap its own by {overlaps}: {replayed.stderr}")
    say(f"the reference pack finds the sheep by its sound, calibrated {best}; its boxes overlap the true one by {min(overlaps)} to {max(overlaps)}")


def tell_of(description, *steps):
    """Runs the steps on a laptop whose webcam is plugged in, and prints the summary."""

    def story(robot):
        laptop = Laptop(robot)
        try:
            laptop.plugs()
            for step in steps:
                step(laptop)
            robot.summary["webcam"] = laptop.webcam.sent
        finally:
            laptop.webcam.pull()

    tell(description.splitlines()[0], story, "few.toml", SENSORS, parts=Parts())


if __name__ == "__main__":
    tell_of(__doc__, lists, runs, endures, replugs, records, finds)
