# SPDX-License-Identifier: MIT
"""Boot cases of the monitor's line at a real pseudo-terminal: every command and error, every key, pages."""
import re

from boots import case, small_guest
from monitor import LEAVE, Operator
from monitor_answers import not_given
from monitor_cases import FULL, two_talkers

# Each command that changes nothing, and what its answer has. Those of a VM's life are below.
QUESTIONS = (
    ("help", r"^  vm console NAME +Go to a VM's console", r"^help COMMAND tells more\. ",
     r"^stops a command\. "),
    ("help vm", r"^  vm nmi NAME +Press", r"^  vm dump NAME \[ADDRESS BYTES\]"),
    ("help vm dump", r"^vm dump NAME", r"4096 at most\.$"),
    ("help metrics", r"^  From the first line"),
    ("vm show talker", r"^vm talker: runs, up \d+\.\d{3} s", r"^  memory: mem=32M psize=4K rma=0, ",
     r"^  put away: 0 packed to 0", r"^  min=0 max=32M shares=32, ",
     r"^  given back by the guest: 0 now, 0 in all$",
     r"^  faults: \d+", r"^  vCPU 0: (not )?halted, on CPU \d, ran ",
     r"^  modules=keep on_crash=stop$", r"^  kernel: \d+ bytes"),
    ("vm list", r"^VM +STATE ", r"^talker +runs +1 ", r"^beta +runs +1 ", r"^nothing +off$"),
    ("mem", r"^RAM for Weir and VMs ", r"^VM +RESIDENT ", r"^beta "),
    ("stat", r"^frames\.free \d+ frames: ", r"^vm\.talker\.cpu\.run \d+ ns: ",
     r"^vm\.beta\.mmu\.faults "),
    ("stat *.vcpus", r"^vm\.talker\.cpu\.vcpus 1 count: ", r"^vm\.beta\.cpu\.vcpus 1 "),
    ("log 3", r"vm beta: started"),
    ("slot talker", r"^3 slots, generation \d+$", r"^slot 0: gfn 0 to 0xa0, ",
     r"^  reverse map: 1 of 1 chunks, 0 pinned", r"^slot \d+: gfn 0xfee00 to 0xfee01, .* private"),
    ("rmap talker 0x100", r"^gfn 0x100: slot 1, page 0x100 of its object, resident, entry 0x",
     r"^  mapped: yes.* writable", r"^  word of 4 KiB: 0x[0-9a-f]+, 1 spte$",
     r"^    spte at 0x[0-9a-f]+: 0x[0-9a-f]+$", r"^  word of 2 MiB: 0, 0 sptes$"),
    ("rmap talker 8191", r"^gfn 0x1fff: slot 1, .*, absent, entry 0$", r"^  mapped: no",
     r"^  word of 4 KiB: its chunk is not there$", r"^  word of 2 MiB: 0, 0 sptes$"),
    ("trace show", r"^there are no records: trace on begins$"),
)

VM_VERBS = ("show", "console", "start", "pause", "resume", "reset", "off", "kill", "nmi", "dump")
# All that need a VM that runs.
NEED_RUNNING = (*(f"vm {verb} {{}}" for verb in VM_VERBS if verb not in ("console", "start")),
                "vm dump {} 0 16", "slot {}", "rmap {} 0")
NO_NUMBER = "is no number: give digits, or 0x and hexadecimal ones$"
TOO_LARGE = "is too large: it has more than 64 bits$"
MUCH = "0x10000000000000000"

