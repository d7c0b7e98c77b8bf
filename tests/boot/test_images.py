# SPDX-License-Identifier: MIT
"""What machines boot and have: kernels and programs out of packages, an initramfs, images, a disk."""
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import sys

import pytest

from lab import ROOT, image, linux, memtest


def bzimage(payload):
    """A setup header with just what the extraction reads (boot protocol 2.08)."""
    head = bytearray(1024)
    head[0x1f1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + b"\x90" * 16 + payload + b"signature"


def tool(*command):
    """A program of the host that compresses its standard input."""
    return lambda data: subprocess.run(command, check=True, input=data, stdout=subprocess.PIPE).stdout


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, tool("zstd", "-qc"),
                                  tool("lz4", "-qlc")])
def test_vmlinux_comes_out_of_a_bzimage(pack):
    elf = b"\x7fELF" + bytes(range(256)) * 50
    packed = pack(elf) + struct.pack("<I", len(elf))
    assert linux.extract_vmlinux(bzimage(packed)) == elf


def test_wrong_kernels_are_refused():
    with pytest.raises(RuntimeError, match="not a bzImage"):
        linux.extract_vmlinux(b"\x7fELF" + bytes(2048))
    with pytest.raises(RuntimeError, match="not known"):
        linux.extract_vmlinux(bzimage(b"????????"))
    with pytest.raises(RuntimeError, match="not an ELF"):
        linux.extract_vmlinux(bzimage(gzip.compress(b"text") + b"\4\0\0\0"))


def test_modules_are_read_however_they_are_packaged(tmp_path):
    (tmp_path / "a.ko").write_bytes(b"plain")
    (tmp_path / "b.ko.xz").write_bytes(lzma.compress(b"packed"))
    assert linux.read_module(tmp_path / "a.ko") == b"plain"
    assert linux.read_module(tmp_path / "b.ko") == b"packed"


FAKE_APT = """#!/bin/sh
echo "$@" >>{folder}/asked
case "$1" in
update) rm {folder}/half 2>/dev/null || rm -f {folder}/stale ;;
download)
	if [ -e {folder}/stale ] || [ -e {folder}/gone ]; then
		echo "W: something else" >&2
		echo "E: Failed to fetch http://deb/$3.deb  404  Not Found" >&2
		exit 100
	fi
	cp {folder}/some.deb . ;;
esac
"""


