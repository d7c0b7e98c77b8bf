#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run every layer of tests and end with one line that counts them all.

    tests/tools/run_tests.py --cc CC --build DIR [--full]

A layer that cannot even be built is one that failed; the others are run all the same.
"""
import argparse
import os
import re
import subprocess
import sys
import time


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cc", "--build"):
        parser.add_argument(option, required=True)
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    build, python = args.build, sys.executable
    hosted = f"{build}/hosted"
    totals = os.path.join(build, "logs/totals.txt")
    os.makedirs(os.path.dirname(totals), exist_ok=True)
    open(totals, "w").close()
    make = ["make", "--no-print-directory"]
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # the jobs of the make above are not ours
        os.environ.pop(name, None)
    results = []

    def command(*words):
        sys.stdout.flush()
        return subprocess.run(words).returncode

    def layer(name, *words):
        """A program that adds its counts to the file of totals."""
        print(f"== {name}", flush=True)
        before = os.path.getsize(totals)
        status = command(*words, "--total", totals)
        with open(totals) as file:
            file.seek(before)
            counted = re.findall(r"^\S+ (\d+) (\d+) (\d+)$", file.read(), re.M)
        counts = [sum(int(row[i]) for row in counted) for i in range(3)]
        if not counts[1] and (status or not sum(counts)):  # a layer that ran nothing, too
            counts[1] = 1
        results.append((name, counts))

    def builds(name, *variants):
        """Each has no warning, and leaves a second make nothing to do."""
        print(f"== {name}", flush=True)
        counts = [0, 0, 0]
        for words in variants:
            print(" ".join(words), flush=True)
            wrong = command(*make, "-j2", "V=0", *words)
            counts[wrong != 0] += 1
            again = wrong or subprocess.run([*make, "V=0", *words], text=True,
                                            stdout=subprocess.PIPE).stdout
            counts[bool(again)] += 1
            if again and not wrong:
                print(f"FAIL build: a second make does\n{again}", flush=True)
        print("check-format", flush=True)
        counts[command(*make, "check-format") != 0] += 1
        results.append((name, counts))

    start = time.monotonic()
    variants = [[f"CC={args.cc}", "DEBUG=0", f"BUILD={build}/release", "all"],
                ["CC=clang", f"BUILD={build}/clang", "all"]]
    if args.full:
        variants += [["CC=clang", "DEBUG=0", f"BUILD={build}/clang-release", "all"]]
    builds("build", *variants)
    layer("tree", python, "tests/tools/check_tree.py")
    layer("model", python, "tests/tools/run_models.py", "--build", f"{build}/models",
          "--logs", f"{build}/logs/model", *(["--full"] if args.full else []))
    runner = [python, "tests/tools/run_hosted.py"]
    compiled = command(*make, "-j2", "-k", "-f", "tests/hosted/hosted.mk", f"CC={args.cc}", "V=0",
                       f"BUILD={hosted}", "all")
    if compiled:
        results.append(("hosted tests that do not compile", [0, 1, 0]))
    for kind in ("unit", "fuzz"):
        layer(kind, *runner, kind, "--build", hosted, "--logs", f"{build}/logs/{kind}",
              *(["--full"] if args.full else []))
    if args.full:
        print("== coverage", flush=True)
        wrong = command(*make, "V=0", f"BUILD={build}", "coverage") != 0
        results.append(("coverage", [int(not wrong), int(wrong), 0]))
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    layer("boot", python, "-m", "pytest", "-p", "no:terminal", "tests/boot", "-n", "2",
          "--dist", "load", *(["--full"] if args.full else []))

    print(f"== all, in {time.monotonic() - start:.0f} s")
    for name, counts in results:
        print(f"{name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    passed, failed, skipped = (sum(counts[i] for _, counts in results) for i in range(3))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


main()
