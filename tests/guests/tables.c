/* SPDX-License-Identifier: MIT */
/*
 * A guest that prints what its CPU does with its page tables, in 32-bit, PAE and 4-level paging: each
 * combination of rights at each level with each access from CPL 0 and 3, the marks that are left,
 * reserved bits, large pages, live tables written in each width, tables that become data and back, or
 * change while paging is off, accesses that are the CPU's own. It judges nothing: what it prints on the
 * bare CPU is what it has to print under Weir.
 */
#include "tables.h"

/* --- Rights --- */

static const char mark_letters[] = ".ABCDEFGHIJKLMNOPQRSTUVWXYZ@#$%&";

/* A and D of the last entry, then A of those above it, the lowest first. */
static u32 marks(void)
{
	u32 m = (get(0) & A ? 1 : 0) | (get(0) & D ? 2 : 0);

	for (u32 level = 0; level < uppers(); level++)
		m |= get_upper(level) & A ? 4u << level : 0;
	return m;
}

struct controls {
	bool wp, smep, smap, ac;
};

static void set_controls(const struct controls *c)
{
	u32 cr4 = READ_CR(4) & ~(CR4_SMEP | CR4_SMAP), cr0 = READ_CR(0) & ~CR0_WP;

	WRITE_CR(0, cr0 | (c->wp ? CR0_WP : 0));
	WRITE_CR(4, cr4 | (c->smep ? CR4_SMEP : 0) | (c->smap ? CR4_SMAP : 0));
	set_flags(FLAG_AC, c->ac ? FLAG_AC : 0);
}

static const struct controls usual = {.wp = true};

static bool can(const struct controls *c)
{
	return (c->wp || !no_writes_without_wp) && (cpu_smep || !c->smep) &&
	       (cpu_smap || !(c->smap || c->ac));
}

static void name_controls(const struct controls *c, u32 level, u32 bits)
{
	begin_line(c->wp ? "WP" : "--");
	print(c->smep ? " SMEP" : "");
	print(c->smap ? " SMAP" : "");
	print(c->ac ? " AC" : "");
	print(" level ");
	print_decimal(level + 2);
	print(bits & 1 ? " W" : " -");
	print(bits & 2 ? "U" : "-");
	print(bits & 4 ? "X: " : "-: ");
}

static u64 rights(u32 bits)
{
	return (bits & 1 ? W : 0) | (bits & 2 ? U : 0) | (bits & 4 ? XD : 0);
}

/* All accesses with each last entry, and the marks where one went through. */
static void sweep_last(u32 level, u64 upper_bits)
{
	u32 variants = mode != MODE_32 && cpu_nx ? 8 : 4;

	for (u32 n = 0; n < 6 * (variants + 1); n++) {
		u32 leaf = n / 6;
		char c;

		for (u32 i = 0; i < uppers(); i++)
			set_upper(i, i == level ? upper_bits : OPEN);
		set(0, (u32)page[0] | (leaf == variants ? W | U : P | rights(leaf)));
		flush();
		c = try(n % 3, base(), n / 3 % 2);
		put_in_line(c == '.' ? mark_letters[marks()] : c);
	}
}

static void sweep_controls(const struct controls *c)
{
	bool plain = c->wp && c->smep == c->smap && !c->ac;

	for (u32 level = 0; level < (plain ? uppers() : 1); level++) {
		for (u32 bits = 0; bits < (mode != MODE_32 && cpu_nx ? 8u : 4u); bits++) {
			set_controls(c);
			sweep_last(level, P | rights(bits));
			set_controls(&usual);
			name_controls(c, level, bits);
			end_line();
		}
	}
}

static void sweep_rights(void)
{
	fresh();
	for (u32 n = 0; n < 16; n++) {
		struct controls c = {n & 1, n & 2, n & 4, n & 8};

		if (can(&c))
			sweep_controls(&c);
	}
	for (u32 level = 0; level < uppers(); level++) {
		fresh();
		set_upper(level, W | U);
		set(0, (u32)page[0] | OPEN);
		flush();
		for (u32 n = 0; n < 6; n++)
			put_in_line(try(n % 3, base(), n / 3));
		begin_line("not present at a level above");
		end_line();
	}
}

