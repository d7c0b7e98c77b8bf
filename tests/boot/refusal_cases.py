# SPDX-License-Identifier: MIT
"""Boot cases of what Weir does not run on, and of how it ends where it finds an error of its own or the
machine's: the sentence of a refusal, the report of a panic."""
from boots import case, small_guest
from cases import NO_EPT, NO_VMX_MESSAGE, THREE_GENERATIONS, check_small_guest
from lab import screen
from lab.bochs import NO_VMX, SVM_ONLY

REFUSED = "error: halted: Weir cannot run guests here"  # who waits for more waits no longer


@case(machines=["qemu-bios", "qemu-uefi"], full=[NO_VMX, SVM_ONLY], deadline=60,
      when_done="reboot")
def no_vmx(boot):
    """A CPU without VMX gets one sentence on serial line and screen, and Weir halts, whatever it is told."""
    sentence = boot.expect(NO_VMX_MESSAGE).group(1).strip()
    boot.expect(REFUSED)
    if boot.machine_name.startswith("qemu"):
        screen.wait_text(boot.machine, sentence, boot.deadline)
    assert "panic" not in boot.text()


LOCKED_OFF = "the firmware has locked VMX off: turn on Intel VT-x"


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:] + [NO_EPT], deadline=180, when_done="halt",
      weir="selftest=vmx_reset", vmx_off="boot")
def vmx_locked_off(boot):
    """A CPU whose firmware has locked VMX off gets its sentence, too; self-tests of VMX are skipped."""
    boot.expect(rf"selftest vmx_reset: SKIP \({LOCKED_OFF}")
    boot.expect(r"0 passed, 0 failed, 1 skipped")
    boot.expect(rf"error: {LOCKED_OFF}")
    boot.expect("halted: nothing is left to run")
    screen.wait_text(boot.machine, LOCKED_OFF, boot.deadline)


@case(machines=["tigerlake:2"], full=["corei7_sandy_bridge_2600k:4"], deadline=180,
      vmx_off="others", guests=lambda: small_guest("smoke", "one two"))
def vmx_on_one(boot):
    """Where other CPUs' firmware has locked VMX off the boot CPU runs the guests."""
    others = boot.cpus - 1
    for cpu in range(1, others + 1):
        boot.expect(rf"CPU {cpu} hosts no vCPU: its firmware locked VMX off")
    boot.expect(rf"VMX: on, 1 of {others + 1} CPUs")
    check_small_guest(boot, "smoke")
    boot.ends()


@case(machines=["qemu-bios"], deadline=60, qemu_cpu="qemu32")
def no_long_mode(boot):
    """A CPU of 32 bits gets one sentence and Weir stops."""
    boot.expect(r"no 64-bit mode")
    screen.wait_text(boot.machine, "no 64-bit mode", boot.deadline)
    assert "cpu0" not in boot.text(), "it went on"


@case(machines=["qemu-bios"], deadline=60, qemu_cpu="qemu64,-nx")
def no_nx(boot):
    """A CPU without no-execute pages gets one sentence and Weir stops."""
    sentence = boot.expect(r"cannot start: .*NX.*").group(0).strip()
    screen.wait_text(boot.machine, sentence, boot.deadline)
    assert "frames" not in boot.text() and "VMX" not in boot.text(), "it went on"


@case(machines=["qemu-uefi"], deadline=60, when_done="halt", weir="console=none")
def no_uart(boot):
    """Where UEFI gave a framebuffer and there is no UART the refusal is on the screen."""
    screen.wait_text(boot.machine, "error: this CPU offers no VMX", boot.deadline)
    assert "cpu0" not in boot.text(), "the serial line was used"


UNCORRECTED = 0xbd00000000000134  # valid, uncorrected, enabled, with address and MISC


def check_panic(boot, reason):
    """What happened, where, by name, with the registers, and what the other CPUs do."""
    others = boot.cpus - 1
    boot.anywhere(reason)
    boot.anywhere(r"rax [0-9a-f]{16} rbx [0-9a-f]{16} ")
    boot.anywhere(r"backtrace:")
    boot.anywhere(r"#\d+ +0x[0-9a-f]{16} \w+\+0x[0-9a-f]+")
    if others:
        boot.anywhere(rf"the other CPUs: {others} of {others} stopped\s")
    boot.anywhere(r"halted: ")
    assert others or "other CPUs" not in boot.text()


