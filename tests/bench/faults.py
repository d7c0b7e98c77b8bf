# SPDX-License-Identifier: MIT
"""How faults scale with CPUs (tests/bench/bench_faults.c): a table in docs/performance.md. They are
faults a second of this machine, so they differ from run to run, and say something only when
nothing else runs on it. The aim is held against CPU time, in which other programs count for little;
a lock on which threads sleep costs none of it, and shows by the clock, which is printed beside it."""
import os
import re

import hosted
import report

LINE = re.compile(r"^faults: (\d+) (\d+) (\d+\.\d+) (\d+) (\d+\.\d+)$", re.M)
AIM = 1.8  # times as many faults by two threads as by one


def parse(text):
    """{threads: (faults a second of all together, times those of one; both by the clock)}"""
    found = {int(line[0]): (int(line[1]), float(line[2]), int(line[3]), float(line[4]))
             for line in LINE.findall(text)}
    if set(found) != {1, 2}:
        raise SystemExit("bench faults: a number of threads is missing")
    return found


def missed(found):
    """Sentences, of the aim that was missed."""
    if found[2][1] < AIM:
        return [f"faults: two threads are short of the aim of {AIM} times one"]
    return []


def run(write_docs):
    """(the figures, what was missed)"""
    if os.cpu_count() < 2:
        print("faults: not measured, this machine has one CPU", flush=True)
        return {}, []
    found = parse(hosted.output("bench_faults"))
    rows = [["Threads, each a vCPU with pages of its own", "faults a second",
             "times those of one", "aim", "by the clock", "times"]]
    rows += [[str(threads), f"{faults:,}", f"{times:.2f}", f"{AIM}" if threads == 2 else "",
              f"{wall:,}", f"{wall_times:.2f}"]
             for threads, (faults, times, wall, wall_times) in sorted(found.items())]
    print(f"faults:\n{report.plain(rows)}", flush=True)
    if write_docs:
        report.write_section("faults", report.markdown(rows))
    return found, missed(found)
