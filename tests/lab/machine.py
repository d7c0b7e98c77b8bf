# SPDX-License-Identifier: MIT
"""An emulated machine: a process in a group of its own, its serial line, its folder of logs."""
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import time
import tty

from lab.console import Console, Ended

KILL_GRACE = 5
LAST_LINES = 12  # of what an emulator said that ended
# Is killed with who started it: with the thread, which is the one that waits for the machine and stops it.
WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]
# The last line of Weir's panic, and that of a machine that it refuses.
PANIC = r"^\[ *\d+\.\d+\] cpu\d+ error: halted: .*"
# A program of a Linux guest that dies, and its kernel: no case means it to.
GUEST_DIED = r"(?:Segmentation fault|Illegal instruction|Bus error|Kernel panic - not syncing).*"
OFF = r"info: (powering off|rebooting)\b"  # the last that Weir says otherwise


class Machine:
    """Base of Bochs and Qemu, which fill in command(); use it in a with statement."""

    off, panic = OFF, PANIC  # what main_console says in the end
    disk = None  # the path of the image of a disk, beside the CD-ROM

    def __init__(self, folder):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.process = None
        self.console = None
        self.consoles = []  # with those of other serial lines
        self.terminals = []
        self.started = None
        self.stopped = False  # by stop()

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, serial):
        """The emulator's argument list; serial is the path of the terminal for its COM1."""
        raise NotImplementedError

    def serial_line(self, name):
        """A console that is kept in a file of this name, and the terminal at its other end."""
        ours, theirs = pty.openpty()
        tty.setraw(theirs, termios.TCSANOW)
        # Kept open so that the line lives while the emulator has not opened it yet; the console's
        # thread is stopped by close(), not by the line's end.
        self.terminals.append(theirs)
        self.consoles.append(Console(ours, self.path(name)))
        return self.consoles[-1], os.ttyname(theirs)

    def start(self):
        self.console, terminal = self.serial_line("console.txt")
        command = self.command(terminal)
        with open(self.path("command.txt"), "w") as file:
            file.write(" ".join(command) + "\n")
        self.started = time.monotonic()
        with open(self.path("emulator.txt"), "wb") as output:
            self.process = subprocess.Popen(WITH_US + command, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=subprocess.STDOUT, cwd=self.folder,
                                            start_new_session=True)
        return self

    @property
    def main_console(self):
        """The one that says what became of the machine."""
        return self.console

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_line(self, pattern, deadline, start=0):
        return self.console.wait(pattern, deadline, self.alive, start, f"{PANIC}|{GUEST_DIED}")

    def wait_exit(self, deadline):
        """The emulator's exit status."""
        try:
            return self.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Ended("the machine did not switch itself off before its deadline") from None

    def wait_off(self, deadline):
        """It has been switched off: the emulator's exit status. Ended at once where it panicked, after which
        the emulator runs on. The last line may be cut: a slow UART still has it when the machine is off."""
        try:
            self.main_console.wait(self.off, deadline, self.alive, fatal=self.panic)
        except Ended:
            if self.alive() or re.search(self.panic, self.main_console.text, re.M):
                raise
        return self.wait_exit(deadline)

    def last_words(self):
        """Lines: the end of what an emulator said that has ended by itself."""
        if not self.process or self.stopped or self.alive():
            return []
        with open(self.path("emulator.txt"), errors="replace") as file:
            said = file.read().rstrip().splitlines()[-LAST_LINES:]
        return said + [f"(it ended with status {self.process.returncode})"]

    def stop(self):
        if self.alive():
            self.stopped = True
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(KILL_GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        for console in self.consoles:
            console.close()
            os.close(console.fd)
            console.fd = None
        for terminal in self.terminals:
            os.close(terminal)
        self.consoles, self.terminals = [], []

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
