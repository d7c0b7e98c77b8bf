# SPDX-License-Identifier: MIT
"""Boot cases of Weir itself and of the small guests. Each says in its first line what it shows; boots.py
says how they are run."""
import os
import re
import struct

from boots import bare_output, case, counters, small_guest
from lab import BUILD, bochs, screen
from lab.bochs import MODELS, NEWER

THREE_GENERATIONS = ["tigerlake", "corei7_haswell_4770", "corei7_sandy_bridge_2600k"]
OTHER_MODELS = ["corei5_arrandale_m520", "corei7_ivy_bridge_3770k", "broadwell_ult",
                "corei7_skylake_x", "corei7_icelake_u", *NEWER]
RESTRICTED = "corei5_lynnfield_750"  # EPT without unrestricted guest
NO_EPT = "core2_penryn_t9600"  # without either
NO_VMX_MESSAGE = r"error: (.*VMX.*)"
LARGE_PAGE = 2 << 20


@case(machines=["qemu-bios", "qemu-uefi"], deadline=120, usb=os.path.join(BUILD, "weir.iso"))
def usb_stick(boot):
    """The image of make iso, as it is, boots from a USB stick, with its guest beside it."""
    boot.expect(r"loaded by GRUB")
    boot.expect(NO_VMX_MESSAGE)


@case(machines=["qemu-uefi"], deadline=90, when_done="halt", weir="loglevel=debug", gfxpayload="640x480")
def screen_mode(boot):
    """Weir draws in the mode that the menu entry sets where docs/bare-metal.md puts the line."""
    boot.expect(r"framebuffer: 640x480, ")
    boot.expect(NO_VMX_MESSAGE)
    screen.wait_text(boot.machine, "error: this CPU offers no VMX", boot.deadline)


MB2_RELOCATABLE = struct.pack("<HHIIII", 10, 1, 24, LARGE_PAGE, 0xffffffff, LARGE_PAGE)
MB2_LOWEST, MB2_HIGHEST = struct.pack("<I", 1), struct.pack("<I", 2)


def loaded_high():
    """Weir, but for the header's word that asks GRUB for the lowest place there is."""
    path = os.path.join(BUILD, "weir-high.elf")
    with open(os.path.join(BUILD, "weir.elf"), "rb") as file:
        weir = file.read()
    assert weir.count(MB2_RELOCATABLE + MB2_LOWEST) == 1
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "wb") as file:
        file.write(weir.replace(MB2_RELOCATABLE + MB2_LOWEST, MB2_RELOCATABLE + MB2_HIGHEST))
    os.replace(fresh, path)
    return path


@case(machines=["qemu-bios", "qemu-uefi"], deadline=90, weir="selftest=page-tables,frames",
      kernel=loaded_high)
def relocated(boot):
    """Wherever GRUB puts Weir it runs: at the top of memory, with page tables that are as they must be."""
    place = boot.expect(r"loaded by GRUB .*, at 0x([0-9a-f]+)-0x([0-9a-f]+)")
    start, end = (int(n, 16) for n in place.groups())
    assert boot.case.memory << 20 > end > start >= boot.case.memory << 19, place.group(0)
    assert start % LARGE_PAGE == 0, place.group(0)
    assert boot.expect(r"(\d+) passed, (\d+) failed").groups() == ("2", "0")
    boot.note(f"at {start:#x}")
    boot.ends()


@case(machines=["tigerlake:1", "tigerlake:2", "tigerlake:4", "tigerlake:8", "qemu-bios:4"],
      full=["corei7_haswell_4770:4", "corei7_sandy_bridge_2600k:4", RESTRICTED + ":4", NO_EPT + ":4",
            "qemu-uefi:4", *(f"{model}:2" for model in NEWER)],
      weir="selftest=all", deadline=400)
