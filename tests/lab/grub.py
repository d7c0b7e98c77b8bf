# SPDX-License-Identifier: MIT
"""The disk of the guest `grub`: GRUB's own boot code, as Debian packages it, and a partition for it to read.

Sector 0 is boot.img with a partition table, the core image follows, and the partition is a tar archive: GRUB's
other modules, its configuration, and what that starts.
"""
import io
import os
import struct
import subprocess
import tarfile
import tempfile

from lab import CACHE, ROOT

GRUB = "/usr/lib/grub/i386-pc"
FOLDER = os.path.join(CACHE, "grub")
SECTOR = 512
PARTITION = 128  # its first sector
TABLE = 0x1be  # where boot.img has code for floppy disks
CORE = ["biosdisk", "part_msdos", "tar"]
MODULES = ["normal", "echo", "ls", "hashsum", "gcry_md5", "read", "multiboot", "linux16"]
LISTS = ["command.lst", "fs.lst", "crypto.lst", "terminal.lst", "moddep.lst"]
PATTERN_WORDS, PATTERN_STEP = 32768, 2654435761  # as in tests/guests/loaded.c
PATTERN = b"".join(struct.pack("<I", i * PATTERN_STEP & 0xffffffff) for i in range(PATTERN_WORDS))


def _with_dependencies(modules):
    """The modules and those that they need."""
    needs = {}
    with open(os.path.join(GRUB, "moddep.lst")) as file:
        for line in file:
            name, _, others = line.partition(":")
            needs[name] = others.split()
    found, waiting = [], list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += needs.get(name, [])
    return sorted(found)


def _read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def _core_image():
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "core.img")
        subprocess.run(["grub-mkimage", "-O", "i386-pc", "-d", GRUB, "-p", "(hd0,msdos1)/boot/grub",
                        "-o", out, *CORE], check=True)
        return _read(out)


def _archive(config, files):
    contents = {"boot/grub/grub.cfg": _read(ROOT, "tests/guests", config)}
    for name in LISTS + [f"{module}.mod" for module in _with_dependencies(MODULES)]:
        contents["boot/grub/i386-pc/" + name] = _read(GRUB, name)
    for path in files:
        contents[os.path.basename(path)] = _read(path)
    contents["pattern.bin"] = PATTERN
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def disk(config, *files):
    """The path of an image with this configuration of tests/guests, and these files, below build/cache."""
    first, core, partition = bytearray(_read(GRUB, "boot.img")), _core_image(), _archive(config, files)
    assert SECTOR + len(core) <= PARTITION * SECTOR, "the core image reaches into the partition"
    entry = struct.pack("<B3sB3sII", 0x80, b"\xff" * 3, 0x83, b"\xff" * 3, PARTITION,
                        -(-len(partition) // SECTOR))
    first[TABLE:TABLE + 4 * len(entry)] = entry.ljust(4 * len(entry), b"\0")
    os.makedirs(FOLDER, exist_ok=True)
    path = os.path.join(FOLDER, os.path.splitext(config)[0] + ".img")
    with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:  # others may be making the same
        file.write((first + core).ljust(PARTITION * SECTOR, b"\0") + partition)
    os.replace(file.name, path)
    return path
