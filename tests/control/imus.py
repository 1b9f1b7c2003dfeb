#!/usr/bin/env python3
"""WitMotion IMUs on pseudo-terminals, one for each path given: 50 readings a second, and only at 115200 baud.

Prints `ready` once every path is there. Ends when its standard input does.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
import tty

TCGETS2 = 0x802C542A


def packet(kind, values):
    body = bytes([0x55, kind]) + struct.pack("<4h", *values)
    return body + bytes([sum(body) & 0xFF])


def baud(master):
    """The output speed of the terminal's other end."""
    buffer = fcntl.ioctl(master, TCGETS2, bytes(44))
    return struct.unpack_from("<I", buffer, 40)[0]


def main():
    lines = []
    for path in sys.argv[1:]:
        master, other = pty.openpty()
        tty.setraw(other)
        speed = termios.tcgetattr(other)
        speed[4] = speed[5] = termios.B115200
        termios.tcsetattr(other, termios.TCSANOW, speed)
        os.symlink(os.ttyname(other), path)
        os.set_blocking(master, False)
        lines.append((master, other))
    print("ready", flush=True)
    count = 0
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        count += 1
        reading = packet(0x51, (count % 500, 0, 2048, 0)) + packet(0x52, (0, count % 300, 0, 0))
        for master, _other in lines:
            try:
                if baud(master) == 115200:
                    os.write(master, reading)
            except BlockingIOError:
                pass  # Nobody reads: a real line loses it too.
    time.sleep(0.1)


if __name__ == "__main__":
    main()
