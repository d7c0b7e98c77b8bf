# SPDX-License-Identifier: MIT
"""Whether the monitor has given every answer that its commands' sources have, the errors above all."""
import glob
import inspect
import os
import re

from boots import CASES
from lab import ROOT

LITERALS = r'((?:\s*"(?:[^"\\]|\\.)*")+)'
LINE = re.compile(rf"\bmonitor_print\({LITERALS}")
# What says of a VM that something was done; some have two literals.
DONE = re.compile(r"\b(?:answer|steer|end)\(([^;]*)\);")
NUMBER = re.compile(r'\bcommand_number\("(\w+)"')
COMMAND = re.compile(r'^\t\{"(\w+)", (?:NULL|"(\w+)"),', re.M)
CONVERSION = re.compile(r"%[-#.*\d]*l*[a-z]")

# What monitor-commands is not told, and who is: another boot case, or, where no boot is sure to meet it, a
# hosted test.
ELSEWHERE = {
    "is killed": "monitor",
    "vm %s was about to start, and stays off": "monitor-early",
    "vm %s does not run yet: it is about to start": "monitor-early",
    "no VM is configured": "monitor-none",
    "no VM runs": "monitor-none",
    "no VM runs, and Weir stays for the monitor: poweroff or reboot ends it": "monitor-none",
    "vm %s has ended meanwhile": "monitor/test_command_vm",
    "vm %s is paused for memory, and goes on by itself when there is some": "monitor/test_command_vm",
    "goes on when there is memory": "monitor/test_command_vm",
    "vm %s is paused: Ctrl-] leads back, and vm resume %s there lets it go on": "monitor",
    "%u VMs are paused: Ctrl-] leads back, and vm list there tells which": "monitor/test_monitor_end",
    "vm %s does not run, nor does it start again, for it has modules=release: boot the machine anew, "
    "with modules=keep for more than one start": "modules-release",
    "vm %s is not reset, for it has modules=release, and it could not start: vm off ends it; "
    "modules=keep is for VMs that are reset": "modules-release",
    "vm %s is off, and does not start again: Ctrl-] leads back": "modules-release",
    "pool of real-mode areas %s, in use %s, longest free piece %s": "monitor-none",
    "%s: %s, free %s; its part of low %s, of high %s": "nodes",
    "no memory for the trace of CPU %u, %u KiB": "monitor/test_command_trace",
    "and %u more": "monitor/test_command_mmu",
    "gfn %#llx: its slot is on its way out, ask again": "monitor/test_command_mmu",
}


def sources():
    for path in glob.glob(os.path.join(ROOT, "kernel/monitor/*.c")):
        with open(path) as file:
            yield re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)


def joined(literals):
    """Literals beside each other are one."""
    return re.sub(r'"\s*"', "", literals.strip())[1:-1]


def has_words(text):
    return len(re.findall(r"[A-Za-z]{2,}", CONVERSION.sub("", text))) > 1


def line_of(text):
    return "^" + ".*".join(map(re.escape, CONVERSION.split(text))) + "$"


def texts():
    """Each with the expression of a line that has it."""
    found = {}
    for source in sources():
        found.update((text, line_of(text)) for text in map(joined, LINE.findall(source)) if has_words(text))
        for call in DONE.findall(source):
            done = filter(None, map(joined, re.findall(LITERALS, call)))
            found.update((text, "^vm .* " + line_of(text)[1:]) for text in done)
        for name in NUMBER.findall(source):
            found[f"{name} '%s' is no number"] = rf"^{name} '.*' is no number: "
            found[f"{name} '%s' is too large"] = rf"^{name} '.*' is too large: "
        for words in COMMAND.findall(source):
            usage = "it is used so: " + " ".join(filter(None, words))
            found[usage] = rf"^{usage}( [A-Z[].*)?$"
    return found


def is_tested(text, place):
    if place in CASES:
        source = inspect.getsource(CASES[place].function)
    else:
        with open(os.path.join(ROOT, "tests/unit", place + ".c")) as file:
            source = file.read()
    return max(CONVERSION.split(text), key=len) in re.sub(r'"\s*"', "", source).replace("\\", "")


def not_given(console):
    """What is in no line of the console, nor tested elsewhere; and what is said to be, and is not."""
    lines = re.sub(r"\x1b\[[0-9;?]*[@-~]", "", console.replace("\r", ""))
    expected = texts()
    assert len(expected) > 90, "the sources are read no more"
    return [text for text, line in expected.items()
            if text not in ELSEWHERE and not re.search(line, lines, re.M)] + \
        [f"{text} ({place})" for text, place in ELSEWHERE.items()
         if text not in expected or not is_tested(text, place)]
