# SPDX-License-Identifier: MIT
"""The boot cases of nested KVM: Weir in QEMU with KVM (make test-nested). KVM looks at what a VM entry
is given more strictly than Bochs does. The boot of its host is most of what a case takes, so that one
case shows much."""
from boots import case, linux_guest, small_guest


def small_guests():
    return (small_guest("smoke", "one two") + small_guest("events", mem="64M") +
            small_guest("hypercalls"))


@case(machines=["kvm"], deadline=600, weir="selftest=all", memory=256, guests=small_guests)
def nested(boot):
    """Under QEMU with KVM Weir passes its self-tests and runs small guests beside each other."""
    passed, failed = boot.expect(r"(\d+) passed, (\d+) failed").groups()
    assert failed == "0", f"{failed} self-tests failed"
    for name in ("smoke", "events", "hypercalls"):
        boot.anywhere(rf"vm {name}: debug exit code 0\b")
    boot.note(f"{passed} self-tests")
    boot.ends()


@case(machines=["kvm"], deadline=1200, memory=512,
      apart="left out for its time: make test-nested runs it, and make test-full",
      guests=lambda: linux_guest("alpha", words="weir.poweroff"))
def nested_linux(boot):
    """Debian's kernel boots to its shell in Weir in QEMU with KVM."""
    boot.expect(r"weir-guest: alpha: Linux .*clock tsc")
    boot.expect(r"weir-guest: shell ready")
    boot.expect(r"vm alpha: powered off")
    boot.ends()
