# SPDX-License-Identifier: MIT
"""Boot cases of the monitor: an operator at a real pseudo-terminal, or at a keyboard and a screen."""
import os
import re
import sys

from boots import case, linux_guest, small_guest
from lab import BUILD, ROOT, rfb, screen
from monitor import LEAVE, Operator, read_capture, shape, write_capture

sys.path.insert(0, os.path.join(ROOT, "tests/tools"))
import openmetrics  # noqa: E402

FULL = ["corei7_sandy_bridge_2600k", "tigerlake:2"]


def two_talkers():
    return small_guest("talker") + small_guest("talker", vm="beta")


@case(machines=["tigerlake"], full=FULL, deadline=120, guests=two_talkers)
def monitor(boot):
    """From a guest's console to the monitor and back: commands, consoles, a VM's life, the end."""
    operator = Operator(boot)
    for name in ("talker", "beta"):
        boot.anywhere(rf"{name}\| talker: ready")
    operator.send("ab")
    operator.enter()
    operator.says("vm list", r"^talker +runs +1 ", r"^beta +runs +1 ")
    operator.says("help", r"^  vm console NAME +Go to a VM's console", r"^  poweroff \[-f\]")
    operator.says("vm pause beta", r"^vm beta is paused$")
    operator.says("vm list", r"^beta +paused ")
    operator.console("beta")
    operator.wait(r"^vm beta is paused: Ctrl-\] leads back, and vm resume beta there lets it go on\r?\n")
    operator.enter()
    operator.send(LEAVE)
    operator.wait(r"^vm beta is paused: Ctrl-\] leads back, and vm resume beta there lets it go on\r?\n")
    operator.enter()
    operator.says("vm resume beta", r"^vm beta goes on$")
    operator.says("stat vm.beta.exits.hlt", r"^vm\.beta\.exits\.hlt [1-9]\d* count: HLT instr")
    operator.says("mem", r"^RAM for Weir and VMs", r"^in use for guest \d+K.*, tables \d+K",
                  r"^memory: enough is free; watermarks: min ",
                  r"^committed: 655\d\dK, 0\.\d times RAM; promised ", r"^beta ")
    operator.console("talker")
    operator.wait(r"talker: ready\r\n<97><98>")
    operator.send("c")
    operator.wait(r"<99>")
    operator.enter()
    operator.says("vm kill beta", r"^vm beta is killed$")
    boot.anywhere(r"vm beta: killed after")
    operator.says("vm show beta", r"^vm beta does not run: vm start beta$")
    operator.says("poweroff", r"^1 VM runs: -f kills what runs$")
    operator.send("poweroff -f\r")
    boot.anywhere(r"vm talker: killed after")
    operator.wait(r"powering off")
    boot.ends()


@case(machines=["tigerlake"], deadline=120, weir="selftest=migrate,fair,cap,fair,cap,fair,cap,fair,cap",
      guests=two_talkers)
def monitor_early(boot):
    """What the operator says of VMs while Weir is not ready to start them holds."""
    operator = Operator(boot)
    boot.anywhere(r"selftest \w+: PASS")  # before that a UART that is not read yet holds 16 bytes
    # In one piece: the self-tests, which take some seconds, do not wait for whom this runs on.
    operator.send(LEAVE + b"vm list\rvm reset beta\rvm off talker\rvm start beta\r")
    operator.wait(r"the monitor\. help lists")
    operator.wait(r"^talker +starts")
    operator.wait(r"^beta +starts")
    operator.wait(r"^vm beta does not run yet: it is about to start")
    operator.wait(r"^vm talker was about to start, and stays off")
    operator.wait(r"^vm beta is about to start")
    boot.anywhere(r"vm talker: stays off")
    boot.anywhere(r"vm beta: started")
    operator.says("vm list", r"^talker +off$", r"^beta +runs ")
    operator.end()
    assert "vm talker: started" not in boot.text()


@case(machines=["tigerlake"], full=FULL, deadline=90,
      guests=lambda: small_guest("density", "1 8 100000000", mem="48M"))
