"""A laptop's webcam as QEMU sees it: a USB device behind the usbredir protocol, of the class UVC 1.1, so that the guest's `uvcvideo` drives it.

It is what many laptops have: YUYV and MJPG, YUYV of full size too slow for most, MJPG as AVI1 without Huffman tables, a picture spread over
the packets of an isochronous endpoint with a header each, two alternate settings by bandwidth, a second node for metadata (the driver's),
exposure controls. No code is shared with any UVC library; descriptors and requests are from the class's documents.
"""

import select
import socket
import struct
import threading
import time

# usbredir's packets, as far as this device speaks them.
HELLO, CONNECT, RESET, INTERFACES, ENDPOINTS = 0, 1, 3, 4, 5
SET_CONFIG, GET_CONFIG, CONFIG_STATUS, SET_ALT, GET_ALT, ALT_STATUS = 6, 7, 8, 9, 10, 11
START_ISO, STOP_ISO, ISO_STATUS, CONTROL, ISO = 12, 13, 14, 100, 102
SUCCESS, STALL = 0, 4
# Device's version in `connect`, sizes of packets of endpoints, ids of 64 bits, lengths of 32 bits: what xHCI wants.
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6

NAME, MAKER, SERIAL = "Laptop Webcam", "perceptd", "0001"
VENDOR, PRODUCT = 0x1D6B, 0x0102
VIDEO_CONTROL, VIDEO_STREAM, IN = 0, 1, 0x81
# Bytes of a packet by alternate setting; one packet a millisecond, which is every eighth microframe.
PACKET_BYTES = {1: 1024, 2: 3072}
PACKETS_PER_SEC, MICROFRAMES, B_INTERVAL = 1000, 8, 4
# At most so many packets are made up for when the host was late.
LATE_PACKETS = 100

MJPG, YUYV = 1, 2
SIZES = {1: (640, 480), 2: (320, 240)}
# Frames a second: what USB leaves for raw pictures of full size is little.
RATES = {(MJPG, 1): (30, 15, 5), (MJPG, 2): (30, 15), (YUYV, 1): (5,), (YUYV, 2): (15, 5)}

HUFFMAN_TABLES, JFIF, START_OF_SCAN = 0xC4, 0xE0, 0xDA
AVI1 = b"\xff\xe0\x00\x10AVI1" + bytes(10)


def as_webcams_send_it(jpeg):
    """An ordinary JPEG file as a frame of MJPG: `AVI1` in the place of JFIF, no Huffman tables (they are the standard's), zeros behind."""
    out, at = jpeg[:2] + AVI1, 2
    while jpeg[at + 1] != START_OF_SCAN:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] not in (HUFFMAN_TABLES, JFIF):
            out += jpeg[at:end]
        at = end
    return out + jpeg[at:] + bytes(-len(out + jpeg[at:]) % 16)


def interval(rate):
    """In units of 100 ns."""
    return 10_000_000 // rate


def frame_bytes(size):
    """Of a raw picture; no compressed one is larger."""
    width, height = SIZES[size]
    return width * height * 2


