# SPDX-License-Identifier: MIT
"""How many guests fit: a table in docs/performance.md and a plot, docs/fit.svg, drawn here.

    tests/bench/fit.py [RAM/MIX[/N] ...]       some of the rows alone, as in 512/5.4:1, or one number of
                                               guests, which writes nothing down; none: draws what was
                                               measured before
    tests/bench/fit.py --as-kvm RAM/MIX/N ...  asks what kvm_fit.py asks; writes nothing down
    tests/bench/fit.py idle                    idle Linux guests alone

Guests of 96 MiB (tests/guests/density.c), a quarter each of whose pages is zero, the same in all guests
but else random, the guest's own and compressible, and random, fill them, read them three times and end.
So many fit as all end with every word right, while none was refused or paused; and all had filled their
memory, and read it once, before the first had ended, and each began to read it once more after the last had
filled. kvm_fit.py's guests read for ever: there each reads all once more after the last has filled, within a
time.
"""
import argparse
import json
import os
import re
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(HERE, "../boot")]

import footprint  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
from boots import linux_guest  # noqa: E402
from lab import BUILD, ROOT, image  # noqa: E402
from lab.bochs import Bochs  # noqa: E402
from monitor import Operator  # noqa: E402
from running import deadline, running  # noqa: E402

PLOT = os.path.join(ROOT, "docs/fit.svg")
WEIR = "console=com1,115200 loglevel=info when_done=poweroff"
DEADLINE = 4 * 3600
MIB, FRAME = 1 << 20, 4096
RAM = (128, 256, 512)  # MiB
USED = 96
PASSES = 2  # of reading, before the last one
FOR_EVER = 1000000
LIMIT = 7200  # seconds of 50 million instructions: as many as kvm_fit.py's guests have
MOST = 16  # VMs that Weir starts
# What LZ4 makes of the compressible pages: so many of 32 words are random.
MIXES = {"5.4:1": 4, "2.9:1": 9}
# What kvm_fit.py found with zram; that of 512 MiB is older, of guests with pages of the same four kinds.
KVM = {(128, "5.4:1"): 0, (128, "2.9:1"): 0, (512, "5.4:1"): 10}
REST = 60  # seconds that idle Linux guests do nothing
IDLE = ((512, 1), (256, 8))  # MiB of RAM, Linux guests of 256 MiB


def least(ratio):
    """MiB that a guest cannot do without: its random quarter, and its own as it packs."""
    return USED / 4 * (1 + 1 / ratio)


def limit(ram, ratio):
    """As many as would fit if nothing but what is in their pages took memory."""
    return min(MOST, int((ram - USED / 4) / least(ratio)))


def guests(n, words, passes):
    path = os.path.join(BUILD, "guests/density.elf")
    return [image.Module(path, f"vm=dense{i} kernel mem={USED + 4}M share=dense -- "
                         f"{i} {USED} {passes} {words}") for i in range(n)]


class Full(Exception):
    """A VM was refused, or paused, or did not do what was asked of it."""


REFUSED = r"vm \w+: (?:not started|paused for memory)[^\r\n]*"
ENDED = r"vm dense\d+: debug exit code \d+"


def line_of(machine, pattern, at, end, until=""):
    """Where a line ends that begins there or later. Full where a VM was refused or paused before it, or what
    it may not wait for came."""
    worse = "|".join(filter(None, (REFUSED, until)))
    match = machine.wait_line(rf"(?P<wrong>wrong word)|(?P<worse>{worse})|{pattern}", end, at)
    if match.group("wrong"):
        raise SystemExit(f"bench fit: a page is damaged; see {machine.path('console.txt')}")
    if match.group("worse"):
        raise Full(match.group("worse"))
    return match.end()


FILLED, READ = "density: filled", "density: read once more"


def said(i, n, what):
    """As the console has it."""
    return rf"dense{i}\| {what}" if n > 1 else what


