# SPDX-License-Identifier: MIT
"""An operator at Weir's console: types to the monitor as on a terminal, and reads its answers."""
import os
import re

from lab import ROOT
from lab.terminal import Terminal

LEAVE = b"\x1d"
PROMPT = r"weir> \x1b\[K\r\x1b\[6C"
MONITOR_MD = os.path.join(ROOT, "docs/monitor.md")
CAPTURE_MARK = "<!-- WEIR_CAPTURE=1 make test-boot CASES=monitor-top CPUS=tigerlake -->\n```\n"


def write_capture(lines):
    """Puts what top showed into docs/monitor.md, in place of what stands there."""
    with open(MONITOR_MD) as file:
        before, mark, after = file.read().partition(CAPTURE_MARK)
    assert mark, "docs/monitor.md has no place for it"
    with open(MONITOR_MD, "w") as file:
        file.write(before + mark + "\n".join(lines) + "\n```\n" + after.partition("```\n")[2])


def read_capture():
    with open(MONITOR_MD) as file:
        return file.read().partition(CAPTURE_MARK)[2].partition("```\n")[0].splitlines()


def shape(line):
    """A line of top without its numbers, and without the exits that are those of one moment."""
    line = re.sub(r"(?<=^   exits:).*", "", line)
    return re.sub(r" +", " ", re.sub(r"\b\d[\d.]*[KMG]?\b", "0", line))


class Operator:
    def __init__(self, boot):
        self.boot = boot
        self.at = 0
        self.paged = True  # as Weir boots: ask() switches it off before its first command

    def send(self, data):
        self.boot.machine.console.send(data if isinstance(data, bytes) else data.encode())

    def wait(self, pattern):
        """A match after the last one; what the console said before it is taken."""
        match = self.boot.machine.wait_line(pattern, self.boot.deadline, self.at)
        self.at = match.end()
        return match

    def prompt(self):
        self.wait(PROMPT)

    def arrive(self):
        self.wait(r"the monitor\. help lists")
        self.prompt()

    def enter(self):
        """To the monitor, from whoever has the console."""
        self.send(LEAVE)
        self.arrive()

    def console(self, name):
        self.send(f"vm console {name}\r")
        self.wait(rf"vm console {name}\x1b\[K.*\n")

    def until(self, command, pattern):
        """Asks until the answer has it: for what takes the guest some time."""
        while not re.search(pattern, self.ask(command), re.M):
            pass

    def end(self):
        self.send("poweroff -f\r")
        self.boot.ends()

    def ask(self, command, prompt=PROMPT):
        """What a command says, as text: without the echo, escape sequences and carriage returns."""
        if self.paged:
            self.paged = False
            self.ask("pager off")
        self.send(command + "\r")
        echo = command[-60:].strip()
        self.wait(re.escape(echo) + r"\x1b\[K")
        begin = self.wait(r"\n").end()
        self.wait(prompt)
        text = self.boot.machine.console.text[begin:self.at]
        text = re.sub(r"\x1b\[[0-9;?]*[@-~]", "", text.replace("\r", ""))
        return text.rpartition("weir> ")[0]

    def says(self, command, *patterns):
        """The answer has all of these lines."""
        answer = self.ask(command)
        for pattern in patterns:
            assert re.search(pattern, answer, re.M), f"'{command}' says no /{pattern}/:\n{answer}"
        return answer

    def screen(self):
        """What a terminal shows of all that came before what was waited for, and that."""
        terminal = Terminal()
        terminal.feed(self.boot.machine.console.text[:self.at])
        return terminal
