# SPDX-License-Identifier: MIT
"""GRUB menu entries of a person's own, as `make run CONFIG=` takes them."""
import os
import sys

import pytest

from lab import ROOT, image, linux, menuentry
from test_run import machine_for, no_images, run  # noqa: F401

ENTRY = """\
# a comment
menuentry "Weir" {
    set gfxpayload=text
    multiboot2 /boot/weir.elf loglevel=debug when_done=poweroff  # and another
    module2 one/kernel vm=a kernel mem=1G -- root="a b" mem=4M
    module2 two/kernel vm=b kernel vcpus=2
    module2 two/data vm=b module -- 'a # string; of {its} own'
}
"""


@pytest.fixture
def entry(tmp_path, monkeypatch, no_images):  # noqa: F811
    """Has the files that ENTRY names, and gives what make run makes of a text."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kernel").write_text(name)
    (tmp_path / "two/data").touch()
    isos = []
    monkeypatch.setattr(image, "cached_iso", lambda *args: isos.append(args) or "weir.iso")

    def make(text, **wanted):
        (tmp_path / "entry.cfg").write_text(text)
        made = machine_for(**{**dict(config="entry.cfg", accel="bochs", mem=None, guest=None), **wanted})
        return made, *isos[-1]
    return make


def test_a_menu_entry_of_ones_own_is_booted(entry):
    made, words, modules = entry(ENTRY)
    assert words == "loglevel=debug when_done=poweroff"
    assert [(m.path, m.words) for m in modules] == [
        ("one/kernel", 'vm=a kernel mem=1G -- root="a b" mem=4M'), ("two/kernel", "vm=b kernel vcpus=2"),
        ("two/data", "vm=b module -- 'a # string; of {its} own'")]
    assert len({m.target() for m in modules}) == 3, "files of one name"
    assert made.config["memory"] == 1024 + 256 + 256
    assert entry(ENTRY, ram=300)[0].config["memory"] == 300
    with pytest.raises(SystemExit, match="RAM=2049: the machine can have 64 to 2048 MiB here"):
        entry(ENTRY, ram=2049)


def test_tabs_and_small_letters_are_as_good(entry):
    made, _, modules = entry(ENTRY.replace("module2 one/kernel vm=a kernel mem=1G",
                                           "module2\tone/kernel\tvm=a kernel mem=1g"))
    assert (modules[0].path, modules[0].words[:19]) == ("one/kernel", "vm=a kernel mem=1g ")
    assert made.config["memory"] == 1024 + 256 + 256


@pytest.mark.parametrize("old,new,says", [
    ("one/kernel", "one/none", "line 5: there is no file one/none that can be read; paths are this comp"),
    ("one/kernel", "one", "line 5: there is no file one "),
    ("mem=1G", "mem=1G;", "line 5: GRUB takes ';' for its own: put it in quotes"),
    ('"a b"', '"a b', "line 5: a quotation mark has no second one"),
    ("vcpus=2", "vcpus=2 \\", "line 6: ends in a backslash"),
    ("module2 two/data", "module two/data", "line 7: 'module' is none of menuentry, multiboot2 and module2"),
    ("module2 one/kernel", "multiboot2 one/kernel", "line 5: a second multiboot2"),
    ("multiboot2", "# multiboot2", "line 5: module2 before multiboot2"),
    ("}\n", "}\nmenuentry x {\n}\n", "line 9: a second menuentry"),
    (ENTRY, "}\n" + ENTRY.replace("}\n", ""), "the menuentry is not closed"),
    ("}\n", "", "the menuentry is not closed: '}' on a line of its own is missing"),
    (ENTRY, "menuentry x {\n}\n", "no line begins with multiboot2"),
    (ENTRY, "multiboot2 /boot/weir.elf\n", "no line begins with module2: there is no guest"),
    (" when_done=poweroff", "", "HEADLESS=1 needs the word when_done=poweroff"),
    ("when_done", "loglevel=warn when_done", "HEADLESS=1 reads at COM1 that the machine goes off: not with loglevel=warn"),
    ("when_done", "console=none when_done", "HEADLESS=1 reads at COM1 that the machine goes off: not with console=none")])
def test_a_menu_entry_that_is_wrong_is_one_line(entry, old, new, says):
    assert old in ENTRY
    with pytest.raises(SystemExit) as ended:
        entry(ENTRY.replace(old, new))
    assert str(ended.value).startswith(f"CONFIG=entry.cfg: {says}") and "\n" not in str(ended.value)


def test_what_make_run_makes_need_not_be_there_before(entry, tmp_path, monkeypatch):
    """The entry is looked at before anything is built or fetched, and again after that."""
    monkeypatch.setattr(sys, "argv", ["run.py", "--config", "entry.cfg", "--check"])
    text = ENTRY.replace("one/kernel", "build/kernel")
    with pytest.raises(SystemExit, match="line 5: there is no file build/kernel "):
        entry(text)
    monkeypatch.setattr(run, "BUILD", str(tmp_path / "build"))
    run.main()
    monkeypatch.setattr(run, "BUILD", str(tmp_path / "buil"))
    with pytest.raises(SystemExit, match="line 5: there is no file build/kernel "):
        run.main()


def test_what_a_menu_entry_says_is_not_said_twice(entry, tmp_path):
    with pytest.raises(SystemExit, match="^MEM= is for one Linux guest"):
        entry(ENTRY, mem=64)
    with pytest.raises(SystemExit, match="^GUEST= is for one Linux guest"):
        entry(ENTRY, guest="vmlinux")
    with pytest.raises(SystemExit, match="^CONFIG=nowhere: there is no such file"):
        entry(ENTRY, config="nowhere")
    with pytest.raises(SystemExit, match="^CONFIG=.*: there is no such file"):
        entry(ENTRY, config=str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit, match="^CONFIG=binary: it is not text"):
        entry(ENTRY, config="binary")


def test_the_example_of_two_guests_has_the_words_of_make_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(menuentry.os.path, "isfile", lambda _: True)
    monkeypatch.setattr(menuentry.os, "access", lambda *_: True)
    words, modules = menuentry.read("docs/two-guests.cfg")
    assert words == run.WEIR
    folder = os.path.relpath(linux.FOLDER, ROOT)
    assert [(m.path, m.words) for m in modules] == [
        row for name in ("alpha", "beta") for row in (
            (f"{folder}/vmlinux", f"vm={name} kernel mem=256M -- {linux.CMDLINE} quiet weir.name={name}"),
            (os.path.relpath(linux.CACHE, ROOT) + "/initrd", f"vm={name} initrd"))]
