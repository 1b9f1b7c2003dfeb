"""Frames for cameras that show what is written into them, and what a recording holds of them; read by the MCAP project's own library."""

import os
import struct

from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

HERE = os.path.dirname(os.path.abspath(__file__))
MEADOW = os.path.join(os.path.dirname(os.path.dirname(HERE)), "deploy", "bundled", "meadow.mcap")

# Every twelfth of the bundled recording's JPEG pictures, which a camera's encoder made.
EVERY = 12
DEPTH_WIDTH_PX, DEPTH_HEIGHT_PX = 160, 120


def depth_frame(n):
    """A floor that rises to the back, in millimetres, with a stripe of no reading that wanders."""
    rows = range(DEPTH_HEIGHT_PX)
    millimetres = [0 if x == 10 * n else 400 + 9 * y + 3 * x for y in rows for x in range(DEPTH_WIDTH_PX)]
    return struct.pack(f"<{len(millimetres)}H", *millimetres)


def write(folder):
    """One folder a camera, with its frames, and beside it the layout as the unit `feed@` takes it."""
    with open(MEADOW, "rb") as file:
        pictures = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages(topics=["/camera"])
        pictures = [message.data for _, _, _, message in pictures][::EVERY]
    cameras = {
        "jpeg": (pictures, "MJPG", 640, 480),
        "jpeg_too": (pictures, "MJPG", 640, 480),
        "depth": ([depth_frame(n) for n in range(len(pictures))], "Z16 ", DEPTH_WIDTH_PX, DEPTH_HEIGHT_PX),
    }
    for name, (frames, fourcc, width_px, height_px) in cameras.items():
        os.makedirs(os.path.join(folder, name))
        for n, frame in enumerate(frames):
            with open(os.path.join(folder, name, f"{n:03}"), "wb") as file:
                file.write(frame)
        with open(os.path.join(folder, f"{name}.env"), "w") as file:
            file.write(f'FOURCC="{fourcc}"\nWIDTH={width_px}\nHEIGHT={height_px}\n')
    return {name: set(frames) for name, (frames, *_) in cameras.items()}


class Recording:
    """A recording of perceptd."""

    def __init__(self, path):
        self.messages = {}
        with open(path, "rb") as file:
            reader = make_reader(file, decoder_factories=[DecoderFactory()])
            told = {record.name: record.metadata for record in reader.iter_metadata()}
            zero = int(told["perceptd"]["unix_nanos_at_zero"])
            for _, channel, message, decoded in reader.iter_decoded_messages():
                sensor = channel.metadata["perceptd.sensor"]
                self.messages.setdefault(sensor, []).append((message.publish_time - zero, decoded))

    def spans(self):
        """The capture of each sensor's first and last sample, on the monotonic clock, in nanoseconds."""
        return {sensor: (min(at for at, _ in said), max(at for at, _ in said)) for sensor, said in self.messages.items()}
