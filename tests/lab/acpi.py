# SPDX-License-Identifier: MIT
"""ACPI tables that GRUB gives a machine beside its firmware's: the nodes of its memory, which no setting of
Bochs's does. A table is text for iasl, which knows its length and checksum.
"""
import hashlib
import os
import subprocess
import tempfile

from lab import CACHE
from lab.image import drop_old

FOLDER = os.path.join(CACHE, "acpi")
KEPT_TABLES = 32
HOLE = 3 << 10  # MiB: the emulators' memory from there on is above 4 GiB
HERE, ELSEWHERE = 10, 20  # distances (ACPI 6.3, 5.2.17): 10 is a node's from itself

HEADER = """\
[0004] Signature : "{name}"
[0004] Table Length : 00000000
[0001] Revision : {revision:02X}
[0001] Checksum : 00
[0006] Oem ID : "WEIR"
[0008] Oem Table ID : "NODES"
[0004] Oem Revision : 00000001
[0004] Asl Compiler ID : "INTL"
[0004] Asl Compiler Revision : 00000000
"""
# ACPI 6.3, 5.2.16; the table itself has two fields more.
SRAT = """\
[0004] Table Revision : 00000001
[0008] Reserved : 0000000000000000
"""
CPU = """
[0001] Subtable Type : 00
[0001] Length : 10
[0001] Proximity Domain Low(8) : {node:02X}
[0001] Apic ID : {apic:02X}
[0004] Flags (decoded below) : 00000001
Enabled : 1
[0001] Local Sapic EID : 00
[0003] Proximity Domain High(24) : 000000
[0004] Clock Domain : 00000000
"""
MEMORY = """
[0001] Subtable Type : 01
[0001] Length : 28
[0004] Proximity Domain : {node:08X}
[0002] Reserved1 : 0000
[0008] Base Address : {start:016X}
[0008] Address Length : {size:016X}
[0004] Reserved2 : 00000000
[0004] Flags (decoded below) : 00000001
Enabled : 1
Hot Pluggable : 0
Non-Volatile : 0
[0008] Reserved3 : 0000000000000000
"""


def srat(nodes):
    """Which memory and which CPUs are near each other. nodes: (MiB, CPUs) of each, in the order of their
    addresses and of their CPUs' APIC ids, which count from 0; both may be 0."""
    if sum(mib for mib, _ in nodes) > HOLE:
        raise ValueError(f"nodes of more than {HOLE} MiB: their memory is not in one piece")
    text, apic, start = HEADER.format(name="SRAT", revision=3) + SRAT, 0, 0
    for node, (_, cpus) in enumerate(nodes):
        text += "".join(CPU.format(node=node, apic=apic + n) for n in range(cpus))
        apic += cpus
    for node, (mib, _) in enumerate(nodes):
        if mib:
            text += MEMORY.format(node=node, start=start << 20, size=mib << 20)
        start += mib
    return text


def slit(nodes):
    """How far the nodes are from each other."""
    rows = ("".join(f" {HERE if there == node else ELSEWHERE:02X}" for there in range(len(nodes)))
            for node in range(len(nodes)))
    return (HEADER.format(name="SLIT", revision=1) + f"[0008] Localities : {len(nodes):016X}\n" +
            "".join(f"[{len(nodes):04}] Locality {node} :{row}\n" for node, row in enumerate(rows)))


def compiled(name, text):
    """The path of that table, made now if it is not there."""
    path = os.path.join(FOLDER, f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.aml")
    if not os.path.exists(path):
        os.makedirs(FOLDER, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:  # others may be making the same
            source = os.path.join(folder, name + ".asl")
            with open(source, "w") as file:
                file.write(text)
            done = subprocess.run(["iasl", "-we", source], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            if done.returncode:
                raise RuntimeError(f"iasl could not compile the {name}:\n{done.stdout}")
            os.replace(os.path.join(folder, name + ".aml"), path)
        drop_old(FOLDER, ".aml", KEPT_TABLES)
    os.utime(path)
    return path


def node_tables(nodes):
    """The paths of the tables that tell of nodes, as of srat()."""
    return [compiled("srat", srat(nodes)), compiled("slit", slit(nodes))] if nodes else []
