# SPDX-License-Identifier: MIT
"""A terminal of 80 columns and 24 lines, as far as the monitor uses one: what it shows, as text."""
import re

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)[ -/]*([@-~])|\x1b[ -/]*([0-~])")


class Terminal:
    def __init__(self, columns=80, rows=24):
        self.columns, self.rows = columns, rows
        self.row = self.column = 0
        self.cells = [[" "] * columns for _ in range(rows)]
        self.bells = 0

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, text):
        at = 0
        while at < len(text):
            found = SEQUENCE.match(text, at)
            if found:
                self._sequence(found.group(1), found.group(2))
                at = found.end()
            else:
                self._character(text[at])
                at += 1

    def _new_line(self):
        if self.row + 1 < self.rows:
            self.row += 1
        else:
            self.cells = self.cells[1:] + [[" "] * self.columns]

    def _character(self, c):
        if c == "\n":
            self._new_line()
        elif c == "\r":
            self.column = 0
        elif c == "\b":
            self.column = max(self.column - 1, 0)
        elif c == "\a":
            self.bells += 1
        elif c >= " ":
            if self.column == self.columns:
                self.column = 0
                self._new_line()
            self.cells[self.row][self.column] = c
            self.column += 1

    def _sequence(self, parameters, final):
        if parameters is None or "?" in parameters:
            return
        numbers = [int(n or 0) for n in parameters.split(";")]
        count = max(numbers[0], 1)
        column = min(self.column, self.columns - 1)
        if final == "H":
            second = max(numbers[1], 1) if len(numbers) > 1 else 1
            self.row, self.column = min(count, self.rows) - 1, min(second, self.columns) - 1
        elif final == "C":
            self.column = min(column + count, self.columns - 1)
        elif final == "K":
            self.cells[self.row][column:] = [" "] * (self.columns - column)
        elif final == "J":
            self.cells[self.row][column:] = [" "] * (self.columns - column)
            for row in range(self.row + 1, self.rows):
                self.cells[row] = [" "] * self.columns
