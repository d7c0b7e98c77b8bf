#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The same guests under KVM and under Weir, on the same emulated CPU: make bench-kvm.

    tests/bench/kvm.py [--no-docs] [exits] [aged] [fit]

exits   the tables of exits, boots and work on page tables
aged    writes to pages that the host has aged (tests/bench/kvm_aged.py)
fit     how many guests fit into memory (tests/bench/kvm_fit.py); only when it is asked for: it takes hours

Ends with 1 where Weir costs more than KVM, but for what KNOWN says, or more than its own aim.

KVM's host is Debian's Linux with Debian's QEMU (tests/lab/nested.py), with its default mitigations,
as Weir's are. Both run tests/guests/bench.c; then both boot Debian's kernel by its PVH entry to its
shell; and tests/guests/bench_paging.c and a Linux that forks, with EPT and without. The tables go to the terminal and to docs/performance.md.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import kvm_aged  # noqa: E402
import kvm_fit  # noqa: E402
import operations  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
from lab import BUILD, ROOT, bochs, image, linux, nested  # noqa: E402
from running import deadline, running  # noqa: E402

FOLDER = os.path.join(run.FOLDER, "kvm")
DEADLINE = 5400
# KVM's host takes its TSC to have 2.4 GHz, as CPUID says, so that a Linux guest there has a tick of 4 ms in
# 9.6 million instructions. Where Weir's has one in 200,000 it is ticks that are compared. The UARTs are as
# much slower, so it is one in two million.
FORKS_IPS = 500000000
# Where Weir is slower and it is known: at most so many times KVM's figure, and why.
KNOWN = {}
MEMORY = 768  # MiB beside the host's: guests, and the files of the guest that boots
QEMU = ("qemu-system-x86_64 -machine q35 -accel kvm -cpu host -nodefaults -no-user-config "
        "-display none -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4 "
        "-serial chardev:com1 -chardev serial,id=com1,path=/dev/ttyS1")
GROUPS = ("exits", "aged", "fit")
# The mark that stands before each part's lines. The clock is the TSC's, as /proc/timer_list has it.
SCRIPT = f"""\
say() {{ echo "host: $*" >/dev/ttyS1; }}
ns() {{ sed -n 's/^now at \\([0-9]*\\) nsecs/\\1/p' /proc/timer_list; }}
linux() {{
	{QEMU} -m 256M -kernel /vmlinux -initrd /initrd \\
		-append "{linux.CMDLINE} quiet weir.poweroff $*"
}}
thp() {{ echo $1 >/sys/kernel/mm/transparent_hugepage/enabled; say "thp $1"; }}
say "Linux $(uname -v | sed 's/.*Debian \\([^ ]*\\) .*/\\1/')"
say "$(qemu-system-x86_64 --version | head -n 1)"
say "kvm_intel $KVM_INTEL"
cd /sys/module/kvm_intel/parameters
say "so that $(grep . enable_apicv preemption_timer | tr ':\n' '= ')"
cd /tmp
say "TSC $(dmesg | sed -n 's/.*tsc: Detected \\([0-9.]*\\) MHz.*/\\1/p' | tail -n 1)"
thp never
{QEMU} -m 64M -kernel /bench.elf
thp always
{QEMU} -m 64M -kernel /bench.elf -append memory
say boot
before=$(ns)
linux
say "booted $(($(ns) - before))"
trace=/sys/kernel/tracing
mount -t tracefs tracefs $trace
echo x86-tsc >$trace/trace_clock
echo 0 >$trace/options/overwrite
echo 'filename ~ "*qemu*"' >$trace/events/sched/sched_process_exec/filter
echo 1 >$trace/events/sched/sched_process_exec/enable
echo 1 >$trace/events/kvm/kvm_entry/enable
linux
echo 0 >$trace/tracing_on
say "entry $(sed -n 's/.* \\([0-9]*\\): sched_process_exec.*/\\1/p' $trace/trace | head -n 1)" \\
	"$(sed -n 's/.* \\([0-9]*\\): kvm_entry.*/\\1/p' $trace/trace | head -n 1)"
echo 0 >$trace/events/enable
for ept in 1 0; do
	rmmod kvm_intel
	insmod /modules/kvm-intel.ko $KVM_INTEL ept=$ept
	say "paging $(cat /sys/module/kvm_intel/parameters/ept)"
	{QEMU} -m 64M -kernel /bench_paging.elf
	linux weir.forks={run.FORKS}
done
say end
"""
# Without nested.SLOWER, so that KVM has no preemption timer here: docs/performance.md says so.
MITIGATED = linux.CMDLINE.replace(" mitigations=off", "") + " quiet"


