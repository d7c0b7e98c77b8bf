/* SPDX-License-Identifier: MIT */
/*
 * A guest that wants CPUs, for the scheduler's bench. Its command line says how: `spin TICKS` is busy
 * until its TSC is there, `spin-all TICKS` has its other vCPUs do the same, and `sleep TICKS` halts and
 * is woken by its timer, again and again. Then it leaves. Interrupts are on while it spins, for Bochs 2.7
 * keeps those of the host back from a guest that has them off (vmx/vmcs_setup.c).
 */
#include "guest.h"

#define LAPIC		0xfee00000u
#define LAPIC_EOI	0xb0
#define LAPIC_SVR	0xf0
#define LAPIC_ICR	0x300
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_INITIAL	0x380
#define LAPIC_DIVIDE	0x3e0

#define SVR_ON		0x1ffu
#define TIMER_VECTOR	0x40u
#define DIVIDE_BY_1	0xbu
#define INIT_OTHERS	0xc4500u
#define START_OTHERS	0xc4600u /* at page 8 */
#define TRAMPOLINE	0x8000u
#define STI_AND_SPIN	0xfeebfbu
#define SLEEP_COUNT	500009u /* no part of a slice */
#define MULTIBOOT_MAGIC 0x2badb002u

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static void mmio_write(u32 at, u32 v)
{
	*(volatile u32 *)at = v;
}

static bool starts_with(const char *text, const char *word)
{
	while (*word && *text == *word) {
		text++;
		word++;
	}
	return !*word;
}

/* The line begins with the VM's name. */
static const char *second_word(const char *text)
{
	while (*text && *text != ' ')
		text++;
	return *text ? text + 1 : text;
}

static u64 number_in(const char *text)
{
	u64 n = 0;

	while (*text && (*text < '0' || *text > '9'))
		text++;
	for (; *text >= '0' && *text <= '9'; text++)
		n = n * 10 + (u64)(*text - '0');
	return n;
}

/* They spin in real mode, until the VM ends. */
static void start_others(void)
{
	*(volatile u32 *)TRAMPOLINE = STI_AND_SPIN;
	mmio_write(LAPIC + LAPIC_ICR, INIT_OTHERS);
	mmio_write(LAPIC + LAPIC_ICR, START_OTHERS | TRAMPOLINE >> 12);
	mmio_write(LAPIC + LAPIC_ICR, START_OTHERS | TRAMPOLINE >> 12);
}

static void on_interrupt(struct frame *f)
{
	if (f->vector == TIMER_VECTOR)
		mmio_write(LAPIC + LAPIC_EOI, 0);
}

static void sleep_until(u64 end)
{
	mmio_write(LAPIC + LAPIC_DIVIDE, DIVIDE_BY_1);
	mmio_write(LAPIC + LAPIC_LVT_TIMER, TIMER_VECTOR);
	while (rdtsc() < end) {
		mmio_write(LAPIC + LAPIC_INITIAL, SLEEP_COUNT);
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	}
}

void main(u32 magic, const struct multiboot_info *info)
{
	const char *words = second_word((const char *)info->cmdline);
	u64 end;

	check("multiboot magic", magic == MULTIBOOT_MAGIC);
	end = number_in(words);
	check("a time to end", end != 0);
	mmio_write(LAPIC + LAPIC_SVR, SVR_ON);
	interrupt_hook = on_interrupt;
	interrupts_init();
	if (starts_with(words, "sleep")) {
		sleep_until(end);
	} else {
		if (starts_with(words, "spin-all"))
			start_others();
		__asm__ volatile("sti");
		while (rdtsc() < end)
			__asm__ volatile("" ::: "memory");
	}
	guest_end();
}
