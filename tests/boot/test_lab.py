# SPDX-License-Identifier: MIT
"""The harness itself: consoles that are waited for, which cases run where, what is counted."""
import argparse
import contextlib
import os
import re
import subprocess
import sys
import threading
import time

import pytest

import boots
import cases
import test_boot
from lab import ROOT, bochs, console

sys.path.append(os.path.join(ROOT, "tests/tools"))
import run_hosted  # noqa: E402


def soon():
    return time.monotonic() + 20


@pytest.fixture
def pipe(tmp_path):
    """A console that reads what is written to a file descriptor."""
    ours, theirs = os.pipe()
    return console.Console(ours, str(tmp_path / "out")), theirs


def test_wait_sees_split_lines_and_keeps_its_deadline(pipe, tmp_path):
    line, theirs = pipe
    timer = threading.Timer(0.1, lambda: os.write(theirs, b"dy\nnext"))
    os.write(theirs, b"rea")
    timer.start()
    assert line.wait("^ready$", soon()).group(0) == "ready"
    before = time.monotonic()
    with pytest.raises(console.Ended, match="deadline"):
        line.wait("never", before + 0.3)
    assert 0.2 < time.monotonic() - before < 5
    os.close(theirs)
    with pytest.raises(console.Ended, match="ended before"):
        line.wait("never", soon())
    line.close()
    assert (tmp_path / "out").read_text() == "ready\nnext"


@pytest.mark.parametrize("first, rest, pattern, whole", [
    (b"stat 89", b"43 pages\n", r"stat (\d+)", "8943"),
    (b"at 0x1de00000-0x1e02b", b"000\n", r"at 0x[0-9a-f]+-0x([0-9a-f]+)", "1e02b000"),
    (b"mitigations off: L1D ", b"flush\n", "off: (.*)", "L1D flush"),
    (b"guest is al", b"pha now\n", r"guest is (\w+)", "alpha"),
])
def test_wait_takes_no_part_of_what_still_comes(pipe, first, rest, pattern, whole):
    line, theirs = pipe
    os.write(theirs, first)
    timer = threading.Timer(0.1, lambda: os.write(theirs, rest))
    timer.start()
    assert line.wait(pattern, soon()).group(1) == whole
    os.write(theirs, b"last 7")
    line.wait("last", soon())
    assert line.wait(r"last (\d+)", time.monotonic() + 0.2).group(1) == "7", "nor lets it go by"
    os.close(theirs)
    assert line.wait(r"last (\d+)", soon()).group(1) == "7"
    line.close()


@pytest.mark.parametrize("said, pattern", [
    (b"weir> ", "^weir> "),
    (b"vm r: reset\nvm r: reset\n", r"(?s)(vm r: reset.*){2}"),
])
def test_wait_takes_at_once_what_has_no_end_to_come(pipe, said, pattern):
    line, theirs = pipe
    os.write(theirs, said)
    deadline = soon()
    line.wait(pattern, deadline)
    assert time.monotonic() < deadline
    os.close(theirs)
    line.close()


def test_a_disk_that_stands_still_holds_no_text_back(tmp_path):
    """Its file is a FIFO, which somebody opens for reading only then."""
    os.mkfifo(tmp_path / "out")
    ours, theirs = os.pipe()
    line = console.Console(ours, str(tmp_path / "out"))
    for word in ("first", "second", "third"):
        os.write(theirs, word.encode())
        line.wait(word, soon())
    os.close(theirs)
    with open(tmp_path / "out") as file:
        line.close()
        assert file.read() == "firstsecondthird"


def test_who_listens_late_hears_all(pipe):
    line, theirs = pipe
    os.write(theirs, b"first ")
    line.wait("first ", soon())
    heard = []
    line.listen(heard.append)
    assert heard == [b"first "]
    os.write(theirs, b"second ")
    line.wait("second ", soon())
    assert heard == [b"first ", b"second "]
    os.close(theirs)
    line.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_fails_keeps_nobody_from_closing(pipe):
    line, theirs = pipe
    line.listen(lambda data: os.write(-1, data) if data else None)
    os.write(theirs, b"word")
    ended = threading.Thread(target=line.close, daemon=True)
    ended.start()
    ended.join(20)
    assert not ended.is_alive()
    os.close(theirs)


def test_wait_lets_a_fatal_line_come_whole(pipe):
    line, theirs = pipe
    os.write(theirs, b"halted: e")
    timer = threading.Timer(0.1, lambda: os.write(theirs, b"xception 18\n"))
    timer.start()
    assert line.wait("exception (18)", soon(), fatal="halted: .*").group(1) == "18"
    with pytest.raises(console.Ended, match="halted: exception 18, before"):
        line.wait("never", soon(), fatal="halted: .*")
    os.close(theirs)
    line.close()


