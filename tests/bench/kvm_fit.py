#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How many guests fit under Linux with KVM: fit.py's guests, on as much RAM, in the same emulated CPU.

    tests/bench/kvm_fit.py [--used MIB] [RAM/MIX/SWAP[/N] ...]

some of the rows alone, as in 512/5.4:1/zram, or one number of guests, as in 512/5.4:1/zram/10; none: all.
--used is what each guest fills, instead of fit.py's 96 MiB: a trial, which writes nothing down.

The host is Debian's generic kernel, whose zswap the one for clouds has not, with Debian's QEMU. It gets what
lets it hold many: KSM, swap in memory or through zswap, no transparent huge pages, and QEMU's files on a
disk, so that what is not used of them takes no RAM. SCRIPT has the settings. A guest starts when the one
before has filled its memory and as much as it will fill is available, or KSM has since been through all
memory twice from its beginning. So many fit as have all read every word once, after the last has filled, within
LIMIT, while the kernel ended none for want of memory.
"""
import argparse
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE), os.path.join(HERE, "../boot")]

import fit  # noqa: E402
import report  # noqa: E402
from lab import BUILD, CACHE, image, linux, nested  # noqa: E402
from lab.bochs import CYLINDER  # noqa: E402
from running import deadline, running  # noqa: E402

META_PACKAGE = "linux-image-amd64"
FOLDER = os.path.join(CACHE, "linux-generic")
KVM_MODULES = ["irqbypass", "kvm", "kvm-intel"]  # which init.sh loads
MODULES = ["ata_piix", "sd_mod", "isofs", "lz4", "zsmalloc", "zram"]
CONFIG = ("CONFIG_PVH=y", "CONFIG_KSM=y", "CONFIG_ZSWAP=y")
RAM = (128, 512)
SWAPS = {"zram": "zram", "zswap": "zswap and a disk"}
ROWS = [(ram, mix, swap) for ram in RAM for mix in fit.MIXES for swap in SWAPS]
FIRST = {128: 1, 512: 10}  # guests that are tried first
DISK = 2048  # MiB
ZRAM = 2  # times RAM: its table takes 16 bytes for each page, whether there is one or not
DEADLINE = 6 * 3600
# Of the machine's time, of which a second is 400 million instructions (nested.SLOWER).
LIMIT = 900
QEMU = ("qemu-system-x86_64 -machine pc,vmport=off -accel kvm -cpu host -nodefaults "
        "-no-user-config -display none -no-reboot")
SCRIPT = """\
say() {{ echo "host: $*" >/dev/ttyS1; }}
for module in {modules}; do
	case $module in zram) [ {swap} = zram ] || continue ;; esac
	insmod /modules/$module.ko || say "no module $module"
done
mount -t iso9660 -o ro /dev/sda /host || say "no /host"
echo never >/sys/kernel/mm/transparent_hugepage/enabled
echo 1 >/proc/sys/vm/overcommit_memory
echo 0 >/proc/sys/vm/page-cluster
echo 180 >/proc/sys/vm/swappiness
case {swap} in
zram)
	swap=/dev/zram0
	echo lz4 >/sys/block/zram0/comp_algorithm
	echo {zram}M >/sys/block/zram0/disksize
	mkswap $swap
	;;
zswap)
	swap=/dev/sdb
	cd /sys/module/zswap/parameters
	echo zsmalloc >zpool
	echo lz4 >compressor
	echo 50 >max_pool_percent
	echo 1 >enabled
	say "zswap $(grep . * | tr '\\n' ' ')"
	;;
