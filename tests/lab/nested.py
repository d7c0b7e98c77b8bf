# SPDX-License-Identifier: MIT
"""Nested KVM: Bochs runs Debian's Linux with KVM, that runs Debian's QEMU, and that runs Weir.

The host's kernel is started by its PVH entry (tests/nested/pvh.c) from an image of GRUB's, with an
initramfs of busybox, KVM's modules, QEMU with its libraries and firmware, and the files that are
given to it. Its first process (tests/nested/init.sh) runs /run.sh and switches the machine off.
"""
import os
import re
import shlex
import stat
import subprocess
import tempfile

from lab import BUILD, ROOT, image, linux
from lab.bochs import Bochs
from lab.qemu import command_line

QEMU = "/usr/bin/qemu-system-x86_64"
FIRMWARE = ("/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/vgabios-stdvga.bin",
            "/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/multiboot_dma.bin",
            "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/pvh.bin")
INIT = os.path.join(ROOT, "tests/nested/init.sh")
STUB = os.path.join(BUILD, "nested/pvh.elf")
HOST_MEMORY = 512  # MiB beside the guest's: kernel, initramfs (twice), QEMU
IPS = 10000000  # what a device takes, a UART's character above all, is quickly over
# CPUID says that the TSC has 2.4 GHz. It counts instructions, so that whatever waits for time to pass
# would take long; and above 429 MHz KVM makes no use of the preemption timer, without which Bochs never
# leaves a guest that runs with interrupts off.
ENDED = r"nested: it ended with status \d+"  # the last that init.sh says
HOST_PANIC = r"Kernel panic - not syncing.*"
SLOWER = " quiet tsc_early_khz=400000"


def libraries(program):
    """Everything that the dynamic linker maps for it, itself included."""
    listed = subprocess.run(["ldd", program], check=True, text=True, stdout=subprocess.PIPE).stdout
    return sorted(set(re.findall(r"(?:^\s+|=> )(/\S+)", listed, re.M)))


def initramfs(files, script):
    """An archive with files ({path there: path here}) and /run.sh."""
    found = {path: path for path in (QEMU, *libraries(QEMU), *FIRMWARE)}
    found |= {"/bin/busybox": "/bin/busybox", "/init": INIT}
    found |= {"/modules/" + os.path.basename(path): path for path in linux.kvm_modules()}
    found |= files
    folders = {"/dev", "/proc", "/sys", "/tmp"}
    for path in found:
        parts = path.split("/")
        folders |= {"/".join(parts[:i]) for i in range(2, len(parts))}
    entries = [(path[1:], stat.S_IFDIR | 0o755, b"", 0, 0) for path in sorted(folders)]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, b"", 5, 1))
    entries.append(("bin/sh", stat.S_IFLNK | 0o777, b"busybox", 0, 0))
    for path, here in found.items():
        with open(here, "rb") as file:
            entries.append((path[1:], stat.S_IFREG | 0o755, file.read(), 0, 0))
    entries.append(("run.sh", stat.S_IFREG | 0o644, script.encode(), 0, 0))
    entries.append(("TRAILER!!!", 0, b"", 0, 0))
    return linux.cpio(entries)


def host_image(files, script, cmdline):
    with tempfile.TemporaryDirectory(dir=BUILD) as work:
        path = os.path.join(work, "host.cpio")
        with open(path, "wb") as file:
            file.write(initramfs(files, script))
        modules = [image.Module(linux.kernel()[1], cmdline, "/host/vmlinux"),
                   image.Module(path, "", "/host/initramfs")]
        return image.cached_iso("", modules, kernel=STUB, bios_only=True)


class LinuxHost(Bochs):
    """A Linux with KVM that runs a script. The machine's console is its second serial line, which the
    script, or its guests, have; the first is the host's own console `host`."""

    off, panic = ENDED, HOST_PANIC
    host = None

    @property
    def main_console(self):
        return self.host

    def devices(self):
        """Lines of Bochs's configuration."""
        return ""

    def command(self, serial):
        self.host, terminal = self.serial_line("host.txt")
        self.more = f"com2: enabled=1, mode=term, dev={serial}\n{self.devices()}"
        return super().command(terminal)


class Host(LinuxHost):
    """One with these files, and memory besides its own."""

    def __init__(self, folder, files, script, memory, cmdline=linux.CMDLINE + SLOWER):
        iso = host_image(files, script, cmdline)
        super().__init__(folder, iso, memory=HOST_MEMORY + memory, ips=IPS)


def weir_command(iso, cpus, memory, serial="/dev/ttyS1", monitor="/tmp/monitor", numa=()):
    """What make run starts where there is KVM, but for nodes."""
    return command_line(iso, serial, monitor, cpus, memory, "kvm", "", numa=numa)


class Kvm(Host):
    """Weir in QEMU with KVM, started as make run starts it where there is KVM."""

    def __init__(self, folder, iso, cpus=1, memory=256, numa=()):
        script = shlex.join(weir_command("/weir.iso", cpus, memory, numa=numa)) + "\n"
        super().__init__(folder, {"/weir.iso": iso}, script, memory)
