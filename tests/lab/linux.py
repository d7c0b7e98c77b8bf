#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The Linux guest: Debian's kernel as its package has it, and a small initramfs with a shell.

    tests/lab/linux.py      fetches and builds both and prints where they are

The kernel is the one Debian's linux-image-cloud-amd64 depends on: it is a third of the ordinary
one's size and has what a guest of Weir's wants (PVH entry, KVM clock, serial console). It is
downloaded and unpacked below build/cache, not installed.
"""
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from lab import CACHE, ROOT  # noqa: E402

META_PACKAGE = "linux-image-cloud-amd64"
WANTED = ("CONFIG_PVH=y", "CONFIG_KVM_GUEST=y", "CONFIG_SERIAL_8250_CONSOLE=y",
          "CONFIG_DEVTMPFS=y", "CONFIG_RD_GZIP=y", "CONFIG_BLK_DEV_INITRD=y")
KVM_MODULES = ("virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-intel.ko")
FOLDER = os.path.join(CACHE, "linux")
INIT = os.path.join(ROOT, "tests/guests/init.sh")
# Before each attempt at what apt is to fetch, in seconds: the second one has new lists, and a mirror that was
# half changed is whole again by the third.
PAUSES = (0, 0, 20)

# What Weir's guests run with, and hosts below Weir: nothing that only costs an emulator time. Bochs
# executes REP STOSB and REP MOVSB a byte at a time, so Linux does better without knowing that they are
# fast. Its XRSTOR restores little of what XSAVEC saved, which Weir hides from guests, but who hides it
# from a host (errata_compacted_xsave)?
PLAIN_CMDLINE = "console=ttyS0,115200"
CMDLINE = (PLAIN_CMDLINE + " tsc=reliable nokaslr mitigations=off cryptomgr.notests "
           "random.trust_cpu=on clearcpuid=erms,fsrm,xsavec")


def _run(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


class NotFetched(RuntimeError):
    """apt has no such package, or could not fetch it; in one line, with apt's words."""


def _update_lists():
    """Fetches apt's lists anew, as root or by a sudo that asks nothing. What it could not fetch is seen later:
    its status is 0 for a part as well."""
    root = [] if os.getuid() == 0 else ["sudo", "-n"]
    if not root or shutil.which("sudo"):
        subprocess.run([*root, "apt-get", "update", "-qq"], stdin=subprocess.DEVNULL)


def _attempts():
    """Each with what it may need: a pause, and apt's lists anew."""
    for number, pause in enumerate(PAUSES):
        time.sleep(pause)
        if number:
            _update_lists()
        yield


def _resolve():
    """The package that holds the newest kernel; apt's lists are fetched if there are none."""
    for _ in _attempts():
        try:
            found = re.search(r"^\s*Depends: (linux-image-\S+)$",
                              _run("apt-cache", "depends", META_PACKAGE), re.M)
            if found:
                return found.group(1)
        except subprocess.CalledProcessError:
            pass
    raise NotFetched(f"apt knows no package {META_PACKAGE}: run apt-get update as root")


