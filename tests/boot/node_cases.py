# SPDX-License-Identifier: MIT
"""Boot cases of machines with several nodes of memory (NUMA)."""
import re

from boots import case, small_guest
from cases import NO_VMX_MESSAGE, check_small_guest
from density_cases import check_dense, counters, dense_guests
from monitor import Operator

LESS = 6  # MiB of a node that are not RAM: some below 1 MiB, and what the firmware keeps, OVMF most


def check_nodes(boot, *nodes):
    """Weir names just these: the MiB of each, and its CPUs in words."""
    for number, (mib, cpus) in enumerate(nodes):
        found = boot.expect(rf"memory: node {number}: (\d+) MiB, (.*)")
        assert found.group(2).strip() == cpus, f"{found.group(0)}, and it should have {cpus}"
        assert mib - LESS <= int(found.group(1)) <= mib, f"{found.group(0)}, and it should have {mib} MiB"
    assert len(re.findall(r"memory: node \d", boot.text())) == len(nodes)


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:2"], deadline=180, nodes=[(128, 1), (128, 1)],
      weir="monitor", guests=lambda: small_guest("smoke", "one two"))
def nodes(boot):
    """Weir says which memory is near which CPUs by tables that GRUB has added, runs a guest, and shows each node."""
    check_nodes(boot, (128, "CPU 0"), (128, "CPU 1"))
    check_small_guest(boot, "smoke")
    operator = Operator(boot)
    operator.enter()
    operator.says("mem", *(rf"^node\.{n}: \d+[KM], free \d+[KM]; its part of low [\dK.]+, of high [\dK.]+$" for n in range(2)))
    operator.send("poweroff\r")
    boot.ends()


@case(machines=["qemu-bios:4"], full=["qemu-uefi:4"], deadline=120, nodes=[(128, 2), (128, 2)])
def nodes_qemu(boot):
    """The same by tables of the firmware's, with more CPUs than one in a node."""
    check_nodes(boot, (128, "CPUs 0-1"), (128, "CPUs 2-3"))
    boot.expect(NO_VMX_MESSAGE)


@case(machines=["qemu-bios:4"], full=["tigerlake:4"], deadline=120, nodes=[(64, 1), (0, 2), (192, 0), (64, 1)])
def nodes_apart(boot):
    """CPUs without memory count for the first of the nodes, which are all as near; memory has no CPUs."""
    check_nodes(boot, (64, "CPUs 0-2"), (192, "no CPU"), (64, "CPU 3"))
    if boot.machine_name.startswith("qemu"):
        boot.expect(NO_VMX_MESSAGE)
    else:
        boot.ends()


DENSE = (8, 12)  # guests, MiB of each


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:2"], nodes=[(24, 1), (24, 1)],
      weir="stats", deadline=400, guests=lambda: dense_guests(*DENSE))
def density_nodes(boot):
    """Guests whose memory sums to more than twice that of both nodes fill it and find every word; each
    node's kaged takes of its own."""
    check_nodes(boot, (24, "CPU 0"), (24, "CPU 1"))
    check_dense(boot, *DENSE)
    found = counters(boot)
    for node in range(2):
        of = {name: found[f"node.{node}.memory.{name}"] for name in ("total", "free", "high", "taken")}
        assert of["taken"] > 1000, of
        assert of["high"] < of["free"] <= of["total"], of
    assert found["frames.total"] == sum(found[f"node.{node}.memory.total"] for node in range(2))
