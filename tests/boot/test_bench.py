# SPDX-License-Identifier: MIT
"""The benchmarks' own tests: what is compared, what fails them, and what they say."""
import contextlib
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import types

import pytest

from lab import ROOT, image, machine


def program(monkeypatch, name):
    """tests/bench/NAME.py, loaded anew."""
    monkeypatch.syspath_prepend(os.path.join(ROOT, "tests/bench"))
    monkeypatch.delitem(sys.modules, "run", raising=False)  # that of tests/tools is another
    path = os.path.join(ROOT, f"tests/bench/{name}.py")
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def rows_of(operations, cost=100, **others):
    costs = {row.name: others.get(row.name.replace("-", "_"), cost) for row in operations}
    return {name: dict.fromkeys(("median", "min", "max"), value) | {"count": 1}
            for name, value in costs.items()}


def said(rows):
    return "".join(f"bench: {name} {row['median']} 1 1 1\r\n" for name, row in rows.items())


@pytest.fixture
def kvm(monkeypatch, tmp_path):
    """tests/bench/kvm.py with figures in the machines' place: what to change is what differs from 100
    instructions for all. Its main() gives what it said."""
    bench = program(monkeypatch, "kvm")

    def main(guest=(), huge=100, boot=(100, 100), ept=(), shadow=(), aged=100,
             shells=2):
        ops = bench.operations
        forks = "weir-guest: alpha: 100 forks in 10000 ns, TSC 1000.0 MHz\r\n"
        booted = "weir-guest: shell ready\r\n"
        one = said(rows_of(ops.GUEST))
        paging = said(rows_of(row for row in ops.PAGING if row.name != "linux-fork"))
        text = ("host: Linux 6.1\r\nhost: QEMU 7.2\r\nhost: kvm_intel nested=1\r\n"
                "host: so that enable_apicv=N preemption_timer=N \r\nhost: TSC 1000.0 MHz\r\n"
                f"host: thp never\r\n{one}host: thp always\r\n{one}host: boot\r\n{booted * shells}"
                f"host: booted 100\r\nhost: entry 0 100\r\nhost: paging Y\r\n{paging}{forks}host: paging N\r\n{paging}{forks}"
                "host: end\r\n")
        weir = {"EPT": rows_of(ops.PAGING, **dict(ept)), "shadow": rows_of(ops.PAGING, **dict(shadow))}

        def host():
            monkeypatch.setenv("GIT_DIR", os.devnull)  # who asks git from now on is too late
            return text
        monkeypatch.setattr(bench, "host", host)
        monkeypatch.setattr(bench, "weir_huge", lambda: {"first-touch-mean": huge})
        monkeypatch.setattr(bench.linux, "kernel", lambda: ("vmlinuz", "vmlinux"))
        monkeypatch.setattr(bench.run, "guest", lambda build: rows_of(ops.GUEST, **dict(guest)))
        monkeypatch.setattr(bench.run, "paging", lambda mode, ips: weir[mode])
        monkeypatch.setattr(bench.run, "boot_one", lambda *_: [{"median": n} for n in boot])
        monkeypatch.setattr(bench.run, "FOLDER", str(tmp_path))
        monkeypatch.setattr(bench.kvm_aged, "run", lambda *_: [("aged", 100, aged)])
        monkeypatch.setattr(sys, "argv", ["kvm.py", "--no-docs"])
        monkeypatch.setattr(bench, "KNOWN", {"shadow linux-fork": (1.05, "it is known")})
        bench.main()
    main.bench, main.known = bench, bench.KNOWN
    return main


def test_bench_kvm_is_well_where_nothing_is_slower(kvm, capsys):
    kvm()
    assert "slower" not in capsys.readouterr().out


@pytest.mark.parametrize("worse,says", [
    ({"guest": {"vmcall": 101}}, "slower than KVM: VMCALL with an unknown number, 101 and not 100"),
    ({"huge": 101}, "slower than KVM: the same, the mean of all"),
    ({"boot": (100, 101)}, "slower than KVM: Debian's kernel by PVH, 256 MiB: to its shell"),
    ({"aged": 101}, "slower than KVM: aged, 101 and not 100"),
    ({"ept": {"linux_fork": 101}}, "slower than KVM: EPT linux-fork, 101 and not 100"),
    ({"shadow": {"invlpg": 101}}, "slower than KVM: shadow invlpg, 101 and not 100"),
    ({"shadow": {"linux_fork": 106}}, "slower than KVM: shadow linux-fork, 106 and not 100; known was at"),
    ({"guest": {"cpuid_features": 201}}, "guest: cpuid-features is over its aim of 200 instructions")])