def test_an_assert_of_a_case_says_what_it_compared():
    """pytest writes those anew that conftest.py names; of others it only says that they failed."""
    assert any(name.startswith("@py_assert") for name in cases.check_small_guest.__code__.co_varnames)


REPORT = """\
[ RUN      ] good
[       OK ] good
[ RUN      ] bad
[  FAILED  ] bad
[ RUN      ] unwanted
[  SKIPPED ] unwanted
[  PASSED  ] 1 test(s).
[  SKIPPED ] {group}1 test(s), listed below:
[  SKIPPED ] unwanted

 1 SKIPPED TEST(S)
[  FAILED  ] {group}1 test(s), listed below:
[  FAILED  ] bad
"""


@pytest.mark.parametrize("group", ["", "tests: "])  # cmocka 1.1.5 and 1.1.7
def test_a_report_of_cmocka_is_counted(group):
    assert run_hosted.count(REPORT.format(group=group), 1) == (1, 1, 1)
    assert run_hosted.count("[ RUN      ] crashes\n", -6) == (0, 1, 0)
    assert run_hosted.count("[ RUN      ] good\n[       OK ] good\n", 0) == (1, 0, 0)


def test_cpus_choose_models_and_keep_counts():
    selftest = boots.CASES["selftest"]
    assert boots.machines_of(selftest, False, ["broadwell_ult"]) == [
        f"broadwell_ult:{n}" for n in (1, 2, 4, 8)]
    assert boots.machines_of(selftest, False, ["qemu-bios"]) == ["qemu-bios:4"]
    assert boots.machines_of(selftest, False, ["qemu-bios:4"]) == ["qemu-bios:4"]
    assert boots.machines_of(selftest, False, ["broadwell_ult:3"]) == ["broadwell_ult:3"]
    no_vmx = boots.CASES["no-vmx"]
    assert boots.machines_of(no_vmx, False, ["tigerlake"]) == []


@pytest.mark.parametrize("machine", ["corei7_sandy_bridge_2600k", "corei7_sandy_bridge_2600k:1"])
@pytest.mark.parametrize("writes,fails", [("guest: the CPU writes to a protected directory", False), ("", True)])
def test_a_case_knows_its_model_without_the_count_of_cpus(monkeypatch, machine, writes, fails):
    """As CPUS=MODEL:1 calls the machine of a row that names the model alone."""
    monkeypatch.setattr(cases, "check_small_guest", lambda *_: None)
    boot = boots.Boot(boots.CASES["hypercalls"], machine)
    boot.text, boot.ends = lambda: writes, lambda: None
    assert (boot.model, boot.cpus) == ("corei7_sandy_bridge_2600k", 1)
    with pytest.raises(AssertionError) if fails else contextlib.nullcontext():
        boot.case.function(boot)


@pytest.mark.parametrize("name", ["linux-pair", "linux-pair-swap"])
def test_make_test_runs_both_of_the_dense_linux_cases(name):
    assert boots.machines_of(boots.CASES[name], False, []) == ["tigerlake"]


def test_cases_of_test_full_run_when_they_are_named():
    crowd = boots.CASES["linux-crowd"]
    assert boots.machines_of(crowd, False, []) == []
    assert boots.machines_of(crowd, False, [], named=True) == crowd.full


@pytest.mark.parametrize("words", (["--cases", "smoke", "--cpus", "kvm"],
                                   ["--cases", "linux-pair", "--cpus", "qemu-bios"],
                                   ["--cases", "smoke", "--cpus", "nonesuch"]))
def test_a_choice_of_nothing_is_an_error(words):
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:terminal",
                           os.path.join(ROOT, "tests/boot/test_boot.py"), *words],
                          stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 2 and re.search(r"^(CASES|CPUS)\b.*: ", done.stdout, re.M)


def test_what_a_newer_bochs_does_wrong_is_skipped_and_said(monkeypatch):
    case = boots.CASES["linux-shell-full"]
    monkeypatch.setattr(bochs, "installed", lambda: ("2.7", ["tigerlake"]))
    assert case.skip() is None
    monkeypatch.setattr(bochs, "installed", lambda: ("3.0", ["tigerlake"]))
    option = argparse.Namespace(full=True, cases="linux-shell-full", cpus="")
    request = argparse.Namespace(config=argparse.Namespace(option=option))
    monkeypatch.setattr(test_boot, "Boot", None)
    with pytest.raises(pytest.skip.Exception, match="Bochs 3.0 .* Linux stands still"):
        test_boot.test_boot(case, "tigerlake", None, request)
