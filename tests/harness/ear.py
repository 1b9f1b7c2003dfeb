"""What the robot says, heard by tests/subscriber.py, which shares no code with perceptd and checks every vector."""

import json
import os
import subprocess
import sys
import threading
import time

from harness.waiting import Failed, wait_for

SUBSCRIBER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "subscriber.py")


class Ear:
    """Listens from the start to the end; questions are asked of what was heard since a `mark`."""

    def __init__(self, port):
        command = [sys.executable, SUBSCRIBER, "--port", str(port), "--for", "86400", "--vectors"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.heard, self.complaints = [], []
        self.threads = [threading.Thread(target=self.listen, daemon=True), threading.Thread(target=self.mind, daemon=True)]
        for thread in self.threads:
            thread.start()

    def listen(self):
        for line in self.process.stdout:
            said = json.loads(line)
            said["level"] = "/".join(said["topic"].split("/")[4:])
            said["at"] = time.monotonic()
            self.heard.append(said)

    def mind(self):
        for line in self.process.stderr:
            self.complaints.append(line.strip())

    def mark(self):
        """Now, as a place in what is heard."""
        return len(self.heard)

    def since(self, mark, level):
        """The bodies said under a topic level since `mark`."""
        return [said for said in self.heard[mark:] if said["level"] == level]

    def await_embeddings(self, sensors, mark, secs, count=2):
        """Waits until each of the sensors has embedded `count` windows since `mark`."""

        def missing():
            return [sensor for sensor in sensors if len(self.since(mark, f"embedding/{sensor}")) < count]

        try:
            wait_for("embeddings", lambda: not missing(), secs)
        except Failed:
            raise Failed(f"no {count} embeddings of {', '.join(missing())} within {secs} s") from None

    def await_sensor(self, sensor, states, mark, secs):
        """Waits until `health` since `mark` shows the sensor in one of these states; gives that line of it."""

        def shown():
            for said in self.since(mark, "health"):
                for line in said["body"].get("sensors", []):
                    if line["sensor"] == sensor and line["state"].removeprefix("SENSOR_STATE_").lower() in states:
                        return line | {"at": said["at"]}
            return None

        return wait_for(f"{sensor} as {' or '.join(states)} in health", shown, secs)

    def samples(self, sensor):
        """How many samples the newest `health` counts."""
        lines = [line for said in self.since(0, "health")[-1:] for line in said["body"]["sensors"]]
        return sum(int(line.get("samples", 0)) for line in lines if line["sensor"] == sensor)

    def await_status(self, state, mark, secs):
        """Waits for the presence `running`, `stopped` or `lost`."""

        def shown():
            states = [said["body"]["state"] for said in self.since(mark, "status")]
            return f"PRESENCE_STATE_{state.upper()}" in states

        return wait_for(f"the status {state}", shown, secs)

    def end(self):
        """Gives what the subscriber found wrong."""
        self.process.terminate()
        self.process.wait()
        for thread in self.threads:
            thread.join()
        return self.complaints
