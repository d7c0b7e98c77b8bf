#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Benchmarks: instructions that Bochs executes, which repeat exactly enough to compare versions.

    tests/bench/run.py [--no-docs] [guest] [apicv] [paging] [weir] [sched] [memory] [boot] [faults]
                       [reclaim] [fit]

guest   a small guest counts what its exits cost (tests/guests/bench.c)
apicv   what of those is the local APIC's, by how much of it the CPU does, with the release build
paging  a small guest counts what its work on page tables costs (tests/guests/bench_paging.c), and Linux
        what forks do: with EPT and with shadow paging, both with the release build
weir    Weir counts what its own operations cost (selftest=bench)
sched   what VMs that compete get of the CPUs, in tenths of a percent of all CPU time, and how long
        threads wait after a wake-up (tests/guests/busy.c, Weir's own counters)
memory  how many bytes Weir itself takes: its image, and what a frame, a VM and a vCPU cost
boot    from GRUB's hand-over to a Linux guest's first instruction, and to its shell, by breakpoints
        of Bochs's debugger; the guest powers off right after its banner
faults  how many faults one thread takes a second, and two at once, of Weir's own code on this
        machine (tests/bench/faults.py): by the clock, so nothing else should run
reclaim which pages are taken, simulated on this machine with Weir's own code: misses of traces,
        beside those of LRU, FIFO and the optimum
fit     how many guests fit into memory (tests/bench/fit.py); only when it is asked for: it takes hours

Ends with 1 where something costs more than its aim.

Each but apicv, paging and the last three runs with the release build (build/release) and the debug
build (build). The results go to build/logs/bench/results.json, and as tables to the terminal and to
docs/performance.md.
"""
import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import faults  # noqa: E402
import fit  # noqa: E402
import footprint  # noqa: E402
import operations  # noqa: E402
import reclaim  # noqa: E402
import report  # noqa: E402
from lab import BUILD, image, linux  # noqa: E402
from lab.bochs import Bochs, GO_ON  # noqa: E402
from running import deadline, running  # noqa: E402

WEIR = "console=com1,115200 loglevel=info when_done=poweroff"
BUILDS = {"release": os.path.join(BUILD, "release"), "debug": BUILD}
IMAGE_BASE = 0xffffffff80000000
DEADLINE = 1200
FOLDER = os.path.join(BUILD, "logs/bench")
STAT = re.compile(r"\bstat (\S+) (\d+) ")
IPS = 50000000
NO_AD = "corei7_sandy_bridge_2600k"  # its EPT has no accessed bits
BUSY_TICKS = 150000000
BUSY_NS = BUSY_TICKS * 1000000000 // IPS
SHARE_SLACK = 20  # tenths of a percent
FORKS = 100
FORKED = re.compile(r"weir-guest: \S+ (\d+) forks in (\d+) ns, TSC ([0-9.]+) MHz")
SHELL = "weir-guest: shell ready"  # the last that tests/guests/init.sh says before it powers off
LINE = re.compile(r"\bbench: (\S+) (\d+) (\d+) (\d+) (\d+)\r?$", re.M)


def run_bochs(name, build, cmdline, modules, debugger=GO_ON, cpus=1, ips=IPS,
              cpu="tigerlake"):
    """A machine that ran until it switched itself off; ips is its TSC's rate."""
    kernel = os.path.join(BUILDS[build], "weir.elf")
    iso = image.cached_iso(f"{WEIR} {cmdline}".rstrip(), modules, kernel=kernel, bios_only=True)
    machine = Bochs(os.path.join(FOLDER, f"{name}-{build}"), iso, debugger=debugger, cpu=cpu,
                    cpus=cpus, ips=ips)
    with running(f"{name}-{build}", machine):
        machine.wait_off(deadline(DEADLINE))
    return machine


def lines_of(machine, rows):
    """What the programs on it have measured: one line for each row, and no others."""
    text = machine.console.text
    found = {match.group(1): dict(zip(("median", "min", "max", "count"),
                                      map(int, match.groups()[1:])))
             for match in LINE.finditer(text)}
    wanted = {row.name for row in rows}
    if set(found) != wanted or "FAIL" in text:
        odd = ", ".join(sorted(set(found) ^ wanted)) or "a check failed"
        raise SystemExit(f"bench: {odd}; see {machine.path('console.txt')}")
    return found


def exits(name, build, words):
    """The rows of operations.GUEST."""
    path = os.path.join(BUILD, "guests/bench.elf")
    modules = [image.Module(path, "vm=bench kernel mem=64M -- aged")]
    machine = run_bochs(name, build, f"stats {words}".rstrip(), modules)
    rounds = dict(STAT.findall(machine.console.text)).get("reclaim.rounds", 0)
    if int(rounds) < 2:
        raise SystemExit(f"bench: the guest's pages were not aged; see {machine.path('console.txt')}")
    return lines_of(machine, operations.GUEST)


def guest(build):
    return exits("guest", build, "")


def apicv(level):
    found = exits(f"apicv-{level}", "release", f"apicv={level}")
    return {row.name: found[row.name] for row in operations.APICV}


def forked(text):
    """Instructions for each of a Linux guest's forks."""
    found = FORKED.search(text)
    if not found:
        raise SystemExit("bench: a Linux guest tells nothing of its forks")
    count, ns, mhz = int(found.group(1)), int(found.group(2)), float(found.group(3))
    return round(ns * mhz / 1000 / count)


def paging(mode, forks_ips=IPS):
    small = image.Module(os.path.join(BUILD, "guests/bench_paging.elf"),
                         f"vm=bench kernel mem=64M mmu={mode.lower()} --")
    machine = run_bochs(f"paging-{mode}", "release", "", [small])
    found = {match.group(1): dict(zip(("median", "min", "max", "count"),
                                      map(int, match.groups()[1:])))
             for match in LINE.finditer(machine.console.text)}
    modules = [image.Module(linux.kernel()[1], f"vm=alpha kernel mem=256M mmu={mode.lower()} -- "
                            f"{linux.CMDLINE} quiet weir.forks={FORKS} weir.poweroff"),
               image.Module(linux.initramfs(), "vm=alpha initrd")]
    machine = run_bochs(f"forks-{mode}", "release", "", modules, ips=forks_ips)
    each = forked(machine.console.text)
    return found | {"linux-fork": {"median": each, "min": each, "max": each, "count": FORKS}}


def weir(build):
    rows = [row for row in operations.WEIR if row.name not in operations.WEIR_NO_AD]
    found = lines_of(run_bochs("weir", build, "selftest=bench", []), rows)
    other = lines_of(run_bochs("weir-no-ad", build, "selftest=bench", [], cpu=NO_AD), rows)
    return found | {name: other[there] for name, there in operations.WEIR_NO_AD.items()}


def busy(name, words, what):
    path = os.path.join(BUILD, "guests/busy.elf")
    return image.Module(path, f"vm={name} kernel mem=32M {words} -- {what} {BUSY_TICKS}")


def counters_of(name, build, cpus, modules):
    machine = run_bochs(name, build, "stats", modules, cpus=cpus)
    found = {key: int(value) for key, value in STAT.findall(machine.console.text)}
    if machine.console.text.count("debug exit code 0") != len(modules):
        raise SystemExit(f"bench {name}: a VM did not end well; see {machine.path('console.txt')}")
    return found


def shares(name, build, cpus, vms):
    """Of all CPU time while they ran: {row: tenths of a percent}; a share that is unfair ends it."""
    stats = counters_of(name, build, cpus, [busy(vm, words, what) for vm, words, what, _ in vms])
    got = {}
    for vm, _, _, fair in vms:
        share = round(1000 * stats[f"vm.{vm}.cpu.run"] / (BUSY_NS * cpus))
        if abs(share - fair) > SHARE_SLACK:
            raise SystemExit(f"bench {name}-{build}: {vm} got {share / 10} % and not {fair / 10} %")
        got[f"{name}-{vm}"] = share
    return got


def longest_wait(stats, group):
    """In us, of what was rounded down to none as little as of the rest."""
    return -(-stats[f"{group}.wait_max"] // 1000)


def sched(build):
    got = shares("share-one-cpu", build, 1, [("light", "weight=100", "spin", 250),
                                             ("heavy", "weight=300", "spin", 750)])
    got |= shares("share-two-cpus", build, 2, [("light", "weight=100", "spin", 250),
                                               ("heavy", "weight=300 vcpus=2", "spin-all", 750)])
    got |= shares("share-three", build, 2, [(vm, "", "spin", 333) for vm in ("a", "b", "c")])
    stats = counters_of("wait", build, 1, [busy("one", "", "spin"), busy("two", "", "spin"),
                                           busy("sleeper", "", "sleep")])
    got |= {row.name: stats[f"sched.{row.name}"] for row in operations.SCHED
            if row.name.startswith("wait_")}
    got["wait-max"] = longest_wait(stats, "vm.sleeper.cpu")
    got["wait-max-all"] = longest_wait(stats, "sched")
    stats = counters_of("wait-light", build, 2, [busy("sleeper", "weight=50", "sleep"),
                                                 *(busy(f"busy{i}", "", "spin") for i in range(4))])
    got["wait-max-light"] = longest_wait(stats, "vm.sleeper.cpu")
    return {name: dict.fromkeys(("median", "min", "max"), value) | {"count": 1}
            for name, value in got.items()}


def symbol(build, name):
    with open(os.path.join(BUILDS[build], "weir.sym")) as file:
        for line in file:
            fields = line.split()
            if fields[2] == name:
                return int(fields[0], 16)
    raise SystemExit(f"bench: {file.name} has no {name}")


def vmlaunch(build):
    path = os.path.join(BUILDS[build], "weir.elf")
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    found = re.search(r"^([0-9a-f]+):\s+vmlaunch", listing, re.M)
    if not found:
        raise SystemExit(f"bench: there is no VMLAUNCH in {path}")
    return int(found.group(1), 16)


def shells(name, text, count, path):
    """Ends the benchmark unless so many Linux guests have come to their shell."""
    found = text.count(SHELL)
    if found != count:
        raise SystemExit(f"bench {name}: {found} of {count} Linux guests came to their shell; see {path}")


def boot_one(name, build, kernel):
    modules = [image.Module(kernel, f"vm=alpha kernel mem=256M -- {linux.CMDLINE} quiet "
                            "weir.poweroff"),
               image.Module(linux.initramfs(), "vm=alpha initrd")]
    # The image lies where it is linked, less the base: GRUB is asked for the lowest place.
    stops = [f"pb {symbol(build, 'boot_entry32') - IMAGE_BASE:#x}", f"lb {vmlaunch(build):#x}",
             f"lb {symbol(build, 'vm_request_end'):#x}"]
    script = ""
    for number, stop in enumerate(stops, 1):
        script += f"{stop}\nc\nptime\nd {number}\n"
    machine = run_bochs(name, build, "", modules, script + "c\n")
    with open(machine.path("emulator.txt"), errors="replace") as file:
        ticks = [int(n) for n in re.findall(r"^ptime: (\d+)", file.read(), re.M)]
    if len(ticks) != len(stops):
        raise SystemExit(f"bench {name}: reached {len(ticks)} of {len(stops)} points; "
                         f"{machine.folder}")
    # The VM's end is what stops the clock, and a VM also ends by a crash.
    shells(name, machine.console.text, 1, machine.path("console.txt"))
    if not re.search(r"\bvm alpha: powered off", machine.console.text):
        raise SystemExit(f"bench {name}: the guest did not power off; see {machine.path('console.txt')}")
    return [dict.fromkeys(("median", "min", "max"), tick - ticks[0]) | {"count": 1}
            for tick in ticks[1:]]


def boot(build):
    vmlinuz, vmlinux = linux.kernel()
    counts = boot_one("pvh", build, vmlinux) + boot_one("bzimage", build, vmlinuz)
    return dict(zip((row.name for row in operations.BOOT), counts))


def memory(build):
    kernel = os.path.join(BUILDS[build], "weir.elf")
    taken = footprint.measure(os.path.join(FOLDER, f"memory-{build}"), kernel)
    return {name: dict.fromkeys(("median", "min", "max"), value) | {"count": 1}
            for name, value in taken.items()}


# Of each what measures it, its rows, and its columns where they are not the builds.
GROUPS = {
    "guest": (guest, operations.GUEST),
    "apicv": (apicv, operations.APICV, ("off", "access", "registers", "full")),
    "paging": (paging, operations.PAGING, ("EPT", "shadow")),
    "weir": (weir, operations.WEIR),
    "sched": (sched, operations.SCHED),
    "memory": (memory, operations.MEMORY),
    "boot": (boot, operations.BOOT),
}


def save(results):
    """Groups that did not run keep what they had."""
    path = os.path.join(FOLDER, "results.json")
    kept = {}
    if os.path.exists(path):
        with open(path) as file:
            kept = json.load(file)
    with open(path, "w") as file:
        json.dump(kept | results, file, indent=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--check", action="store_true", help="only look whether there are such groups")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md alone")
    args = parser.parse_args()
    for name in set(args.groups) - set(GROUPS) - {"faults", "reclaim", "fit"}:
        sys.exit(f"BENCH: there is no group {name}; there are {', '.join(GROUPS)}, faults, reclaim, fit")
    if args.check:
        return
    os.makedirs(FOLDER, exist_ok=True)
    names = [name for name in GROUPS if name in args.groups or not args.groups]
    results, missed = {}, []
    if "faults" in args.groups or not args.groups:  # by the clock: before anything else runs
        results["faults"], missed = faults.run(not args.no_docs)
    # Counts do not depend on how fast the emulators run: as many at once as there are builds.
    with concurrent.futures.ThreadPoolExecutor(len(BUILDS)) as pool:
        jobs = {name: {column: pool.submit(GROUPS[name][0], column)
                       for column in (*GROUPS[name][2:], BUILDS)[0]} for name in names}
        if "reclaim" in args.groups or not args.groups:
            results["reclaim"] = reclaim.run(not args.no_docs)
        if "fit" in args.groups:
            fit.run(FOLDER, os.path.join(BUILDS["release"], "weir.elf"), None, not args.no_docs)
        for name in names:
            rows = GROUPS[name][1]
            results[name] = {build: job.result() for build, job in jobs[name].items()}
            table = report.table(rows, results[name])
            print(f"{name}:\n{report.plain(table)}", flush=True)
            missed += [f"{name}: {row.name} is over its aim of {row.aim:,} {row.unit}"
                       for row in report.over_aim(rows, results[name])]
            if not args.no_docs:
                report.write_section(name, report.markdown(table) +
                                     report.about_aims(rows, results[name]))
    save(results)
    # At the end, when all of it is measured and kept.
    for line in missed:
        print(line)
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