# What is wrong, and what is said of it: of every command, all that it can say while two VMs run and a third
# was refused. not_given() has what it says at other times.
ERRORS = (
    ("nonsense", r"^'nonsense' is no command: help lists them$"),
    ("quit", r"^'quit' is no command: exit goes to the VMs' consoles, poweroff ends Weir, help lists all$"),
    ("?", r"^  help \[COMMAND\] "),
    ("Help", r"^'Help' is no command: help lists them$"),
    ("a b c d e f g h i", r"^9 words are too many: no command has more than 8$"),
    ("help nonsense", r"^'nonsense' is no command: help lists them$"),
    ("help vm fly", r"^'vm fly' is no command: after vm comes list, "),
    ("help mem fly", r"^'mem fly' is no command: help lists them$"),
    ("help a b c", r"^it is used so: help \[COMMAND\]$"),
    ("vm", r"^'vm' alone is no command: after it comes list, show, "),
    ("vm fly talker", r"^'vm fly' is no command: after vm comes list, "),
    ("vm list x", r"^it is used so: vm list$"),
    *((f"vm {verb}", rf"^it is used so: vm {verb} NAME( \[ADDRESS BYTES\])?$") for verb in VM_VERBS),
    *((f"vm {verb} talker 1 2 3", rf"^it is used so: vm {verb} NAME") for verb in VM_VERBS),
    *((command.format("nobody"), r"^no VM is called 'nobody': vm list lists them$")
      for command in (*NEED_RUNNING, "vm console {}", "vm start {}")),
    ("vm start talker", r"^vm talker runs already, or is about to$"),
    *((command.format("nothing"), r"^vm nothing was refused when Weir booted: log tells why$")
      for command in (*NEED_RUNNING, "vm start {}")),
    ("vm resume talker", r"^vm talker is not paused$"),
    ("vm dump talker 0", r"^ADDRESS needs BYTES after it$"),
    ("vm dump talker here 16", rf"^ADDRESS 'here' {NO_NUMBER}"),
    ("vm dump talker 0x 16", rf"^ADDRESS '0x' {NO_NUMBER}"),
    (f"vm dump talker {MUCH} 16", rf"^ADDRESS '{MUCH}' {TOO_LARGE}"),
    ("vm dump talker 0 much", rf"^BYTES 'much' {NO_NUMBER}"),
    (f"vm dump talker 0 {MUCH}", rf"^BYTES '{MUCH}' {TOO_LARGE}"),
    *((f"vm dump talker {address} {size}", r"^BYTES is 1 to 4096, and no address wraps$")
      for address, size in ((0, 0), (0, 4097), ("0xffffffffffffffff", 2), ("0xfffffffffffffff0", 32))),
    ("vm dump talker 0xd0000000 16", r"^there is no RAM there$"),
    ("vm dump talker 0x1fffff0 32", r"^there is no RAM from there on$"),
    ("mem x", r"^it is used so: mem$"),
    ("top x", r"^it is used so: top$"),
    ("stat a b", r"^it is used so: stat \[-m\|PATTERN\]$"),
    ("stat nothing.at.all", r"^no counter's name fits 'nothing\.at\.all': stat lists all$"),
    ("stat -x", r"^no counter's name fits '-x': stat lists all$"),
    ("metrics x", r"^it is used so: metrics$"),
    ("trace", r"^'trace' alone is no command: after it comes on, off, show$"),
    ("trace fly", r"^'trace fly' is no command: after trace comes on, off, show$"),
    ("trace on x", r"^it is used so: trace on$"),
    ("trace off x", r"^it is used so: trace off$"),
    ("trace show 1 2 3", r"^it is used so: trace show \[RECORDS \[NAME\]\]$"),
    ("trace show 1 nobody", r"^there are no records of 'nobody'$"),
    ("trace show x", rf"^RECORDS 'x' {NO_NUMBER}"),
    (f"trace show {MUCH}", rf"^RECORDS '{MUCH}' {TOO_LARGE}"),
    ("trace show 0", r"\A\Z"),
    ("slot", r"^it is used so: slot NAME$"),
    ("slot talker 1", r"^it is used so: slot NAME$"),
    ("rmap talker", r"^it is used so: rmap NAME GFN$"),
    ("rmap talker 1 2", r"^it is used so: rmap NAME GFN$"),
    ("rmap talker x", rf"^GFN 'x' {NO_NUMBER}"),
    ("rmap talker " + "9" * 20, rf"^GFN '9{{20}}' {TOO_LARGE}"),
    *((f"rmap talker {gfn}", rf"^no slot has gfn {gfn}: slot talker lists them$")
      for gfn in ("0xa0", "0x2000", "0xffffffffffffffff")),
    ("log 1 2", r"^it is used so: log \[LINES\]$"),
    ("log x", rf"^LINES 'x' {NO_NUMBER}"),
    ("log -1", rf"^LINES '-1' {NO_NUMBER}"),
    (f"log {MUCH}", rf"^LINES '{MUCH}' {TOO_LARGE}"),
    ("log 0", r"\A\Z"),
    ("pager", r"^'pager' alone is no command: after it comes on, off$"),
    ("pager maybe", r"^'pager maybe' is no command: after pager comes on, off$"),
    ("pager off x", r"^it is used so: pager off$"),
    ("pager on x", r"^it is used so: pager on$"),
    ("reboot now", r"^'now': only -f may follow$"),
    ("reboot -f -f", r"^it is used so: reboot \[-f\]$"),
    ("reboot", r"^2 VMs run: -f kills what runs$"),
    ("poweroff now", r"^'now': only -f may follow$"),
    ("poweroff -f now", r"^it is used so: poweroff \[-f\]$"),
    ("poweroff", r"^2 VMs run: -f kills what runs$"),
    ("exit x", r"^it is used so: exit$"),
)


