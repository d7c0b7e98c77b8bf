# SPDX-License-Identifier: MIT
"""QEMU: TCG has no VT-x but real firmware and parallel CPUs; KVM is for people's own machines."""
import os
import shutil

from lab.machine import Machine

OVMF = "/usr/share/OVMF/"


CD = ["-drive", "if=none,id=boot,format=raw,readonly=on,media=cdrom,file={iso}",
      "-device", "ide-cd,drive=boot,bootindex=0"]
USB = ["-drive", "if=none,id=boot,format=raw,readonly=on,file={iso}", "-device", "qemu-xhci",
       "-device", "usb-storage,drive=boot,bootindex=0"]


def numa_options(nodes):
    """nodes: (MiB, CPUs) of each, as of lab.acpi; QEMU's firmware makes the tables."""
    options, first = [], 0
    for node, (mib, cpus) in enumerate(nodes):
        words = f"node,nodeid={node}"
        if mib:
            options += ["-object", f"memory-backend-ram,id=node{node},size={mib}M"]
            words += f",memdev=node{node}"
        if cpus:
            words += f",cpus={first}-{first + cpus - 1}"
        first += cpus
        options += ["-numa", words]
    return options


def command_line(iso, serial, monitor, cpus, memory, accel, cpu, medium=CD, numa=()):
    """QEMU's argument list but for UEFI. serial is a terminal, monitor a socket's name; numa as of
    numa_options()."""
    return ["qemu-system-x86_64", "-machine", "q35", "-accel",
            "tcg,thread=multi" if accel == "tcg" else accel,
            "-cpu", "host" if accel == "kvm" else cpu,
            "-smp", str(cpus), "-m", f"{memory}M", "-nodefaults", "-no-user-config",
            "-display", "none", "-device", "VGA", "-no-reboot",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-monitor", f"unix:{monitor},server,nowait",
            "-chardev", f"serial,id=com1,path={serial}", "-serial", "chardev:com1",
            *(word.format(iso=iso) for word in medium), *numa_options(numa)]


class Qemu(Machine):
    """firmware is bios or uefi; accel tcg or kvm. memory in MiB. usb: the image is a USB stick.
    numa: as of numa_options()."""

    def __init__(self, folder, iso, firmware="bios", cpus=1, memory=512, accel="tcg", cpu="max",
                 disk=None, usb=False, numa=()):
        super().__init__(folder)
        self.disk = disk
        self.iso, self.firmware, self.cpus, self.memory = iso, firmware, cpus, memory
        self.accel, self.cpu, self.medium = accel, cpu, USB if usb else CD
        self.numa = numa

    def command(self, serial):
        command = command_line(self.iso, serial, self.monitor(), self.cpus, self.memory, self.accel,
                               self.cpu, self.medium, self.numa)
        if self.disk:  # at the second channel of an IDE controller beside the chipset's AHCI
            command += ["-device", "piix3-ide,id=pata",
                        "-drive", f"if=none,id=disk,format=raw,file={self.disk}",
                        "-device", "ide-hd,drive=disk,bus=pata.1"]
        if self.firmware == "uefi":
            variables = self.path("vars.fd")
            shutil.copy(OVMF + "OVMF_VARS_4M.fd", variables)
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}OVMF_CODE_4M.fd",
                        "-drive", f"if=pflash,format=raw,file={variables}"]
        return command

    def monitor(self):
        # A socket's path may have at most 107 bytes, and the working folder is ours.
        return "monitor" if len(self.path("monitor")) > 100 else self.path("monitor")

    def stop(self):
        super().stop()
        if os.path.exists(self.path("vars.fd")):
            os.unlink(self.path("vars.fd"))
