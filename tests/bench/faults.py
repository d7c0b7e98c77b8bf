# SPDX-License-Identifier: MIT
"""How faults scale with CPUs (tests/bench/bench_faults.c): a table in docs/performance.md. They are
faults a second of this machine, so they differ from run to run, and say something only when
nothing else runs on it."""
import os
import re

import hosted
import report

LINE = re.compile(r"^faults: (\d+) (\d+) (\d+\.\d+)$", re.M)
AIM = 1.8  # times as many faults by two threads as by one


def measure():
    """{threads: (faults a second of all together, times those of one)}"""
    found = {int(threads): (int(faults), float(times))
             for threads, faults, times in LINE.findall(hosted.output("bench_faults"))}
    if set(found) != {1, 2}:
        raise SystemExit("bench faults: a number of threads is missing")
    return found


def run(write_docs):
    if os.cpu_count() < 2:
        print("faults: not measured, this machine has one CPU", flush=True)
        return {}
    found = measure()
    rows = [["Threads, each a vCPU with pages of its own", "faults a second",
             "times those of one", "aim"]]
    rows += [[str(threads), f"{faults:,}", f"{times:.2f}", f"{AIM}" if threads == 2 else ""]
             for threads, (faults, times) in sorted(found.items())]
    print(f"faults:\n{report.plain(rows)}", flush=True)
    if found[2][1] < AIM:
        print(f"faults: two threads are short of the aim of {AIM} times one")
    if write_docs:
        report.write_section("faults", report.markdown(rows))
    return found
