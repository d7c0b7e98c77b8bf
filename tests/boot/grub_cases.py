# SPDX-License-Identifier: MIT
"""Boot cases of the guest `grub`, in which GRUB's own boot code starts from a disk, by a BIOS, in real mode."""
import hashlib
import os
import re

from boots import bare_output, case, small_guest
from cases import NO_EPT, RESTRICTED, check_small_guest
from lab import BUILD, grub as grub_disk, image, linux, memtest as memtest86
from memtest_cases import check_memtest

TYPED = "hello"


def disk(config="grub.cfg"):
    path = grub_disk.disk(config, os.path.join(BUILD, "guests/loaded.elf"))
    return image.Module(path, "vm=grub module")


def grub_guest(vm_words=""):
    return small_guest("grub", f"keys={TYPED}~", vm_words=vm_words) + [disk()]


def grub_lines(text):
    """What the guest shows, from GRUB's first word to the count of its kernel's checks."""
    shown = re.search(r"^GRUB loading\.$.*?^guest: \d+ passed, \d+ failed$", text, re.M | re.S)
    assert shown, "GRUB did not come to its end"
    return [line for line in shown.group(0).splitlines() if not re.match(r"\[ *\d+\.\d+\] cpu\d", line)]


def check_grub(boot):
    """The configuration is read from the disk and run, and the kernel that it starts has no complaint."""
    check_small_guest(boot, "grub")
    lines = grub_lines(boot.text())
    assert f"Typed: {TYPED}" in boot.text() and f"It was {TYPED}." in boot.text()
    assert hashlib.md5(grub_disk.PATTERN).hexdigest() + "  /pattern.bin" in lines
    boot.ends()
    return lines


@case(machines=[NO_EPT], full=[RESTRICTED, "tigerlake"], deadline=180, guests=grub_guest)
def grub(boot):
    """GRUB's start-up code changes modes for each service of a BIOS, reads its modules and starts a kernel."""
    check_grub(boot)


@case(machines=[], full=["tigerlake"], deadline=180, guests=lambda: grub_guest("mmu=shadow"))
def shadow_grub(boot):
    """The same beneath shadow paging on a CPU that has EPT."""
    check_grub(boot)


@case(machines=[], full=[RESTRICTED, NO_EPT], deadline=300, guests=grub_guest)
def grub_bare(boot):
    """It shows what it shows on the bare CPU, line by line."""
    truth = grub_lines(bare_output(boot, "grub", f"keys={TYPED}~", [disk()]))
    assert check_grub(boot) == truth
    boot.note(f"{len(truth)} lines")


def guest_of(config, program, mem="32M"):
    """GRUB with a configuration that starts this file."""
    return small_guest("grub", mem=mem) + [image.Module(grub_disk.disk(config, program), "vm=grub module")]


@case(machines=[], full=[RESTRICTED, NO_EPT, "tigerlake"], deadline=600,
      guests=lambda: guest_of("grub_memtest.cfg", memtest86.program()))
def grub_memtest(boot):
    """GRUB starts memtest86+ in real mode, whose own 16-bit code asks the BIOS for its memory map."""
    check_memtest(boot, r"of 3\d\.\dMB", "grub")


@case(machines=[], full=[RESTRICTED, NO_EPT], deadline=600,
      guests=lambda: guest_of("grub_linux.cfg", linux.kernel()[0], "192M"))
def grub_linux(boot):
    """GRUB starts Debian's kernel in real mode, whose 16-bit code looks through the BIOS, to its first line."""
    boot.anywhere(r"^Probing EDD .* ok\b")
    boot.expect(r"Linux version 6\.")
    boot.expect(r"Command line: ")