@pytest.fixture(params=[0, 1000])
def apt(request, monkeypatch, tmp_path):
    """An apt-get, for root and by sudo: with a file `stale` its lists are old, with `half` as well
    the first update does not get them all, with `gone` nothing helps."""
    tree = tmp_path / "some"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "boot").mkdir()
    (tree / "boot/memtest86+x64.bin").write_bytes(b"memtest")
    (tree / "DEBIAN/control").write_text(
        "Package: some\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n")
    subprocess.run(["dpkg-deb", "--build", str(tree), str(tmp_path / "some.deb")], check=True,
                   stdout=subprocess.DEVNULL)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("apt-get", FAKE_APT.format(folder=tmp_path)),
                       ("sudo", "#!/bin/sh\n[ \"$1\" = -n ] && shift && exec \"$@\"\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(os, "getuid", lambda: request.param)
    monkeypatch.setattr(linux, "PAUSES", [0 for _ in linux.PAUSES])
    monkeypatch.setattr(memtest, "FOLDER", str(tmp_path / "cache/memtest"))
    return tmp_path


def test_old_lists_of_apts_are_fetched_anew_once(apt):
    (apt / "stale").touch()
    with open(memtest.program(), "rb") as file:
        assert file.read() == b"memtest"
    assert (apt / "asked").read_text().splitlines() == [
        "download -qq memtest86+", "update -qq", "download -qq memtest86+"]


def test_half_of_the_lists_is_not_the_end(apt):
    (apt / "stale").touch()
    (apt / "half").touch()
    memtest.program()
    assert (apt / "asked").read_text().splitlines() == ["download -qq memtest86+", "update -qq"] * 2 + [
        "download -qq memtest86+"]


def test_what_apt_cannot_fetch_is_said_in_its_words(apt, monkeypatch):
    (apt / "gone").touch()
    with pytest.raises(linux.NotFetched) as error:
        memtest.program()
    assert str(error.value) == ("apt-get download memtest86+ failed: "
                                "E: Failed to fetch http://deb/memtest86+.deb  404  Not Found")
    assert len((apt / "asked").read_text().splitlines()) == 5
    assert os.listdir(apt / "cache") == []
    monkeypatch.setattr(linux, "kernel", memtest.program)
    with pytest.raises(SystemExit, match="^guest: apt-get download .* Not Found$"):
        linux.main()


def test_initramfs_is_what_cpio_reads(tmp_path):
    archive = gzip.decompress(linux.initramfs_bytes(b"#busybox", b"#!/bin/sh\n"))
    listing = subprocess.run(["busybox", "cpio", "-tv"], input=archive, check=True,
                             stdout=subprocess.PIPE).stdout.decode()
    assert "dev/console" in listing and "bin/busybox" in listing
    subprocess.run(["busybox", "cpio", "-id", "init", "bin/sh"], input=archive, check=True,
                   cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert (tmp_path / "init").read_text() == "#!/bin/sh\n"
    assert os.readlink(tmp_path / "bin/sh") == "busybox"


def test_grub_config_has_every_module():
    text = image.grub_config("loglevel=info", [image.Module("/x/vmlinuz", "vm=a kernel -- b c"),
                                               image.Module("/x/initrd", "vm=a initrd")])
    assert "multiboot2 /boot/weir.elf loglevel=info\n" in text
    assert "module2 /guests/vmlinuz vm=a kernel -- b c\n" in text
    assert "module2 /guests/initrd vm=a initrd\n" in text


@pytest.mark.parametrize("protocol", ["multiboot2", "multiboot"])
def test_the_screens_mode_is_set_where_grub_looks_at_it(protocol):
    """After `multiboot2`, which sets it too, and whatever is there for a BIOS; before `boot`."""
    lines = image.grub_config("", [image.Module("/x/a", "vm=a kernel")], protocol=protocol,
                              gfxpayload="800x600").splitlines()
    loader = [i for i, line in enumerate(lines) if line.startswith(f"\t{protocol} ")]
    modes = [i for i, line in enumerate(lines) if "gfxpayload=" in line]
    assert len(loader) == 1 and min(modes) > loader[0], "multiboot2 takes it back"
    assert lines[modes[-1]] == "\tset gfxpayload=800x600" and lines.index("\tboot") == modes[-1] + 1


def test_old_images_go_beside_another_cleaner(tmp_path, monkeypatch):
    for i in range(image.KEPT_IMAGES + 2):
        (tmp_path / f"{i}.iso").touch()
        os.utime(tmp_path / f"{i}.iso", (i, i))
    there = os.listdir(tmp_path)
    monkeypatch.setattr(os, "listdir", lambda _: there + ["gone.iso"])
    image.drop_old(str(tmp_path), ".iso", image.KEPT_IMAGES)
    monkeypatch.undo()
    assert sorted(there)[0] == "0.iso" and not {"0.iso", "1.iso"} & set(os.listdir(tmp_path))
    assert len(os.listdir(tmp_path)) == image.KEPT_IMAGES


def test_stripped_kernels_that_were_not_used_go(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "CACHE", str(tmp_path))
    monkeypatch.setattr(image, "KEPT_KERNELS", 2)
    kernels = []
    for i in range(3):
        kernels.append(tmp_path / f"kernel{i}")
        shutil.copy("/bin/true", kernels[-1])
        made = image.stripped(str(kernels[-1]))
        if i < 2:  # long ago; the first alone is used again
            os.utime(made, (i + 1, i + 1))
            os.utime(kernels[-1], (1, 1))
        if i == 1:
            first = image.stripped(str(kernels[0]))
            assert os.path.getmtime(first) == 1, "whether it is older than its kernel cannot be seen"
    there = {name.split(".")[0] for name in os.listdir(tmp_path) if name.endswith(".stripped")}
    assert there == {"kernel0", "kernel2"}


@pytest.mark.parametrize("words,says", [
    (["--device", "/dev/nonesuch"], "/dev/nonesuch: No such file or directory"),
    (["--device", "/dev/null"], "/dev/null is not a block device"),
    (["/nonesuch/swap.img"], "/nonesuch/swap.img: No such file or directory")])
def test_a_swap_disk_that_cannot_be_signed_is_one_line(words, says):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/tools/swap_image.py"), *words],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, f"swap_image.py: {says}\n")