def monitor_typing(boot):
    """A guest that spins with interrupts off holds nothing back of a long line that is typed fast."""
    operator = Operator(boot)
    boot.anywhere("vm density: started")
    operator.enter()
    operator.ask("pager off")  # the answer is longer than a terminal's line
    for _ in range(5):
        operator.send("stat " + "x" * 150 + "\r")
        typed = operator.wait(r"no counter's name fits '(x+)'").group(1)
        assert len(typed) == 150, f"{150 - len(typed)} bytes were lost"
        operator.prompt()
    operator.end()


@case(machines=[], full=["tigerlake:2", "corei7_sandy_bridge_2600k:2"], deadline=60,
      guests=lambda: small_guest("talker", vm_words="cpus=1") + small_guest("talker", vm="beta"))
def monitor_empty_lines(boot):
    """One that writes empty lines without end, on another CPU, keeps nobody from the console."""
    operator = Operator(boot)
    for name in ("talker", "beta"):
        boot.anywhere(rf"{name}\| talker: ready")
    operator.send("n")
    for _ in range(5):
        operator.wait(r"(talker\| \r?\n){20}")
        operator.enter()
        operator.says("vm list", r"^talker +runs ")
        operator.send(LEAVE)
    operator.enter()
    operator.end()


@case(machines=[], full=["tigerlake", *FULL], deadline=240, guests=two_talkers)
def monitor_metrics(boot):
    """All counters as OpenMetrics text, which a reader that knows only the format accepts."""
    operator = Operator(boot)
    boot.anywhere(r"beta\| talker: ready")
    operator.enter()
    for command in ("metrics", "stat -m"):
        text = operator.ask(command)
        wrong = [f"line {number}: {breach}" for number, breach in openmetrics.breaches(text)]
        assert not wrong, "\n".join(wrong)
        for vm in ("talker", "beta"):
            assert re.search(rf'^weir_vm_exits_hlt_total{{vm="{vm}"}} [1-9]', text, re.M)
        assert re.search(r"^weir_vm_cpu_run_seconds_total\{vm=\"beta\"\} \d+\.\d{9}$", text, re.M)
        assert "# TYPE weir_frames_free_frames gauge\n" in text
    boot.note(f"{len(text.splitlines())} lines")
    # Ctrl-C ends it before its end.
    operator.send("metrics\r")
    operator.wait(r"# TYPE weir_vm_cpu_run")
    operator.send("\x03")
    operator.prompt()
    assert boot.machine.console.text.count("# EOF") == 2
    operator.end()


@case(machines=["tigerlake"], full=FULL, deadline=120, guests=lambda: small_guest("hypercalls", "given"))
def monitor_given_back(boot):
    """What a guest gives back by H_REMOVE, and what of it it has touched since, is in the counters."""
    operator = Operator(boot)
    boot.anywhere("hypercalls: 256 pages are away")
    operator.enter()
    operator.says("vm show hypercalls", r"^  given back by the guest: 1M now, 1200K in all$")
    operator.says("stat memory", r"^vm\.hypercalls\.memory\.given_back 256 pages: ",
                  r"^vm\.hypercalls\.memory\.removed 300 pages: ")
    operator.says("rmap hypercalls 0x102b", r", resident, entry 0x")
    operator.says("rmap hypercalls 0x102c", r", given back, entry 0x8$")
    operator.says("metrics", r'^weir_vm_memory_given_back_pages\{vm="hypercalls"\} 256$',
                  r'^weir_vm_memory_removed_pages_total\{vm="hypercalls"\} 300$')
    operator.end()


@case(machines=["tigerlake"], full=FULL, deadline=240,
      guests=lambda: small_guest("talker") + small_guest("hostile", vm="wild"))
