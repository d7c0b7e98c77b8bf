# SPDX-License-Identifier: MIT
"""What is measured: a list for each program that measures, in the order of the tables.

A new operation is a row here and a line "bench: NAME MEDIAN MIN MAX COUNT" of a program; a line
without a row fails the run, and so does a row without a line.
"""
import dataclasses
import os
import re
from typing import Optional

from lab import ROOT


@dataclasses.dataclass(frozen=True)
class Operation:
    name: str
    about: str
    aim: Optional[int] = None  # at most this, release build
    unit: str = "instructions"
    # What it costs on the same emulated CPU; docs/performance.md says how that was measured.
    xen: str = ""


# tests/guests/bench.c: from inside a guest, there and back.
GUEST = [
    Operation("cpuid", "CPUID, leaf 0", 200, xen="992"),
    Operation("cpuid-features", "CPUID, leaf 1", 200),
    Operation("vmcall", "VMCALL with an unknown number", 200, xen="934"),
    Operation("rdmsr-apic-base", "RDMSR of IA32_APIC_BASE", 220, xen="888"),
    Operation("wrmsr-apic-base", "WRMSR of IA32_APIC_BASE, its own value", 220),
    Operation("wrmsr-tsc-deadline", "WRMSR of IA32_TSC_DEADLINE"),
    Operation("hlt-deadline", "HLT until IA32_TSC_DEADLINE: from the deadline to its handler",
              250),
    Operation("rdmsr-x2apic", "RDMSR of an x2APIC register", xen="no exit"),
    Operation("wrmsr-x2apic-eoi", "WRMSR of x2APIC EOI", xen="802"),
    Operation("in-pic", "IN from the PIC's mask", 350),
    Operation("out-pic", "OUT to the PIC's mask"),
    Operation("in-pit", "IN from the PIT's counter", 350),
    Operation("in-uart", "IN from the UART's line status"),
    Operation("out-post", "OUT to port 0x80"),
    Operation("out-unused", "OUT to an unused port", 350, xen="1,358"),
    Operation("in-unused", "IN from an unused port", 350),
    Operation("lapic-read", "LAPIC version read by MMIO", 600, xen="16,702"),
    Operation("lapic-read-paged", "the same with the guest's paging on"),
    Operation("lapic-write", "LAPIC SVR write by MMIO", 600),
    Operation("lapic-eoi", "LAPIC EOI write by MMIO", 600),
    Operation("ioapic-select", "IOAPIC register selected by MMIO", 600),
    Operation("ioapic-read", "IOAPIC register read by MMIO", 600, xen="14,523"),
    Operation("ioapic-read-paged", "the same with the guest's paging on, by pages of 4 MiB"),
    Operation("self-ipi-xapic", "self-IPI by MMIO, until its handler runs"),
    Operation("self-ipi-x2apic", "self-IPI by WRMSR, until its handler runs"),
    Operation("first-touch", "first write to a 4 KiB page: zero fill", 2000, xen="4,475"),
    Operation("first-touch-mean", "the same, the mean of all: with what makes 2 MiB large"),
    Operation("second-touch", "second write to it: no exit"),
    Operation("touch-aged", "write to it after Weir aged it, twice in 25 s"),
    Operation("h-read", "H_READ of a page"),
    Operation("h-protect", "H_PROTECT of one page: write-protect and flush"),
    Operation("h-release", "H_PROTECT: release it"),
    Operation("touch-resident", "write to it then: one fault maps its 2 MiB again"),
    Operation("h-remove", "H_REMOVE of one page: unmap, flush, free"),
    Operation("touch-removed", "write to a page that was given back: zero fill", 2000),
    Operation("h-enter-mapped", "H_ENTER of one page that is mapped"),
    Operation("h-remove-again", "H_REMOVE, again"),
    Operation("h-enter-absent", "H_ENTER of one page that was given back: zero fill"),
    Operation("touch-unmapped", "first write to a 4 KiB page that is resident and not mapped, its neighbours mapped",
              800),
    Operation("read-unmapped", "first read of such a page, which is mapped to be written, too", 800),
]

