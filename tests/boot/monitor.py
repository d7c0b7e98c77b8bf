# SPDX-License-Identifier: MIT
"""An operator at Weir's console: types to the monitor as on a terminal, and reads its answers."""
import re

from lab.terminal import Terminal

LEAVE = b"\x1d"
PROMPT = r"weir> \x1b\[K\r\x1b\[6C"


class Operator:
    def __init__(self, boot):
        self.boot = boot
        self.at = 0

    def send(self, data):
        self.boot.machine.console.send(data if isinstance(data, bytes) else data.encode())

    def wait(self, pattern):
        """A match after the last one; what the console said before it is taken."""
        match = self.boot.machine.wait_line(pattern, self.boot.deadline, self.at)
        self.at = match.end()
        return match

    def enter(self):
        """To the monitor, from whoever has the console."""
        self.send(LEAVE)
        self.wait(r"the monitor\. help lists")
        self.wait(PROMPT)

    def ask(self, command, prompt=PROMPT):
        """What a command says, as text: without the echo, escape sequences and carriage returns."""
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
        """What a terminal shows of all that came since the machine was switched on."""
        terminal = Terminal()
        terminal.feed(self.boot.machine.console.text)
        return terminal