def selftest(boot):
    """Weir's tests of itself on the target: locks, IPIs, threads, timers, its own page tables."""
    summary = boot.expect(r"(\d+) passed, (\d+) failed, (\d+) skipped")
    passed, failed, skipped = (int(n) for n in summary.groups())
    assert failed == 0, f"{failed} self-tests failed"
    assert passed > 0, "no self-test ran"
    boot.anywhere(r"CPU with APIC id 231 does not answer INIT-SIPI-SIPI; it is left out")
    boot.note(f"{passed} self-tests, {skipped} skipped")
    if boot.model in THREE_GENERATIONS:
        missing = set(re.findall(r"selftest (\S+): SKIP", boot.text()))
        assert missing == {"disk"} | ({"fair-cpus", "vmx_dirty_follow"} if boot.cpus == 1 else set())
    if boot.machine_name.startswith("qemu"):
        boot.expect(NO_VMX_MESSAGE)
        waited = re.search(r"selftest dead-cpu: PASS \((\d+) ms\)", boot.text())
        assert int(waited.group(1)) >= 1000, "a CPU of a busy host's has no second to come up"
    else:  # whose CPUs run in turns, however busy the host is
        for name in ("fair-cpus", "cap"):
            assert re.search(rf"selftest {name}: .*at try 1, CPUs stood still for 0 us", boot.text()) or \
                name == "fair-cpus" and "selftest fair-cpus: SKIP" in boot.text()
    boot.ends()


@case(machines=["tigerlake:4"], full=["corei7_sandy_bridge_2600k:4", "corei7_haswell_4770:2"],
      weir="selftest=mmu_hammer,mmu_hammer_large", deadline=400)
def hammer(boot):
    """vCPUs on all CPUs check every word of memory that is moved, unmapped and logged under them."""
    summary = boot.expect(r"(\d+) passed, (\d+) failed")
    assert summary.groups() == ("2", "0"), summary.group(0)
    # Time repeats there; on CPUs that run side by side it is luck. Two alone may never meet, nor may
    # faults of 2 MiB, of which there are few: those lose races in tests/unit/mmu/test_machine_large.
    retried = dict(re.findall(r"selftest (mmu_\w+): .* (\d+) retried", boot.text()))
    assert len(retried) == 2
    if boot.machine_name.endswith(":4"):
        assert int(retried["mmu_hammer"]), "no fault lost a race"
    boot.note(f"{retried['mmu_hammer']} + {retried['mmu_hammer_large']} retried")
    boot.ends()


def check_small_guest(boot, name):
    """It says how many of its checks failed: none, and there were some."""
    summary = boot.expect(r"guest: (\d+) passed, (\d+) failed")
    assert summary.group(2) == "0", "\n".join(
        line for line in boot.text().splitlines() if "FAIL" in line)
    assert int(summary.group(1)) > 0
    boot.note(f"{summary.group(1)} checks")
    boot.anywhere(rf"vm {name}: debug exit code 0\b")
    boot.anywhere(rf"vm {name}: left by debug exit")


def check_features(boot):
    """Weir's table says of the CPU what lab/bochs.py does. One that lacks the older lacks the newer."""
    lacks = set(filter(None, MODELS[boot.model].split(", ")))
    expected = {"EPT": "no EPT" not in lacks,
                "EPT accessed/dirty": not lacks & {"no EPT", "no EPT A/D"},
                "VPID": "no VPID" not in lacks,
                "unrestricted guest": "no unrestricted guest" not in lacks,
                "page-modification log": not lacks}
    table = re.findall(r"(\S.*?) {2,}(yes|no)\b", "\n".join(re.findall(r"VMX: (.*)", boot.text())))
    found = {name: answer == "yes" for name, answer in table if name in expected}
    assert found == expected, f"{found}, and it should be {expected}"


@case(machines=THREE_GENERATIONS + [RESTRICTED], full=OTHER_MODELS, deadline=180,
      guests=lambda: small_guest("smoke", "one two"))
def smoke(boot):
    """A small guest looks once at each thing that Weir shows a guest; boot has told what the CPU can."""
    check_small_guest(boot, "smoke")
    check_features(boot)
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:] + OTHER_MODELS + [RESTRICTED, NO_EPT], deadline=180,
      guests=lambda: small_guest("hidden"))
