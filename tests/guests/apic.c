/* SPDX-License-Identifier: MIT */
/*
 * One vCPU's local APIC, as closely as a guest can look: TPR by MMIO, by MSR and by CR8, what it
 * lets in and when; the order of EOIs; levels and their EOI at the IOAPIC; interrupts to itself by
 * ICR and by MSR; the 8259 beside it; what each register reads back; and an APIC that moves.
 */
#include "apic_64.h"

#define APIC	  0xfee00000u
#define MOVED	  0xfed20000u /* nothing is there else */
#define IOAPIC	  0xfec00000u
#define ID	  0x20
#define VERSION	  0x30
#define TPR	  0x80
#define PPR	  0xa0
#define EOI	  0xb0
#define LDR	  0xd0
#define DFR	  0xe0
#define SVR	  0xf0
#define ISR	  0x100
#define TMR	  0x180
#define IRR	  0x200
#define ESR	  0x280
#define ICR	  0x300
#define ICR_HIGH  0x310
#define LVT_TIMER 0x320
#define LVT_LINT0 0x350
#define LVT_LINT1 0x360
#define LVT_ERROR 0x370
#define INITIAL	  0x380
#define CURRENT	  0x390
#define DIVIDE	  0x3e0

#define SELF	   0x44000u
#define MASKED	   0x10000u
#define EXTINT	   0x700u
#define LEVEL	   0x8000u
#define REMOTE_IRR 0x4000u

#define MSR_APIC_BASE 0x1b
#define X2APIC(at)    (0x800 + ((at) >> 4))
#define UART_LINE     4

static bool x2apic;
static u32 apic_at = APIC;

static u32 get(u32 at)
{
	return x2apic ? (u32)rdmsr(X2APIC(at)) : *(volatile u32 *)(apic_at + at);
}

static void put(u32 at, u32 value)
{
	if (x2apic)
		wrmsr(X2APIC(at), value);
	else
		*(volatile u32 *)(apic_at + at) = value;
}

static bool bit(u32 set, u32 vector)
{
	return get(set + vector / 32 * 16) >> vector % 32 & 1;
}

static void self_ipi(u32 vector)
{
	put(ICR, SELF | vector);
}

/* Time for what is pending, and no more. */
static void let_in(void)
{
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
}

static u32 order[32], orders;
static bool end_at_once = true;

static void on_interrupt(struct frame *f)
{
	if (f->vector < 32 || f->vector == 0xff)
		return;
	order[orders++ % 32] = f->vector;
	if (end_at_once)
		put(EOI, 0);
}

static bool came(u32 count, const u32 *vectors)
{
	bool same = orders == count;

	for (u32 i = 0; i < count; i++)
		same = same && order[i] == vectors[i];
	orders = 0;
	return same;
}
#define CAME(...)                                               \
	({                                                      \
		static const u32 vectors_[] = {__VA_ARGS__};    \
		came(sizeof(vectors_) / sizeof(u32), vectors_); \
	})
#define NONE_CAME() came(0, 0)

/* --- CR8 --- */

static void check_cr8(void)
{
	bool same = true;

	for (u32 i = 0; i < 16; i++) {
		call_64((u32)set_cr8, i);
		same = same && get(TPR) == i << 4 && call_64((u32)get_cr8, 0) == i;
		put(TPR, i << 4 | 5);
		same = same && call_64((u32)get_cr8, 0) == i;
	}
	check("CR8 is TPR's upper half, both ways", same);
	put(TPR, 0x35);
	call_64((u32)set_cr8, 6);
	check("a MOV to CR8 clears the lower half", get(TPR) == 0x60);
	call_64((u32)cr8_too_large, 0);
	check("CR8 takes four bits, and #GP is all that more of them do",
	      faults_64 == 1 && get(TPR) == 0x60);
	put(TPR, 0xf0);
	self_ipi(0x71);
	call_64((u32)let_in_cr8, 7);
	check("CR8 at the class of what waits keeps it back", after_cr8 == 0);
	call_64((u32)let_in_cr8, 6);
	check("CR8 below it lets it in at once", after_cr8 == 1 && interrupts_64 == 1);
	put(TPR, 0);
}

