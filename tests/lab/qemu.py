# SPDX-License-Identifier: MIT
"""QEMU: TCG has no VT-x but real firmware and parallel CPUs; KVM is for people's own machines."""
import os
import shutil

from lab.machine import Machine

OVMF = "/usr/share/OVMF/"


class Qemu(Machine):
    """firmware is bios or uefi; accel tcg or kvm. memory in MiB."""

    def __init__(self, folder, iso, firmware="bios", cpus=1, memory=512, accel="tcg", cpu="max"):
        super().__init__(folder)
        self.iso, self.firmware, self.cpus, self.memory = iso, firmware, cpus, memory
        self.accel, self.cpu = accel, "host" if accel == "kvm" else cpu

    def command(self, serial):
        accel = "tcg,thread=multi" if self.accel == "tcg" else self.accel
        command = ["qemu-system-x86_64", "-machine", "q35", "-accel", accel, "-cpu", self.cpu,
                   "-smp", str(self.cpus), "-m", f"{self.memory}M", "-nodefaults", "-no-user-config",
                   "-display", "none", "-device", "VGA", "-no-reboot",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
                   "-monitor", f"unix:{self.monitor()},server,nowait",
                   "-chardev", f"tty,id=com1,path={serial}", "-serial", "chardev:com1",
                   "-drive", f"if=none,id=cd,format=raw,readonly=on,media=cdrom,file={self.iso}",
                   "-device", "ide-cd,drive=cd,bootindex=0"]
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