# Of them what concerns the local APIC, in the same words.
APICV = [Operation(row.name, row.about) for row in GUEST
         if row.name.startswith(("lapic-", "rdmsr-x2apic", "wrmsr-x2apic", "self-ipi", "hlt-"))]

# tests/guests/bench_paging.c, with EPT and with shadow paging; all memory was touched before.
PAGING = [
    Operation("page-first-read", "first read of a page through new tables"),
    Operation("page-read-again", "second read of it"),
    Operation("page-first-write", "first write to it"),
    Operation("entry-write", "write to its page-table entry: another page"),
    Operation("invlpg", "INVLPG of it"),
    Operation("page-read-remapped", "read of it then"),
    Operation("directory-write", "write to an entry of the directory that CR3 has"),
    Operation("cr3-1", "MOV to CR3, its own value"),
    Operation("cr3-4", "MOV to CR3, the next of 4 processes'"),
    Operation("cr3-16", "MOV to CR3, the next of 16 processes'"),
    Operation("cr3-16-touch", "the same, and a read of each of its 16 pages"),
    Operation("fork", "a fork: 256 entries copied and protected, 16 pages written, all undone"),
    Operation("linux-fork", "Linux: fork, exec and end of a program, the mean of 100 in a shell"),
]

# Of these what KVM is measured in, too (kvm.py), and what comes of it with huge pages.
KVM = ["cpuid", "vmcall", "rdmsr-apic-base", "wrmsr-apic-base", "wrmsr-tsc-deadline",
       "rdmsr-x2apic", "wrmsr-x2apic-eoi", "in-pic", "out-pic", "in-pit", "out-post",
       "out-unused", "in-unused", "lapic-read", "lapic-read-paged", "lapic-write", "lapic-eoi",
       "ioapic-select", "ioapic-read", "ioapic-read-paged", "self-ipi-xapic", "self-ipi-x2apic", "hlt-deadline", "first-touch",
       "first-touch-mean", "second-touch"]
KVM_HUGE = ["first-touch-mean"]

# kernel/selftest_bench.c: Weir's own operations, without an exit around them.
WEIR = [
    Operation("spin-lock", "spin lock and unlock"),
    Operation("spin-lock-irqsave", "the same with interrupts off"),
    Operation("srcu-read", "SRCU read lock and unlock"),
    Operation("clock-ns", "the time in nanoseconds"),
    Operation("frame-alloc-free", "allocate and free a frame"),
    Operation("frame-alloc-zero-free", "the same, zeroed"),
    Operation("slot-find-1", "memslot lookup, 1 slot"),
    Operation("slot-find-32", "memslot lookup, 32 slots"),
    Operation("slot-find-512", "memslot lookup, 512 slots"),
    Operation("slot-find-cached-1", "the same where the last hit serves, 1 slot"),
    Operation("slot-find-cached-32", "32 slots"),
    Operation("slot-find-cached-512", "512 slots"),
    Operation("fault-zero-fill", "fault of a page never touched", 2000),
    Operation("fault-resident", "fault of a page that is resident", 800),
    Operation("fault-around", "the same, and 15 neighbours with it"),
    Operation("fault-large", "fault of a resident page of 2 MiB"),
    Operation("enter-no-flush", "what an entry asks the MMU, nothing to flush"),
    Operation("unmap-flush", "unmap one page and flush"),
    Operation("unmap-flush-invept", "the same, and INVEPT at the next entry"),
    Operation("age-2m", "ask of 512 mapped pages which were used"),
    Operation("age-page", "a round of aging, for each page: pages that were used"),
    Operation("age-page-idle", "the same: pages that were not"),
    Operation("age-page-no-ad", "the same without accessed bits, on Sandy Bridge: pages that were used, and lose their mapping"),
    Operation("take-zero", "take a page that is all zero: unmap, flush, look, free"),
    Operation("take-packed", "take a page that LZ4 packs to a third"),
    Operation("fault-packed", "fault of such a page: unpack and map"),
    Operation("fault-filled", "fault of a page that is one word all over"),
    Operation("take-swapped", "take a page that does not pack: try, write it to the swap disk, without its driver"),
    Operation("fault-swapped", "fault of such a page: read it back, alone, without the disk's driver"),
    Operation("fault-swapped-ahead", "the same where 7 lie behind it, which it reads, too"),
    Operation("take-kept", "take a page that was read from there and not written: it is there still"),
    Operation("take-shared", "take a page that does not pack and that another has: hash, compare, free"),
    Operation("fault-copy", "write to such a page: copy and map"),
    Operation("fault-show-first", "read of a page that is packed with another's: unpack into a frame for both, map"),
    Operation("fault-shown", "read of the other: map that frame"),
]
# Rows that come from a CPU whose EPT has no accessed bits, and what they are called there.
WEIR_NO_AD = {"age-page-no-ad": "age-page"}


