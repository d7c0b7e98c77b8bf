# SPDX-License-Identifier: MIT
"""The laboratory's own tests: consoles, images, the guest's files, the terminal relay."""
import argparse
import gzip
import importlib.util
import lzma
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest

import boots
import test_boot
from lab import ROOT, bochs, console, image, linux, machine, memtest, nested, rfb

sys.path.append(os.path.join(ROOT, "tests/tools"))
import run  # noqa: E402
import run_hosted  # noqa: E402

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
if mode in ("echo", "good"):
    say("[ 1.0] cpu0 info: vm alpha: powered off after 1.000 s\\r\\n")
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


def soon():
    return time.monotonic() + 20


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


@pytest.mark.parametrize("options", [[], ["--headless"]])
def test_the_last_line_says_why_no_guest_ran(relay, options):
    child, terminal = relay("small", *options)
    assert child.wait(20) == 1
    terminal.wait("by MEM=", soon())
    assert terminal.text.splitlines()[-1] == (
        "run: vm alpha: not started: its bzImage needs 52 MiB: raise mem=, here by MEM=")


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
    assert done.stdout.splitlines()[-1].endswith("HEADLESS=1 needs nobody")


@pytest.mark.parametrize("mode,status", [("good", 0), ("mute", 1), ("banner", 1)])
def test_headless_status(relay, mode, status):
    child, _ = relay(mode, "--headless")
    assert child.wait(20) == status


def test_a_slow_machine_has_more_time_for_a_headless_run(tmp_path, monkeypatch):
    deadlines = []

    class Watched(machine.Machine):
        def wait_line(self, pattern, deadline, start=0):
            deadlines.append(deadline)
            raise console.Ended("so far")

    made = Watched(str(tmp_path / "logs"))
    made.console = argparse.Namespace()
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
    assert says in terminal.text[:shown.start()]
    assert ("said last" in terminal.text) == bool(says)
    assert "the machine is off" not in terminal.text


@pytest.fixture
def pipe(tmp_path):
    """A console that reads what is written to a file descriptor."""
    ours, theirs = os.pipe()
    return console.Console(ours, str(tmp_path / "out")), theirs


def test_wait_sees_split_lines_and_keeps_its_deadline(pipe, tmp_path):
    line, theirs = pipe
    timer = threading.Timer(0.1, lambda: os.write(theirs, b"dy\nnext"))
    os.write(theirs, b"rea")
    timer.start()
    assert line.wait("^ready$", soon()).group(0) == "ready"
    before = time.monotonic()
    with pytest.raises(console.Ended, match="deadline"):
        line.wait("never", before + 0.3)
    assert 0.2 < time.monotonic() - before < 5
    os.close(theirs)
    with pytest.raises(console.Ended, match="ended before"):
        line.wait("never", soon())
    line.close()
    assert (tmp_path / "out").read_text() == "ready\nnext"


def test_wait_takes_no_number_whose_digits_still_come(pipe):
    line, theirs = pipe
    os.write(theirs, b"stat 89")
    timer = threading.Timer(0.1, lambda: os.write(theirs, b"43 pages\n"))
    timer.start()
    assert line.wait(r"stat (\d+)", soon()).group(1) == "8943"
    os.write(theirs, b"last 7")
    os.close(theirs)
    assert line.wait(r"last (\d+)", soon()).group(1) == "7"
    line.close()


def test_wait_lets_a_fatal_line_come_whole(pipe):
    line, theirs = pipe
    os.write(theirs, b"halted: e")
    timer = threading.Timer(0.1, lambda: os.write(theirs, b"xception 18\n"))
    timer.start()
    assert line.wait("exception (18)", soon(), fatal="halted: .*").group(1) == "18"
    with pytest.raises(console.Ended, match="halted: exception 18, before"):
        line.wait("never", soon(), fatal="halted: .*")
    os.close(theirs)
    line.close()


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
                  config=None, ram=None),
           **wanted}))


@pytest.fixture
def no_images(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "BUILD", str(tmp_path))
    monkeypatch.setattr(run, "guest_modules", lambda *_: [])
    monkeypatch.setattr(image, "cached_iso", lambda *_, **__: "weir.iso")


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


@pytest.mark.parametrize("guest", ["/etc/passwd", "nonesuch"])
def test_a_guest_that_is_no_folder_is_refused(guest):
    with pytest.raises(SystemExit, match=f"^GUEST={guest}: there is no such folder; it is linux, "):
        machine_for(guest=guest)