def two_talkers_and_a_refused():
    return two_talkers() + small_guest("talker", vm="nothing", mem="33M", vm_words="psize=2M")


@case(machines=["tigerlake"], full=FULL, deadline=240, guests=two_talkers_and_a_refused)
def monitor_commands(boot):
    """Every command of the monitor answers, and every wrong one says what is wrong."""
    operator = Operator(boot)
    boot.anywhere(r"beta\| talker: ready")
    operator.enter()
    for question, *patterns in QUESTIONS + ERRORS:
        operator.says(question, *patterns)
    for table in ("vm list", "mem"):
        heading = re.search(r"^VM (.*)", operator.ask(table), re.M).group(1).split()
        operator.says(f"help {table}", *(rf"(?s)(\A|\s){word}\b" for word in heading if word != "VCPUS"))
    operator.says("vm pause talker", r"^vm talker is paused$")
    operator.says("vm pause talker", r"^vm talker was paused already$")
    operator.says("vm resume talker", r"^vm talker goes on$")
    dumps = operator.says("vm dump talker", r"^\[.*vm talker: vCPU 0", r"info:   last exit \d+ \(hlt\)$",
                          r"info:   rip  0{10}1", r"info:   cs   0\w{3} 0{16} f{8} \w{5}$", r"^vm talker is in the log$")
    dumps += operator.says("vm dump talker 0x100000 32", r"vm talker: memory$",
                           r"info:   000000100000  02 b0 ad 1b ", r"info:   000000100018  ")
    assert max(map(len, dumps.splitlines())) <= 80, dumps
    operator.says("trace on", r"^the trace is on: ")
    operator.says("trace off", r"^the trace is off; ")
    operator.says("trace show 1000", r"cpu\d+ talker: exit hlt at rip 0x1", r"cpu\d+ talker: runs",
                  r"cpu\d+ talker: exit (apic_write|apic_access) at rip 0x\w+, 0x\w*b0$")
    operator.console("talker")
    operator.send("m")
    operator.wait("<109>")
    operator.enter()
    operator.ask("trace on")
    operator.until("trace show 60", r"cpu\d+ talker: exit rdmsr at rip 0x1\w+, 0x1a0 IA32_MISC_ENABLE$")
    operator.ask("trace off")
    operator.says("vm reset talker", r"^vm talker is reset$")
    boot.anywhere(r"vm talker: reset after")
    operator.says("vm off beta", r"^vm beta is switched off$")
    boot.anywhere(r"vm beta: switched off after")
    operator.says("vm list", r"^beta +off$")
    for command in NEED_RUNNING:
        operator.says(command.format("beta"), r"^vm beta does not run: vm start beta$")
    for name, why in (("beta", r"is off: Ctrl-\] leads back, and vm start beta there starts it"),
                      ("nothing", r"was refused when Weir booted: Ctrl-\] leads back, and log tells why")):
        operator.console(name)
        operator.wait(rf"^vm {name} {why}( there)?\r\n")
        operator.enter()
    operator.says("vm start beta", r"^vm beta is about to start$")
    operator.console("beta")
    # Of before its end, too; that it is started may be said in between.
    operator.wait(r"talker: ready\r\n--- vm beta: switched off ---\r\n(\[.*\r\n)?talker: ready")
    operator.enter()
    operator.says("vm nmi beta", r"^vm beta got an NMI$")
    operator.console("beta")
    operator.wait(r"talker: NMI")
    operator.enter()
    operator.says("pager on", r"^what fills more than 23 lines is shown by the page$")
    operator.says("pager off", r"^all is shown at once, lines as long as they are$")
    missing = not_given(boot.machine.console.text)
    assert not missing, "never answered: " + "; ".join(missing)
    boot.note(f"{len(QUESTIONS)} questions, {len(ERRORS)} errors")
    operator.send("reboot -f\r")
    operator.wait(r"vm beta: killed after")
    operator.wait(r"rebooting")
    # With several CPUs Bochs's BIOS does not come up a second time: "Keyboard error:21".
    if boot.cpus == 1:
        operator.wait(r"cpu0 info: loaded by GRUB")