def wait_bound(others, times=1):
    """In us: what smp/runqueue.h states for a thread beside so many of up to `times` its weight."""
    with open(os.path.join(ROOT, "smp/runqueue.h")) as file:
        ns = {name: int(value) for name, value in
              re.findall(r"^#define SCHED_(\w+)_NS\s+(\d+)ull", file.read(), re.M)}
    owed = ns["SLICE_MAX"]
    return others * (ns["CREDIT"] + ns["SLICE_MAX"] + max(ns["SLICE_MAX"], owed * times)) // 1000


# run.py: busy VMs beside each other. Shares are in tenths of a percent of all CPUs' time.
SCHED = [
    Operation("share-one-cpu-light", "1 CPU: weight 100 beside 300; 250 is fair", unit="per mille"),
    Operation("share-one-cpu-heavy", "and the other; 750 is fair", unit="per mille"),
    Operation("share-two-cpus-light", "2 CPUs: weight 100, one vCPU, beside 300 with two; 250 is fair",
              unit="per mille"),
    Operation("share-two-cpus-heavy", "and the other; 750 is fair", unit="per mille"),
    Operation("share-three-a", "2 CPUs: three VMs of equal weight; 333 is fair", unit="per mille"),
    Operation("share-three-b", "the second", unit="per mille"),
    Operation("share-three-c", "the third", unit="per mille"),
    Operation("wait_1us", "wake-ups after which a thread ran within 1 us", unit="times"),
    Operation("wait_4us", "within 4 us", unit="times"),
    Operation("wait_16us", "within 16 us", unit="times"),
    Operation("wait_64us", "within 64 us", unit="times"),
    Operation("wait_256us", "within 256 us", unit="times"),
    Operation("wait_1ms", "within 1 ms", unit="times"),
    Operation("wait_4ms", "within 4 ms", unit="times"),
    Operation("wait_16ms", "within 16 ms", unit="times"),
    Operation("wait_longer", "later", unit="times"),
    # Beside the two VMs there is who starts and ends them.
    Operation("wait-max", "the longest, beside two VMs", wait_bound(3), unit="us"),
    Operation("wait-max-all", "the longest of any thread there", wait_bound(4), unit="us"),
    Operation("wait-max-light", "the longest at weight 50, 2 CPUs, beside four VMs of 100",
              wait_bound(5, times=2), unit="us"),
]

# footprint.py: what Weir itself takes.
MEMORY = [
    Operation("image", "image: code, data and what is linked into it", unit="bytes"),
    Operation("per-frame", "for each frame of 4 KiB of the machine's", unit="bytes"),
    Operation("per-vm", "for a VM of 32 MiB and one vCPU", unit="bytes"),
    Operation("per-vcpu", "for one vCPU more", unit="bytes"),
    Operation("per-mib", "for a MiB more that a VM has and does not use", unit="bytes"),
    Operation("per-mib-mapped", "for a MiB more that it uses and that is mapped", unit="bytes"),
]

# Breakpoints in Bochs: how far a boot has come.
BOOT = [
    Operation("pvh-entry", "vmlinux by PVH: GRUB's hand-over to the first guest instruction"),
    Operation("pvh-shell", "vmlinux by PVH: to the guest's shell"),
    Operation("bzimage-entry", "bzImage: to the first guest instruction"),
    Operation("bzimage-shell", "bzImage: to the guest's shell"),
]
