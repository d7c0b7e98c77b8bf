# SPDX-License-Identifier: MIT
"""What a write costs a guest to a page that its host has aged, under KVM and under Weir: a table in
docs/performance.md. make bench-kvm BENCH=aged measures it alone.

tests/guests/bench.c writes to 10,000 pages, waits 1,250 million ticks and writes to each again. KVM's
host ages them in between: by tests/guests/linux/age.c, which has the kernel look which pages were used,
as it does where memory is short. /proc/PID/clear_refs stands beside it: it clears what QEMU's own page
tables say and does not ask KVM. How many pages the kernel asked KVM for is what its trace event
kvm_age_hva says. Weir ages pages by itself.

Both are measured where the CPU sets accessed bits in EPT, and where it does not: KVM with eptad=0, Weir on
a CPU model without.
"""
import os
import re

import report
import run as bench
from lab import BUILD, image, nested
from running import deadline, running

DEADLINE = 2400
PAGES = 10000  # that bench.c touches
WITHOUT = "corei7_ivy_bridge_3770k"  # EPT without accessed bits
MEMORY = 192  # MiB beside the host's
SCRIPT = """\
say() {{ echo "host: $*" >/dev/ttyS1; }}
cd /tmp
echo never >/sys/kernel/mm/transparent_hugepage/enabled
trace=/sys/kernel/tracing
mount -t tracefs tracefs $trace
aged() {{
	say "aged by $1, eptad $(cat /sys/module/kvm_intel/parameters/eptad)"
	: >com1
	{qemu},logfile=/tmp/com1 -m 64M -kernel /bench.elf -append "memory aged" &
	pid=$!
	until grep -q "to be aged" com1; do usleep 10000; done
	echo 0 >$trace/trace
	echo 1 >$trace/events/kvm/kvm_age_hva/enable
	case $1 in
	clear_refs) echo 1 >/proc/$pid/clear_refs ;;
	reclaim) age $pid || say "FAIL age" ;;
	esac
	echo 0 >$trace/events/kvm/kvm_age_hva/enable
	! grep -q "touch-aged" com1 || say "FAIL too late"
	say "asked KVM $(sed -n 's/^entries: //p' $trace/per_cpu/cpu0/stats) times"
	wait $pid
}}
for eptad in 1 0; do
	rmmod kvm_intel
	insmod /modules/kvm-intel.ko $KVM_INTEL eptad=$eptad
	aged clear_refs
	aged reclaim
done
say end
"""
PART = re.compile(r"host: aged by (\w+), eptad ([YN])\r?\n(.*?)(?=host: aged|host: end)", re.S)


def host(folder, qemu, cmdline):
    """What the host's second serial line had to say. qemu ends with the character device's options."""
    files = {"/bench.elf": os.path.join(BUILD, "guests/bench.elf"),
             "/bin/age": os.path.join(BUILD, "guests/linux/age")}
    machine = nested.Host(folder, files, SCRIPT.format(qemu=qemu), MEMORY, cmdline=cmdline)
    with running("kvm-aged", machine):
        machine.wait_off(deadline(DEADLINE))
    return machine.console.text


def figures(text):
    """{(how, Y or N): (median, mean, how many pages KVM was asked for)}; ends where nothing was aged."""
    found = {}
    for how, eptad, part in PART.findall(text):
        lines = {match.group(1): int(match.group(2)) for match in bench.LINE.finditer(part)}
        asked = re.search(r"host: asked KVM (\d+) times", part)
        if "FAIL" in part or not asked or not {"touch-aged", "touch-aged-mean"} <= lines.keys():
            raise SystemExit(f"bench kvm aged: not measured by {how}, eptad {eptad}")
        found[how, eptad] = lines["touch-aged"], lines["touch-aged-mean"], int(asked.group(1))
    wanted = {(how, eptad) for how in ("clear_refs", "reclaim") for eptad in "YN"}
    if found.keys() != wanted:
        raise SystemExit("bench kvm aged: the host did not come to its end")
    for eptad in "YN":
        if found["reclaim", eptad][2] < PAGES:
            raise SystemExit(f"bench kvm aged: KVM was asked for {found['reclaim', eptad][2]} pages")
    return found


def weir(cpu):
    """(median, mean) on this model."""
    guest = image.Module(os.path.join(BUILD, "guests/bench.elf"),
                         "vm=bench kernel mem=64M -- memory aged")
    machine = bench.run_bochs(f"aged-{cpu}", "release", "stats", [guest], cpu=cpu)
    rounds = dict(bench.STAT.findall(machine.console.text)).get("reclaim.rounds", 0)
    if int(rounds) < 2:
        raise SystemExit(f"bench kvm aged: Weir aged nothing; see {machine.path('console.txt')}")
    lines = {match.group(1): int(match.group(2))
             for match in bench.LINE.finditer(machine.console.text)}
    return lines["touch-aged"], lines["touch-aged-mean"]


def table(kvm, own):
    """kvm: figures(); own: {Y or N: Weir's}."""
    rows = [["A write to each of 10,000 pages again", "KVM asked for", "KVM", "KVM, mean", "Weir",
             "Weir, mean"]]
    names = {"clear_refs": "after clear_refs, which ages QEMU's page tables alone",
             "reclaim": "after the host aged them"}
    for eptad, about in (("Y", "EPT with accessed bits"), ("N", "EPT without")):
        for how, name in names.items():
            median, mean, asked = kvm[how, eptad]
            cells = [f"{n:,}" for n in own[eptad]] if how == "reclaim" else ["", ""]
            rows.append([f"{about}: {name}", f"{asked:,}", f"{median:,}", f"{mean:,}", *cells])
    return rows


def run(folder, qemu, cmdline, write_docs):
    """Measures and writes; returns (what it is, KVM's figure, Weir's) of what is compared."""
    kvm = figures(host(folder, qemu, cmdline))
    own = {"Y": weir("tigerlake"), "N": weir(WITHOUT)}
    rows = table(kvm, own)
    print(f"aged:\n{report.plain(rows)}", flush=True)
    if write_docs:
        report.write_section("kvm aged", report.markdown(rows))
    return [(f"{rows[line][0]}, {name}", kvm["reclaim", eptad][i], own[eptad][i])
            for line, eptad in ((2, "Y"), (4, "N")) for i, name in enumerate(("median", "mean"))]