def monitor_top(boot):
    """top shows what a busy and an idle VM do, in 80 columns and 24 lines."""
    operator = Operator(boot)
    boot.anywhere(r"talker\| talker: ready")
    boot.anywhere(r"vm wild: started")
    operator.enter()
    operator.send("top\r")
    for _ in range(2):  # the second has rates
        operator.wait(r"q ends\x1b\[K\x1b\[J")
    shown = operator.screen().text()
    operator.send("n")
    operator.wait(r"by name; .*q ends\x1b\[K\x1b\[J")
    sorted_by_name = operator.screen().text()
    operator.send("q")
    operator.prompt()
    assert re.findall(r"^(\w+) +runs ", sorted_by_name, re.M) == ["talker", "wild"]
    lines = shown.rstrip().splitlines()
    assert re.match(r"Weir \S+, up \d+ s, \d CPUs? [\d.]+% in VMs, 2 VMs, \d+M of \d+M free$",
                    lines[0]), shown
    assert lines[1].split() == ["VM", "STATE", "VCPUS", "CPU", "%", "EXITS/s", "FAULTS/s",
                                "RESIDENT", "OF"], shown
    rows = {line.split()[0]: line.split() for line in lines[2:8:3]}
    assert list(rows) == ["wild", "talker"], shown
    assert float(rows["talker"][3]) < 20 < float(rows["wild"][3]), shown
    assert re.search(r"^   exits: .*hlt \d+%", shown, re.M), shown
    assert re.search(r"^   memory: working set \S+, packed 0 to 0, ", shown, re.M), shown
    assert lines[-1].startswith("by CPU %; c CPU, ") and len(lines) == 9, shown
    with open(os.path.join(boot.folder, "top.txt"), "w") as file:
        file.write(shown.rstrip() + "\n")
    if os.environ.get("WEIR_CAPTURE") and (boot.model, boot.cpus) == ("tigerlake", 1):
        write_capture(lines)
    if (boot.model, boot.cpus) == ("tigerlake", 1):
        assert [shape(line) for line in read_capture()] == [shape(line) for line in lines], \
            "docs/monitor.md shows another top: WEIR_CAPTURE=1 makes it anew"
    operator.end()


@case(machines=[], full=["tigerlake", *FULL], deadline=240, guests=lambda: small_guest("talker"))
def monitor_hostile(boot):
    """Long lines, control bytes, and a guest that writes what would harm a terminal's reader."""
    operator = Operator(boot)
    boot.anywhere(r"talker: ready")
    operator.send("h")
    operator.wait(r"harm ends in a string")
    operator.enter()
    # Nothing of the guest is on the monitor's lines, whose terminal is itself again.
    shown = operator.screen().text().splitlines()
    assert shown[-1] == "weir>" and shown[-2].startswith("Weir "), "\n".join(shown)
    operator.says("vm list", r"^talker +runs ")
    # Its console again: text, and none of the sequences.
    begin = operator.at
    operator.console("talker")
    operator.wait(r"harm ends in a string")
    replayed = boot.machine.console.text[begin:operator.at]
    replayed = replayed[replayed.index("talker: ready"):]
    assert "\x1b" not in replayed and "\x9b" not in replayed and "\x07" not in replayed
    assert "redhidden" in replayed
    # What a terminal would have answered to it is no command.
    operator.enter()
    operator.send("\x1b[24;80R\x1b[?62c\x1b]lreboot -f\x1b\\\x1b]2;vm kill talker\r")
    operator.prompt()
    # A line of every byte, and one that is too long.
    operator.send(bytes(b for b in range(256) if b not in (3, 4, 10, 12, 13, 27, 29)) + b"\x03")
    operator.prompt()
    for _ in range(8):
        operator.send("x" * 500)
        operator.wait(r"weir> <x+>?\x1b\[K\r\x1b\[\d+C")
    operator.send("\r")
    operator.wait(r"^'x+' is no command")
    operator.prompt()
    operator.send("\x1b[999999999999C\x1bO\x1b\x1b[[\x03")
    operator.prompt()
    # More than is kept, while nobody looks; then the guest that takes nothing is left all the same.
    operator.console("talker")
    operator.wait(r"harm ends in a string")
    operator.send("f" + "z")
    operator.enter()
    begin = operator.at
    operator.until("stat talker.exits.io", r"exits\.io [1-9]\d{4,} ")  # it floods
    assert "talker: " not in boot.machine.console.text[begin:operator.at], "the monitor shows it"
    operator.console("talker")
    operator.wait(r"talker: flooded")
    operator.wait(r"talker: deaf")
    operator.send("y" * 3000)
    operator.enter()
    answer = operator.says("vm list", r"^talker +runs ")
    assert "y" not in answer
    operator.end()


