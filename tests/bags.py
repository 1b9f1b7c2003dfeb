"""Recordings between perceptd and others: writes a ROS 2 bag, and reads what perceptd wrote, with the MCAP project's own library.

    bags.py write BAG.mcap zstd|lz4|none|loose PICTURE.jpg    six seconds of camera, IMU and sound
    bags.py read FILE.mcap                                    one JSON line a channel
"""

import json
import struct
import sys
from types import SimpleNamespace as Message

HEADER = "std_msgs/Header header\n"
PARTS = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
GEOMETRY = """================================================================================
MSG: geometry_msgs/Quaternion
float64 x
float64 y
float64 z
float64 w
================================================================================
MSG: geometry_msgs/Vector3
float64 x
float64 y
float64 z
"""
DEFINITIONS = {
    "sensor_msgs/msg/Image": HEADER
    + "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n"
    + PARTS,
    "sensor_msgs/msg/CompressedImage": HEADER + "string format\nuint8[] data\n" + PARTS,
    "sensor_msgs/msg/Imu": HEADER
    + "geometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
    + "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n"
    + "geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n"
    + PARTS
    + GEOMETRY,
    "audio_common_msgs/msg/AudioData": "uint8[] data\n",
    "std_msgs/msg/String": "string data\n",
}
START_NANOS = 1_700_000_000_250_000_000
SECS = 6


def write(path, how, picture):
    from mcap.writer import CompressionType
    from mcap_ros2.writer import Writer

    kind = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4}.get(how, CompressionType.NONE)
    with open(path, "wb") as file, open(picture, "rb") as jpeg:
        writer = Writer(file, chunk_size=100_000, compression=kind)
        if how == "loose":  # the ROS 2 writer has no switch for it
            assert writer._writer._Writer__chunk_builder is not None
            writer._writer._Writer__chunk_builder = None
        schemas = {name: writer.register_msgdef(name, text) for name, text in DEFINITIONS.items()}
        for log_nanos, _, topic, name, message in sorted(messages(jpeg.read()), key=lambda m: m[:2]):
            writer.write_message(topic, schemas[name], message, log_nanos, log_nanos)
        writer.finish()


def messages(jpeg):
    """Log time, number, topic, type and message; cameras need 40 ms, the rest 2 ms."""
    number = 0
    for tick in range(SECS * 100):
        nanos = START_NANOS + tick * 10_000_000
        one = lambda x, y, z: Message(x=x, y=y, z=z)  # noqa: E731
        zeros = [0.0] * 9
        imu = Message(
            header=header(nanos, "imu_link"),
            orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0),
            orientation_covariance=[-1.0] + [0.0] * 8,
            angular_velocity=one(0.0, 0.0, tick * 0.001),
            angular_velocity_covariance=zeros,
            linear_acceleration=one(tick * 0.01, 0.0, 9.80665),
            linear_acceleration_covariance=zeros,
        )
        yield nanos + 2_000_000, (number := number + 1), "/imu/data", "sensor_msgs/msg/Imu", imu
        if tick % 10 == 0:
            block = struct.pack("<1600h", *((tick * 7 + n * 31) % 8000 - 4000 for n in range(1600)))
            sound = Message(data=block)
            yield nanos + 100_000_000, (number := number + 1), "/audio", "audio_common_msgs/msg/AudioData", sound
            row = bytes((tick + column) % 256 for column in range(64 * 3)) + b"\xee" * 4
            raw = Message(
                header=header(nanos, "camera"), height=48, width=64, encoding="bgr8", is_bigendian=0, step=196, data=row * 48
            )
            yield nanos + 40_000_000, (number := number + 1), "/camera/image_raw", "sensor_msgs/msg/Image", raw
            packed = Message(header=header(nanos, "camera"), format="bgr8; jpeg compressed bgr8", data=jpeg)
            topic = "/camera/image_raw/compressed"
            yield nanos + 40_000_000, (number := number + 1), topic, "sensor_msgs/msg/CompressedImage", packed
            steps = struct.pack("<256H", *(tick + n for n in range(256)))
            depth = Message(
                header=header(nanos, "depth"), height=16, width=16, encoding="16UC1", is_bigendian=0, step=32, data=steps
            )
            yield nanos + 40_000_000, (number := number + 1), "/depth/image_raw", "sensor_msgs/msg/Image", depth
            note = Message(data="not a sensor")
            yield nanos, (number := number + 1), "/chatter", "std_msgs/msg/String", note


def header(nanos, frame_id):
    return Message(stamp=Message(sec=nanos // 1_000_000_000, nanosec=nanos % 1_000_000_000), frame_id=frame_id)


def read(path):
    from mcap.reader import make_reader
    from mcap_protobuf.decoder import DecoderFactory
    from mcap_ros2.decoder import DecoderFactory as RosDecoderFactory

    channels = {}
    with open(path, "rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory(), RosDecoderFactory()], validate_crcs=True)
        assert reader.get_summary() is not None, "no summary"
        for schema, channel, message, decoded in reader.iter_decoded_messages():
            line = channels.setdefault(channel.topic, {"topic": channel.topic, "schema": schema.name, "messages": 0})
            line["messages"] += 1
            line.setdefault("first_log_nanos", message.log_time)
            line.setdefault("first_publish_nanos", message.publish_time)
            line["last_log_nanos"] = message.log_time
            if schema.name == "foxglove.ImageAnnotations":
                boxes = [[[p.x, p.y] for p in points.points] for points in decoded.points]
                line.setdefault("boxes", []).append({"corners": boxes, "labels": [t.text for t in decoded.texts]})
            if schema.name == "perceptd.v1.Embedding":
                line["dim"] = len(decoded.vector)
            if schema.name == "perceptd.recording.v1.ImuBatch":
                line["readings"] = line.get("readings", 0) + len(decoded.readings)
    for line in channels.values():
        print(json.dumps(line))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
