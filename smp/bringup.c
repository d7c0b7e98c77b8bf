/* SPDX-License-Identifier: MIT */
/*
 * Starting the other CPUs, one after the other (SDM 3A 9.4.4.1). A CPU claims its place before it
 * goes on; when its time is over the boot CPU takes the place back, so that one that comes late
 * finds it gone and halts rather than run beside its successor.
 */
#include "kernel/base/acpi.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/clock.h"
#include "smp/cpu_private.h"
#include "smp/irq.h"
#include "smp/thread.h"
#include "smp/timer.h"
#include "smp/trampoline.h"

#define INIT_WAIT_US	    10000
#define SIPI_WAIT_US	    200
#define CLAIM_PATIENCE_MS   200
#define VIRTUAL_PATIENCE_MS 1000 /* such a CPU is a thread that its host lets run when it likes */
#define READY_PATIENCE_MS   10000
#define XAPIC_ID_MAX	    254

enum place_state {
	PLACE_OPEN,
	PLACE_CLAIMED,
	PLACE_WITHDRAWN,
};

/* One for each attempt; ap_main's argument. Never freed, for a late CPU looks at it. */
struct place {
	u32 state; /* atomic, enum place_state */
	struct cpu *cpu;
};

static struct place places[ACPI_CPUS_MAX];

static bool change_state(struct place *p, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(&p->state, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/* The other CPU's first C statement: its own stack, Weir's page tables, nothing else yet. */
void ap_main(void *argument)
{
	struct place *p = argument;
	struct cpu *cpu;

	if (!change_state(p, PLACE_OPEN, PLACE_CLAIMED))
		halt_forever();
	cpu = p->cpu;
	cpu_load_tables(cpu);
	smp_hooks_get()->cpu_init();
	apic_init_cpu();
	clock_sync_new_cpu();
	timer_init_cpu();
	thread_init_cpu();
	cpu_set_online(cpu);
	thread_idle();
}

static bool wait_claimed(struct place *p, u64 us)
{
	u64 end = clock_ns() + us * 1000;

	do {
		if (__atomic_load_n(&p->state, __ATOMIC_ACQUIRE) == PLACE_CLAIMED)
			return true;
		cpu_relax();
	} while (clock_ns() < end);
	return false;
}

static bool wait_online(const struct cpu *cpu)
{
	u64 end = clock_ns() + READY_PATIENCE_MS * 1000000ull;

	while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE)) {
		if (clock_ns() > end)
			return false;
		cpu_relax();
	}
	return true;
}

static u64 claim_patience_ms(void)
{
	return machine_has_hypervisor() ? VIRTUAL_PATIENCE_MS : CLAIM_PATIENCE_MS;
}

static const char *start(struct place *p, u32 apic)
{
	clock_sync_prepare();
	apic_send_init(apic);
	clock_udelay(INIT_WAIT_US);
	apic_send_startup(apic, trampoline_page());
	if (!wait_claimed(p, SIPI_WAIT_US)) {
		apic_send_startup(apic, trampoline_page());
		wait_claimed(p, claim_patience_ms() * 1000);
	}
	if (change_state(p, PLACE_OPEN, PLACE_WITHDRAWN))
		return "does not answer INIT-SIPI-SIPI";
	clock_sync_boot_cpu();
	if (!wait_online(p->cpu))
		return "began and then got stuck";
	return NULL;
}

/* NULL: it is up. Else why not, and *place_spoilt whether its id must not be used again. */
static const char *start_one(u32 id, const struct acpi_cpu *a, struct place *p, bool *place_spoilt)
{
	struct cpu *cpu = cpu_slot(id);
	const char *fault;
	u64 stack_top;

	*place_spoilt = false;
	if (!apic_is_x2apic() && a->apic_id > XAPIC_ID_MAX)
		return "has an id that needs x2APIC, which the firmware left off";
	if (cpu_prepare_tables(id) || thread_prepare_idle(id, &stack_top))
		return "finds no memory for its stacks";
	cpu->self = cpu;
	cpu->id = id;
	cpu->apic_id = a->apic_id;
	p->cpu = cpu;
	trampoline_set(stack_top, p);
	fault = start(p, a->apic_id);
	*place_spoilt = fault && p->state == PLACE_CLAIMED;
	/* One that is merely late must not come when its stack is another's, or the page is gone. */
	if (fault)
		apic_send_init(a->apic_id);
	return fault;
}

static bool wanted(const struct acpi_cpu *a)
{
	for (u32 id = 0; id < cpu_count(); id++) {
		if (cpu_get(id)->apic_id == a->apic_id)
			return false;
	}
	return true;
}

static void start_all(u32 limit)
{
	u32 not_started = 0;

	for (u32 i = 0; i < acpi_info.cpu_count; i++) {
		const struct acpi_cpu *a = &acpi_info.cpus[i];
		const char *fault;
		bool spoilt;

		if (!wanted(a))
			continue;
		if (cpu_count() >= limit) {
			not_started++;
			continue;
		}
		fault = start_one(cpu_count(), a, &places[i], &spoilt);
		if (!fault)
			continue;
		log_error("CPU with APIC id %u %s; it is left out", a->apic_id, fault);
		if (spoilt)
			limit = cpu_count();
	}
	if (not_started)
		log_warn("%u more CPUs are there and not started", not_started);
}

void cpu_start_others(u32 max_cpus)
{
	u32 limit = max_cpus && max_cpus < CPU_MAX ? max_cpus : CPU_MAX;
	bool others = false;

	for (u32 i = 0; i < acpi_info.cpu_count; i++)
		others |= wanted(&acpi_info.cpus[i]);
	if (others && limit > 1) {
		if (trampoline_prepare(smp_hooks_get()->cr3())) {
			log_error("no free page below 640 KiB to start CPUs in: one CPU runs");
			return;
		}
		start_all(limit);
		trampoline_wipe();
	}
	log_info("%u CPU%s online", cpu_count(), cpu_count() == 1 ? "" : "s");
}