@case(machines=["tigerlake"], deadline=60, weir="monitor rma_pool=8M")
def monitor_none(boot):
    """What commands say where no VM is configured, and Weir stays for the monitor."""
    operator = Operator(boot)
    operator.arrive()
    operator.says("vm list", r"^no VM is configured$")
    operator.says("mem", r"^pool of real-mode areas 8M, in use 0, longest free piece 8M$", r"^no VM runs$")
    operator.says("vm start alpha", r"^no VM is called 'alpha': vm list lists them$")
    operator.says("stat vm.", r"^no counter's name fits 'vm\.': stat lists all$")
    operator.says("trace show", r"^there are no records: trace on begins$")
    operator.says("exit", r"^no VM runs, and Weir stays for the monitor: poweroff or reboot ends it$")
    operator.says("poweroff now", r"^'now': only -f may follow$")
    operator.send("poweroff\r")
    operator.wait(r"powering off")
    boot.ends()


# What is typed, and the line that it leaves, with the cursor as |. BELL: nothing could be done.
BELL = "\a"
KEYS = (
    ("hello", "hello|"), ("\x01x", "x|hello"), ("\x05y", "xhelloy|"), ("\x02\x02", "xhell|oy"),
    ("\x06", "xhello|y"), ("\x1b[D\x1b[D", "xhel|loy"), ("\x1b[C", "xhell|oy"), ("\x1b[H", "|xhelloy"),
    ("\x1b[F", "xhelloy|"), ("\x1b[1~", "|xhelloy"), ("\x1b[4~", "xhelloy|"), ("\x1bOH", "|xhelloy"),
    ("\x02", BELL), ("\x04", "|helloy"), ("\x1b[3~", "|elloy"), ("\x05\x06", BELL), ("\x08", "ello|"),
    ("\x7f", "ell|"), ("\x1b[3~", BELL), (" one two", "ell one two|"), ("\x1bb", "ell one |two"),
    ("\x1b[1;5D", "ell |one two"), ("\x1bf", "ell one| two"), ("\x1b[1;5C", "ell one two|"),
    ("\x17", "ell one |"), ("\x17", "ell |"), ("\x19", "ell one two|"), ("\x01\x0b", "|"),
    ("\x19", "ell one two|"), ("\x1bb\x15", "|two"), ("\x1bd", "|"), ("\x1bd", BELL), ("\x08", BELL),
    ("\x19", "ell one two|"), ("\x1b\x7f", "ell one |"), ("\xc3\xa4", BELL), ("\x1b[5~", BELL),
    ("\x00", BELL), ("\x15", "|"),
    # Completion: a word, a VM, a counter; what several share; nothing.
    ("vm p\t", "vm pause |"), ("ta\t", "vm pause talker |"), ("\x15vm re\t", "vm res|"), ("\t", BELL),
    ("\t", "vm res|"), ("e\t", "vm reset |"), ("b\t", "vm reset beta |"), ("x\t", BELL),
    ("\x15st\t", "stat |"), ("vm.t\t", "stat vm.talker.|"), ("exits.hl\t", "stat vm.talker.exits.hlt |"),
    ("\x15nonsense\t", BELL), ("\x15help pa\t", "help pager |"), ("\x15reboot -\t", "reboot -f |"),
    ("\x01\x06\x06\x06\t", "reboot |oot -f "), ("\x05\x15", "|"),
)