/* --- Reserved bits --- */

/*
 * Bits that lead elsewhere are left out: what is there is the machine's. Bochs has addresses of 40 bits,
 * whatever the model's CPUID says.
 */
#define ADDRESS_BITS 40u

static bool is_address(u32 bit)
{
	return bit >= 12 && bit < (mode == MODE_32 ? 32 : ADDRESS_BITS);
}

static void sweep_reserved_at(u32 level, const char *name)
{
	for (u32 bit = 1; bit < (mode == MODE_32 ? 32u : 64u); bit++) {
		u64 extra = 1ull << bit;

		fresh();
		/* PS of a directory's entry is another matter. */
		if (is_address(bit) || (level == 1 && bit == 7))
			continue;
		if (level == 0)
			set(0, (u32)page[0] | OPEN | extra);
		else
			set_upper(level - 1, OPEN | extra);
		if (level)
			set(0, (u32)page[0] | OPEN);
		flush();
		put_in_line(try(KIND_READ, base(), false));
	}
	begin_line(name);
	end_line();
}

/* Bits 13 up of an entry that maps a large page. */
static void sweep_large(void)
{
	u32 to = mode == MODE_32 ? 22 : 21;

	for (u32 bit = 12; bit < to; bit++) {
		if (mode == MODE_32 && bit >= 13 + physical_bits - 32 && bit < 21)
			continue;
		fresh();
		set_directory(0, BIG_A | OPEN | PS | 1ull << bit);
		flush();
		access_at(KIND_READ, WINDOW + FAR_IN + 4, 0, false);
		/* Bits 20:13 of 32-bit entries are an address's upper ones, and nothing is there. */
		put_in_line(answer(WINDOW + FAR_IN + 4));
		put_in_line((u32)probe.value == 0xa5a5 ? '=' : '#');
	}
	begin_line("bits of a large page's entry");
	end_line();
}

static void sweep_pdpte(void)
{
	u32 cr3 = READ_CR(3);

	for (u32 bit = 1; bit < 64; bit++) {
		if (is_address(bit))
			continue;
		for (u32 i = 0; i < 4; i++)
			other_pdpt[i] = pdpt_pae[i];
		other_pdpt[3] = P | 1ull << bit;
		access_at(KIND_LOAD_CR3, (u32)other_pdpt, 0, false);
		put_in_line(answer(0));
		WRITE_CR(3, cr3);
		other_pdpt[3] = 1ull << bit; /* not present: nothing is reserved */
		access_at(KIND_LOAD_CR3, (u32)other_pdpt, 0, false);
		put_in_line(answer(0));
		WRITE_CR(3, cr3);
	}
	begin_line("bits of PDPTEs");
	end_line();
}

static void check_reserved(void)
{
	static const char *const names[] = {"bits of level 1", "bits of level 2", "bits of level 3",
					    "bits of level 4"};

	for (u32 level = 0; level <= uppers(); level++)
		sweep_reserved_at(level, names[level]);
	if (mode != MODE_32 && cpu_nx) {
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_NXE);
		for (u32 level = 0; level <= uppers(); level++)
			sweep_reserved_at(level, "the same without NXE");
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	}
	sweep_large();
	if (mode == MODE_PAE)
		sweep_pdpte();
}

/* --- Large pages --- */

