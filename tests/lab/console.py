# SPDX-License-Identifier: MIT
"""A machine's serial line: a thread reads it into a buffer, another writes it to a file, and one can wait for
text."""
import os
import queue
import re
import select
import threading
import time


class Ended(Exception):
    """The machine went away, or the deadline passed, before what was waited for came."""


class Console:
    """fd is read until its end; every byte also goes to the file at path."""

    def __init__(self, fd, path):
        self.fd = fd
        self.path = path
        self.text = ""
        self.closed = False
        self.changed = threading.Condition()
        self._listener = None
        self._unheard = bytearray()  # what came before somebody listened
        self._hearing = threading.Lock()
        self._stop_read, self._stop_write = os.pipe()
        self._unwritten = queue.SimpleQueue()  # pieces; None: there are no more
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._run, self._write)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        try:
            self._read()
        finally:  # though the listener's terminal is gone
            self._unwritten.put(None)

    def _read(self):
        """Bochs throws away what its terminal has no room for: no disk may keep this waiting."""
        while True:
            ready, _, _ = select.select([self.fd, self._stop_read], [], [])
            if self.fd not in ready:
                break
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # a pty whose other end was closed
                data = b""
            if not data:
                break
            self._unwritten.put(data)
            with self._hearing:
                if self._listener:
                    self._listener(data)
                else:
                    self._unheard += data
            with self.changed:
                self.text += data.decode("utf-8", "replace")
                self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _write(self):
        with open(self.path, "wb", buffering=0) as file:
            for data in iter(self._unwritten.get, None):
                file.write(data)

    def listen(self, listener):
        """It is called at once with all that nobody has heard, and with what comes next by the thread that reads."""
        with self._hearing:
            listener(bytes(self._unheard))
            self._unheard.clear()
            self._listener = listener

    def wait(self, pattern, deadline, alive=lambda: True, start=0, fatal=None):
        """The match of a regular expression, from the offset start on.

        deadline is a time of time.monotonic(). Ended when it passes, when the machine is gone, or
        when a whole line on the console matches fatal: then there is nothing more to wait for.
        """
        expression = re.compile(pattern, re.M)
        end = re.compile(fatal, re.M) if fatal else None
        with self.changed:
            while True:
                match = expression.search(self.text, start)
                if match and not self._may_go_on(expression, match):
                    return match
                dead = end.search(self.text) if end else None
                if dead and self._line_is_whole(dead):
                    raise Ended(f"{dead.group(0).strip()}, before it said /{pattern}/")
                if self.closed:
                    raise Ended(f"the machine ended before it said /{pattern}/")
                left = deadline - time.monotonic()
                if left <= 0 and match:
                    return match
                if left <= 0:
                    raise Ended(f"it did not say /{pattern}/ before its deadline")
                # A process that died without closing the line is noticed here, not waited for.
                if not self.changed.wait(min(left, 1)) and not alive():
                    match = expression.search(self.text, start)
                    if match:
                        return match
                    raise Ended(f"the emulator ended before the machine said /{pattern}/")

    def _may_go_on(self, expression, match):
        """It ends where the console does so far, and what comes next could belong to it: a number
        of which more digits are on their way, in any base, a word, the rest of a line."""
        if self.closed or match.end() != len(self.text):
            return False

        def grows(more):
            longer = expression.search(self.text + more, match.start())
            return longer is not None and longer.end() > match.end()

        # What goes on over a line's end, too, takes whatever comes: there is nothing to wait for.
        return (grows("0") or grows("a")) and not grows("\n")

    def _line_is_whole(self, match):
        """What is waited for may be in the rest of the line that is fatal."""
        return self.closed or "\n" in self.text[match.end():]

    def send(self, data):
        while data:
            data = data[os.write(self.fd, data):]

    def close(self):
        """Reads what is still there, then stops the threads."""
        os.write(self._stop_write, b"x")
        for thread in self._threads:
            thread.join()
        for fd in (self._stop_read, self._stop_write):
            os.close(fd)
