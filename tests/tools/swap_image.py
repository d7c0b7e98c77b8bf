#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Write Weir's swap signature: into a new image file, or on a disk or partition that is named.

    tests/tools/swap_image.py --size 256M OUT.img      make an image, sparse
    tests/tools/swap_image.py --device /dev/sdX2       sign what is there, after asking

The size of an image is rounded up to whole cylinders of 16 heads and 63 sectors, as Bochs and old
firmware count them. A device is left alone unless the name of it is typed again, and while any of it
is mounted or used as swap.
"""
import argparse
import os
import re
import stat
import struct
import sys
import uuid
import zlib

BLOCK = 4096
CYLINDER = 16 * 63 * 512
BLOCKS_MIN, BLOCKS_MAX = 16, 1 << 32
VERSION = 2


def header(blocks):
    """The first two blocks (kernel/disk/swap_header.h)."""
    def fields(crc):
        return struct.pack("<8sIIQ16sI", b"WEIRSWAP", VERSION, BLOCK, blocks, identity.bytes,
                           crc).ljust(BLOCK, b"\0")
    identity = uuid.uuid4()
    return 2 * fields(zlib.crc32(fields(0))), identity


def parse_size(text):
    match = re.fullmatch(r"([0-9]{1,20})([KMGT]?)", text)
    if not match:
        sys.exit(f"swap_image.py: SIZE={text}: it is a number of bytes, or one with K, M, G or T behind it, like 256M")
    return int(match.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match.group(2)]


def blocks_of(size):
    blocks = size // BLOCK
    if not BLOCKS_MIN <= blocks <= BLOCKS_MAX:
        sys.exit("swap_image.py: the size must be 64 KiB to 16 TiB")
    return blocks


def make_image(path, size, signed=True):
    """Of zeros but for the signature."""
    blocks_of(size)  # what was asked for; of 16 TiB the signature leaves out what rounding adds
    size = -(-size // CYLINDER) * CYLINDER
    first, identity = header(min(size // BLOCK, BLOCKS_MAX))
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "wb") as file:
        file.write(first if signed else b"")
        file.truncate(size)
    os.replace(fresh, path)
    return identity, size


def in_use(device):
    """Lines of the kernel's that name the device, or a partition of it."""
    real = os.path.realpath(device)
    for name in ("/proc/mounts", "/proc/swaps"):
        with open(name) as file:
            for line in file:
                source = os.path.realpath(line.split()[0])
                if source.startswith("/dev/") and re.fullmatch(re.escape(real) + r"p?\d*", source):
                    return line.strip()
    return None


def sign_device(device):
    mode = os.stat(device).st_mode
    if not stat.S_ISBLK(mode):
        sys.exit(f"swap_image.py: {device} is not a block device")
    used = in_use(device)
    if used:
        sys.exit(f"swap_image.py: {device} is in use: {used}")
    # O_EXCL on a block device: refused while the kernel itself uses it, as LVM or RAID do.
    with os.fdopen(os.open(device, os.O_RDWR | os.O_EXCL), "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        first, identity = header(blocks_of(size))
        print(f"{device}: {size >> 20} MiB. Whatever it holds is lost when Weir uses it.")
        if input("Type its name again to sign it: ") != device:
            sys.exit("swap_image.py: nothing was written")
        file.seek(0)
        file.write(first)
        os.fsync(file.fileno())
    return identity, size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="256M")
    parser.add_argument("--device", action="store_true")
    parser.add_argument("path")
    args = parser.parse_args()
    try:
        identity, size = sign_device(args.path) if args.device else make_image(args.path, parse_size(args.size))
    except OSError as error:
        sys.exit(f"swap_image.py: {args.path}: {error.strerror}")
    except EOFError:
        sys.exit("swap_image.py: nothing was written")
    print(f"{args.path}: {size // BLOCK} blocks, signature {identity}")


if __name__ == "__main__":
    main()
