#!/usr/bin/env python3
"""Subscribes to everything that perceptd publishes and prints JSON lines: what a consumer that is not perceptd gets.

Generates its protobuf code from proto/ with protoc, in a temporary folder. Each line has `topic`, `message`, `retained`, `qos` and
`body`; a vector is checked (unit length, dimension and joint space as the birth says) and replaced by `vector_length` unless
--vectors is given. Exits with 1 when a check failed or a topic of --until was not heard, with 2 when nothing was heard.
"""

import argparse
import glob
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
import threading

import paho.mqtt.client as mqtt
from google.protobuf.json_format import MessageToDict

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MESSAGES = {
    "status": ("status_pb2", "Status"),
    "health": ("health_pb2", "Health"),
    "embedding": ("embedding_pb2", "Embedding"),
    "joint": ("embedding_pb2", "JointEmbedding"),
    "event": ("event_pb2", "Event"),
    "active": ("event_pb2", "ActiveEvents"),
    "config/reported": ("config_pb2", "ConfigReported"),
    "prompt/reported": ("prompt_pb2", "PromptReported"),
    "reply": ("command_pb2", "CommandReply"),
}

# What others tell perceptd, and topics that were emptied.
FOR_PERCEPTD = ("config/desired", "prompt/desired", "cmd")


def kind_of(topic):
    """The first level below the robot; for wishes and their reports, which of them."""
    levels = topic.split("/")[4:]
    return f"{levels[0]}/{levels[-1]}" if levels and levels[0] in ("config", "prompt") else "".join(levels[:1])


def generated(folder):
    """The message classes by kind, as `kind_of` names it."""
    proto = os.path.join(ROOT, "proto")
    files = sorted(glob.glob(os.path.join(proto, "perceptd", "v1", "*.proto")))
    subprocess.run(["protoc", f"-I{proto}", f"--python_out={folder}", *files], check=True)
    sys.path.insert(0, folder)
    return {
        level: getattr(importlib.import_module(f"perceptd.v1.{module}"), name)
        for level, (module, name) in MESSAGES.items()
    }


class Ear:
    """Decodes, checks and prints."""

    def __init__(self, classes, show_vectors, awaited):
        self.classes = classes
        self.show_vectors = show_vectors
        self.awaited = set(awaited)
        self.is_done = threading.Event()
        self.space = {}
        self.failures = 0
        self.heard = 0

    def fail(self, topic, why):
        self.failures += 1
        print(f"{topic}: {why}", file=sys.stderr, flush=True)

    def on_message(self, _client, _userdata, packet):
        levels = packet.topic.split("/")
        kind = kind_of(packet.topic)
        if kind in FOR_PERCEPTD or (kind == "prompt/reported" and not packet.payload):
            return
        if kind not in self.classes or not packet.payload:
            self.fail(packet.topic, "not one of perceptd's messages")
            return
        robot = "/".join(levels[2:4])
        message = self.classes[kind].FromString(packet.payload)
        body = MessageToDict(message, preserving_proto_field_name=True)
        if kind == "status" and message.space_id:
            self.space[robot] = (message.space_id, message.dim)
        if kind in ("embedding", "joint"):
            self.check_vector(packet.topic, robot, message)
            if not self.show_vectors:
                body.pop("vector", None)
            body["vector_length"] = math.sqrt(sum(value * value for value in message.vector))
        self.heard += 1
        line = {"topic": packet.topic, "message": message.DESCRIPTOR.full_name}
        line |= {"retained": bool(packet.retain), "qos": packet.qos, "body": body}
        print(json.dumps(line), flush=True)
        if packet.topic in self.awaited:
            self.awaited.remove(packet.topic)
            if not self.awaited:
                self.is_done.set()

    def check_vector(self, topic, robot, message):
        length = math.sqrt(sum(value * value for value in message.vector))
        if abs(length - 1.0) > 1e-3:
            self.fail(topic, f"the vector's length is {length}, not 1")
        if robot not in self.space:
            self.fail(topic, "a vector before the birth, so its joint space is not known")
        elif (message.space_id, len(message.vector)) != self.space[robot]:
            self.fail(topic, f"space {message.space_id}, dim {len(message.vector)}; the birth said {self.space[robot]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--for", dest="seconds", type=float, default=10.0, help="how long to listen, in seconds")
    parser.add_argument("--until", nargs="+", metavar="TOPIC", default=[], help="end as soon as each of these has been heard")
    parser.add_argument("--filter", default="perceptd/v1/#", help="topic filter")
    parser.add_argument("--vectors", action="store_true", help="print vectors whole")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        ear = Ear(generated(folder), args.vectors, args.until)
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.on_connect = lambda client, *_: client.subscribe(args.filter, qos=1)
        client.on_message = ear.on_message
        client.connect(args.host, args.port)
        client.loop_start()
        ear.is_done.wait(args.seconds)
        client.loop_stop()
        client.disconnect()
    for topic in sorted(ear.awaited):
        ear.fail(topic, "not heard")
    if ear.failures:
        sys.exit(1)
    if not ear.heard:
        print("nothing was heard", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
