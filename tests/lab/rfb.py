# SPDX-License-Identifier: MIT
"""The keyboard of a Bochs machine, whose display is a server of the RFB protocol (RFC 6143)."""
import os
import re
import socket
import struct
import threading
import time

from lab.console import Ended

VERSION = b"RFB 003.003\n"
NO_AUTHENTICATION = 1
SERVER_INIT = 24  # bytes before the name of the desktop
KEY_EVENT = 4
KEYSYMS = {"ret": 0xff0d, "tab": 0xff09, "home": 0xff50, "end": 0xff57, "delete": 0xffff, "left": 0xff51,
           "up": 0xff52, "right": 0xff53, "down": 0xff54, "ctrl": 0xffe3, "shift": 0xffe1}
NAMES = {"\n": "ret", "\t": "tab"}
HOLD = 0.05  # seconds from an event of a key to the next: the guest's time may be slower than ours


def listening_port(pid):
    """The TCP port at which this process waits for viewers, None while there is none."""
    folder = f"/proc/{pid}/fd"
    sockets = set()
    for name in os.listdir(folder):
        try:
            sockets.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(os.path.join(folder, name))))
        except FileNotFoundError:
            pass  # closed meanwhile
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in sockets:
                return int(words[1].partition(":")[2], 16)
    return None


class Keyboard:
    """Keys by their names, with ctrl- before them, or the text that they type."""

    def __init__(self, machine, deadline):
        port = None
        while port is None:
            if time.monotonic() > deadline or not machine.alive():
                raise Ended("Bochs waits for no viewer")
            port = listening_port(machine.process.pid)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        if self._read(len(VERSION))[:4] != VERSION[:4]:
            raise Ended("what Bochs listens at is no RFB")
        self.socket.sendall(VERSION)
        if struct.unpack(">I", self._read(4))[0] != NO_AUTHENTICATION:
            raise Ended("Bochs's display wants a password")
        self.socket.sendall(b"\1")
        self._read(struct.unpack(">I", self._read(SERVER_INIT)[-4:])[0])
        # Bochs sends what its screen shows unasked, and stands still once nobody takes it.
        self.socket.settimeout(None)
        threading.Thread(target=self._discard, daemon=True).start()

    def _discard(self):
        try:
            while self.socket.recv(1 << 16):
                pass
        except OSError:
            pass  # closed

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # Bochs was first
        self.socket.close()

    def _read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise Ended("Bochs closed its display")
            data += more
        return data

    def _event(self, key, down):
        self.socket.sendall(struct.pack(">BBxxI", KEY_EVENT, down, KEYSYMS.get(key) or ord(key)))
        time.sleep(HOLD)

    def press(self, *keys):
        for key in keys:
            held = [part for part in ("ctrl", "shift") if key.startswith(part + "-")]
            names = held + [key[len(held[0]) + 1:] if held else key]
            for name in names:
                self._event(name, 1)
            for name in reversed(names):
                self._event(name, 0)

    def type(self, text):
        self.press(*(f"shift-{c.lower()}" if c.isupper() else NAMES.get(c, c) for c in text))