static void check_large(void)
{
	u32 size = mode == MODE_32 ? 0x400000 : 0x200000;

	fresh();
	for (u32 n = 0; n < 8; n++) {
		for (u32 kind = 0; kind < 6; kind++) {
			char c;

			set_directory(0, BIG_A | P | PS | rights(n & (mode == MODE_32 ? 3 : 7)));
			if ((n & 4) && !(mode != MODE_32 && cpu_nx))
				continue;
			invlpg(WINDOW + size - 4096);
			c = try(kind % 3, WINDOW + FAR_IN, kind / 3);
			put_in_line(c);
			put_in_line(digits[(get_directory(0) & A ? 1 : 0) |
					   (get_directory(0) & D ? 2 : 0)]);
		}
	}
	begin_line("rights and marks of a large page");
	end_line();
	set_directory(0, BIG_A | OPEN | PS);
	flush();
	access_at(KIND_READ, WINDOW + FAR_IN + 4, 0, false);
	say("a large page", (u32)probe.value);
	set_directory(0, BIG_B | OPEN | PS);
	invlpg(WINDOW + size / 2); /* at another of its addresses */
	access_at(KIND_READ, WINDOW + FAR_IN + 4, 0, false);
	say("after INVLPG elsewhere in it", (u32)probe.value);
	set_directory(0, (u32)table() | OPEN);
	set(FAR_IN >> 12, (u32)page[2] | OPEN);
	invlpg(WINDOW);
	say("a table in its place", see(FAR_IN >> 12));
	set_directory(0, BIG_A | OPEN | PS);
	invlpg(WINDOW + FAR_IN);
	access_at(KIND_READ, WINDOW + FAR_IN + 4, 0, false);
	say("and large again", (u32)probe.value);
}

/* PS means nothing then; the kernel's own pages must be small for that. */
static void check_without_pse(void)
{
	fresh();
	set(0, (u32)page[3] | OPEN);
	for (u32 i = 0; i < SMALL_TABLES; i++)
		directory32[i] = (u32)small_tables[i] | P | W;
	set_directory(0, (u32)table() | OPEN | PS);
	flush();
	access_at(KIND_READ, at(0) + 4, 0, false);
	put_in_line(answer(at(0) + 4));
	WRITE_CR(4, READ_CR(4) & ~CR4_PSE);
	say("PS without PSE", see(0));
	set_directory(0, (u32)table() | P | W | PS);
	invlpg(at(0));
	access_at(KIND_WRITE, at(0) + 8, 1, true);
	put_in_line(answer(at(0) + 8));
	WRITE_CR(4, READ_CR(4) | CR4_PSE);
	access_at(KIND_WRITE, at(0) + 8, 1, true);
	put_in_line(answer(at(0) + 8));
	for (u32 i = 0; i < SMALL_TABLES; i++)
		directory32[i] = i << 22 | P | W | PS;
	flush();
	begin_line("PS with PSE, without, with");
	end_line();
}

/* Where there are none PS is reserved. */
static void check_1g(void)
{
	fresh();
	*upper(1) = P | W | U | PS;
	flush();
	access_at(KIND_READ, (HIGH & ~0x3fffffffull) + BIG_B + FAR_IN + 4, 0, false);
	put_in_line(answer((HIGH & ~0x3fffffffull) + BIG_B + FAR_IN + 4));
	put_in_line((u32)probe.value == 0x5a5a ? '=' : '#');
	access_at(KIND_WRITE, (HIGH & ~0x3fffffffull) + BIG_B + FAR_IN + 8, 1, true);
	put_in_line(probe.vector == VECTOR_END ? '.' : digits[probe.error & 31]);
	put_in_line(digits[(*upper(1) & A ? 1 : 0) | (*upper(1) & D ? 2 : 0)]);
	begin_line("1 GiB");
	end_line();
}

/* --- Tables that are live --- */

static void say_two(const char *name)
{
	invlpg(at(0));
	invlpg(at(1));
	say(name, see(0));
	say(name, see(1));
}

/* From one entry to another, a piece at a time, with a look between. */
static void write_in_pieces(u32 width, bool down)
{
	u64 value = (u32)page[5] | OPEN;
	u32 pieces = entry_size() / width;

	fresh();
	set(0, (u32)page[2] | OPEN);
	(void)see(0);
	for (u32 n = 0; n < pieces; n++) {
		u32 i = (down ? pieces - 1 - n : n) * width;
		u32 to = entry_at(0) + i, part = (u32)(value >> 8 * i);

		if (width == 1)
			*(volatile u8 *)to = (u8)part;
		else if (width == 2)
			*(volatile u16 *)to = (u16)part;
		else
			*(volatile u32 *)to = part;
		invlpg(at(0));
		say("a piece of a live entry", see(0));
	}
}

