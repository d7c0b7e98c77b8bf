#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Check the models of tests/models with spin, and that their mutants are refuted.

    tests/tools/run_models.py --build DIR --logs DIR [--full] [--total FILE] [NAME...]
    tests/tools/run_models.py [--full] --list [NAME...]

A model's head says how it is checked, in one line or several for each size:

    model: READERS=2 ROUNDS=3: NO_FIRST_WAIT NO_SECOND_WAIT

The words before the colon are macros; in every order of steps nothing may go wrong. The words
after it are the mutants: with such a macro as well, spin must find an order in which something
does. A size after "model full:" is for --full only. NAME chooses those whose name contains it; --list only says which those are. A
check's output is kept in the folder of logs, a refuted one's with the steps that lead there.
--total adds "model passed failed skipped" to FILE.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import time

HEAD = re.compile(r"^ \* model( full)?: ([^:\n]*):((?: [A-Z_]+)*$(?:\n \*\t[A-Z_ ]+$)*)", re.M)
BREACH = re.compile(r"^pan:\d+: (assertion violated|invalid end state)", re.M)
# Most searches take less than compiling them well would.
COMPILE = ["gcc", "-w", "-DSAFETY", "-DCOLLAPSE"]
DEPTH, HASH = 500000, 22  # steps; two to this many slots for states
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
DEADLINE, DEADLINE_FULL = 120 * SLOW, 1800 * SLOW


class Check:
    def __init__(self, path, full, macros, mutant):
        self.path, self.mutant = os.path.abspath(path), mutant
        self.full, self.deadline = full, DEADLINE_FULL if full else DEADLINE
        self.macros = macros + ([mutant] if mutant else [])
        stem = os.path.basename(path)[:-len(".pml")]
        self.name = "-".join([stem] + [m.replace("=", "") for m in macros])
        if mutant:
            self.name += f"/{mutant}"

    def run(self, build, logs):
        """(what was found, None or why that is wrong)"""
        folder = os.path.join(build, self.name.replace("/", "-"))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.log = os.path.join(logs, self.name + ".log")
        os.makedirs(os.path.dirname(self.log), exist_ok=True)
        model = os.path.basename(self.path)
        shutil.copy(self.path, folder)
        defines = [f"-D{macro}" for macro in self.macros]
        with open(self.log, "w") as log:
            for words in (["spin", *defines, "-a", model],
                          [*COMPILE, *(["-O2"] if self.full else []), "-o", "pan", "pan.c"],
                          ["./pan", f"-m{DEPTH}", f"-w{HASH}"]):
                done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      timeout=self.deadline)
                log.write(f"$ {' '.join(words)}\n{done.stdout}")
                if done.returncode:
                    return "", f"{words[0]} failed"
            text = done.stdout
            if os.path.exists(os.path.join(folder, model + ".trail")):
                steps = subprocess.run(["spin", *defines, "-t", "-p", "-g", model], cwd=folder,
                                       stdin=subprocess.DEVNULL, text=True, timeout=DEADLINE,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
                log.write(steps)
        return self.judge(text)

    def judge(self, text):
        errors = re.search(r"errors: (\d+)", text)
        states = re.search(r"(\d+) states, stored", text)
        breach = BREACH.search(text)
        if not errors or not states or "Search not completed" in text and errors.group(1) == "0":
            return "", "the search did not come to its end"
        if not self.mutant:
            if errors.group(1) != "0" or "max search depth too small" in text:
                return "", breach.group(1) if breach else "the search was cut off"
            return f"{states.group(1)} states", None
        if not breach:
            return "", "the mutant was not refuted"
        return breach.group(1), None


def checks_of(path):
    with open(path) as file:
        text = file.read()
    heads = HEAD.findall(text)
    if not heads or len(heads) != len(re.findall(r"^ \* model\b", text, re.M)):
        sys.exit(f"{path}: a line with 'model:' is not understood")
    for full, macros, mutants in heads:
        for mutant in [None] + re.sub(r"\n \*", " ", mutants).split():
            yield Check(path, bool(full), macros.split(), mutant)


def attempt(check, build, logs):
    start = time.monotonic()
    try:
        found, wrong = check.run(build, logs)
    except subprocess.TimeoutExpired:
        found, wrong = "", f"its deadline of {check.deadline:g} s passed"
    return check, found, wrong, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    for option in ("--build", "--logs"):
        parser.add_argument(option)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--total")
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    every = [check for path in sorted(glob.glob("tests/models/*.pml")) for check in checks_of(path)
             if args.full or not check.full]
    for name in args.names:
        if not any(name in check.name for check in every):
            sys.exit(f"TESTS: no model's name contains '{name}'; make test-models LIST=1 lists them")
    chosen = [check for check in every if not args.names or any(name in check.name for name in args.names)]
    if args.list:
        print("\n".join(check.name for check in chosen))
        return
    failed = 0
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(attempt, check, args.build, args.logs) for check in chosen]
        for future in concurrent.futures.as_completed(running):
            check, found, wrong, seconds = future.result()
            print(f"{'FAIL' if wrong else 'PASS'} model {check.name} ({wrong or found}, "
                  f"{seconds:.1f} s)", flush=True)
            if wrong:
                failed += 1
                print(f"    whole output: {check.log}", flush=True)
    print(f"model: {len(chosen)} checks in {time.monotonic() - start:.0f} s")
    print(f"{len(chosen) - failed} passed, {failed} failed")
    if args.total:
        with open(args.total, "a") as file:
            file.write(f"model {len(chosen) - failed} {failed} 0\n")
    sys.exit(1 if failed else 0)


main()
