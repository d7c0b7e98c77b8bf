# SPDX-License-Identifier: MIT
"""What make run does: the machine that it chooses, and its terminal."""
import argparse
import os
import re
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time

import pytest

from lab import BUILD, ROOT, SLOW, console, image, machine, nested
from test_lab import soon

sys.path.append(os.path.join(ROOT, "tests/tools"))
import run  # noqa: E402
import swap_image  # noqa: E402


FAKE_EMULATOR = """#!/usr/bin/python3
import os, sys
line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
def say(text):
    os.write(line, text.encode())
mode = {mode!r}
if mode == "silent":
    os.read(line, 100)
if mode == "small":
    say("[ 1.0] cpu0 error: vm alpha: not started: its bzImage needs 52 MiB: raise mem=\\r\\n")
    say("[ 1.1] cpu0 info: powering off\\r\\n")
    print("Bochs is exiting")
    sys.exit(0)
if mode == "crash":
    say("[ 1.0] cpu0 warn: vm alpha: vCPU 0: triple fault at rip 0x10\\r\\n")
    say("[ 1.0] cpu0 info: vm alpha: crashed after 1.000 s\\r\\n")
    say("[ 1.1] cpu0 info: powering off\\r\\n")
    print("Bochs is exiting")
    sys.exit(0)
if mode == "flood":
    while True:
        say("more " * 10 + "\\r\\n")
if mode == "dead":
    print("no such machine")
    sys.exit(1)
if mode != "mute":
    say("weir-guest: shell ready\\r\\n")
if mode == "echo":
    while True:
        typed = os.read(line, 100)
        say("".join(chr(b) if b >= 32 else "<%d>" % b for b in typed))
        if b"!" in typed:
            break
if mode in ("echo", "good", "died"):
    say("[ 1.0] cpu0 info: vm alpha: powered off after 1.000 s\\r\\n")
if mode in ("echo", "good"):
    say("[ 1.1] cpu0 info: powering off\\r\\n")
"""


@pytest.fixture
def relay(tmp_path):
    """Starts make run's program on a terminal with a fake emulator behind it."""
    children = []

    def start(mode, *options):
        program = tmp_path / "emulator"
        program.write_text(FAKE_EMULATOR.format(mode=mode))
        program.chmod(0o755)
        ours, theirs = pty.openpty()
        child = subprocess.Popen([sys.executable, os.path.join(ROOT, "tests/tools/run.py"),
                                  "--emulator", str(program), *options],
                                 stdin=theirs, stdout=theirs, stderr=theirs,
                                 start_new_session=True)
        os.close(theirs)
        children.append(child)
        return child, console.Console(ours, str(tmp_path / "terminal.txt"))

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()


def test_relay_carries_both_ways_and_raw(relay):
    child, terminal = relay("echo")
    terminal.wait("shell ready", soon())
    terminal.send(b"ls\x03\r")  # Ctrl-C is the guest's, not ours
    terminal.wait("ls<3><13>", soon())
    terminal.send(b"\x1dx!")  # Ctrl-] and anything but q goes through
    terminal.wait("<29>x!", soon())
    terminal.wait("machine is off", soon())
    assert child.wait(20) == 0


def test_relay_passes_its_key_on_alone(relay):
    child, terminal = relay("echo")
    terminal.wait("shell ready", soon())
    terminal.send(b"\x1d")  # nothing follows: it is for Weir's monitor
    terminal.wait("<29>", soon())
    terminal.send(b"q!")
    terminal.wait("q!", soon())
    assert child.wait(20) == 0


def test_relay_leaves_at_its_key(relay):
    child, terminal = relay("echo")
    terminal.wait("shell ready", soon())
    terminal.send(b"\x1d")
    terminal.send(b"q")
    terminal.wait("the machine is stopped", soon())
    assert child.wait(20) == 0


