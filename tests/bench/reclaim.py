# SPDX-License-Identifier: MIT
"""Which pages Weir takes, beside LRU, FIFO and the optimum (tests/bench/bench_reclaim.c): a table in
docs/performance.md and a plot, docs/reclaim.svg, drawn here."""
import os
import re

import hosted
import plot
import report
from lab import ROOT

PLOT = os.path.join(ROOT, "docs/reclaim.svg")
LINE = re.compile(r"^reclaim: (\w+) (\w+) (\d+) (\d+) (\d+) (\d+)$", re.M)
POLICIES = {"weir": ("Weir", "#1f5fa8"), "lru": ("LRU", "#8aa9c9"), "fifo": ("FIFO", "#c9c9c9"),
            "belady": ("optimum", "#3f8f4f")}
TRACES = {"zipf": "Zipf over all pages", "scan": "working set beside a scan",
          "loop": "loop over 5/4 of memory", "mixed": "phases of these"}


def measure():
    """{trace: {policy: (accesses, misses, reclaimed, refaults)}}"""
    text = hosted.output("bench_reclaim")
    found = {trace: {} for trace in TRACES}
    for trace, policy, *numbers in LINE.findall(text):
        found[trace][policy] = tuple(map(int, numbers))
    if any(set(of) != set(POLICIES) for of in found.values()):
        raise SystemExit("bench reclaim: a policy is missing")
    return found


def per_thousand(part, whole):
    return round(1000 * part / whole) if whole else 0


def table(found):
    rows = [["Trace"] + [f"{name}: misses" for name, _ in POLICIES.values()] +
            [f"{name}: refaults" for name, _ in POLICIES.values()]]
    for trace, about in TRACES.items():
        of = [found[trace][policy] for policy in POLICIES]
        rows.append([about] + [str(per_thousand(misses, accesses))
                               for accesses, misses, _, _ in of] +
                    [str(per_thousand(refaults, reclaimed)) for _, _, reclaimed, refaults in of])
    return rows


WIDTH, PANEL = 720, 270


def panel(found, top, title, part, whole):
    """Bars of one number per thousand of another, by their places in what was found; grouped by trace."""
    drawn = plot.Panel(title, top, top + 232, 210, 1000, 250)
    for trace, about in TRACES.items():
        drawn.group([(per_thousand(found[trace][policy][part], found[trace][policy][whole]), colour)
                     for policy, (_, colour) in POLICIES.items()], about, 30, 44)
    return drawn.out


def draw(found):
    """Misses per thousand accesses, and below them refaults per thousand pages that were reclaimed."""
    height = 2 * PANEL + 40
    return plot.svg(WIDTH, height,
                    panel(found, 18, "misses per thousand accesses, memory for a quarter of the pages", 1, 0),
                    panel(found, 18 + PANEL, "refaults per thousand pages that were reclaimed", 3, 2),
                    plot.legend(POLICIES.values(), height - 20, 90))


def run(write_docs):
    found = measure()
    rows = table(found)
    print(f"reclaim:\n{report.plain(rows)}", flush=True)
    if write_docs:
        report.write_section("reclaim", report.markdown(rows))
        with open(PLOT, "w") as file:
            file.write(draw(found))
    return found
