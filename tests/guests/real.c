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
#define RPL_IN_CS 2u
#define NO_VECTOR 0xffu
#define STUB	  16u
#define STUBS	  128u
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
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static u8 pattern(u32 i)
{
	return (u8)(i * 37 + 11);
}

static void prepare(void)
{
	u32 stubs = (u32)(stubs16 - blob);

	copy(CODE, blob, (u32)(blob_end - blob));
	for (u32 i = 0; i < 256; i++) {
		u32 stub = stubs + (i < STUBS ? i : STUBS - 1) * STUB;

		*(volatile u32 *)(VECTORS + 4 * i) = CODE >> 4 << 16 | stub;
		*(volatile u32 *)(4 * i) = CODE >> 4 << 16 | stub;
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

static u32 run_all(bool unreal, u32 without)
{
	u32 count = 0;

	for (const struct piece *p = real_pieces; p->name; p++) {
		if ((unreal && (p->how & ONLY_REAL)) || (p->how & without))
			continue;
		prepare();
		real_run(p->offset, unreal);
		print_outcome(p, unreal);
		count++;
	}
	return count;
}

/* --- Random instructions --- */

#define RANDOM	      0x8000u /* in the code segment, all of which beyond the blob is INT3 */
#define RANDOM_LENGTH 16u
#define RANDOM_REAL   1024u
#define RANDOM_UNREAL 256u /* each costs Weir a hundred instructions in software */
#define RANDOM_BATCH  32u
#define STATUS_FLAGS  0x8d5u
#define FNV_PRIME     0x01000193u
#define FNV_START     0x811c9dc5u
#define REG_SP	      4u
#define MOD_REGISTER  3u

static u64 random_state;

static u8 random(void)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (u8)(random_state >> 56);
}

static bool is_in(u8 v, const char *list, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		if ((u8)list[i] == v)
			return true;
	}
	return false;
}
#define IS_IN(v, list) is_in(v, list, sizeof(list) - 1)

/*
 * Not what leaves the code segment's INT3s, halts, has to do with ports or with the stack's segment,
 * x87 and SSE, prefixes, and what only protected mode has.
 */
static u8 random_opcode(void)
{
	for (;;) {
		u8 op = random();

		if (!IS_IN(op,
			   "\x0f\x17\x26\x2e\x36\x3e\x62\x63\x64\x65\x66\x67\x6d\x6f\x9a\x9b\xc2"
			   "\xc3"
			   "\xca"
			   "\xcb\xcf\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf\xe4\xe5\xe6\xe7\xe8\xe9\xea"
			   "\xed\xef\xf0\xf2\xf3\xf4"))
			return op;
	}
}

static u8 random_opcode_0f(void)
{
	static const u8 ops[] = {0x0b, 0x1f, 0x40, 0x47, 0x4c, 0x90, 0x96, 0x9f, 0xa0, 0xa1,
				 0xa3, 0xa8, 0xa9, 0xab, 0xaf, 0xb0, 0xb1, 0xb3, 0xb4, 0xb5,
				 0xb6, 0xb7, 0xba, 0xbb, 0xbe, 0xbf, 0xc0, 0xc1};

	return ops[random() % sizeof(ops)];
}

/* SP is left alone: an odd one below 6 would end in a shutdown. So is SS. */
static bool fits(u8 op, u8 modrm)
{
	u32 mod = modrm >> 6, reg = (modrm >> 3) & 7, rm = modrm & 7;

	if ((mod == MOD_REGISTER && rm == REG_SP) || reg == REG_SP)
		return false;
	if (op == 0x8e && reg == 2)
		return false;
	/* Jumps and calls through memory, and what is beyond the limits of an undefined shift. */
	return op != 0xff || reg < 2 || reg > 5;
}

static bool has_modrm(u8 op, bool of_0f)
{
	if (of_0f)
		return op != 0x0b && (op & 0xf6) != 0xa0;
	if (op < 0x40)
		return (op & 7) < 4;
	return IS_IN(op, "\x62\x69\x6b\xc0\xc1\xc4\xc5\xc6\xc7\xd0\xd1\xd2\xd3\xf6\xf7\xfe\xff") ||
	       (op & 0xf0) == 0x80;
}

/* The operand's other bytes: an address within the first 64 KiB of its segment. */
static u32 make_operand(u8 *piece, u8 modrm, bool wide)
{
	u32 mod = modrm >> 6, rm = modrm & 7, n = 0, size = wide ? 4 : 2;
	bool alone = mod == 0 && rm == (wide ? 5 : 6);

	if (mod == MOD_REGISTER)
		return 0;
	if (wide && rm == REG_SP)
		piece[n++] = random() &
			     ~1u; /* the base is not EBP's number, which is none at times */
	if (mod == 1)
		piece[n++] = random();
	if (mod != 2 && !alone)
		return n;
	for (u32 i = 0; i < size; i++)
		piece[n++] = i < 2 ? random() : 0;
	return n;
}