@pytest.fixture
def signals_as_usual():
    """A shell that starts us in the background has SIGINT ignored, also by whom we start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_the_relay_that_is_ended_puts_the_terminal_back(signals_as_usual, relay, which):
    child, terminal = relay("echo")
    before = termios.tcgetattr(terminal.fd)
    terminal.wait("shell ready", soon())
    assert termios.tcgetattr(terminal.fd) != before
    child.send_signal(which)
    assert child.wait(20) == 128 + which
    assert termios.tcgetattr(terminal.fd) == before


@pytest.mark.parametrize("options", [[], ["--headless"]])
def test_the_last_line_says_why_no_guest_ran(relay, options):
    child, terminal = relay("small", *options)
    assert child.wait(20) == 1
    terminal.wait("by MEM=", soon())
    assert terminal.text.splitlines()[-1] == (
        "run: vm alpha: not started: its bzImage needs 52 MiB: raise mem=, here by MEM=")
    assert "Bochs" not in terminal.text, "it did as it was told"


def test_the_last_line_says_what_weir_complained_of(relay):
    child, terminal = relay("crash", "--headless")
    assert child.wait(20) == 1
    terminal.wait("run: Weir said", soon())
    last = terminal.text.splitlines()[-2:]
    assert last[0].startswith("run: failed: ") and last[1] == "run: Weir said before: vm alpha: crashed after 1.000 s"
    assert "Bochs" not in terminal.text, "it did as it was told"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("mode,options,lines", [
    ("flood", [], 0), ("flood", [], 3), ("flood", ["--headless"], 0), ("flood", ["--headless"], 3),
    ("dead", ["--headless"], 0)])
def test_a_pipe_that_nobody_reads_ends_it_in_silence(tmp_path, mode, options, lines, unbuffered):
    """As of make run | head: the machine is stopped, and the terminal put back. What Python keeps back is
    written at its end, too."""
    program = tmp_path / "emulator"
    program.write_text(FAKE_EMULATOR.format(mode=mode))
    program.chmod(0o755)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    reader, writer = os.pipe()
    if not lines:
        os.close(reader)
    with subprocess.Popen([sys.executable, os.path.join(ROOT, "tests/tools/run.py"), "--emulator", str(program),
                           *options], stdin=theirs, stdout=writer, stderr=subprocess.PIPE,
                          env=dict(os.environ, PYTHONUNBUFFERED=unbuffered)) as child:
        os.close(writer)
        if lines:
            with open(reader, "rb") as pipe:
                for _ in range(lines):
                    pipe.readline()
        try:
            assert child.wait(20) == 128 + signal.SIGPIPE
        finally:
            child.kill()
        assert child.stderr.read() == b""
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("options", [[], ["--headless"]])
def test_a_machine_that_says_nothing_for_long_is_a_line(relay, monkeypatch, options):
    monkeypatch.setenv("WEIR_SLOW", "0.01")
    child, terminal = relay("silent", *options)
    terminal.wait(r"run: nothing was said for 0 s: .*logs: .*emulator.logs", soon())
    child.terminate()
    monkeypatch.setenv("WEIR_SLOW", "1000000")
    child, terminal = relay("echo", *options)
    terminal.wait("shell ready", soon())
    time.sleep(0.5)
    child.terminate()
    assert child.wait(20) and "nothing was said" not in terminal.text


def test_the_end_of_what_is_typed_ends_the_machine(tmp_path):
    """With nobody at a terminal it would run for ever."""
    program = tmp_path / "emulator"
    program.write_text(FAKE_EMULATOR.format(mode="echo"))
    program.chmod(0o755)
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/tools/run.py"), "--emulator", str(program)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    # What the machine says meanwhile may come before that, or after.
    assert any(line.endswith("HEADLESS=1 needs nobody") for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize("mode,status", [("good", 0), ("mute", 1), ("banner", 1), ("died", 1)])
@pytest.mark.parametrize("options", [[], ["--config", "menu"]])
def test_headless_status(relay, mode, status, options):
    """That the guest switched itself off does not say that the machine did."""
    child, _ = relay(mode, "--headless", *options)
    assert child.wait(20) == status


def test_a_slow_machine_has_more_time_for_a_headless_run(tmp_path, monkeypatch):
    deadlines = []

    class Watched(machine.Machine):
        def wait_line(self, pattern, deadline, start=0):
            deadlines.append(deadline)
            raise console.Ended("so far")

    made = Watched(str(tmp_path / "logs"))
    made.console = argparse.Namespace(listen=lambda listener: None, text="")
    (tmp_path / "logs/emulator.txt").touch()
    monkeypatch.setattr(run, "SLOW", 3.0)
    assert run.headless(made, 1000.0) == 1
    assert deadlines == [1000.0 + 3 * run.HEADLESS_DEADLINE]


@pytest.mark.parametrize("mode,says,options", [
    ("dead", "no such machine", []), ("dead", "no such machine", ["--headless"]), ("banner", "", [])])
def test_an_emulator_that_dies_is_a_failure_and_is_shown(relay, mode, says, options):
    """Whatever it said itself, then one line with the place of its logs; Weir switched nothing off."""
    child, terminal = relay(mode, *options)
    shown = terminal.wait("run: failed: .*; logs: .*emulator[.]logs", soon())
    assert child.wait(20) == 1
    said = re.search(r"run: the emulator said last:\s+(.*)\(it ended with status \d+\)",
                     terminal.text[:shown.start()], re.S)
    assert said and says in said.group(1)
    assert "the machine is off" not in terminal.text


def test_a_second_write_into_that_pipe_does_not_break_off_the_end():
    was = signal.signal(signal.SIGPIPE, run.leave)
    try:
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGPIPE)
        signal.raise_signal(signal.SIGPIPE)
    finally:
        signal.signal(signal.SIGPIPE, was)


@pytest.fixture
def kvm(tmp_path, monkeypatch):
    """A KVM of files: what its device's mode and its parameter `nested` are."""
    def there(parameter, mode=0o600):
        monkeypatch.setattr(run, "KVM", str(tmp_path / "kvm"))
        monkeypatch.setattr(run, "KVM_NESTED", str(tmp_path / "nested"))
        if mode is not None:
            (tmp_path / "kvm").touch(mode)
        if parameter is not None:
            (tmp_path / "nested").write_text(parameter + "\n")
    return there