def all_there(machine, n, end):
    """All have filled, and read once, before one ends; where the last line of the filling ends."""
    filled = max(line_of(machine, said(i, n, FILLED), 0, end, ENDED) for i in range(n))
    for i in range(n):
        line_of(machine, said(i, n, READ), 0, end, ENDED)
    return filled


def all_end(machine, n, filled, end):
    """With every word right, each having read all of it after the last had filled."""
    for i in range(n):
        line_of(machine, rf"vm dense{i}: debug exit code 0\b", 0, end, rf"vm dense{i}: debug exit code [1-9]\d*")
    for i in range(n):
        if not re.search(said(i, n, READ), machine.console.text[filled:], re.M):
            raise Full(f"dense{i} began to read for the last time before all had filled")


def all_read_again(machine, n, filled, end):
    """What each read before the last had filled does not count, and it is in the midst of it."""
    for i in range(n):
        line_of(machine, said(i, n, READ), line_of(machine, said(i, n, READ), filled, end), end)


def counted(operator, n):
    """The counters, while all guests are there and stand still."""
    operator.enter()
    for i in range(n):
        if "is paused" not in operator.ask(f"vm pause dense{i}"):
            raise Full(f"dense{i} had ended before all had been counted")
    return footprint.counters(operator, "*")


def go_on(operator, n):
    for i in range(n):
        operator.says(f"vm resume dense{i}", "goes on")
    operator.send("exit\r")


def up_seconds(operator, name):
    return float(re.search(r", up ([\d.]+) s", operator.ask(f"vm show {name}")).group(1))


def ask(machine, n, as_kvm):
    """What is counted once all have read; Full: they do not fit."""
    boot = types.SimpleNamespace(machine=machine, deadline=deadline(DEADLINE))
    operator = Operator(boot)
    filled = all_there(machine, n, boot.deadline)
    if as_kvm:
        all_read_again(machine, n, filled, boot.deadline)
        found = counted(operator, n)
        seconds = up_seconds(operator, "dense0")
        print(f"fit: after {seconds:.0f} s, of {LIMIT}", flush=True)
        if seconds > LIMIT:
            raise Full(f"{seconds:.0f} s have passed")
        return found
    found = counted(operator, n)
    go_on(operator, n)
    all_end(machine, n, filled, boot.deadline)
    return found


def measure(folder, kernel, ram, n, words, as_kvm=False):
    """What is counted in the machine with its guests; None: they do not fit."""
    iso = image.cached_iso(WEIR, guests(n, words, FOR_EVER if as_kvm else PASSES), kernel=kernel,
                           bios_only=True)
    machine = Bochs(folder, iso, memory=ram)
    with running("fit", machine):
        try:
            found = ask(machine, n, as_kvm)
        except Full as full:
            print(f"fit: {full}", flush=True)
            return None
    begin, end = re.search(r"at (0x[0-9a-f]+)-(0x[0-9a-f]+)", machine.console.text).groups()
    return found | {"image": int(end, 16) - int(begin, 16)}


def try_one(folder, kernel, ram, mix, n, as_kvm=False):
    """What was counted, or None."""
    found = measure(f"{folder}-{ram}-{mix.replace(':', '-')}-{n}", kernel, ram, n, MIXES[mix], as_kvm)
    print(f"fit: {ram} MiB, {mix}: {n} guests {'fit' if found else 'do not fit'}", flush=True)
    return found


def search(folder, kernel, ram, mix):
    """(how many fit, what was counted there), from the limit down."""
    ratio = float(mix.split(":")[0])
    for n in range(limit(ram, ratio), 0, -1):
        found = try_one(folder, kernel, ram, mix, n)
        if found:
            return n, found
    return 0, {}


def sum_of(found, pattern):
    return sum(value for name, value in found.items() if re.fullmatch(pattern, name))


def per_vm(found, n):
    """KiB that a VM costs besides what is in its pages: what frames are used for but guests' pages, the
    pool and the table of contents, less what Weir had before the first VM."""
    others = sum_of(found, r"used_for\.(?!guest$|pool$|share$)\w+")
    own = found["frames.total"] - found["memory.room"] - found["memory.min"]
    return (others - own) * FRAME // 1024 // n


