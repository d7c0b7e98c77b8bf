#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Boot a Linux guest under Weir on this terminal.

    tests/tools/run.py [--cpu MODEL] [--smp N] [--mem MIB] [--guest linux|vmlinux|DIR] [--config FILE]
                 [--ram MIB] [--disk FILE] [--accel auto] [--headless]

The guest's console is the terminal, both ways; Ctrl-] then q at once leaves, and Ctrl-] alone goes
to Weir, whose monitor it calls (docs/monitor.md). An emulator that ends though Weir did not switch
the machine off shows what it said last, and the status is 1; what Weir complained of last comes after it.
Where nobody reads what is shown, as of `| head`, the machine is stopped. --config boots the guests of a GRUB menu
entry (docs/configuration.md) instead of one Linux. --disk FILE is an ATA disk of the machine's, of which `make
swap-image` makes one for Weir's swap=; with one Linux swap=auto is said, too. With --headless nothing is
typed: the run ends when the guest has printed its banner and powered off, with status 0, or else
with 1. --emulator COMMAND is for the test of the terminal relay: it is started instead of one,
with the terminal's name as its argument. --check only looks at the arguments, as far as that can be before
anything is built or fetched.
"""
import argparse
import fcntl
import itertools
import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from lab import BUILD, SLOW, image, linux, menuentry  # noqa: E402
from lab.bochs import CYLINDER, Bochs, HOST_MEMORY_MAX, MODELS, lacks  # noqa: E402
from lab.console import Ended  # noqa: E402
from lab.machine import OFF, Machine  # noqa: E402
from lab.qemu import Qemu  # noqa: E402

NOT_AT_COM1 = r"loglevel=(warn|error)$|console=(?!(com1|0x3f8)\b)"  # words with which OFF is not seen
WEIR = "console=com1,115200 loglevel=info when_done=poweroff"
BANNER = r"weir-guest: shell ready"
POWERED_OFF = r"vm alpha: powered off"
ESCAPE, LEAVE = 0x1d, ord("q")  # Ctrl-], then q
ESCAPE_SECONDS = 0.5  # how long q may take
HEADLESS_DEADLINE = 900
SOON = 10  # seconds, for what the emulator wrote before it ended
KVM, KVM_NESTED = "/dev/kvm", "/sys/module/kvm_intel/parameters/nested"
SMP_MAX = 8  # what is tested
MEM_MAX = 32 * 1024  # MiB; more, and Linux's own tables, a 64th of it, fill the machine
MEM, RAM_MIN = 256, 64  # MiB of the guest, and the least that the machine may have
OWN_MEMORY = 256  # MiB of the machine's beside the guest's
CPU = "tigerlake"
QUIET_SECONDS = 30 * SLOW  # after which a machine that has said nothing is a word worth
AFTER_A_PROMPT = r"(?:[^\n]*\x1b\[K)?"  # the monitor takes what is typed away, and shows it again
NOT_STARTED = rf"^{AFTER_A_PROMPT}\[.*(vm \S+: not started: [^\r\n]*)"
# Of Weir's other lines those that may say why a run failed.
TROUBLE = (rf"^{AFTER_A_PROMPT}\[ *\d+\.\d+\] cpu\d+ (?:(?:error|warn): (?!vm \S+: not started)|"
           r"info: (?=vm \S+: (?:crashed|killed) after))([^\r\n]+)")


def kvm_offers_vmx():
    """None if KVM here gives guests VMX, else what it lacks."""
    if not os.path.exists(KVM):
        return f"there is no {KVM}"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} may not be opened"
    try:
        with open(KVM_NESTED) as file:
            nested = file.read().strip()
    except OSError:
        return "KVM here is not Intel's"
    return None if nested in ("Y", "1") else "kvm_intel has nested=0"


def number(name, low, high=None):
    """A conversion for argparse that says what make's variable takes; without high it has a bound that is known
    later."""
    def convert(text):
        digits = re.sub(r"[Mm]$", "", text) if name in ("MEM", "RAM") else text
        if not re.fullmatch(r"[0-9]{1,9}", digits) or not low <= int(digits) <= (high or int(digits)):
            unit = " (MiB)" if name in ("MEM", "RAM") else ""
            sys.exit(f"{name}={text}: it is a number from {low} " + (f"to {high}" if high else "on") + unit)
        return int(digits)
    return convert


def check(args):
    """What needs neither the build nor the emulator."""
    if args.accel not in ("auto", "kvm", "bochs"):
        sys.exit(f"ACCEL={args.accel}: it is auto, kvm or bochs")
    if args.cpu and args.cpu not in MODELS:
        sys.exit(f"CPU={args.cpu}: Bochs has " + " ".join(MODELS))
    if args.cpu and args.accel == "kvm":
        sys.exit(f"CPU={args.cpu}: KVM has the CPU of this machine; ACCEL=bochs has that model")
    if args.config:
        for name in ("mem", "guest"):
            if getattr(args, name):
                sys.exit(f"{name.upper()}= is for one Linux guest: with CONFIG= the file says it")
        if not os.path.isfile(args.config):
            sys.exit(f"CONFIG={args.config}: there is no such file")
    elif args.guest and args.guest not in ("linux", "vmlinux") and not os.path.isdir(args.guest):
        sys.exit(f"GUEST={args.guest}: there is no such folder; it is linux, vmlinux, or a folder with vmlinuz "
                 "and initrd")
    if args.disk:
        check_disk(args.disk)
    if args.ram:
        machine_memory(0, choose_accel(args.accel, args.cpu, say=False), args.ram)


def check_disk(path):
    if not os.path.isfile(path):
        sys.exit(f"DISK={path}: there is no such file; make swap-image makes {BUILD}/swap.img")
    if not os.access(path, os.R_OK | os.W_OK):
        sys.exit(f"DISK={path}: it may not be read and written")
    if re.search(r'["\n,]', path):
        sys.exit(f"DISK={path}: emulators take no name with a comma or quotation mark")
    if not os.path.getsize(path) or os.path.getsize(path) % CYLINDER:
        sys.exit(f"DISK={path}: its size is not of whole cylinders of {CYLINDER} bytes, as Bochs wants it; make "
                 "swap-image makes such")


def own_disk(path):
    """As long as we live nobody else's; what a Bochs that was killed has left would keep ours out."""
    held = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"DISK={path}: another make run has it")
    lock = path + ".lock"
    if os.path.exists(lock):
        if os.path.getsize(lock):
            sys.exit(f"DISK={path}: Bochs wants {lock} for itself, which is somebody's file")
        os.remove(lock)
    return os.path.abspath(path)


def choose_accel(wanted, cpu="", say=True):
    """cpu: the model that was asked for, which Bochs alone has."""
    lacking = f"CPU={cpu} is one of its models" if cpu else kvm_offers_vmx()
    if wanted == "kvm" and lacking:
        sys.exit(f"ACCEL=kvm: {lacking}; ACCEL=bochs emulates a CPU with VMX")
    if wanted == "auto":
        wanted = "bochs" if lacking else "kvm"
        if say:
            print(f"run: {wanted}" + (f" ({lacking})" if lacking else ""), flush=True)
    return wanted


def guest_modules(guest, mem, headless, cmdline=linux.CMDLINE):
    """The module lines of GUEST=: linux (Debian's bzImage as packaged), vmlinux (the same kernel
    unpacked, by its PVH note: quicker in an emulator), or a folder with vmlinuz and initrd."""
    words = f"{cmdline} quiet" + (" weir.poweroff" if headless else "")
    if guest in ("linux", "vmlinux"):
        vmlinuz, vmlinux = linux.kernel()
        kernel, initrd = vmlinux if guest == "vmlinux" else vmlinuz, linux.initramfs()
    else:
        kernel, initrd = os.path.join(guest, "vmlinuz"), os.path.join(guest, "initrd")
        for path in (kernel, initrd):
            if not os.path.exists(path):
                sys.exit(f"GUEST={guest}: there is no {path}; it is linux, vmlinux, or a folder "
                         "with vmlinuz and initrd")
    return [image.Module(kernel, f"vm=alpha kernel mem={mem}M -- {words}"),
            image.Module(initrd, "vm=alpha initrd")]


class Other(Machine):
    """For the test of the relay: any program that talks on the terminal it is given."""

    def __init__(self, folder, program):
        super().__init__(folder)
        self.program = program

    def command(self, serial):
        return [self.program, serial]


def host_memory():
    """MiB of RAM that this computer has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def machine_memory(guests, accel, wanted=None):
    """The machine's MiB, if not so many are wanted, for guests that have so many together, which may be more.
    Bochs keeps what is over its bound in a file, and comes no further than its own start."""
    most = HOST_MEMORY_MAX if accel == "bochs" else max(HOST_MEMORY_MAX, host_memory() // 2)
    if wanted:
        if wanted > most:
            sys.exit(f"RAM={wanted}: the machine can have {RAM_MIN} to {most} MiB here")
        return wanted
    if guests + OWN_MEMORY > most:
        print(f"run: the machine has {most} MiB, for {guests} MiB of guests': they get memory as they touch "
              "it", flush=True)
    return min(guests + OWN_MEMORY, most)


def what_boots(args):
    """Weir's words, the modules, and the MiB of all guests."""
    if not args.config:
        mem = args.mem or MEM
        words = WEIR + (" swap=auto" if args.disk else "")
        return words, guest_modules(args.guest or "linux", mem, args.headless), mem
    words, modules = menu_entry(args)
    return words, modules, sum(menuentry.mem_of(module.words) for module in modules)


def menu_entry(args, made_later=None):
    """Weir's words and the modules of --config, of which those in the folder made_later need not be there yet."""
    try:
        words, modules = menuentry.read(args.config, made_later)
    except menuentry.Wrong as why:
        sys.exit(f"CONFIG={args.config}: {why}")
    if args.headless and "when_done=poweroff" not in words.split():
        sys.exit(f"CONFIG={args.config}: HEADLESS=1 needs the word when_done=poweroff: it would never end")
    quiet = [word for word in words.split() if re.match(NOT_AT_COM1, word)]
    if args.headless and quiet:
        sys.exit(f"CONFIG={args.config}: HEADLESS=1 reads at COM1 that the machine goes off: not with {quiet[0]}")
    return words, modules


def own_folder():
    """For the logs: one that no other run from this clone has as long as we live, which the lock does not outlive."""
    for number in itertools.count(1):
        folder = os.path.join(BUILD, "logs/run" + (f"-{number}" if number > 1 else ""))
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        lock = os.open(folder + ".lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if number > 1:
            print(f"run: another make run goes on here; this one's logs: {folder}", flush=True)
        return folder


def make_machine(args):
    if args.emulator:
        return Other(args.emulator + ".logs", args.emulator)
    check(args)
    accel = choose_accel(args.accel, args.cpu)
    if accel == "bochs" and lacks(args.cpu):
        sys.exit(f"CPU={args.cpu}: {lacks(args.cpu)}")
    words, modules, guests = what_boots(args)
    memory = machine_memory(guests, accel, args.ram)
    iso = image.cached_iso(words, modules)
    folder = own_folder()
    disk = own_disk(args.disk) if args.disk else None
    if accel == "kvm":
        return Qemu(folder, iso, cpus=args.smp, memory=memory, accel="kvm", disk=disk)
    return Bochs(folder, iso, cpu=args.cpu or CPU, cpus=args.smp, memory=memory, disk=disk)


class Terminal:
    """Standard input without line editing, echo and signals, put back as it was at the end."""

    def __enter__(self):
        self.saved = termios.tcgetattr(0) if os.isatty(0) else None
        if self.saved:
            tty.setraw(0)
        return self

    def __exit__(self, *_):
        if self.saved:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)


def relay(machine):
    """What is typed goes to the machine until it ends or the person leaves."""
    escaped = None  # when Ctrl-] came, which may be ours
    while machine.alive():
        ready, _, _ = select.select([0], [], [], 0.1 if escaped else 0.2)
        if not ready:
            if escaped and time.monotonic() > escaped + ESCAPE_SECONDS:
                machine.console.send(bytes([ESCAPE]))
                escaped = None
            continue
        data = os.read(0, 1024)
        if not data:
            return "deaf"
        out = bytearray()
        for byte in data:
            if escaped and byte == LEAVE:
                return "left"
            if escaped:
                out.append(ESCAPE)
                escaped = None
            if byte == ESCAPE:
                escaped = time.monotonic()
            else:
                out.append(byte)
        if out:
            machine.console.send(bytes(out))
    return "ended"


def show(data):
    """Of a pipe that nobody reads any more SIGPIPE tells, which ends us."""
    while data:
        try:
            data = data[os.write(1, data):]
        except BrokenPipeError:
            return


class Silence:
    """In a with statement: one line where the machine has said nothing for long after its start."""

    def __init__(self, machine):
        self.machine = machine
        self.timer = threading.Timer(QUIET_SECONDS, self.say)
        self.timer.daemon = True

    def say(self):
        if not self.machine.console.text:
            show(f"\rrun: nothing was said for {QUIET_SECONDS:.0f} s: an emulator takes long where the computer "
                 f"is busy or a guest is large; logs: {self.machine.folder}\r\n".encode())

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *_):
        self.timer.cancel()


def not_started(machine):
    """Says once more, last, which VMs Weir did not start and why. False: there was none."""
    lines = re.findall(NOT_STARTED, machine.console.text, re.M)
    for line in lines:
        print("run: " + line + (", here by MEM=" if line.endswith("raise mem=") else ""))
    return bool(lines)


def failed(machine, why):
    """Says so, with the end of what the emulator itself said; not where Weir switched the machine off, for
    then that is not why. Last comes what Weir complained of last."""
    said, text = machine.last_words(), machine.console.text
    if said and not re.search(OFF, text):
        print("\nrun: the emulator said last:\n    " + "\n    ".join(said), end="")
    print(f"\nrun: failed: {why}; logs: {machine.folder}")
    trouble = re.findall(TROUBLE, text, re.M)
    if trouble and trouble[-1] not in str(why):
        print(f"run: Weir said before: {trouble[-1]}")
    return 1


def interactive(machine):
    with Terminal():
        machine.console.listen(show)
        how = relay(machine)
    if how == "left":
        print("\nrun: left; the machine is stopped")
        return 0
    if how == "deaf":
        print("\nrun: there is nothing more to be typed, and the machine is stopped; HEADLESS=1 needs nobody")
        return 1
    try:
        machine.wait_line(OFF, time.monotonic() + SOON)
    except Ended:
        return failed(machine, "the emulator ended before Weir switched the machine off")
    print("\nrun: the machine is off")
    return 0


def headless(machine, start, config=False):
    """0 only if the banner came, then the guest's clean end, then the machine's; of guests of a person's own
    only the last is known. An emulator also ends where Weir dies: what counts is that Weir said it."""
    deadline = start + HEADLESS_DEADLINE * SLOW
    machine.console.listen(show)
    guest, seen = "", 0
    try:
        if not config:
            seen = machine.wait_line(BANNER, deadline).end()
            guest = f"shell after {time.monotonic() - start:.0f} s, guest powered off, "
            seen = machine.wait_line(POWERED_OFF, deadline, seen).end()
        machine.wait_line(OFF, deadline, seen)
        machine.wait_exit(deadline)
    except Ended as error:
        return failed(machine, error)
    print(f"\nrun: {guest}machine off after {time.monotonic() - start:.0f} s")
    return 0


def leave(which, _):
    """A signal that ends us: the machine is stopped first, and the terminal put back."""
    if which == signal.SIGPIPE:
        # Whatever comes next is not read either, and would end us amid our end; and what Python still has
        # of it, it writes at the very end, and takes the error for a status of 120.
        signal.signal(which, signal.SIG_IGN)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(128 + which)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", default="")
    parser.add_argument("--smp", type=number("SMP", 1, SMP_MAX), default=1)
    parser.add_argument("--mem", type=number("MEM", 1, MEM_MAX))
    parser.add_argument("--ram", type=number("RAM", RAM_MIN))
    parser.add_argument("--disk")
    parser.add_argument("--guest")
    parser.add_argument("--config")
    parser.add_argument("--accel", default="auto")
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--emulator")
    args = parser.parse_args()
    if args.check:
        check(args)
        if args.config:
            menu_entry(args, made_later=BUILD)
        return
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(which) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(which, leave)
    signal.signal(signal.SIGPIPE, leave)
    machine = make_machine(args)
    start = time.monotonic()
    if not args.headless:
        print("run: Ctrl-] then q leaves; Ctrl-] alone calls Weir's monitor\n", flush=True)
    with machine, Silence(machine):
        status = headless(machine, start, args.config) if args.headless else interactive(machine)
        sys.exit(1 if not_started(machine) else status)


if __name__ == "__main__":
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # or Python does it, when nobody can hear of it any more
    except BrokenPipeError:  # of a print, which may be quicker than the signal
        leave(signal.SIGPIPE, None)