def video_function():
    """Descriptors of a format with its frames, for each."""
    out = b""
    for kind, subtype, about in (
        (MJPG, 6, bytes([0, 1, 0, 0, 0, 0])),
        (YUYV, 4, b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71" + bytes([16, 1, 0, 0, 0, 0])),
    ):
        out += bytes([len(about) + 5, 0x24, subtype, kind, len(SIZES)]) + about
        for size, (width, height) in SIZES.items():
            rates = RATES[kind, size]
            bits = frame_bytes(size) * 8
            head = struct.pack("<BBHHIII", size, 0, width, height, bits * rates[-1], bits * rates[0], frame_bytes(size))
            tail = struct.pack(f"<IB{len(rates)}I", interval(rates[0]), len(rates), *map(interval, rates))
            out += bytes([3 + len(head) + len(tail), 0x24, subtype + 1]) + head + tail
        out += bytes([6, 0x24, 13, 1, 1, 4])
    return out


def configuration():
    """The whole configuration: one function of two interfaces."""
    control = bytes([18, 0x24, 2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x0A, 0, 0])  # the camera: exposure mode, exposure time
    control += bytes([12, 0x24, 5, 2, 1, 0, 0, 2, 0x01, 0, 0, 0])  # its processing: brightness
    control += bytes([9, 0x24, 3, 3, 0x01, 0x01, 0, 2, 0])  # what goes to USB
    header = struct.pack("<BBBHHIBB", 13, 0x24, 1, 0x0110, 13 + len(control), 48_000_000, 1, VIDEO_STREAM)
    formats = video_function()
    stream = struct.pack("<BBBBHBBBBBBBBB", 15, 0x24, 1, 2, 15 + len(formats), IN, 0, 3, 0, 0, 0, 1, 0, 0) + formats
    body = bytes([8, 11, VIDEO_CONTROL, 2, 0x0E, 3, 0, 2])
    body += bytes([9, 4, VIDEO_CONTROL, 0, 0, 0x0E, 1, 0, 2]) + header + control
    body += bytes([9, 4, VIDEO_STREAM, 0, 0, 0x0E, 2, 0, 0]) + stream
    for alt, size in PACKET_BYTES.items():
        # Beyond 1024 bytes it is several transactions in one microframe.
        each = size if size <= 1024 else 1024 | (size // 1024 - 1) << 11
        body += bytes([9, 4, VIDEO_STREAM, alt, 1, 0x0E, 2, 0, 0]) + struct.pack("<BBBBHB", 7, 5, IN, 5, each, B_INTERVAL)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), 2, 1, 0, 0x80, 250) + body


def text(words):
    return bytes([2 + 2 * len(words), 3]) + words.encode("utf-16-le")


DESCRIPTORS = {
    (1, 0): struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, VENDOR, PRODUCT, 0x0100, 1, 2, 3, 1),
    (2, 0): configuration(),
    (3, 0): bytes([4, 3, 9, 4]),
    **{(3, n + 1): text(words) for n, words in enumerate((MAKER, NAME, SERIAL))},
    (6, 0): struct.pack("<BBHBBBBBB", 10, 6, 0x0200, 0xEF, 2, 1, 64, 1, 0),
}

# By unit and selector: bytes, least, most, step, default. Exposure mode is a bitmap of what there is.
CONTROLS = {(1, 2): (1, 8, 8, 9, 8), (1, 4): (4, 3, 2047, 1, 250), (2, 2): (2, 0, 255, 1, 128)}
SET_CUR, GET_CUR, GET_MIN, GET_MAX, GET_RES, GET_LEN, GET_INFO, GET_DEF = 0x01, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87


class Webcam:
    """Plugged in and pulled out at the socket `webcam` of the machine.

    `pictures`: JPEG files, 640x480, which it shows one after the other. `raw`: what it shows as YUYV, by size. What `quirks` holds is done to
    the next frame: `truncated` ends it in mid-picture, `error` marks its last packet as damaged.
    """

    def __init__(self, machine, pictures, raw):
        self.machine = machine
        self.frames = [as_webcams_send_it(picture) for picture in pictures]
        self.raw = raw
        self.quirks = []
        self.sent = {"frames": 0, "late_packets": 0, "truncated": 0, "error": 0}
        self.connection = self.thread = None

    def plug(self):
        """In: the guest sees a new device."""
        self.connection = self.machine.connect("webcam")
        self.thread = threading.Thread(target=Plugged(self, self.connection).run, daemon=True)
        self.thread.start()

    def pull(self):
        """Out, in mid-frame or not."""
        if self.connection is not None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.thread.join()
            self.connection.close()
            self.connection = None