def test_bench_kvm_fails_where_weir_is_slower(kvm, capsys, worse, says):
    """Also in what KVM has no figure for, and its own aim is missed."""
    with pytest.raises(SystemExit) as ended:
        kvm(**worse)
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert out.count("slower than") + out.count("over its aim") == 1 and says in out


def test_bench_kvm_says_what_was_known(kvm, capsys):
    kvm(shadow={"linux_fork": 105})
    assert "linux-fork, 105 and not 100; known: it is known" in capsys.readouterr().out
    names = {f"{mode} {row.name}" for mode in ("EPT", "shadow") for row in kvm.bench.operations.PAGING}
    names |= {row.about for row in kvm.bench.operations.GUEST}
    assert all(why for _, why in kvm.known.values()) and set(kvm.known) <= names


@pytest.mark.parametrize("refused", [False, True])
def test_bench_kvm_says_what_it_measured(kvm, capsys, monkeypatch, refused):
    """Where git says nothing, as in an archive, there are figures all the same."""
    monkeypatch.setattr(kvm.bench.bochs, "installed", lambda: ("2.7", []))
    tree = "unknown"
    if refused:
        monkeypatch.setenv("GIT_DIR", os.devnull)
    elif shutil.which("git"):
        tree = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip() or tree
    kvm()
    about = capsys.readouterr().out.splitlines()[0]
    assert "kvm_intel with nested=1 and else its defaults" in about
    assert "enable_apicv=N preemption_timer=N." in about
    assert f"Weir: {tree}," in about and "Bochs 2.7," in about


@pytest.mark.parametrize("shells", [0, 1])
def test_bench_kvm_takes_no_crash_for_a_boot(kvm, shells):
    """A Linux that dies early is over sooner than one that came to its shell."""
    with pytest.raises(SystemExit, match=f"^bench kvm: {shells} of 2 Linux guests came to their shell; see "):
        kvm(shells=shells)


@pytest.mark.parametrize("said,missing", [
    ("weir-guest: shell ready\r\n[ 9.0] cpu0 info: vm alpha: powered off after 9 s\r\n", None),
    ("[ 9.0] cpu0 error: vm alpha: triple fault\r\n", "0 of 1 Linux guests came to their shell"),
    ("weir-guest: shell ready\r\n[ 9.0] cpu0 error: vm alpha: triple fault\r\n", "the guest did not power off")])
def test_a_boot_that_is_measured_came_to_its_shell(monkeypatch, tmp_path, said, missing):
    bench = program(monkeypatch, "run")
    (tmp_path / "emulator.txt").write_text("ptime: 100\nptime: 150\nptime: 300\n")
    there = types.SimpleNamespace(console=types.SimpleNamespace(text=said), folder=str(tmp_path),
                                  path=lambda name: str(tmp_path / name))
    monkeypatch.setattr(bench, "run_bochs", lambda *_: there)
    monkeypatch.setattr(bench, "symbol", lambda *_: bench.IMAGE_BASE)
    monkeypatch.setattr(bench, "vmlaunch", lambda *_: 0)
    monkeypatch.setattr(bench.linux, "initramfs", lambda: "initrd")
    if missing:
        with pytest.raises(SystemExit, match=f"^bench pvh: {missing}; see {tmp_path}/console.txt$"):
            bench.boot_one("pvh", "release", "vmlinux")
    else:
        assert [row["median"] for row in bench.boot_one("pvh", "release", "vmlinux")] == [50, 200]


def aged(how, eptad, asked, touch=100, more=""):
    return (f"host: aged by {how}, eptad {eptad}\r\nbench: to be aged\r\nhost: asked KVM {asked} times\r\n{more}"
            f"bench: touch-aged {touch} 1 1 10000\r\nbench: touch-aged-mean {touch} 1 1 10000\r\n")


