#!/usr/bin/env python3
"""Checks discovery messages, JSON lines of `{"topic": …, "payload": …}` on stdin, against Home Assistant's own schemas and topic rule.

Needs the PyPI package homeassistant. Prints the number of messages that passed; exits with 1 at the first that did not. The newest
version for Debian 12's Python (2024.3) knows discovery by component only, so that is what perceptd speaks and what is checked here.
"""

import json
import sys

from homeassistant.components.mqtt import binary_sensor, sensor
from homeassistant.components.mqtt.discovery import TOPIC_MATCHER

SCHEMAS = {"binary_sensor": binary_sensor.DISCOVERY_SCHEMA, "sensor": sensor.DISCOVERY_SCHEMA}
# Without these an entity would be made, and be of no use.
WANTED = ("unique_id", "device", "availability_topic", "expire_after")


def main():
    passed = 0
    for line in sys.stdin:
        message = json.loads(line)
        prefix, _, rest = message["topic"].partition("/")
        match = TOPIC_MATCHER.match(rest)
        if prefix != "homeassistant" or not match or match.group("component") not in SCHEMAS:
            sys.exit(f"no discovery topic: {message['topic']}")
        try:
            config = SCHEMAS[match.group("component")](json.loads(message["payload"]))
        except Exception as error:  # voluptuous' own, whose text says which key
            sys.exit(f"{message['topic']}: {error}\n{message['payload']}")
        missing = [key for key in WANTED if key not in config]
        if missing:
            sys.exit(f"{message['topic']}: without {missing}")
        passed += 1
    print(passed)


if __name__ == "__main__":
    main()
