/* SPDX-License-Identifier: MIT */
/*
 * A guest that looks at real mode: short pieces of 16-bit code (real_pieces.S, real_machine.S), each from the same
 * state, and what it leaves in registers, flags, memory and on the stack, or which vector it raised.
 * All of them once as reset leaves the segments' limits, and once with limits of 4 GiB ("unreal"
 * mode), in which a CPU without unrestricted guest runs none of it by itself. It does not know what is
 * right: it prints, and a bare CPU prints the same.
 */
#include "guest.h"

#define CODE	  0x10000u
#define DATA	  0x20000u
#define EXTRA	  0x21000u
#define STACK	  0x30000u
#define VECTORS	  0x8000u
#define FREE_END  0x60000u
#define WINDOW	  0x80u
#define SP	  0x800u
#define ONLY_REAL 1u
#define NO_VECTOR 0xffu
#define STUB	  16u
#define STUBS	  128u
#define PIC	  0x20
#define PIC_2	  0xa0
#define PIT	  0x40
#define PIT_MODE  0x43
#define COM1_LINE 0x3fb
#define LINE_8N1  3

struct piece {
	const char *name;
	u32 offset;
	u32 undefined; /* flags */
	u32 how;
};

struct outcome {
	u32 gpr[8]; /* EAX, EBX, ECX, EDX, ESI, EDI, EBP, ESP */
	u32 flags;
	u16 segment[5];
	u16 vector;
};

extern const struct piece real_pieces[];
extern const u8 blob[], blob_end[], stubs16[], outcome[];
void real_run(u32 offset, bool unreal);

static const struct {
	const char *name;
	u32 at;
} windows[] = {{"ds", DATA + 0x1c0}, {"es", EXTRA + 0x1c0}, {"ss", STACK + SP - 0x60}};

static u8 *linear(u32 at)
{
	return (u8 *)at;
}

static void copy(u32 to, const u8 *from, u32 n)
{
	for (u32 i = 0; i < n; i++)
		((volatile u8 *)to)[i] = from[i];
}

static u8 pattern(u32 i)
{
	return (u8)(i * 37 + 11);
}

static void prepare(void)
{
	u32 stubs = (u32)(stubs16 - blob);

	copy(CODE, blob, (u32)(blob_end - blob));
	for (u32 i = 0; i < STUBS; i++) {
		*(volatile u32 *)(VECTORS + 4 * i) = CODE >> 4 << 16 | (stubs + i * STUB);
		*(volatile u32 *)(4 * i) = CODE >> 4 << 16 | (stubs + i * STUB);
	}
	for (u32 w = 0; w < 3; w++) {
		for (u32 i = 0; i < WINDOW; i++)
			*linear(windows[w].at + i) = pattern(i);
	}
}

static void print_byte(u8 v)
{
	static const char digits[] = "0123456789abcdef";
	char text[3] = {digits[v >> 4], digits[v & 15], 0};

	print(text);
}

static void print_value(const char *name, u32 v)
{
	print(" ");
	print(name);
	print("=");
	print_hex(v);
}

static void print_window(const char *name, u32 at)
{
	u32 first = 0, last = WINDOW;

	while (first < WINDOW && *linear(at + first) == pattern(first))
		first++;
	if (first == WINDOW)
		return;
	while (*linear(at + last - 1) == pattern(last - 1))
		last--;
	print(" ");
	print(name);
	print(":");
	print_byte((u8)first);
	print("=");
	for (u32 i = first; i < last; i++)
		print_byte(*linear(at + i));
}

static void print_outcome(const struct piece *p, bool unreal)
{
	static const char *const names[] = {"ax", "bx", "cx", "dx", "si", "di", "bp", "sp"};
	static const char *const segments[] = {"ds", "es", "fs", "gs", "ss"};
	static const u32 before[] = {0x11223344, 0x200, 5, 0x3ff, 0x204, 0x210, 0x7f0, SP};
	static const u16 segments_before[] = {0x2000, 0x2100, 0x4000, 0x5000, 0x3000};
	const struct outcome *o = (const struct outcome *)(CODE + (u32)(outcome - blob));

	print(unreal ? "unreal: " : "real: ");
	print(p->name);
	print(":");
	if (o->vector != NO_VECTOR)
		print_value("vector", o->vector);
	for (u32 i = 0; i < 8; i++) {
		if (o->gpr[i] != before[i])
			print_value(names[i], o->gpr[i]);
	}
	for (u32 i = 0; i < 5; i++) {
		if (o->segment[i] != segments_before[i])
			print_value(segments[i], o->segment[i]);
	}
	print_value("flags", o->flags & ~p->undefined);
	for (u32 w = 0; w < 3; w++)
		print_window(windows[w].name, windows[w].at);
	print("\n");
}

static u32 run_all(bool unreal)
{
	u32 count = 0;

	for (const struct piece *p = real_pieces; p->name; p++) {
		if (unreal && (p->how & ONLY_REAL))
			continue;
		prepare();
		real_run(p->offset, unreal);
		print_outcome(p, unreal);
		count++;
	}
	return count;
}

/* The timer's vector is 0x20, all is masked, and it ticks a hundred times a second. */
static void prepare_timer(void)
{
	outb(PIC, 0x11);
	outb(PIC + 1, 0x20);
	outb(PIC + 1, 4);
	outb(PIC + 1, 1);
	outb(PIC_2, 0x11);
	outb(PIC_2 + 1, 0x28);
	outb(PIC_2 + 1, 2);
	outb(PIC_2 + 1, 1);
	outb(PIC + 1, 0xff);
	outb(PIC_2 + 1, 0xff);
	outb(PIT_MODE, 0x34);
	outb(PIT, 11932 & 0xff);
	outb(PIT, 11932 >> 8);
}

void main(void)
{
	u32 count;

	interrupts_init();
	outb(COM1_LINE, LINE_8N1); /* on a bare CPU nobody else has set it */
	for (u32 at = DATA; at < FREE_END; at += 4)
		*(volatile u32 *)at = 0;
	prepare_timer();
	count = run_all(false) + run_all(true);
	print("pieces: ");
	print_decimal(count);
	print("\n");
	check("all pieces came back", count != 0);
	guest_end();
}
