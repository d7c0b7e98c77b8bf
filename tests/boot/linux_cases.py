# SPDX-License-Identifier: MIT
"""Boot cases of Debian's kernel, by itself, with several vCPUs, and several guests at once."""
import re

from boots import case, counters, linux_guest
from cases import NO_EPT, OTHER_MODELS, RESTRICTED, THREE_GENERATIONS
from lab import bochs, image, linux


def check_shell(boot, ready=True):
    if ready:
        boot.expect(r"weir-guest: shell ready")
    boot.expect(r"guest# ")
    boot.type("echo $((6 * 7)) is the answer")
    boot.expect(r"^42 is the answer")
    # Longer than a UART's queue, and than what a terminal's driver holds for a line's echo.
    boot.type("echo " + "0123456789" * 20 + " | tr -d '\\n' | wc -c")
    boot.expect(r"^200\b")
    boot.type("poweroff -f")
    boot.expect(r"vm alpha: powered off")
    boot.ends()


@case(machines=THREE_GENERATIONS + [RESTRICTED, NO_EPT], full=OTHER_MODELS, guests=linux_guest,
      deadline=900)
def linux_shell(boot):
    """Debian's kernel boots by its PVH note to a shell that answers, and powers off."""
    check_shell(boot)


@case(machines=[], full=["tigerlake"], deadline=900,
      guests=lambda: linux_guest(words="nopv nolapic_timer lapic=notscdeadline"))
def linux_pit(boot):
    """Linux that is to do without a local APIC's timer checks the PIT's by the IOAPIC, and goes by it."""
    boot.expect(r"weir-guest: shell ready")
    boot.expect(r"guest# ")
    boot.type("dmesg | grep TIMER:")
    boot.expect(r"\.\.TIMER: vector=0x\w+ apic1=0 pin1=2 ")
    boot.type("dmesg | grep -c 'MP-BIOS bug\\|trying to set up timer'")
    boot.expect(r"^0\b")
    boot.type("a=$(awk '/edge +timer/ {print $2}' /proc/interrupts); sleep 2; grep timer /proc/interrupts; "
              "echo $(($(awk '/edge +timer/ {print $2}' /proc/interrupts) - a)) ticks")
    boot.expect(r"^ *0: +\d+ .*IO-APIC +2-edge +timer")
    assert int(boot.expect(r"^(\d+) ticks").group(1)) > 10
    boot.type("poweroff -f")
    boot.expect(r"vm alpha: powered off")
    boot.ends()


def loses_interrupts():
    """What docs/testing.md says below "Debian 13"."""
    if bochs.is_3():
        return (f"Bochs {bochs.installed()[0]} does not note a virtual interrupt as the event that is being "
                "delivered: with apicv=full Linux stands still")
    return None


@case(machines=[], full=["tigerlake", "corei7_haswell_4770"], weir="apicv=full", guests=linux_guest,
      deadline=400, skip=loses_interrupts)
def linux_shell_full(boot):
    """Linux with its interrupts delivered by the CPU, to a shell."""
    check_shell(boot)
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], deadline=400,
      guests=lambda: linux_guest(words="weir.poweroff weir.touch=64",
                                 vm_words="psize=2M rma=32M"),
      weir="rma_pool=32M")
def linux_psize_2m(boot):
    """Linux in pages of 2 MiB, the first of them from the pool, gives all of them back."""
    boot.expect(r"touched 64 MiB")
    boot.expect(r"vm alpha: powered off")
    frames = boot.expect(r"(\d+) frames free, (\d+) before the first")
    assert frames.group(1) == frames.group(2), "frames were lost: " + frames.group(0)
    boot.ends()


@case(machines=[], full=["tigerlake"], guests=lambda: linux_guest(vm_words="mmu=shadow"), deadline=900)
def shadow_linux(boot):
    """Debian's kernel comes to its shell on a CPU whose EPT is not used."""
    check_shell(boot)


@case(machines=[], full=["tigerlake"], weir="unrestricted=off", guests=linux_guest, deadline=400)
def linux_unrestricted_off(boot):
    """Linux where the CPU is not to use what it has for real mode, to a shell."""
    check_shell(boot)


SMP_PROGRAMS = ("clocks", "smp.sh")
SMP_MACHINES = [f"{model}{cpus}" for model in ("tigerlake", "corei7_sandy_bridge_2600k")
                for cpus in ("", ":2", ":4")]


