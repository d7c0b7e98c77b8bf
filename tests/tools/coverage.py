#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the hosted tests of a --coverage build and print lines covered for each folder and in all.

    tests/tools/coverage.py BUILD

Only what hosted tests link counts; a folder that none links stands with "not linked".
"""
import json
import os
import subprocess
import sys

FLOORS = ("boot", "kernel", "vmx", "mmu", "mem", "smp")


def main():
    build = sys.argv[1]
    failed = 0
    for kind in ("unit", "fuzz"):
        failed |= subprocess.run([sys.executable, "tests/tools/run_hosted.py", kind, "--build", build,
                                  "--logs", f"{build}/logs/{kind}"]).returncode
    report = os.path.join(build, "coverage.json")
    filters = [word for floor in FLOORS for word in ("--filter", f"{floor}/")]
    subprocess.run(["gcovr", "--root", ".", *filters, "--json-summary", report,
                    "--html-details", os.path.join(build, "coverage.html"), build], check=True)
    with open(report) as file:
        files = json.load(file)["files"]
    folders, linked = {}, {}
    for entry in files:
        name = entry["filename"]
        folder = folders.setdefault(os.path.dirname(name), [0, 0])
        folder[0] += entry["line_covered"]
        folder[1] += entry["line_total"]
        linked[os.path.dirname(name)] = linked.get(os.path.dirname(name), 0) + name.endswith(".c")
    sources = {}
    for floor in FLOORS:
        for folder, _, names in os.walk(floor):
            sources[folder] = sum(name.endswith(".c") for name in names)
    for folder in sorted(name for name, count in sources.items() if count):
        covered, lines = folders.get(folder, (0, 0))
        text = f"{covered:6} of {lines:6} lines, {100 * covered / lines:5.1f} %" if lines else ""
        print(f"{folder + '/':16} {text:30} in {linked.get(folder, 0):3} of {sources[folder]:3} "
              "files linked by a hosted test")
    covered, lines = (sum(f[i] for f in folders.values()) for i in (0, 1))
    print(f"{'in all':16} {covered:6} of {lines:6} lines, {100 * covered / max(lines, 1):5.1f} %")
    sys.exit(1 if failed else 0)


main()
