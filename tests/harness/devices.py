"""The bytes of the serial devices that the host plays, written from their data sheets and not from perceptd."""

import math
import struct


def witmotion(n):
    """One cycle of a WitMotion IMU: acceleration and rotation of something that sways."""

    def packet(kind, axes):
        body = struct.pack("<BB4h", 0x55, kind, *(round(axis * 32768) for axis in axes), 2500)
        return body + bytes([sum(body) & 0xFF])

    sway = math.sin(n / 20)
    acceleration = (0.1 * sway / 16, 0.0, 1.0 / 16)  # in 16 g
    rotation = (0.0, 30 * sway / 2000, 0.0)  # in 2000 °/s
    return packet(0x51, acceleration) + packet(0x52, rotation)


def gy_mcu90640(n):
    """One frame of a GY-MCU90640: a warm spot that wanders over a cool wall."""
    centre_x, centre_y = 16 + 10 * math.cos(n / 9), 12 + 7 * math.sin(n / 9)
    celsius = [
        20 + 16 * math.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / 18) for y in range(24) for x in range(32)
    ]
    body = b"\x5a\x5a" + struct.pack("<H768hh", 1538, *(round(100 * value) for value in celsius), 3100)
    return body + struct.pack("<H", sum(body) & 0xFFFF)
