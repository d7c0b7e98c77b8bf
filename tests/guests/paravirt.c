/* SPDX-License-Identifier: MIT */
/*
 * KVM's paravirtual means for vCPUs that share CPUs, good and bad: EOI in memory, steal time with who is
 * preempted and the TLB flush that waits for it, interrupts to a set, yields.
 */
#include "vcpus.h"

#define CPUID_FEATURES 0x40000001u
#define STEAL_TIME     (1u << 5)
#define PV_EOI	       (1u << 6)
#define PV_TLB_FLUSH   (1u << 9)
#define PV_SEND_IPI    (1u << 11)
#define PV_SCHED_YIELD (1u << 13)

#define MSR_STEAL_TIME 0x4b564d03u
#define MSR_PV_EOI     0x4b564d04u

#define SEND_IPI    10
#define SCHED_YIELD 11
#define H_REMOVE    0x57490004u
#define H_PROTECT   0x57490018u
#define H_RESOURCE  (-16)

#define HOLE	  0xa0000u   /* the end of the memory below 1 MiB */
#define BEYOND	  0x8000000u /* this guest has less */
#define PREEMPTED 1
#define FLUSH	  2
#define RING	  0x60
#define VALUE_1	  0x11111111u
#define VALUE_2	  0x22222222u

struct steal {
	u64 stolen;
	u32 version, flags;
	u8 preempted, pad[47];
};

static u8 words[4096] __attribute__((aligned(4096)));
static u8 other_page[4096] __attribute__((aligned(4096)));
static struct steal steals[CPUS_MAX] __attribute__((aligned(64)));
static u32 features;
static volatile u32 ended; /* by the word */

static int call(u32 number, u32 b, u32 c, u32 d, u32 s)
{
	int result;

	__asm__ volatile("vmcall"
			 : "=a"(result)
			 : "a"(number), "b"(b), "c"(c), "d"(d), "S"(s)
			 : "memory");
	return result;
}

static bool refuses(u32 msr, u64 value)
{
	u32 before = exceptions();

	__asm__ volatile("movl $1f, %0\n\twrmsr\n1:\n\tmovl $0, %0"
			 : "+m"(exception_resume)
			 : "c"(msr), "A"(value)
			 : "memory");
	return exceptions() != before && exception_vector == 13;
}

static void end_interrupt(u32 me)
{
	volatile u8 *word = &words[16 * me];

	if (*word & 1) {
		*word = 0;
		ended++;
	} else {
		eoi();
	}
}

static void on_interrupt(struct frame *f)
{
	u32 me = my_id();

	counts[me][f->vector]++;
	if (f->vector >= 32 && f->vector != SPURIOUS)
		end_interrupt(me);
}

/* Where there is no RAM, or none of the guest's to write: #GP, and what was there goes on. */
static void check_bad_addresses(u32 msr, u32 odd, const char *name)
{
	u32 page = (u32)other_page;
	bool ok;

	ok = refuses(msr, (page + odd) | 1) && refuses(msr, LAPIC | 1) && refuses(msr, HOLE | 1) &&
	     refuses(msr, BEYOND | 1) && refuses(msr, ~0ull - 62) && refuses(msr, 1ull << 52 | 1);
	check(name, ok);
	call(H_PROTECT, page, 1, 1, 0);
	ok = refuses(msr, page | 1);
	call(H_PROTECT, page, 1, 0, 0);
	check("nor in a page that it protected", ok && rdmsr(msr) == 0);
	check("on", !refuses(msr, page | 1) && rdmsr(msr) == (page | 1));
	check("its page cannot be given back", call(H_REMOVE, page, 1, 0, 0) == H_RESOURCE);
	check("off", !refuses(msr, 0) && rdmsr(msr) == 0);
	check("then it can", call(H_REMOVE, page, 1, 0, 0) == 0);
}

/* --- EOI --- */

static void use_word(u32 me)
{
	wrmsr(MSR_PV_EOI, ((u32)words + 16 * me) | 1);
}

static void ring(u32 vector)
{
	u32 before = counts[0][vector];

	ipi(0, SELF | FIXED | vector);
	__asm__ volatile("sti; nop; nop; cli");
	(void)until(&counts[0][vector], before + 1);
}

static void check_eoi(void)
{
	check_bad_addresses(MSR_PV_EOI, 2, "no EOI word where none can be");
	use_word(0);
	for (u32 i = 0; i < 100; i++)
		ring(RING);
	check("each came", counts[0][RING] == 100);
	check("and was ended in memory", ended == 100);
	check("none is in service", !apic_read(0x100 + RING / 32 * 16));
	/* Two at once: the second must come after the first one's end, which has to be told. */
	ipi(0, SELF | FIXED | (RING + 1));
	ipi(0, SELF | FIXED | (RING + 17));
	__asm__ volatile("sti; nop; nop; nop; cli");
	check("what waits for an end comes",
	      until(&counts[0][RING + 1], 1) && until(&counts[0][RING + 17], 1));
}

