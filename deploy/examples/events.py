#!/usr/bin/env python3
"""Tells in words what robots find: a whole consumer of perceptd's events in one page.

Needs paho-mqtt, protobuf and protoc (Debian: protobuf-compiler; PyPI: paho-mqtt, protobuf). It shows the four things that a consumer
gets right once and then forgets: a session that the broker keeps while it is away, events applied by revision so that repeats and
order do not matter, gaps seen by sequence number, and a robot that is gone.
"""

import argparse
import importlib
import pathlib
import subprocess
import sys
import tempfile

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def generated():
    """The modules `event_pb2` and `status_pb2`, made from proto/ on the spot; a project of yours would commit them."""
    with tempfile.TemporaryDirectory() as folder:
        files = sorted((PROTO / "perceptd" / "v1").glob("*.proto"))
        subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={folder}", *files], check=True)
        sys.path.insert(0, folder)
        return [importlib.import_module(f"perceptd.v1.{name}_pb2") for name in ("event", "status")]


class Consumer:
    """What it knows of each robot."""

    def __init__(self):
        self.event_pb2, self.status_pb2 = generated()
        self.revisions = {}  # event id -> highest revision applied
        self.numbers = {}  # topic -> (boot, highest sequence number)
        self.first_numbers = {}  # robot -> first number of its present run

    def on_message(self, _client, _userdata, packet):
        _, _, fleet, robot, *rest = packet.topic.split("/")
        if rest[0] == "status":
            self.on_status(f"{fleet}/{robot}", self.status_pb2.Status.FromString(packet.payload))
        elif rest[0] == "event":
            self.on_event(f"{fleet}/{robot}", packet.topic, self.event_pb2.Event.FromString(packet.payload))

    def on_status(self, robot, status):
        """Birth, stop or will. A will of an older connection than the newest birth would be out of date; retained, it is the last word."""
        self.first_numbers[robot] = status.first_seq
        state = self.status_pb2.PresenceState.Name(status.state).removeprefix("PRESENCE_STATE_").lower()
        print(f"{robot}: {state}", flush=True)

    def on_event(self, robot, topic, event):
        self.look_for_gap(robot, topic, event)
        if self.revisions.get(event.id, 0) >= event.revision:
            return  # a repeat, or an older state that came late: the newer one is known
        self.revisions[event.id] = event.revision
        phase = self.event_pb2.Phase.Name(event.phase).removeprefix("PHASE_").lower()
        line = f"{robot}: {event.prompt} on {event.sensor}, {phase}, score {event.score.calibrated:.2f} of {event.score.threshold:.2f}"
        if event.phase == self.event_pb2.PHASE_END:
            line += ", " + self.event_pb2.EndReason.Name(event.end_reason).removeprefix("END_REASON_").lower()
            seconds = (event.last_support.mono_nanos - event.onset.mono_nanos) / 1e9
            line += f" after {seconds:.1f} s"
        for box in event.boxes[:1]:
            line += f", box {box.x0:.0f},{box.y0:.0f} to {box.x1:.0f},{box.y1:.0f}"
        print(line, flush=True)

    def look_for_gap(self, robot, topic, event):
        boot, last = self.numbers.get(topic, (event.boot_id, event.seq - 1))
        if boot == event.boot_id and event.seq > last + 1 and event.seq != self.first_numbers.get(robot):
            print(f"{topic}: {event.seq - last - 1} messages are missing after {last}", file=sys.stderr, flush=True)
        if boot != event.boot_id or event.seq > last:
            self.numbers[topic] = (event.boot_id, event.seq)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--fleet", default="+", help="one fleet, or + for all")
    parser.add_argument("--robot", default="+", help="one robot, or + for all")
    parser.add_argument("--client-id", default="perceptd-events-example", help="the broker keeps the session under this name")
    args = parser.parse_args()

    consumer = Consumer()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=args.client_id, protocol=mqtt.MQTTv5)
    client.on_message = consumer.on_message
    root = f"perceptd/v1/{args.fleet}/{args.robot}"
    # QoS 1 and a session that outlives the connection: what is published while this program is away waits at the broker.
    client.on_connect = lambda client, *_: client.subscribe([(f"{root}/event/#", 1), (f"{root}/status", 1)])
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 24 * 3600
    client.connect(args.host, args.port, clean_start=False, properties=session)
    try:
        client.loop_forever(retry_first_connection=True)
    except KeyboardInterrupt:
        client.disconnect()


if __name__ == "__main__":
    main()
