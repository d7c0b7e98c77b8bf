#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the hosted tests, some at a time, and sum up.

    tests/tools/run_hosted.py unit|fuzz --build DIR --logs DIR [--quick|--full] [--total FILE] [NAME...]
    tests/tools/run_hosted.py unit|fuzz --list [NAME...]

NAME chooses tests whose path contains it; --list only says which those are. Each test's output is kept in DIR/<path>.log; that of a
failing one is shown. What goes by random numbers finds WEIR_FUZZ=quick, short or full in its
environment and WEIR_SEED, from the date, unless the caller set one. --total adds "passed failed skipped" to FILE.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

DEADLINES = {"unit-quick": 120, "unit-short": 120, "unit-full": 1200, "fuzz-short": 180, "fuzz-full": 3600}
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
GRACE = 10  # a program that does not end itself
SHOWN_LINES = 40


def count(text, status):
    """(passed, failed, skipped) from cmocka's report; a test that crashed is one that failed."""
    passed = len(re.findall(r"^\[       OK \]", text, re.M))
    # Each stands there twice, where it ended and in a list, at whose head cmocka 1.1.7 names the group.
    failed = len(set(re.findall(r"^\[  FAILED  \] ([A-Za-z_]\w*)$", text, re.M)))
    skipped = len(set(re.findall(r"^\[  SKIPPED \] ([A-Za-z_]\w*)$", text, re.M)))
    reported = re.findall(r"^(\d+) passed, (\d+) failed", text, re.M)
    if not passed + failed + skipped and reported:  # a test without cmocka
        passed, failed = (int(n) for n in reported[-1])
    if not failed and (status != 0 or not passed + skipped):  # one that ran nothing, too
        failed = 1
    return passed, failed, skipped


def last_test(text):
    """The one that had begun when the program ended."""
    begun = re.findall(r"^\[ RUN      \] ([A-Za-z_]\w*)", text, re.M)
    return f" in {begun[-1]}" if begun else ""


def wait_for(program, seconds):
    """Its status. Popen.wait with a timeout looks only every 50 ms, which all programs together feel."""
    late = threading.Event()

    def end():
        late.set()
        program.kill()
    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        status = program.wait()
    except BaseException:
        program.kill()
        raise
    finally:
        timer.cancel()
    return -signal.SIGALRM if late.is_set() else status


def run(target, name, args, extent, deadline):
    log = os.path.join(args.logs, name + ".log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    environment = dict(os.environ, ASAN_OPTIONS="detect_stack_use_after_return=1",
                       UBSAN_OPTIONS="print_stacktrace=1", TSAN_OPTIONS="halt_on_error=1")
    environment["WEIR_FUZZ"] = extent
    environment.setdefault("WEIR_SEED", time.strftime("%Y%m%d"))
    environment["WEIR_DEADLINE"] = f"{deadline:.0f}"  # tests/hosted/hosted.c sees to it
    start = time.monotonic()
    with open(log, "w") as file:
        status = wait_for(subprocess.Popen([target], stdin=subprocess.DEVNULL, stdout=file,
                                           stderr=subprocess.STDOUT, env=environment),
                          deadline + GRACE)
    with open(log, errors="replace") as file:
        text = file.read()
    if status == -signal.SIGALRM:
        text += f"\nended: the deadline of {deadline:g} s passed{last_test(text)}\n"
        with open(log, "w") as file:
            file.write(text)
    return name, log, status, text, time.monotonic() - start


def chosen_of(names, wanted, kind):
    """Those that contain one of the words that are wanted, of which each is to be in one."""
    for word in wanted:
        if not any(word in name for name in names):
            sys.exit(f"TESTS: no {kind} test's name contains '{word}'; make test-{kind} LIST=1 lists them")
    return [name for name in names if not wanted or any(word in name for word in wanted)]


def names_of_sources(kind):
    """Built or not."""
    folder = os.path.join(TESTS, kind)
    pattern = os.path.join(folder, "**", "test_*.c" if kind == "unit" else "fuzz_*.c")
    return sorted(os.path.relpath(path, folder)[:-len(".c")] for path in glob.glob(pattern, recursive=True))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("unit", "fuzz"))
    for option in ("--build", "--logs"):
        parser.add_argument(option)
    parser.add_argument("--list", action="store_true")
    extents = parser.add_mutually_exclusive_group()
    extents.add_argument("--quick", action="store_true")
    extents.add_argument("--full", action="store_true")
    parser.add_argument("--total")
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    extent = "full" if args.full else "quick" if args.quick else "short"
    kind = f"{args.kind}-{extent}"
    if args.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as of `| head`
        print("\n".join(chosen_of(names_of_sources(args.kind), args.names, args.kind)))
        return

    with open(os.path.join(args.build, args.kind + ".txt")) as file:
        targets = file.read().split()
    base = os.path.join(args.build, args.kind)
    names = chosen_of([os.path.relpath(t, base) for t in targets], args.names, args.kind)
    if not names:
        sys.exit(f"no {args.kind} test")

    total = [0, 0, 0]
    start = time.monotonic()
    # Some wait more than they work.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() + 1) as pool:
        running = [pool.submit(run, os.path.join(base, name), name, args, extent, DEADLINES[kind] * SLOW)
                   for name in names]
        for future in concurrent.futures.as_completed(running):
            name, log, status, text, seconds = future.result()
            counts = count(text, status)
            total = [a + b for a, b in zip(total, counts)]
            word = "FAIL" if counts[1] else "PASS"
            print(f"{word} {args.kind} {name} ({counts[0]} passed, {seconds:.1f} s)", flush=True)
            if counts[1]:
                print("\n".join("    " + l for l in text.splitlines()[-SHOWN_LINES:]))
                print(f"    status {status}, whole output: {log}", flush=True)
    print(f"{kind}: {len(names)} programs in {time.monotonic() - start:.0f} s")
    print(f"{total[0]} passed, {total[1]} failed" + (f", {total[2]} skipped" if total[2] else ""))
    if args.total:
        with open(args.total, "a") as file:
            file.write(f"{kind} {total[0]} {total[1]} {total[2]}\n")
    sys.exit(1 if total[1] else 0)


if __name__ == "__main__":
    main()