def test_bench_kvm_knows_whether_pages_were_aged(kvm):
    """By how many KVM was asked for, and whether that was before the guest went on."""
    figures = kvm.bench.kvm_aged.figures
    good = [aged("clear_refs", "Y", 0), aged("reclaim", "Y", 10260), aged("clear_refs", "N", 0, 200),
            aged("reclaim", "N", 10260, 300)]
    assert figures("".join(good) + "host: end")["reclaim", "N"] == (300, 300, 10260)
    for bad in (aged("reclaim", "N", 9999), aged("reclaim", "N", 10260, more="host: FAIL too late\r\n"),
                aged("reclaim", "Y", 10260), ""):
        with pytest.raises(SystemExit):
            figures("".join(good[:3]) + bad + "host: end")


@pytest.mark.parametrize("said,seconds", [
    ("host: at 1 s: no guest\r\nhost: fit after 12 s\r\n", 12), ("host: do not fit: out of memory\r\n", None)])
def test_bench_kvm_knows_whether_guests_fit(kvm, said, seconds):
    outcome = kvm.bench.kvm_fit.outcome
    assert outcome(said) == seconds
    for bad in ("", "host: no swap\r\n" + said if not seconds else "", "host: do not fit: a wrong word\r\n"):
        with pytest.raises(SystemExit):
            outcome(bad)


@pytest.mark.parametrize("fits,tried", [
    (10, [10, 11]), (11, [10, 11, 12]), (8, [10, 9, 8]), (16, [*range(10, 17)]), (0, [*range(10, 0, -1)])])
def test_bench_kvm_looks_for_the_most_guests(kvm, monkeypatch, tmp_path, fits, tried):
    bench, asked = kvm.bench.kvm_fit, []

    def measure(folder, ram, mix, swap, n, _):
        asked.append(n)
        seconds = 9 if n <= fits else None
        bench.keep(folder, f"{ram} {mix} {swap}", n, seconds)
        return seconds

    monkeypatch.setattr(bench, "measure", measure)
    bench.search(str(tmp_path), 512, "5.4:1", "zram", 96)
    assert asked == tried
    row = ["512 MiB", "5.4:1", "zram", str(fits), "9 s" if fits else "", str(fits + 1) if fits < 16 else ""]
    assert bench.table(bench.kept(str(tmp_path)))[1:] == [row]


def test_a_kernel_is_trimmed_by_its_last_zeros_alone(kvm):
    """What is loaded of it stays the same: zeros within, and those of other segments, too."""
    def segment(kind, at, size):
        return struct.pack("<IIQQQQQQ", kind, 5, at, 0, 0, size, size, 1)

    contents = b"one" + bytes(5) + b"two" + bytes(2) + b"three" + bytes(20) + b"sections"
    table = segment(1, 232 + 8, 30) + segment(1, 232, 8) + segment(4, 232, 3)
    elf = b"\x7fELF" + bytes(28) + struct.pack("<QQIHHHHHH", 64, 270, 0, 64, 56, 3, 64, 9, 8) + table + contents
    made = kvm.bench.kvm_fit.trimmed(elf)
    assert made[232:] == contents[:18]
    assert struct.unpack_from("<QQ", made, 64 + 32) == (10, 30)
    assert made[120:232] == elf[120:232] and made[40:48] == bytes(8) and made[60:64] == bytes(4)


@pytest.mark.parametrize("swap", ["zram", "zswap"])
def test_what_the_host_of_kvm_runs_is_a_script(kvm, swap):
    """As the shell reads it, no escape having become a character on the way."""
    script = kvm.bench.kvm_fit.script_of(["zram"], 512, "5.4:1", swap, 10, 96)
    assert not set(script) - set("\t\n" + "".join(map(chr, range(32, 127))))
    subprocess.run(["busybox", "sh", "-n"], input=script.encode(), check=True)


def test_whoever_loads_kvm_intel_does_so_with_the_same_words(kvm):
    """Without posted interrupts above all, which Bochs 3.0 refuses of KVM."""
    with open(os.path.join(ROOT, "tests/nested/init.sh")) as file:
        init = file.read()
    loads = re.findall(r"insmod \S*kvm-intel\.ko.*", init + kvm.bench.SCRIPT + kvm.bench.kvm_aged.SCRIPT)
    assert len(loads) == 3 and all(" $KVM_INTEL" in line for line in loads), loads
    assert re.search(r'^export KVM_INTEL=".*\benable_apicv=0\b.*"$', init, re.M)


@pytest.mark.parametrize("costs,sentence", [
    ((100, 900), "All rows are within their aims."), ((101, 900), "Over their aims: one thing."),
    ((101, 201), "Over their aims: one thing; another.")])