@case(machines=["qemu-bios:4", "qemu-bios"], full=["tigerlake:4"], deadline=120,
      weir="loglevel=error selftest=panic-lock-order")
def panic_lock_order(boot):
    """A lock taken against the order ends in a panic that names both locks, and shows the hidden log."""
    check_panic(boot, r"lock order: .*the lower lock")
    before, heading, after = boot.text().partition("--- the log before that, some of it not shown")
    assert heading and "info: ACPI" not in before and "info: ACPI" in after


@case(machines=["tigerlake:2"], full=["tigerlake:4", "corei7_sandy_bridge_2600k:2"], deadline=180,
      weir="selftest=panic-in-guests")
def panic_in_guests(boot):
    """A panic stops CPUs that run guests, and shows its caller's registers and arguments."""
    check_panic(boot, r"PANIC on cpu0: others are in guests: 1 2 3 4 5 6 7\s")
    one, two, three, four, five = (f"{i:016x}" for i in range(1, 6))
    boot.anywhere(rf"rcx {three} rdx {two}\s")
    boot.anywhere(rf"rsi {one} rdi [0-9a-f]{{16}} rbp [0-9a-f]{{16}} r8  {four}\s")
    boot.anywhere(rf"r9  {five} ")
    boot.anywhere(r"#0 +0x[0-9a-f]{16} test_panic_in_guests\+")


@case(machines=["tigerlake"], full=THREE_GENERATIONS[1:], weir="loglevel=warn selftest=vmx_failed_entry",
      deadline=180)
def failed_entry(boot):
    """VM entries that the CPU refuses are told in words, with the VMCS by field names."""
    boot.expect(r"VM entry refused: error 8, VM entry with invalid host-state fields")
    boot.expect(r"VMCS 0c02 HOST_CS_SELECTOR +0\s")
    boot.expect(r"VM entry failed: entry_guest_state, qualification 0\s")
    boot.expect(r"VMCS 6820 GUEST_RFLAGS +0\s")
    boot.machine.wait_exit(boot.deadline)
    assert "FAIL" not in boot.text() and "info: ACPI" not in boot.text()


@case(machines=["qemu-bios:4"], deadline=120, when_done="halt")
def machine_check(boot):
    """Banks are on, and an error in one of another CPU's ends in a panic that shows what it says."""
    boot.expect(NO_VMX_MESSAGE)
    monitor = screen.Monitor(boot.machine)
    monitor.command(f"mce 2 3 {UNCORRECTED:#x} 0x5 0xabc000 0x8c")
    monitor.close()
    boot.expect(r"PANIC on cpu2: .*machine check")
    boot.expect(r"machine check: cpu2 MCG_STATUS 0x5 bank 3 status 0xbd00000000000134 "
                r"address 0xabc000 misc 0x8c")
    check_panic(boot, r"halted: .*machine check")


@case(machines=["qemu-bios"], full=["tigerlake:2"], weir="selftest=panic-overflow-main", deadline=120)
def panic_overflow_main(boot):
    """So does Weir's first thread, whose stack is the one that Weir booted on."""
    check_panic(boot, r"stack overflow of thread main")


@case(machines=["qemu-bios", "qemu-uefi"], weir="selftest=panic-overflow-main panic=reboot", deadline=120)
def panic_reboot(boot):
    """Who asks for it gets a machine that is reset once the panic could be read; the lab's QEMU ends then."""
    boot.anywhere(r"backtrace:")
    boot.anywhere(r"rebooting, for panic=reboot: stack overflow of thread main")
    assert "halted" not in boot.text()
    assert boot.machine.wait_exit(boot.deadline) == 0


@case(machines=["qemu-bios:4"], full=["tigerlake:4"], weir="selftest=panic-overflow",
      deadline=120)
def panic_overflow(boot):
    """A thread that runs through its stack meets the guard page and is named."""
    check_panic(boot, r"stack overflow of thread bottomless")