def hidden(boot):
    """What CPUID does not offer a guest cannot have: instructions, bits of CR4 and XCR0, MSRs."""
    check_small_guest(boot, "hidden")
    boot.ends()


@case(machines=["tigerlake:2"], deadline=400, weir="selftest=all",
      kernel=lambda: os.path.join(BUILD, "release/weir.elf"), guests=lambda: small_guest("smoke", "one two"))
def release(boot):
    """The build for use (make DEBUG=0) passes its self-tests and runs a guest."""
    passed, failed = boot.expect(r"(\d+) passed, (\d+) failed").groups()
    assert failed == "0", f"{failed} self-tests failed"
    skipped = set(re.findall(r"selftest (\S+): SKIP", boot.text()))
    assert skipped == {"disk", "lock-order"}, f"skipped {skipped}: a debug build checks the order of locks"
    boot.note(f"{passed} self-tests")
    check_small_guest(boot, "smoke")
    boot.ends()


@case(machines=["tigerlake"], deadline=180, weir="mitigations=off selftest=vmx_reset",
      guests=lambda: small_guest("smoke", "one two"))
def mitigations_off(boot):
    """Without mitigations, which hold for self-tests as well, guests find the same."""
    steps = boot.expect(r"VMX: mitigations off: (.*)").group(1)
    assert "yes" not in steps, steps
    boot.expect(r"1 passed, 0 failed")
    check_small_guest(boot, "smoke")
    boot.anywhere("guest: ok IA32_SPEC_CTRL keeps what is written")
    boot.ends()
    assert "mitigations on" not in boot.text()


# What a CPU without EPT does by itself, and CPUs with it when they are told to.
SHADOW_MACHINES = ["tigerlake", "corei7_sandy_bridge_2600k"]


@case(machines=[NO_EPT], full=SHADOW_MACHINES, deadline=180,
      guests=lambda: small_guest("smoke", "one two", vm_words="mmu=shadow"))
def shadow_smoke(boot):
    """The same guest finds the same without EPT; it never turns paging on."""
    check_small_guest(boot, "smoke")
    check_features(boot)
    boot.anywhere(r"shadow paging")
    boot.ends()


@case(machines=["tigerlake:2"], full=SHADOW_MACHINES + [NO_EPT + ":2"], deadline=300,
      guests=lambda: small_guest("ipi", vm_words="vcpus=4 mmu=shadow"))
def shadow_ipi(boot):
    """Four vCPUs: three of them begin in real mode, in which the CPU has no shadow tables to walk."""
    check_small_guest(boot, "ipi")
    boot.ends()


def check_as_bare(boot, name, words, pattern, least):
    """Under Weir a small guest prints those lines that it prints on the bare CPU, which are so many."""
    lines = re.compile(pattern, re.M)
    truth = lines.findall(bare_output(boot, name, words))
    check_small_guest(boot, name)
    boot.ends()
    found = lines.findall(boot.text())
    differ = [f"bare: {a}\nWeir: {b}" for a, b in zip(truth, found) if a != b]
    assert not differ, f"{len(differ)} of {len(truth)} differ\n" + "\n".join(differ)
    assert len(truth) == len(found) >= least, f"{len(truth)} lines on the bare CPU, {len(found)} here"
    boot.note(f"{len(truth)} lines")


def check_paging(boot):
    check_as_bare(boot, "paging", rights_word(), r"^(?:32-bit|PAE): guest: .*$", 80)


def check_tables(boot):
    check_as_bare(boot, "tables", rights_word(), r"^tables: .*$", 200)


def rights_word():
    """Leaves out what Bochs 3.0 ends itself for: a supervisor's writes with CR0.WP clear."""
    return "=" if bochs.is_3() else ""


@case(machines=[NO_EPT, "tigerlake"], full=SHADOW_MACHINES[1:], deadline=180,
      guests=lambda: small_guest("paging", rights_word(), vm_words="mmu=shadow"))