/* --- steal time --- */

static void count_steal(u32 me)
{
	wrmsr(MSR_STEAL_TIME, (u32)&steals[me] | 1);
}

static volatile bool spins;

static void spin(u32 me)
{
	(void)me;
	while (spins)
		__asm__ volatile("" ::: "memory");
}

/* More vCPUs than CPUs, all spin: those that do not run say so, and take a flush with them. */
static void check_preempted(void)
{
	u32 seen = 0, flushed = 0;

	for (u32 i = 1; i < cpus; i++)
		run_on(i, spin);
	for (u32 i = 0; i < 3000000 && flushed < 20; i++) {
		volatile u8 *p = &steals[1 + i % (cpus - 1)].preempted;
		u8 old = PREEMPTED;

		if (*p != PREEMPTED)
			continue;
		seen++;
		__asm__ volatile("lock cmpxchgb %2, %0"
				 : "+m"(*p), "+a"(old)
				 : "q"((u8)(PREEMPTED | FLUSH)));
		if (old != PREEMPTED)
			continue;
		/* It runs again, without a sign of it. */
		for (u32 k = 0; k < 100000000 && (*p & FLUSH); k++)
			relax();
		flushed += !(*p & FLUSH);
	}
	spins = false;
	for (u32 i = 1; i < cpus; i++)
		(void)done(i);
	check("who is preempted says so", seen >= 20);
	check("and takes a flush", flushed >= 20);
	check("who runs does not", !steals[0].preempted);
	check("time was stolen", steals[0].stolen || steals[1].stolen);
}

/* --- interrupts to a set, and yields --- */

static void check_set(void)
{
	u32 all = (1u << cpus) - 1;
	bool ok = true;

	__asm__ volatile("sti");
	check("an interrupt to all but the first",
	      call(SEND_IPI, all & ~1u, 0, 0, 0x81) == (int)cpus - 1);
	for (u32 i = 1; i < cpus; i++)
		ok = until(&counts[i][0x81], 1) && ok;
	check("comes to each", ok && counts[0][0x81] == 0);
	check("a set that begins above 0",
	      call(SEND_IPI, 1, 0, 1, 0x72) == 1 && until(&counts[1][0x72], 1));
	check("none that there are not", call(SEND_IPI, ~0u, ~0u, cpus, 0x73) == 0 &&
						 call(SEND_IPI, ~0u, ~0u, ~0u, 0x73) == 0);
	check("an NMI", call(SEND_IPI, 2, 0, 0, 0x400) == 1 && until(&counts[1][2], 1));
	check("no INIT, no shorthand",
	      call(SEND_IPI, 2, 0, 0, 0x500) == -22 && call(SEND_IPI, 2, 0, 0, 0x40071) == -22);
	check("yields are answered", call(SCHED_YIELD, 1, 0, 0, 0) == 0 &&
					     call(SCHED_YIELD, 0, 0, 0, 0) == 0 &&
					     call(SCHED_YIELD, 99, 0, 0, 0) == 0);
}

static void init_again(u32 cpu)
{
	u32 before = starts[cpu];

	steals[cpu].preempted = 0x80;
	start(cpu);
	check("INIT ends it", until(&starts[cpu], before + 1) && steals[cpu].preempted == 0x80);
}

void main(void)
{
	u32 r[4];

	vcpus_init();
	interrupt_hook = on_interrupt;
	apic_on(0);
	cpuid(CPUID_FEATURES, 0, r);
	features = r[0];
	check("several vCPUs", cpus >= 2 && cpus <= CPUS_MAX);
	check("what is offered",
	      (features & (STEAL_TIME | PV_TLB_FLUSH | PV_SEND_IPI | PV_SCHED_YIELD)) ==
		      (STEAL_TIME | PV_TLB_FLUSH | PV_SEND_IPI | PV_SCHED_YIELD));
	for (u32 i = 1; i < cpus; i++)
		start(i);
	for (u32 i = 1; i < cpus; i++)
		(void)until(&starts[i], 1);
	if (features & PV_EOI)
		check_eoi();
	else
		check("no EOI word where the CPU ends interrupts",
		      refuses(MSR_PV_EOI, (u32)words | 1));
	check_bad_addresses(MSR_STEAL_TIME, 2, "no steal time where none can be");
	check("all count what is stolen", on_all(count_steal));
	spins = true;
	check_preempted();
	check("all end interrupts in memory", !(features & PV_EOI) || on_all(use_word));
	check_set();
	init_again(1);
	guest_end();
}