@pytest.mark.parametrize("parameter,mode,lacking", [
    ("Y", None, "there is no"), (None, 0o600, "not Intel's"), ("N", 0o600, "nested=0"),
    ("0", 0o600, "nested=0")])
def test_accel_without_kvm_is_bochs(kvm, capsys, parameter, mode, lacking):
    kvm(parameter, mode)
    assert run.choose_accel("auto") == "bochs"
    assert lacking in capsys.readouterr().out
    with pytest.raises(SystemExit, match=lacking):
        run.choose_accel("kvm")


def machine_for(**wanted):
    return run.make_machine(argparse.Namespace(
        **{**dict(emulator=None, accel="auto", cpu="", guest="linux", mem=128, smp=2, headless=True,
                  config=None, ram=None, disk=None),
           **wanted}))


@pytest.fixture
def no_images(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "BUILD", str(tmp_path))
    monkeypatch.setattr(run, "guest_modules", lambda *_: [])
    monkeypatch.setattr(image, "cached_iso", lambda *_, **__: "weir.iso")


@pytest.mark.parametrize("wanted,parameter", [("auto", "Y"), ("auto", "1"), ("kvm", "Y")])
def test_accel_with_kvm(kvm, no_images, wanted, parameter):
    """QEMU is started just so as the case `nested` starts it under a KVM that is one."""
    kvm(parameter)
    made = machine_for(accel=wanted)
    expected = nested.weir_command("weir.iso", 2, 384, serial="pts", monitor=made.monitor())
    assert made.command("pts") == expected
    assert "host" in expected and "kvm" in expected


