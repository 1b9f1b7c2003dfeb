#!/usr/bin/env python3
"""Tells in words what robots find: a whole consumer of perceptd's events in one page.

Needs paho-mqtt, protobuf and protoc (Debian: protobuf-compiler; PyPI: paho-mqtt, protobuf). It shows the four things that a consumer
gets right once and then forgets: a session that the broker keeps while it is away, events applied by revision so that repeats and
order do not matter, gaps seen by sequence numbers that may come out of order, and a robot that is gone.
"""

import argparse
import importlib
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
# A number that has not come is missing only after so long, and when none that was missing has come for as long: the backlog of an outage
# goes out behind what is new.
PATIENCE_SECS = 10
# A run of perceptd numbers from its start in microseconds: a jump beyond this is a new run whose birth was not heard.
LONGEST_JUMP = 100_000


def generated():
    """The modules `event_pb2` and `status_pb2`, made from proto/ on the spot; a project of yours would commit them."""
    with tempfile.TemporaryDirectory() as folder:
        files = sorted((PROTO / "perceptd" / "v1").glob("*.proto"))
        subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={folder}", *files], check=True)
        sys.path.insert(0, folder)
        return [importlib.import_module(f"perceptd.v1.{name}_pb2") for name in ("event", "status")]


class Numbers:
    """The sequence numbers of one run of a topic. They are in order within an event alone, so any of them may come late."""

    def __init__(self, first, now):
        self.highest = first
        self.missing = {}  # number -> since when
        self.filled_at = now

    def came(self, number, now):
        if number > self.highest:
            if number - self.highest <= LONGEST_JUMP:
                self.missing.update((between, now) for between in range(self.highest + 1, number))
            self.highest = number
        elif self.missing.pop(number, None) is not None:
            self.filled_at = now

    def take_overdue(self, now):
        """The numbers that nobody should wait for any longer; each once."""
        if now - self.filled_at < PATIENCE_SECS:
            return []
        overdue = sorted(number for number, since in self.missing.items() if now - since >= PATIENCE_SECS)
        for number in overdue:
            del self.missing[number]
        return overdue


class Gaps:
    """Of all topics, which numbers are missing."""

    def __init__(self):
        self.runs = {}  # (robot, topic, boot, first number of the run) -> Numbers
        self.starts = {}  # (robot, boot) -> first numbers of its runs
        self.running = {}  # robot -> whether it is there: what one that is away has not sent may still come
        self.is_connected = True
        self.lock = threading.Lock()

    def status(self, robot, boot, first_number, is_running, now):
        with self.lock:
            self.starts.setdefault((robot, boot), set()).add(first_number)
            self.running[robot] = is_running
        self.wait_anew(now, robot)

    def connection(self, is_connected, now):
        self.is_connected = is_connected
        self.wait_anew(now)

    def wait_anew(self, now, robot=None):
        """The robot, or all, or this program itself came or went: nothing is late yet."""
        with self.lock:
            for (of, *_), numbers in self.runs.items():
                if robot in (None, of):
                    numbers.filled_at = now

    def came(self, robot, topic, boot, number, now):
        with self.lock:
            start = max((start for start in self.starts.get((robot, boot), ()) if start <= number), default=0)
            # What came before the first number that was heard was never for us.
            self.runs.setdefault((robot, topic, boot, start), Numbers(number, now)).came(number, now)

    def take_overdue(self, now):
        """Topics with the numbers that are missing; each number once."""
        with self.lock:
            if not self.is_connected:
                return []
            runs = [(topic, of) for (robot, topic, *_), of in self.runs.items() if self.running.get(robot, True)]
            overdue = [(topic, of.take_overdue(now)) for topic, of in runs]
            return [(topic, numbers) for topic, numbers in overdue if numbers]


class Consumer:
    """What it knows of each robot."""

    def __init__(self):
        self.event_pb2, self.status_pb2 = generated()
        self.revisions = {}  # event id -> highest revision applied
        self.gaps = Gaps()

    def on_message(self, _client, _userdata, packet):
        _, _, fleet, robot, *rest = packet.topic.split("/")
        if rest[0] == "status":
            self.on_status(f"{fleet}/{robot}", self.status_pb2.Status.FromString(packet.payload))
        elif rest[0] == "event":
            self.on_event(f"{fleet}/{robot}", packet.topic, self.event_pb2.Event.FromString(packet.payload))

    def on_status(self, robot, status):
        """Birth, stop or will. A will of an older connection than the newest birth would be out of date; retained, it is the last word."""
        is_running = status.state == self.status_pb2.PRESENCE_STATE_RUNNING
        self.gaps.status(robot, status.boot_id, status.first_seq, is_running, time.monotonic())
        state = self.status_pb2.PresenceState.Name(status.state).removeprefix("PRESENCE_STATE_").lower()
        print(f"{robot}: {state}", flush=True)

    def on_event(self, robot, topic, event):
        self.gaps.came(robot, topic, event.boot_id, event.seq, time.monotonic())
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

    def tell_gaps(self):
        while True:
            time.sleep(1)
            for topic, numbers in self.gaps.take_overdue(time.monotonic()):
                # The command `resend` brings again what the robot still has.
                print(f"{topic}: {len(numbers)} messages are missing, the first is {numbers[0]}", file=sys.stderr, flush=True)


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
    def on_connect(client, *_):
        consumer.gaps.connection(True, time.monotonic())
        client.subscribe([(f"{root}/event/#", 1), (f"{root}/status", 1)])

    client.on_connect = on_connect
    client.on_disconnect = lambda *_: consumer.gaps.connection(False, time.monotonic())
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 24 * 3600
    client.connect(args.host, args.port, clean_start=False, properties=session)
    threading.Thread(target=consumer.tell_gaps, daemon=True).start()
    try:
        client.loop_forever(retry_first_connection=True)
    except KeyboardInterrupt:
        client.disconnect()


if __name__ == "__main__":
    main()