def test_the_page_says_which_aims_are_missed(monkeypatch, tmp_path, costs, sentence):
    bench = program(monkeypatch, "run")
    row = bench.operations.Operation
    rows = [row("one", "one thing", aim=100), row("two", "another", aim=200 if costs[1] == 201 else None)]
    counts = {name: dict.fromkeys(("median", "min", "max"), cost) | {"count": 1}
              for name, cost in zip(("one", "two"), costs)}
    page = tmp_path / "page"
    page.write_text("before\n<!-- bench things begins -->\nAll was well.\n<!-- bench things ends -->\nafter\n")
    monkeypatch.setattr(bench.report, "PAGE", str(page))
    monkeypatch.setattr(bench, "GROUPS", {"things": (lambda build: counts, rows)})
    monkeypatch.setattr(bench, "FOLDER", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["run.py", "things"])
    with contextlib.suppress(SystemExit):
        bench.main()
    lines = page.read_text().splitlines()
    assert lines[-4:] == ["", sentence, "<!-- bench things ends -->", "after"]
    assert "All was well." not in lines


@pytest.fixture
def fit(monkeypatch, tmp_path):
    """tests/bench/fit.py with a page, a plot and figures of its own; each row measured is 2 guests."""
    bench = program(monkeypatch, "fit")
    found = {"reclaim.kaged": 1, "vm.a.cpu.run": 3, "frames.total": 9, "memory.room": 5, "memory.min": 3,
             "used_for.pool": 1, "pool.objects": 5, "pool.frames": 1, "share.table": 1024}
    (tmp_path / "page").write_text("".join(f"<!-- bench {name} begins -->\nold\n<!-- bench {name} ends -->\n"
                                           for name in ("fit", "idle")))
    (tmp_path / "plot").write_text("old")
    monkeypatch.setattr(bench.report, "PAGE", str(tmp_path / "page"))
    monkeypatch.setattr(bench, "PLOT", str(tmp_path / "plot"))
    monkeypatch.setattr(bench, "search", lambda *_: (2, found))
    monkeypatch.setattr(bench, "idle", lambda folder, kernel, ram, n: [str(n), f"{ram} MiB", "1:1", "0.50"])
    return types.SimpleNamespace(bench=bench, folder=str(tmp_path), plot=(tmp_path / "plot").read_text,
                                 page=(tmp_path / "page").read_text)


def test_bench_fit_draws_no_plot_by_halves(fit):
    fit.bench.run_idle(fit.folder, "weir.elf", True)
    assert fit.plot() == "old" and "| 8 | 256 MiB |" in fit.page()
    with pytest.raises(SystemExit, match="nothing was measured here before"):
        fit.bench.run(fit.folder, "weir.elf", [], True)
    assert "fit begins -->\nold\n" in fit.page()
    fit.bench.run(fit.folder, "weir.elf", [(512, "5.4:1")], True)
    assert "512 MiB, 5.4:1" in fit.plot() and "8 idle in 256 MiB" in fit.plot()
    os.remove(os.path.join(fit.folder, "idle.json"))
    fit.bench.run(fit.folder, "weir.elf", [(128, "5.4:1")], True)
    assert "128 MiB, 5.4:1" not in fit.plot() and "| 128 MiB | 5.4:1 |" in fit.page()


class Panicked(machine.Machine):
    """It says so, and runs on."""
    says = "[ 1.000000] cpu0 info: a word before\r\n[ 1.000001] cpu0 error: halted: a panic\r\n"

    def __init__(self, folder, *_, **__):
        super().__init__(folder)

    def command(self, serial):
        return ["/bin/sh", "-c", f"printf '{self.says}' >$0; exec sleep 1000", serial]


class HostPanicked(Panicked):
    says = "a word before\r\n[ 5.000000] Kernel panic - not syncing: a panic\r\n"
    main_console = property(lambda self: self.host)

    def command(self, serial):
        self.host, terminal = self.serial_line("host.txt")
        return super().command(terminal)


@pytest.fixture
def panicked(monkeypatch, tmp_path):
    """A program of tests/bench whose machines panic at once, and have half a minute."""
    def load(name):
        bench = program(monkeypatch, name)
        monkeypatch.setattr(bench, "DEADLINE", 30)
        if hasattr(bench, "Bochs"):
            monkeypatch.setattr(bench, "Bochs", Panicked)
        monkeypatch.setattr(bench, "FOLDER", str(tmp_path), raising=False)
        monkeypatch.setattr(image, "cached_iso", lambda *_, **__: "weir.iso")
        return bench
    return load