@case(machines=[], full=["tigerlake", *FULL], deadline=120,
      guests=lambda: small_guest("reset", vm="r"))
def monitor_restarts(boot):
    """A guest that resets itself for ever is switched off all the same, and Weir with it."""
    operator = Operator(boot)
    boot.anywhere(r"(?s)(vm r: reset after.*?){4}")
    operator.enter()
    operator.says("vm list", r"^r +(starts|runs|ending)")
    operator.until("vm off r", r"^vm r (was about to start, and stays off|is switched off|has ended meanwhile)$")
    operator.until("vm list", r"^r +off$")
    operator.says("vm off r", r"^vm r does not run: vm start r$")
    operator.says("vm start r", r"^vm r is about to start$")
    operator.until("vm list", r"^r +(starts|runs|ending)")
    operator.end()
    assert "not end" not in boot.text()


STRONG_TICKS = 3000000000  # a minute of Bochs's TSC: longer than all that is asked here


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:2"], deadline=120,
      guests=lambda: (small_guest("busy", f"spin-all {STRONG_TICKS}", vm="weak",
                                  vm_words="weight=1 vcpus=2 cpus=0") +
                      small_guest("busy", f"spin {STRONG_TICKS}", vm="strong",
                                  vm_words="weight=10000 cpus=0")))
def monitor_weak(boot):
    """A VM of a ten-thousandth of another's weight is paused, shown and killed before that is done."""
    operator = Operator(boot)
    for name in ("weak", "strong"):
        boot.anywhere(rf"vm {name}: started")
    operator.enter()
    operator.says("vm dump weak", r"^vm weak is in the log$")
    operator.says("vm pause weak", r"^vm weak is paused$")
    operator.says("vm resume weak", r"^vm weak goes on$")
    operator.says("vm kill weak", r"^vm weak is killed$")
    boot.anywhere(r"vm weak: killed after")
    assert "vm strong: debug exit" not in boot.text()
    operator.end()


LOOPS = "adhjritle"  # see tests/guests/loops.c


def loops_and_a_talker():
    guests = small_guest("talker")
    for name in LOOPS:
        guests += small_guest("loops", vm=name)
    return guests


@case(machines=["tigerlake"], full=[*FULL, "corei7_haswell_4770"], deadline=120,
      guests=loops_and_a_talker)
def monitor_loops(boot):
    """Guests that go round for ever are shown, paused and ended; another has its share beside them."""
    operator = Operator(boot)
    for name in LOOPS:
        boot.anywhere(rf"\b{name}\| guest: goes round")
    boot.anywhere(r"talker\| talker: ready")
    operator.enter()
    operator.says("vm list", *(rf"^{name} +runs " for name in LOOPS))
    for name in LOOPS:
        operator.says(f"vm pause {name}", rf"^vm {name} is paused$")
        operator.says(f"vm dump {name}", rf"vm {name}: vCPU 0", r"  last exit ", rf"^vm {name} is in the log$")
        operator.says(f"vm resume {name}", rf"^vm {name} goes on$")
        operator.says(f"vm nmi {name}", rf"^vm {name} got an NMI$")
    operator.console("talker")
    operator.send("c")
    operator.wait(r"<99>")
    operator.enter()
    for name in LOOPS:
        operator.says(f"vm kill {name}", rf"^vm {name} is killed$")
        boot.anywhere(rf"vm {name}: killed after")
    operator.end()
    assert "panic" not in boot.text().lower()
    free, before = re.search(r"(\d+) frames free, (\d+) before the first", boot.text()).groups()
    assert free == before, f"{free} frames are free, {before} were"


@case(machines=[], full=["tigerlake"], deadline=120, weir="monitor",
      guests=lambda: small_guest("talker"))