def shadow_paging(boot):
    """A guest's own page tables in two modes, its live writes to them, faults and marks, as on the bare CPU."""
    check_paging(boot)


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=180,
      guests=lambda: small_guest("paging", rights_word()))
def paging(boot):
    """The same with EPT."""
    check_paging(boot)


@case(machines=[NO_EPT], full=SHADOW_MACHINES, deadline=300,
      guests=lambda: small_guest("tables", rights_word(), vm_words="mmu=shadow"))
def shadow_tables(boot):
    """Each right at each level of the guest's tables, in three modes, against each access, and more."""
    check_tables(boot)


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:] + [RESTRICTED], deadline=300,
      guests=lambda: small_guest("tables", rights_word()))
def tables(boot):
    """The same with EPT."""
    check_tables(boot)


def real_mode_lines(text):
    """What the guest `real` prints, without what stands around it."""
    return re.findall(r"^(?:real|unreal|pieces): .*$", text, re.M)


def check_real(boot, words=""):
    """Under Weir it prints what it prints on the bare CPU."""
    truth = real_mode_lines(bare_output(boot, "real", words))
    check_small_guest(boot, "real")
    boot.ends()
    found = real_mode_lines(boot.text())
    differ = [f"bare: {a}\nWeir: {b}" for a, b in zip(truth, found) if a != b]
    assert not differ, f"{len(differ)} of {len(truth)} differ\n" + "\n".join(differ)
    assert len(truth) == len(found) > 200, f"{len(truth)} lines on the bare CPU, {len(found)} here"
    boot.note(f"{len(truth)} pieces")


def rpl_word():
    """Leaves out the piece that Bochs 2.7 runs otherwise behind a VM entry."""
    return "" if bochs.is_3() else "="


@case(machines=[RESTRICTED], deadline=300, guests=lambda: small_guest("real"))
def real(boot):
    """16-bit code answers as it does on the bare CPU, in real mode and in "unreal" mode."""
    check_real(boot)


@case(machines=[], full=THREE_GENERATIONS, deadline=300, guests=lambda: small_guest("real", rpl_word()))
def real_unrestricted(boot):
    """The same where the CPU runs real mode, but for what Bochs 2.7 does otherwise behind a VM entry."""
    check_real(boot, rpl_word())


@case(machines=[NO_EPT], full=["tigerlake"], deadline=300,
      guests=lambda: small_guest("real", "-", vm_words="mmu=shadow"))
def shadow_real(boot):
    """The same beneath shadow paging, without random instructions."""
    check_real(boot, "-")


@case(machines=[], full=["tigerlake"], deadline=300, weir="unrestricted=off",
      guests=lambda: small_guest("real"))
def unrestricted_off(boot):
    """The same on a CPU that is not to use what it has for real mode."""
    check_real(boot)


@case(machines=THREE_GENERATIONS, full=OTHER_MODELS + [RESTRICTED, NO_EPT], deadline=180,
      guests=lambda: small_guest("events", mem="64M"))
def events(boot):
    """Interrupts and exceptions whose delivery itself leaves the guest come exactly once."""
    check_small_guest(boot, "events")
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:] + OTHER_MODELS + [NO_EPT], deadline=180,
      guests=lambda: small_guest("states"))
def states(boot):
    """Whatever state a guest brings its CPU into it is entered again, and steps come once."""
    check_small_guest(boot, "states")
    boot.ends()


@case(machines=THREE_GENERATIONS, full=OTHER_MODELS + [NO_EPT], deadline=180,
      guests=lambda: small_guest("apic"))
def apic(boot):
    """TPR, EOIs, levels, self-IPIs and registers of a local APIC, in place, moved and in x2APIC mode."""
    check_small_guest(boot, "apic")
    boot.ends()


@case(machines=["corei7_haswell_4770"], full=["tigerlake", "broadwell_ult"], deadline=180,
      weir="apicv=full", guests=lambda: small_guest("apic"))
