# SPDX-License-Identifier: MIT
"""Benchmarks of Weir's own sources built for this machine (tests/bench/bench_*.c)."""
import os
import subprocess

from lab import BUILD, ROOT


def output(name):
    """Builds the program and gives what it wrote."""
    build = os.path.relpath(os.path.join(BUILD, "hosted-bench"), ROOT)
    subprocess.run(["make", "-s", "-f", "tests/hosted/hosted.mk", "CC=gcc", "V=0",
                    f"BUILD={build}", "bench", f"TESTS={name}"], cwd=ROOT, check=True)
    return subprocess.run([os.path.join(build, "bench", name)], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE).stdout
