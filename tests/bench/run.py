#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Benchmarks: instructions that Bochs executes, which repeat exactly enough to compare versions.

    tests/bench/run.py

boot: from GRUB's hand-over to the first instruction of a Linux guest, and to its shell. The
guest powers off right after its banner, and that is where the count ends. Breakpoints of Bochs's
debugger stop the machine at each point and print the number of instructions so far.
"""
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from lab import BUILD, image, linux  # noqa: E402
from lab.bochs import Bochs  # noqa: E402

WEIR = "console=com1,115200 loglevel=info when_done=poweroff"
IMAGE_BASE = 0xffffffff80000000
DEADLINE = 600
FOLDER = os.path.join(BUILD, "logs/bench")


def symbol(name):
    with open(os.path.join(BUILD, "weir.sym")) as file:
        for line in file:
            fields = line.split()
            if fields[2] == name:
                return int(fields[0], 16)
    sys.exit(f"bench: build/weir.sym has no {name}")


def vmlaunch():
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn",
                              os.path.join(BUILD, "weir.elf")], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    found = re.search(r"^([0-9a-f]+):\s+vmlaunch", listing, re.M)
    if not found:
        sys.exit("bench: there is no VMLAUNCH in build/weir.elf")
    return int(found.group(1), 16)


def boot(name, stock):
    vmlinuz, vmlinux = linux.kernel()
    kernel = vmlinuz if stock else vmlinux
    modules = [image.Module(kernel, f"vm=alpha kernel mem=256M -- {linux.CMDLINE} quiet "
                            "weir.poweroff"),
               image.Module(linux.initramfs(), "vm=alpha initrd")]
    points = ("hand-over", "first guest instruction", "shell")
    # The image lies where it is linked, less the base: GRUB is asked for the lowest place.
    stops = [f"pb {symbol('boot_entry32') - IMAGE_BASE:#x}", f"lb {vmlaunch():#x}",
             f"lb {symbol('vm_request_end'):#x}"]
    script = ""
    for number, stop in enumerate(stops, 1):
        script += f"{stop}\nc\nptime\nd {number}\n"
    machine = Bochs(os.path.join(FOLDER, name), image.cached_iso(WEIR, modules, bios_only=True),
                    debugger=script + "c\n")
    start = time.monotonic()
    with machine:
        machine.wait_exit(start + DEADLINE)
    with open(machine.path("emulator.txt"), errors="replace") as file:
        ticks = [int(n) for n in re.findall(r"^ptime: (\d+)", file.read(), re.M)]
    if len(ticks) != len(points):
        sys.exit(f"bench {name}: reached {len(ticks)} of {len(points)} points; {machine.folder}")
    return {point: tick - ticks[0] for point, tick in zip(points[1:], ticks[1:])}


def main():
    results = {}
    for name, stock in (("boot-pvh", False), ("boot-bzimage", True)):
        results[name] = boot(name, stock)
        for point, count in results[name].items():
            print(f"{name}: hand-over to {point}: {count:,} instructions", flush=True)
    with open(os.path.join(FOLDER, "results.json"), "w") as file:
        json.dump(results, file, indent=1)


main()
