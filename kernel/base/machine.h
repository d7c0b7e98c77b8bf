/* SPDX-License-Identifier: MIT */
/*
 * Ending it all.
 * machine_poweroff and machine_reboot: any context; interrupts are switched off.
 */
#ifndef KERNEL_BASE_MACHINE_H
#define KERNEL_BASE_MACHINE_H

#include "kernel/base/types.h"

/*
 * Bochs, or under a hypervisor, QEMU's TCG among them. Once the ACPI tables are read (acpi.h).
 * Those that say nothing of it, as CPUID and tables stand, are taken for real.
 */
bool machine_is_emulated(void);
/* CPUID says that a hypervisor, QEMU's TCG among them, lies below. Any context. */
bool machine_has_hypervisor(void);

/* Bochs itself, and nothing between. Likewise. */
bool machine_is_bochs(void);

/* A block of ACPI event registers: status in its lower half, enables in the upper. Port 0: none. */
struct machine_acpi_events {
	u16 port;
	u8 bytes;
};

/*
 * How ACPI says that the power goes off (ACPI 6.4, 4.8.3.2.1 and 7.4.2): the PM1 control ports (b
 * may be 0), the SLP_TYP values of \_S5, and the events that could wake it. smi_port other than 0:
 * ACPI mode is not on until acpi_enable has been written there. From whoever parsed the tables, at
 * boot.
 */
struct machine_acpi_poweroff {
	u16 pm1a_port, pm1b_port;
	u8 sleep_type_a, sleep_type_b; /* 0 to 7 */
	u16 smi_port;
	u8 acpi_enable;
	struct machine_acpi_events pm1a_events, pm1b_events; /* 2 or more bytes each half */
	struct machine_acpi_events gpe0, gpe1;
};
void machine_set_acpi_poweroff(const struct machine_acpi_poweroff *p);

/* For waits. Until it is called they are longer than they need be. */
void machine_set_tsc_khz(u64 khz);

/* How the other CPUs are stopped, for good; from boot on. Any context, interrupts off; bounded. */
void machine_set_stop_others(void (*stop_others)(void));

/*
 * The other CPUs stop. ACPI S5; then, where this is known to be an emulator, the ports by which
 * those end. Halts where all of that does nothing.
 */
void __noreturn machine_poweroff(void);

/* Port 0xcf9, the keyboard controller, a triple fault: one of them works. */
void __noreturn machine_reboot(void);

#endif
