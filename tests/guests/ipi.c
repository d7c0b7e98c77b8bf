/* SPDX-License-Identifier: MIT */
/*
 * Several vCPUs: how they are started and stopped by INIT and start-up IPIs, interrupts between
 * them in every mode, priorities, what HLT and STI promise, and that they agree on the time.
 * vCPU 0 tells the others what to do; each has counters of its own.
 */
#include "vcpus.h"

#define MSR_TSC_ADJUST	0x3b
#define MSR_X2APIC_TPR	0x808
#define MSR_X2APIC_SELF 0x83f
#define MSR_KVM_CLOCK	0x4b564d01u

#define STORM  0x52
#define ROUNDS 500

#define SPUN	    0x5b
#define SPUN_ROUNDS 200

/* --- what an interrupt does --- */

static volatile u32 order[16], order_count;
static volatile bool nesting;

static void note(u32 what)
{
	order[order_count++ % 16] = what;
}

/* Low interrupt: the high one, sent here, comes before its EOI; the one below it after. */
static void nest(u32 vector)
{
	note(vector);
	if (vector == 0x70) {
		ipi(0, SELF | FIXED | 0x60);
		ipi(0, SELF | FIXED | 0x71);
		ipi(0, SELF | FIXED | 0x90);
		__asm__ volatile("sti; nop; nop; cli");
		note(1);
	}
	eoi();
}

static void on_interrupt(struct frame *f)
{
	u32 me = my_id();

	counts[me][f->vector]++;
	if (f->vector < 32 || f->vector == SPURIOUS)
		return;
	if (nesting) {
		nest(f->vector);
		return;
	}
	eoi();
	if (f->vector == TOKEN)
		pass_token(me);
}

/* --- INIT and start-up --- */

static volatile bool identity_wrong;

static void look_at_cpuid(u32 me)
{
	u32 r[4];

	cpuid(0xb, 1, r);
	if (r[1] != cpus || r[3] != me)
		identity_wrong = true;
	cpuid(1, 0, r);
	if (((r[1] >> 16) & 0xff) < cpus || !(r[3] & (1 << 28)))
		identity_wrong = true;
	if (apic_read(LAPIC_ID) >> 24 != me)
		identity_wrong = true;
	if (!(rdmsr(MSR_APIC_BASE) & 0x100) != (me != 0))
		identity_wrong = true;
}

static void check_start(void)
{
	bool all = start_others();

	check("INIT, SIPI, SIPI starts each once", all);
	linger();
	for (u32 i = 1; i < cpus; i++)
		all = starts[i] == 1 && all;
	check("a second SIPI starts nobody", all);
	check("each knows who it is", on_all(look_at_cpuid) && !identity_wrong);
}

static void nothing(u32 me)
{
	(void)me;
}

static void spin_for_ever(u32 me)
{
	(void)me;
	__asm__ volatile("cli");
	for (;;)
		relax();
}

