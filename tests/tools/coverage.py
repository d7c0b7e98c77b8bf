#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the hosted tests of a --coverage build and print lines and branches covered, by folder and in all.

    tests/tools/coverage.py BUILD

What hosted tests link counts; a file of a folder of LEAST that none links fails the run, unless
NOT_HOSTED says why. Branches of lines with an assertion do not count (gcovr
--exclude-branches-by-pattern): a test that takes such a branch has found a bug. Fails where a folder of
LEAST has less than it says there.
"""
import glob
import json
import os
import subprocess
import sys

ASSERTIONS = r".*\b(BUG_ON|ASSERT|static_assert)\("
FLOORS = ("boot", "kernel", "vmx", "mmu", "mem", "smp")
LEAST = {"mmu": (95, 90), "mem": (95, 90)}  # percent of lines and of branches
NOT_HOSTED = {
    "mem/libc.c": "what liblz4 links and never calls: each function is a panic; libc has its own",
    "mem/vector.c": "vector registers of a CPU that is Weir's own: tests/hosted/include/mem/vector.h",
    "mem/vmap_image.c": "the addresses that linker.ld gives to Weir's image",
}
COUNTS = ("line_covered", "line_total", "branch_covered", "branch_total")


def covered(counts):
    """Two columns, or none where no hosted test links anything."""
    if not counts:
        return ""
    return ", ".join(f"{some:6} of {all_:6} {what}, {100 * some / max(all_, 1):5.1f} %"
                     for some, all_, what in zip(counts[::2], counts[1::2], ("lines", "branches")))


def not_linked(entries, build):
    """Files of the folders of LEAST that count nowhere, though nothing keeps tests from them; and those
    that NOT_HOSTED has without need. What holds no code, tables alone, is linked where it was compiled."""
    there = {os.path.join(folder, name) for folder in LEAST for name in os.listdir(folder)
             if name.endswith(".c")}
    linked = {entry["filename"] for entry in entries}
    linked |= {name for name in there if glob.glob(f"{build}/obj/*/{name}.gcno")}
    return sorted(there - linked - set(NOT_HOSTED)), sorted(set(NOT_HOSTED) - (there - linked))


def main():
    build = sys.argv[1]
    failed = 0
    for kind in ("unit", "fuzz"):
        failed |= subprocess.run([sys.executable, "tests/tools/run_hosted.py", kind, "--build", build,
                                  "--logs", f"{build}/logs/{kind}"]).returncode
    report = os.path.join(build, "coverage.json")
    filters = [word for floor in FLOORS for word in ("--filter", f"{floor}/")]
    subprocess.run(["gcovr", "--root", ".", *filters, "--exclude-branches-by-pattern", ASSERTIONS,
                    "--json-summary", report, "--html-details",
                    os.path.join(build, "coverage.html"), build], check=True)
    with open(report) as file:
        files = json.load(file)["files"]
    folders, linked = {}, {}
    for entry in files:
        name = entry["filename"]
        folder = folders.setdefault(os.path.dirname(name), [0, 0, 0, 0])
        for i, what in enumerate(COUNTS):
            folder[i] += entry[what]
        linked[os.path.dirname(name)] = linked.get(os.path.dirname(name), 0) + name.endswith(".c")
    sources = {}
    for floor in FLOORS:
        for folder, _, names in os.walk(floor):
            sources[folder] = sum(name.endswith(".c") for name in names)
    for folder in sorted(name for name, count in sources.items() if count):
        print(f"{folder + '/':16} {covered(folders.get(folder)):58} "
              f"in {linked.get(folder, 0):3} of {sources[folder]:3} files linked by a hosted test")
    print(f"{'in all':16} {covered([sum(f[i] for f in folders.values()) for i in range(4)])}")
    for folder, (lines, branches) in LEAST.items():
        if any(100 * some < least * total for some, total, least in zip(
                folders[folder][::2], folders[folder][1::2], (lines, branches))):
            print(f"{folder}/: less than {lines} % of the lines or {branches} % of the branches")
            failed = 1
    missing, needless = not_linked(files, build)
    for name in missing:
        print(f"{name}: no hosted test links it")
    for name in needless:
        print(f"{name}: coverage.py need not leave it out")
    sys.exit(1 if failed or missing or needless else 0)


if __name__ == "__main__":
    main()