def apic_full(boot):
    """The same where the CPU delivers and ends the interrupts by itself."""
    check_small_guest(boot, "apic")
    boot.ends()


@case(machines=[], full=["tigerlake:2", "corei7_haswell_4770:4"], deadline=300, weir="apicv=full stats",
      guests=lambda: small_guest("ipi", vm_words="vcpus=4"))
def ipi_full(boot):
    """Four vCPUs interrupt each other, and the CPUs deliver what comes."""
    check_small_guest(boot, "ipi")
    boot.ends()
    assert counters(boot)["vm.ipi.exits.interrupt_window"] == 0


def check_posted(boot, vm):
    """Bochs has posted interrupts from its version 3.0 on; before, apicv=posted comes to apicv=full."""
    found = counters(boot)
    posted, notified, held = (found[f"vm.{vm}.apic.{name}"] for name in ("posted", "notified", "held"))
    boot.note(f"{posted} posted, {notified} notified, {held} held, "
              f"{found[f'vm.{vm}.exits.external_interrupt']} exits for interrupts")
    if "apicv=posted" in boot.anywhere(r"guests' local APICs: .*").group(0):
        assert notified and posted >= notified
    else:
        assert not posted and not held


@case(machines=[], full=["tigerlake", "corei7_haswell_4770"], deadline=180, weir="apicv=posted stats",
      guests=lambda: small_guest("apic"))
def apic_posted(boot):
    """Registers, levels and self-IPIs where the CPU takes what is posted by itself, if it can."""
    check_small_guest(boot, "apic")
    boot.ends()


@case(machines=[], full=["tigerlake:2", "tigerlake:4", "tigerlake"], deadline=300,
      weir="apicv=posted stats", guests=lambda: small_guest("ipi", vm_words="vcpus=4"))
def ipi_posted(boot):
    """Four vCPUs interrupt each other, without an exit where the CPU has posted interrupts."""
    check_small_guest(boot, "ipi")
    boot.ends()
    if boot.cpus > 1:
        check_posted(boot, "ipi")


@case(machines=[], full=["tigerlake", "corei7_haswell_4770"], deadline=180, weir="apicv=access",
      guests=lambda: small_guest("apic"))
def apic_access(boot):
    """The same where the CPU is to deliver no interrupts by itself, but has its APIC-access page."""
    check_small_guest(boot, "apic")
    boot.ends()


@case(machines=[], full=["tigerlake", "corei7_sandy_bridge_2600k"], deadline=180, weir="apicv=tpr",
      guests=lambda: small_guest("apic"))
def apic_tpr(boot):
    """The same with CR8 alone left to the CPU."""
    check_small_guest(boot, "apic")
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=180, weir="apicv=off",
      guests=lambda: small_guest("apic"))
def apic_off(boot):
    """The same where the CPU does nothing of it."""
    check_small_guest(boot, "apic")
    boot.ends()


@case(machines=THREE_GENERATIONS, full=OTHER_MODELS, deadline=180,
      guests=lambda: small_guest("hypercalls"))
def hypercalls(boot):
    """A guest makes every hypercall, with right and wrong arguments, and sees what it did."""
    check_small_guest(boot, "hypercalls")
    # What Bochs does wrong on some of its CPUs, and must not be taken for right on others.
    assert (("the CPU writes to a protected directory" in boot.text()) ==
            ("no EPT A/D" in MODELS[boot.model]))
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=180,
      guests=lambda: small_guest("hypercalls", "large", vm_words="psize=2M"))
def hypercalls_2m(boot):
    """The same of memory in pages of 2 MiB, which is given back in whole ones."""
    check_small_guest(boot, "hypercalls")
    boot.ends()


@case(machines=[], full=[NO_EPT, "tigerlake"], deadline=180,
      guests=lambda: small_guest("hypercalls", "shadow", vm_words="mmu=shadow"))
def shadow_hypercalls(boot):
    """The same beneath shadow paging, where H_ENTER maps nothing."""
    check_small_guest(boot, "hypercalls")
    boot.ends()