def monitor_stays(boot):
    """With the word `monitor` Weir stays when no VM is left, and starts one again."""
    operator = Operator(boot)
    boot.anywhere(r"talker: ready")
    operator.send("q")
    boot.anywhere(r"vm talker: left by debug exit")
    operator.arrive()
    operator.says("vm list", r"^talker +off$")
    operator.says("exit", r"^no VM runs, and Weir stays for the monitor: ")
    operator.says("vm start talker", r"is about to start$")
    operator.console("talker")
    operator.wait(r"<113>[\s\S]*^--- vm talker: left by debug exit ---\r?\ntalker: ready")
    operator.send("q")
    operator.wait(r"left by debug exit")
    operator.enter()
    operator.send("poweroff\r")
    operator.wait(r"powering off")
    boot.ends()


@case(machines=["tigerlake"], deadline=60,
      guests=lambda: small_guest("talker", vm="first") + small_guest("talker"))
def monitor_last_end(boot):
    """Who looks at a VM's console is told how to go on when it ends, the last one too, and later that it is off."""
    operator = Operator(boot)
    boot.anywhere(r"first\| talker: ready")
    boot.anywhere(r"talker\| talker: ready")
    operator.enter()
    operator.console("first")
    operator.wait(r"talker: ready")
    operator.send("q")
    operator.wait(r"vm first: left by debug exit")
    operator.wait(r"vm first is off, and others run: Ctrl-\] leads to the monitor")
    operator.enter()
    operator.console("talker")
    operator.wait(r"talker: ready")
    operator.send("q")
    operator.wait(r"no VM is left; Weir stays for who looks at a VM's console: Ctrl-\] leads to the monitor")
    operator.enter()
    operator.console("talker")
    operator.wait(r"^--- vm talker: left by debug exit ---\r?\n")
    operator.wait(r"^vm talker is off: Ctrl-\] leads back, and vm start talker there starts it")
    operator.enter()
    operator.send("exit\r")
    operator.wait(r"powering off")
    boot.ends()


def without_modules():
    return (small_guest("talker", vm_words="modules=release") +
            small_guest("talker", vm="beta", vm_words="modules=release") +
            small_guest("talker", vm="gamma", words="with a word") +
            small_guest("reset", vm="r", vm_words="modules=release") +
            small_guest("reset", vm="k", vm_words="modules=release") +
            small_guest("smoke", "one two", vm_words="modules=release"))


