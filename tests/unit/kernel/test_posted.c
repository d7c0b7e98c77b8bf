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
/*
 * Posted interrupts from the sender's local APIC to the guest's handler: the model of the local
 * APIC, the notification and the loop around VM entry are the real ones; the CPU and a VM's loop
 * are those of posted_cpu.c. Three vCPUs share two CPUs, or two have three, and are posted to by
 * two others. Each interrupt is delivered once; a level with its EOI exit; nobody sleeps over one.
 */
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/kernel/posted_cpu.h"

#include <cmocka.h>

#define SENDERS	    2
#define EDGES	    3
#define SEEDS	    14
#define SERIAL_WAIT 30000
#define PARALLEL    50000000

/* The same word of PIR as LEVEL and another; LEVEL is a level now and then. */
static const u8 edges[EDGES] = {0x51, 0x52, 0xa3};

static struct machine m;
static u32 patience, rounds;

static void say(struct guest *g, u8 vector)
{
	print_error("vCPU %u waits for %#x: control %#x, kicked %u, in_guest %u on %u, spins %u, "
		    "RVI %#x, woken %u, requests %#llx\n",
		    g->v->id, vector, g->v->lapic->posted.words, g->vmx.kicked, g->vmx.in_guest,
		    g->at, g->spins, g->rvi, g->woken, (unsigned long long)g->v->requests);
}

static void await(u32 to, u8 vector, u32 count)
{
	for (u32 i = 0; __atomic_load_n(&delivered[to][vector], __ATOMIC_SEQ_CST) != count; i++) {
		if (i == patience) {
			say(&guests[to], vector);
			__atomic_store_n(&lost, true, __ATOMIC_SEQ_CST);
		}
		if (__atomic_load_n(&lost, __ATOMIC_SEQ_CST))
			return;
		hosted_relax();
	}
}

static void post_one(u32 to, u8 vector, bool is_level)
{
	struct lapic_message message = {
		.mode = LAPIC_FIXED, .vector = vector, .level = is_level, .dest = to};

	assert_true(lapic_send(m.vm, &message, NULL));
}

/* Several in a row: the later ones find ON set, or not. */
static void send_edges(void *arg)
{
	u64 random = (u64)arg;
	u32 sent[VCPUS] = {0};

	hosted_cpu_set(OFF_CPU + VCPUS);
	for (u32 i = 0; i < rounds && !over(); i++) {
		u32 to = random_below(&random, vcpus);

		sent[to]++;
		for (u32 k = 0; k < EDGES; k++)
			post_one(to, edges[k], false);
		for (u32 k = 0; k < EDGES; k++)
			await(to, edges[k], sent[to]);
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
}

static void send_levels(void *arg)
{
	u64 random = (u64)arg;
	u32 sent[VCPUS] = {0};

	hosted_cpu_set(OFF_CPU + VCPUS + 1);
	for (u32 i = 0; i < rounds && !over(); i++) {
		u32 to = random_below(&random, vcpus);

		level[to] = random_one_in(&random, 2);
		post_one(to, LEVEL, level[to]);
		await(to, LEVEL, ++sent[to]);
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
}

static void start(u64 seed)
{
	machine_apicv = VMX_APICV_POSTED;
	machine_create(&m, VCPUS);
	posted_cpus_reset(m.vm, seed);
	for (u32 i = 0; i < VCPUS; i++)
		apic_enable(&m, i);
	running = SENDERS;
}

static void run(const struct hosted_way *way)
{
	const struct hosted_job jobs[] = {
		{"sends edges", send_edges, (void *)(way->seed + 101)},
		{"sends levels", send_levels, (void *)(way->seed + 202)},
		{"vCPU 0", vcpu_thread, &guests[0]},
		{"vCPU 1", vcpu_thread, &guests[1]},
		{"vCPU 2", vcpu_thread, &guests[2]},
	};

	start(way->seed);
	hosted_run(jobs, SENDERS + vcpus, way);
	assert_false(lost);
	machine_destroy(&m);
}

static __attribute__((unused)) void run_serial(u32 on, u32 of)
{
	cpus = on;
	vcpus = of;
	patience = SERIAL_WAIT;
	rounds = 40;
	without_exit = while_masked = 0;
	for (u64 seed = 0; seed < SEEDS; seed++)
		run(&(struct hosted_way){.serial = true, .seed = seed, .period = 1 + seed % 7});
	/* The runs were such that it matters. */
	assert_true(without_exit > 100);
	assert_true(while_masked > 30);
}

/* Each may stay in the guest for ever, where nothing but the notification gets at it. */
static __attribute__((unused)) void each_has_a_cpu(void **state)
{
	run_serial(3, 2);
}

static __attribute__((unused)) void three_share_two_cpus(void **state)
{
	run_serial(2, 3);
}

static void in_parallel(void **state)
{
	patience = PARALLEL;
	rounds = 300;
	cpus = 3;
	vcpus = 2;
	run(&(struct hosted_way){.seed = 1, .period = 50});
	cpus = 2;
	vcpus = 3;
	run(&(struct hosted_way){.seed = 2, .period = 50});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef __SANITIZE_THREAD__
		cmocka_unit_test(each_has_a_cpu),
		cmocka_unit_test(three_share_two_cpus),
#endif
		cmocka_unit_test(in_parallel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
