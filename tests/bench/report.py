# SPDX-License-Identifier: MIT
"""The tables: on the terminal, and in the marked sections of docs/performance.md."""
import os

from lab import ROOT

PAGE = os.path.join(ROOT, "docs/performance.md")


def _number(value):
    return f"{value:,}" if value is not None else ""


def _cells(operation, results, builds):
    """Medians by build; the first build's minimum and maximum where they differ from it."""
    row = [operation.about, _number(operation.aim)]
    for build in builds:
        row.append(_number(results[build][operation.name]["median"]))
    first = results[builds[0]][operation.name]
    spread = first["max"] != first["min"]
    row.append(f"{first['min']:,} to {first['max']:,}" if spread else "")
    return row + [operation.xen]


def table(operations, results):
    """Rows of text, the heading first; columns that would be empty are left out."""
    builds = list(results)
    rows = [["Operation", "aim", *builds, f"{builds[0]}, least to most", "Xen"]]
    rows += [_cells(operation, results, builds) for operation in operations]
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    return [[row[i] for i in kept] for row in rows]


def versus(rows):
    """A table of (about, KVM's figure, Weir's figure): how many times more KVM costs."""
    table_rows = [["Operation", "KVM", "Weir", "KVM / Weir"]]
    for about, kvm, weir in rows:
        ratio = f"{kvm / weir:.1f}" if weir else ""
        table_rows.append([about, _number(kvm), _number(weir), ratio])
    return table_rows


def over_aim(operations, results):
    """The operations that cost more than their aim, in the first build."""
    measured = next(iter(results.values()))
    return [operation for operation in operations
            if operation.aim is not None and measured[operation.name]["median"] > operation.aim]


def about_aims(operations, results):
    """The sentence beneath a table; none where no row has an aim."""
    if not any(operation.aim for operation in operations):
        return ""
    over = [operation.about for operation in over_aim(operations, results)]
    if not over:
        return "\n\nAll rows are within their aims."
    return f"\n\nOver their aims: {'; '.join(over)}."


def plain(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
                     for row in rows)


def markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|" + "---:|" * (len(rows[0]) - 1))
    return "\n".join(lines)


def write_section(name, text):
    """Puts the text between the page's two marks of this name."""
    begin, end = f"<!-- bench {name} begins -->\n", f"<!-- bench {name} ends -->"
    with open(PAGE) as file:
        page = file.read()
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"bench: {PAGE} has no section '{name}'")
    fresh = before + begin + text + "\n" + end + after
    if fresh != page:
        with open(PAGE, "w") as file:
            file.write(fresh)