esac
swapon $swap || say "no swap"
cd /sys/kernel/mm/ksm
echo 1 >use_zero_pages
echo 1000 >pages_to_scan
echo 20 >sleep_millisecs
echo 1 >run
renice -n -10 -p $(pidof ksmd)
cd /tmp
seconds() {{ cut -d. -f1 /proc/uptime; }}
state() {{
	say "at $(seconds) s: $*; KiB $(sed -n 's/^\\(MemFree\\|Cached\\|SwapFree\\): *\\([0-9]*\\) kB/\\1 \\2/p' \\
		/proc/meminfo | tr '\\n' ' ')pages: $(cd /sys/kernel/mm/ksm; grep . pages_sharing pages_shared \\
		full_scans | tr ':\\n' '  ')$(grep -E '^(pswp|ksm_z|zsw)' /proc/vmstat | tr '\\n' ' ')" \\
		"$(cat /sys/block/zram0/mm_stat 2>/dev/null)"
}}
start() {{
	(
		{qemu} -m {memory}M -kernel /host/density.elf -append "$1 {used} 1000000 {words}" \\
			-chardev file,id=com1,path=/tmp/guest$1,append=on -serial chardev:com1 2>/tmp/error$1
		say "guest $1 ended with status $?: $(cat /tmp/error$1)"
		touch /tmp/ended
	) &
}}
no() {{
	state "it is over"
	say "do not fit: $*"
	exit
}}
# Until guest $1 has said $2 $3 times.
await() {{
	until [ $(grep -c "$2" /tmp/guest$1) -ge $3 ]; do
		usleep 500000
		[ ! -e /tmp/ended ] || no "a guest ended"
		grep -q '^oom_kill 0' /proc/vmstat || no "out of memory"
		! grep -q wrong /tmp/guest* || no "a wrong word"
		now=$(seconds)
		[ $now -lt {limit} ] || no "{limit} s have passed"
		[ $now -lt $next ] || {{ state; next=$((now + 20)); }}
	done
}}
available() {{ sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo; }}
scans() {{ cat /sys/kernel/mm/ksm/full_scans; }}
next=0
state "no guest"
for i in $(seq 0 {last}); do
	: >/tmp/guest$i
	before=$(scans)
	while [ $i != 0 ] && [ $(available) -lt $(({memory} * 1024)) ] && [ $(scans) -lt $((before + 3)) ]; do
		await 0 filled 1
		usleep 500000
	done
	start $i
	await $i filled 1
	state "guest $i has filled"
done
# What was read before all were there does not count, and each is in the midst of it.
for i in $(seq 0 {last}); do : >/tmp/guest$i; done
for i in $(seq 0 {last}); do
	await $i "read once more" 2
	state "guest $i has read"