def ends_at_once(folder, call, *words):
    """With one line that says what became of it and where, and what its console said."""
    with pytest.raises(SystemExit) as ended:
        call(*words)
    first, *tail = ended.value.code.splitlines()
    assert first.startswith("bench: ") and "a panic" in first, first
    assert first.endswith(f"; see {folder}"), first
    assert "a word before" in tail[0] and len(tail) == 2


def test_a_panic_ends_a_benchmark_at_once(panicked, tmp_path):
    ends_at_once(tmp_path / "one-debug", panicked("run").run_bochs, "one", "debug", "", [])


class CutShort(Panicked):
    """It is off before its last line is out."""

    def command(self, serial):
        return ["/bin/sh", "-c", "printf '[ 1.0] cpu0 info: powering of' >$0; sleep 1", serial]


def test_a_machine_that_is_off_may_have_cut_its_last_line(panicked, monkeypatch):
    bench = panicked("run")
    monkeypatch.setattr(bench, "Bochs", CutShort)
    assert bench.run_bochs("one", "debug", "", []).console.text.endswith("powering of")


def test_a_panic_ends_what_counts_memory_at_once(panicked, tmp_path):
    folder = str(tmp_path / "memory")
    ends_at_once(folder, panicked("footprint").count, folder, "weir.elf", [])


def test_a_panic_ends_the_search_for_what_fits_at_once(panicked, tmp_path):
    fit, folder = panicked("fit"), str(tmp_path / "fit")
    ends_at_once(folder, fit.measure, folder, "weir.elf", 128, 1, 4)
    ends_at_once(folder + "-idle-512-0", fit.idle, folder, "weir.elf", 512, 0)


class Said:
    """A machine that has said all it will, but for what comes when its guests go on."""

    def __init__(self, before, after):
        self.console = types.SimpleNamespace(text=before)
        self.after = after
        self.path = lambda name: name

    def wait_line(self, pattern, _, start=0):
        found = re.compile(pattern, re.M).search(self.console.text, start)
        assert found, f"it would wait for {pattern} for ever"
        return found


@pytest.fixture
def asked(monkeypatch):
    """What fit.py's ask() finds of two guests that say so: None, or what is counted."""
    fit = program(monkeypatch, "fit")

    def ask(before, after, as_kvm=False, answer="is paused"):
        machine = Said("\n".join(before) + "\n", "\n".join(after) + "\n")

        class Typist:
            def __init__(self, boot):
                pass

            def enter(self):
                pass

            def ask(self, command):
                return ", up 10.5 s" if command.startswith("vm show") else answer

            def says(self, *_):
                pass

            def send(self, _):
                machine.console.text += machine.after

        monkeypatch.setattr(fit, "Operator", Typist)
        monkeypatch.setattr(fit.footprint, "counters", lambda *_: {"frames.total": 7})
        try:
            return fit.ask(machine, 2, as_kvm)
        except fit.Full:
            return None
    ask.fit = fit
    return ask


def filled(i):
    return f"dense{i}| density: filled"


def read_once(i):
    return f"dense{i}| density: read once more"


def left(i, code=0):
    return f"[ 9.0] cpu0 info: vm dense{i}: debug exit code {code}"


ALL_READ = [filled(0), filled(1), read_once(1), read_once(0)]


@pytest.mark.parametrize("before,after,fit", [
    (ALL_READ, [read_once(0), left(0), read_once(1), left(1)], True),
    ([filled(0), read_once(0), filled(1), read_once(1)], [read_once(0), left(0), left(1)], True),
    # The first had ended, or was about to, before the last had filled.
    ([filled(0), left(0), *ALL_READ[1:]], [left(1)], False),
    ([filled(0), left(0), filled(1), read_once(1)], [left(1)], False),
    ([filled(0), filled(1), read_once(1), left(1), read_once(0)], [left(0)], False),
    ([filled(0), read_once(0), read_once(0), filled(1), read_once(1)], [left(0), left(1)], False),
    # One was refused, or paused, or found another word than it had written.
    (["vm dense1: not started: no memory", *ALL_READ], [left(0), left(1)], False),
    (ALL_READ, ["vm dense0: paused for memory, being furthest", left(0), left(1)], False),
    (ALL_READ, [left(0), left(1, 1)], False)])