/* --- TPR and PPR --- */

static void check_tpr(void)
{
	bool kept, fell;

	put(TPR, 0x60);
	self_ipi(0x61);
	let_in();
	check("TPR keeps its own class back", NONE_CAME() && bit(IRR, 0x61));
	put(TPR, 0x5f);
	check("PPR is TPR while nothing is in service", get(PPR) == 0x5f);
	let_in();
	check("and lets in what is above", CAME(0x61) && !bit(IRR, 0x61));
	/* TPR is raised while what waits is kept back by what is in service. */
	put(TPR, 0);
	end_at_once = false;
	self_ipi(0x81);
	let_in();
	check("in service is in service", CAME(0x81) && bit(ISR, 0x81));
	check("PPR is its class then", get(PPR) == 0x80);
	/* Nothing is printed before it is over: that would make the guest leave. */
	self_ipi(0x51);
	put(TPR, 0x60);
	put(EOI, 0);
	let_in();
	kept = NONE_CAME() && get(PPR) == 0x60;
	end_at_once = true;
	put(TPR, 0x40);
	let_in();
	fell = CAME(0x51);
	check("after the EOI TPR alone keeps it back", kept);
	check("until it falls", fell);
	put(TPR, 0);
}

static void check_order(void)
{
	self_ipi(0x41);
	self_ipi(0x91);
	self_ipi(0x92);
	self_ipi(0x42);
	self_ipi(0xf0);
	let_in();
	check("the highest comes first, each class by the vector",
	      CAME(0xf0, 0x92, 0x91, 0x42, 0x41));
	end_at_once = false;
	self_ipi(0x41);
	let_in();
	self_ipi(0x91);
	let_in();
	self_ipi(0x92);
	let_in();
	check("nested, but not by their own class", CAME(0x41, 0x91));
	check("what is in service shows", bit(ISR, 0x41) && bit(ISR, 0x91) && !bit(ISR, 0x92));
	put(EOI, 0);
	check("an EOI ends the highest", bit(ISR, 0x41) && !bit(ISR, 0x91) && bit(IRR, 0x92));
	end_at_once = true;
	let_in();
	check("and lets in the next", CAME(0x92));
	put(EOI, 0);
	check("the last ends it all", !bit(ISR, 0x41) && get(PPR) == 0);
	put(EOI, 0);
	check("one too many does nothing", NONE_CAME() && get(PPR) == 0);
	self_ipi(0x33);
	self_ipi(0x33);
	let_in();
	check("twice the same before it is taken is once", CAME(0x33));
}

/* --- HLT and the shadow of STI --- */

static void check_halt(void)
{
	for (u32 i = 0; i < 20; i++) {
		self_ipi(0x57);
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	}
	check("HLT does not sleep over what is pending", orders == 20);
	orders = 0;
	self_ipi(0x57);
	__asm__ volatile("sti; cli" ::: "memory");
	check("nothing comes in STI's shadow", NONE_CAME() && bit(IRR, 0x57));
	let_in();
	check("but behind it", CAME(0x57));
	put(DIVIDE, 0xb);
	put(LVT_TIMER, 0x58);
	put(INITIAL, 200000);
	__asm__ volatile("sti; hlt; cli" ::: "memory");
	check("the timer ends a HLT", CAME(0x58) && get(CURRENT) == 0);
	put(LVT_TIMER, MASKED);
}

/* --- levels: the UART's line by the IOAPIC --- */

static void ioapic_put(u32 reg, u32 value)
{
	*(volatile u32 *)IOAPIC = reg;
	*(volatile u32 *)(IOAPIC + 0x10) = value;
}

