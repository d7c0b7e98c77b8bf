# SPDX-License-Identifier: MIT
"""Boot cases of the monitor: an operator at a real pseudo-terminal."""
import re

from boots import case, small_guest
from monitor import LEAVE, PROMPT, Operator


def two_talkers():
    return small_guest("talker") + small_guest("talker", vm="beta")


def leave_talker(operator, name):
    """Its console, and the key that ends it."""
    operator.send(f"vm console {name}\r")
    operator.wait(r"talker: ready")
    operator.send("q")
    operator.wait(rf"vm {name}: left by debug exit")


@case(machines=["tigerlake"], full=["corei7_sandy_bridge_2600k", "tigerlake:2"], deadline=120,
      guests=two_talkers)
def monitor(boot):
    """From a guest's console to the monitor and back: commands, consoles, a VM's life, the end."""
    operator = Operator(boot)
    for name in ("talker", "beta"):
        boot.anywhere(rf"{name}\| talker: ready")
    operator.send("ab")
    operator.enter()
    operator.says("vm list", r"^talker +runs +1 ", r"^beta +runs +1 ")
    operator.says("help", r"^  vm console NAME +Go to a VM's console", r"^  poweroff \[-f\]")
    operator.says("vm pause beta", r"^vm beta is paused$")
    operator.says("vm list", r"^beta +paused ")
    operator.says("vm resume beta", r"^vm beta goes on$")
    operator.says("stat vm.beta.exits.hlt", r"^vm\.beta\.exits\.hlt [1-9]\d* count: HLT instr")
    operator.says("mem", r"^RAM for Weir and VMs", r"^beta ")
    operator.send("vm console talker\r")
    operator.wait(r"talker: ready\r\n<97><98>")
    operator.send("c")
    operator.wait(r"<99>")
    operator.enter()
    operator.says("vm kill beta", r"^vm beta is killed$")
    boot.anywhere(r"vm beta: killed after")
    operator.says("vm show beta", r"^vm beta does not run: vm start beta$")
    operator.says("poweroff", r"^1 VM runs: -f kills what runs$")
    operator.send("poweroff -f\r")
    operator.wait(r"vm talker: killed after")
    operator.wait(r"powering off")
    boot.ends()