/* LOCK CMPXCHG8B; whether it was what was expected. */
static bool exchange_8(u32 to, u64 old, u64 new)
{
	bool equal;

	__asm__ volatile("lock cmpxchg8b (%2)"
			 : "=@ccz"(equal), "+A"(old)
			 : "D"(to), "b"((u32) new), "c"((u32)(new >> 32))
			 : "memory");
	return equal;
}

static u64 pair(u64 low, u64 high)
{
	return mode == MODE_32 ? low | high << 32 : low;
}

static void check_wide(void)
{
	u64 to2 = (u32)page[2] | OPEN, to3 = (u32)page[3] | OPEN, to4 = (u32)page[4] | OPEN;
	u32 old;

	fresh();
	set(0, to2);
	set(1, to2);
	say_two("before");
	say("CMPXCHG8B that fails", exchange_8(entry_at(0), 1, pair(to3, to4)));
	say_two("is as before");
	say("CMPXCHG8B", exchange_8(entry_at(0), mode == MODE_32 ? get(0) | get(1) << 32 : get(0),
				    pair(to3, to4)));
	say_two("is what was written");
	/* Half of one entry and half of the next. */
	if (mode != MODE_32) {
		say("CMPXCHG8B over two entries",
		    exchange_8(entry_at(0) + 4, get(0) >> 32 | get(1) << 32, to4 << 32));
		say_two("the second");
	}
	*(volatile u32 *)(entry_at(1) - 2) = (u32)to3 << 16;
	say_two("4 bytes over two entries");
	*(volatile u16 *)(entry_at(1) + entry_size() - 1) = 0;
	say_two("2 bytes over two entries");
	set(0, to2);
	set(1, to3);
	say_two("again");
	old = (u32)get(0);
	__asm__ volatile("lock cmpxchgl %2, (%1)"
			 : "+a"(old)
			 : "r"(entry_at(0)), "r"((u32)to4)
			 : "memory");
	say_two("LOCK CMPXCHG");
	__asm__ volatile("lock xaddl %0, (%1)" ::"r"(0x1000), "r"(entry_at(0)) : "memory");
	say_two("LOCK XADD");
	__asm__ volatile("lock btrl $0, (%0)" ::"r"(entry_at(1)) : "memory");
	say_two("LOCK BTR");
	__asm__ volatile("movsl" ::"S"(&to2), "D"(entry_at(1)) : "memory");
	say_two("MOVS");
	if (mode != MODE_LONG)
		return;
	access_at(KIND_WRITE, entry_at(0), (u32)page[6] | OPEN, false);
	say_two("64 bits");
	access_at(KIND_WRITE, entry_at(0) + 4, 0, false);
	say_two("64 bits over two entries");
}

/* The table is written by itself while the way to it changes. */
static void check_ways(void)
{
	volatile u32 *other32 = (volatile u32 *)other_table;
	volatile u64 *other64 = (volatile u64 *)other_table;
	u32 next = WINDOW + (mode == MODE_32 ? 0x400000 : 0x200000);

	fresh();
	set(0, (u32)page[2] | OPEN);
	/* A second table, by which the first is mapped. */
	for (u32 i = 0; i < PTES; i++) {
		u64 e = i == SELF ? (u32)table() | P | W : i ? 0 : (u32)page[7] | OPEN;

		if (mode == MODE_32)
			other32[i] = (u32)e;
		else
			other64[i] = e;
	}
	say("by the first table", see(0));
	set_directory(0, (u32)other_table | OPEN);
	flush();
	say("by the second", see(0));
	*(volatile u32 *)entry_at(0) = (u32)page[3] | OPEN;
	say("the first is written, the second not", see(0));
	set_directory(0, (u32)table() | OPEN);
	flush();
	say("the first again", see(0));
	/* Two addresses for one table. */
	if (mode == MODE_32) {
		set_directory(0, (u32)table() | OPEN);
		*(volatile u32 *)entry_at(0) = (u32)page[4] | OPEN;
		invlpg(at(0));
		say("written by itself", see(0));
		return;
	}
	set_directory(1, (u32)table() | OPEN);
	flush();
	*(volatile u32 *)(next + SELF * 4096) = (u32)page[4] | OPEN;
	invlpg(at(0));
	say("written at its second address", see(0));
	set_directory(1, (u32)table() | P | U);
	invlpg(next + SELF * 4096);
	access_at(KIND_WRITE, next + SELF * 4096, (u32)page[5] | OPEN, false);
	put_in_line(answer(next + SELF * 4096));
	begin_line("where it may not be written");
	end_line();
	invlpg(at(0));
	say("it was not", see(0));
}