static u32 ioapic_get(u32 reg)
{
	*(volatile u32 *)IOAPIC = reg;
	return *(volatile u32 *)(IOAPIC + 0x10);
}

/* By registers that only 64-bit code can name: Weir moves them in software. */
static void check_xmm(void)
{
	u32 version = ioapic_get(1);

	(void)ioapic_get(0);
	call_64((u32)put_xmm13, 1);
	check("a device is written from XMM13", *(volatile u32 *)IOAPIC == 1);
	check("and read to XMM12", call_64((u32)get_xmm12, 0) == version && version);
}

#define RTE (0x10 + 2 * UART_LINE)

static void uart_line(bool high)
{
	outb(0x3f9, high ? 2 : 0); /* the transmitter is empty, and says so */
}

static void check_level(void)
{
	u32 times;

	outb(0x3fc, 8);
	ioapic_put(RTE + 1, 0);
	ioapic_put(RTE, LEVEL | 0x66);
	end_at_once = false;
	uart_line(true);
	let_in();
	check("a level comes", CAME(0x66) && bit(ISR, 0x66) && bit(TMR, 0x66));
	check("the IOAPIC knows that it is on its way", ioapic_get(RTE) & REMOTE_IRR);
	let_in();
	check("and sends it no more until its EOI", NONE_CAME());
	put(EOI, 0);
	times = ioapic_get(RTE) & REMOTE_IRR;
	check("still high, it comes again after the EOI", times && bit(IRR, 0x66));
	let_in();
	check("and once", CAME(0x66));
	uart_line(false);
	put(EOI, 0);
	let_in();
	check("low, it does not", NONE_CAME() && !(ioapic_get(RTE) & REMOTE_IRR));
	self_ipi(0x66);
	let_in();
	put(EOI, 0);
	check("the same vector as an edge", CAME(0x66));
	/* A higher one in between: the EOIs end each its own. */
	uart_line(true);
	let_in();
	self_ipi(0x99);
	let_in();
	put(EOI, 0);
	times = ioapic_get(RTE) & REMOTE_IRR;
	uart_line(false);
	put(EOI, 0);
	check("an EOI ends the level only if it is the level's",
	      CAME(0x66, 0x99) && times && !(ioapic_get(RTE) & REMOTE_IRR));
	ioapic_put(RTE, MASKED);
	end_at_once = true;
}

/*
 * The pin of a line that stays high becomes an edge's and a level's again, amid an interrupt, too, and
 * has another vector. Nothing is printed before the line is low: that would be more edges.
 */