static void halt_for_ever(u32 me)
{
	(void)me;
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void check_init(void)
{
	u32 before = starts[1];

	ipi(1, STARTUP | TRAMPOLINE >> 12);
	run_on(1, nothing);
	check("a SIPI does nothing to one that runs", done(1) && starts[1] == before);
	ipi(1, INIT);
	linger();
	run_on(1, nothing);
	linger();
	check("INIT stops it", jobs[1] == nothing && starts[1] == before);
	jobs[1] = 0;
	ipi(1, STARTUP | TRAMPOLINE >> 12);
	check("a SIPI alone starts it again", until(&starts[1], before + 1));
	run_on(1, spin_for_ever);
	linger();
	start(1);
	check("INIT stops one that spins", until(&starts[1], before + 2));
	run_on(1, halt_for_ever);
	linger();
	start(1);
	check("INIT stops one that halts for good", until(&starts[1], before + 3));
	run_on(1, nothing);
	check("and it works", done(1));
}

static volatile bool racing;

static void race_init(u32 me)
{
	(void)me;
	while (racing) {
		ipi(1, INIT);
		ipi(1, STARTUP | TRAMPOLINE >> 12);
	}
}

static void check_init_races(void)
{
	bool ok = true;

	for (u32 i = 0; i < 100 && ok; i++) {
		u32 before = starts[1];

		ipi(1, INIT);
		if (i & 1)
			linger();
		ipi(1, STARTUP | TRAMPOLINE >> 12);
		ok = until(&starts[1], before + 1);
	}
	check("INIT and SIPI at once, again and again, start it each time", ok);
	if (cpus < 3)
		return;
	racing = true;
	run_on(2, race_init);
	for (u32 i = 0; i < 200; i++) {
		ipi(1, INIT);
		ipi(1, STARTUP | TRAMPOLINE >> 12);
	}
	racing = false;
	check("the other that raced goes on", done(2));
	linger();
	start(1);
	linger();
	run_on(1, nothing);
	check("two that start it at once leave it as it ought to be", done(1));
}

/* --- interrupts --- */

static void check_token(void)
{
	send_token_round(ROUNDS);
	check("an interrupt goes round all of them", true);
	check("none of them is lost or doubled", token_came_to_all(ROUNDS));
}

static void storm(u32 me)
{
	__asm__ volatile("sti");
	for (u32 i = 0; i < ROUNDS; i++)
		ipi(0, OTHERS | FIXED | STORM);
	(void)me;
}

static void check_storm(void)
{
	bool all = true;

	for (u32 i = 0; i < cpus; i++)
		counts[i][STORM] = 0;
	check("all interrupt all and go on", on_all(storm));
	linger();
	for (u32 i = 0; i < cpus; i++)
		all = counts[i][STORM] > 0 && counts[i][STORM] <= (cpus - 1) * ROUNDS && all;
	check("each is interrupted, no oftener than it was sent", all);
	check("nothing is left over", !(apic_read(LAPIC_IRR + STORM / 32 * 16) >> STORM % 32 & 1));
	__asm__ volatile("cli");
}

static volatile bool spinning;

/* Without a PAUSE, which would make it leave. */
static void spin_open(u32 me)
{
	(void)me;
	__asm__ volatile("sti");
	while (spinning)
		__asm__ volatile("" ::: "memory");
	__asm__ volatile("cli");
}

/* Where the CPU has posted interrupts none of these makes it leave the guest. */
static void check_spinning(void)
{
	bool all = true;

	counts[1][SPUN] = 0;
	spinning = true;
	run_on(1, spin_open);
	for (u32 i = 1; i <= SPUN_ROUNDS && all; i++) {
		ipi(1, FIXED | SPUN);
		all = until(&counts[1][SPUN], i);
	}
	spinning = false;
	check("one that spins is interrupted each time", done(1) && all);
	check("and no oftener", counts[1][SPUN] == SPUN_ROUNDS);
}

static void check_nmi(void)
{
	u32 before = counts[0][2];
	bool all = true;

	for (u32 i = 1; i < cpus; i++)
		counts[i][2] = 0;
	ipi(0, OTHERS | NMI);
	for (u32 i = 1; i < cpus; i++)
		all = until(&counts[i][2], 1) && all;
	check("an NMI reaches all others, halted ones too", all);
	run_on(1, spin_for_ever);
	linger();
	ipi(1, NMI);
	check("and one that has interrupts off", until(&counts[1][2], 2));
	check("and not the sender", counts[0][2] == before);
	start(1);
	linger();
}

static void tpr_by_id(u32 me)
{
	apic_write(LAPIC_TPR, me == cpus - 1 ? 0 : 0x20);
}

static void tpr_zero(u32 me)
{
	(void)me;
	apic_write(LAPIC_TPR, 0);
}

static u32 sum(u32 vector)
{
	u32 n = 0;

	for (u32 i = 0; i < cpus; i++)
		n += counts[i][vector];
	return n;
}

static void check_destinations(void)
{
	bool all = true;

	on_all(tpr_by_id);
	for (u32 i = 1; i <= 32; i++) {
		ipi((1u << cpus) - 1, LOWEST | LOGICAL | 0x53);
		all = until(&counts[cpus - 1][0x53], i) && all;
	}
	check("the lowest priority is interrupted", all && sum(0x53) == 32);
	on_all(tpr_zero);
	ipi(1u << 1 | 1u << (cpus - 1), FIXED | LOGICAL | 0x54);
	until(&counts[1][0x54], 1);
	until(&counts[cpus - 1][0x54], 1);
	linger();
	check("a logical destination is who is in its mask",
	      counts[1][0x54] == 1 && sum(0x54) == (cpus > 2 ? 2 : 1));
	__asm__ volatile("sti");
	ipi(0xff, FIXED | 0x55);
	for (u32 i = 0; i < cpus; i++)
		all = until(&counts[i][0x55], 1) && all;
	ipi(0, ALL | FIXED | 0x56);
	for (u32 i = 0; i < cpus; i++)
		all = until(&counts[i][0x56], 1) && all;
	check("a broadcast reaches all", all);
	__asm__ volatile("cli");
}

/* --- one vCPU's own promises --- */

static void check_priorities(void)
{
	static const u32 expected[] = {0x70, 0x90, 1, 0x71, 0x60};
	bool same = true;

	apic_write(LAPIC_TPR, 0x60);
	ipi(0, SELF | FIXED | 0x61);
	__asm__ volatile("sti; nop; nop; cli");
	check("the TPR keeps out what is not above it", counts[0][0x61] == 0);
	__asm__ volatile("sti");
	apic_write(LAPIC_TPR, 0x50);
	__asm__ volatile("nop; cli");
	check("and lets it in when it falls", counts[0][0x61] == 1);
	apic_write(LAPIC_TPR, 0);

	nesting = true;
	order_count = 0;
	ipi(0, SELF | FIXED | 0x70);
	__asm__ volatile("sti; nop; nop; nop; cli");
	nesting = false;
	for (u32 i = 0; i < 5; i++)
		same = same && order[i] == expected[i];
	check("in service: higher ones nest, others wait for the EOI", same && order_count == 5);
}

static void check_halt(void)
{
	u32 before = counts[0][0x57];

	for (u32 i = 1; i <= 50; i++) {
		ipi(0, SELF | FIXED | 0x57);
		__asm__ volatile("sti; hlt; cli");
	}
	check("HLT with an interrupt pending does not sleep", counts[0][0x57] == before + 50);
	ipi(0, SELF | FIXED | 0x57);
	__asm__ volatile("sti; cli");
	check("nothing comes in between STI and the next", counts[0][0x57] == before + 50);
	__asm__ volatile("sti; nop; cli");
	check("and then it does", counts[0][0x57] == before + 51);
}

static volatile u32 kicked, may_halt;

static void halt_until_kicked(u32 me)
{
	(void)me;
	while (!may_halt)
		relax();
	__asm__ volatile("cli; hlt; sti");
	kicked++;
}

static void kick(u32 id)
{
	u32 answer = 5, argument = id;

	__asm__ volatile("vmcall" : "+a"(answer), "+c"(argument) : "b"(0) : "memory");
	check("KVM_HC_KICK_CPU is there", answer == 0);
}

static void check_kick(void)
{
	may_halt = 1;
	run_on(1, halt_until_kicked);
	linger();
	check("HLT with interrupts off lasts", kicked == 0);
	kick(1);
	check("a kick ends it", done(1) && kicked == 1);
	may_halt = 0;
	run_on(1, halt_until_kicked);
	linger();
	kick(1);
	may_halt = 1;
	check("one that came before ends it, too", done(1) && kicked == 2);
	kick(99);
}

/* --- time --- */

struct kvm_clock {
	u32 version, pad;
	u64 tsc, ns;
	u32 mul;
	signed char shift;
	u8 flags, pad2[2];
};
static volatile struct kvm_clock clocks[CPUS_MAX] __attribute__((aligned(64)));
static u32 time_lock;
static u64 last_tsc, last_ns;
static volatile u32 backwards, backwards_ns, added;
static volatile bool tsc_moves;

static u64 clock_ns(u32 me)
{
	volatile struct kvm_clock *c = &clocks[me];
	u64 delta = rdtsc() - c->tsc;

	delta = c->shift < 0 ? delta >> -c->shift : delta << c->shift;
	return c->ns + ((u64)(u32)delta * c->mul >> 32) + (u64)(u32)(delta >> 32) * c->mul;
}

static void lock(void)
{
	u32 taken = 1;

	for (;;) {
		__asm__ volatile("xchg %0, %1" : "+r"(taken), "+m"(time_lock)::"memory");
		if (!taken)
			return;
		relax();
	}
}

static void unlock(void)
{
	__asm__ volatile("movl $0, %0" : "=m"(time_lock)::"memory");
}

/* Each time later than, or as late as, the one that anybody saw before. */
static void watch_time(u32 me)
{
	for (u32 i = 0; i < 3000; i++) {
		u64 tsc, ns;

		lock();
		tsc = rdtsc();
		ns = clock_ns(me);
		if (!tsc_moves && tsc < last_tsc)
			backwards++;
		if (ns < last_ns)
			backwards_ns++;
		last_tsc = tsc;
		last_ns = ns;
		unlock();
		__asm__ volatile("lock incl %0" : "+m"(added));
	}
}

static void clock_on(u32 me)
{
	wrmsr(MSR_KVM_CLOCK, (u32)&clocks[me] | 1);
}

static void move_tsc(u32 me)
{
	wrmsr(MSR_TSC_ADJUST, (u64)me * 1000000007u);
}

static void move_tsc_back(u32 me)
{
	(void)me;
	wrmsr(MSR_TSC_ADJUST, 0);
}

static void check_time(void)
{
	u32 total = 3000 * cpus;

	on_all(clock_on);
	check("all watch the time", on_all(watch_time) && added == total);
	check("the TSC never goes back from one to another", backwards == 0);
	check("nor does the clock", backwards_ns == 0);
	tsc_moves = true;
	on_all(move_tsc);
	on_all(watch_time);
	check("nor when each has moved its TSC", backwards_ns == 0);
	on_all(move_tsc_back);
	tsc_moves = false;
	last_tsc = 0;
	backwards = 0;
	on_all(watch_time);
	check("moved back, the TSCs agree again", backwards == 0 && backwards_ns == 0);
}

/* --- x2APIC --- */

static void x2apic_tpr_by_id(u32 me)
{
	wrmsr(MSR_X2APIC_TPR, me == cpus - 1 ? 0 : 0x20);
}

static void x2apic_tpr_zero(u32 me)
{
	(void)me;
	wrmsr(MSR_X2APIC_TPR, 0);
}

static void check_x2apic_kinds(void)
{
	u32 everybody = (1u << cpus) - 1, last = cpus - 1;
	bool all = true;

	for (u32 i = 0; i < cpus; i++)
		counts[i][2] = 0;
	ipi(last, NMI);
	check("x2APIC: an NMI to one", comes_to(2, 1u << last));
	counts[last][2] = 0;
	ipi(0, OTHERS | NMI);
	check("x2APIC: an NMI to all others", comes_to(2, everybody & ~1u));
	on_all(x2apic_tpr_by_id);
	for (u32 i = 1; i <= 32; i++) {
		ipi(everybody, LOWEST | LOGICAL | 0x5c);
		all = until(&counts[last][0x5c], i) && all;
	}
	check("x2APIC: the lowest priority of a cluster", all && sum(0x5c) == 32);
	on_all(x2apic_tpr_zero);
	ipi(1u << 1 | 1u << last, FIXED | LOGICAL | 0x5d);
	check("x2APIC: several of a cluster", comes_to(0x5d, 1u << 1 | 1u << last));
	ipi(1u << 16 | 1, FIXED | LOGICAL | 0x5e);
	check("x2APIC: nobody in a cluster that is not there", comes_to(0x5e, 0));
	ipi(0xffffffffu, FIXED | LOGICAL | 0x5f);
	check("x2APIC: a logical broadcast", comes_to(0x5f, everybody));
	ipi(0, ALL | FIXED | 0x65);
	check("x2APIC: all by shorthand", comes_to(0x65, everybody));
	ipi(0, OTHERS | FIXED | 0x62);
	check("x2APIC: all others by shorthand", comes_to(0x62, everybody & ~1u));
	ipi(last, SELF | FIXED | 0x63);
	check("x2APIC: oneself by shorthand", comes_to(0x63, 1));
	ipi(99, FIXED | 0x64);
	check("x2APIC: nobody by an ID that is not there", comes_to(0x64, 0));
}

static void check_x2apic(void)
{
	bool all = true;

	check("all go to x2APIC mode", on_all(to_x2apic));
	run_on(1, nothing);
	check("x2APIC: one by its ID", done(1));
	__asm__ volatile("sti");
	ipi(0xffffffffu, FIXED | 0x58);
	for (u32 i = 0; i < cpus; i++)
		all = until(&counts[i][0x58], 1) && all;
	check("x2APIC: a broadcast", all);
	ipi(1u << 1, FIXED | LOGICAL | 0x59);
	check("x2APIC: a logical ID", until(&counts[1][0x59], 1) && sum(0x59) == 1);
	wrmsr(MSR_X2APIC_SELF, 0x5a);
	check("x2APIC: self IPI", until(&counts[0][0x5a], 1));
	check_x2apic_kinds();
	check_token();
}

void main(u32 magic, const void *info)
{
	(void)magic;
	(void)info;
	vcpus_init();
	interrupt_hook = on_interrupt;
	apic_on(0);
	check("there are several, and not too many", cpus >= 2 && cpus <= CPUS_MAX);
	check_start();
	check_init();
	check_init_races();
	check_token();
	check_storm();
	check_spinning();
	check_nmi();
	check_destinations();
	check_priorities();
	check_halt();
	check_kick();
	check_time();
	check_x2apic();
	guest_end();
}