def test_a_cpu_that_is_named_is_taken(kvm, no_images, capsys):
    """It is Bochs's, also where there is KVM; no name is taken for one that is none."""
    kvm("Y")
    made = machine_for(cpu="corei7_haswell_4770")
    assert made.config["cpu"] == "corei7_haswell_4770"
    assert "run: bochs (CPU=corei7_haswell_4770 is one of its models)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="ACCEL=bochs has that model"):
        machine_for(cpu="tigerlake", accel="kvm")
    for accel in ("auto", "kvm", "bochs"):
        with pytest.raises(SystemExit, match="CPU=nonesuch: Bochs has .*tigerlake"):
            machine_for(cpu="nonesuch", accel=accel)
    assert machine_for(accel="bochs").config["cpu"] == "tigerlake"


def test_a_guest_may_have_more_memory_than_its_machine(kvm, no_images, monkeypatch, capsys):
    """Bochs never starts with much more than it takes itself; guests get memory as they touch it."""
    kvm("Y")
    monkeypatch.setattr(run, "host_memory", lambda: 10000)
    assert machine_for(accel="bochs", mem=1792).config["memory"] == 2048
    assert "the machine has" not in capsys.readouterr().out
    made = machine_for(accel="bochs", mem=8000)
    assert made.config["memory"] == made.config["host_memory"] == 2048
    assert "run: the machine has 2048 MiB, for 8000 MiB of guests'" in capsys.readouterr().out
    assert machine_for(accel="kvm", mem=4000).memory == 4256
    assert machine_for(accel="kvm", mem=8000).memory == 5000
    monkeypatch.setattr(run, "host_memory", lambda: 1000)
    assert machine_for(accel="kvm", mem=8000).memory == 2048
    assert run.number("MEM", 1, run.MEM_MAX)("32768") == 32768
    with pytest.raises(SystemExit, match=r"^MEM=32769: it is a number from 1 to 32768 \(MiB\)$"):
        run.number("MEM", 1, run.MEM_MAX)("32769")


RUNS_ON = """
import argparse, sys, run
from lab import image
run.BUILD, run.guest_modules, image.cached_iso = sys.argv[1], lambda *_: [], lambda *_: "weir.iso"
made = run.make_machine(argparse.Namespace(emulator=None, accel="bochs", cpu="", guest="linux", mem=128, smp=1,
                                           headless=True, config=None, ram=None, disk=None))
open(made.path("console.txt"), "w").write("one")
print(made.folder, flush=True)
sys.stdin.read()
"""


def test_two_runs_have_logs_of_their_own(kvm, no_images, tmp_path, capsys):
    """The second takes nothing from the first, and says where its own are; after that the place is free again."""
    kvm("N")
    with subprocess.Popen([sys.executable, "-c", RUNS_ON, str(tmp_path)], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.path.dirname(run.__file__)}) as first:
        assert first.stdout.readline().strip() == str(tmp_path / "logs/run")
        second, third = machine_for(accel="bochs"), machine_for(accel="bochs")
        assert [second.folder, third.folder] == [str(tmp_path / f"logs/run-{number}") for number in (2, 3)]
        assert f"run: another make run goes on here; this one's logs: {third.folder}\n" in capsys.readouterr().out
        assert (tmp_path / "logs/run/console.txt").read_text() == "one"
        first.kill()
    assert machine_for(accel="bochs").folder == str(tmp_path / "logs/run")
    assert not (tmp_path / "logs/run/console.txt").exists() and not capsys.readouterr().out


def test_a_disk_is_the_machines(kvm, no_images, tmp_path, monkeypatch):
    """One machine's at a time, whatever a Bochs that was killed has left; Linux alone is told of it."""
    kvm("Y")
    disk = tmp_path / "swap.img"
    swap_image.make_image(str(disk), 1 << 20, True)
    (tmp_path / "swap.img.lock").touch()
    words = []
    monkeypatch.setattr(image, "cached_iso", lambda weir, *_, **__: words.append(weir) or "weir.iso")
    assert machine_for(accel="bochs", disk=str(disk)).disk == str(disk)
    assert "swap=auto" in words.pop().split() and not (tmp_path / "swap.img.lock").exists()
    with pytest.raises(SystemExit, match="^DISK=.*swap.img: another make run has it$"):
        machine_for(accel="kvm", disk=str(disk))
    (tmp_path / "other.img").write_bytes(disk.read_bytes())
    (tmp_path / "other.img.lock").write_text("mine")
    with pytest.raises(SystemExit, match="^DISK=.*other.img: Bochs wants .*other.img.lock for itself"):
        machine_for(accel="bochs", disk=str(tmp_path / "other.img"))
    assert (tmp_path / "other.img.lock").read_text() == "mine"
    assert machine_for(accel="kvm").disk is None
    assert ["swap=auto" in weir.split() for weir in words] == [True, True, False]