done
say "fit after $(seconds) s"
"""


def dependencies(tree, names):
    """Paths of modules, each behind those that it needs; names as in lsmod or as of the file."""
    paths = {}
    for folder, _, files in os.walk(tree):
        for name in files:
            if name.endswith((".ko", ".ko.xz")):
                paths[name.partition(".")[0].replace("-", "_")] = os.path.join(folder, name)
    ordered = []

    def add(name):
        path = paths[name.replace("-", "_")].removesuffix(".xz")
        needs = re.search(rb"\0depends=([^\0]*)\0", b"\0" + linux.read_module(path)).group(1).decode()
        for other in filter(None, needs.split(",")):
            add(other)
        if path not in ordered:
            ordered.append(path)

    for name in names:
        add(name)
    return ordered


def trimmed(kernel):
    """An ELF image of 64 bits without the zeros at the end of its last segment, which in Debian's kernel are a
    third of it: in 128 MiB there is no room for it and for where it is to run. The sections go, too."""
    header = struct.Struct("<QQQQQQ")  # from p_offset to p_align
    kernel = bytearray(kernel)
    phoff, = struct.unpack_from("<Q", kernel, 32)
    size, count = struct.unpack_from("<HH", kernel, 54)
    loads = [at for at in range(phoff, phoff + size * count, size) if kernel[at:at + 4] == b"\1\0\0\0"]
    last = max(loads, key=lambda at: header.unpack_from(kernel, at + 8)[0])
    fields = list(header.unpack_from(kernel, last + 8))
    contents = bytes(kernel[fields[0]:fields[0] + fields[3]]).rstrip(b"\0")
    fields[3] = len(contents)
    header.pack_into(kernel, last + 8, *fields)
    struct.pack_into("<Q", kernel, 40, 0)
    struct.pack_into("<HH", kernel, 60, 0, 0)
    return bytes(kernel[:fields[0] + len(contents)])


def fetch():
    """The generic kernel and its modules, unpacked below FOLDER, as linux.py does with the other one."""
    def newest():
        found = subprocess.run(["apt-cache", "depends", META_PACKAGE], text=True, check=True,
                               stdout=subprocess.PIPE).stdout
        found = re.search(r"^\s*Depends: (linux-image-\S+)$", found, re.M)
        if not found:
            raise SystemExit(f"bench kvm fit: apt knows no package {META_PACKAGE}")
        return found.group(1)

    package, work, tree = linux.unpack_package(newest, FOLDER)
    boot = os.path.join(tree, "boot")
    names = {name.split("-")[0]: os.path.join(boot, name) for name in os.listdir(boot)}
    with open(names["config"]) as file:
        lacking = set(CONFIG) - set(file.read().splitlines())
    if lacking:
        raise SystemExit(f"bench kvm fit: {package} lacks {' '.join(lacking)}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    with open(names["vmlinuz"], "rb") as file:
        kernel = linux.strip(linux.extract_vmlinux(file.read()), work, "--strip-all")
    with open(os.path.join(FOLDER, "vmlinux"), "wb") as file:
        file.write(trimmed(kernel))
    order = dependencies(tree, KVM_MODULES + MODULES)
    for path in order:
        with open(os.path.join(FOLDER, os.path.basename(path)), "wb") as file:
            file.write(linux.strip(linux.read_module(path), work, "--strip-debug"))
    with open(os.path.join(FOLDER, "version"), "w") as file:
        json.dump([package, [os.path.basename(path)[:-3] for path in order]], file)
    shutil.rmtree(work)


def generic():
    """(package, its modules in the order in which they are loaded)."""
    path = os.path.join(FOLDER, "version")
    if not os.path.exists(path):
        fetch()
    with open(path) as file:
        return json.load(file)


def initramfs(modules, script):
    """busybox and the modules: what else the host runs is on the disk."""
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    entries = [(name, folder, b"", 0, 0) for name in ("bin", "dev", "proc", "sys", "tmp", "host", "modules")]
    entries += [(name, stat.S_IFLNK | 0o777, f"/host/{name}".encode(), 0, 0)
                for name in ("lib", "lib64", "usr")]
    entries += [("dev/console", stat.S_IFCHR | 0o600, b"", 5, 1),
                ("bin/sh", stat.S_IFLNK | 0o777, b"busybox", 0, 0),
                ("run.sh", stat.S_IFREG | 0o644, script.encode(), 0, 0)]
    files = {"bin/busybox": "/bin/busybox", "init": nested.INIT}
    files |= {f"modules/{name}.ko": os.path.join(FOLDER, f"{name}.ko") for name in modules}
    for path, here in files.items():
        with open(here, "rb") as file:
            entries.append((path, program, file.read(), 0, 0))
    return linux.cpio(entries + [("TRAILER!!!", 0, b"", 0, 0)])


def whole_cylinders(path):
    size = os.path.getsize(path)
    os.truncate(path, -(-size // CYLINDER) * CYLINDER)


def make_disk(path):
    """QEMU with its libraries and firmware and the guest, as a file system of a CD-ROM."""
    files = {file: file for file in (nested.QEMU, *nested.libraries(nested.QEMU), *nested.FIRMWARE)}
    files["/density.elf"] = os.path.join(BUILD, "guests/density.elf")
    with tempfile.TemporaryDirectory(dir=BUILD) as tree:
        for target, here in files.items():
            os.makedirs(os.path.dirname(tree + target), exist_ok=True)
            shutil.copy(here, tree + target)
        subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", path, tree], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole_cylinders(path)


def make_swap(path):
    with open(path, "wb") as file:
        file.truncate(DISK << 20)
    whole_cylinders(path)
    subprocess.run(["/usr/sbin/mkswap", path], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


class Host(nested.LinuxHost):
    """What SCRIPT says is on the second serial line."""

    def __init__(self, folder, ram, script):
        modules = generic()[1]
        with tempfile.TemporaryDirectory(dir=BUILD) as work:
            archive = os.path.join(work, "host.cpio")
            with open(archive, "wb") as file:
                file.write(initramfs(modules, script))
            iso = image.cached_iso("", [
                image.Module(os.path.join(FOLDER, "vmlinux"), f"{linux.CMDLINE}{nested.SLOWER}",
                             "/host/vmlinux"),
                image.Module(archive, "", "/host/initramfs")], kernel=nested.STUB, bios_only=True)
        super().__init__(folder, iso, memory=ram, ips=nested.IPS)
        self.disk = self.path("files")  # in its folder, as the lock of a run that was killed is
        make_disk(self.disk)
        self.config["disk"] = self.disk_line()
        self.swap = self.path("swap")
        make_swap(self.swap)

    def devices(self):
        cylinders = os.path.getsize(self.swap) // CYLINDER
        return ("ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15\n"
                f'ata1-master: type=disk, mode=flat, path="{self.swap}", '
                f"cylinders={cylinders}, heads=16, spt=63\n")

    def stop(self):
        super().stop()
        for path in (self.swap, self.disk):
            if os.path.exists(path):
                os.unlink(path)


def outcome(text):
    """Seconds of the machine's time after which all had read, or None: they do not fit."""
    found = re.search(r"host: fit after (\d+) s", text)
    if found:
        return int(found.group(1))
    found = re.search(r"host: do not fit: (.*?)\r?$", text, re.M)
    if not found or "wrong" in found.group(1) or re.search(r"host: no (?!guest)", text):
        raise SystemExit("bench kvm fit: the host did not do what was asked of it")
    return None


