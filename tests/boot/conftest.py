# SPDX-License-Identifier: MIT
"""Choosing boot cases, and one line for each: PASS, FAIL or SKIP, where, and how long it took."""
import os
import shutil
import sys
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]
# An assert of theirs says what it compared.
pytest.register_assert_rewrite("boots", "monitor", *(
    name.removesuffix(".py") for name in sorted(os.listdir(HERE)) if name.endswith("cases.py")))

import boots  # noqa: E402
import cases  # noqa: E402,F401
import density_cases  # noqa: E402,F401
import grub_cases  # noqa: E402,F401
import linux_cases  # noqa: E402,F401
import memtest_cases  # noqa: E402,F401
import monitor_cases  # noqa: E402,F401
import monitor_line_cases  # noqa: E402,F401
import nested_cases  # noqa: E402,F401
import node_cases  # noqa: E402,F401
import refusal_cases  # noqa: E402,F401
import swap_cases  # noqa: E402,F401
from lab import bochs  # noqa: E402

TOTALS = {"PASS": 0, "FAIL": 0, "SKIP": 0}


def pytest_addoption(parser):
    parser.addoption("--cases", default="", help="names of cases, all without it")
    parser.addoption("--cpus", default="", help="Bochs models or qemu-bios, qemu-uefi")
    parser.addoption("--full", action="store_true", help="the whole matrix")
    parser.addoption("--list-cases", action="store_true")
    parser.addoption("--check-cases", action="store_true", help="only look whether there are such cases")
    # The explanation of a failed assert asks for this option of the terminal's, which is off.
    parser.addoption("--explain", dest="verbose", type=int, default=0)
    parser.addoption("--total", default="", help="file to which the counts are added")


def unknown(config):
    """What CASES= or CPUS= names that is not there: an error, not an empty run."""
    for name in config.getoption("cases").split():
        if name not in boots.CASES:
            return f"CASES: no boot case '{name}'; make test-boot LIST=1 lists them"
    for model in config.getoption("cpus").split():
        if not boots.known_machine(model):
            return f"CPUS: '{model}' is none of: {' '.join(boots.OTHERS)} {' '.join(boots.MODELS)}"
        # Before the build Bochs may not be installed yet.
        early = config.getoption("check_cases") and not shutil.which("bochs")
        lacking = None if early else bochs.lacks(model.partition(":")[0])
        if lacking:
            return f"CPUS: {lacking}"
    if (config.getoption("cases") or config.getoption("cpus")) and not chosen(config):
        return "CASES and CPUS: no case of these has a row there; make test-boot LIST=1 lists them"
    return None


def chosen(config):
    """(case, machine) pairs."""
    names, models = config.getoption("cases").split(), config.getoption("cpus").split()
    return [(case, machine) for case in boots.CASES.values() if not names or case.name in names
            for machine in boots.machines_of(case, config.getoption("full"), models, bool(names))]


def may_take(item):
    case = item.callspec.params.get("boot_case") if hasattr(item, "callspec") else None
    return case.deadline if case else 0


def pytest_collection_modifyitems(items):
    """Those that may take longest first: then no worker is left with one. A worker gets an eighth of all
    in one piece at first (of two; xdist's `load`), so the first pieces are dealt out evenly."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = workers * max(len(items) // (4 * workers), 2)
    items.sort(key=lambda item: -may_take(item))
    head = items[:first]
    items[:first] = [item for worker in range(workers) for item in head[worker::workers]]


def pytest_generate_tests(metafunc):
    if "boot_case" in metafunc.fixturenames:
        pairs = chosen(metafunc.config)
        metafunc.parametrize("boot_case,machine", pairs,
                             ids=[f"{case.name}-{machine}" for case, machine in pairs])


def pytest_cmdline_main(config):
    if config.getoption("list_cases"):
        for case in boots.CASES.values():
            print(f"{case.name}: {case.about}")
            print(f"    make test: {' '.join(case.machines)}")
            if case.full:
                print(f"    make test-full also: {' '.join(case.full)}")
        return 0
    wrong = unknown(config)
    if wrong:
        print(wrong)
        return 2
    return 0 if config.getoption("check_cases") else None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        outcome.get_result().user_properties = item.user_properties


def pytest_report_teststatus():
    """Nothing of pytest's own: the lines below are the report."""
    return "", "", ""


def pytest_runtest_logreport(report):
    if hasattr(report, "node") and os.environ.get("PYTEST_XDIST_WORKER"):
        return
    if report.when != "call" and report.passed:
        return
    word = "SKIP" if report.skipped else "PASS" if report.passed else "FAIL"
    TOTALS[word] += 1
    name = report.nodeid.rpartition("::")[2]
    if name.startswith("test_boot["):
        name = name[len("test_boot["):-1]
    properties = dict(report.user_properties)
    about = f"; {properties['notes']}" if properties.get("notes") else ""
    if report.skipped:
        about = "; " + report.longrepr[2].removeprefix("Skipped: ")
    print(f"{word} boot {name} ({report.duration:.1f} s{about})", flush=True)
    if word == "FAIL":
        lines = properties.get("error") or str(report.longrepr)
        print("    " + lines.replace("\n", "\n    "))
        if properties.get("tail"):
            print("    the end of its console:")
            print("      | " + properties["tail"].replace("\n", "\n      | "))
        print(f"    logs: {properties.get('folder', '-')}", flush=True)


def pytest_collectreport(report):
    """A file of the harness that cannot be read is a failure, not fewer tests."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        TOTALS["FAIL"] += 1
        print(f"FAIL boot {report.nodeid}\n{report.longrepr}", flush=True)


def pytest_sessionstart(session):
    session.config.started = time.monotonic()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    passed, failed, skipped = TOTALS.values()
    print(f"boot: {passed + failed + skipped} runs in "
          f"{time.monotonic() - session.config.started:.0f} s")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    total = session.config.getoption("total")
    if total:
        with open(total, "a") as file:
            file.write(f"boot {passed} {failed} {skipped}\n")