static void check_aliases(void)
{
	fresh();
	set(0, (u32)page[2] | OPEN);
	set(1, (u32)page[2] | P | U);
	(void)see(1);
	access_at(KIND_WRITE, at(0) + 4, 0xabcd, false);
	say("one page at two addresses", see(1));
	access_at(KIND_WRITE, base() + 4, 0xef01, true);
	say("at its third", see(1));
	set(1, (u32)page[3] | P | U);
	say_two("one of them moves");
}

/* The window by another table, at both of its addresses. */
static void lead_to(const void *other)
{
	set_directory(0, (u32)other | OPEN);
	if (mode == MODE_LONG)
		*upper(0) = (u32)other | OPEN;
	flush();
}

static void lead_nowhere(void)
{
	set_directory(0, 0);
	if (mode == MODE_LONG)
		*upper(0) = 0;
	flush();
}

static void clear(volatile void *table)
{
	for (u32 i = 0; i < 1024; i++)
		((volatile u32 *)table)[i] = 0;
}

/* What leads to it no more is data, whatever it looks like, and can be a table again. */
static void check_recycled(void)
{
	fresh();
	set(0, (u32)page[2] | OPEN);
	set(5, (u32)page[1] | OPEN);
	(void)see(0);
	(void)see(5);
	clear(other_table);
	lead_to(other_table);
	for (u32 i = 0; i < PTES; i++)
		set(i, ((u32)page[3] + i) | OPEN);
	say("a table that is data", (u32)get(7));
	say("it is walked no more", see(0));
	say("nor by the other way", see_at(base()));
	*(volatile u32 *)other_table = (u32)page[4] | OPEN;
	say("who took its place", see(0));
	say("the data is as before", (u32)get(0));
	clear(table());
	set(0, (u32)page[5] | OPEN);
	lead_to(table());
	say("a table again", see(0));
	say("by the other way, too", see_at(base()));
	say("what was there once", see(5));
	set(5, (u32)page[6] | OPEN);
	say("and is another now", see(5));
}

/* One of a level above, which then is of the last. */
static void check_upper_recycled(void)
{
	static u64 spare[PTES] PAGE;

	fresh();
	set(0, (u32)page[2] | OPEN);
	(void)see_at(base());
	clear(spare);
	*upper(2) = (u32)spare | OPEN;
	flush();
	for (u32 i = 0; i < PTES; i++)
		((volatile u64 *)pdpt_high)[i] = (u32)page[3] | OPEN;
	say("level 3 is data", see_at(base()));
	spare[index_of(30)] = (u32)directory | OPEN;
	say("by who took its place", see_at(base()));
	set_directory(1, (u32)pdpt_high | OPEN);
	say("of level 1 now", see_at(WINDOW + 0x200000));
	((volatile u64 *)pdpt_high)[0] = (u32)page[4] | P;
	invlpg(WINDOW + 0x200000);
	say("changed as such", see_at(WINDOW + 0x200000));
	set_directory(1, 0);
	clear(pdpt_high);
	*upper(1) = (u32)directory | OPEN;
	*upper(2) = (u32)pdpt_high | OPEN;
	flush();
	say("of level 3 again", see_at(base()));
}

/* So many in a row that whoever looks at each write may stop doing so: the flush is what counts. */
static void check_many(void)
{
	fresh();
	for (u32 i = 0; i < PAGES; i++) {
		set(i, (u32)page[i] | OPEN);
		(void)see(i);
	}
	for (u32 i = 0; i < PAGES; i++)
		set(i, (u32)page[PAGES - 1 - i] | OPEN);
	flush();
	for (u32 i = 0; i < PAGES; i++)
		say("many written at once", see(i));
	for (u32 i = 0; i < PAGES; i++)
		set(i, (u32)page[PAGES - 1 - i] | P | (i & 1 ? U : W));
	flush();
	for (u32 i = 0; i < 2 * PAGES; i++)
		put_in_line(try(KIND_WRITE, at(i / 2), i & 1));
	begin_line("rights taken of many");
	end_line();
	/* What was not present needs no flush (SDM 3A 4.10.4.3), nor do the entries behind it. */
	lead_nowhere();
	for (u32 i = 0; i < PAGES; i++)
		set(i, (u32)page[i] | OPEN);
	set_directory(0, (u32)table() | OPEN);
	for (u32 i = 0; i < PAGES; i++)
		say("many, and then led to", see(i));
}

