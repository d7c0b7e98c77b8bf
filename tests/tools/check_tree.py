#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Rules of the source tree that no compiler checks. One line for each breach, then the counts.

    tests/tools/check_tree.py [--total FILE]

includes   a folder includes headers of its own floor and of lower ones only
licence    the first lines of each source name the licence
guards     every header is guarded by a macro made of its path
todo       no TODO, FIXME or XXX: what is missing is a row of docs/roadmap.md
length     no file over 600 lines, no test over 800
races      the races that a test names and docs/testing.md's table say the same
"""
import argparse
import glob
import os
import re
import sys

FLOORS = {"boot": 5, "kernel": 4, "vmx": 3, "mmu": 2, "mem": 1, "smp": 0, "kernel/base": -1}
SOURCES = (".c", ".h", ".S", ".py", ".sh", ".asl", ".mk")
LONGEST, LONGEST_TEST = 600, 800
TABLE = "docs/testing.md"


def floor_of(path):
    folder = os.path.dirname(path)
    while folder not in FLOORS:
        if not folder:
            return None
        folder = os.path.dirname(folder)
    return FLOORS[folder]


def tracked():
    for top in ("boot", "kernel", "vmx", "mmu", "mem", "smp", "tests"):
        for folder, folders, names in os.walk(top):
            folders[:] = [f for f in folders if f != "__pycache__"]
            yield from (os.path.join(folder, n) for n in names if n.endswith(SOURCES))


def check_includes(path, lines):
    own = floor_of(path)
    if own is None:
        return
    for number, line in enumerate(lines, 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found:
            other = floor_of(found.group(1))
            if other is None:
                yield f"{path}:{number}: includes {found.group(1)}, which is not named from the root"
            elif other > own:
                yield f"{path}:{number}: includes {found.group(1)} of a higher floor"


def check_licence(path, lines):
    if not any("SPDX-License-Identifier: MIT" in line for line in lines[:2]):
        yield f"{path}:1: its first line does not name the licence (SPDX-License-Identifier: MIT)"


def check_guards(path, lines):
    if path.endswith(".h") and floor_of(path) is not None:
        wanted = re.sub(r"\W", "_", path).upper()
        if f"#ifndef {wanted}" not in lines or f"#define {wanted}" not in lines:
            yield f"{path}:1: its guard is not {wanted}"


def check_todo(path, lines):
    for number, line in enumerate(lines, 1):
        if floor_of(path) is not None and re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield f"{path}:{number}: a note for later belongs in docs/roadmap.md"


def check_length(path, lines):
    most = LONGEST if floor_of(path) is not None else LONGEST_TEST
    if len(lines) > most:
        yield f"{path}: {len(lines)} lines: a file over {most} has a second subject in it"


def numbers_in(text):
    text = re.sub(r"\bR(\d\d) to R(\d\d)\b", lambda found: " ".join(
        f"R{n:02}" for n in range(int(found.group(1)), int(found.group(2)) + 1)), text)
    return set(re.findall(r"\bR\d\d\b", text))


def named_in(path):
    """In comments and strings, and in the names of functions: R13 elsewhere is a register."""
    with open(path) as file:
        text = file.read()
    said = " ".join(re.findall(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', text, re.S))
    return numbers_in(said) | {name.upper() for name in re.findall(r"\b(r\d\d)_", text)}, text


def named_races():
    """{race: tests}; what a header beside the test names, such as storm.h, the test does. A _tsan
    is another's file once more."""
    named = {}
    for path in glob.glob("tests/unit/**/test_*.c", recursive=True) + glob.glob("tests/models/*.pml"):
        if path.endswith("_tsan.c"):
            continue
        races, text = named_in(path)
        for header in re.findall(r'#include "(tests/unit/[^"]+\.h)"', text):
            races |= named_in(header)[0]
        test = path.removeprefix("tests/").removeprefix("unit/").removesuffix(".c")
        for race in races:
            named.setdefault(race, set()).add(test)
    return named


def table_of_races():
    rows = {}
    with open(TABLE) as file:
        for line in file:
            found = re.match(r"\| (R\d\d) \| (.*?) \|", line)
            if found:
                rows[found.group(1)] = set(re.findall("`([^`]+)`", found.group(2)))
    return rows


def check_races():
    named, rows = named_races(), table_of_races()
    for race in sorted(set(named) | set(rows)):
        for test in sorted(named.get(race, set()) - rows.get(race, set())):
            yield f"{TABLE}: {race}'s row lacks {test}, which names it"
        for test in sorted(rows.get(race, set()) - named.get(race, set())):
            yield f"{TABLE}: {race}'s row has {test}, which does not name it"


CHECKS = (check_includes, check_licence, check_guards, check_todo, check_length)
OF_ALL = (check_races,)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--total")
    args = parser.parse_args()
    failed = dict.fromkeys(CHECKS + OF_ALL, 0)
    for path in sorted(tracked()):
        with open(path) as file:
            lines = file.read().splitlines()
        for check in CHECKS:
            for breach in check(path, lines):
                print(breach)
                failed[check] = 1
    for check in OF_ALL:
        for breach in check():
            print(breach)
            failed[check] = 1
    bad = sum(failed.values())
    good = len(failed) - bad
    print(f"{good} passed, {bad} failed")
    if args.total:
        with open(args.total, "a") as file:
            file.write(f"tree {good} {bad} 0\n")
    sys.exit(1 if bad else 0)


main()
