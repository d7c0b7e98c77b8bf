/* SPDX-License-Identifier: MIT */
/*
 * Several vCPUs: how they are started and stopped by INIT and start-up IPIs, interrupts between
 * them in every mode, priorities, what HLT and STI promise, and that they agree on the time.
 * vCPU 0 tells the others what to do; each has counters of its own.
 */
#include "guest.h"

#define LAPIC	    0xfee00000u
#define LAPIC_ID    0x20
#define LAPIC_TPR   0x80
#define LAPIC_EOI   0xb0
#define LAPIC_LDR   0xd0
#define LAPIC_DFR   0xe0
#define LAPIC_SVR   0xf0
#define LAPIC_IRR   0x200
#define LAPIC_ICR   0x300
#define LAPIC_ICR_2 0x310

#define FIXED	0x4000u
#define LOWEST	0x4100u
#define NMI	0x4400u
#define INIT	0x4500u
#define STARTUP 0x4600u
#define LOGICAL 0x800u
#define SELF	0x40000u
#define ALL	0x80000u
#define OTHERS	0xc0000u

#define MSR_APIC_BASE	0x1b
#define MSR_TSC_ADJUST	0x3b
#define MSR_X2APIC_EOI	0x80b
#define MSR_X2APIC_ICR	0x830
#define MSR_X2APIC_SELF 0x83f
#define MSR_KVM_CLOCK	0x4b564d01u

#define CPUS_MAX   8
#define STACK	   8192
#define TRAMPOLINE 0x8000u
#define SPURIOUS   0xff
#define WAKE	   0x40
#define TOKEN	   0x51
#define STORM	   0x52
#define ROUNDS	   500

extern u8 ap_start[], ap_end[];
u8 ap_stacks[CPUS_MAX][STACK] __attribute__((aligned(16)));

static u32 cpus;
static volatile u32 starts[CPUS_MAX];
static volatile u32 counts[CPUS_MAX][256];
static void (*volatile jobs[CPUS_MAX])(u32 me);

/* --- local APIC --- */

static u32 apic_read(u32 at)
{
	return *(volatile u32 *)(LAPIC + at);
}

static void apic_write(u32 at, u32 v)
{
	*(volatile u32 *)(LAPIC + at) = v;
}

static u32 my_id(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[1] >> 24;
}

static bool in_x2apic(void)
{
	return rdmsr(MSR_APIC_BASE) & 0x400;
}

static void ipi(u32 dest, u32 low)
{
	if (in_x2apic()) {
		wrmsr(MSR_X2APIC_ICR, (u64)dest << 32 | low);
		return;
	}
	apic_write(LAPIC_ICR_2, dest << 24);
	apic_write(LAPIC_ICR, low);
}

static void eoi(void)
{
	if (in_x2apic())
		wrmsr(MSR_X2APIC_EOI, 0);
	else
		apic_write(LAPIC_EOI, 0);
}

static void apic_on(u32 me)
{
	apic_write(LAPIC_SVR, 0x100 | SPURIOUS);
	apic_write(LAPIC_DFR, ~0u);
	apic_write(LAPIC_LDR, 1u << (24 + me));
	apic_write(LAPIC_TPR, 0);
}

static void relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* Long enough for what ought to come, and for what ought not. */
static bool until(volatile u32 *p, u32 value)
{
	for (u32 i = 0; i < 10000000 && *p != value; i++)
		relax();
	return *p == value;
}

static void linger(void)
{
	for (volatile u32 i = 0; i < 20000; i++)
		relax();
}

/* --- what an interrupt does --- */

static volatile u32 token_rounds;
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
	if (f->vector == TOKEN && (me || --token_rounds))
		ipi((me + 1) % cpus, FIXED | TOKEN);
}

/* --- the other vCPUs --- */

