# SPDX-License-Identifier: MIT
"""What a machine shows on its screen, as text.

In VGA text mode the characters are read from the text buffer. On a framebuffer (QEMU's alone) they are
read off the picture, cell by cell, with the font that Weir draws with.
"""
import os
import re
import socket
import sys
import time

from lab import ROOT, SLOW
from lab.bochs import Bochs
from lab.console import Ended

sys.path.insert(0, os.path.join(ROOT, "tests/tools"))
import font  # noqa: E402

FONT_FILE = "/usr/share/grub/ascii.pf2"
TEXT_BUFFER, TEXT_COLUMNS, TEXT_ROWS = 0xb8000, 80, 25
LIT = 96  # of 255: a pixel brighter than this belongs to a character
PROMPT = b"(qemu) "
PATIENCE = 10 * SLOW  # seconds

# What Bochs's debugger is to do for bochs_text(): print the text buffer every 50 million instructions.
WATCH = f"sb 50000000\nc\nxp /{TEXT_COLUMNS * TEXT_ROWS}hx {TEXT_BUFFER:#x}\n" * 100


class Monitor:
    """QEMU's human monitor on its socket."""

    def __init__(self, machine):
        path = os.path.relpath(os.path.join(machine.folder, machine.monitor()))
        deadline = time.monotonic() + PATIENCE
        while not self._connect(path):  # QEMU has only just been started
            if time.monotonic() > deadline or not machine.alive():
                raise Ended("QEMU did not open its monitor")
            time.sleep(0.1)
        self._answer()

    def _connect(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):  # it is there before anybody listens
            self.socket.close()
            return False
        return True

    def _answer(self):
        data = b""
        while not data.endswith(PROMPT):
            more = self.socket.recv(65536)
            if not more:
                raise Ended("QEMU closed its monitor")
            data += more
        return data[:-len(PROMPT)].decode("latin-1")

    def command(self, text):
        self.socket.sendall(text.encode() + b"\n")
        return self._answer()

    def close(self):
        self.socket.close()


def text_mode(machine):
    monitor = Monitor(machine)
    dump = monitor.command(f"xp /{TEXT_COLUMNS * TEXT_ROWS}hx {TEXT_BUFFER:#x}")
    monitor.close()
    return rows_of(re.findall(r": (.*)", dump))


def rows_of(lines):
    """The text that is in the lines of a dump, each some cells of the text buffer."""
    cells = [int(cell, 16) & 0xff for line in lines for cell in line.split()]
    text = "".join(chr(c) if 32 <= c < 127 else " " for c in cells)
    return "\n".join(text[i:i + TEXT_COLUMNS].rstrip() for i in range(0, len(text), TEXT_COLUMNS))


def bochs_text(machine):
    """One screen after the other, of a Bochs whose debugger has WATCH to do."""
    with open(machine.path("emulator.txt"), encoding="latin-1") as file:
        return rows_of(re.findall(r"^0x0*b[89][0-9a-f]{3} <bogus.*?>:(.*)", file.read(), re.M))


def _picture(path):
    """(width, height, RGB bytes) of a binary PPM file."""
    with open(path, "rb") as file:
        data = file.read()
    header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    return int(header.group(1)), int(header.group(2)), data[header.end():]


def framebuffer(machine):
    path = machine.path("screen.ppm")
    monitor = Monitor(machine)
    monitor.command(f"screendump {path}")
    monitor.close()
    width, height, pixels = _picture(path)
    glyphs = {tuple(rows): chr(code) for code, rows in enumerate(font.read(FONT_FILE))
              if 32 < code < 127}
    # Green alone tells lit from dark; a row of it is then an integer for each cell.
    lit = bytes(1 if value > LIT else 0 for value in pixels[1::3])
    lines = []
    for top in range(0, height - font.ROWS + 1, font.ROWS):
        line = ""
        for left in range(0, width - font.COLUMNS + 1, font.COLUMNS):
            rows = []
            for y in range(top, top + font.ROWS):
                bits = lit[y * width + left:y * width + left + font.COLUMNS]
                rows.append(int("".join(map(str, bits)), 2))
            line += glyphs.get(tuple(rows), " " if not any(rows) else "?")
        lines.append(line.rstrip())
    return "\n".join(lines)


def text(machine):
    if isinstance(machine, Bochs):
        return bochs_text(machine)
    return framebuffer(machine) if machine.firmware == "uefi" else text_mode(machine)


def wait_text(machine, wanted, deadline):
    """Waits until the screen shows the text, blanks and line breaks aside."""
    while True:
        shown = text(machine)
        if "".join(wanted.split()) in "".join(shown.split()):
            return shown
        if time.monotonic() > deadline or not machine.alive():
            raise Ended(f"the screen does not show '{wanted}' but:\n{shown.strip()}")
        time.sleep(0.2)


class Keyboard:
    """The keyboard of a QEMU machine: keys by QEMU's names, or the text that they type."""

    NAMES = {" ": "spc", "\n": "ret", "\t": "tab", "-": "minus", ".": "dot"}

    def __init__(self, machine):
        self.machine = machine

    def press(self, *keys):
        monitor = Monitor(self.machine)
        for key in keys:
            monitor.command(f"sendkey {key} 20")
            time.sleep(0.05)
        monitor.close()

    def type(self, text):
        self.press(*(f"shift-{c.lower()}" if c.isupper() else self.NAMES.get(c, c) for c in text))
