# SPDX-License-Identifier: MIT
"""Emulators: how they are asked for, typed to, and ended, whatever becomes of who started them."""
import argparse
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import boots
from lab import ROOT, bochs, console, machine, rfb, screen
from test_lab import soon


class Sleeper(machine.Machine):
    def command(self, serial):
        return ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & echo ready >$0; wait; wait", serial]


def group_is_gone(group, deadline):
    """A killed child stays in its group until init has taken note of it."""
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_stop_ends_the_emulator_and_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "KILL_GRACE", 0.2)
    sleeper = Sleeper(str(tmp_path / "logs"))
    with sleeper:
        sleeper.wait_line("ready", soon())
        assert sleeper.alive()
    assert not sleeper.alive()
    assert group_is_gone(sleeper.process.pid, time.monotonic() + 5)


class Talker(machine.Machine):
    """Says a line, and goes on."""

    def __init__(self, folder, line):
        super().__init__(folder)
        self.line = line

    def command(self, serial):
        return ["/bin/sh", "-c", 'echo "$1" >"$0"; exec sleep 1000', serial, self.line]


@pytest.mark.parametrize("line", [
    "Segmentation fault",
    "[    1.500000] Kernel panic - not syncing: Attempted to kill init!",
    "alpha: Illegal instruction",
    "[   0.100000] cpu0 error: halted: PANIC on cpu0",
])
def test_a_guest_that_dies_is_not_waited_for(tmp_path, line):
    with Talker(str(tmp_path / "logs"), line) as talker, \
            pytest.raises(console.Ended, match="before it said /never/"):
        talker.wait_line("never", soon())


STARTS_ONE = """\
import sys, threading, time
sys.path.insert(0, {tests!r})
from lab import machine

class Lone(machine.Machine):
    def command(self, serial):
        return ["/bin/sh", "-c", "echo ready >$0; exec sleep 1000", serial]

def run():
    with Lone({folder!r}) as lone:
        lone.wait_line("ready", time.monotonic() + 20)
        print(lone.process.pid, flush=True)
        time.sleep(1000)

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_who_is_killed_leaves_no_emulator(tmp_path, number):
    """From a thread, as the benchmarks start theirs."""
    program = STARTS_ONE.format(tests=os.path.join(ROOT, "tests"), folder=str(tmp_path / "logs"))
    starter = subprocess.Popen([sys.executable, "-c", program], text=True, stdout=subprocess.PIPE)
    with starter:
        group = int(starter.stdout.readline())
        os.killpg(group, 0)
        starter.send_signal(number)
    gone = group_is_gone(group, soon())
    if not gone:
        os.killpg(group, signal.SIGKILL)
    assert gone


SLOW_TO_LISTEN = """\
#!{python}
# A Bochs's display: it looks for a port as Bochs does, and lets another that was started bind the same one.
import os, socket, sys, time
display = socket.socket()
display.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for port in range({port}, {port} + 10):
    try:
        display.bind(("127.0.0.1", port))
        with open("../bound-" + str(os.getpid()), "w"):
            pass
        end = time.monotonic() + 1
        while len([name for name in os.listdir("..") if name.startswith("bound-")]) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        display.listen()
        break
    except OSError as error:
        print(port, error, flush=True)
else:
    sys.exit("no port")
