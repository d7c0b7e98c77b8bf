# SPDX-License-Identifier: MIT
"""Machines with several nodes of memory: the tables that tell of them, and how they get into a machine."""
import os
import struct

import pytest

import boots
from lab import acpi, image, nested, qemu

NODES = [(96, 1), (0, 2), (160, 0)]
HEADER = "<4sIBB6s8sI4sI"  # ACPI 5.2.6


@pytest.fixture(autouse=True)
def no_table_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(acpi, "FOLDER", str(tmp_path / "acpi"))


def table(path):
    """What stands behind the header of a table that is sound."""
    with open(path, "rb") as file:
        contents = file.read()
    assert sum(contents) % 256 == 0
    signature, length = struct.unpack_from(HEADER, contents)[:2]
    assert length == len(contents)
    return signature, contents[struct.calcsize(HEADER):]


def affinities(body):
    """Of an SRAT: {APIC id: node} and [(node, first byte, bytes)] of what is enabled."""
    cpus, memory, at = {}, [], 12
    while at < len(body):
        kind, size = body[at:at + 2]
        if kind == 0:
            node, apic, flags, high = struct.unpack_from("<BBIxI", body, at + 2)
            assert (size, flags, high & 0xffffff) == (16, 1, 0)
            cpus[apic] = node
        else:
            node, start, length, flags = struct.unpack_from("<I2xQQ4xI", body, at + 2)
            assert (kind, size, flags) == (1, 40, 1)
            memory.append((node, start, length))
        at += size
    assert at == len(body)
    return cpus, memory


def test_the_tables_say_which_memory_and_which_cpus_a_node_has():
    srat, slit = acpi.node_tables(NODES)
    signature, body = table(srat)
    assert signature == b"SRAT"
    assert affinities(body) == ({0: 0, 1: 1, 2: 1}, [(0, 0, 96 << 20), (2, 96 << 20, 160 << 20)])
    assert table(slit) == (b"SLIT", struct.pack("<Q", 3) + bytes([10, 20, 20, 20, 10, 20, 20, 20, 10]))


def test_a_machine_without_nodes_has_no_tables_of_ours():
    assert acpi.node_tables([]) == []
    assert "acpi" not in image.grub_config("", [])
    assert qemu.numa_options([]) == []


def test_memory_that_is_not_in_one_piece_is_refused():
    acpi.srat([(2048, 1), (1024, 1)])
    with pytest.raises(ValueError, match="3072 MiB"):
        acpi.srat([(2048, 1), (1025, 1)])


def test_what_iasl_cannot_compile_is_said():
    with pytest.raises(RuntimeError, match="(?s)could not compile the slit:.*rror"):
        acpi.compiled("slit", acpi.slit(NODES).replace("Localities", "Localises"))
    assert os.listdir(acpi.FOLDER) == []


@pytest.mark.parametrize("protocol", ["multiboot2", "multiboot"])
def test_grub_gets_all_tables_at_once_before_it_loads_weir(protocol):
    lines = image.grub_config("", [], protocol=protocol, tables=["/x/srat.aml", "/y/slit.aml"]).splitlines()
    loader = [i for i, line in enumerate(lines) if line.startswith(f"\t{protocol} ")]
    tables = [i for i, line in enumerate(lines) if line.startswith("\tacpi ")]
    assert len(loader) == len(tables) == 1 and lines.index('menuentry "Weir" {') < tables[0] < loader[0]
    assert lines[tables[0]] == "\tacpi /boot/acpi/srat.aml /boot/acpi/slit.aml"


def test_an_image_has_the_tables_that_it_was_made_with(tmp_path, monkeypatch):
    for name, value in (("CACHE", tmp_path), ("BUILD", tmp_path)):
        monkeypatch.setattr(image, name, str(value))
    found = tmp_path / "srat.aml"
    images = []
    for contents in (b"one table of ours", b"another one of ours"):
        found.write_bytes(contents)
        images.append(image.cached_iso("", [], kernel="/bin/true", bios_only=True, tables=[str(found)]))
        with open(images[-1], "rb") as file:
            assert contents in file.read()
    assert images[0] != images[1]


def test_qemus_own_nodes_are_the_same():
    assert qemu.numa_options(NODES) == [
        "-object", "memory-backend-ram,id=node0,size=96M", "-numa", "node,nodeid=0,memdev=node0,cpus=0-0",
        "-numa", "node,nodeid=1,cpus=1-2",
        "-object", "memory-backend-ram,id=node2,size=160M", "-numa", "node,nodeid=2,memdev=node2"]


def nodes_case():
    """A case as the decorator makes it, known to nobody else."""
    def two_nodes(_boot):
        """Nothing."""
    boots.case(machines=["tigerlake:2"], nodes=NODES)(two_nodes)
    return boots.CASES.pop("two-nodes")


def test_a_case_has_the_memory_of_its_nodes():
    assert nodes_case().memory == 256


@pytest.mark.parametrize("machine,ours", [("tigerlake:3", True), ("qemu-bios:3", False),
                                          ("qemu-uefi:3", False), ("kvm:3", False)])
def test_grub_gives_tables_where_the_emulator_has_none(monkeypatch, tmp_path, machine, ours):
    asked, made = [], []
    monkeypatch.setattr(boots, "LOGS", str(tmp_path))
    monkeypatch.setattr(image, "cached_iso", lambda *_, **more: asked.append(more["tables"]) or "weir.iso")
    monkeypatch.setattr(nested, "host_image", lambda _files, script, _cmdline: made.append(script) or "host.iso")
    monkeypatch.setattr(boots.Bochs, "start", lambda _: None)
    monkeypatch.setattr(qemu.Qemu, "start", lambda self: made.append(" ".join(self.command("pts"))))
    with boots.Boot(nodes_case(), machine):
        pass
    assert [bool(tables) for tables in asked] == [ours]
    assert [" ".join(qemu.numa_options(NODES)) in line for line in made] == ([] if ours else [True])