def host():
    """What the host's second serial line had to say."""
    files = {"/bench.elf": os.path.join(BUILD, "guests/bench.elf"),
             "/bench_paging.elf": os.path.join(BUILD, "guests/bench_paging.elf"), "/vmlinux": linux.kernel()[1],
             "/initrd": linux.initramfs()}
    machine = nested.Host(FOLDER, files, SCRIPT, MEMORY, cmdline=MITIGATED)
    with running("kvm", machine):
        machine.wait_off(deadline(DEADLINE))
    return machine.console.text


def weir_huge():
    """First touches where Weir, too, gives 2 MiB at a time."""
    bench = image.Module(os.path.join(BUILD, "guests/bench.elf"),
                         "vm=bench kernel mem=64M psize=2M -- memory")
    machine = run.run_bochs("guest-huge", "release", "", [bench])
    return {match.group(1): int(match.group(2)) for match in run.LINE.finditer(machine.console.text)}


def between(text, begin, end):
    found = re.search(rf"host: {begin}\r?\n(.*?)(?=host: {end}|\Z)", text, re.S)
    if not found or "FAIL" in found.group(1):
        raise SystemExit(f"bench kvm: no lines of '{begin}'; see {FOLDER}")
    return found.group(1)


def part(text, begin, end):
    text = between(text, begin, end)
    return {match.group(1): int(match.group(2)) for match in run.LINE.finditer(text)}


def paging_figures(text):
    """{mode: (KVM's figures of what page tables cost, Weir's rows)}"""
    figures = {}
    for mode, begin, end in (("EPT", "paging Y", "paging N"), ("shadow", "paging N", "end")):
        kvm = part(text, begin, end) | {"linux-fork": run.forked(between(text, begin, end))}
        figures[mode] = kvm, run.paging(mode, FORKS_IPS)
    return figures


def paging_table(figures):
    """Rows of what page tables cost: KVM and Weir with EPT, then both without."""
    columns = []
    for mode, (kvm, weir) in figures.items():
        columns += [(f"KVM, {mode}", kvm),
                    (f"Weir, {mode}", {name: row["median"] for name, row in weir.items()})]
    rows = [["Operation", *(name for name, _ in columns)]]
    rows += [[row.about, *(f"{figures[row.name]:,}" for _, figures in columns)]
             for row in operations.PAGING]
    return rows


def pairs(guest_rows, paging):
    """(what it is, KVM's figure, Weir's) of all that is compared."""
    return (guest_rows +
            [(f"{mode} {row.name}", kvm[row.name], weir[row.name]["median"])
             for mode, (kvm, weir) in paging.items() for row in operations.PAGING])


def slower(compared):
    """(sentences of what is slower than KVM and was not known to be, those of what was)."""
    missed, known = [], []
    for name, kvm, own in compared:
        if own <= kvm:
            continue
        most, why = KNOWN.get(name, (1, ""))
        line = f"slower than KVM: {name}, {own:,} and not {kvm:,}"
        if own <= kvm * most:
            known.append(f"{line}; known: {why}")
        else:
            missed.append(line + (f"; known was at most {most} times as much" if why else ""))
    return missed, known


def over_aims(guest, paging):
    """Sentences of what is over its own aim."""
    found = [("guest", row) for row in report.over_aim(operations.GUEST, {"release": guest})]
    for mode, (_, weir) in paging.items():
        found += [(mode, row) for row in report.over_aim(operations.PAGING, {"release": weir})]
    return [f"{where}: {row.name} is over its aim of {row.aim:,} {row.unit}" for where, row in found]


