# SPDX-License-Identifier: MIT
"""What a boot case is: a function with a Boot that holds the machine, and where it is to run.

    @case(machines=["tigerlake", "qemu-uefi:4"], weir="selftest=all", deadline=60)
    def selftest(boot):
        '''One line that says what is shown.'''
        boot.expect("...")

A machine is a Bochs CPU model, qemu-bios, qemu-uefi or kvm (QEMU with KVM, nested: lab/nested.py),
then perhaps :CPUS. `machines` are those of `make test`, `full` those that `make test-full` adds. disk:
MiB of a disk, which carries Weir's swap signature if it is signed.
Everything that is waited for has the one deadline, in seconds; WEIR_SLOW=N multiplies it for a
machine slower than most.
"""
import contextlib
import dataclasses
import os
import re
import sys
import time
from typing import Callable

from lab import BUILD, ROOT, SLOW, acpi, image, linux, screen
from lab.bochs import Bochs, MODELS, firmware_without_vmx
from lab.console import Ended
from lab.machine import PANIC
from lab.nested import Kvm
from lab.qemu import Qemu

sys.path.insert(0, os.path.join(ROOT, "tests/tools"))
import swap_image  # noqa: E402

WEIR = "console=com1,115200 loglevel=info"
LOGS = os.path.join(BUILD, "logs/boot")
QEMU = {"qemu-bios": "bios", "qemu-uefi": "uefi"}
KVM = "kvm"
OTHERS = (*QEMU, KVM)  # machines that are no models of Bochs's

CASES = {}


@dataclasses.dataclass
class Case:
    function: Callable
    machines: list
    full: list
    weir: str
    guests: Callable
    deadline: float
    memory: int
    when_done: str
    qemu_cpu: str
    apart: str
    disk: int
    signed: bool
    kernel: Callable
    usb: str
    gfxpayload: str
    vmx_off: str
    skip: Callable
    watch: bool
    nodes: list

    @property
    def name(self):
        return self.function.__name__.replace("_", "-")

    @property
    def about(self):
        return self.function.__doc__.strip().splitlines()[0]


def case(machines, full=(), weir="", guests=lambda: [], deadline=60, memory=512,
         when_done="poweroff", qemu_cpu="max", apart="", disk=0,
         signed=True, kernel=lambda: None, usb="", gfxpayload="", vmx_off="", skip=lambda: None,
         watch=False, nodes=()):
    """apart: why make test leaves it out, which it counts as a test that was skipped. kernel: the path of
    one in Weir's place. usb: that of an image which is booted as it is, from a USB stick; for QEMU. gfxpayload:
    the mode of the screen that GRUB is asked for. vmx_off: the CPUs (`boot` or `others`) on which Bochs's
    firmware locks VMX off. skip: why the emulator that is installed cannot run it, or None. watch:
    screen.text() is to see the screen of a Bochs with one CPU, too, whose time goes on as ours does. nodes:
    (MiB, CPUs) of each node of the machine, which has so much memory; by tables that GRUB adds (lab/acpi.py), or by
    QEMU's own."""
    memory = sum(mib for mib, _ in nodes) or memory

    def register(function):
        made = Case(function, list(machines), list(full), weir, guests, deadline, memory,
                    when_done, qemu_cpu, apart, disk, signed, kernel, usb, gfxpayload, vmx_off,
                    skip, watch, list(nodes))
        assert made.name not in CASES, made.name
        CASES[made.name] = made
        return function
    return register


def machines_of(chosen, full, models, named=False):
    """Where a case runs; models (of CPUS=) stand in for its Bochs models, CPU counts kept but where a
    model has one of its own. A case of make test-full alone that is named runs where its row says, or
    where they say."""
    alone = not chosen.machines and (models or named)
    machines = chosen.machines + (chosen.full if full or alone else [])
    if not models:
        return list(dict.fromkeys(machines))
    counts = {m.partition(":")[2] for m in machines if m.partition(":")[0] not in OTHERS}
    wanted = [m for m in machines if m in models or m.partition(":")[0] in models]
    wanted += [model if ":" in model else f"{model}:{count}".rstrip(":") for model in models
               if model.partition(":")[0] not in OTHERS for count in sorted(counts)]
    return list(dict.fromkeys(wanted))


# --- guests ---

def linux_guest(name="alpha", mem="256M", words="", stock=False, vm_words="", programs=()):
    """Two module lines: Debian's kernel (its vmlinux by PVH, or as it is packaged), and an initramfs
    with more programs, by their names in tests/guests/linux."""
    sources = os.path.join(ROOT, "tests/guests/linux")
    files = [os.path.join(sources if file.endswith(".sh") else
                          os.path.join(BUILD, "guests/linux"), file) for file in programs]
    vmlinuz, vmlinux = linux.kernel()
    return [image.Module(vmlinuz if stock else vmlinux,
                         f"vm={name} kernel mem={mem} {vm_words} -- "
                         f"{linux.PLAIN_CMDLINE if stock else linux.CMDLINE} quiet "
                         f"weir.name={name} {words}".rstrip()),
            image.Module(linux.initramfs(*files), f"vm={name} initrd")]


def small_guest(name, words="", mem="32M", vm=None, vm_words=""):
    """The module line of one of tests/guests: its VM has its name, or another."""
    path = os.path.join(BUILD, "guests", name + ".elf")
    return [image.Module(path, f"vm={vm or name} kernel mem={mem} {vm_words} -- {words}".rstrip())]