@case(machines=["tigerlake"], full=FULL, deadline=120, guests=two_talkers)
def monitor_line(boot):
    """The keys of the line, history, completion, and lines that are longer than there is room for."""
    operator = Operator(boot)
    boot.anywhere(r"beta\| talker: ready")
    operator.enter()

    def leaves(keys, line):
        """The line is drawn so when these keys have been read."""
        operator.send(keys.encode("latin-1"))
        if line == BELL:
            operator.wait(BELL)
            return
        before, _, after = line.partition("|")
        operator.wait(rf"weir> {re.escape(before + after)}\x1b\[K\r\x1b\[{len('weir> ' + before)}C")

    for number, (keys, line) in enumerate(KEYS):
        if KEYS[number - 1] == ("\t", BELL):  # the second Tab lists
            operator.send(keys)
            operator.wait(r"\n")
            assert operator.wait(r"resume +reset *\r\n")
            keys = ""
        leaves(keys, line)
    assert len(KEYS) > 50
    # History: an empty line and the same one again are not kept, a line under way is.
    operator.ask("help exit")
    for line in ("log 1", "log 1", "mem x", "  "):
        operator.send(line + "\r")
        operator.wait(r"\n")
        operator.prompt()
    for keys, line in (("new", "new|"), ("\x1b[A", "mem x|"), ("\x10", "log 1|"), ("\x1bOA", "help exit|"),
                       ("\x0e", "log 1|"), ("\x1b[B\x1b[B", "new|"), ("\x1b[B", BELL),
                       ("\x10\x10x", "log 1x|"), ("\x10\x0e", "log 1|"), ("\x03", "|")):
        leaves(keys, line)
    for number in range(33):
        operator.send(f"log {number}x\r")
        operator.wait(r"is no number")
        operator.prompt()
    leaves("\x10" * 32, "log 1x|")
    leaves("\x10", BELL)
    leaves("\x03", "|")
    # 255 characters are a line: it scrolls sideways, and more are refused.
    operator.send("x" * 255)
    operator.wait(r"weir> <x+\x1b\[K\r\x1b\[\d+C")
    leaves("y", BELL)
    operator.send("\x01")
    operator.wait(r"weir> x{72}>\x1b\[K\r\x1b\[6C")
    operator.send("\r")
    assert len(operator.wait(r"^'(x+)' is no command").group(1)) == 255
    operator.prompt()
    operator.send("ab\x0c")
    operator.wait(r"\x1b\[H\x1b\[J\rweir> ab\x1b\[K\r\x1b\[8C")
    assert operator.screen().text().rstrip() == "weir> ab"
    leaves("\x03", "|")
    operator.send("\x04")  # Ctrl-D on an empty line leaves
    operator.wait(r"weir> exit|exit\r\n")
    operator.enter()
    operator.end()


MORE = r"--more-- (\d+) lines?; space: a page, Enter: a line, q: end\x1b\[K"


def shown_page(operator):
    """What stands on the screen above the pager's prompt, which is in its last line."""
    rows = operator.screen().text().splitlines()
    assert len(rows) == 24 and all(len(row) < 80 for row in rows), "\n".join(rows)
    assert rows[-1].startswith("--more-- "), "\n".join(rows)
    return rows[:-1]


@case(machines=["tigerlake"], full=FULL, deadline=120,
      guests=lambda: small_guest("talker") + small_guest("reset", vm="r"))
def monitor_pager(boot):
    """Long answers come by the page, in 24 lines of 80 columns; VMs come and go while somebody reads."""
    operator = Operator(boot)
    boot.anywhere(r"talker: ready")
    operator.enter()
    operator.send("vm off r\r")
    boot.anywhere(r"vm r: (stays off|(switched off|killed) after)")
    operator.prompt()
    operator.send("help\r")
    left = int(operator.wait(MORE).group(1))
    assert shown_page(operator)[0].startswith("  help [COMMAND] ")
    for _ in range(2):  # by the line
        operator.send("\r")
        left -= 1
        assert int(operator.wait(MORE).group(1)) == left
    operator.send(" ")
    operator.prompt()
    shown = operator.screen().text()
    assert "help COMMAND tells more." in shown and "--more--" not in shown, shown
    # Neither counters nor VMs wait for the reader.
    operator.send("vm start r\r")
    operator.prompt()
    operator.send("stat vm.\r")
    operator.wait(MORE)
    for _ in range(2):
        operator.wait(r"vm r: reset after")
    operator.send(" ")
    operator.wait(MORE)
    operator.send("q")
    operator.prompt()
    operator.send("vm off r\r")
    operator.prompt()
    # Lines that are longer than the terminal is wide.
    operator.send("stat vm.talker\r")
    operator.wait(MORE)
    operator.send(" ")
    operator.wait(MORE)
    assert re.search(r"^    \w", "\n".join(shown_page(operator)), re.M)
    # Ctrl-C there, and Ctrl-], which leads to the consoles.
    operator.send("\x03")
    operator.prompt()
    operator.send("log 100\r")
    operator.wait(MORE)
    operator.send(LEAVE)
    operator.enter()
    # Whoever types ahead does not wait, nor does who reads by a program.
    begin = operator.at
    operator.send("log 100\rmetrics\r")
    for _ in range(30):  # more than a page
        operator.wait("# TYPE ")
    operator.send("\x03")
    operator.prompt()
    assert "--more--" not in boot.machine.console.text[begin:operator.at]
    operator.send("pager off\rlog 100\rhelp\r")
    operator.wait(r"and back to it\.\r\n")
    operator.prompt()
    assert "--more--" not in boot.machine.console.text[begin:operator.at]
    operator.end()
