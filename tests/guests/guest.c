/* SPDX-License-Identifier: MIT */
#include "guest.h"

#define COM1	   0x3f8
#define DEBUG_EXIT 0xf4

volatile u32 interrupt_count[256];
void (*volatile interrupt_hook)(struct frame *f);
volatile u32 exception_resume, exception_vector, exception_error;
volatile bool exception_keep_eip;

static u32 passed, failed;

static struct {
	u16 low, selector;
	u8 zero, type;
	u16 high;
} __attribute__((packed)) idt[256];

extern u8 stubs[256][16];

static void put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, (u8)c);
}

void print(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			put('\r');
		put(*text);
	}
}

void print_hex(u32 v)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put("0123456789abcdef"[(v >> shift) & 15]);
}

void print_decimal(u32 v)
{
	if (v >= 10)
		print_decimal(v / 10);
	put((char)('0' + v % 10));
}

void check(const char *name, bool ok)
{
	print(ok ? "guest: ok " : "guest: FAIL ");
	print(name);
	print("\n");
	if (ok)
		passed++;
	else
		failed++;
}

void guest_end(void)
{
	print("guest: ");
	print_decimal(passed);
	print(" passed, ");
	print_decimal(failed);
	print(" failed\n");
	outb(DEBUG_EXIT, failed ? 1 : 0);
	for (;;)
		__asm__ volatile("cli; hlt");
}

u32 exceptions(void)
{
	u32 n = 0;

	for (u32 i = 0; i < 32; i++)
		n += interrupt_count[i];
	return n;
}

void interrupt(struct frame *f)
{
	interrupt_count[f->vector]++;
	if (f->vector < 32 && f->vector != 2 && !exception_keep_eip) {
		exception_vector = f->vector;
		exception_error = f->error;
		if (!exception_resume) {
			print("guest: exception ");
			print_hex(f->vector);
			print(" at ");
			print_hex(f->eip);
			print("\n");
			check("no unexpected exception", false);
			guest_end();
		}
		f->eip = exception_resume;
	}
	if (interrupt_hook)
		interrupt_hook(f);
}

void interrupts_init(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (u32)idt};

	for (u32 i = 0; i < 256; i++) {
		u32 at = (u32)stubs[i];

		idt[i].low = (u16)at;
		idt[i].high = (u16)(at >> 16);
		idt[i].selector = 8;
		idt[i].type = 0x8e;
	}
	__asm__ volatile("lidt %0" ::"m"(pointer));
}

void pics_init(u8 first, u8 second, u8 mask)
{
	static const struct {
		u16 port;
		u8 cascade;
	} pics[] = {{0x20, 1 << 2}, {0xa0, 2}};

	for (u32 i = 0; i < 2; i++) {
		outb(pics[i].port, 0x11); /* four words, the first of them this */
		outb(pics[i].port + 1, i ? second : first);
		outb(pics[i].port + 1, pics[i].cascade);
		outb(pics[i].port + 1, 0x01); /* 8086 mode */
		outb(pics[i].port + 1, i ? 0xff : mask);
	}
}
