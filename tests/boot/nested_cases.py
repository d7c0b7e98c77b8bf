# SPDX-License-Identifier: MIT
"""The boot cases of nested KVM: Weir in QEMU with KVM (make test-nested). KVM looks at what a VM entry is
given more strictly than Bochs does. The boot of its host is most of what a case takes, so that one
case shows much."""
import re

from boots import bare_output, case, linux_guest, small_guest
from cases import real_mode_lines, rpl_word

APART = "left out for its time: make test-nested runs it, and make test-full"
# The self-tests that want two CPUs, or a swap disk.
SKIPPED = {"disk", "fair-cpus", "vmx_dirty_follow"}


def small_guests():
    return (small_guest("smoke", "one two") + small_guest("events", mem="64M") +
            small_guest("hypercalls"))


def end_well(boot, *names):
    for name in names:
        end = boot.anywhere(rf"vm {name}: (debug exit code \d+|crashed|killed)").group(1)
        assert end == "debug exit code 0", f"vm {name}: {end}"


@case(machines=["kvm"], deadline=600, weir="selftest=all", memory=256, guests=small_guests)
def nested(boot):
    """Under QEMU with KVM Weir passes its self-tests and runs small guests beside each other."""
    passed, failed = boot.expect(r"(\d+) passed, (\d+) failed").groups()
    assert failed == "0", f"{failed} self-tests failed"
    assert set(re.findall(r"selftest (\S+): SKIP", boot.text())) == SKIPPED
    end_well(boot, "smoke", "events", "hypercalls")
    boot.note(f"{passed} self-tests")
    boot.ends()


def odd_states():
    """What brings a CPU into states that an entry checks, by EPT and by shadow tables; real mode."""
    return (small_guest("states") + small_guest("states", vm="states-shadow", vm_words="mmu=shadow") +
            small_guest("paging", vm_words="mmu=shadow") + small_guest("apic") +
            small_guest("real", rpl_word()))


def real_lines(text):
    """What `real` says; its lines bear its name while there is another VM. KVM makes such an address
    canonical where the CPU raises #GP."""
    lines = real_mode_lines(re.sub(r"^real\| ", "", text, flags=re.M))
    return [line for line in lines if "SYSENTER's EIP, not canonical" not in line]


def check_states(boot):
    """All entries went well, and real mode is what it is on the bare CPU."""
    end_well(boot, "states", "states-shadow", "paging", "apic", "real")
    boot.ends()
    found = real_lines(boot.text())
    truth = real_lines(bare_output(boot, "real", rpl_word(), model="tigerlake"))
    differ = [f"bare: {a}\nWeir: {b}" for a, b in zip(truth, found) if a != b]
    assert not differ, f"{len(differ)} of {len(truth)} differ\n" + "\n".join(differ)
    assert len(truth) == len(found), f"{len(truth)} lines on the bare CPU, {len(found)} here"


@case(machines=["kvm"], deadline=1800, memory=320, apart=APART, guests=odd_states)
def nested_states(boot):
    """KVM accepts every state that guests bring their CPU into, by EPT, shadow tables and in real mode."""
    check_states(boot)


@case(machines=["kvm"], deadline=3000, memory=320, apart=APART, weir="unrestricted=off", guests=odd_states)
def nested_states_unrestricted_off(boot):
    """The same where real mode is Weir's to run."""
    check_states(boot)


@case(machines=["kvm"], deadline=1200, memory=512, apart=APART,
      guests=lambda: linux_guest("alpha", words="weir.poweroff"))
def nested_linux(boot):
    """Debian's kernel boots to its shell in Weir in QEMU with KVM."""
    boot.expect(r"weir-guest: alpha: Linux .*clock tsc")
    boot.expect(r"weir-guest: shell ready")
    boot.expect(r"vm alpha: powered off")
    boot.ends()
