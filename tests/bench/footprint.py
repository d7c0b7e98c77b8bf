# SPDX-License-Identifier: MIT
"""What Weir itself takes of memory: differences between machines that run, as their monitor counts.

A VM's guest is paused while its frames are counted; those that hold the guest's own pages are not
Weir's. What a MiB or a vCPU costs is the difference to a machine that has more of it.
"""
import os
import re
import sys
import types

from lab import BUILD, ROOT, image
from lab.bochs import Bochs

sys.path.append(os.path.join(ROOT, "tests/boot"))
from monitor import Operator  # noqa: E402
from running import deadline, running  # noqa: E402

WEIR = "console=com1,115200 loglevel=info when_done=poweroff"
DEADLINE = 1200
MIB = 1 << 20
FRAME = 4096
MACHINE, LARGE_MACHINE = 512, 1024  # MiB
VM, LARGE_VM = 32, 160
USED, MUCH_USED, DENSE_VM = 8, 32, 48


def talker(name="talker", mem=VM, vcpus=1):
    return image.Module(os.path.join(BUILD, "guests/talker.elf"),
                        f"vm={name} kernel mem={mem}M vcpus={vcpus} --")


def dense(used):
    return image.Module(os.path.join(BUILD, "guests/density.elf"),
                        f"vm=dense kernel mem={DENSE_VM}M -- 1 {used} 1000000")


def counters(operator, pattern):
    return {name: int(value) for name, value in
            re.findall(r"^(\S+) (\d+) \S+: ", operator.ask(f"stat {pattern}"), re.M)}


def count(folder, kernel, vms, memory=MACHINE, resident=0):
    """(frames that Weir manages, frames that are in use and no guest's, bytes of its image)."""
    iso = image.cached_iso(WEIR, vms, kernel=kernel, bios_only=True)
    machine = Bochs(folder, iso, memory=memory)
    with running("memory", machine):
        boot = types.SimpleNamespace(machine=machine, deadline=deadline(DEADLINE))
        operator = Operator(boot)
        names = [re.search(r"vm=(\S+)", vm.words).group(1) for vm in vms]
        for name in names:
            machine.wait_line(rf"vm {name}: started", boot.deadline)
        if not resident:
            machine.wait_line("(?s)" + ".*".join(["talker: ready"] * len(vms)), boot.deadline)
        operator.enter()
        pages = "vm.*.memory.got_page"
        while sum(counters(operator, pages).values()) < resident * MIB // FRAME:
            pass
        for name in names:
            operator.says(f"vm pause {name}", "is paused")
        frames = counters(operator, "frames.*")
        guests = sum(counters(operator, pages).values())
        begin, end = re.search(r"at (0x[0-9a-f]+)-(0x[0-9a-f]+)", machine.console.text).groups()
    used = frames["frames.total"] - frames["frames.free"] - guests
    return frames["frames.total"], used, int(end, 16) - int(begin, 16)


def measure(folder, kernel):
    """Bytes by name."""
    def machine(name, *vms, **options):
        return count(f"{folder}-{name}", kernel, list(vms), **options)

    total, used, image_size = machine("one", talker())
    large_total, large_used, _ = machine("large", talker(), memory=LARGE_MACHINE)
    more = (LARGE_MACHINE - MACHINE) * MIB // FRAME
    _, two, _ = machine("two", talker(), talker("beta"))
    _, vcpus, _ = machine("vcpus", talker(vcpus=2))
    _, large_vm, _ = machine("mem", talker(mem=LARGE_VM))
    _, little, _ = machine("little", dense(USED), resident=USED)
    _, much, _ = machine("much", dense(MUCH_USED), resident=MUCH_USED)
    return {
        "image": image_size,
        "per-frame": (more - (large_total - total) + large_used - used) * FRAME // more,
        "per-vm": (two - used) * FRAME,
        "per-vcpu": (vcpus - used) * FRAME,
        "per-mib": (large_vm - used) * FRAME // (LARGE_VM - VM),
        "per-mib-mapped": (much - little) * FRAME // (MUCH_USED - USED),
    }