class Plugged:
    """From one plugging to the next."""

    def __init__(self, webcam, connection):
        self.webcam, self.connection = webcam, connection
        self.input, self.output = bytearray(), bytearray()
        self.greeted = False
        self.alt = 0
        self.streams = False
        self.settings = {key: control[4] for key, control in CONTROLS.items()}
        self.probed = self.committed = self.offer(MJPG, 1, interval(30))

    def run(self):
        hello = b"perceptd's webcam".ljust(64, b"\0") + struct.pack("<I", CAPABILITIES)
        self.output += struct.pack("<III", HELLO, len(hello), 0) + hello
        try:
            while True:
                writes = [self.connection] if self.output else []
                readable, writable, _ = select.select([self.connection], writes, [], 0.004 if self.streams else 1.0)
                if readable:
                    data = self.connection.recv(65536)
                    if not data:
                        return
                    self.input += data
                    while self.take():
                        pass
                if self.streams:
                    self.send_due()
                if self.output:
                    self.write()
        except OSError:
            return

    def write(self):
        try:
            sent = self.connection.send(self.output, socket.MSG_DONTWAIT)
            del self.output[:sent]
        except BlockingIOError:
            pass

    def say(self, kind, number, body):
        self.output += struct.pack("<IIQ", kind, len(body), number) + body

    def take(self):
        """One packet of QEMU's, once it is there whole."""
        head = struct.Struct("<IIQ" if self.greeted else "<III")
        if len(self.input) < head.size:
            return False
        kind, length, number = head.unpack_from(self.input)
        if len(self.input) < head.size + length:
            return False
        body = bytes(self.input[head.size : head.size + length])
        del self.input[: head.size + length]
        if kind == HELLO:
            self.greeted = True
            kinds = bytes([0x0E, 0x0E]).ljust(32, b"\0"), bytes([1, 2]).ljust(32, b"\0")
            self.say(INTERFACES, 0, struct.pack("<I", 2) + bytes([0, 1]).ljust(32, b"\0") + kinds[0] + kinds[1] + bytes(32))
            self.tell_endpoints()
            self.say(CONNECT, 0, struct.pack("<BBBBHHH", 2, 0xEF, 2, 1, VENDOR, PRODUCT, 0x0100))
        elif kind == RESET:
            self.alt, self.streams = 0, False
        elif kind in (SET_CONFIG, GET_CONFIG):
            self.say(CONFIG_STATUS, number, bytes([SUCCESS, 1]))
        elif kind in (SET_ALT, GET_ALT):
            if kind == SET_ALT and body[0] == VIDEO_STREAM:
                self.alt, self.streams = body[1], False
                self.tell_endpoints()
            self.say(ALT_STATUS, number, bytes([SUCCESS, body[0], self.alt if body[0] == VIDEO_STREAM else 0]))
        elif kind in (START_ISO, STOP_ISO):
            self.say(ISO_STATUS, number, bytes([SUCCESS, body[0]]))
            self.streams = kind == START_ISO
            self.began, self.n, self.frame, self.at = time.monotonic(), 0, b"", 0
            self.shown, self.toggle = 0, 1
        elif kind == CONTROL:
            self.control(number, body)
        return True

    def tell_endpoints(self):
        """Of 32 endpoints, IN ones from 16 on: the control endpoint, and the stream's when its setting has one."""
        types, intervals, interfaces, sizes = bytearray(b"\xff" * 32), bytearray(32), bytearray(32), [0] * 32
        for n in (0, 16):
            types[n], sizes[n] = 0, 64
        if self.alt:
            n = 16 + (IN & 0x0F)
            types[n], intervals[n], interfaces[n], sizes[n] = 1, MICROFRAMES, VIDEO_STREAM, PACKET_BYTES[self.alt]
        self.say(ENDPOINTS, 0, bytes(types + intervals + interfaces) + struct.pack("<32H", *sizes))

    def control(self, number, body):
        endpoint, request, kind, _, value, index, length = struct.unpack_from("<BBBBHHH", body)
        answer = self.answer(kind, request, value, index, body[10:])
        status = STALL if answer is None else SUCCESS
        answer = (answer or b"")[:length]
        told = len(answer) if kind & 0x80 else length
        self.say(CONTROL, number, struct.pack("<BBBBHHH", endpoint, request, kind, status, value, index, told) + answer)

    def answer(self, kind, request, value, index, data):
        """To a request on the control endpoint; None is a stall."""
        if kind & 0x60 == 0:
            if request == 6:
                return DESCRIPTORS.get((value >> 8, value & 0xFF))
            return {0: b"\0\0", 8: b"\1", 10: b"\0"}.get(request, b"" if kind & 0x80 == 0 else None)
        unit, interface, selector = index >> 8, index & 0xFF, value >> 8
        if interface == VIDEO_STREAM:
            return self.negotiate(selector, request, data)
        if unit == 0:
            return b"\x06" if (selector, request) == (2, GET_CUR) else None  # why the last one failed: no such control
        if (unit, selector) not in CONTROLS:
            return None
        size, least, most, step, default = CONTROLS[unit, selector]
        if request == SET_CUR:
            self.settings[unit, selector] = int.from_bytes(data[:size], "little")
            return b""
        numbers = {GET_CUR: self.settings[unit, selector], GET_MIN: least, GET_MAX: most, GET_RES: step, GET_DEF: default}
        if request in numbers:
            return numbers[request].to_bytes(size, "little")
        return {GET_LEN: size.to_bytes(2, "little"), GET_INFO: b"\x03"}.get(request)

    def offer(self, kind, size, wanted):
        """The stream that is nearest to what is asked for: format, size, interval."""
        kind = kind if kind in (MJPG, YUYV) else MJPG
        size = size if size in SIZES else 1
        return kind, size, min((interval(rate) for rate in RATES[kind, size]), key=lambda there: abs(there - wanted))

    def negotiate(self, selector, request, data):
        """VS_PROBE and VS_COMMIT."""
        if selector not in (1, 2):
            return None
        if request == SET_CUR:
            asked = self.offer(data[2], data[3], int.from_bytes(data[4:8], "little"))
            self.probed = asked
            if selector == 2:
                self.committed = asked
            return b""
        if request == GET_LEN:
            return struct.pack("<H", 34)
        if request == GET_INFO:
            return b"\x03"
        kind, size, each = self.probed if selector == 1 else self.committed
        payload = PACKET_BYTES[1 if size == 2 and kind == MJPG else 2]
        return struct.pack("<HBBI5HIIIBBBB", 1, kind, size, each, 0, 0, 0, 0, 50, frame_bytes(size), payload, 48_000_000, 3, 1, 1, 1)

    def send_due(self):
        """The packets of the time that has passed since the last ones."""
        passed = time.monotonic() - self.began
        due = int(passed * PACKETS_PER_SEC)
        # What a host is too late for is lost on a bus too; the frame goes on with what comes next.
        if due - self.n > LATE_PACKETS or len(self.output) > 1 << 20:
            self.webcam.sent["late_packets"] += due - self.n
            self.n = due
        while self.n < due:
            # QEMU hands packets on no faster than they come, so that after each pause of its own more of them wait, and at some time it throws
            # some away, in mid-frame. Fewer between the frames, and it catches up.
            if self.at < len(self.frame) or self.is_time() or self.n % 2:
                self.say(ISO, self.n, self.packet())
            self.n += 1

    def is_time(self):
        """For the next frame."""
        return self.n / PACKETS_PER_SEC >= self.shown * self.committed[2] / 1e7

    def packet(self):
        """A header and what fits of the frame behind it; a header alone between frames."""
        if self.at >= len(self.frame) and self.is_time():
            self.next_frame(self.committed[0])
        room = PACKET_BYTES[self.alt] - 12
        piece = self.frame[self.at : self.at + room]
        self.at += len(piece)
        is_last = bool(piece) and self.at >= len(self.frame)
        flags = 0x80 | 0x0C | self.toggle | (0x02 if is_last else 0) | (0x40 if is_last and self.is_damaged else 0)
        clock = int(self.n / PACKETS_PER_SEC * 48e6) & 0xFFFFFFFF
        header = struct.pack("<BBIIH", 12, flags, self.exposed, clock, self.n & 0x7FF)
        data = header + piece
        return struct.pack("<BBH", IN, SUCCESS, len(data)) + data

    def next_frame(self, kind):
        webcam = self.webcam
        self.frame = webcam.frames[self.shown % len(webcam.frames)] if kind == MJPG else webcam.raw[SIZES[self.committed[1]]]
        quirk = webcam.quirks.pop(0) if webcam.quirks else None
        if quirk:
            webcam.sent[quirk] += 1
        if quirk == "truncated":
            self.frame = self.frame[: len(self.frame) // 2]
        self.is_damaged = quirk == "error"
        # The time of the exposure, by the device's clock, and the bit that tells frames apart.
        self.exposed, self.at = int(self.n / PACKETS_PER_SEC * 48e6) & 0xFFFFFFFF, 0
        self.toggle ^= 1
        self.shown += 1
        webcam.sent["frames"] += 1
