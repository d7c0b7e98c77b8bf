# SPDX-License-Identifier: MIT
"""Boot cases of guests that have more memory than there is."""
import re

from boots import case, counters, linux_guest, small_guest
from cases import NO_EPT
from monitor import Operator

# Linux guests, their MiB, and how many of them each fills; the machine's MiB, and the swap disk's or 0.
CROWD = {"pair": (2, 320, 40, 160, 0), "pair-swap": (2, 320, 56, 160, 512),
         "small": (4, 256, 48, 256, 0), "swap": (4, 256, 96, 256, 1024),
         "whole": (8, 256, 192, 512, 0), "swap-whole": (8, 256, 192, 512, 4096)}
# Of 256 MiB Debian's kernel leaves 191, and 200 if this word forbids it to make tracefs.
ROOMIER = "lockdown=confidentiality"


def crowd_guests(size):
    guests, mib, fill, _, disk = CROWD[size]
    words = f"weir.poweroff weir.fill={fill}" + (" weir.fill_random" if disk else "")
    words += f" {ROOMIER}" if size.endswith("whole") else ""
    return sum((linux_guest(f"crowd{n}", mem=f"{mib}M", words=words, vm_words="share=crowd",
                            programs=("fill",)) for n in range(guests)), [])


def check_crowd(boot, size):
    guests, mib, fill, memory, disk = CROWD[size]
    for n in range(guests):
        boot.anywhere(rf"fill: crowd{n}: {fill << 8} pages, every word is right")
        boot.anywhere(rf"vm crowd{n}: powered off")
    assert "DAMAGED" not in boot.text()
    frames = boot.expect(r"(\d+) frames free, (\d+) before the first")
    assert frames.group(1) == frames.group(2), "frames were lost: " + frames.group(0)
    boot.ends()
    found = counters(boot)
    peaks = sum(int(boot.anywhere(rf"vm crowd{n}: memory: at most (\d+) MiB of {mib} MiB in RAM").group(1))
                for n in range(guests))
    assert peaks << 8 > int(frames.group(2)), "no guest had to make room for another"
    boot.note(f"{guests} guests of {mib} MiB filled {fill} each in {memory}; {found['reclaim.packed']} pages packed, "
              f"{found['share.found']} found, {found['share.copied']} copied, "
              f"{found['reclaim.overwritten']} overwritten" +
              (f"; {found['swap.writes']} written, {found['swap.reads']} read" if disk else ""))
    assert found["reclaim.overwritten"] > 0, "what Linux clears was brought back first"
    if disk:
        too_many = (guests * fill << 8) - int(frames.group(2))
        assert found["swap.writes"] > too_many > 0, "it did without the disk"
        # The modules are back in memory; what was not written since is still on the disk, too.
        assert found["swap.used"] == found["swap.kept"] <= found["used_for.guest"]
        assert found["swap.damaged"] == 0
    else:
        assert found["reclaim.packed"] > 0, "memory was not short"


def crowd_case(size, deadline, machines=(), full=("tigerlake",)):
    _, _, _, memory, disk = CROWD[size]
    return case(machines=machines, full=full, memory=memory, deadline=deadline, disk=disk,
                weir="swap=ata1 stats" if disk else "stats", guests=lambda: crowd_guests(size))


@crowd_case("pair", 400, ["tigerlake"], [])
def linux_pair(boot):
    """Two Linux guests of four times the machine's RAM fill some of theirs and find every word."""
    check_crowd(boot, "pair")


@crowd_case("pair-swap", 600, ["tigerlake"], [])
def linux_pair_swap(boot):
    """The same with what does not pack, and a disk."""
    check_crowd(boot, "pair-swap")


@crowd_case("small", 900)
def linux_crowd(boot):
    """Linux guests of four times the machine's RAM fill some of theirs and find every word."""
    check_crowd(boot, "small")


@crowd_case("whole", 5400)
def linux_crowd_whole(boot):
    """Eight of 256 MiB in 512 MiB fill 192 MiB each and find every word."""
    check_crowd(boot, "whole")


@crowd_case("swap", 1200)
def linux_crowd_swap(boot):
    """Linux guests of four times the machine's RAM fill some of it with what does not pack."""
    check_crowd(boot, "swap")


@crowd_case("swap-whole", 7200)
def linux_crowd_swap_whole(boot):
    """Eight of 256 MiB in 512 MiB fill 192 MiB each with what does not pack."""
    check_crowd(boot, "swap-whole")


