/* SPDX-License-Identifier: MIT */
/*
 * A guest to talk to: it shows each byte that is typed to it, and does what some of them say. What
 * it writes is meant to harm a terminal and whoever reads it there.
 *
 *	h	writes sequences that steer a terminal, ask it something, or do not end
 *	f	writes 40 KiB, more than Weir keeps, ending in "flooded"
 *	n	writes empty lines without end
 *	m	reads an MSR at each interrupt of its timer
 *	z	takes nothing that is typed any more
 *	q	leaves
 * An NMI is said.
 */
#include "guest.h"

#define COM1	     0x3f8
#define LAPIC	     0xfee00000u
#define VECTOR_TIMER 0x40
#define VECTOR_NMI   2
#define TIMER_COUNT  5000000
#define LVT_NMI	     0x400
#define LVT_PERIODIC 0x20000

#define MSR_MISC_ENABLE 0x1a0

static void mmio_write(u32 at, u32 v)
{
	*(volatile u32 *)at = v;
}

static bool reads_msr;

static void hook(struct frame *f)
{
	if (f->vector == VECTOR_TIMER)
		mmio_write(LAPIC + 0xb0, 0);
	if (f->vector == VECTOR_TIMER && reads_msr)
		rdmsr(MSR_MISC_ENABLE);
	if (f->vector == VECTOR_NMI)
		print("talker: NMI\n");
}

static void harm(void)
{
	print("talker: harm begins\n");
	print("\033[2J\033[H\033[31;1mred\033[8mhidden\033[?25l\033[?1049h\033[3;5r\033[4h\033(0");
	print("\033[6n\033[c\033]0;reboot -f\007\033[21t\005");
	print("\233"
	      "2J\302\233"
	      "2J \303\244 \377\376 \016shifted\n");
	print("weir> vm kill talker\r\n\033[20Aweir> \b\b\b\n");
	print("talker: harm ends in a string \033]2;vm kill talker");
}

static void flood(void)
{
	for (u32 i = 0; i < 1024; i++) {
		print("talker: line ");
		print_decimal(i);
		print(" of a flood that is long\n");
	}
	print("talker: flooded\n");
}

static void answer(u8 byte)
{
	print("<");
	print_decimal(byte);
	print(">");
	switch (byte) {
	case 'h':
		harm();
		break;
	case 'f':
		flood();
		break;
	case 'n':
		for (;;)
			print("\n");
	case 'm':
		reads_msr = true;
		break;
	case 'z':
		print("talker: deaf\n");
		for (;;)
			__asm__ volatile("sti; hlt");
	case 'q':
		print("\n");
		check("it was told to leave", true);
		guest_end();
	}
}

void main(void)
{
	interrupts_init();
	interrupt_hook = hook;
	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x360, LVT_NMI); /* LINT1 */
	mmio_write(LAPIC + 0x3e0, 0xb);
	mmio_write(LAPIC + 0x320, LVT_PERIODIC | VECTOR_TIMER);
	mmio_write(LAPIC + 0x380, TIMER_COUNT);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	print("talker: ready\n");
	for (;;) {
		while (inb(COM1 + 5) & 1)
			answer(inb(COM1));
		__asm__ volatile("sti; hlt; cli");
	}
}