def bare_output(boot, name, words="", modules=(), model=None):
    """What a small guest says on the same CPU model, or another, without Weir, up to the count of its
    checks."""
    kernel = os.path.join(BUILD, "guests", name + ".elf")
    iso = image.cached_iso(words, list(modules), kernel=kernel, bios_only=True, protocol="multiboot")
    machine = Bochs(boot.folder + "-bare", iso, cpu=model or boot.model, memory=64)
    machine.start()
    try:
        machine.wait_line(r"guest: \d+ passed, \d+ failed", boot.deadline)
        return machine.console.text.replace("\r", "")
    finally:
        machine.stop()


# --- one boot ---

def remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


class Boot:
    """A case on a machine: what its function talks to."""

    def __init__(self, chosen, machine):
        self.case = chosen
        self.machine_name = machine
        self.model, _, cpus = machine.partition(":")
        self.cpus = int(cpus or 1)
        self.folder = os.path.join(LOGS, f"{chosen.name}-{machine.replace(':', '-')}")
        self.deadline = None
        self.machine = None
        self.seen = 0  # offset in the console up to which expect() has read
        self.notes = []

    def __enter__(self):
        model, cpus = self.model, self.cpus
        cmdline = f"{WEIR} when_done={self.case.when_done} {self.case.weir}".rstrip()
        iso = self.case.usb or image.cached_iso(cmdline, self.case.guests(), self.case.kernel(),
                                                bios_only=model not in QEMU,
                                                gfxpayload=self.case.gfxpayload,
                                                tables=self.tables())
        # Beside the logs' folder, which the machine makes afresh.
        disk = self.folder + ".disk" if self.case.disk else None
        if disk:
            os.makedirs(LOGS, exist_ok=True)
            remove(disk + ".lock")  # of a Bochs that was killed: another would not open the disk
            swap_image.make_image(disk, self.case.disk << 20, self.case.signed)
        if model == KVM:
            self.machine = Kvm(self.folder, iso, cpus=cpus, memory=self.case.memory, numa=self.case.nodes)
        elif model in QEMU:
            self.machine = Qemu(self.folder, iso, firmware=QEMU[model], cpus=cpus,
                                memory=self.case.memory, cpu=self.case.qemu_cpu, disk=disk,
                                usb=bool(self.case.usb), numa=self.case.nodes)
        else:
            self.machine = Bochs(self.folder, iso, cpu=model, cpus=cpus,
                                 memory=self.case.memory, disk=disk, **self.bochs_only())
        self.deadline = time.monotonic() + self.case.deadline * SLOW
        self.machine.start()
        return self

    def tables(self):
        """ACPI tables that are not the firmware's."""
        return acpi.node_tables(self.case.nodes) if self.model not in OTHERS else []

    def bochs_only(self):
        """Bochs's other arguments: where VMX is to be locked off, and where its screen is read."""
        more = {"debugger": screen.WATCH} if self.case.vmx_off or self.case.watch else {}
        if self.case.watch:
            more["realtime"] = True  # an idle machine's time would be over before anybody typed
        if self.case.vmx_off:
            os.makedirs(LOGS, exist_ok=True)
            more["rom"] = self.folder + ".rom"
            firmware_without_vmx(more["rom"], self.case.vmx_off)
        return more

    def __exit__(self, *_):
        self.machine.stop()
        if self.machine.disk:
            remove(self.machine.disk)
            remove(self.machine.disk + ".lock")

    def text(self):
        return self.machine.console.text.replace("\r", "")

    def expect(self, pattern):
        """Waits for a line after the last one expected; the match."""
        match = self.machine.wait_line(pattern, self.deadline, self.seen)
        self.seen = match.end()
        return match

    def anywhere(self, pattern):
        """Waits for a line wherever it stands; for lines of parties that do not wait for each
        other."""
        return self.machine.wait_line(pattern, self.deadline)

    def frames_came_back(self):
        """All VMs have ended, and every frame that they had is free."""
        after, before = self.anywhere(r"(\d+) frames free, (\d+) before the first").groups()
        assert after == before, f"frames were lost: {after} free, {before} before"

    def type(self, line):
        self.machine.console.send(line.encode() + b"\r")

    def ends(self):
        """Waits until the machine has switched itself off, because Weir said so and for nothing else:
        an emulator also ends where a triple fault leaves it with nothing to do."""
        try:
            if self.case.when_done == "poweroff":
                self.anywhere(r"powering off")
            self.machine.wait_exit(self.deadline)
        except Ended as error:
            raise AssertionError(str(error)) from None
        dead = re.search(PANIC, self.text(), re.M)
        assert not dead, dead.group(0)

    def note(self, text):
        self.notes.append(text)

    def tail(self, lines=25):
        end = self.text().splitlines()[-lines:]
        if isinstance(self.machine, Kvm):
            host = self.machine.host.text.replace("\r", "").splitlines()
            end += ["", "the end of its host's (host.txt):"] + host[-lines:]
        said = self.machine.last_words()
        if said:
            end += ["", "the emulator said last (emulator.txt):"] + said
        return "\n".join(end)


def counters(boot):
    """What the word `stats` made Weir log."""
    return {name: int(value) for name, value in
            re.findall(r"\bstat (\S+) (\d+) ", boot.text(), re.M)}


def known_machine(machine):
    return machine.partition(":")[0] in (*OTHERS, *MODELS, "p4_prescott_celeron_336", "ryzen")