def dense_guests(guests, mib, vm_words=""):
    return sum((small_guest("density", f"{n} {mib} 1", mem=f"{mib + 4}M", vm=f"dense{n}",
                            vm_words=vm_words) for n in range(guests)), [])


def check_dense(boot, guests, mib):
    free = int(boot.anywhere(r"CPUs, (\d+) MiB free").group(1))
    for n in range(guests):
        boot.anywhere(rf"vm dense{n}: debug exit code 0\b")
    used = guests * mib
    assert used > 2 * free, "the guests would have fitted as they are"
    boot.note(f"{used} MiB in {free} MiB")
    boot.frames_came_back()
    boot.ends()
    # At the end nobody allocates: what is not free is known to be used for something.
    found = counters(boot)
    uses = {name: value for name, value in found.items() if name.startswith("used_for.")}
    assert sum(uses.values()) == found["frames.total"] - found["frames.free"], uses


DENSE = (7, 12)  # guests, MiB of each
SHADOW_DENSE = (4, 10)


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:4"], memory=40,
      weir="stats", deadline=400, guests=lambda: dense_guests(*DENSE))
def density(boot):
    """Guests whose memory sums to more than twice the machine's RAM fill it and find every word."""
    check_dense(boot, *DENSE)


@case(machines=[NO_EPT], full=["tigerlake", NO_EPT + ":2"], memory=23,
      weir="stats", deadline=400, guests=lambda: dense_guests(*SHADOW_DENSE, "mmu=shadow"))
def shadow_density(boot):
    """Several guests at once without EPT, that have more memory than there is."""
    check_dense(boot, *SHADOW_DENSE)


@case(machines=[], full=["tigerlake"], memory=64, weir="watermarks=1M,2M,3M tax=50", deadline=120,
      guests=lambda: (small_guest("density", "2 8 1", mem="12M min=8M shares=100", vm="alpha") +
                      small_guest("smoke", "", mem="256M min=200M", vm="beta") +
                      small_guest("density", "1 24 1", mem="28M max=12M", vm="gamma")))
def promises(boot):
    """A VM whose min= does not fit is refused with the numbers; one with max= makes room itself."""
    boot.anywhere(r"vm beta: not started: min=200M and what the VM costs besides are \d+K, others "
                  r"were promised \d+K of the \d+K that there are: give less min=")
    for name in ("alpha", "gamma"):
        boot.anywhere(rf"vm {name}: debug exit code 0\b")
    touched = int(boot.anywhere(r"vm gamma: memory: at most (\d+) MiB of 28 MiB in RAM").group(1))
    assert touched <= 12, "it had more than its max="
    boot.ends()


SHARE_GUESTS, SHARE_MIB, SHARE_POOL = 7, 4, 12  # the pool keeps memory from the guests


def alike():
    """Of a group all but one, which has the same pages and shares them with nobody."""
    return sum((small_guest("share", f"{n} {SHARE_MIB} 1", mem=f"{SHARE_MIB + 4}M", vm=f"alike{n}",
                            vm_words="share=us" if n else "") for n in range(SHARE_GUESTS)), [])


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:4"], memory=28,
      weir=f"stats rma_pool={SHARE_POOL}M", deadline=400, guests=alike)
def share(boot):
    """Guests with equal pages, most of which do not pack, need more than there is without sharing."""
    free = int(boot.anywhere(r"CPUs, (\d+) MiB free").group(1)) - SHARE_POOL
    for n in range(SHARE_GUESTS):
        boot.anywhere(rf"vm alike{n}: debug exit code 0\b")
    # Three of eight pages in each guest do not pack.
    assert SHARE_GUESTS * SHARE_MIB * 3 / 8 > 0.8 * free, "it would have fitted"
    boot.frames_came_back()
    numbers = {name: int(boot.anywhere(rf"stat share\.{name} (\d+)").group(1))
               for name in ("found", "copied", "shown", "collisions", "frames", "frames_saved")}
    assert numbers["found"] > 1000 and numbers["copied"] > 10, numbers
    assert numbers["collisions"] == numbers["frames"] == numbers["frames_saved"] == 0, numbers
    boot.note(f"{SHARE_GUESTS * SHARE_MIB} MiB in {free} MiB; {numbers['found']} pages found, "
              f"{numbers['copied']} copied")
    boot.ends()


# Random pages, without a disk: the three have more than there is, so that two wait, and one is paused.
STARVED = {"keeper": (10, 6, "min=14M"), "beta": (12, 1, ""), "gamma": (14, 1, "")}


