/* SPDX-License-Identifier: MIT */
/* The host's LAPIC: registers by memory or MSR, end of interrupt, interrupt command. */
#include "kernel/base/acpi.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/apic_regs.h"
#include "smp/cpu_private.h"
#include "smp/irq.h"

#define ICR_WAIT_READS 1000000
#define ERRORS_TOLD    8 /* of each CPU's */

static volatile u32 *registers; /* NULL in x2APIC mode */
static bool x2apic;
static bool ready;

/*
 * Lines that only some CPUs have: from this index of the last LVT entry on. Firmware that has made
 * SMIs of them on the boot CPU waits in its handler until the others come as well, and INIT has
 * masked theirs.
 */
static struct {
	u32 reg, index;
	u32 firmware; /* what the boot CPU's says, where that is an SMI; else 0 */
} optional_lines[] = {
	{APIC_LVT_PERFORMANCE, 4, 0},
	{APIC_LVT_THERMAL, 5, 0},
	{APIC_LVT_CMCI, 6, 0},
};

bool apic_ready(void)
{
	return __atomic_load_n(&ready, __ATOMIC_ACQUIRE);
}

bool apic_is_x2apic(void)
{
	return x2apic;
}

u32 apic_read(u32 reg)
{
	return x2apic ? (u32)rdmsr(MSR_X2APIC_BASE + reg / 16) : registers[reg / 4];
}

void apic_write(u32 reg, u32 value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC_BASE + reg / 16, value);
	else
		registers[reg / 4] = value;
}

u32 apic_id(void)
{
	if (!ready)
		return cpuid(1, 0).ebx >> 24;
	return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

/* The boot CPU finds out how the firmware left its LAPIC; the others follow it. */
static void choose_mode(void)
{
	u64 base = rdmsr(MSR_IA32_APIC_BASE);
	u64 address = base & 0xffffffffff000ull;

	x2apic = base & APIC_BASE_X2APIC;
	if (x2apic)
		return;
	if (acpi_info.lapic_address && acpi_info.lapic_address != address)
		log_debug("LAPIC is at %#lx, the MADT says %#lx", address, acpi_info.lapic_address);
	registers = (volatile u32 *)(void *)smp_hooks_get()->map_device(HPA(address), PAGE_SIZE);
	if (!registers)
		panic("no memory to map the LAPIC");
}

static void match_mode(void)
{
	u64 base = rdmsr(MSR_IA32_APIC_BASE);

	/* From xAPIC mode to x2APIC is one step only when EN is set already (SDM 3A 10.12.5). */
	if (!(base & APIC_BASE_ENABLE))
		wrmsr(MSR_IA32_APIC_BASE, base |= APIC_BASE_ENABLE);
	if (x2apic && !(base & APIC_BASE_X2APIC))
		wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_X2APIC);
}

static u32 last_line(void)
{
	return (apic_read(APIC_VERSION) >> 16) & 0xff;
}

/* Boot CPU, before anything is written. */
static void find_firmware_lines(void)
{
	u32 last = last_line(), value;

	for (u32 i = 0; i < ARRAY_SIZE(optional_lines); i++) {
		if (last < optional_lines[i].index)
			continue;
		value = apic_read(optional_lines[i].reg);
		if ((value & LVT_MODE) != LVT_SMI)
			continue;
		optional_lines[i].firmware = value & (LVT_MASKED | LVT_MODE | LVT_VECTOR);
		log_info("LAPIC: local vector at %#x raises SMIs, by the firmware: left to it",
			 optional_lines[i].reg);
	}
}

/* Everything that the firmware may have left open, until it is wanted. */
static void mask_local_lines(void)
{
	u32 last = last_line();

	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, LVT_MASKED);
	for (u32 i = 0; i < ARRAY_SIZE(optional_lines); i++) {
		if (last >= optional_lines[i].index && !optional_lines[i].firmware)
			apic_write(optional_lines[i].reg, LVT_MASKED);
	}
}

/* On the other CPUs; once SVR enables, for before it all stay masked. */
static void copy_firmware_lines(void)
{
	u32 last = last_line();

	for (u32 i = 0; i < ARRAY_SIZE(optional_lines); i++) {
		if (last >= optional_lines[i].index && optional_lines[i].firmware)
			apic_write(optional_lines[i].reg, optional_lines[i].firmware);
	}
}

/*
 * NMI lines as the MADT describes them. Most tables give each line to every CPU, and the chipset's NMI
 * comes to all that have it open, while one is to look at port 0x61: so a line is the boot CPU's alone,
 * or the first one's that the table names where it leaves the boot CPU out.
 */
