# SPDX-License-Identifier: MIT
"""What make makes of its arguments, and what it leaves in the build folder."""
import os
import re
import subprocess

import pytest

from lab import ROOT


@pytest.mark.parametrize("word", ["HEADLESS=yes", "LIST=y", "DEBUG=yes", "V=2", "DEBUG=1 0"])
def test_a_switch_is_0_or_1(word):
    done = subprocess.run(["make", "-n", "clean", word], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [done.stdout.strip()], "more than a line"
    assert f"{word}: it is 0 or 1" in done.stdout


def test_switches_may_be_off():
    done = subprocess.run(["make", "-n", "clean", "HEADLESS=0", "LIST=", "DEBUG=0", "V=1"], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0


@pytest.mark.parametrize("goal,word,says", [
    ("test-boot", "CASES=nonesuch", "CASES: no boot case 'nonesuch'; make test-boot LIST=1 lists them"),
    ("test-boot", "CPUS=nonesuch", "CPUS: 'nonesuch' is none of: "),
    ("bench", "BENCH=nonesuch", "BENCH: there is no group nonesuch; there are guest, "),
    ("run", "MEM=0", "MEM=0: it is a number from 1 to 32768 (MiB)"), ("run", "CPU=nonesuch", "CPU=nonesuch: Bochs has "),
    ("run", "ACCEL=nonesuch", "ACCEL=nonesuch: it is auto, kvm or bochs"),
    ("run", "GUEST=/etc/passwd", "GUEST=/etc/passwd: there is no such folder; "),
    ("run", "CONFIG=nonesuch", "CONFIG=nonesuch: there is no such file")])
def test_a_wrong_choice_is_said_before_anything_is_built(tmp_path, goal, word, says):
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", goal, word, f"BUILD={tmp_path / 'build'}"], cwd=ROOT, text=True, env=alone,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    first, failed = done.stdout.splitlines()[:2]
    assert first.startswith(says) and failed.startswith("make: ***"), done.stdout
    assert done.returncode == 2


def test_listing_cases_needs_no_compiler():
    done = subprocess.run(["make", "-n", "test-boot", "LIST=1"], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert "deps.sh --quiet list" in done.stdout and "deps.sh --quiet test " not in done.stdout
    script = os.path.join(ROOT, "tests/tools/deps.sh")
    with open(script) as file:
        wanted = re.search(r"^\tlist\) want=(.*) ;;", file.read(), re.M).group(1)
    assert "python3-pytest" in wanted and "clang" not in wanted


@pytest.mark.parametrize("goals,builds", [
    ("deps", False), ("deps-run clean", False), ("clean", False), ("distclean", False), ("", True), ("deps all", True)])
def test_make_deps_leaves_nothing_in_the_build_folder(tmp_path, goals, builds):
    """By sudo it would be root's, and a later make could not write there."""
    done = subprocess.run(["make", "-n", *goals.split(), f"BUILD={tmp_path / 'build'}"], cwd=ROOT,
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    assert os.path.exists(tmp_path / "build/flags.txt") == builds
    assert os.path.exists(tmp_path / "build") == builds


def test_make_clean_keeps_what_was_fetched(tmp_path):
    build = tmp_path / "build"
    for name in ("cache/linux", "obj/kernel"):
        (build / name).mkdir(parents=True)
    (build / "weir.elf").touch()
    (build / "flags.txt").touch()
    clean = ["make", "-s", f"BUILD={build}"]
    subprocess.run([*clean, "clean"], cwd=ROOT, check=True)
    assert sorted(os.listdir(build)) == ["cache", "flags.txt"]
    assert os.listdir(build / "cache") == ["linux"]
    subprocess.run([*clean, "distclean"], cwd=ROOT, check=True)
    assert not build.exists()
    subprocess.run([*clean, "clean"], cwd=ROOT, check=True)
    assert not build.exists()


@pytest.mark.parametrize("goal", ["clean", "distclean"])
def test_make_clean_touches_nothing_that_is_not_its_own(tmp_path, goal):
    (tmp_path / "letters").mkdir()
    done = subprocess.run(["make", "-s", goal, f"BUILD={tmp_path}"], cwd=ROOT, text=True,
                          stderr=subprocess.PIPE)
    assert done.returncode and "nothing was built there" in done.stderr
    assert os.listdir(tmp_path) == ["letters"]
    for word in ("", ".", "/", "a b"):  # tried without doing anything
        done = subprocess.run(["make", "-n", goal, f"BUILD={word}"], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode and f"BUILD={word}: " in done.stderr and not done.stdout