def weirs_own(found, ram):
    """Megabytes: of RAM what it does not give out, and what it had before the first VM."""
    own = found["memory.room"] + found["memory.min"]
    return (ram * MIB - own * FRAME) / 1e6


def kaged_share(found):
    """Of the time that vCPUs and kaged had of the CPU, in percent."""
    kaged = found["reclaim.kaged"]
    return 100 * kaged / (kaged + sum_of(found, r"vm\.\w+\.cpu\.run"))


def row(ram, mix, n, found):
    kvm = KVM.get((ram, mix), "")
    start = [f"{ram} MiB", mix, str(n), str(limit(ram, float(mix.split(":")[0]))), str(kvm)]
    if not n:
        return start + [""] * 6
    packed = found["pool.objects"] / max(found["pool.frames"], 1)
    table = found["share.table"] // 1024
    return start + [f"{weirs_own(found, ram):.1f}", f"{table:,}", f"{per_vm(found, n):,}",
                    f"{per_vm(found, n) + table // n:,}", f"{packed:.1f}:1", f"{kaged_share(found):.0f}"]


HEAD = ["RAM", "its compressible pages pack", "guests that fit", "at most", "KVM, KSM and zram",
        "Weir, MB", "table of contents, KiB", "for each VM, KiB", "with its part of the table",
        "packed pages by the pool's frames", "kaged, % of busy CPU"]


def at_rest(operator):
    """(seconds of the machine's time, nanoseconds that kaged has had of it)"""
    return up_seconds(operator, "idle0"), footprint.counters(operator, "reclaim.kaged")["reclaim.kaged"]


def minute(operator):
    """kaged's share of a minute, in percent."""
    begin = end = at_rest(operator)
    while end[0] - begin[0] < REST:
        end = at_rest(operator)
    return (end[1] - begin[1]) / (end[0] - begin[0]) / 1e7


def idle(folder, kernel, ram, n):
    """[Linux guests, RAM, their mem= in all by RAM, kaged's share in percent]: of the minute after the last has
    come to its shell, in which none does anything, none having been paused."""
    vms = sum((linux_guest(f"idle{i}", words="weir.rest=1000000", stock=True, vm_words="share=idle")
               for i in range(n)), [])
    iso = image.cached_iso(WEIR, vms, kernel=kernel, bios_only=True)
    machine = Bochs(f"{folder}-idle-{ram}-{n}", iso, memory=ram)
    with running("fit", machine):
        boot = types.SimpleNamespace(machine=machine, deadline=deadline(DEADLINE))
        for i in range(n):
            machine.wait_line((rf"idle{i}\| " if n > 1 else "") + "weir-guest: shell ready", boot.deadline)
        operator = Operator(boot)
        operator.enter()
        share = minute(operator)
        there = re.findall(r"^idle\d+ +runs\b", operator.ask("vm list"), re.M)
    if len(there) != n or re.search(REFUSED, machine.console.text):
        raise SystemExit(f"bench fit: not all guests were idle; see {machine.path('console.txt')}")
    return [str(n), f"{ram} MiB", f"{n * 256 / ram:g}:1", f"{share:.2f}"]


def ordered(results):
    return sorted(results, key=lambda key: (int(key.split()[0]), -float(key.split()[1].split(":")[0])))


IDLE_HEAD = ["Idle Linux guests of 256 MiB", "RAM", "mem= by RAM", "kaged, % of a minute at rest"]
WEIRS, KVMS, BOUND = "#1f5fa8", "#3f8f4f", "#c9c9c9"


def bars(ram, mix, n):
    of_kvm = [(KVM[ram, mix], KVMS)] if (ram, mix) in KVM else []
    return [(n, WEIRS)] + of_kvm + [(limit(ram, float(mix.split(":")[0])), BOUND)]


WIDTH, BAR, GAP = 980, 26, 46


