# SPDX-License-Identifier: MIT
"""Bootable images: a grub.cfg from Weir's command line and the guests' module lines, and the ISO."""
import contextlib
import dataclasses
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time

from lab import BUILD, CACHE

KEPT_IMAGES = 12  # the oldest of build/cache/iso go when there are more
KEPT_KERNELS = 32  # and of the stripped kernels in build/cache, which several trees may share


@dataclasses.dataclass
class Module:
    """One module2 line: a file of this machine and what follows its name."""
    path: str
    words: str
    name: str = ""  # its path inside the image; /guests/<file> without it

    def target(self):
        return self.name or "/guests/" + os.path.basename(self.path)


def table_target(path):
    """Where an ACPI table is inside the image."""
    return "/boot/acpi/" + os.path.basename(path)


def grub_config(cmdline, modules, timeout=0, protocol="multiboot2", gfxpayload="", tables=()):
    """timeout is how many seconds the menu stands; 0: none. gfxpayload: the mode of the screen that GRUB
    is to set, where docs/bare-metal.md says that the line has its place. tables: files of ACPI tables that
    GRUB adds to the firmware's."""
    lines = [f"set timeout={timeout}", "set default=0",
             "serial --unit=0 --speed=115200",
             "terminal_input console", "terminal_output console",
             "insmod all_video",
             'menuentry "Weir" {']
    if tables:
        # It makes a new RSDP, whose copy is what `multiboot2` gives Weir. The firmware's tables stay.
        lines.append("\tacpi " + " ".join(table_target(path) for path in tables))
    lines.append(f"\t{protocol} /boot/weir.elf {cmdline}")
    module = "module2" if protocol == "multiboot2" else "module"
    lines += [f"\t{module} {m.target()} {m.words}" for m in modules]
    # `multiboot2` sets gfxpayload itself, by Weir's header, so what is set before it is lost; and it
    # is looked at by `boot`.
    # Weir asks for a framebuffer, and GRUB dies in Bochs's VGA BIOS setting one: text there.
    lines.append("\tif [ $grub_platform = pc ]; then set gfxpayload=text; fi")
    if gfxpayload:
        lines.append(f"\tset gfxpayload={gfxpayload}")
    return "\n".join(lines + ["\tboot", "}", ""])


def _fresh(path):
    """A name to write it under first: others may be making the same."""
    return f"{path}.{os.getpid()}.{threading.get_ident()}"


def stripped(kernel):
    """GRUB would load symbols and debug information too, which costs seconds in an emulator."""
    # Several builds have a kernel of one name.
    path = hashlib.sha256(os.path.realpath(kernel).encode()).hexdigest()[:12]
    out = os.path.join(CACHE, f"{os.path.basename(kernel)}.{path}.stripped")
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(kernel):
        os.makedirs(CACHE, exist_ok=True)
        fresh = _fresh(out)
        subprocess.run(["objcopy", "--strip-all", kernel, fresh], check=True)
        os.replace(fresh, out)
        drop_old(CACHE, ".stripped", KEPT_KERNELS)
    # When it was used last; when it was made is compared with the kernel's time.
    os.utime(out, ns=(time.time_ns(), os.stat(out).st_mtime_ns))
    return out


def _digest(config, kernel, modules, bios_only, tables):
    digest = hashlib.sha256(f"{bios_only}{config}".encode())
    for path in [stripped(kernel), *tables] + [m.path for m in modules]:
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:24]


def make_iso(out, cmdline, modules, kernel=None, bios_only=False, timeout=0, protocol="multiboot2",
             gfxpayload="", tables=()):
    """Writes a hybrid image, for CD and USB stick, BIOS and UEFI; bios_only is smaller."""
    kernel = stripped(kernel or os.path.join(BUILD, "weir.elf"))
    with tempfile.TemporaryDirectory(dir=BUILD) as tree:
        os.makedirs(os.path.join(tree, "boot/grub"))
        with open(os.path.join(tree, "boot/grub/grub.cfg"), "w") as file:
            file.write(grub_config(cmdline, modules, timeout, protocol, gfxpayload, tables))
        shutil.copy(kernel, os.path.join(tree, "boot/weir.elf"))
        for path, target in [(m.path, m.target()) for m in modules] + [(t, table_target(t)) for t in tables]:
            target = tree + target
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if not os.path.exists(target):
                shutil.copy(path, target)
        command = ["grub-mkrescue", "-o", out, "--fonts=", "--locales=", "--themes="]
        if bios_only:
            command += ["-d", "/usr/lib/grub/i386-pc"]
        done = subprocess.run(command + [tree], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"grub-mkrescue failed:\n{done.stdout}")


def cached_iso(cmdline, modules, kernel=None, bios_only=False, protocol="multiboot2", gfxpayload="",
               tables=()):
    """The path of an image with these contents, made now if it is not there. kernel: in Weir's place,
    started by this protocol. gfxpayload, tables: as of grub_config()."""
    folder = os.path.join(CACHE, "iso")
    os.makedirs(folder, exist_ok=True)
    kernel = kernel or os.path.join(BUILD, "weir.elf")
    config = grub_config(cmdline, modules, protocol=protocol, gfxpayload=gfxpayload, tables=tables)
    name = _digest(config, kernel, modules, bios_only, tables)
    path = os.path.join(folder, name + ".iso")
    if os.path.exists(path):
        os.utime(path)
        return path
    fresh = _fresh(path)
    make_iso(fresh, cmdline, modules, kernel, bios_only, protocol=protocol, gfxpayload=gfxpayload,
             tables=tables)
    os.replace(fresh, path)
    drop_old(folder, ".iso", KEPT_IMAGES)
    return path


def drop_old(folder, suffix, kept):
    """Keeps so many of the files with that suffix, those that were used last. Others clean up at the same
    time."""
    files = []
    for name in os.listdir(folder):
        if name.endswith(suffix):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(os.path.join(folder, name))
                files.append((max(status.st_atime, status.st_mtime), name))
    for _, name in sorted(files)[:-kept]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
