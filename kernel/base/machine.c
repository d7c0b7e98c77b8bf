/* SPDX-License-Identifier: MIT */
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/x86.h"

#define PM1_SCI_EN	  BIT(0)
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP_MASK  (7u << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_EN	  BIT(13)
#define WAIT_CYCLES	  100000000ull /* TSC: some hundredths of a second for hardware to act */

#define RESET_PORT	  0xcf9 /* chipsets' reset control: bit 1 hard, bit 2 do it */
#define I8042_STATUS	  0x64
#define I8042_COMMAND	  0x64
#define I8042_INPUT_FULL  0x02
#define I8042_PULSE_RESET 0xfe
#define I8042_POLLS	  100000

#define BOCHS_POWEROFF	0x8900 /* ends on the bytes of "Shutdown" */
#define QEMU_PM_CONTROL 0x604  /* PIIX4's PM1a as QEMU's firmware places it */
#define QEMU_DEBUG_EXIT 0xf4
#define DEBUG_EXIT_OK	0x10 /* QEMU ends with status 2 * value + 1 */

static struct machine_acpi_poweroff acpi;
static bool acpi_known;

void machine_set_acpi_poweroff(const struct machine_acpi_poweroff *p)
{
	acpi = *p;
	acpi_known = true;
}

static void wait_a_little(void)
{
	u64 start = rdtsc();

	while (rdtsc() - start < WAIT_CYCLES)
		cpu_relax();
}

static void sleep_five(u16 port, u8 sleep_type)
{
	u32 value = inw(port) & ~(PM1_SLP_TYP_MASK | PM1_SLP_EN);

	value |= (u32)(sleep_type & 7) << PM1_SLP_TYP_SHIFT;
	outw(port, (u16)value);
	outw(port, (u16)(value | PM1_SLP_EN));
}

static void acpi_poweroff(void)
{
	if (!acpi_known || !acpi.pm1a_port)
		return;
	if (acpi.smi_port && !(inw(acpi.pm1a_port) & PM1_SCI_EN)) {
		outb(acpi.smi_port, acpi.acpi_enable);
		wait_a_little();
	}
	sleep_five(acpi.pm1a_port, acpi.sleep_type_a);
	if (acpi.pm1b_port)
		sleep_five(acpi.pm1b_port, acpi.sleep_type_b);
	wait_a_little();
}

void __noreturn machine_poweroff(void)
{
	static const char shutdown[] = "Shutdown";

	irq_disable();
	acpi_poweroff();
	for (const char *c = shutdown; *c; c++)
		outb(BOCHS_POWEROFF, (u8)*c);
	outw(QEMU_PM_CONTROL, PM1_SLP_EN);
	outl(QEMU_DEBUG_EXIT, DEBUG_EXIT_OK);
	log_error("this machine does not switch itself off: it is safe to do so now");
	halt_forever();
}

void __noreturn machine_reboot(void)
{
	struct {
		u16 limit;
		u64 base;
	} __packed no_idt = {0, 0};

	irq_disable();
	outb(RESET_PORT, 0x02);
	outb(RESET_PORT, 0x06);
	wait_a_little();
	for (u32 i = 0; i < I8042_POLLS && (inb(I8042_STATUS) & I8042_INPUT_FULL); i++)
		cpu_relax();
	outb(I8042_COMMAND, I8042_PULSE_RESET);
	wait_a_little();
	/* With no IDT the exception has no handler, nor has the double fault, and the CPU shuts down. */
	__asm__ volatile("lidt %0\n\tint3" ::"m"(no_idt));
	halt_forever();
}