static void check_remap(void)
{
	bool edge, once, level, forgets, quiet, again, stuck, other, lost, kept;

	ioapic_put(RTE, 0x67);
	end_at_once = false;
	uart_line(true);
	let_in();
	edge = CAME(0x67) && !bit(TMR, 0x67) && !(ioapic_get(RTE) & REMOTE_IRR);
	put(EOI, 0);
	let_in();
	once = NONE_CAME();
	ioapic_put(RTE, LEVEL | 0x67);
	let_in();
	level = CAME(0x67) && bit(TMR, 0x67) && ioapic_get(RTE) & REMOTE_IRR;
	ioapic_put(RTE, 0x67);
	forgets = !(ioapic_get(RTE) & REMOTE_IRR);
	put(EOI, 0);
	let_in();
	quiet = NONE_CAME();
	ioapic_put(RTE, LEVEL | 0x67);
	let_in();
	again = CAME(0x67) && bit(TMR, 0x67);
	ioapic_put(RTE, LEVEL | 0x68);
	put(EOI, 0);
	let_in();
	stuck = NONE_CAME() && ioapic_get(RTE) & REMOTE_IRR;
	ioapic_put(RTE, 0x68);
	ioapic_put(RTE, LEVEL | 0x68);
	let_in();
	other = CAME(0x68) && !bit(ISR, 0x67);
	uart_line(false);
	put(EOI, 0);
	ioapic_put(RTE, MASKED | 0x67);
	uart_line(true);
	ioapic_put(RTE, 0x67);
	let_in();
	lost = NONE_CAME();
	ioapic_put(RTE, MASKED | LEVEL | 0x67);
	ioapic_put(RTE, LEVEL | 0x67);
	let_in();
	kept = CAME(0x67);
	uart_line(false);
	put(EOI, 0);
	ioapic_put(RTE, 0x67);
	uart_line(true);
	let_in();
	kept = CAME(0x67) && !bit(TMR, 0x67) && kept;
	uart_line(false);
	put(EOI, 0);
	ioapic_put(RTE, MASKED);
	end_at_once = true;
	check("a pin that is an edge's interrupts as its line rises", edge);
	check("and while it stays high no more", once);
	check("made a level's it does at once", level);
	check("made an edge's again it forgets the level that is in service", forgets);
	check("whose EOI brings nothing", quiet);
	check("and once more a level's it comes", again);
	check("with another vector in between it waits for an EOI of that", stuck);
	check("and comes by it when it was an edge's for a moment", other);
	check("an edge at a masked pin is lost", lost);
	check("a level there is not, and is an edge the next time", kept);
	check("nothing is left in service", !bit(ISR, 0x67) && !bit(ISR, 0x68) && get(PPR) == 0);
}

/* --- the 8259 beside it --- */

static void pic_put(u8 mask)
{
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0x21, mask);
}

/* Low again before anything is printed, for that would be more edges. */
static void check_extint(void)
{
	bool ok;

	pic_put(0xef); /* the UART's line */
	put(LVT_LINT0, EXTINT);
	end_at_once = false;
	put(TPR, 0xf0);
	uart_line(true);
	let_in();
	ok = CAME(0x24) && !bit(ISR, 0x24) && !bit(IRR, 0x24);
	uart_line(false);
	outb(0x20, 0x20);
	put(TPR, 0);
	check("ExtINT of the 8259 asks no TPR, and leaves no trace in the APIC", ok);
	self_ipi(0x91);
	uart_line(true);
	let_in();
	ok = orders == 2 && order[0] + order[1] == 0x24 + 0x91;
	orders = 0;
	uart_line(false);
	outb(0x20, 0x20);
	put(EOI, 0);
	put(LVT_LINT0, MASKED);
	outb(0x21, 0xff);
	end_at_once = true;
	check("both come where both are pending", ok);
	check("and nothing is left", get(PPR) == 0 && !bit(IRR, 0x91));
}

/* --- what registers read back --- */

static bool reads(u32 at, u32 written, u32 expected)
{
	put(at, written);
	return get(at) == expected;
}

static void check_registers(void)
{
	check("the version", (get(VERSION) & 0xff00ff) == 0x050014);
	check("TPR keeps eight bits", reads(TPR, x2apic ? 0x12 : 0xffffff12u, 0x12));
	put(TPR, 0);
	check("LVT entries keep what they have",
	      reads(LVT_ERROR, 0x100a0, 0x100a0) && reads(LVT_TIMER, 0x300a1, 0x300a1));
	if (!x2apic) {
		check("and nothing else", reads(LVT_ERROR, ~0u, 0x100ff));
		check("LDR, DFR and ID",
		      reads(LDR, 0x01ffffff, 0x01000000) && reads(DFR, 0x0fffffff, 0x0fffffff) &&
			      reads(DFR, ~0u, ~0u) && reads(ID, 0x05ffffff, 0x05000000) &&
			      reads(ID, 0, 0));
		check("the ICR's destination", reads(ICR_HIGH, ~0u, 0xff000000u));
		check("no counter of the page's runs", reads(DIVIDE, ~0u, 0xb));
	}
	put(LVT_ERROR, MASKED);
	put(LVT_TIMER, MASKED);
	put(ESR, 0);
	self_ipi(5);
	put(ESR, 0);
	check("a vector below 16 is an error of the sender's", get(ESR) == 0x20);
	put(ESR, 0);
	check("which is told once", get(ESR) == 0);
	check("SVR",
	      reads(SVR, 0xff, 0xff) && (get(LVT_LINT1) & MASKED) && reads(SVR, 0x1ff, 0x1ff));
	if (!x2apic) {
		*(volatile u8 *)(APIC + TPR + 1) = 0xff;
		check("bytes of a register that are none do nothing to it", get(TPR) == 0);
		check("the identity twice",
		      *(volatile u16 *)(APIC + VERSION) == (get(VERSION) & 0xffff));
	}
}

