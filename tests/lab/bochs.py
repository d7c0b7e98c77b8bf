# SPDX-License-Identifier: MIT
"""Bochs as Debian builds it: the machine with VT-x."""
import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import time

from lab import rfb
from lab.machine import Machine

# Besides at its start Bochs's debugger stands still after a triple fault, a guest's too.
GO_ON = "c\n" * 100

CYLINDER = 16 * 63 * 512
MEMORY_MAX = 1024 * 1024  # MiB that a machine may have
HOST_MEMORY_MAX = 2048  # MiB that Bochs itself takes; it pages the rest of the guest's to a file

# The CPU models with VT-x, oldest first, and what they lack that Weir cares for.
MODELS = {
    "core2_penryn_t9600": "no EPT, no VPID, no unrestricted guest",
    "corei5_lynnfield_750": "no EPT A/D, no unrestricted guest",
    "corei5_arrandale_m520": "no EPT A/D",
    "corei7_sandy_bridge_2600k": "no EPT A/D",
    "corei7_ivy_bridge_3770k": "no EPT A/D",
    "corei7_haswell_4770": "no PML",
    "broadwell_ult": "no PML",
    "corei7_skylake_x": "",
    "corei7_icelake_u": "",
    "tigerlake": "",
    "sapphire_rapids": "",
    "arrow_lake": "",
}
NEWER = ("sapphire_rapids", "arrow_lake")  # from Bochs 3.0 on
NO_VMX = "p4_prescott_celeron_336"
SVM_ONLY = "ryzen"

FIRMWARE = "/usr/share/bochs/BIOS-bochs-latest"
# MOV ECX, 0x3a; RDMSR; OR EAX, 5; WRMSR: how it locks VMX on (IA32_FEATURE_CONTROL), in 32-bit code on
# the boot CPU and in 16-bit code on the others. With 1 for 5 it locks VMX off.
LOCKS_VMX = {"boot": bytes.fromhex("b9 3a000000 0f32 83c8 05 0f30"),
             "others": bytes.fromhex("66b9 3a000000 0f32 6683c8 05 0f30")}

# One guest instruction is one tick of Bochs's clock, so that runs repeat (sync=none). rfb waits
# for no viewer. 0x8900 and 0xe9 are Bochs's own ports for switching off and for debug output.
# Without the sound lines it crashes on a machine where ALSA finds no card.
CONFIG = """\
plugin_ctrl: unmapped=1, serial=1, speaker=0
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest={memory}, host={host_memory}
romimage: file="{rom}"
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model={cpu}, count={cpus}, ips={ips}, reset_on_triple_fault=0
clock: sync={sync}
ata0-master: type=cdrom, path="{iso}", status=inserted
boot: cdrom
{disk}sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
com1: enabled=1, mode=term, dev={serial}
{more}port_e9_hack: enabled=1
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
"""


DISPLAY_PATIENCE = 30  # seconds until a Bochs that was started listens for viewers


@contextlib.contextmanager
def start_of_one():
    """One Bochs starts at a time, whoever starts it. Its display binds the first port that is free, at which
    it listens a moment later; of two that have bound the same one the second may not listen there, tries the
    other ports with the same socket, which is bound, and ends."""
    with open(shutil.which("bochs") or __file__, "rb") as program:  # a file that all have
        fcntl.flock(program, fcntl.LOCK_EX)
        yield


@functools.cache
def installed():
    """(version, CPU models) of the Bochs that is installed."""
    shown = subprocess.run(["bochs", "--help", "cpu"], text=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    version = re.search(r"Bochs x86 Emulator (\S+)", shown)
    if not version:
        raise RuntimeError(f"of which version this Bochs is cannot be seen:\n{shown}")
    return version.group(1), re.findall(r"^(\w+)$", shown, re.M)


def major():
    return int(re.match(r"\d+", installed()[0]).group())


def is_3():
    """It is Bochs 3.0 or newer."""
    return major() >= 3


def lacks(model):
    """None, or one line if it is a model of a newer Bochs than the one that is installed."""
    if model not in NEWER or model in installed()[1]:
        return None
    return f"Bochs {installed()[0]} has no model {model}: Bochs 3.0 has, which comes with Debian 13"


class OtherFirmware(Exception):
    """This Bochs's firmware is not the one that a case knows how to change."""


def firmware_without_vmx(path, cpus):
    """Writes a copy of the firmware which locks VMX off on the CPUs `boot` or `others`."""
    with open(FIRMWARE, "rb") as file:
        firmware = file.read()
    code = LOCKS_VMX[cpus]
    if firmware.count(code) != 1:
        raise OtherFirmware(f"{FIRMWARE} does not lock VMX in the way that Debian 12's does")
    with open(path, "wb") as file:
        file.write(firmware.replace(code, code.replace(b"\xc8\x05", b"\xc8\x01")))


class Bochs(Machine):
    """memory in MiB. ips is how many instructions make a second of the machine's time, rom the firmware's
    file.

    debugger is what Debian's Bochs, where it runs as the debugger, reads one line at a time whenever the
    machine stands still; "c" lets it go on.
    """

    def __init__(self, folder, iso, cpu="tigerlake", cpus=1, memory=512, ips=50000000,
                 realtime=False, debugger=GO_ON, disk=None, rom=FIRMWARE):
        super().__init__(folder)
        self.debugger = debugger
        self.more = ""  # lines of its configuration
        self.disk = disk
        self.config = dict(iso=iso, cpu=cpu, cpus=cpus, memory=memory, ips=ips,
                           host_memory=min(memory, HOST_MEMORY_MAX), disk=self.disk_line(), rom=rom,
                           sync="slowdown" if realtime else "none")

    def start(self):
        with start_of_one():
            super().start()
            patience = time.monotonic() + DISPLAY_PATIENCE
            # Whoever waits for the machine sees what became of one that has no display by then.
            while self.alive() and not rfb.listening_port(self.process.pid) and time.monotonic() < patience:
                time.sleep(0.005)
        return self

    def disk_line(self):
        """The disk is beside the CD-ROM drive, at the same channel; its size is in whole cylinders."""
        if not self.disk:
            return ""
        cylinders = os.path.getsize(self.disk) // CYLINDER
        return (f'ata0-slave: type=disk, mode=flat, path="{self.disk}", cylinders={cylinders}, '
                "heads=16, spt=63\n")

    def command(self, serial):
        with open(self.path("bochsrc"), "w") as file:
            file.write(CONFIG.format(serial=serial, more=self.more, **self.config))
        with open(self.path("debugger"), "w") as file:
            file.write(self.debugger)
        return ["bochs", "-q", *self.debug_option(), "-f", self.path("bochsrc"),
                "-rc", self.path("debugger")]

    def debug_option(self):
        """Debian's Bochs 2.7 is always the debugger, 3.0 where it is asked to be: for lines of a case's, and
        for several CPUs, whose loop otherwise does not note that an exception was delivered, and a VM exit
        before the handler's first instruction then saves RIP as it was before."""
        wanted = self.config["cpus"] > 1 or self.debugger != GO_ON
        return ["-dbg"] if wanted and is_3() else []