@case(machines=THREE_GENERATIONS[:2], full=THREE_GENERATIONS[2:] + OTHER_MODELS + [NO_EPT],
      deadline=400, guests=lambda: small_guest("hostile"))
def hostile(boot):
    """A guest of random accesses gets an answer to each, and Weir goes on."""
    check_small_guest(boot, "hostile")
    assert "panic" not in boot.text().lower()
    boot.ends()


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:2", "tigerlake:4", NO_EPT + ":2"],
      deadline=180,
      guests=lambda: small_guest("smoke", "one two") + small_guest("events", mem="64M"))
def two_cpus(boot):
    """Two guests on two CPUs, each on its own, both with nothing to complain of."""
    for name in ("smoke", "events"):
        boot.anywhere(rf"vm {name}: debug exit code 0\b")
    boot.ends()


@case(machines=["tigerlake:2", RESTRICTED + ":2"],
      full=["tigerlake", "tigerlake:4", "corei7_sandy_bridge_2600k",
                                      "corei7_sandy_bridge_2600k:4"], deadline=300,
      guests=lambda: small_guest("ipi", vm_words="vcpus=4"), weir="stats")
def ipi(boot):
    """Four vCPUs start, stop and interrupt each other in every way, and agree on the time."""
    check_small_guest(boot, "ipi")
    boot.ends()
    loops = counters(boot)["vm.ipi.exits.pause"]
    assert loops > 0 or not boot.machine_name.startswith("tigerlake"), "no loop of PAUSEs left the guest"
    boot.note(f"{loops} PAUSE loops")


@case(machines=[], full=["tigerlake:2", "corei7_sandy_bridge_2600k:2"], deadline=300,
      guests=lambda: small_guest("many", vm_words="vcpus=32"))
def many_vcpus(boot):
    """As many vCPUs as a VM can have, on two CPUs: they start, work, and interrupt each other by cluster."""
    check_small_guest(boot, "many")
    boot.ends()


@case(machines=["tigerlake:2"],
      full=["tigerlake", "corei7_sandy_bridge_2600k", "corei7_sandy_bridge_2600k:2", "tigerlake:4",
            NO_EPT + ":2"], deadline=300,
      guests=lambda: small_guest("paravirt", vm_words="vcpus=6"), weir="stats")
def paravirt(boot):
    """Six vCPUs on fewer CPUs: EOI in memory, who is preempted, flushes that wait, interrupts to a set."""
    check_small_guest(boot, "paravirt")
    boot.ends()
    found = counters(boot)
    assert found["vm.paravirt.paravirt.eois"] >= 100
    assert found["vm.paravirt.paravirt.tlb_flushes"] >= 20
    boot.note(f"{found['vm.paravirt.paravirt.tlb_flushes']} TLB flushes waited")


BUSY_TICKS = 100000000  # two seconds of Bochs's TSC


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:2", "tigerlake:4"], deadline=300,
      weir="stats",
      guests=lambda: [m for vm, words in (("light", "weight=100 cpus=0"),
                                          ("heavy", "weight=300 cpus=0"),
                                          ("capped", "cap=40 cpus=1"), ("nowhere", "cpus=9-10"))
                      for m in small_guest("busy", f"spin {BUSY_TICKS}", vm=vm, vm_words=words)])
def shares(boot):
    """Busy VMs get what weight=, cap= and cpus= say, and one whose CPUs are not there is refused."""
    there = "0-3" if boot.machine_name.endswith(":4") else "0-1"
    boot.anywhere(rf"vm nowhere: not started: cpus= names no CPU that runs VMs: give some of {there}")
    boot.ends()
    found = counters(boot)
    for vm, fair in (("light", 25), ("heavy", 75), ("capped", 40)):
        boot.anywhere(rf"vm {vm}: debug exit code 0\b")
        got = 100 * found[f"vm.{vm}.cpu.run"] / (20 * BUSY_TICKS)
        assert abs(got - fair) < 2, f"{vm} had {got:.1f} % of a CPU"
        boot.note(f"{vm} {got:.1f} %")


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:2"], deadline=300, weir="stats",
      guests=lambda: (small_guest("busy", f"spin {BUSY_TICKS}", vm="light", vm_words="weight=100") +
                      small_guest("busy", f"spin-all {BUSY_TICKS}", vm="heavy",
                                  vm_words="weight=300 vcpus=2")))