def _decompress(payload):
    if payload[:6] == b"\xfd7zXZ\0":
        # A decompressor object stops at the stream's end: the image's size follows it.
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:2] == b"\x1f\x8b":
        return gzip.decompress(payload[:-4])
    for magic, tool in ((b"\x02\x21\x4c\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if payload.startswith(magic):
            return subprocess.run([tool, "-dc"], check=True, input=payload[:-4],
                                  stdout=subprocess.PIPE).stdout
    raise RuntimeError(f"the kernel is compressed in a way not known here: {payload[:6].hex()}")


def extract_vmlinux(bzimage):
    """The uncompressed ELF image inside a bzImage (x86 boot protocol 2.08: payload_offset)."""
    if bzimage[0x202:0x206] != b"HdrS":
        raise RuntimeError("not a bzImage")
    setup_sectors = bzimage[0x1f1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    image = _decompress(bzimage[start:start + length])
    if image[:4] != b"\x7fELF":
        raise RuntimeError("the kernel's payload is not an ELF image")
    return image


def _write(path, data):
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "wb") as file:
        file.write(data)
    os.replace(fresh, path)


def kernel():
    """(vmlinuz, vmlinux) of the fetched kernel."""
    return _fetched("vmlinuz", "vmlinux")


def kvm_modules():
    """The modules of the same kernel that make it a host, in the order in which they are loaded."""
    return _fetched(*(os.path.basename(name) for name in KVM_MODULES))


def _fetched(*names):
    """The paths of files below FOLDER, after fetching all that is kept there if one is missing."""
    paths = tuple(os.path.join(FOLDER, name) for name in names)
    if not all(map(os.path.exists, paths)):
        _fetch()
    return paths


def _download(find, folder):
    """The package that find() names, fetched. Lists that are old name files that are gone: then once more
    with new ones, in which it may have another name."""
    for _ in _attempts():
        package = find()
        print(f"fetching Debian's {package}", flush=True)
        done = subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # apt warns that it does not drop root for a folder its own user cannot write: harmless.
        if not done.returncode:
            return package
    errors = re.findall(r"^E: .*", done.stderr, re.M) or done.stderr.splitlines()
    raise NotFetched(f"apt-get download {package} failed: {' '.join(errors)}")


def unpack_package(find, folder):
    """The package of Debian's that find() names, fetched and unpacked in a folder beside `folder`: its
    name, that folder, and in it the tree."""
    work = f"{folder}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    try:
        package = _download(find, work)
    except NotFetched:
        shutil.rmtree(work)
        raise
    archive = next(name for name in os.listdir(work) if name.endswith(".deb"))
    tree = os.path.join(work, "tree")
    _run("dpkg-deb", "-x", os.path.join(work, archive), tree)
    return package, work, tree


def _fetch():
    package, work, tree = unpack_package(_resolve, FOLDER)
    boot = os.path.join(tree, "boot")
    names = {name.split("-")[0]: os.path.join(boot, name) for name in os.listdir(boot)}
    with open(names["config"]) as file:
        config = file.read().splitlines()
    lacking = [line for line in WANTED if line not in config]
    if lacking:
        raise RuntimeError(f"{package} cannot be a guest: it lacks {' '.join(lacking)}")
    os.makedirs(FOLDER, exist_ok=True)
    with open(names["vmlinuz"], "rb") as file:
        image = file.read()
    modules = os.path.join(tree, "lib/modules", names["vmlinuz"].partition("-")[2], "kernel")
    if not os.path.isdir(modules):  # where /lib is a link to /usr/lib, from Debian 13 on
        modules = os.path.join(tree, "usr", os.path.relpath(modules, tree))
    for name in KVM_MODULES:
        _keep(os.path.basename(name), strip(read_module(os.path.join(modules, name)), work,
                                            "--strip-debug"))
    _keep("version", (package + "\n").encode())
    _keep("vmlinux", strip(extract_vmlinux(image), work, "--strip-all"))
    _keep("vmlinuz", image)
    shutil.rmtree(work)


def read_module(path):
    """A kernel's module, which Debian 13 packages compressed."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            return file.read()
    with lzma.open(f"{path}.xz") as file:
        return file.read()


def _keep(name, data):
    _write(os.path.join(FOLDER, name), data)


def strip(image, work, how):
    """Without symbols, which are a quarter of a kernel and which GRUB would read in an emulator; and
    without the signature of a module, which an emulator takes seconds to check."""
    path = os.path.join(work, "stripped")
    with open(path, "wb") as file:
        file.write(image)
    _run("objcopy", how, path)
    with open(path, "rb") as file:
        return file.read()


def cpio(entries):
    """An archive in cpio's "newc" format from (name, mode, contents, device major, minor)."""
    out = bytearray()
    for number, (name, mode, data, major, minor) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def initramfs_bytes(busybox, init, programs=()):
    """programs: (name, contents) of more files for /bin."""
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    entries = [(name, folder, b"", 0, 0)
               for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "root")]
    entries += [("dev/console", stat.S_IFCHR | 0o600, b"", 5, 1),
                ("bin/busybox", program, busybox, 0, 0),
                ("bin/sh", stat.S_IFLNK | 0o777, b"busybox", 0, 0),
                ("init", program, init, 0, 0)]
    entries += [(f"bin/{name}", program, data, 0, 0) for name, data in programs]
    entries += [("TRAILER!!!", 0, b"", 0, 0)]
    return gzip.compress(cpio(entries), 9, mtime=0)


def initramfs(*programs):
    """The path of an initramfs with busybox, tests/guests/init.sh, and in /bin the files that
    programs names, built if any of them changed."""
    contents = []
    for name in ("/bin/busybox", INIT, *programs):
        with open(name, "rb") as file:
            contents.append(file.read())
    names = [os.path.basename(name) for name in programs]
    data = initramfs_bytes(*contents[:2], zip(names, contents[2:]))
    path = os.path.join(CACHE, "-".join(["initrd", *names]))
    os.makedirs(CACHE, exist_ok=True)
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == data:
                return path
    _write(path, data)
    return path


def main():
    try:
        made = (*kernel(), initramfs())
    except NotFetched as why:
        sys.exit(f"guest: {why}")
    for path in made:
        print(f"{path} ({os.path.getsize(path) >> 10} KiB)")


if __name__ == "__main__":
    main()
