#!/usr/bin/env python3
"""Sends commands and wishes to a perceptd, right ones and wrong ones, and prints what came back as one JSON object.

With `--record`, `--snapshot`, `--retain` or `--ask` it sends that one command alone.
"""

import argparse
import base64
import glob
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def generated(folder):
    proto = os.path.join(ROOT, "proto")
    files = sorted(glob.glob(os.path.join(proto, "perceptd", "v1", "*.proto")))
    subprocess.run(["protoc", f"-I{proto}", f"--python_out={folder}", *files], check=True)
    sys.path.insert(0, folder)
    return [importlib.import_module(f"perceptd.v1.{name}_pb2") for name in ("command", "config")]


class Asker:
    def __init__(self, port, root, command, config):
        self.root, self.command, self.config = root, command, config
        self.replies, self.reported, self.elsewhere = {}, [], []
        self.news = threading.Condition()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = self.on_message
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe([(f"{root}reply/#", 1), (f"{root}config/reported", 1), ("elsewhere/#", 1)])
        assert subscribed.wait(20), "not subscribed"

    def on_message(self, _client, _data, packet):
        with self.news:
            if packet.topic.startswith("elsewhere/"):
                self.elsewhere.append(packet.topic)
            elif packet.topic.endswith("config/reported"):
                self.reported.append(self.config.ConfigReported.FromString(packet.payload))
            else:
                reply = self.command.CommandReply.FromString(packet.payload)
                correlation = getattr(packet.properties, "CorrelationData", b"")
                assert correlation == reply.correlation_data, "the packet and the payload disagree"
                self.replies.setdefault(reply.id, []).append(reply)
            self.news.notify_all()

    def send(self, name, body, *, to="reply/test", expiry=20, retain=False, correlation=b"c"):
        """Publishes a command; gives its acknowledgement."""
        properties = Properties(PacketTypes.PUBLISH)
        if to is not None:
            properties.ResponseTopic = to if to.startswith("elsewhere") else self.root + to
            properties.CorrelationData = correlation
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        payload = body if isinstance(body, bytes) else body.SerializeToString()
        self.client.publish(f"{self.root}cmd/{name}", payload, qos=1, retain=retain, properties=properties).wait_for_publish(20)

    def answers(self, command_id, count=1, secs=30):
        """The replies to a command, once there are so many."""
        with self.news:
            self.news.wait_for(lambda: len(self.replies.get(command_id, [])) >= count, secs)
            return [
                {"state": reply.state, "what": reply.what}
                for reply in self.replies.get(command_id, [])
            ]

    def wish(self, generation, patch):
        """Wishes a config; gives the last word on it."""
        with self.news:
            seen = len(self.reported)
        message = self.config.ConfigDesired(generation=generation, patch_json=json.dumps(patch))
        payload = message.SerializeToString()
        self.client.publish(f"{self.root}config/desired", payload, qos=1, retain=True).wait_for_publish(20)
        digest = hashlib.sha256(payload).hexdigest()
        final = lambda: [r for r in self.reported[seen:] if r.digest == digest and r.state != self.config.WISH_STATE_PENDING]
        with self.news:
            assert self.news.wait_for(final, 60), "no report"
            last = final()[-1]
        return {
            "generation": last.generation,
            "state": self.config.WishState.Name(last.state),
            "in_force": last.generation_in_force,
            "problems": [f"{p.key}: {p.what}" for p in last.problems],
        }