/* Paging that goes on is all the flush there is. */
static void check_off_and_on(void)
{
	u32 cr0 = READ_CR(0), last = uppers() - 1;

	fresh();
	set(0, (u32)page[2] | OPEN);
	(void)see(0);
	(void)see_at(base());
	WRITE_CR(0, cr0 & ~CR0_PG);
	page[2][1] = 0x4321;
	set(0, (u32)page[3] | OPEN);
	WRITE_CR(0, cr0);
	say("paging off, another page, and on", see(0));
	WRITE_CR(0, cr0 & ~CR0_PG);
	set(0, (u32)page[2] | OPEN);
	WRITE_CR(0, cr0);
	say("the first, written meanwhile", see_at(base()));
	WRITE_CR(0, cr0 & ~CR0_PG);
	set_upper(last, W | U);
	WRITE_CR(0, cr0);
	say("no table above", see_at(base()));
	WRITE_CR(0, cr0 & ~CR0_PG);
	set_upper(last, OPEN);
	WRITE_CR(0, cr0);
	say("and there again", see_at(base()));
}

/* --- What the CPU reads of its own accord --- */

/* A segment of the LDT, whose descriptor it may have to mark. */
static void check_implicit(void)
{
	for (u32 n = 0; n < 64; n++) {
		struct controls c = {true, false, n & 16, n & 32};
		u16 selector = n & 8 ? 15 : 7;

		/* AC is to count for nothing here (SDM 3A 4.6.1): in Bochs it does not. */
		if (!can(&c) || (c.smap && c.ac && (n & 2)))
			continue;
		fresh();
		ldt_page[0] = 0x00cff3000000ffff;
		ldt_page[1] = 0x00cff2000000ffff; /* not accessed yet */
		set(LDT_PAGE, (u32)ldt_page | P | (n & 1 ? W : 0) | (n & 2 ? U : 0));
		set_controls(&c);
		access_at(KIND_LOAD_FS, selector, 0, n & 4);
		/* Which half of the descriptor is marked is the CPU's affair. */
		put_in_line(answer(probe.cr2 & 4 ? at(LDT_PAGE) + (selector | 7u) - 3
						 : at(LDT_PAGE) + (selector & ~7u)));
		put_in_line(digits[(get(LDT_PAGE) & A ? 1 : 0) | (get(LDT_PAGE) & D ? 2 : 0)]);
		set_controls(&usual);
		__asm__ volatile("mov %0, %%fs" ::"r"(0));
	}
	begin_line("descriptors");
	end_line();
}

/* --- All of it, in each mode --- */

static void check_mode(void)
{
	sweep_rights();
	check_reserved();
	check_large();
	if (mode == MODE_32)
		check_without_pse();
	if (mode == MODE_LONG)
		check_1g();
	for (u32 width = 1; width <= 4; width *= 2) {
		write_in_pieces(width, false);
		write_in_pieces(width, true);
	}
	check_wide();
	check_ways();
	check_aliases();
	check_recycled();
	if (mode == MODE_LONG)
		check_upper_recycled();
	check_many();
	check_off_and_on();
	check_implicit();
	fresh();
}

void main(u32 magic, const u32 *info)
{
	(void)magic;
	read_words(info);
	outb(0x3fb, 3); /* 8 bits, where no firmware has said so */
	identify();
	make_tables();
	for (u32 m = MODE_32; m <= MODE_LONG; m++) {
		turn_on((enum mode)m);
		check_mode();
	}
	WRITE_CR(0, READ_CR(0) & ~CR0_PG);
	check("each mode came to its end", true);
	guest_end();
}
