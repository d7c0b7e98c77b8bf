#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the hosted tests of a --coverage build and print lines covered for each folder and in all.

    tools/coverage.py BUILD

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
        failed |= subprocess.run([sys.executable, "tools/run_hosted.py", kind, "--build", build,
                                  "--logs", f"{build}/logs/{kind}"]).returncode
    report = os.path.join(build, "coverage.json")
    filters = [word for floor in FLOORS for word in ("--filter", f"^{floor}/")]
    subprocess.run(["gcovr", "--root", ".", *filters, "--json-summary", report,
                    "--html-details", os.path.join(build, "coverage.html"),
                    "--merge-mode-functions=merge-use-line-0", build], check=True)
    with open(report) as file:
        files = json.load(file)["files"]
    folders = {}
    for entry in files:
        folder = folders.setdefault(os.path.dirname(entry["filename"]), [0, 0])
        folder[0] += entry["line_covered"]
        folder[1] += entry["line_total"]
    in_tree = {os.path.relpath(folder, ".") for floor in FLOORS
               for folder, _, names in os.walk(floor) if any(n.endswith(".c") for n in names)}
    for folder in sorted(in_tree | set(folders)):
        covered, lines = folders.get(folder, (0, 0))
        print(f"{folder + '/':16} " + (f"{covered:6} of {lines:6} lines, {100 * covered / lines:5.1f} %"
                                       if lines else "not linked by a hosted test"))
    covered, lines = (sum(f[i] for f in folders.values()) for i in (0, 1))
    print(f"{'in all':16} {covered:6} of {lines:6} lines, {100 * covered / max(lines, 1):5.1f} %")
    sys.exit(1 if failed else 0)


main()
