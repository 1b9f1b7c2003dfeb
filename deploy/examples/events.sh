#!/usr/bin/env bash
# Prints every event of every robot as protobuf text, with nothing but mosquitto_sub and protoc (Debian: mosquitto-clients, protobuf-compiler, xxd).
# usage: events.sh [HOST [PORT]]
set -euo pipefail
proto=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../proto" && pwd)

# %x is the payload in hex: a protobuf message may hold any byte, line ends too.
mosquitto_sub -V mqttv5 -h "${1:-127.0.0.1}" -p "${2:-1883}" -q 1 -t 'perceptd/v1/+/+/event/#' -F '%t %x' |
    while read -r topic payload; do
        echo "# $topic"
        xxd -r -p <<<"$payload" | protoc -I"$proto" --decode=perceptd.v1.Event "$proto/perceptd/v1/event.proto"
    done