/* --- the APIC elsewhere, off, and in x2APIC mode --- */

static void check_moved(void)
{
	wrmsr(MSR_APIC_BASE, MOVED | 0x900);
	check("where it was there is nothing",
	      *(volatile u32 *)(APIC + VERSION) == ~0u && *(volatile u32 *)(APIC + TPR) == ~0u);
	apic_at = MOVED;
	put(TPR, 0x30);
	check("it answers where it is", (get(VERSION) & 0xff) == 0x14 && get(TPR) == 0x30);
	*(volatile u32 *)(APIC + TPR) = 0x70;
	check("and not to what is written where it was", get(TPR) == 0x30);
	check("CR8 is its TPR", call_64((u32)get_cr8, 0) == 3);
	put(TPR, 0);
	check_order();
	wrmsr(MSR_APIC_BASE, APIC | 0x900);
	apic_at = APIC;
	check("moved back it is there again", (get(VERSION) & 0xff) == 0x14 && get(TPR) == 0);
	check_order();
	check_level();
}

static void check_x2apic(void)
{
	wrmsr(MSR_APIC_BASE, APIC | 0xd00);
	x2apic = true;
	check("x2APIC: no page any more",
	      *(volatile u32 *)(APIC + VERSION) == ~0u && *(volatile u32 *)(APIC + TPR) == ~0u);
	check_registers();
	check_tpr();
	check_order();
	check_level();
	check_remap();
	check_halt();
	check_extint();
	wrmsr(X2APIC(0x3f0), 0x5b);
	let_in();
	check("x2APIC: self IPI", CAME(0x5b));
	check("x2APIC: ICR is 64 bits", (wrmsr(0x830, 0x1234567800000000ull | SELF | 0x5c),
					 rdmsr(0x830)) == (0x1234567800000000ull | SELF | 0x5c));
	let_in();
	check("and sends", CAME(0x5c));
	check("what is not there faults",
	      TRY("mov $0x80e, %%ecx; rdmsr") && TRY("mov $0x80b, %%ecx; rdmsr") &&
		      TRY("mov $0x83f, %%ecx; rdmsr") && TRY("mov $0x82f, %%ecx; rdmsr") &&
		      TRY("mov $0x8ff, %%ecx; rdmsr"));
	check("and so does what may not be written",
	      TRY("mov $0x802, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr") &&
		      TRY("mov $0x80b, %%ecx; mov $1, %%eax; xor %%edx, %%edx; wrmsr") &&
		      TRY("mov $0x808, %%ecx; mov $0x100, %%eax; xor %%edx, %%edx; wrmsr"));
}

void main(u32 magic, const void *info)
{
	(void)magic;
	(void)info;
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	interrupts_init();
	interrupt_hook = on_interrupt;
	long_mode_init();
	put(SVR, 0x1ff);
	put(LVT_LINT0, MASKED);
	put(TPR, 0);
	check_registers();
	check_tpr();
	check_order();
	check_halt();
	check_level();
	check_remap();
	check_extint();
	check_cr8();
	check_xmm();
	check_moved();
	check_x2apic();
	guest_end();
}
