/* SPDX-License-Identifier: MIT */
/*
 * As many vCPUs as a VM can have: each starts, knows who it is and works, and interrupts find the one
 * that is meant, in clusters of x2APIC mode as well. The guest `ipi` looks closer, at a few.
 */
#define CPUS_MAX 32
#define WAITS	 20u /* those that are to come share few CPUs */
#include "vcpus.h"

#define ROUNDS 10
#define SUMS   20

static volatile u32 wrong, added;
static u32 sum_lock;

static void on_interrupt(struct frame *f)
{
	u32 me = my_id();

	counts[me][f->vector]++;
	if (f->vector < 32 || f->vector == SPURIOUS)
		return;
	eoi();
	if (f->vector == TOKEN)
		pass_token(me);
}

static void look_at_identity(u32 me)
{
	u32 r[4];

	cpuid(0xb, 1, r);
	if (r[1] != cpus || r[3] != me)
		wrong = 1;
	cpuid(1, 0, r);
	if (((r[1] >> 16) & 0xff) < cpus || r[1] >> 24 != me)
		wrong = 2;
	if (!in_x2apic() && apic_read(LAPIC_ID) >> 24 != me)
		wrong = 3;
	if (in_x2apic() &&
	    (rdmsr(0x802) != me || rdmsr(0x80d) != ((me >> 4) << 16 | 1u << (me & 15))))
		wrong = 4;
}

static void add_up(u32 me)
{
	for (u32 i = 0; i < SUMS; i++) {
		u32 taken = 1;

		do {
			taken = 1;
			__asm__ volatile("xchg %0, %1" : "+r"(taken), "+m"(sum_lock)::"memory");
			if (taken)
				relax();
		} while (taken);
		added += me + 1;
		__asm__ volatile("movl $0, %0" : "=m"(sum_lock)::"memory");
	}
}

static void check_start(void)
{
	check("INIT, SIPI, SIPI starts each once", start_others());
	check("each knows who it is", on_all(look_at_identity) && !wrong);
}

static void check_token(void)
{
	send_token_round(ROUNDS);
	check("an interrupt goes round all of them", token_came_to_all(ROUNDS));
}

static void check_work(void)
{
	u32 expected = SUMS * cpus * (cpus + 1) / 2;

	added = 0;
	check("all take one lock in turn", on_all(add_up) && added == expected);
}

static void check_kinds(u32 base)
{
	u32 all = cpus == 32 ? ~0u : (1u << cpus) - 1;

	__asm__ volatile("sti");
	for (u32 i = 0; i < cpus; i++)
		counts[i][2] = 0;
	ipi(0, ALL | FIXED | base);
	check("a broadcast", comes_to(base, all));
	ipi(0, OTHERS | FIXED | (base + 1));
	check("to all others", comes_to(base + 1, all & ~1u));
	ipi(0, OTHERS | NMI);
	check("an NMI to all others", comes_to(2, all & ~1u));
	ipi(cpus - 1, FIXED | (base + 2));
	check("to the last alone", comes_to(base + 2, 1u << (cpus - 1)));
	__asm__ volatile("cli");
}

static void check_clusters(void)
{
	u32 second = 0xffff0000u & (cpus == 32 ? ~0u : (1u << cpus) - 1);
	u32 got = 0;

	__asm__ volatile("sti");
	ipi(1u << 16 | 0xffff, FIXED | LOGICAL | 0x78);
	check("x2APIC: the second cluster", comes_to(0x78, second));
	ipi(1u << 16 | 1u << 3 | 1u << 5, FIXED | LOGICAL | 0x79);
	check("x2APIC: two of it", comes_to(0x79, 1u << 19 | 1u << 21));
	ipi(1u << 3 | 1u << 5, FIXED | LOGICAL | 0x7a);
	check("x2APIC: two of the first", comes_to(0x7a, 1u << 3 | 1u << 5));
	for (u32 i = 0; i < 32; i++)
		ipi(1u << 16 | 0xffff, LOWEST | LOGICAL | (0x80 + i));
	for (u32 i = 0; i < 32; i++) {
		for (u32 turn = 0; turn < 20; turn++) {
			got = 0;
			for (u32 k = 0; k < cpus; k++)
				got += counts[k][0x80 + i] && k < 16 ? 100 : counts[k][0x80 + i];
			if (got)
				break;
			linger();
		}
		if (got != 1)
			break;
	}
	check("x2APIC: the lowest priority of the second cluster, one each", got == 1);
	__asm__ volatile("cli");
}

void main(u32 magic, const void *info)
{
	(void)magic;
	(void)info;
	vcpus_init();
	interrupt_hook = on_interrupt;
	apic_on(0);
	check("there are more than two clusters' worth of eight, and not too many",
	      cpus > 16 + 5 && cpus <= CPUS_MAX);
	check_start();
	check_token();
	check_work();
	check_kinds(0x60);
	check("all go to x2APIC mode", on_all(to_x2apic));
	check("each knows who it is", on_all(look_at_identity) && !wrong);
	check_token();
	check_kinds(0x70);
	check_clusters();
	start(cpus - 1);
	check("the last is stopped and started again", until(&starts[cpus - 1], 2));
	guest_end();
}
