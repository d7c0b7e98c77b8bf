/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c vmx/run.c
 *	vmx/posted.c tests/unit/kernel/posted_cpu.c
 */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-libs: -Wl,--wrap=vcpu_request -Wl,--wrap=vcpu_notify -Wl,--wrap=ipi_notify */
/* unit-sanitizer: thread */
#include "tests/unit/kernel/test_posted.c"
