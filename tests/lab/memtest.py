# SPDX-License-Identifier: MIT
"""memtest86+ as Debian packages it: a guest that is no Linux, and brings start-up code of its own."""
import os
import shutil

from lab import CACHE
from lab.linux import unpack_package

PACKAGE = "memtest86+"
FOLDER = os.path.join(CACHE, "memtest")


def program():
    """The path of its image, which is a bzImage. Downloaded and unpacked below build/cache."""
    path = os.path.join(FOLDER, "memtest86+x64.bin")
    if not os.path.exists(path):
        _, work, tree = unpack_package(lambda: PACKAGE, FOLDER)
        os.makedirs(FOLDER, exist_ok=True)
        os.replace(os.path.join(tree, "boot", os.path.basename(path)), path)
        shutil.rmtree(work)
    return path
