#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Write the image that a person burns: Weir with one Linux guest and its shell.

    tests/tools/make_iso.py OUT.iso WEIR.elf
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import run  # noqa: E402
from lab import image, linux  # noqa: E402

MEM = 256  # MiB for the guest
MENU = 5  # seconds in which a person may edit the entry
# What Weir says last, a refusal too, stays on the screen: nobody may be at the serial line.
WEIR = run.WEIR.replace("when_done=poweroff", "when_done=halt")

# Not what spares an emulator time: on a real machine the guest has its mitigations.
image.make_iso(sys.argv[1], WEIR, run.guest_modules("linux", MEM, headless=False,
                                                    cmdline=linux.PLAIN_CMDLINE),
               kernel=sys.argv[2], timeout=MENU)