@pytest.mark.parametrize("word", ["HEADLESS=yes", "LIST=y", "DEBUG=yes", "V=2", "DEBUG=1 0"])
def test_a_switch_is_0_or_1(word):
    done = subprocess.run(["make", "-n", "clean", word], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [done.stdout.strip()], "more than a line"
    assert f"{word}: it is 0 or 1" in done.stdout


def test_switches_may_be_off():
    done = subprocess.run(["make", "-n", "clean", "HEADLESS=0", "LIST=", "DEBUG=0", "V=1"], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0


@pytest.mark.parametrize("goals,builds", [
    ("deps", False), ("deps-run clean", False), ("clean", False), ("distclean", False), ("", True), ("deps all", True)])
def test_make_deps_leaves_nothing_in_the_build_folder(tmp_path, goals, builds):
    """By sudo it would be root's, and a later make could not write there."""
    done = subprocess.run(["make", "-n", *goals.split(), f"BUILD={tmp_path / 'build'}"], cwd=ROOT,
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    assert os.path.exists(tmp_path / "build/flags.txt") == builds
    assert os.path.exists(tmp_path / "build") == builds


def test_make_clean_keeps_what_was_fetched(tmp_path):
    build = tmp_path / "build"
    for name in ("cache/linux", "obj/kernel"):
        (build / name).mkdir(parents=True)
    (build / "weir.elf").touch()
    (build / "flags.txt").touch()
    clean = ["make", "-s", f"BUILD={build}"]
    subprocess.run([*clean, "clean"], cwd=ROOT, check=True)
    assert sorted(os.listdir(build)) == ["cache", "flags.txt"]
    assert os.listdir(build / "cache") == ["linux"]
    subprocess.run([*clean, "distclean"], cwd=ROOT, check=True)
    assert not build.exists()
    subprocess.run([*clean, "clean"], cwd=ROOT, check=True)
    assert not build.exists()


@pytest.mark.parametrize("goal", ["clean", "distclean"])
def test_make_clean_touches_nothing_that_is_not_its_own(tmp_path, goal):
    (tmp_path / "letters").mkdir()
    done = subprocess.run(["make", "-s", goal, f"BUILD={tmp_path}"], cwd=ROOT, text=True,
                          stderr=subprocess.PIPE)
    assert done.returncode and "nothing was built there" in done.stderr
    assert os.listdir(tmp_path) == ["letters"]
    for word in ("", ".", "/", "a b"):  # tried without doing anything
        done = subprocess.run(["make", "-n", goal, f"BUILD={word}"], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode and f"BUILD={word}: " in done.stderr and not done.stdout


@pytest.mark.parametrize("wanted,parameter", [("auto", "Y"), ("auto", "1"), ("kvm", "Y")])
def test_accel_with_kvm(kvm, no_images, wanted, parameter):
    """QEMU is started just so as the case `nested` starts it under a KVM that is one."""
    kvm(parameter)
    made = machine_for(accel=wanted)
    expected = nested.weir_command("weir.iso", 2, 384, serial="pts", monitor=made.monitor())
    assert made.command("pts") == expected
    assert "host" in expected and "kvm" in expected


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


def test_the_relay_that_is_ended_puts_the_terminal_back(relay):
    child, terminal = relay("echo")
    before = termios.tcgetattr(terminal.fd)
    terminal.wait("shell ready", soon())
    assert termios.tcgetattr(terminal.fd) != before
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal.fd) == before


def bzimage(payload):
    """A setup header with just what the extraction reads (boot protocol 2.08)."""
    head = bytearray(1024)
    head[0x1f1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + b"\x90" * 16 + payload + b"signature"


REPORT = """\
[ RUN      ] good
[       OK ] good
[ RUN      ] bad
[  FAILED  ] bad
[ RUN      ] unwanted
[  SKIPPED ] unwanted
[  PASSED  ] 1 test(s).
[  SKIPPED ] {group}1 test(s), listed below:
[  SKIPPED ] unwanted

 1 SKIPPED TEST(S)
[  FAILED  ] {group}1 test(s), listed below:
[  FAILED  ] bad
"""


@pytest.mark.parametrize("group", ["", "tests: "])  # cmocka 1.1.5 and 1.1.7
def test_a_report_of_cmocka_is_counted(group):
    assert run_hosted.count(REPORT.format(group=group), 1) == (1, 1, 1)
    assert run_hosted.count("[ RUN      ] crashes\n", -6) == (0, 1, 0)
    assert run_hosted.count("[ RUN      ] good\n[       OK ] good\n", 0) == (1, 0, 0)


def tool(*command):
    """A program of the host that compresses its standard input."""
    return lambda data: subprocess.run(command, check=True, input=data, stdout=subprocess.PIPE).stdout


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, tool("zstd", "-qc"),
                                  tool("lz4", "-qlc")])
def test_vmlinux_comes_out_of_a_bzimage(pack):
    elf = b"\x7fELF" + bytes(range(256)) * 50
    packed = pack(elf) + struct.pack("<I", len(elf))
    assert linux.extract_vmlinux(bzimage(packed)) == elf


def test_wrong_kernels_are_refused():
    with pytest.raises(RuntimeError, match="not a bzImage"):
        linux.extract_vmlinux(b"\x7fELF" + bytes(2048))
    with pytest.raises(RuntimeError, match="not known"):
        linux.extract_vmlinux(bzimage(b"????????"))
    with pytest.raises(RuntimeError, match="not an ELF"):
        linux.extract_vmlinux(bzimage(gzip.compress(b"text") + b"\4\0\0\0"))


@pytest.mark.parametrize("words,says", [
    (["--device", "/dev/nonesuch"], "/dev/nonesuch: No such file or directory"),
    (["--device", "/dev/null"], "/dev/null is not a block device"),
    (["/nonesuch/swap.img"], "/nonesuch/swap.img: No such file or directory")])
def test_a_swap_disk_that_cannot_be_signed_is_one_line(words, says):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/tools/swap_image.py"), *words],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, f"swap_image.py: {says}\n")


def test_modules_are_read_however_they_are_packaged(tmp_path):
    (tmp_path / "a.ko").write_bytes(b"plain")
    (tmp_path / "b.ko.xz").write_bytes(lzma.compress(b"packed"))
    assert linux.read_module(tmp_path / "a.ko") == b"plain"
    assert linux.read_module(tmp_path / "b.ko") == b"packed"


FAKE_APT = """#!/bin/sh
echo "$@" >>{folder}/asked
case "$1" in
update) rm -f {folder}/stale ;;
download)
	if [ -e {folder}/stale ] || [ -e {folder}/gone ]; then
		echo "W: something else" >&2
		echo "E: Failed to fetch http://deb/$3.deb  404  Not Found" >&2
		exit 100
	fi
	cp {folder}/some.deb . ;;
esac
"""


@pytest.fixture(params=[0, 1000])
def apt(request, monkeypatch, tmp_path):
    """An apt-get, for root and by sudo: with a file `stale` its lists are old, with `gone` nothing helps."""
    tree = tmp_path / "some"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "boot").mkdir()
    (tree / "boot/memtest86+x64.bin").write_bytes(b"memtest")
    (tree / "DEBIAN/control").write_text(
        "Package: some\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n")
    subprocess.run(["dpkg-deb", "--build", str(tree), str(tmp_path / "some.deb")], check=True,
                   stdout=subprocess.DEVNULL)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("apt-get", FAKE_APT.format(folder=tmp_path)),
                       ("sudo", "#!/bin/sh\n[ \"$1\" = -n ] && shift && exec \"$@\"\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(os, "getuid", lambda: request.param)
    monkeypatch.setattr(memtest, "FOLDER", str(tmp_path / "cache/memtest"))
    return tmp_path


def test_old_lists_of_apts_are_fetched_anew_once(apt):
    (apt / "stale").touch()
    with open(memtest.program(), "rb") as file:
        assert file.read() == b"memtest"
    assert (apt / "asked").read_text().splitlines() == [
        "download -qq memtest86+", "update -qq", "download -qq memtest86+"]


def test_what_apt_cannot_fetch_is_said_in_its_words(apt, monkeypatch):
    (apt / "gone").touch()
    with pytest.raises(linux.NotFetched) as error:
        memtest.program()
    assert str(error.value) == ("apt-get download memtest86+ failed: "
                                "E: Failed to fetch http://deb/memtest86+.deb  404  Not Found")
    assert len((apt / "asked").read_text().splitlines()) == 3
    assert os.listdir(apt / "cache") == []
    monkeypatch.setattr(linux, "kernel", memtest.program)
    with pytest.raises(SystemExit, match="^guest: apt-get download .* Not Found$"):
        linux.main()


def test_initramfs_is_what_cpio_reads(tmp_path):
    archive = gzip.decompress(linux.initramfs_bytes(b"#busybox", b"#!/bin/sh\n"))
    listing = subprocess.run(["busybox", "cpio", "-tv"], input=archive, check=True,
                             stdout=subprocess.PIPE).stdout.decode()
    assert "dev/console" in listing and "bin/busybox" in listing
    subprocess.run(["busybox", "cpio", "-id", "init", "bin/sh"], input=archive, check=True,
                   cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert (tmp_path / "init").read_text() == "#!/bin/sh\n"
    assert os.readlink(tmp_path / "bin/sh") == "busybox"


def test_grub_config_has_every_module():
    text = image.grub_config("loglevel=info", [image.Module("/x/vmlinuz", "vm=a kernel -- b c"),
                                               image.Module("/x/initrd", "vm=a initrd")])
    assert "multiboot2 /boot/weir.elf loglevel=info\n" in text
    assert "module2 /guests/vmlinuz vm=a kernel -- b c\n" in text
    assert "module2 /guests/initrd vm=a initrd\n" in text


def test_cpus_choose_models_and_keep_counts():
    selftest = boots.CASES["selftest"]
    assert boots.machines_of(selftest, False, ["broadwell_ult"]) == [
        f"broadwell_ult:{n}" for n in (1, 2, 4, 8)]
    assert boots.machines_of(selftest, False, ["qemu-bios"]) == ["qemu-bios:4"]
    assert boots.machines_of(selftest, False, ["qemu-bios:4"]) == ["qemu-bios:4"]
    assert boots.machines_of(selftest, False, ["broadwell_ult:3"]) == ["broadwell_ult:3"]
    no_vmx = boots.CASES["no-vmx"]
    assert boots.machines_of(no_vmx, False, ["tigerlake"]) == []


def test_models_of_a_newer_bochs_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(bochs, "installed", lambda: ("2.7", ["tigerlake"]))
    assert bochs.lacks("tigerlake") is None
    assert re.fullmatch(r"Bochs 2\.7 has no model arrow_lake: .*3\.0.*", bochs.lacks("arrow_lake"))
    monkeypatch.setattr(bochs, "installed", lambda: ("3.0", ["tigerlake", "arrow_lake"]))
    assert bochs.lacks("arrow_lake") is None
    assert set(bochs.NEWER) < set(bochs.MODELS)


def test_what_a_newer_bochs_does_wrong_is_skipped_and_said(monkeypatch):
    case = boots.CASES["linux-shell-full"]
    monkeypatch.setattr(bochs, "installed", lambda: ("2.7", ["tigerlake"]))
    assert case.skip() is None
    monkeypatch.setattr(bochs, "installed", lambda: ("3.0", ["tigerlake"]))
    option = argparse.Namespace(full=True, cases="linux-shell-full", cpus="")
    request = argparse.Namespace(config=argparse.Namespace(option=option))
    monkeypatch.setattr(test_boot, "Boot", None)
    with pytest.raises(pytest.skip.Exception, match="Bochs 3.0 .* Linux stands still"):
        test_boot.test_boot(case, "tigerlake", None, request)


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


def test_cases_of_test_full_run_when_they_are_named():
    pair = boots.CASES["linux-pair-swap"]
    assert boots.machines_of(pair, False, []) == []
    assert boots.machines_of(pair, False, [], named=True) == pair.full


@pytest.mark.parametrize("words", (["--cases", "smoke", "--cpus", "kvm"],
                                   ["--cases", "linux-pair", "--cpus", "qemu-bios"],
                                   ["--cases", "smoke", "--cpus", "nonesuch"]))
def test_a_choice_of_nothing_is_an_error(words):
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:terminal",
                           os.path.join(ROOT, "tests/boot/test_boot.py"), *words],
                          stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 2 and re.search(r"^(CASES|CPUS)\b.*: ", done.stdout, re.M)


@pytest.mark.parametrize("goal,word,says", [
    ("test-boot", "CASES=nonesuch", "CASES: no boot case 'nonesuch'; make test-boot LIST=1 lists them"),
    ("test-boot", "CPUS=nonesuch", "CPUS: 'nonesuch' is none of: "),
    ("bench", "BENCH=nonesuch", "BENCH: there is no group nonesuch; there are guest, "),
    ("run", "MEM=0", "MEM=0: it is a number from 1 to 32768 (MiB)"), ("run", "CPU=nonesuch", "CPU=nonesuch: Bochs has "),
    ("run", "ACCEL=nonesuch", "ACCEL=nonesuch: it is auto, kvm or bochs"),
    ("run", "GUEST=/etc/passwd", "GUEST=/etc/passwd: there is no such folder; "),
    ("run", "CONFIG=nonesuch", "CONFIG=nonesuch: there is no such file")])
def test_a_wrong_choice_is_said_before_anything_is_built(tmp_path, goal, word, says):
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", goal, word, f"BUILD={tmp_path / 'build'}"], cwd=ROOT, text=True, env=alone,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    first, failed = done.stdout.splitlines()[:2]
    assert first.startswith(says) and failed.startswith("make: ***"), done.stdout
    assert done.returncode == 2


def test_listing_cases_needs_no_compiler():
    done = subprocess.run(["make", "-n", "test-boot", "LIST=1"], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert "deps.sh --quiet list" in done.stdout and "deps.sh --quiet test " not in done.stdout
    script = os.path.join(ROOT, "tests/tools/deps.sh")
    with open(script) as file:
        wanted = re.search(r"^\tlist\) want=(.*) ;;", file.read(), re.M).group(1)
    assert "python3-pytest" in wanted and "clang" not in wanted


def test_old_images_go_beside_another_cleaner(tmp_path, monkeypatch):
    for i in range(image.KEPT_IMAGES + 2):
        (tmp_path / f"{i}.iso").touch()
        os.utime(tmp_path / f"{i}.iso", (i, i))
    there = os.listdir(tmp_path)
    monkeypatch.setattr(os, "listdir", lambda _: there + ["gone.iso"])
    image.drop_old(str(tmp_path), ".iso", image.KEPT_IMAGES)
    monkeypatch.undo()
    assert sorted(there)[0] == "0.iso" and not {"0.iso", "1.iso"} & set(os.listdir(tmp_path))
    assert len(os.listdir(tmp_path)) == image.KEPT_IMAGES


def test_stripped_kernels_that_were_not_used_go(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "CACHE", str(tmp_path))
    monkeypatch.setattr(image, "KEPT_KERNELS", 2)
    kernels = []
    for i in range(3):
        kernels.append(tmp_path / f"kernel{i}")
        shutil.copy("/bin/true", kernels[-1])
        made = image.stripped(str(kernels[-1]))
        if i < 2:  # long ago; the first alone is used again
            os.utime(made, (i + 1, i + 1))
            os.utime(kernels[-1], (1, 1))
        if i == 1:
            first = image.stripped(str(kernels[0]))
            assert os.path.getmtime(first) == 1, "whether it is older than its kernel cannot be seen"
    there = {name.split(".")[0] for name in os.listdir(tmp_path) if name.endswith(".stripped")}
    assert there == {"kernel0", "kernel2"}


def bench_with(monkeypatch, tmp_path, cost, times):
    """tests/bench/run.py, where an operation with an aim of 100 costs so much."""
    monkeypatch.syspath_prepend(os.path.join(ROOT, "tests/bench"))
    spec = importlib.util.spec_from_file_location("bench_run", os.path.join(ROOT, "tests/bench/run.py"))
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    count = dict.fromkeys(("median", "min", "max"), cost) | {"count": 1}
    rows = [bench.operations.Operation("one", "one thing", aim=100)]
    monkeypatch.setattr(bench, "GROUPS", {"things": (lambda build: {"one": count}, rows)})
    monkeypatch.setattr(bench, "FOLDER", str(tmp_path))
    monkeypatch.setattr(bench.faults.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(bench.faults.hosted, "output",
                        lambda name: f"faults: 1 100 1.00 90 1.00\nfaults: 2 200 {times} 91 1.01\n")
    monkeypatch.setattr(sys, "argv", ["run.py", "--no-docs", "things", "faults"])
    return bench


@pytest.mark.parametrize("cost,times,missed", [
    (100, "1.80", []),
    (101, "1.80", ["things: one is over its aim of 100 instructions"]),
    (100, "1.79", ["faults: two threads are short of the aim of 1.8 times one"])])
def test_a_benchmark_that_misses_its_aim_fails(tmp_path, monkeypatch, capsys, cost, times, missed):
    bench = bench_with(monkeypatch, tmp_path, cost, times)
    if missed:
        with pytest.raises(SystemExit) as ended:
            bench.main()
        assert ended.value.code == 1
    else:
        bench.main()
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "aim of" in line] == missed
    assert "1.01" in out  # by the clock
    assert (tmp_path / "results.json").exists()


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
