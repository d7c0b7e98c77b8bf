/* SPDX-License-Identifier: MIT */
/*
 * Does what no sane guest does: random ports, MSRs, CPUID leaves, device registers and hypercalls,
 * unaligned and of every size. It proves that Weir answers each and goes on; what the answer is,
 * other tests say. Ports that would end the VM are left out.
 */
#include "guest.h"

#define LAPIC  0xfee00000u
#define IOAPIC 0xfec00000u
#define ROUNDS 20000
#define PASSES 2 /* the second begins with devices as the first has left them */

#define UNDEFINED 6 /* #UD */

static u32 seed = 20261121;

static u32 next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

/* Its writes end the VM, start it again or put it to sleep; or it is the console's. */
static bool is_spared(u32 port)
{
	return port == 0x64 || port == 0x92 || port == 0xcf9 || (port >= 0xf4 && port <= 0xf7) ||
	       (port >= 0x3f8 && port <= 0x3ff) || (port >= 0x600 && port <= 0x607);
}

/* Of two or four bytes each goes to its own port, where the device of the first is no wider. */
static bool has_spared(u32 port, u32 size)
{
	for (u32 i = 0; i < size; i++) {
		if (is_spared(port + i))
			return true;
	}
	return false;
}

/* Interrupt controllers are put right again at the end. */
static void ports(void)
{
	static const u8 sizes[8] = {1, 1, 2, 4, 1, 1, 2, 4};
	static const u16 known[] = {0x20,  0x21,  0x40,	 0x41,	0x42,  0x43, 0x60,
				    0x61,  0x70,  0x71,	 0x80,	0xa0,  0xa1, 0x4d0,
				    0x4d1, 0x608, 0x510, 0x511, 0xcf8, 0xcfc};

	for (u32 i = 0; i < ROUNDS; i++) {
		u16 port = (u16)next();
		u32 v = next(), how = next();

		if (how & 8)
			port = known[next() % (sizeof(known) / sizeof(known[0]))];
		if (has_spared(port, sizes[how & 7]))
			continue;
		switch (how & 7) {
		case 0:
		case 1:
			outb(port, (u8)v);
			break;
		case 2:
			outw(port, (u16)v);
			break;
		case 3:
			outl(port, v);
			break;
		case 4:
		case 5:
			inb(port);
			break;
		case 6:
			inw(port);
			break;
		case 7:
			inl(port);
			break;
		}
	}
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	check("random ports", true);
}

static void try_msr(u32 index, bool write, u64 v)
{
	u32 lo = (u32)v, hi = (u32)(v >> 32);

	if (write)
		__asm__ volatile("movl $1f, %0; wrmsr; 1: movl $0, %0"
				 : "+m"(exception_resume)
				 : "c"(index), "a"(lo), "d"(hi)
				 : "memory");
	else
		__asm__ volatile("movl $1f, %0; rdmsr; 1: movl $0, %0"
				 : "+m"(exception_resume), "+a"(lo), "+d"(hi)
				 : "c"(index)
				 : "memory");
}

/* EFER, FS and GS bases and APIC_BASE are left as they are: the guest has to live on. */
static bool vital(u32 index)
{
	return index == 0xc0000080 || index == 0x1b || (index >= 0x174 && index <= 0x176);
}

static void msrs(void)
{
	static const u32 base[] = {0,	  0x10,	      0x40,	  0x170,      0x200,	 0x270,
				   0x400, 0x480,      0x600,	  0x6e0,      0x800,	 0x820,
				   0xda0, 0xc0000080, 0xc0000100, 0x4b564d00, 0x40000000};

	for (u32 i = 0; i < ROUNDS; i++) {
		u32 index = base[next() % (sizeof(base) / sizeof(base[0]))] + next() % 32;
		u64 v = (u64)next() << 32 | next();

		if (next() & 1)
			v &= 0xff;
		if ((next() & 7) == 0)
			index = next();
		if (vital(index))
			continue;
		/* The paravirtual clock writes where it is told: not into this program. */
		if ((index & ~3u) == 0x4b564d00 || index == 0x11 || index == 0x12)
			v = (v & ~0x3ffffffull) | 0x1000000;
		try_msr(index, next() & 1, v);
	}
	check("random MSRs", true);
}

static void devices(void)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		u32 at = (next() & 1 ? LAPIC : IOAPIC) + next() % 0x1000, v = next();

		if (next() & 1)
			at &= ~15u;
		/* Not the ICR: INIT would stop this CPU, as it should. */
		if (at >= LAPIC + 0x2f0 && at < LAPIC + 0x320)
			continue;
		switch (next() & 7) {
		case 0:
			*(volatile u8 *)at = (u8)v;
			break;
		case 1:
			*(volatile u16 *)at = (u16)v;
			break;
		case 2:
		case 3:
			*(volatile u32 *)at = v;
			break;
		case 4:
			__asm__ volatile("lock xadd %0, (%1)" : "+r"(v) : "r"(at) : "memory");
			break;
		case 5:
			(void)*(volatile u8 *)at;
			break;
		default:
			(void)*(volatile u32 *)at;
			break;
		}
	}
	check("random device registers", true);
}

static void others(void)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		u32 r[4], a = next();

		if (next() & 1)
			a = (a & 0x8000001f) | (next() & 0x40000000);
		cpuid(a, next() % 16, r);
		__asm__ volatile("vmcall" : "+a"(a) : "b"(next()), "c"(next()) : "memory");
	}
	check("random CPUID leaves and hypercalls", true);
	check("VMLAUNCH is undefined",
	      TRY(".byte 0x0f, 0x01, 0xc2") && exception_vector == UNDEFINED);
}

/*
 * What is written stays, for a hypervisor must not drop what its cache holds: it is the machine's.
 */
static void caches(void)
{
	static volatile u32 words[16384];
	u32 wrong = 0, step = next() | 1;
	bool faults;

	for (u32 i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = i * step;
	faults = TRY("wbinvd");
	words[0] = ~step;
	faults |= TRY("invd");
	for (u32 i = 1; i < sizeof(words) / sizeof(words[0]); i++)
		wrong += words[i] != i * step;
	check("WBINVD and INVD do not fault", !faults);
	check("what was written before INVD is there", !wrong && words[0] == ~step);
}

static void memory_hole(void)
{
	for (u32 i = 0; i < 2000; i++) {
		u32 at = 0xa0000 + next() % 0x40000;

		*(volatile u32 *)at = next();
		if (*(volatile u32 *)at != 0xffffffff) {
			check("the legacy hole reads all ones", false);
			return;
		}
	}
	check("the legacy hole reads all ones", true);
}

/* Stray vectors that random registers raise are counted and ended. */
static void hook(struct frame *f)
{
	if (f->vector >= 32)
		*(volatile u32 *)(LAPIC + 0xb0) = 0;
}

void main(void)
{
	interrupts_init();
	interrupt_hook = hook;
	print("guest: hello\n");
	for (u32 i = 0; i < PASSES; i++) {
		memory_hole();
		ports();
		msrs();
		devices();
		others();
		caches();
	}
	guest_end();
}
