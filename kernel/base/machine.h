/* SPDX-License-Identifier: MIT */
/*
 * Ending it all.
 * machine_poweroff and machine_reboot: any context; interrupts are switched off.
 */
#ifndef KERNEL_BASE_MACHINE_H
#define KERNEL_BASE_MACHINE_H

#include "kernel/base/types.h"

/*
 * How ACPI says that the power goes off (ACPI 6.4, 4.8.3.2.1 and 7.4.2): the PM1 control ports (b
 * may be 0) and the SLP_TYP values of \_S5. smi_port other than 0: ACPI mode is not on until
 * acpi_enable has been written there. From whoever parsed the tables, at boot.
 */
struct machine_acpi_poweroff {
	u16 pm1a_port, pm1b_port;
	u8 sleep_type_a, sleep_type_b; /* 0 to 7 */
	u16 smi_port;
	u8 acpi_enable;
};
void machine_set_acpi_poweroff(const struct machine_acpi_poweroff *p);

/* ACPI S5, then the ports by which emulators end. Halts where all of that does nothing. */
void __noreturn machine_poweroff(void);

/* Port 0xcf9, the keyboard controller, a triple fault: one of them works. */
void __noreturn machine_reboot(void);

#endif
