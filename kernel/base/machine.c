/* SPDX-License-Identifier: MIT */
#include "kernel/base/acpi.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/x86.h"

#define PM1_SCI_EN	  BIT(0)
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP_MASK  (7u << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_EN	  BIT(13)
/*
 * TMR, BM, GBL, PWRBTN, SLPBTN, RTC, PCIEXP_WAKE, WAK (ACPI 6.4, 4.8.3.1.1); the rest is reserved.
 */
#define PM1_STS_ALL	  0xc731
#define PM1_POWER_BUTTON  BIT(8)
#define PM1_PCIE_WAKE_OFF BIT(14) /* of the enables the one that forbids */

#define CYCLES_PER_MS_MOST 6000000u /* until the TSC's rate is known: rather too long */
#define RESET_MS	   50
#define SCI_EN_MS	   3000 /* firmware that goes to ACPI mode by SMI takes its time */
#define SLEEP_MS	   2000 /* so does a board's sequence of power rails */
#define SLEEP_EMULATED_MS  50

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

#define CPUID_1_ECX_HYPERVISOR BIT(31)

static struct machine_acpi_poweroff acpi;
static bool acpi_known;
static u64 cycles_per_ms = CYCLES_PER_MS_MOST;
static void (*stop_other_cpus)(void);

void machine_set_acpi_poweroff(const struct machine_acpi_poweroff *p)
{
	acpi = *p;
	acpi_known = true;
}

void machine_set_tsc_khz(u64 khz)
{
	cycles_per_ms = khz;
}

void machine_set_stop_others(void (*stop_others)(void))
{
	stop_other_cpus = stop_others;
}

static void wait_ms(u32 ms)
{
	u64 start = rdtsc();

	while (rdtsc() - start < ms * cycles_per_ms)
		cpu_relax();
}

bool machine_has_hypervisor(void)
{
	return cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR;
}

/* Bochs hides that it is one, but not in its BIOS's tables. */
bool machine_is_emulated(void)
{
	return acpi_info.bochs_tables || machine_has_hypervisor();
}

bool machine_is_bochs(void)
{
	return acpi_info.bochs_tables && !machine_has_hypervisor();
}

static bool sci_enabled(void)
{
	return inw(acpi.pm1a_port) & PM1_SCI_EN;
}

/* The sleep registers count only in ACPI mode. */
static void enter_acpi_mode(void)
{
	if (!acpi.smi_port || sci_enabled())
		return;
	outb(acpi.smi_port, acpi.acpi_enable);
	for (u32 ms = 0; ms < SCI_EN_MS && !sci_enabled(); ms++)
		wait_ms(1);
}

/*
 * What is pending and may wake would start the machine again at once. The button stays as it is: on
 * some boards it starts nothing otherwise.
 */
static void forget_fixed_events(const struct machine_acpi_events *e)
{
	u16 enables = (u16)(e->port + e->bytes / 2);

	if (!e->port)
		return;
	outw(enables, inw(enables) & (PM1_PCIE_WAKE_OFF | PM1_POWER_BUTTON));
	outw(e->port, PM1_STS_ALL);
}

static void forget_general_events(const struct machine_acpi_events *e)
{
	u32 half = e->bytes / 2;

	if (!e->port)
		return;
	for (u32 i = 0; i < half; i++)
		outb((u16)(e->port + half + i), 0);
	for (u32 i = 0; i < half; i++)
		outb((u16)(e->port + i), 0xff);
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
	enter_acpi_mode();
	forget_fixed_events(&acpi.pm1a_events);
	forget_fixed_events(&acpi.pm1b_events);
	forget_general_events(&acpi.gpe0);
	forget_general_events(&acpi.gpe1);
	sleep_five(acpi.pm1a_port, acpi.sleep_type_a);
	if (acpi.pm1b_port)
		sleep_five(acpi.pm1b_port, acpi.sleep_type_b);
	wait_ms(machine_is_emulated() ? SLEEP_EMULATED_MS : SLEEP_MS);
}

/* On a board these ports may be anything. */
static void emulator_poweroff(void)
{
	static const char shutdown[] = "Shutdown";

	for (const char *c = shutdown; *c; c++)
		outb(BOCHS_POWEROFF, (u8)*c);
	outw(QEMU_PM_CONTROL, PM1_SLP_EN);
	outl(QEMU_DEBUG_EXIT, DEBUG_EXIT_OK);
}

void __noreturn machine_poweroff(void)
{
	irq_disable();
	if (stop_other_cpus)
		stop_other_cpus();
	acpi_poweroff();
	if (machine_is_emulated())
		emulator_poweroff();
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
	wait_ms(RESET_MS);
	for (u32 i = 0; i < I8042_POLLS && (inb(I8042_STATUS) & I8042_INPUT_FULL); i++)
		cpu_relax();
	outb(I8042_COMMAND, I8042_PULSE_RESET);
	wait_ms(RESET_MS);
	/* With no IDT the exception has no handler, nor has the double fault, and the CPU shuts down. */
	__asm__ volatile("lidt %0\n\tint3" ::"m"(no_idt));
	halt_forever();
}