def draw(results, at_rest_rows):
    """Guests by RAM, beside the limit; below them kaged's share while they run, and beside idle Linux guests."""
    guests = plot.Panel("guests of 96 MiB that fit, a quarter each zero, equal, compressible, random",
                        16, 230, 190, MOST, 4, right=WIDTH - 10)
    share = plot.Panel("kaged, % of the time that vCPUs and kaged have of the CPU; beside idle guests, of a minute "
                       "at rest",
                       290, 410, 100, 30, 10, right=WIDTH - 10)
    for key in ordered(results):
        ram, mix = key.split()
        n, found = results[key]
        about, beside = f"{ram} MiB, {mix}", bars(int(ram), mix, n)
        guests.group(beside, about, BAR, GAP)
        share.group([(round(kaged_share(found)) if n else 0, WEIRS)], about, BAR * len(beside), GAP)
    for n, ram, _, percent in at_rest_rows:
        share.group([(float(percent), WEIRS)], f"{n} idle in {ram}", 2 * BAR, 2 * GAP)
    return plot.svg(WIDTH, 440, guests.out,
                    plot.legend([("Weir", WEIRS), ("KVM", KVMS), ("what is in their pages", BOUND)], 254, 100),
                    share.out)


def kept(folder, name):
    """What was measured before."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return json.load(file)


def keep(folder, name, what):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(what, file, indent=1)


def write_plot(folder):
    """Of all that it shows: what was not measured here is not to go from it."""
    results, at_rest_rows = kept(folder, "fit.json"), kept(folder, "idle.json")
    if not results or not at_rest_rows:
        print(f"fit: {os.path.basename(PLOT)} stays as it is: some of it was not measured here", flush=True)
        return
    with open(PLOT, "w") as file:
        file.write(draw(results, at_rest_rows))


def run(folder, kernel, wanted, write_docs):
    """wanted: (RAM, mix) pairs, or None for all; those that are not keep what was measured before."""
    results = kept(folder, "fit.json") or {}
    all_rows = [(ram, mix) for ram in RAM for mix in MIXES]
    for ram, mix in all_rows if wanted is None else wanted:
        results[f"{ram} {mix}"] = search(os.path.join(folder, "fit"), kernel, ram, mix)
        keep(folder, "fit.json", results)
    if not results:
        raise SystemExit("bench fit: nothing was measured here before")
    rows = [HEAD] + [row(int(key.split()[0]), key.split()[1], *results[key])
                     for key in ordered(results)]
    print(f"fit:\n{report.plain(rows)}", flush=True)
    if write_docs:
        report.write_section("fit", report.markdown(rows))
        write_plot(folder)
    if wanted is None:
        run_idle(folder, kernel, write_docs)


def run_idle(folder, kernel, write_docs):
    rows = [idle(os.path.join(folder, "fit"), kernel, *pair) for pair in IDLE]
    keep(folder, "idle.json", rows)
    print(f"idle:\n{report.plain([IDLE_HEAD] + rows)}", flush=True)
    if write_docs:
        report.write_section("idle", report.markdown([IDLE_HEAD] + rows))
        write_plot(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--as-kvm", action="store_true", help="ask what kvm_fit.py asks")
    parser.add_argument("rows", nargs="*", metavar="RAM/MIX[/N]")
    args = parser.parse_args()
    logs, weir = os.path.join(BUILD, "logs/bench"), os.path.join(BUILD, "release/weir.elf")
    os.makedirs(logs, exist_ok=True)
    if args.rows == ["idle"]:
        run_idle(logs, weir, True)
        return
    rows = [word.split("/") for word in args.rows]
    tries = [(int(ram), mix, int(*n)) for ram, mix, *n in rows if n]
    if args.as_kvm and len(tries) != len(rows):
        parser.error("--as-kvm wants RAM/MIX/N")
    for ram, mix, n in tries:
        found = try_one(os.path.join(logs, "fit"), weir, ram, mix, n, args.as_kvm)
        if found:
            print(report.plain([HEAD, row(ram, mix, n, found)]), flush=True)
    if not tries:
        run(logs, weir, [(int(ram), mix) for ram, mix in rows], True)


if __name__ == "__main__":
    main()