def script_of(modules, ram, mix, swap, n, used):
    return SCRIPT.format(modules=" ".join(modules), swap=swap, zram=ZRAM * ram, qemu=QEMU, memory=used + 4,
                         used=used, words=fit.MIXES[mix], limit=LIMIT, last=n - 1)


def measure(folder, ram, mix, swap, n, used):
    """Seconds, or None: they do not fit."""
    modules = [name for name in generic()[1] if name not in KVM_MODULES]
    script = script_of(modules, ram, mix, swap, n, used)
    machine = Host(os.path.join(folder, f"kvm-fit-{ram}-{mix.replace(':', '-')}-{swap}-{n}"), ram, script)
    with running("kvm-fit", machine):
        machine.wait_off(deadline(DEADLINE))
    seconds = outcome(machine.console.text)
    print(f"kvm fit: {ram} MiB, {mix}, {swap}: {n} guests "
          f"{f'fit after {seconds} s' if seconds else 'do not fit'}", flush=True)
    if used == fit.USED:
        keep(folder, f"{ram} {mix} {swap}", n, seconds)
    return seconds


def kept(folder):
    """{RAM, mix and swap: {how many guests were tried: seconds, or None}}"""
    path = os.path.join(folder, "kvm-fit.json")
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def keep(folder, row, n, seconds):
    results = kept(folder)
    results.setdefault(row, {})[str(n)] = seconds
    with open(os.path.join(folder, "kvm-fit.json"), "w") as file:
        json.dump(results, file, indent=1)


def search(folder, ram, mix, swap, used):
    """Tries up from the first number of guests, or down from it, until both what fits and what does not
    are known."""
    n = FIRST[ram]
    up = measure(folder, ram, mix, swap, n, used) is not None
    while up and n < fit.MOST:
        n += 1
        up = measure(folder, ram, mix, swap, n, used) is not None
    while not up and 1 < n <= FIRST[ram]:
        n -= 1
        up = measure(folder, ram, mix, swap, n, used) is not None


HEAD = ["RAM", "its compressible pages pack", "swap", "guests that fit", "after", "that do not"]


def table(results):
    """A row for each of what was tried."""
    rows = [HEAD]
    for ram, mix, swap in ROWS:
        tries = results.get(f"{ram} {mix} {swap}", {})
        fitted = max((int(n) for n, seconds in tries.items() if seconds), default=None)
        failed = min((int(n) for n, seconds in tries.items() if not seconds), default=None)
        if failed == 1:
            fitted = 0
        if tries:
            rows.append([f"{ram} MiB", mix, SWAPS[swap], "" if fitted is None else str(fitted),
                         f"{tries[str(fitted)]} s" if fitted else "",
                         "" if failed is None else str(failed)])
    return rows


def run(folder, wanted, used, write_docs):
    """wanted: (RAM, mix, swap) and perhaps how many guests each, or None for all; those that are not keep
    what was measured before."""
    for row in ROWS if wanted is None else wanted:
        if len(row) == 4:
            measure(folder, *row, used)
        else:
            search(folder, *row, used)
    rows = table(kept(folder))
    print(f"kvm fit, {generic()[0]}:\n{report.plain(rows)}", flush=True)
    if write_docs and used == fit.USED:
        report.write_section("kvm fit", report.markdown(rows))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--used", type=int, default=fit.USED, metavar="MIB")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md alone")
    parser.add_argument("rows", nargs="*", metavar="RAM/MIX/SWAP[/N]")
    args = parser.parse_args()
    wanted = [word.split("/") for word in args.rows]
    run(os.path.join(BUILD, "logs/bench"),
        [(int(ram), mix, swap, *map(int, n)) for ram, mix, swap, *n in wanted] or None, args.used,
        not args.no_docs)


if __name__ == "__main__":
    main()
