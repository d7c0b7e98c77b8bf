# SPDX-License-Identifier: MIT
"""Which pages Weir takes, beside LRU, FIFO and the optimum (tests/bench/bench_reclaim.c): a table in
docs/performance.md and a plot, docs/reclaim.svg, drawn here."""
import os
import re

import hosted
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


WIDTH, PANEL, LEFT, BAR, GAP, MOST = 720, 270, 46, 30, 44, 1000


def panel(found, top, title, part, whole):
    """Bars of one number per thousand of another, by their places in what was found; grouped by trace."""
    bottom = top + 232
    out = [f'<text x="{LEFT}" y="{top}">{title}</text>']
    for value in range(0, MOST + 1, 250):
        y = bottom - value * 210 / MOST
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value}</text>')
    x = LEFT + 14
    for trace, about in TRACES.items():
        for policy, (_, colour) in POLICIES.items():
            value = per_thousand(found[trace][policy][part], found[trace][policy][whole])
            y = bottom - value * 210 / MOST
            out.append(f'<rect x="{x}" y="{y:.1f}" width="{BAR - 2}" height="{bottom - y:.1f}" '
                       f'fill="{colour}"/>')
            out.append(f'<text x="{x + BAR / 2 - 1}" y="{y - 3:.1f}" text-anchor="middle" '
                       f'font-size="10">{value}</text>')
            x += BAR
        out.append(f'<text x="{x - 2 * BAR}" y="{bottom + 16}" text-anchor="middle">{about}</text>')
        x += GAP
    return out


def plot(found):
    """Misses per thousand accesses, and below them refaults per thousand pages that were reclaimed."""
    height = 2 * PANEL + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>']
    out += panel(found, 18, "misses per thousand accesses, memory for a quarter of the pages", 1, 0)
    out += panel(found, 18 + PANEL, "refaults per thousand pages that were reclaimed", 3, 2)
    x = LEFT + 14
    for name, colour in POLICIES.values():
        out.append(f'<rect x="{x}" y="{height - 20}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{x + 17}" y="{height - 10}">{name}</text>')
        x += 90
    return "\n".join(out + ["</svg>"]) + "\n"


def run(write_docs):
    found = measure()
    rows = table(found)
    print(f"reclaim:\n{report.plain(rows)}", flush=True)
    if write_docs:
        report.write_section("reclaim", report.markdown(rows))
        with open(PLOT, "w") as file:
            file.write(plot(found))
    return found