@pytest.mark.parametrize("size,says", [
    (None, "there is no such file; make swap-image"), (0, "its size is not of whole cylinders"),
    (516097, "its size is not of whole cylinders")])
def test_a_disk_that_no_machine_can_have_is_refused(tmp_path, size, says):
    if size is not None:
        (tmp_path / "disk").write_bytes(bytes(size))
    with pytest.raises(SystemExit, match=f"^DISK=.*/disk: {says}"):
        machine_for(disk=str(tmp_path / "disk"))


@pytest.mark.parametrize("guest", ["/etc/passwd", "nonesuch"])
def test_a_guest_that_is_no_folder_is_refused(guest):
    with pytest.raises(SystemExit, match=f"^GUEST={guest}: there is no such folder; it is linux, "):
        machine_for(guest=guest)


@pytest.mark.parametrize("config", [False, True])
def test_make_run_boots_what_it_is_given(tmp_path, config):
    """All of it, in Bochs, as make starts it: the image, the machine, a guest's words and modules, its end. The
    guest is a small one in a Linux's place; only the logs are elsewhere, for a make run that runs meanwhile."""
    shutil.copy(os.path.join(BUILD, "guests/banner.elf"), tmp_path / "vmlinuz")
    (tmp_path / "initrd").write_text("0x01")
    swap_image.make_image(str(tmp_path / "disk"), 1 << 20, True)
    words = [f"GUEST={tmp_path}", "MEM=32", f"DISK={tmp_path}/disk"]
    if config:
        (tmp_path / "menu").write_text(
            "multiboot2 /boot/weir.elf console=com1,115200 loglevel=info when_done=poweroff\n"
            f"module2 {tmp_path}/vmlinuz vm=alpha kernel mem=32M -- console=ttyS0,115200 quiet weir.poweroff\n"
            f"module2 {tmp_path}/initrd vm=alpha initrd\n")
        words = [f"CONFIG={tmp_path}/menu"]
    shown = subprocess.run(["make", "-n", "run", "HEADLESS=1", "ACCEL=bochs", *words], cwd=ROOT, text=True, check=True,
                           stdout=subprocess.PIPE).stdout
    python, options = re.search(r"^(\S+) tests/tools/run\.py (.*--headless)$", shown, re.M).groups()
    elsewhere = "import sys, run; run.BUILD = sys.argv.pop(1); run.main()"
    done = subprocess.run([python, "-c", elsewhere, str(tmp_path), *shlex.split(options)], cwd=ROOT, text=True,
                          env=os.environ | {"PYTHONPATH": "tests/tools"}, timeout=120 * SLOW,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^weir-guest: shell ready\r?\n(.*\n)*.* vm alpha: powered off", done.stdout, re.M), done.stdout
    assert ("swap: ata" in done.stdout) != config, done.stdout
    last = "" if config else r"shell after \d+ s, guest powered off, "
    assert re.fullmatch(rf"run: {last}machine off after \d+ s", done.stdout.splitlines()[-1])


def test_a_vm_that_was_not_started_is_told_of_again_also_where_the_monitor_was_open():
    line = "[   1.250000] cpu0 error: vm gamma: not started: there is no kernel"
    for before in ("", "\rweir> \x1b[K\r\x1b[6C\r\x1b[K"):
        assert re.findall(run.NOT_STARTED, f"weir> \r\n{before}{line}\r\n", re.M) == [line[25:].strip()]
        other = line.replace("vm gamma: not started", "disk: is gone")
        assert re.findall(run.TROUBLE, f"weir> \r\n{before}{other}\r\n", re.M) == [other[26:]]
