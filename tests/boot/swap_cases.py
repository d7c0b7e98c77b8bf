# SPDX-License-Identifier: MIT
"""Boot cases of the swap disk: guests whose memory does not pack, the driver, disks that are none."""
import os

from boots import case, counters, small_guest

QEMU = ["qemu-bios", "qemu-uefi"]
RANDOM_GUESTS, RANDOM_MIB = 2, 16
DISK = r"ata\d: [^,]+, \d+[KMG], DMA"


def signature_is_there(boot):
    """In both of its blocks, so the next boot takes the disk as well."""
    with open(boot.machine.disk, "rb") as file:
        first, second = file.read(4096), file.read(4096)
    assert first.startswith(b"WEIRSWAP") and first == second, "Weir wrote over its signature"


def random_guests():
    return sum((small_guest("swap", f"{n} {RANDOM_MIB} 1", mem=f"{RANDOM_MIB + 4}M", vm=f"wild{n}")
                for n in range(RANDOM_GUESTS)), [])


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:4"], memory=24,
      weir="swap=ata1 stats", deadline=300, disk=64, guests=random_guests)
def swap(boot):
    """Guests full of random pages, more than RAM, find every word; blocks and frames come back."""
    boot.anywhere(DISK)
    boot.anywhere(r"swap: ata1: \d+ pages")
    free = int(boot.anywhere(r"CPUs, (\d+) MiB free").group(1))
    used = RANDOM_GUESTS * RANDOM_MIB
    assert used > 3 * free // 2, "the guests would have fitted as they are"
    for n in range(RANDOM_GUESTS):
        boot.anywhere(rf"vm wild{n}: debug exit code 0\b")
    written = int(boot.anywhere(r"stat swap\.writes (\d+)").group(1))
    read = int(boot.anywhere(r"stat swap\.reads (\d+)").group(1))
    ahead = int(boot.anywhere(r"stat swap\.read_ahead (\d+)").group(1))
    boot.note(f"{used} MiB in {free} MiB; {written} pages written, {read} + {ahead} read")
    assert written > 256 and read > 100
    boot.anywhere(r"stat swap\.used 0 ")
    boot.anywhere(r"stat swap\.damaged 0 ")
    boot.frames_came_back()
    boot.ends()
    signature_is_there(boot)


OVERWRITTEN_MIB = 24


@case(machines=["tigerlake"], full=["corei5_lynnfield_750", "corei7_sandy_bridge_2600k", "tigerlake:2"], memory=24,
      weir="swap=ata1 stats", deadline=300, disk=64,
      guests=lambda: small_guest("overwrite", f"0 {OVERWRITTEN_MIB}", mem=f"{OVERWRITTEN_MIB + 4}M"))
def overwrite(boot):
    """REP STOS over pages that are packed or on the disk does as ever, and few of them are read first."""
    boot.anywhere(r"vm overwrite: debug exit code 0\b")
    boot.frames_came_back()
    boot.ends()
    found = counters(boot)
    boot.note(f"{found['reclaim.overwritten']} pages overwritten where they were put away, "
              f"{found['swap.reads']} + {found['swap.read_ahead']} read")
    assert found["reclaim.overwritten"] > 1000, "they were brought back"
    # The modules are back in memory, and still on the disk, too.
    assert found["swap.used"] == found["swap.kept"] and found["swap.damaged"] == 0


@case(machines=[], full=["tigerlake"], memory=24, weir="swap=ata1 stats", deadline=300, disk=64,
      guests=lambda: small_guest("swap", "0 32 0 1", mem="36M", vm="packs"))
def swap_packed(boot):
    """A guest whose pages pack, to more than RAM: those that stay cold go on to the disk."""
    boot.anywhere(r"vm packs: debug exit code 0\b")
    taken = int(boot.anywhere(r"stat reclaim\.packed (\d+)").group(1))
    on = int(boot.anywhere(r"stat swap\.packed (\d+)").group(1))
    boot.note(f"{taken} pages packed, {on} of them went on to the disk")
    assert taken > 1024 and on > 256
    boot.anywhere(r"stat swap\.used 0 ")
    boot.anywhere(r"stat swap\.damaged 0 ")
    boot.frames_came_back()
    boot.ends()


@case(machines=["qemu-bios:2", "qemu-uefi:2"], full=["tigerlake", "tigerlake:2"],
      weir="swap=auto selftest=disk", deadline=60, disk=64)
def swap_selftest(boot):
    """Blocks are written and read with DMA and without; a refused command is survived."""
    boot.anywhere(DISK)
    boot.anywhere(r"swap: ata\d: \d+ pages")
    boot.anywhere(r"selftest disk: PASS \(ata\d, 48 blocks there and back: DMA \d+ us, PIO \d+ us")
    boot.anywhere(r"1 passed, 0 failed")
    signature_is_there(boot)


@case(machines=["qemu-bios"], full=["tigerlake"], weir="swap=auto", deadline=60, disk=1,
      signed=False)
def swap_unsigned(boot):
    """A disk without the signature is left alone, in one line, and Weir goes on."""
    boot.anywhere(r"swap=auto: not used: no disk carries Weir's swap signature")
    boot.anywhere(r"Weir cannot run guests here|no VM is configured")
    with open(boot.machine.disk, "rb") as file:
        assert not file.read().strip(b"\0"), "somebody wrote to it"


@case(machines=[], full=["tigerlake", "corei7_sandy_bridge_2600k"], memory=32, weir="swap=ata1",
      deadline=300, disk=64,
      guests=lambda: small_guest("swap", "0 24 4", mem="28M", vm="wild") +
      small_guest("swap", "1 4 40", mem="10M", vm="steady", vm_words="psize=2M"))
def swap_damage(boot):
    """A disk that forgets ends the VM whose page it was, in one line; another goes on to its end."""
    boot.anywhere(r"wild\| swap: filled")
    with open(boot.machine.disk, "r+b") as file:
        size = os.path.getsize(boot.machine.disk)
        file.seek(4096)
        file.write(bytes(size - 4096))
    boot.anywhere(r"vm wild: its page at gfn 0x[0-9a-f]+ cannot be had from block \d+ of the swap "
                  r"disk: not what was written: it ends")
    boot.anywhere(r"vm wild: crashed")
    boot.anywhere(r"vm steady: debug exit code 0\b")
    boot.frames_came_back()
    assert boot.text().count("cannot be had") == 1
    boot.ends()