void ap_main(u32 me)
{
	interrupts_init();
	apic_on(me);
	__asm__ volatile("lock incl %0" : "+m"(starts[me]));
	for (;;) {
		__asm__ volatile("cli");
		if (jobs[me]) {
			__asm__ volatile("sti");
			jobs[me](me);
			__asm__ volatile("" ::: "memory");
			jobs[me] = 0;
		} else {
			/* What comes from here on ends the HLT. */
			__asm__ volatile("sti; hlt" ::: "memory");
		}
	}
}

__asm__(".section .rodata\n"
	".code16\n"
	".globl ap_start, ap_end\n"
	"ap_start:\n"
	"	cli\n"
	"	xor %ax, %ax\n"
	"	mov %ax, %ds\n"
	"	lgdtl 0x8000 + ap_gdt_pointer - ap_start\n"
	"	mov %cr0, %eax\n"
	"	or $1, %al\n"
	"	mov %eax, %cr0\n"
	"	ljmpl $8, $ap_protected\n"
	"ap_gdt_pointer:\n"
	"	.word 23\n"
	"	.long ap_gdt\n"
	"ap_end:\n"
	".balign 8\n"
	"ap_gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	".text\n"
	".code32\n"
	"ap_protected:\n"
	"	mov $16, %eax\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %es\n"
	"	mov %eax, %ss\n"
	"	mov $1, %eax\n"
	"	cpuid\n"
	"	shr $24, %ebx\n"
	"	mov %ebx, %eax\n"
	"	shl $13, %eax\n"
	"	lea ap_stacks + 8192(%eax), %esp\n"
	"	push %ebx\n"
	"	call ap_main\n");
_Static_assert(STACK == 8192 && TRAMPOLINE == 0x8000, "the assembler's");

static void run_on(u32 cpu, void (*job)(u32 me))
{
	jobs[cpu] = job;
	ipi(cpu, FIXED | WAKE);
}

static bool done(u32 cpu)
{
	return until((volatile u32 *)&jobs[cpu], 0);
}

static void start(u32 cpu)
{
	jobs[cpu] = 0;
	ipi(cpu, INIT);
	ipi(cpu, STARTUP | TRAMPOLINE >> 12);
	ipi(cpu, STARTUP | TRAMPOLINE >> 12);
}

/* The job on all of them at once, vCPU 0 among them. */
static bool on_all(void (*job)(u32 me))
{
	bool ok = true;

	for (u32 i = 1; i < cpus; i++)
		run_on(i, job);
	job(0);
	for (u32 i = 1; i < cpus; i++)
		ok = done(i) && ok;
	return ok;
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
	bool all = true;

	for (u32 i = 1; i < cpus; i++)
		start(i);
	for (u32 i = 1; i < cpus; i++)
		all = until(&starts[i], 1) && all;
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
	bool all = true;

	for (u32 i = 0; i < cpus; i++)
		counts[i][TOKEN] = 0;
	token_rounds = ROUNDS;
	ipi(1, FIXED | TOKEN);
	/* Asleep meanwhile: it wakes by the token alone, and for ever waits for one that is lost. */
	while (token_rounds)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	check("an interrupt goes round all of them", true);
	for (u32 i = 0; i < cpus; i++)
		all = counts[i][TOKEN] == ROUNDS && all;
	check("none of them is lost or doubled", all);
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

static void to_x2apic(u32 me)
{
	(void)me;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x400);
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
	check_token();
}

void main(u32 magic, const void *info)
{
	(void)magic;
	(void)info;
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	interrupts_init();
	outw(0x510, 5);
	cpus = inb(0x511);
	for (u32 i = 0; ap_start + i < ap_end; i++)
		((u8 *)TRAMPOLINE)[i] = ap_start[i];
	interrupt_hook = on_interrupt;
	apic_on(0);
	check("there are several, and not too many", cpus >= 2 && cpus <= CPUS_MAX);
	check_start();
	check_init();
	check_init_races();
	check_token();
	check_storm();
	check_nmi();
	check_destinations();
	check_priorities();
	check_halt();
	check_kick();
	check_time();
	check_x2apic();
	guest_end();
}