def starved_guests():
    return sum((small_guest("swap", f"{n} {mib} {passes}", mem=f"{mib + 4}M", vm=vm, vm_words=words)
                for n, (vm, (mib, passes, words)) in enumerate(STARVED.items())), [])


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:2"], memory=32,
      deadline=200, guests=starved_guests)
def starved(boot):
    """Of VMs that wait for memory one is paused, and goes on by itself when another has ended."""
    paused = boot.anywhere(r"vm (\w+): paused for memory, being furthest over its share with \S+ "
                           r"resident; it goes on when there is memory: end another VM \((\w+) has ")
    assert paused.group(1) != "keeper" and paused.group(2) == "keeper", paused.group()
    boot.anywhere(rf"vm {paused.group(1)}: goes on, after it was paused for memory for \d+ ms")
    for vm in STARVED:
        boot.anywhere(rf"vm {vm}: debug exit code 0\b")
    boot.frames_came_back()
    boot.ends()
    ended = boot.text().index("vm keeper: debug exit")
    assert boot.text().index("goes on, after") > ended, "nobody had given anything back"


def steer_the_paused(boot, command):
    """Does that to the VM that is paused because memory is short; its name."""
    name = boot.anywhere(r"vm (\w+): paused for memory, being furthest over its share").group(1)
    operator = Operator(boot)
    operator.enter()
    operator.says("vm list", rf"^{name} +no-mem ")
    operator.ask(f"vm {command} {name}")
    operator.send("exit\r")
    return name


def check_ends(boot, names):
    for vm in names:
        boot.anywhere(rf"vm {vm}: debug exit code 0\b")
    boot.frames_came_back()
    boot.ends()


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:2"], memory=32,
      deadline=200, guests=starved_guests)
def starved_killed(boot):
    """A VM that is killed while it is paused for memory gives back all it has, and the others go on."""
    killed = steer_the_paused(boot, "kill")
    boot.anywhere(rf"vm {killed}: killed after")
    check_ends(boot, set(STARVED) - {killed})
    assert not re.search(rf"vm {killed}: (goes on|debug exit)", boot.text())


@case(machines=[], full=["tigerlake", "tigerlake:2"], memory=32, deadline=300, guests=starved_guests)
def starved_reset(boot):
    """One that is reset then gives back all, too, starts anew, and gets to its end as the others do."""
    reset = steer_the_paused(boot, "reset")
    boot.anywhere(rf"(?s)vm {reset}: reset after.*vm {reset}: started")
    check_ends(boot, STARVED)


# Those two are killed with pages of every kind; the third gets to its end.
CUT_DOWN = {"wild": ("swap", "0 16 1000", 16), "beta": ("density", "1 12 1000", 12),
            "gamma": ("density", "2 12 1", 12)}


def cut_down_guests():
    return sum((small_guest(name, words, mem=f"{mib + 4}M", vm=vm, vm_words="share=us")
                for vm, (name, words, mib) in CUT_DOWN.items()), [])


def levels(operator, pattern):
    """Counters by name, as the monitor has them now."""
    return {name: int(value) for name, value in
            re.findall(r"^(\S+) (\d+) \S+: ", operator.ask(f"stat {pattern}"), re.M)}


def await_level(operator, name):
    """Asks until it is not 0: what it is then."""
    while True:
        found = levels(operator, name)[name]
        if found:
            return found


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:2"], memory=24,
      weir="swap=ata1 stats", deadline=300, disk=64, guests=cut_down_guests)
def cut_down(boot):
    """VMs that are killed while pages of theirs are packed, shared and being written to the disk give back
    every frame, place in the pool and block."""
    operator = Operator(boot)
    for vm in CUT_DOWN:
        boot.anywhere(rf"vm {vm}: started")
    operator.enter()
    then = {name: await_level(operator, name) for name in
            ("vm.wild.memory.swapped", "vm.beta.memory.packed", "pool.objects", "share.frames", "swap.writing")}
    for vm in ("wild", "beta"):
        operator.ask(f"vm kill {vm}")
        boot.anywhere(rf"vm {vm}: killed after")
    operator.send("exit\r")
    check_ends(boot, {"gamma"})
    found = counters(boot)
    left = {name: found[name] for name in ("swap.used", "swap.writing", "pool.objects", "pool.frames",
                                           "share.frames")}
    assert not any(left.values()), left
    boot.note(f"before the first was killed {then['swap.writing']} pages were being written, "
              f"{then['pool.objects']} packed and {then['share.frames']} frames shared")
