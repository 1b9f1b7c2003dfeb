"""Waiting for what must come, with a limit."""

import socket
import time


class Failed(Exception):
    """What was waited for did not come."""


def wait_for(what, check, secs, every=0.2):
    """The first true value of `check()`, or Failed, which names what was waited for and what was there instead."""
    deadline = time.monotonic() + secs
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within {secs} s")
        time.sleep(every)


def free_port():
    """A TCP port of this machine where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
