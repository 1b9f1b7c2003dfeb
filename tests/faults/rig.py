"""What the fault scripts share: a mosquitto that can be killed, a subscriber that keeps its session, and the source of events.

The subscriber shares no code with perceptd: paho-mqtt, and protobuf code that protoc generates. What counts as delivered is what it
received, never what a broker acknowledged.
"""

import atexit
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

MOSQUITTO = "/usr/sbin/mosquitto"
FILTER = "perceptd/v1/faults/source/event/#"


def source_binary():
    """The release build of tests/faults/event_source.rs."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    path = os.path.join(target, "release", "examples", "event_source")
    if not os.path.exists(path):
        sys.exit(f"there is no {path}: build it with `cargo build --release --example event_source`")
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def holds_within(condition, limit_secs):
    """Waits until `condition()` holds, at most so long; tells whether it does."""
    deadline = time.monotonic() + limit_secs
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def wait_for(condition, limit_secs, what):
    """Waits until `condition()` holds; ends the script when it does not in time."""
    if not holds_within(condition, limit_secs):
        sys.exit(f"waited {limit_secs} s in vain for {what}")


class Mosquitto:
    """A broker on a port of its own, with or without persistence.

    Its queues are unbounded: by default mosquitto drops what waits for an absent subscriber from the 1001st message on, although it
    has acknowledged it. It saves after every hundredth change: it writes its whole database and waits for the disk each time, so at
    every single change it took 40 messages a second here.
    """

    def __init__(self, folder, persistence, log=None):
        self.port = free_port()
        self.log = log
        self.config = os.path.join(folder, "mosquitto.conf")
        self.process = None
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true"]
        if log:
            lines += ["log_dest stderr", "log_type all", "log_timestamp_format %H:%M:%S"]
        else:
            lines += ["log_dest none"]
        lines += ["max_queued_messages 0", "max_inflight_messages 0", f"persistence {str(persistence).lower()}"]
        if persistence:
            lines += [f"persistence_location {folder}/", "autosave_on_changes true", "autosave_interval 100"]
        # mosquitto leaves root's rights for those of a user who could not write there.
        lines += ["user root"]
        with open(self.config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self.config], stdout=subprocess.DEVNULL, stderr=self.log or subprocess.DEVNULL
        )
        # A script that gives up leaves no broker behind.
        atexit.register(self.process.kill)
        wait_for(self.listens, 20, "mosquitto to listen")

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Subscriber:
    """Receives events with a persistent session, and counts."""

    def __init__(self, port, event_class, topic_filter=FILTER):
        self.event_class = event_class
        self.newest = {}
        self.seen = set()
        self.ended = set()
        self.duplicated = 0
        self.out_of_order = 0
        self.corrupt = 0
        self.crash_recovered = 0
        self.latencies = []
        self.connected = threading.Event()
        # What happened to the connection, and each arrival, with times.
        self.diary = []
        self.arrivals = []
        self.random = random.Random(1)
        self.is_stopping = False
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"faults-{topic_filter.rsplit('/', 1)[1].strip('#')}-{port}", protocol=mqtt.MQTTv5)
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_disconnect = self.on_disconnect
        self.client.on_subscribe = self.on_subscribe
        self.port, self.filter = port, topic_filter
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.thread.start()
        wait_for(self.connected.is_set, 20, "the subscriber to connect")

    def run(self):
        """Connects again and again: paho by itself one second after a loss, two and four after attempts that failed."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        while not self.is_stopping:
            try:
                self.client.connect("127.0.0.1", self.port, clean_start=False, properties=properties)
                self.client.loop_forever(retry_first_connection=False)
            except OSError:
                pass
            if not self.is_stopping:
                time.sleep(self.random.uniform(0.1, 1.5))

    def on_connect(self, client, _userdata, flags, reason, _properties):
        session = "kept" if flags.session_present else "new"
        self.diary.append((time.time(), f"the subscriber connected: {reason}, {session} session"))
        if not reason.is_failure:
            client.subscribe(self.filter, qos=1)
            self.connected.set()

    def on_subscribe(self, *_):
        # Late where the broker kept the session: what waits comes before it.
        self.diary.append((time.time(), "the subscriber's SUBACK"))

    def on_disconnect(self, _client, _userdata, _flags, reason, _properties):
        self.diary.append((time.time(), f"the subscriber lost its connection: {reason}"))
        self.connected.clear()

    def on_message(self, _client, _userdata, packet):
        arrived = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        try:
            event = self.event_class.FromString(packet.payload)
        except Exception:  # pylint: disable=broad-except
            self.corrupt += 1
            return
        self.latencies.append((event.last_support.mono_nanos, arrived - event.last_support.mono_nanos))
        message = (event.id, event.revision)
        self.arrivals.append((time.time(), message))
        if not event.id or not event.prompt or event.prompt != packet.topic.rsplit("/", 1)[1]:
            self.corrupt += 1
        if message in self.seen:
            self.duplicated += 1
            return
        self.seen.add(message)
        if event.phase == 3:
            self.ended.add(event.id)
            self.crash_recovered += event.end_reason == 6
        if event.revision < self.newest.get(event.id, 0):
            self.out_of_order += 1
        self.newest[event.id] = max(event.revision, self.newest.get(event.id, 0))

    def stop(self):
        self.is_stopping = True
        self.client.disconnect()
        self.thread.join(10)


class Source:
    """A run of the source of events, and what it says."""

    def __init__(self, port, accepted, log, **options):
        arguments = [source_binary(), "--port", str(port)]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        self.accepted = accepted
        # By message: when this script read that it was accepted, and what the log calls it.
        self.records = {}
        self.outbox = {}
        self.farewell = None
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "id" in said:
                message = (said["id"], said["revision"])
                self.records[message] = (time.time(), said["record"])
                self.accepted.add(message)
            elif "waiting" in said:
                self.outbox = said
            else:
                self.farewell = said

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.thread.join(10)

    def stop(self):
        """The ordered stop; gives how many events were not delivered."""
        self.process.stdin.close()
        self.process.wait(60)
        self.thread.join(10)
        return self.farewell["undelivered"]


def drain(port, state, accepted, log):
    """Lets what still waits in the state folder go out."""
    source = Source(port, accepted, log, state=state, rate=0)
    wait_for(lambda: source.outbox.get("waiting") == 0, 120, "the outbox to be empty")
    counts = dict(source.outbox)
    source.stop()
    return counts


def summary(accepted, subscriber, **more):
    """Prints the JSON summary; gives the exit code."""
    lost = accepted - subscriber.seen
    result = {
        "accepted": len(accepted),
        "delivered": len(accepted & subscriber.seen),
        "lost": len(lost),
        "duplicated": subscriber.duplicated,
        "out_of_order": subscriber.out_of_order,
        "corrupt": subscriber.corrupt,
    } | more
    print(json.dumps(result), flush=True)
    return 1 if lost or subscriber.corrupt else 0