static void open_local_lines(u32 uid, bool boot)
{
	static const u32 lint[2] = {APIC_LVT_LINT0, APIC_LVT_LINT1};
	static bool is_open[2]; /* CPUs come one after the other, the boot CPU first */

	apic_write(APIC_LVT_ERROR, VECTOR_ERROR);
	for (u32 i = 0; i < acpi_info.nmi_count; i++) {
		const struct acpi_nmi *n = &acpi_info.nmis[i];

		if (n->uid != uid && n->uid != ACPI_UID_ALL)
			continue;
		if (is_open[n->lint] && !boot)
			continue;
		is_open[n->lint] = true;
		apic_write(lint[n->lint], LVT_NMI | (n->active_low ? LVT_ACTIVE_LOW : 0));
	}
}

static u32 acpi_uid(u32 id)
{
	for (u32 i = 0; i < acpi_info.cpu_count; i++) {
		if (acpi_info.cpus[i].apic_id == id)
			return acpi_info.cpus[i].uid;
	}
	return ACPI_UID_ALL;
}

/* A LAPIC that errs may do it without end. */
static void apic_error(void *arg)
{
	static u8 told[CPU_MAX]; /* each its CPU's alone */
	u8 *mine = &told[cpu_id()];

	(void)arg;
	apic_write(APIC_ESR, 0);
	if (*mine == ERRORS_TOLD)
		return;
	++*mine;
	log_warn("LAPIC error on CPU %u: status %#x%s", cpu_id(), apic_read(APIC_ESR),
		 *mine == ERRORS_TOLD ? "; further ones of this CPU are not told" : "");
}

void apic_init_cpu(void)
{
	bool boot = !ready;

	if (boot)
		choose_mode();
	match_mode();
	__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	this_cpu()->apic_id = apic_id();
	if (boot) {
		irq_set_handler(VECTOR_ERROR, apic_error, NULL);
		find_firmware_lines();
	}

	apic_write(APIC_TPR, 0);
	/*
	 * Between the two, since while it is off by software no LVT entry can be unmasked (SDM 3A
	 * 10.4.7.2), and since QEMU takes back an 8259's interrupt that waits at a masked LINT0 only
	 * at this write: the next STI would find it gone and raise #GP.
	 */
	mask_local_lines();
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	if (!boot)
		copy_firmware_lines();
	open_local_lines(acpi_uid(apic_id()), boot);
	apic_write(APIC_ESR, 0);
	/* Whatever the firmware left in service: at most one bit for each of 256 vectors. */
	for (u32 i = 0; i < 256; i++)
		apic_eoi();
	if (boot)
		log_info("LAPIC: %s, id %u", x2apic ? "x2APIC" : "xAPIC", apic_id());
}

/* xAPIC takes one command at a time; bounded, for a LAPIC that never says idle is broken anyway. */
static void wait_icr_idle(void)
{
	for (u32 i = 0; i < ICR_WAIT_READS && (apic_read(APIC_ICR_LOW) & ICR_PENDING); i++)
		cpu_relax();
}

static void send(u32 destination, u32 command)
{
	bool on;

	if (x2apic) {
		/* No fence comes with this MSR: what the other CPU shall see must be out first. */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(MSR_X2APIC_BASE + APIC_ICR_LOW / 16, (u64)destination << 32 | command);
		return;
	}
	/* Two registers are one command: an interrupt that sends its own may not come between. */
	on = irq_save();
	wait_icr_idle();
	apic_write(APIC_ICR_HIGH, destination << 24);
	apic_write(APIC_ICR_LOW, command);
	irq_restore(on);
}

void apic_send_ipi(u32 id, u8 vector)
{
	send(id, ICR_FIXED | ICR_ASSERT | vector);
}

void apic_send_nmi(u32 id)
{
	send(id, ICR_NMI | ICR_ASSERT);
}

void apic_send_self(u8 vector)
{
	u32 command = ICR_FIXED | ICR_ASSERT | ICR_SELF | vector;

	if (x2apic) {
		wrmsr(MSR_X2APIC_BASE + APIC_ICR_LOW / 16, command);
		return;
	}
	wait_icr_idle();
	apic_write(APIC_ICR_LOW, command);
	/* Who was about to send found it idle before, and shall again. */
	wait_icr_idle();
}

void apic_send_init(u32 id)
{
	send(id, ICR_INIT | ICR_ASSERT);
}

void apic_send_startup(u32 id, u8 page)
{
	send(id, ICR_STARTUP | ICR_ASSERT | page);
}