/* What is behind the instruction, and its immediate, is INT3. */
static void make_random(u8 piece[RANDOM_LENGTH])
{
	static const u8 prefixes[] = {0x66, 0x67, 0x26, 0x36, 0x3e, 0x64, 0x65, 0xf0, 0xf2, 0xf3};
	bool wide = false, of_0f = !(random() & 3);
	u8 op, modrm;
	u32 n = 0;

	for (u32 i = 0; i < RANDOM_LENGTH; i++)
		piece[i] = 0xcc;
	while (random() & 1 && n < 4) {
		piece[n] = prefixes[random() % sizeof(prefixes)];
		wide = wide || piece[n] == 0x67;
		n++;
	}
	if (of_0f)
		piece[n++] = 0x0f;
	op = of_0f ? random_opcode_0f() : random_opcode();
	piece[n++] = op;
	if (!has_modrm(op, of_0f))
		return;
	do
		modrm = random();
	while (!fits(op, modrm));
	piece[n++] = modrm;
	(void)make_operand(piece + n, modrm, wide);
}

static u32 hash(u32 h, const void *from, u32 n)
{
	for (u32 i = 0; i < n; i++)
		h = (h ^ ((const u8 *)from)[i]) * FNV_PRIME;
	return h;
}

/* Software has other values for what the manual leaves undefined. */
static void forget_pushed_flags(void)
{
	const struct outcome *o = (const struct outcome *)(CODE + (u32)(outcome - blob));
	u32 at = ((u32)o->segment[4] << 4) + ((o->gpr[7] + 4) & 0xffff);

	*(volatile u16 *)at &= (u16)~STATUS_FLAGS;
}

static u32 hash_outcome(u32 h, bool unreal)
{
	struct outcome o = *(const struct outcome *)(CODE + (u32)(outcome - blob));

	o.flags &= ~(unreal ? STATUS_FLAGS : 0);
	h = hash(h, &o, sizeof(o));
	for (u32 w = 0; w < 3; w++)
		h = hash(h, linear(windows[w].at), WINDOW);
	return h;
}

static void print_random(const u8 *piece, bool unreal)
{
	struct piece p = {"", 0, unreal ? STATUS_FLAGS : 0, 0};

	for (u32 i = 0; i < RANDOM_LENGTH; i++)
		print_byte(piece[i]);
	print(" ");
	print_outcome(&p, unreal);
}

/* One line for each batch, or with `all` for each instruction: a batch that differs is looked for so. */
static void run_random(bool unreal, bool all)
{
	u32 h = FNV_START, cases = unreal ? RANDOM_UNREAL : RANDOM_REAL;
	u8 piece[RANDOM_LENGTH];

	random_state = unreal;
	for (u32 i = (u32)(blob_end - blob); i < 0x10000; i++)
		*linear(CODE + i) = 0xcc;
	for (u32 i = 1; i <= cases; i++) {
		make_random(piece);
		prepare();
		copy(CODE + RANDOM, piece, RANDOM_LENGTH);
		real_run(RANDOM, unreal);
		if (unreal)
			forget_pushed_flags();
		if (all)
			print_random(piece, unreal);
		h = hash_outcome(h, unreal);
		if (i % RANDOM_BATCH)
			continue;
		print(unreal ? "unreal: random" : "real: random");
		print_value("until", i);
		print_value("hash", h);
		print("\n");
		h = FNV_START;
	}
}

/* The timer's vector is 0x20, all is masked, and it ticks a hundred times a second. */
static void prepare_timer(void)
{
	pics_init(0x20, 0x28, 0xff);
	outb(PIT_MODE, 0x34);
	outb(PIT, 11932 & 0xff);
	outb(PIT, 11932 >> 8);
}

void main(u32 magic, const u32 *info)
{
	const char *words = info[0] & 4 ? (const char *)info[4] : "";
	bool all = false, few = false;
	u32 count, without = 0;

	(void)magic;
	for (; *words; words++) {
		all = all || *words == '!';
		few = few || *words == '-';
		if (*words == '=')
			without = RPL_IN_CS;
	}

	interrupts_init();
	outb(COM1_LINE, LINE_8N1); /* on a bare CPU nobody else has set it */
	for (u32 at = DATA; at < FREE_END; at += 4)
		*(volatile u32 *)at = 0;
	prepare_timer();
	count = run_all(false, without) + run_all(true, without);
	if (!few) {
		run_random(false, all);
		run_random(true, all);
	}
	print("pieces: ");
	print_decimal(count);
	print("\n");
	check("all pieces came back", count != 0);
	guest_end();
}
