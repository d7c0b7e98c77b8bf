# SPDX-License-Identifier: MIT
"""What make makes of its arguments, and what it leaves in the build folder."""
import os
import re
import runpy
import subprocess
import sys

import pytest

from lab import ROOT, image

sys.path.append(os.path.join(ROOT, "tests/tools"))
import run  # noqa: E402
import swap_image  # noqa: E402

# As where no make is above: that names folders, and lets any variable pass.
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


@pytest.mark.parametrize("word", ["HEADLESS=yes", "LIST=y", "DEBUG=yes", "V=2", "DEBUG=1 0"])
def test_a_switch_is_0_or_1(word):
    done = subprocess.run(["make", "-n", "clean", word], cwd=ROOT, env=ALONE, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [done.stdout.strip()], "more than a line"
    assert f"{word}: it is 0 or 1" in done.stdout


def test_switches_may_be_off():
    done = subprocess.run(["make", "-n", "clean", "HEADLESS=0", "LIST=", "DEBUG=0", "V=1"], cwd=ROOT, env=ALONE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0


@pytest.mark.parametrize("word", ["HEADLES=1", "Cpu=tigerlake", "GUESTS=a b", "prefix=/usr"])
def test_a_variable_that_is_none_is_named(tmp_path, word):
    done = subprocess.run(["make", "run", "DEBUG=0", word, f"BUILD={tmp_path / 'build'}"], cwd=ROOT, text=True, env=ALONE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [done.stdout.strip()], "more than a line"
    assert f"*** {word}: there is no such variable; make help explains CC DEBUG " in done.stdout
    assert not os.path.exists(tmp_path / "build")


def test_variables_that_are_there_may_be_given():
    """All that help names, those that callers have for whatever they build, and anything from the make above."""
    named = set(re.findall(r"\b([A-Z_]+)=", subprocess.run(["make", "help"], cwd=ROOT, text=True, env=ALONE,
                                                           stdout=subprocess.PIPE).stdout))
    with open(os.path.join(ROOT, "Makefile")) as file:
        known = re.search(r"^VARIABLES := ((?:\\\n|.)*)$", file.read(), re.M).group(1).replace("\\\n", " ").split()
    assert named == set(known) > {"CC", "CPUS", "BENCH"}
    switches = {"DEBUG", "V", "HEADLESS", "LIST", "FULL"}
    words = [f"{name}={1 if name in switches else 'build'}" for name in known]
    flags = ["CFLAGS=-O2 -g", "LDFLAGS=-s", "CPPFLAGS=", "MAKEFLAGS=-s", "WARNINGS=-Wall", "PYTHON=python3",
             "SHELL=/bin/bash", "WEIR_SLOW=2", "WEIR_SEED=1", "PYTEST_ADDOPTS=-x"]
    for given, environment in (words, {}), (flags, {}), (["-j2", "-s"], {}), (
            ["HEADLES=1"], {"MAKELEVEL": "1"}), ([], {"HEADLES": "1"}), ([], {"MAKEFLAGS": " -- X=1", "MAKELEVEL": "2"}):
        done = subprocess.run(["make", "-n", "clean", *given], cwd=ROOT, text=True, env=ALONE | environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("goal", ["all", "run", "swap-image", "test-unit", "deps"])
@pytest.mark.parametrize("cc", ["nosuchcc", "", "tcc -m64", "cc1"])
def test_a_compiler_that_is_none_leaves_what_is_built(tmp_path, goal, cc):
    """With its name in flags.txt the next make would compile everything again."""
    make = ["make", "-n", goal, f"BUILD={tmp_path}"]
    (tmp_path / "flags.txt").write_text("those of the last make\n")
    done = subprocess.run([*make, f"CC={cc}"], cwd=ROOT, env=ALONE, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [done.stdout.strip()], "more than a line"
    assert f"*** CC={cc}: it is gcc or clang, " in done.stdout
    assert (tmp_path / "flags.txt").read_text() == "those of the last make\n"


@pytest.mark.parametrize("goal,word,says", [
    ("test-boot", "CASES=nonesuch", "CASES: no boot case 'nonesuch'; make test-boot LIST=1 lists them"),
    ("test-boot", "CPUS=nonesuch", "CPUS: 'nonesuch' is none of: "),
    ("test-unit", "TESTS=mem/ nosuch", "TESTS: no unit test's name contains 'nosuch'; make test-unit LIST=1 lists them"),
    ("test-fuzz", "TESTS=nosuch", "TESTS: no fuzz test's name contains 'nosuch'; make test-fuzz LIST=1 lists them"),
    ("test-models", "TESTS=nosuch", "TESTS: no model's name contains 'nosuch'; make test-models LIST=1 lists them"),
    ("bench", "BENCH=nonesuch", "BENCH: there is no group nonesuch; there are guest, "),
    ("run", "MEM=0", "MEM=0: it is a number from 1 to 32768 (MiB)"), ("run", "CPU=nonesuch", "CPU=nonesuch: Bochs has "),
    ("run", "RAM=63", "RAM=63: it is a number from 64 on (MiB)"),
    ("run", "RAM=1048577", "RAM=1048577: the machine can have 64 to "),
    ("run", "ACCEL=nonesuch", "ACCEL=nonesuch: it is auto, kvm or bochs"),
    ("run", "GUEST=/etc/passwd", "GUEST=/etc/passwd: there is no such folder; "),
    ("run", "CONFIG=nonesuch", "CONFIG=nonesuch: there is no such file"),
    ("run", "CONFIG=README.md", "CONFIG=README.md: line 3: 'Weir' is none of "),
    ("run", "CONFIG=/proc/self/mem", "CONFIG=/proc/self/mem: Input/output error")])
def test_a_wrong_choice_is_said_before_anything_is_built(tmp_path, goal, word, says):
    done = subprocess.run(["make", goal, word, f"BUILD={tmp_path / 'build'}"], cwd=ROOT, text=True, env=ALONE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    first, failed = done.stdout.splitlines()[:2]
    assert first.startswith(says) and failed.startswith("make: ***"), done.stdout
    assert done.returncode == 2


@pytest.mark.parametrize("goal", ["run", "test", "test-full", "test-boot", "test-nested", "bench", "bench-kvm", "all run"])
def test_what_boots_out_of_build_is_refused_elsewhere(tmp_path, goal):
    """The lab would take what lies in build/, however old, and say that it is this build's."""
    done = subprocess.run(["make", "-n", *goal.split(), f"BUILD={tmp_path / 'build'}"], cwd=ROOT, env=ALONE, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 2 and not os.path.exists(tmp_path / "build")
    assert len(done.stderr.splitlines()) == 1 and "take what they boot from build/: leave BUILD= out" in done.stderr
    assert "CC  " not in done.stdout, "something is built first"


@pytest.mark.parametrize("build", ["build", "./build/", os.path.join(ROOT, "build")])
def test_build_may_be_named(build):
    done = subprocess.run(["make", "-n", "in-build", f"BUILD={build}"], cwd=ROOT, env=ALONE, stdout=subprocess.DEVNULL)
    assert done.returncode == 0


def test_an_image_is_made_of_the_kernel_just_built(tmp_path, monkeypatch):
    done = subprocess.run(["make", "-n", "iso", f"BUILD={tmp_path}"], cwd=ROOT, env=ALONE, text=True, check=True,
                          stdout=subprocess.PIPE)
    recipe = re.search(r"make_iso\.py (.*)", done.stdout).group(1)
    assert recipe.split() == [f"{tmp_path}/weir.iso", f"{tmp_path}/weir.elf"]
    made = []
    monkeypatch.setattr(image, "make_iso", lambda *args, **named: made.append((args[0], named["kernel"])))
    monkeypatch.setattr(run, "guest_modules", lambda *_, **__: [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["make_iso.py", *recipe.split()])
    runpy.run_path(os.path.join(ROOT, "tests/tools/make_iso.py"))
    assert made == [tuple(recipe.split())]


FORM = "SIZE={}: it is a number of bytes, or one with K, M, G or T behind it, like 256M"
RANGE = "the size must be 64 KiB to 16 TiB"


@pytest.mark.parametrize("size,says", [
    ("foo", FORM), ("-1M", FORM), ("", FORM), ("256m", FORM), ("1M M", FORM), ("0", RANGE), ("1K", RANGE),
    ("65535", RANGE), ("16385G", RANGE), ("64K", None), ("1008K", None)])
def test_a_swap_image_has_the_size_asked_for_or_none_is_made(tmp_path, size, says):
    path = tmp_path / "swap.img"
    done = subprocess.run(["make", "swap-image", f"SIZE={size}", f"SWAP_IMAGE={path}", f"BUILD={tmp_path / 'build'}"],
                          cwd=ROOT, env=ALONE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if says:
        said, failed = done.stderr.splitlines()
        assert said == f"swap_image.py: {says.format(size)}" and failed.startswith("make: ***")
        assert os.listdir(tmp_path) == ["build"]
    else:
        assert done.returncode == 0 and f"{path}: " in done.stdout
        assert path.stat().st_size == -(-int(size[:-1]) // 504) * 504 << 10, "no whole cylinders"


def test_a_swap_image_of_the_largest_size_is_signed_for_that(tmp_path, monkeypatch):
    """Its file has the rest of a cylinder more."""
    path, sizes = tmp_path / "swap.img", []
    monkeypatch.setattr(swap_image, "header", lambda blocks: sizes.append(blocks) or (b"", None))
    monkeypatch.setattr(swap_image, "CYLINDER", 3 * 4096)
    monkeypatch.setattr(swap_image, "BLOCKS_MAX", 256)
    swap_image.make_image(path, 1 << 20)
    assert sizes == [256] and path.stat().st_size == 258 * 4096


@pytest.mark.parametrize("goal,name", [
    ("test-unit", "mem/test_frame"), ("test-fuzz", "fuzz_devices"), ("test-models", "rcu-SECTIONS2-ROUNDS2/NO_BARRIER")])
def test_hosted_tests_and_models_are_listed(tmp_path, goal, name):
    """By the names that TESTS chooses from, where nothing is built."""
    command = ["make", "-s", goal, "LIST=1", f"BUILD={tmp_path}"]
    every, one = (subprocess.run([*command, *words], cwd=ROOT, text=True, check=True, stdout=subprocess.PIPE)
                  .stdout.split() for words in ((), (f"TESTS={name}",)))
    assert name in one and set(one) <= set(every) and len(one) < len(every), every


def test_listing_cases_needs_no_compiler():
    done = subprocess.run(["make", "-n", "test-boot", "LIST=1"], cwd=ROOT, env=ALONE, text=True, stdout=subprocess.PIPE)
    assert "deps.sh --quiet list" in done.stdout and "deps.sh --quiet test " not in done.stdout
    script = os.path.join(ROOT, "tests/tools/deps.sh")
    with open(script) as file:
        wanted = re.search(r"^\tlist\) want=(.*) ;;", file.read(), re.M).group(1)
    assert "python3-pytest" in wanted and "clang" not in wanted


def test_benchmarks_install_all_that_they_build_with():
    """Where no tests ever ran either: the groups faults and reclaim are built like hosted tests, with cmocka."""
    done = subprocess.run(["make", "-n", "bench", "MAKE=true"], cwd=ROOT, env=ALONE, text=True, check=True,
                          stdout=subprocess.PIPE)
    purposes = set(re.findall(r"deps\.sh --quiet (\w+)", done.stdout))
    assert {"build", "run", "iso", "test"} <= purposes, purposes
    with open(os.path.join(ROOT, "tests/tools/deps.sh")) as file:
        assert "libcmocka-dev" in re.search(r"^\ttest\) want=(.*)", file.read(), re.M).group(1)


@pytest.mark.parametrize("goals,builds", [
    ("deps", False), ("deps-run clean", False), ("clean", False), ("distclean", False), ("", True), ("deps all", True)])
def test_make_deps_leaves_nothing_in_the_build_folder(tmp_path, goals, builds):
    """By sudo it would be root's, and a later make could not write there."""
    done = subprocess.run(["make", "-n", *goals.split(), f"BUILD={tmp_path / 'build'}"], cwd=ROOT, env=ALONE,
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    assert os.path.exists(tmp_path / "build/flags.txt") == builds
    assert os.path.exists(tmp_path / "build") == builds


def test_help_is_the_head_of_the_makefile_and_names_all_targets(tmp_path):
    done = subprocess.run(["make", "help", f"BUILD={tmp_path / 'build'}"], cwd=ROOT, env=ALONE, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and not os.path.exists(tmp_path / "build")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Weir's build and its tests.") and lines[-1].startswith("  bench: "), done.stdout
    with open(os.path.join(ROOT, "Makefile")) as file:
        text = file.read()
    targets = re.findall(r"[a-z-]+", " ".join(re.findall(r"^\.PHONY: ([a-z -]+)", text, re.M)))
    names = [name for name in targets if not name.startswith("choose-") and name != "in-build"]
    assert {"all", "test-full", "check-format", "help"} <= set(names)
    for name in names:
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", done.stdout), name
    for word in ("BUILD=", "V=1", "BOOT_JOBS=", "SWAP_IMAGE="):
        assert word in done.stdout, word


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
    done = subprocess.run(["make", "-s", goal, f"BUILD={tmp_path}"], cwd=ROOT, env=ALONE, text=True,
                          stderr=subprocess.PIPE)
    assert done.returncode and "nothing was built there" in done.stderr
    assert os.listdir(tmp_path) == ["letters"]
    for word in ("", ".", "/", "a b"):  # tried without doing anything
        done = subprocess.run(["make", "-n", goal, f"BUILD={word}"], cwd=ROOT, env=ALONE, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode and f"BUILD={word}: " in done.stderr and not done.stdout


FAKE = """#!/bin/sh
name=${{0##*/}}
echo "$name $@" >>{folder}/asked
if [ $name = dpkg-query ] || [ $name = sleep ]; then
	exit 0
fi
[ -e {folder}/bad-$name ] || mkdir {folder}/had-$name || exit 0
exit 100
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Starts a script among programs of which each fails once, or with a file bad-NAME for ever, and that
    have no package installed."""
    monkeypatch.setenv("PATH", str(tmp_path / "programs"), prepend=os.pathsep)

    def start(names, *command):
        (tmp_path / "programs").mkdir()
        for name in (*names, "sudo"):
            (tmp_path / "programs" / name).write_text(
                "#!/bin/sh\n[ $1 = -n ] && shift\nexec \"$@\"\n" if name == "sudo" else FAKE.format(folder=tmp_path))
            (tmp_path / "programs" / name).chmod(0o755)
        done = subprocess.run(command, cwd=ROOT, timeout=60, stderr=subprocess.DEVNULL)
        asked = tmp_path / "asked"
        return done.returncode, asked.read_text().splitlines() if asked.exists() else []
    return start


CI = ("apt-get", "make", "sh", "sleep"), ".ci/run"


def test_what_ci_fetches_is_asked_for_again(fakes):
    status, asked = fakes(*CI)
    assert status == 0 and asked[-1] == "make test"
    assert [line for line in asked if line.startswith("sleep")] == ["sleep 5"] * 3
    assert [line.split()[1] for line in asked if line.startswith("apt-get")] == ["update", "update", "-o"]
    assert asked.count("make guest") == 2
    assert len([line for line in asked if line.startswith("sh tests/tools/deps.sh ")]) == 2


@pytest.mark.parametrize("bad", ["apt-get", "sh", "make"])
def test_ci_ends_where_something_never_comes(fakes, tmp_path, bad):
    (tmp_path / f"bad-{bad}").touch()
    status, asked = fakes(*CI)
    assert status and "make test" not in asked
    assert asked[-2:] == ["sleep 120", asked[-3]]


@pytest.mark.parametrize("bad", [False, True])
def test_packages_are_asked_for_three_times(fakes, tmp_path, bad):
    if bad:
        (tmp_path / "bad-apt-get").touch()
    status, asked = fakes(("apt-get", "dpkg-query", "sleep"), "sh", "tests/tools/deps.sh", "format")
    calls = ["install" if " install " in line else "update" for line in asked if line.startswith("apt-get")]
    assert calls == ["install", "update", *(["install", "update"] if bad else []), "install"]
    assert bool(status) == bad and ("sleep 20" in asked) == bad


@pytest.mark.parametrize("goal", ["deps", "deps-format"])
@pytest.mark.parametrize("cc,package", [
    ("ccache gcc-12", "gcc"), ("gcc -m64", "gcc"), ("cc -m64", "gcc"), ("ccache /usr/bin/cc", "gcc"),
    ("ccache clang -m64", "libclang-rt-dev"), ("tcc", None)])
def test_a_compiler_may_have_words_about_it(fakes, goal, cc, package):
    """None of them is taken for a purpose."""
    status, asked = fakes(("apt-get", "dpkg-query", "sleep"), "make", goal, f"CC={cc}")
    installed = [line.split() for line in asked if " install " in line]
    assert (status == 0 and package in installed[-1]) if package else (status == 2 and not asked)