def check_linux_smp(boot, vcpus, rounds=3):
    """All vCPUs are up, work, and agree on what time it is."""
    boot.expect(rf"weir-guest: alpha: .* {vcpus} CPU\b")
    boot.expect(r"guest# ")
    boot.type("nproc")
    boot.expect(rf"^{vcpus}\b")
    boot.type("dmesg | grep -c 'clocksource: Marking\\|unstable\\|soft lockup\\|rcu.*stall'")
    boot.expect(r"^0\b")
    several = ("kvm-guest: PV spinlocks enabled", "kvm-guest: setup PV IPIs",
               "kvm-guest: KVM setup pv remote TLB flush", "kvm-guest: setup PV sched yield")
    for offer in several if vcpus > 1 else ():
        boot.type(f"dmesg | grep -c '{offer}'")
        boot.expect(r"^1\b")
    boot.type(f"smp.sh {rounds}")
    boot.expect(rf"^smp: {vcpus} CPUs are done")
    for i in range(vcpus):
        boot.anywhere(rf"^cpu {i} is done")
    wrong = re.findall(r"^cpu \d+: .*", boot.text(), re.M)
    assert not wrong, "\n".join(wrong)
    for clocksource in ("kvm-clock", "tsc"):
        boot.type("cd /sys/devices/system/clocksource/clocksource0; echo " + clocksource +
                  " > current_clocksource; echo source: $(cat current_clocksource); clocks 5000")
        boot.expect(rf"^source: {clocksource}")
        boot.expect(r"^clocks agree")
    boot.type("set -- $(head -1 /proc/stat); echo stolen: $9 of a second/100")
    stolen = int(boot.expect(r"^stolen: (\d+) of").group(1))
    if vcpus > boot.cpus:
        assert stolen > 0, "vCPUs share CPUs, and Linux does not know"
    boot.note(f"{stolen * 10} ms stolen")
    boot.type("poweroff -f")
    boot.expect(r"vm alpha: powered off")
    frames = boot.expect(r"(\d+) frames free, (\d+) before the first")
    assert frames.group(1) == frames.group(2), "frames were lost: " + frames.group(0)
    boot.ends()
    used = {name: counters(boot)["vm.alpha.paravirt." + name]
            for name in ("eois", "ipi_calls", "kicks", "yields", "tlb_flushes")}
    boot.note(", ".join(f"{count} {name}" for name, count in used.items()))
    assert used["eois"], "Linux does not use what it is offered"


@case(machines=[], full=SMP_MACHINES, weir="stats", deadline=600,
      guests=lambda: linux_guest(vm_words="vcpus=1", programs=SMP_PROGRAMS))
def linux_smp_1(boot):
    """Debian's kernel with one vCPU does what it does with several, on one CPU and on several."""
    check_linux_smp(boot, 1)


@case(machines=["tigerlake:2"], full=SMP_MACHINES, weir="stats",
      guests=lambda: linux_guest(vm_words="vcpus=2", programs=SMP_PROGRAMS), deadline=600)
def linux_smp_2(boot):
    """Debian's kernel brings up two vCPUs, on one CPU and on several."""
    check_linux_smp(boot, 2)


@case(machines=[], full=SMP_MACHINES + [RESTRICTED + ":2"], weir="stats", deadline=900,
      guests=lambda: linux_guest(vm_words="vcpus=4", programs=SMP_PROGRAMS))
def linux_smp_4(boot):
    """Debian's kernel brings up four vCPUs, on one CPU and on several."""
    check_linux_smp(boot, 4)


@case(machines=[], full=SMP_MACHINES, weir="stats", deadline=1800,
      guests=lambda: linux_guest(vm_words="vcpus=8", programs=SMP_PROGRAMS))
def linux_smp_8(boot):
    """Debian's kernel brings up eight vCPUs, on one CPU and on several."""
    check_linux_smp(boot, 8)


@case(machines=[NO_EPT], full=["tigerlake:2"], deadline=400,
      guests=lambda: linux_guest(words="weir.poweroff", vm_words="vcpus=2 mmu=shadow"))
def shadow_linux_smp_2(boot):
    """Debian's kernel brings up two vCPUs without EPT, and powers off."""
    boot.expect(r"weir-guest: alpha: .* 2 CPU\b")
    boot.expect(r"vm alpha: powered off")
    boot.frames_came_back()
    boot.ends()


@case(machines=[], full=["tigerlake:2", NO_EPT + ":2"], weir="stats", deadline=1800,
      guests=lambda: linux_guest(vm_words="vcpus=4 mmu=shadow", programs=SMP_PROGRAMS))
def shadow_linux_smp(boot):
    """Four vCPUs without EPT: they start in real mode, and use and change the same page tables."""
    check_linux_smp(boot, 4, rounds=1)


@case(machines=[], full=["tigerlake:2", NO_EPT + ":2"], deadline=1200,
      guests=lambda: linux_guest(vm_words="vcpus=2"))
def linux_hotplug(boot):
    """A vCPU that Linux takes off line and brings back begins anew: INIT out of 64-bit code, then SIPI."""
    boot.expect(r"weir-guest: alpha: .* 2 CPU\b")
    boot.expect(r"guest# ")
    for turn in range(2):
        boot.type(f"echo 0 > /sys/devices/system/cpu/cpu1/online; echo turn {turn}: $(nproc) left")
        boot.expect(rf"^turn {turn}: 1 left")
        boot.type(f"echo 1 > /sys/devices/system/cpu/cpu1/online; echo turn {turn}: $(nproc) again, "
                  f"$(taskset -c 1 echo and the second works)")
        boot.expect(rf"^turn {turn}: 2 again, and the second works")
    boot.type("poweroff -f")
    boot.expect(r"vm alpha: powered off")
    boot.ends()


