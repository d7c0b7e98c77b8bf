# SPDX-License-Identifier: MIT
"""Boot cases of memtest86+, as Debian packages it."""
import re

from boots import case
from cases import RESTRICTED
from lab import image, memtest as memtest86


def memtest_guest(vm_words=""):
    words = f"vm=memtest kernel mem=32M vcpus=2 {vm_words} -- console=ttyS0,115200"
    return [image.Module(memtest86.program(), words)]


def check_memtest(boot, finds=r"2 Cores", vm="memtest"):
    """It finds both vCPUs, which its own code starts in real mode, and no error; ESC resets the VM."""
    boot.anywhere(finds)
    boot.anywhere(r"\[Moving inversions, 1s & 0s\]")
    boot.machine.console.send(b"\x1b")
    boot.anywhere(rf"vm {vm}: .*reset")
    errors = set(re.findall(r"Errors: +(\d+)", boot.text()))
    assert errors == {"0"}, f"memtest86+ counts {errors} errors"


@case(machines=[], full=["tigerlake", RESTRICTED], guests=memtest_guest, deadline=600)
def memtest(boot):
    """memtest86+ tests 32 MiB with two vCPUs."""
    check_memtest(boot)


@case(machines=[], full=["tigerlake"], deadline=900,
      guests=lambda: memtest_guest("mmu=shadow"))
def shadow_memtest(boot):
    """The same beneath shadow paging."""
    check_memtest(boot)