time.sleep(1000)
"""


def test_an_emulator_that_ended_says_why(tmp_path):
    class Dying(machine.Machine):
        def command(self, serial):
            return ["/bin/sh", "-c", "seq 20; exit 3"]

    dying = Dying(str(tmp_path / "logs"))
    assert dying.last_words() == []
    with dying:
        assert dying.wait_exit(soon()) == 3
        boot = boots.Boot(argparse.Namespace(name="no"), "tigerlake")
        boot.machine = dying
        assert dying.last_words() == [str(n) for n in range(9, 21)] + ["(it ended with status 3)"]
        assert boot.tail().splitlines()[-14:-12] == ["the emulator said last (emulator.txt):", "9"]
    with Sleeper(str(tmp_path / "logs")) as sleeper:
        assert sleeper.last_words() == []
        sleeper.stop()
        assert sleeper.last_words() == [], "we ended it"


def test_two_that_start_at_once_have_each_a_display(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = tmp_path / "bin/bochs"
    program.parent.mkdir()
    program.write_text(SLOW_TO_LISTEN.format(python=sys.executable, port=port))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(bochs, "installed", lambda: ("2.7", []))
    both = [bochs.Bochs(str(tmp_path / name), "no.iso") for name in ("one", "other")]
    started, looked_at = threading.Barrier(3), threading.Barrier(3)

    def run(made):
        with made:
            started.wait(20)
            looked_at.wait(20)

    threads = [threading.Thread(target=run, args=(made,)) for made in both]
    for thread in threads:
        thread.start()
    started.wait(20)
    ports = {made.alive() and rfb.listening_port(made.process.pid) for made in both}
    said = [made.last_words() for made in both]
    looked_at.wait(20)
    for thread in threads:
        thread.join()
    assert len(ports - {False, None}) == 2, said


def test_models_of_a_newer_bochs_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(bochs, "installed", lambda: ("2.7", ["tigerlake"]))
    assert bochs.lacks("tigerlake") is None
    assert re.fullmatch(r"Bochs 2\.7 has no model arrow_lake: .*3\.0.*", bochs.lacks("arrow_lake"))
    monkeypatch.setattr(bochs, "installed", lambda: ("3.0", ["tigerlake", "arrow_lake"]))
    assert bochs.lacks("arrow_lake") is None
    assert set(bochs.NEWER) < set(bochs.MODELS)


def test_bochs_is_asked_for_its_debugger_where_it_may_do_without(tmp_path, monkeypatch):
    for version, cpus, wanted in (("2.7", 2, False), ("3.0", 1, False), ("3.0", 2, True)):
        monkeypatch.setattr(bochs, "installed", lambda version=version: (version, []))
        made = bochs.Bochs(str(tmp_path / "machine"), "no.iso", cpus=cpus)
        assert ("-dbg" in made.command("/dev/null")) == wanted
    made = bochs.Bochs(str(tmp_path / "machine"), "no.iso", debugger="q\n")
    assert "-dbg" in made.command("/dev/null"), "it has more to do than to go on"


@pytest.mark.parametrize("cpus", bochs.LOCKS_VMX)
def test_firmware_locks_vmx_off_by_one_byte_or_the_case_is_skipped(tmp_path, monkeypatch, cpus):
    old, new = tmp_path / "old", tmp_path / "new"
    code = bochs.LOCKS_VMX[cpus]
    monkeypatch.setattr(bochs, "FIRMWARE", str(old))
    old.write_bytes(b"before" + code + b"after")
    bochs.firmware_without_vmx(new, cpus)
    differ = [i for i, (a, b) in enumerate(zip(old.read_bytes(), new.read_bytes())) if a != b]
    assert differ == [6 + code.index(b"\x0f\x30") - 1] and new.read_bytes()[differ[0]] == 1
    for strange in (b"", code[:-1], code + code):
        old.write_bytes(strange)
        with pytest.raises(bochs.OtherFirmware, match="does not lock VMX"):
            bochs.firmware_without_vmx(new, cpus)


def test_keys_go_to_the_display_that_a_process_listens_at():
    """Which events come for what is typed, and that the port is found among the process's sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert rfb.listening_port(os.getpid()) == server.getsockname()[1]
        events = []

        def serve():
            viewer = server.accept()[0]
            with viewer, viewer.makefile("rb") as stream:
                viewer.sendall(rfb.VERSION)
                assert stream.read(12) == rfb.VERSION
                viewer.sendall(struct.pack(">I", 1))
                assert stream.read(1) == b"\1"
                viewer.sendall(bytes(20) + struct.pack(">I", 5) + b"Bochs")
                while event := stream.read(8):
                    events.append(struct.unpack(">BBxxI", event))

        thread = threading.Thread(target=serve)
        thread.start()
        fake = argparse.Namespace(process=argparse.Namespace(pid=os.getpid()), alive=lambda: True)
        keys = rfb.Keyboard(fake, time.monotonic() + 60)
        keys.press("ctrl-]", "up")
        keys.type("Ab\n")
        keys.close()
        thread.join()
    ctrl, shift, up, enter = 0xffe3, 0xffe1, 0xff52, 0xff0d
    assert events == [(4, down, key) for down, key in (
        (1, ctrl), (1, ord("]")), (0, ord("]")), (0, ctrl), (1, up), (0, up), (1, shift), (1, ord("a")),
        (0, ord("a")), (0, shift), (1, ord("b")), (0, ord("b")), (1, enter), (0, enter))]


def test_qemus_monitor_may_come_late(tmp_path, monkeypatch):
    """Its socket is made first, and nobody listens there yet; or never does."""
    alive = True
    qemu = argparse.Namespace(folder=str(tmp_path), monitor=lambda: "monitor.sock", alive=lambda: alive)
    listening = socket.socket(socket.AF_UNIX)

    def come_up():
        time.sleep(0.2)
        listening.bind(str(tmp_path / "monitor.sock"))
        time.sleep(0.2)
        listening.listen()
        peer = listening.accept()[0]
        peer.sendall(b"QEMU monitor\r\n(qemu) ")
        peer.recv(100)
        peer.sendall(b"info\r\n(qemu) ")
        peer.close()
    thread = threading.Thread(target=come_up, daemon=True)
    thread.start()
    monitor = screen.Monitor(qemu)
    assert "info" in monitor.command("info")
    thread.join()
    monitor.close()
    listening.close()
    monkeypatch.setattr(screen, "PATIENCE", 0.3)
    for alive in (True, False):
        with pytest.raises(console.Ended, match="did not open its monitor"):
            screen.Monitor(qemu)
