# SPDX-License-Identifier: MIT
"""Runs the boot cases that conftest.py chose, and the harness's own tests (the other files) beside."""
import pytest

from boots import Boot
from lab import bochs
from lab.console import Ended


def test_boot(boot_case, machine, record_property, request):
    options = request.config.option
    if boot_case.apart and not (options.full or options.cases or options.cpus):
        pytest.skip(boot_case.apart)
    lacking = bochs.lacks(machine.partition(":")[0]) or boot_case.skip()
    if lacking:
        pytest.skip(lacking)
    boot = Boot(boot_case, machine)
    record_property("folder", boot.folder)
    try:
        with boot:
            try:
                boot_case.function(boot)
            finally:
                record_property("tail", boot.tail())
                record_property("notes", ", ".join(boot.notes))
    except bochs.OtherFirmware as why:
        pytest.skip(str(why))
    except (Ended, AssertionError) as error:
        # The console says more than a Python traceback would.
        record_property("error", str(error).partition("\nassert")[0])
        pytest.fail(str(error), pytrace=False)