@case(machines=[], full=[NO_EPT + ":2"], deadline=1200,
      guests=lambda: linux_guest(vm_words="vcpus=4"))
def shadow_typing(boot):
    """What is typed at once is all there, though the vCPUs' forks keep the shadow tables locked."""
    boot.expect(r"guest# ")
    for _ in range(4):
        boot.type("(while :; do /bin/busybox true; done) &")
        boot.expect(r"guest# ")
    for i in range(10):
        text = f"{i}" * 120
        boot.type(f"echo; echo typed {text} typed")
        boot.expect(rf"^typed {text} typed\b")
    boot.type("poweroff -f")
    boot.expect(r"vm alpha: powered off")
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:] + [RESTRICTED], deadline=400,
      guests=lambda: linux_guest(stock=True, programs=("vectors",)))
def linux_bzimage(boot):
    """The bzImage as packaged boots, with nothing on its command line but the console, and programs keep
    their vector registers as its kernel saves them by CPUID alone."""
    boot.expect(r"weir-guest: shell ready")
    boot.type("vectors 500; echo vectors ended with $?")
    boot.note(boot.expect(r"^vectors: ([xyz]mm, \d+ switches, 0 lost)\b").group(1))
    boot.expect(r"^vectors ended with 0\b")
    check_shell(boot, ready=False)


def faulty():
    """Three VMs that cannot be started."""
    _, vmlinux = linux.kernel()
    return [image.Module(linux.initramfs(), "vm=gamma initrd"),
            image.Module(vmlinux, "vm=delta kernel mem=banana"),
            image.Module(linux.initramfs(), "vm=epsilon kernel mem=64M -- this is no kernel")]


@case(machines=["tigerlake"], full=["tigerlake:2", "corei7_sandy_bridge_2600k:2", RESTRICTED, NO_EPT],
      weir="consoel=com1", deadline=400,
      guests=lambda: (linux_guest("alpha", words="weir.poweroff") + faulty() +
                      linux_guest("beta", mem="192M", words="weir.poweroff", vm_words="mmu=shadow")))
def two_linux(boot):
    """Of five VMs the two Linux guests, one with shadow paging, go to the shell and off, each with its
    own memory; the three others, and a word that is none, are named with their faults."""
    boot.anywhere(r"command line: unknown word 'consoel=com1' is ignored: known are console= ")
    boot.anywhere(r"vm gamma: not started: it has no kernel: add a module line 'vm=gamma kernel ")
    boot.anywhere(r"vm delta: not started: module 4: mem=banana is not a size: write for example mem=256M")
    # GRUB has unpacked it.
    boot.anywhere(r"vm epsilon: not started: its kernel is a cpio archive: say initrd if it is one")
    for name, most in (("alpha", 256), ("beta", 192)):
        total = boot.anywhere(rf"weir-guest: {name}: MemTotal (\d+) KiB")
        assert most - 64 < int(total.group(1)) >> 10 < most, f"{name} sees {total.group(0)}"
    for name in ("alpha", "beta"):
        boot.anywhere(rf"vm {name}: powered off")
    boot.ends()


@case(machines=[], full=["tigerlake", *THREE_GENERATIONS[1:]],
      guests=lambda: linux_guest(words="weir.poweroff weir.touch=64"), deadline=400)
def poweroff_returns_memory(boot):
    """A guest that touched memory and powered off gave back every frame."""
    boot.expect(r"touched 64 MiB")
    boot.expect(r"vm alpha: powered off")
    boot.frames_came_back()
    boot.ends()


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], memory=512, weir="stats",
      guests=lambda: linux_guest(mem="1G", words="weir.poweroff weir.touch=100"), deadline=400)
def first_touch(boot):
    """A guest with mem=1G on a machine with half of that costs only what it touches, and gives it back."""
    boot.expect(r"touched 100 MiB")
    free = int(boot.expect(r"MemFree (\d+) KiB").group(1))
    boot.ends()
    found = counters(boot)
    resident = 4 * found["vm.alpha.memory.got_page"]  # KiB, as it powered off
    assert resident == 4 * found["vm.alpha.memory.peak"], "nobody was to take a page"
    # What the guest itself has in use: those 100 MiB, the kernel, its structures and a busybox. It has
    # touched all of that, and a little beside that is free again.
    used = (1 << 20) - free
    assert 100 << 10 < resident < used + (16 << 10), f"{resident} KiB resident, {used} used"
    assert used < 200 << 10, f"{used} KiB used"
    boot.note(f"{resident >> 10} MiB in RAM, of {used >> 10} that the guest uses")
    boot.anywhere(r"vm alpha: powered off")
    boot.frames_came_back()