def this_tree():
    """What git calls it: `unknown` without git, in an archive, and where git refuses the folder's owner."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def about_weir():
    """The second half of what was measured on what; asked for before anything is measured, so that what is
    wrong here costs no figures."""
    return (f"Weir: {this_tree()}, release build. Both: mitigations as by default, one CPU, Bochs "
            f"{bochs.installed()[0]}, model tigerlake, clock: sync=none.")


def about_host(text):
    """What was measured on what, as the host says it."""
    linux_version, qemu, given, found = re.search(
        r"host: Linux (\S+)\r?\nhost: (.*?)\r?\nhost: kvm_intel (.*?)\r?\nhost: so that (.*?) ?\r?$",
        text, re.M).groups()
    return (f"KVM: Linux {linux_version}, {qemu}, kvm_intel with {given} and else its defaults, so that it "
            f"has {found}.")


def entry_ticks(text):
    """From QEMU's start to the first VM entry, by the host's own trace."""
    start, entry = map(int, re.search(r"host: entry (\d+) (\d+)", text).groups())
    return entry - start


def boot_ticks(text):
    """Of the first of two boots; QEMU's end stops that clock, whatever ended it."""
    run.shells("kvm", between(text, "boot", "paging Y"), 2, FOLDER)
    mhz = float(re.search(r"host: TSC ([0-9.]+)", text).group(1))
    return int(int(re.search(r"host: booted (\d+)", text).group(1)) * mhz / 1000)


def exits(write_docs):
    """Measures and writes; returns what was missed, and what was known to be, in sentences."""
    weir_itself = about_weir()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        kvm_job = pool.submit(host)
        large = weir_huge()
        guest = run.guest("release")
        entry, boot = (row["median"] for row in run.boot_one("pvh", "release", linux.kernel()[1]))
        text = kvm_job.result()
    small, huge = part(text, "thp never", "thp always"), part(text, "thp always", "boot")
    about = {row.name: row.about for row in operations.GUEST}
    weir = {name: row["median"] for name, row in guest.items()}
    rows = [(about[name], small[name], weir[name]) for name in operations.KVM]
    rows += [(f"{about[name]}; KVM: transparent huge pages, Weir: psize=2M",
              huge[name], large[name]) for name in operations.KVM_HUGE]
    rows.append(("Debian's kernel by PVH, 256 MiB: to the first VM entry, KVM's of its firmware",
                 entry_ticks(text), entry))
    rows.append(("Debian's kernel by PVH, 256 MiB: to its shell and off", boot_ticks(text), boot))
    table = report.versus(rows)
    about_both = f"{about_host(text)} {weir_itself}"
    print(about_both, report.plain(table), sep="\n")
    figures = paging_figures(text)
    paging = paging_table(figures)
    print(report.plain(paging))
    if write_docs:
        report.write_section("kvm paging", report.markdown(paging))
        report.write_section("kvm", about_both + "\n\n" + report.markdown(table))
    missed, known = slower(pairs(rows, figures))
    return missed + over_aims(guest, figures), known


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md alone")
    args = parser.parse_args()
    for name in set(args.groups) - set(GROUPS):
        sys.exit(f"BENCH: there is no group {name}; there are {', '.join(GROUPS)}")
    os.makedirs(run.FOLDER, exist_ok=True)
    missed, known = [], []
    if "exits" in args.groups or not args.groups:
        missed, known = exits(not args.no_docs)
    if "aged" in args.groups or not args.groups:
        worse, expected = slower(kvm_aged.run(f"{FOLDER}-aged", QEMU, MITIGATED, not args.no_docs))
        missed, known = missed + worse, known + expected
    if "fit" in args.groups:
        kvm_fit.run(run.FOLDER, None, kvm_fit.fit.USED, not args.no_docs)
    # At the end, when all of it is written.
    print("\n".join(known + missed))
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