def test_guests_fit_that_end_after_all_were_there(asked, before, after, fit):
    assert (asked(before, after) is not None) == fit


def test_guests_that_fit_are_counted_while_they_are_there(asked):
    assert asked(ALL_READ, [left(0), left(1)], answer="vm dense0 does not run") is None
    with pytest.raises(SystemExit, match="damaged"):
        asked(ALL_READ[:2] + ["dense1| density: wrong word in page 3"], [])


@pytest.mark.parametrize("more,fit", [([], None), ([1], None), ([0, 1], True), ([1, 0], True)])
def test_fit_asks_also_as_of_kvm(asked, more, fit):
    """Each reads all once more after the last has filled, and is in the midst of a reading then."""
    said = [filled(0), read_once(0), filled(1), read_once(0), read_once(1), *map(read_once, more)]
    with contextlib.nullcontext() if fit else pytest.raises(AssertionError, match="for ever"):
        assert asked(said, [], as_kvm=True)
    asked.fit.LIMIT = 10
    if fit:
        assert asked(said, [], as_kvm=True) is None


def test_kaged_at_rest_is_counted_from_when_all_rest(monkeypatch):
    """What it had of the boots, and before the first look, does not count."""
    fit = program(monkeypatch, "fit")
    looks = iter([(100.0, 5e9), (130.0, 5.5e9), (161.0, 5.61e9), (999.0, 9e9)])
    monkeypatch.setattr(fit, "at_rest", lambda _: next(looks))
    assert fit.minute(None) == pytest.approx(1.0)


def test_both_are_given_the_same_time(kvm):
    """Of Weir's machine a second has 50 million instructions, of KVM's host's 400."""
    assert kvm.bench.kvm_fit.fit.LIMIT * 50 == kvm.bench.kvm_fit.LIMIT * 400


def test_a_panic_of_the_host_ends_bench_kvm_at_once(panicked, tmp_path, monkeypatch):
    bench = panicked("kvm")
    HostPanicked.off, HostPanicked.panic = bench.nested.Host.off, bench.nested.Host.panic
    monkeypatch.setattr(bench.nested, "Host", HostPanicked)
    monkeypatch.setattr(bench.linux, "kernel", lambda: ("vmlinuz", "vmlinux"))
    monkeypatch.setattr(bench.linux, "initramfs", lambda: "initrd")
    ends_at_once(tmp_path, bench.host)


def test_a_slow_machine_has_more_time_for_a_benchmark(monkeypatch):
    program(monkeypatch, "run")
    import running
    monkeypatch.setattr(running, "SLOW", 1000.0)
    assert running.deadline(1000) > time.monotonic() + 500000


def bench_with(monkeypatch, tmp_path, cost, times):
    """tests/bench/run.py, where an operation with an aim of 100 costs so much."""
    bench = program(monkeypatch, "run")
    count = dict.fromkeys(("median", "min", "max"), cost) | {"count": 1}
    rows = [bench.operations.Operation("one", "one thing", aim=100)]
    monkeypatch.setattr(bench, "GROUPS", {"things": (lambda build: {"one": count}, rows)})
    monkeypatch.setattr(bench, "FOLDER", str(tmp_path))
    monkeypatch.setattr(bench.faults.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(bench.faults.hosted, "output",
                        lambda name: f"faults: 1 100 1.00 90 1.00\nfaults: 2 200 {times} 91 1.01\n")
    monkeypatch.setattr(sys, "argv", ["run.py", "--no-docs", "things", "faults"])
    return bench


@pytest.mark.parametrize("cost,times,missed", [
    (100, "1.80", []),
    (101, "1.80", ["things: one is over its aim of 100 instructions"]),
    (100, "1.79", ["faults: two threads are short of the aim of 1.8 times one"])])
def test_a_benchmark_that_misses_its_aim_fails(tmp_path, monkeypatch, capsys, cost, times, missed):
    bench = bench_with(monkeypatch, tmp_path, cost, times)
    if missed:
        with pytest.raises(SystemExit) as ended:
            bench.main()
        assert ended.value.code == 1
    else:
        bench.main()
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "aim of" in line] == missed
    assert "1.01" in out  # by the clock
    assert (tmp_path / "results.json").exists()