def thumbnails(asker, command):
    """Of each sensor, with thumbnails and when they are not wanted."""
    asked = {"with": command.SnapshotCommand(), "without": command.SnapshotCommand(without_thumbnails=True)}
    found = {}
    for name, body in asked.items():
        asker.send("snapshot", command.Command(id=name, snapshot=body))
        assert asker.answers(name)[0]["state"] == command.COMMAND_STATE_DONE, asker.answers(name)
        sensors = asker.replies[name][0].snapshot.sensors
        found[name] = {s.embedding.sensor: base64.b64encode(s.thumbnail_jpeg).decode() for s in sensors}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--sensor", help="one to restart")
    parser.add_argument("--record", type=float, metavar="SECS", help="begin a recording of this length, and do not wait for its end")
    parser.add_argument("--wait", action="store_true", help="wait for the recording's end all the same, and print the file's path, or nothing if samples were lost")
    parser.add_argument("--snapshot", action="store_true", help="print the thumbnails of the sensors that have one")
    parser.add_argument("--retain", metavar="ID", help="retain a command of this id to record for a second, which says all in its payload")
    parser.add_argument("--ask", metavar="ID", help="ask for a snapshot by this id, valid for ten minutes, and print the answer")
    args = parser.parse_args()
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        command, config = generated(folder)
        asker = Asker(args.port, args.root, command, config)
        snapshot = lambda name: command.Command(id=name, snapshot=command.SnapshotCommand())
        record = lambda name, secs: command.Command(id=name, record=command.RecordCommand(duration_secs=secs))
        if args.record:
            asker.send("record", record("record", args.record))
            if args.wait:
                answer = asker.answers("record", secs=args.record + 60)[0]
                assert answer["state"] == command.COMMAND_STATE_DONE, answer
                # A disk that was too slow costs samples, which is told.
                print("" if "lost" in answer["what"] else asker.replies["record"][0].record.file)
            return
        if args.retain:
            body = record(args.retain, 1)
            body.expires_at_unix_nanos = time.time_ns() + 600_000_000_000
            body.response_topic = f"{args.root}reply/{args.retain}"
            asker.send("record", body, to=None, expiry=None, retain=True)
            return
        if args.ask:
            asker.send("snapshot", snapshot(args.ask), expiry=600)
            print(json.dumps(asker.answers(args.ask)))
            return
        if args.snapshot:
            print(json.dumps(thumbnails(asker, command)))
            return

        asker.send("snapshot", snapshot("good"))
        out["good"] = asker.answers("good")
        reply = asker.replies["good"][0]
        out["snapshot"] = [
            {"sensor": s.embedding.sensor, "scores": [p.prompt for p in s.scores]}
            for s in reply.snapshot.sensors
        ]
        asker.send("snapshot", snapshot("good"))
        out["replayed"] = asker.answers("good", 2)[1:]
        asker.send("snapshot", snapshot("retained"), retain=True)
        out["retained"] = asker.answers("retained")
        asker.client.publish(f"{args.root}cmd/snapshot", b"", qos=1, retain=True).wait_for_publish(20)
        asker.send("snapshot", snapshot("timeless"), expiry=None)
        out["timeless"] = asker.answers("timeless")
        late = snapshot("late")
        late.expires_at_unix_nanos = time.time_ns() - 1_000_000_000
        asker.send("snapshot", late)
        out["late"] = asker.answers("late")
        old = snapshot("old-mqtt")
        old.expires_at_unix_nanos = time.time_ns() + 20_000_000_000
        old.response_topic, old.correlation_data = f"{args.root}reply/old", b"inside"
        asker.send("snapshot", old, to=None, expiry=None)
        # The request had no properties: what the callback compares comes from its payload.
        out["old_mqtt"] = asker.answers("old-mqtt")
        asker.send("snapshot", snapshot("foreign"), to="elsewhere/there")
        asker.send("snapshot", snapshot("own-topic"), to="status")
        restart = lambda name, sensor: command.Command(id=name, restart_sensor=command.RestartSensorCommand(sensor=sensor))
        asker.send("restart-sensor", restart("restart", args.sensor))
        out["restart"] = asker.answers("restart")
        asker.send("restart-sensor", restart("nobody", "nobody"))
        out["nobody"] = asker.answers("nobody")
        asker.send("record", record("record", 2))
        asker.send("record", record("second-record", 2))
        out["record"], out["second_record"] = asker.answers("record"), asker.answers("second-record")
        asker.send("resend", command.Command(id="resend", resend=command.ResendCommand(from_seq=1)))
        out["resend"] = asker.answers("resend")
        asker.send("record", restart("mismatch", args.sensor))
        out["mismatch"] = asker.answers("mismatch")
        for index in range(3):
            asker.send("snapshot", b"\xff\xff poison")
        out["wishes"] = [
            asker.wish(7, {"events": {"min_on_secs": 0.3}}),
            asker.wish(7, {"events": {"min_on_secs": 0.3}}),
            asker.wish(6, {"log": {"level": "warn"}}),
            asker.wish(7, {"log": {"level": "warn"}}),
            asker.wish(8, {"mqtt": {"host": "elsewhere"}, "sensors": {"x": {"driver": "command"}}, "log": {"level": "warn"}}),
            asker.wish(9, {"events": {"median_windows": 2}}),
        ]
        out["one_at_once"] = [asker.wish(10, {"remote": {"max_commands": 1}})["state"]]
        asker.send("record", record("the-one", 2))
        asker.send("snapshot", snapshot("one-too-many"))
        for name in ("one-too-many", "the-one"):
            out["one_at_once"] += asker.answers(name)
        asker.send("snapshot", snapshot("after-it"))
        out["one_at_once"] += asker.answers("after-it")
        # What was answered to the wrong place would have come by now.
        asker.send("snapshot", snapshot("last"))
        asker.answers("last")
        out["elsewhere"] = asker.elsewhere
        out["answered_elsewhere"] = [name for name in ("foreign", "own-topic") if name in asker.replies]
        asker.client.loop_stop()
        asker.client.disconnect()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
