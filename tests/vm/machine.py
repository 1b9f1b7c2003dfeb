"""A Debian guest under QEMU: started, spoken to, and its plugs pulled."""

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time

from harness.waiting import Failed, free_port, wait_for


class Machine:
    """One guest. `keeps_disk`: it writes to `folder/disk.ext4`, which outlives it, instead of to nowhere. `parts`: what else is built in.

    Two serial ports, whose devices the host plays through sockets in `folder`: `ttyS1` is the socket `uart`; the socket `imu` is a USB
    serial adapter with that serial number, once it is plugged in.
    """

    def __init__(self, image, share, folder, keeps_disk=False, parts=None):
        self.image, self.share, self.folder, self.parts = image, share, folder, parts
        self.mqtt_port = free_port()
        self.console = os.path.join(folder, "console.log")
        # What nobody sees again need not be brought to the host's disk.
        self.disk, self.drive = os.path.join(image, "disk.ext4"), "snapshot=on,cache=unsafe"
        if keeps_disk:
            self.disk, self.drive = os.path.join(folder, "disk.ext4"), "snapshot=off"
            if not os.path.exists(self.disk):
                subprocess.run(["cp", "--sparse=always", "--reflink=auto", f"{image}/disk.ext4", self.disk], check=True)
        self.process = self.agent = self.monitor = None
        self.speaking = threading.Lock()

    def socket(self, name):
        """Where the host's end of a port is."""
        return os.path.join(self.folder, name)

    def command(self):
        sockets = {name: f"socket,id={name},path={self.socket(name)},server=on,wait=off" for name in ("agent", "uart", "imu")}
        # Accelerators are not looked for: KVM that opens need not run a stock kernel.
        return [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd.img"),
            *("-append", "root=/dev/vda rw console=ttyS0 panic=-1 quiet systemd.show_status=no net.ifnames=0"),
            *("-drive", f"file={self.disk},format=raw,if=virtio,{self.drive}"),
            *("-virtfs", f"local,path={self.share},mount_tag=host,security_model=none,multidevs=remap"),
            *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.mqtt_port}-:1883", "-device", "virtio-net-pci,netdev=net"),
            *("-serial", f"file:{self.console}"),
            *("-chardev", sockets["uart"], "-device", "isa-serial,chardev=uart"),
            *("-device", "qemu-xhci", "-chardev", sockets["imu"]),
            *("-device", "virtio-serial-pci", "-chardev", sockets["agent"], "-device", "virtserialport,chardev=agent,name=perceptd.agent"),
            *("-qmp", f"unix:{self.socket('qmp')},server=on,wait=off"),
            *(self.parts.arguments(self) if self.parts else ()),
        ]

    def start(self, secs=300):
        """Boots, until the guest answers. Gives the seconds that it took."""
        began = time.monotonic()
        environment = os.environ | (self.parts.begin(self) if self.parts else {})
        log = open(os.path.join(self.folder, "qemu.log"), "ab")
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        log.close()
        self.monitor = self.connect("qmp")
        self.monitor_lines = self.monitor.makefile("rb")
        self.monitor_lines.readline()
        self.qmp("qmp_capabilities")
        self.agent = self.connect("agent")
        self.agent.settimeout(secs)
        self.agent_lines = self.agent.makefile("rb")
        try:
            ready = self.agent_lines.readline()
        except TimeoutError:
            raise Failed(f"the guest did not come up within {secs} s") from None
        if ready.strip() != b"ready":
            raise Failed(f"the guest went down while it booted: {ready!r}")
        return time.monotonic() - began

    def connect(self, name, secs=30):
        """The host's end of a port."""

        def attempt():
            if self.process.poll() is not None:
                raise Failed(f"QEMU ended with {self.process.returncode}: see qemu.log")
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.socket(name))
            except OSError:
                connection.close()
                return None
            return connection

        return wait_for(f"QEMU's socket {name}", attempt, secs)

    def qmp(self, execute, **arguments):
        """One command to QEMU itself."""
        request = {"execute": execute} | ({"arguments": arguments} if arguments else {})
        self.monitor.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(self.monitor_lines.readline())
            if "error" in answer:
                raise Failed(f"QEMU refused {request}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def plug_imu(self):
        """The USB serial adapter goes in."""
        self.qmp("device_add", driver="usb-serial", id="imu", serial="imu", chardev="imu", **{"always-plugged": True})

    def pull_imu(self):
        """And out."""
        self.qmp("device_del", id="imu")

    def ask(self, script, secs=120):
        """Runs a shell script in the guest; gives its exit code and what it printed."""
        with self.speaking:
            self.agent.settimeout(secs)
            self.agent.sendall(base64.b64encode(script.encode()) + b"\n")
            try:
                answer = self.agent_lines.readline()
            except OSError:
                # After one time-out nothing more can be read.
                raise Failed(f"the guest did not end within {secs} s: {script}") from None
        if not answer:
            raise Failed(f"the guest went down during: {script}")
        code, _, printed = answer.decode().strip().partition(" ")
        return int(code), base64.b64decode(printed).decode(errors="replace").strip()

    def sh(self, script, secs=120):
        """Like `ask`, for scripts that must succeed; gives what was printed."""
        code, printed = self.ask(script, secs)
        if code != 0:
            raise Failed(f"in the guest, exit code {code} of: {script}\n{printed}")
        return printed

    def power_cut(self):
        """What a battery does that falls out: no process of the guest, nor its kernel, sees it coming."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for end in (self.agent, self.monitor):
            if end is not None:
                end.close()
        self.agent = self.monitor = None
        if self.parts:
            self.parts.end()

    def forget(self):
        """Removes its sockets and its disk."""
        for name in ("qmp", "agent", "uart", "imu", "webcam", "disk.ext4"):
            if os.path.exists(self.socket(name)):
                os.remove(self.socket(name))


class Feed(threading.Thread):
    """A device on a serial port of the guest: writes `packet(n)` every `period_secs`, unless told to be silent."""

    def __init__(self, machine, name, packet, period_secs):
        super().__init__(daemon=True)
        self.machine, self.port, self.packet, self.period_secs = machine, name, packet, period_secs
        self.speaks = threading.Event()
        self.speaks.set()
        self.ended = threading.Event()
        self.connection = machine.connect(name)
        # What the guest does not take (port closed, adapter unplugged) is lost on a real wire too.
        self.connection.setblocking(False)
        # A wire holds nothing: what is sent while the guest does not read must not come seconds later.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def run(self):
        n, due, rest = 0, time.monotonic(), b""
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.period_secs, time.monotonic())
            n += 1
            if not self.speaks.is_set():
                rest = b""
                continue
            # A packet is sent whole or not at all, as far as the wire goes; half a packet waits for its other half.
            rest = rest or self.packet(n)
            try:
                rest = rest[self.connection.send(rest) :]
                self.connection.recv(4096)  # what the guest wrote, commands to the board for instance
            except BlockingIOError:
                pass
            except OSError:
                return

    def end(self):
        self.ended.set()
        self.join()
        self.connection.close()