def shares_of_two(boot):
    """Three busy vCPUs of two VMs have of two CPUs what weight= says, and so none has one of its own."""
    boot.ends()
    found = counters(boot)
    for vm, fair in (("light", 25), ("heavy", 75)):
        boot.anywhere(rf"vm {vm}: debug exit code 0\b")
        got = 100 * found[f"vm.{vm}.cpu.run"] / (2 * 20 * BUSY_TICKS)
        assert abs(got - fair) < 2, f"{vm} had {got:.1f} % of the CPUs"
        boot.note(f"{vm} {got:.1f} %")


RESETS = ("register", "keyboard", "system")


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=180,
      weir="stats rma_pool=32M",
      guests=lambda: [m for name in RESETS for m in small_guest(
          "reset", vm=name, vm_words="rma=32M" if name == "keyboard" else "")])
def reset(boot):
    """A guest that resets itself, in each of three ways, starts again with memory like new."""
    # The VMs come and go beside each other, in no order.
    for name in RESETS:
        boot.anywhere(rf"(?s)(vm {name}: started.*?vm {name}: reset after.*?){{2}}vm {name}: started")
        assert len(re.findall(rf"\b{name} ?: memory is new$", boot.text(), re.M)) >= 2
    assert "memory is old" not in boot.text()
    assert "stat vm." not in boot.text(), "a guest that resets itself fills the log"


@case(machines=["tigerlake:2"], full=THREE_GENERATIONS[1:], deadline=180, weir="stats",
      guests=lambda: (small_guest("smoke", "one two") +
                      small_guest("triple", vm="a-name-of_as.many-letters-as-go")))
def stats(boot):
    """With the word `stats` each counter of an ended VM, and Weir's own, is a line with a sentence."""
    boot.ends()
    rows = re.findall(r"\bstat (\S+) (\d+) (\w+): ([A-Z].*\.)$", boot.text(), re.M)
    assert len(rows) == len(re.findall(r"\bstat ", boot.text())), "a line is malformed"
    values = {name: int(value) for name, value, _, _ in rows}
    assert len(values) == len(rows), "a counter comes twice"
    sentences = {row[3] for row in rows if not row[0].startswith("vm.a-name")}
    assert len(sentences) == len([n for n in values if not n.startswith("vm.a-name")])
    assert values["vm.smoke.exits.cpuid"] > 0 and values["vm.smoke.exits.ept_violation"] > 0
    assert values["vm.a-name-of_as.many-letters-as-go.exits.triple_fault"] == 1
    assert values["vm.smoke.memory.got_page"] > 0
    assert values["vpid.taken"] >= 2 and values["vpid.generations"] <= 2
    # The last thread's stack may come back in between.
    assert 0 < values["frames.free"] <= int(boot.expect(r"(\d+) frames free").group(1))
    boot.note(f"{len(rows)} counters")


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=180,
      weir="stats rma_pool=40M",
      guests=lambda: (small_guest("smoke", "one two", vm_words="rma=32M") +
                      small_guest("events", vm="huge", mem="64M", vm_words="psize=2M") +
                      small_guest("events", vm="both", mem="64M",
                                  vm_words="psize=2M rma=4M")))