@case(machines=["tigerlake"], full=FULL, deadline=180, guests=without_modules)
def modules_release(boot):
    """Modules of VMs with modules=release come free once all that have them have started, which is once."""
    sizes = {name: os.path.getsize(os.path.join(BUILD, f"guests/{name}.elf")) for name in ("reset", "smoke")}
    operator = Operator(boot)
    for vm, name in (("k", "reset"), ("smoke", "smoke")):
        boot.anywhere(rf"vm {vm}: released {sizes[name] >> 10} KiB of modules that no VM starts from any more")
    for vm in "rk":
        boot.anywhere(rf"vm {vm}: not started again: it has modules=release: to have it start anew boot the "
                      "machine, with modules=keep if it resets itself")
        boot.anywhere(rf"vm {vm}: reset after")
    boot.anywhere(r"gamma\| talker: ready")
    operator.enter()
    spent = (r"^vm {} does not run, nor does it start again, for it has modules=release: boot the machine anew, "
             "with modules=keep for more than one start$")
    operator.until("vm list", r"^r +off$")
    for command in ("vm start r", "vm reset r", "vm off r"):
        operator.says(command, spent.format("r"))
    operator.says("vm reset beta", r"^vm beta is not reset, for it has modules=release, and it could not start: "
                                   "vm off ends it; modules=keep is for VMs that are reset$")
    operator.says("vm list", r"^beta +runs ")
    operator.says("vm off beta", r"^vm beta is switched off$")
    operator.until("vm list", r"^beta +off$")
    operator.says("vm start beta", spent.format("beta"))
    operator.console("beta")
    operator.wait(r"^vm beta is off, and does not start again: Ctrl-\] leads back\r?\n")
    operator.enter()
    # What they have in common with one that keeps them is there for it.
    operator.says("vm reset gamma", r"^vm gamma is reset$")
    boot.anywhere(r"(?s)vm gamma: reset after.*vm gamma: started")
    operator.end()
    released = [vm for vm in ("talker", "beta", "gamma", "r") if f"vm {vm}: released" in boot.text()]
    assert not released, released
    after, before = (int(n) for n in boot.anywhere(r"(\d+) frames free, (\d+) before the first").groups())
    # And one of each for the entries of its pages.
    assert after - before == sum(-(-size // 4096) + 1 for size in sizes.values()), f"{after - before} came back"
    boot.note(f"{after - before} frames came back")


@case(machines=[], full=["tigerlake"], deadline=400, guests=linux_guest)
def monitor_pause_linux(boot):
    """A busy Linux that was paused for a minute of its time finds no fault with it."""
    operator = Operator(boot)
    operator.wait(r"guest# ")
    # Of a CPU that was idle since its last tick, four seconds ago, the watchdog expects nothing.
    operator.send("while :; do :; done &\rsleep 9; echo is busy\r")
    operator.wait(r"^is busy")
    operator.enter()
    operator.says("vm pause alpha", r"^vm alpha is paused$")
    up = float(re.search(r"^alpha .* ([\d.]+)$", operator.ask("vm list"), re.M).group(1))
    while float(re.search(r"^alpha +paused .* ([\d.]+)$", operator.ask("vm list"), re.M).group(1)) < up + 60:
        pass
    operator.says("vm resume alpha", r"^vm alpha goes on$")
    operator.console("alpha")
    operator.send("sleep 5; echo lockups: $(dmesg | grep -c 'soft lockup\\|stall')\r")
    assert operator.wait(r"^lockups: (\d+)").group(1) == "0", "Linux takes the pause for a lockup"
    operator.enter()
    operator.end()


@case(machines=[], full=["qemu-bios", "qemu-uefi"], deadline=90, weir="monitor console=none")
def monitor_keyboard(boot):
    """A machine without UART: the monitor on its keyboard and screen, text mode and framebuffer."""
    keys = screen.Keyboard(boot.machine)
    screen.wait_text(boot.machine, "weir> ", boot.deadline)
    keys.type("help mem\n")
    screen.wait_text(boot.machine, "How memory is used: by Weir, its pool, each VM.", boot.deadline)
    keys.type("Log")
    keys.press("home", "delete", "l", "end")
    keys.type(" 2\n")
    screen.wait_text(boot.machine, "weir> log 2", boot.deadline)
    keys.press("ctrl-l", "up", "up", "left", "left", "left", "ctrl-u", "ret")
    screen.wait_text(boot.machine, "RAM for Weir and VMs", boot.deadline)
    keys.type("power\t\n")
    boot.machine.wait_exit(boot.deadline)  # of a console that is none nothing can be read after that


@case(machines=[], full=["tigerlake"], deadline=180, weir="console=none", watch=True,
      guests=two_talkers)
def monitor_screen(boot):
    """A machine without UART whose VMs run: their consoles, the monitor, pages and top on its own screen."""
    def shows(text):
        screen.wait_text(boot.machine, text, boot.deadline)

    shows("beta| talker: ready")
    shows("talker| talker: ready")
    keys = rfb.Keyboard(boot.machine, boot.deadline)
    keys.press("ctrl-]")
    shows("the monitor. help lists the commands")
    keys.type("vm pause beta\n")
    shows("vm beta is paused")
    keys.type("vm list\n")
    shows("talker               runs        1")
    shows("beta                 paused      1")
    keys.type("help\n")
    shows("lines; space: a page, Enter: a line, q: end")
    keys.type("q")
    keys.type("vm resume beta\n")
    shows("vm beta goes on")
    keys.type("vm console beta\n")
    keys.type("c")
    shows("<99>")
    keys.press("ctrl-]")
    keys.type("top\n")
    shows("m memory, n name; q ends")
    keys.type("q")
    keys.press("up", "up", "home", "delete", "ctrl-k")
    keys.type("vm kill t\t\n")
    shows("vm talker is killed")
    keys.type("poweroff -f\n")
    boot.machine.wait_exit(boot.deadline)
    keys.close()
