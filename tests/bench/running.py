# SPDX-License-Identifier: MIT
"""A machine that runs while something is measured: what ends it too soon is said in one line, with
where its logs are and the end of its console."""
import contextlib
import time

from lab import SLOW
from lab.console import Ended

LAST_LINES = 25


def deadline(seconds):
    """That of a machine which starts now; WEIR_SLOW=N makes it N times as long."""
    return time.monotonic() + seconds * SLOW


@contextlib.contextmanager
def running(name, machine):
    """The machine, started, and stopped at the end. What is waited for in vain ends the benchmark."""
    try:
        with machine:
            yield machine
    except Ended as error:
        said = machine.main_console.text.replace("\r", "").splitlines()[-LAST_LINES:]
        tail = "".join(f"\n  | {line}" for line in said)
        raise SystemExit(f"bench: {name}: {error}; see {machine.folder}{tail}") from None