def rma(boot):
    """VMs with a piece of the pool of real-mode areas, with 2 MiB pages, and with both."""
    boot.expect(r"rma_pool: 40M are set aside")
    for name in ("smoke", "huge", "both"):
        boot.anywhere(rf"vm {name}: debug exit code 0\b")
    frames = boot.expect(r"(\d+) frames free, (\d+) before the first")
    assert frames.group(1) == frames.group(2), "frames were lost: " + frames.group(0)
    boot.ends()
    values = counters(boot)
    assert values["rma_pool.pages"] == 10240
    assert values["rma_pool.used_peak"] == 9216 and values["rma_pool.used"] == 0
    assert values["rma_pool.handed_out"] == 2 and values["rma_pool.refused"] == 0
    assert values["vm.smoke.memory.got_page"] == 8192
    for name in ("huge", "both"):
        assert values[f"vm.{name}.memory.got_page"] % 512 == 0
    for name in ("smoke", "huge", "both"):
        assert values[f"vm.{name}.mmu.mapped_large"] > 0, f"{name} has no large mapping"


@case(machines=["tigerlake"], deadline=180, weir="rma_pool=12M",
      guests=lambda: (small_guest("smoke", "one two", vm_words="rma=8M") +
                      small_guest("events", vm="late", vm_words="rma=8M") +
                      small_guest("events", mem="64M")))
def rma_exhausted(boot):
    """A VM that finds too little in the pool is refused with sizes and a remedy; others run."""
    boot.anywhere(r"vm late: not started: rma=8M: the pool of 12M has 4M free, of that 4M in one "
                  r"piece: give rma_pool=16M, or end a VM that has rma=")
    for name in ("smoke", "events"):
        boot.anywhere(rf"vm {name}: debug exit code 0\b")
    assert "vm late: started" not in boot.text()
    boot.ends()


@case(machines=["tigerlake"], deadline=180, weir="rma_pool=3M rma_pool=900G",
      guests=lambda: (small_guest("smoke", "one two") +
                      small_guest("events", vm="a", vm_words="rma=64M") +
                      small_guest("events", vm="b", mem="33M", vm_words="psize=2M") +
                      small_guest("events", vm="c", vm_words="psize=2M rma=64K") +
                      small_guest("events", vm="d", vm_words="psize=1G") +
                      small_guest("events", vm="e", vm_words="rma=2M") +
                      small_guest("events", vm="f", mem="1024G")))
def rma_sizes(boot):
    """Sizes that do not go together refuse their VM by name, and the good one runs."""
    boot.anywhere(r"'rma_pool=3M' is ignored: accepted is rma_pool=SIZE, a multiple of 2M")
    boot.anywhere(r"rma_pool=900G: nothing is set aside: of \w+ that are free no 900G are in one")
    boot.anywhere(r"vm a: not started: module 2: rma=64M is more than mem=32M")
    boot.anywhere(r"vm b: not started: module 3: mem=33M is not a multiple of psize=2M: give mem=34M")
    boot.anywhere(r"vm c: not started: module 4: rma=64K is not a multiple of psize=2M: give rma=2M")
    boot.anywhere(r"vm d: not started: module 5: psize=1G is no page size")
    boot.anywhere(r"vm e: not started: rma=2M: there is no pool .*add rma_pool=2M")
    boot.anywhere(r"vm f: not started: mem=1T: 1021G of it would be at guest address 0x100000000")
    check_small_guest(boot, "smoke")
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=180,
      guests=lambda: small_guest("triple") + small_guest("smoke", "one two"))
def triple(boot):
    """A triple fault ends its VM with a line that says where, and no other VM."""
    boot.anywhere(r"triple: triple fault at .*0x[0-9a-f]+")
    boot.anywhere(r"vm triple: crashed")
    check_small_guest(boot, "smoke")
    boot.ends()


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k:2"], deadline=180,
      guests=lambda: (small_guest("triple", vm_words="on_crash=restart") +
                      small_guest("smoke", "one two")))
def on_crash(boot):
    """A VM with on_crash=restart that crashes at once starts again, each time later, and not for ever."""
    boot.anywhere(r"vm triple: crashed 6 times in a row: it is not started again")
    assert len(re.findall(r"vm triple: triple fault at", boot.text())) == 6
    assert len(re.findall(r"vm smoke: started", boot.text())) == 1
    boot.anywhere(r"vm smoke: debug exit code 0\b")
    boot.ends()
