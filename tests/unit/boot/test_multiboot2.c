/* SPDX-License-Identifier: MIT */
/* unit-sources: boot/multiboot2.c */
/*
 * GRUB's boot information, sound and malformed. Each is parsed in a block of exactly its size, so
 * that the address sanitizer sees any byte read beyond it.
 */
#include "boot/multiboot2.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"

#include <cmocka.h>
#include <stdlib.h>

enum {
	END = 0,
	CMDLINE = 1,
	LOADER = 2,
	MODULE = 3,
	MMAP = 6,
	FRAMEBUFFER = 8,
	EFI64 = 12,
	ACPI_OLD = 14,
	ACPI_NEW = 15
};

static u8 info[256 * 1024];
static u32 size;
static struct boot_info out;

static void put(const void *bytes, u32 n)
{
	assert_true(size + n <= sizeof(info));
	memcpy(info + size, bytes, n);
	size += n;
}

static void put32(u32 v)
{
	put(&v, 4);
}

static void put64(u64 v)
{
	put(&v, 8);
}

static void begin(void)
{
	memset(info, 0, sizeof(info));
	size = 8;
	hosted_log_reset();
}

static void tag(u32 type, const void *body, u32 n)
{
	put32(type);
	put32(8 + n);
	put(body, n);
	size = align_up(size, 8);
}

static void module(u32 start, u32 end, const char *line)
{
	put32(MODULE);
	put32(16 + (u32)strlen(line) + 1);
	put32(start);
	put32(end);
	put(line, (u32)strlen(line) + 1);
	size = align_up(size, 8);
}

static void mmap_entry(u64 base, u64 length, u32 type)
{
	put64(base);
	put64(length);
	put32(type);
	put32(0);
}

static void mmap_head(u32 tag_size, u32 entry_size)
{
	put32(MMAP);
	put32(tag_size);
	put32(entry_size);
	put32(0);
}

static void framebuffer(u64 addr, u32 pitch, u32 height, u8 type)
{
	static const u8 fields[] = {16, 8, 8, 8, 0, 8};

	put32(FRAMEBUFFER);
	put32(38);
	put64(addr);
	put32(pitch);
	put32(800);
	put32(height);
	put32(32 | (u32)type << 8);
	put(fields, sizeof(fields));
	size = align_up(size, 8);
}

/* The total as it is, then parsed. */
static int parse_claiming(u32 total, u64 limit)
{
	u8 *exact = malloc(size);
	int err;

	memcpy(info, &total, 4);
	memcpy(exact, info, size);
	err = multiboot2_parse(exact, limit, &out);
	free(exact);
	return err;
}

static int parse(void)
{
	return parse_claiming(size, size);
}

static int finish(void)
{
	tag(END, "", 0);
	return parse();
}

/* Parsed well, but with count warnings of which the last holds word. */
static void assert_warned(int count, const char *word)
{
	assert_int_equal(hosted_log_count(LOG_WARN), count);
	if (count)
		assert_non_null(strstr(hosted_log_last(), word));
}

static void test_sound(void **state)
{
	static const u8 old_rsdp[20] = "RSD PTR old", new_rsdp[36] = "RSD PTR new";

	begin();
	tag(CMDLINE, "console=com1 selftest=all", 26);
	tag(LOADER, "GRUB 2.06", 10);
	module(0x400000, 0x500001, "vm=a kernel");
	module(0x600000, 0x600000, "");
	mmap_head(16 + 3 * 24, 24);
	mmap_entry(0, 0x9fc00, 1);
	mmap_entry(0x100000, 0x7ff00000, 1);
	mmap_entry(0xfffffffffffff000, 0x2000, 2);
	framebuffer(0xfd000000, 3200, 600, 1);
	tag(EFI64, "\0\0\0\1\0\0\0\0", 8);
	tag(ACPI_OLD, old_rsdp, sizeof(old_rsdp));
	tag(ACPI_NEW, new_rsdp, sizeof(new_rsdp));
	tag(99, "what is this", 13);
	assert_int_equal(finish(), 0);
	assert_warned(0, "");

	assert_string_equal(out.cmdline, "console=com1 selftest=all");
	assert_string_equal(out.loader, "GRUB 2.06");
	assert_int_equal(out.module_count, 2);
	assert_int_equal(out.modules[0].start.v, 0x400000);
	assert_int_equal(out.modules[0].size, 0x100001);
	assert_string_equal(out.modules[0].cmdline, "vm=a kernel");
	assert_false(out.modules[0].cmdline_cut);
	assert_int_equal(out.modules[1].size, 0);
	assert_string_equal(out.modules[1].cmdline, "");
	assert_int_equal(out.mmap_count, 3);
	assert_int_equal(out.mmap[1].base, 0x100000);
	assert_int_equal(out.mmap[1].length, 0x7ff00000);
	assert_int_equal(out.mmap[2].type, BOOT_MEM_RESERVED);
	assert_true(out.fb.present);
	assert_int_equal(out.fb.addr.v, 0xfd000000);
	assert_int_equal(out.fb.pitch, 3200);
	assert_int_equal(out.fb.width, 800);
	assert_int_equal(out.fb.height, 600);
	assert_int_equal(out.fb.bpp, 32);
	assert_int_equal(out.fb.red_pos, 16);
	assert_int_equal(out.fb.blue_size, 8);
	assert_true(out.efi);
	assert_true(out.rsdp_present);
	assert_memory_equal(out.rsdp, new_rsdp, sizeof(new_rsdp));
}

/* The new RSDP counts wherever it stands; the old one leaves no rest of another behind it. */
static void test_rsdp(void **state)
{
	static const u8 old_rsdp[20] = "RSD PTR old";
	u8 new_rsdp[36];

	memset(new_rsdp, 0xee, sizeof(new_rsdp));
	begin();
	tag(ACPI_NEW, new_rsdp, sizeof(new_rsdp));
	tag(ACPI_OLD, old_rsdp, sizeof(old_rsdp));
	assert_int_equal(finish(), 0);
	assert_memory_equal(out.rsdp, new_rsdp, sizeof(new_rsdp));

	begin();
	tag(ACPI_OLD, old_rsdp, sizeof(old_rsdp));
	assert_int_equal(finish(), 0);
	memset(new_rsdp, 0, sizeof(new_rsdp));
	memcpy(new_rsdp, old_rsdp, sizeof(old_rsdp));
	assert_memory_equal(out.rsdp, new_rsdp, sizeof(new_rsdp));
}

static void test_empty(void **state)
{
	begin();
	assert_int_equal(finish(), 0);
	assert_warned(0, "");
	assert_int_equal(out.module_count + out.mmap_count, 0);
	assert_false(out.fb.present || out.rsdp_present || out.efi);
}

static void test_header(void **state)
{
	static const u32 totals[] = {0, 1, 7, 17, 0xffffffff, 0x80000000};

	for (u32 i = 0; i < ARRAY_SIZE(totals); i++) {
		begin();
		tag(END, "", 0);
		memset(&out, 0xff, sizeof(out));
		assert_int_equal(parse_claiming(totals[i], 16), ERR_CORRUPT);
		assert_int_equal(out.module_count, 0);
	}
	begin();
	for (u64 limit = 0; limit < 8; limit++)
		assert_int_equal(parse_claiming(8, limit), ERR_CORRUPT);
	/* Larger than any that GRUB makes, though there would be room. */
	assert_int_equal(parse_claiming(MULTIBOOT2_SIZE_MAX + 1, GIB(1)), ERR_CORRUPT);
}

static void test_no_end_tag(void **state)
{
	begin();
	assert_int_equal(parse(), 0);
	assert_warned(1, "no end tag");

	begin();
	tag(CMDLINE, "abc", 4);
	assert_int_equal(parse(), 0);
	assert_warned(1, "no end tag");
	assert_string_equal(out.cmdline, "abc");

	/* Only half of a tag's header is there. */
	begin();
	tag(CMDLINE, "abc", 4);
	put32(0);
	assert_int_equal(parse(), 0);
	assert_warned(1, "no end tag");
}

static void test_tag_sizes(void **state)
{
	static const u32 sizes[] = {0, 1, 7, 17, 0xffffffff, 0xfffffff8, 0x80000000};

	for (u32 type = 0; type < 24; type++) {
		for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
			begin();
			tag(LOADER, "GRUB", 5);
			put32(type);
			put32(sizes[i]);
			put64(0);
			assert_int_equal(parse(), 0);
			assert_int_equal(hosted_log_count(LOG_WARN), 2);
			assert_string_equal(out.loader, "GRUB");
		}
	}
}

/* Long enough for its header, too short for what its type says; the next tag still counts. */
static void test_short_tags(void **state)
{
	static const u32 types[][2] = {
		{MODULE, 15}, {MMAP, 15}, {ACPI_OLD, 27}, {ACPI_NEW, 43}, {ACPI_NEW, 8}};

	for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
		u8 body[64] = {1, 2, 3};

		begin();
		tag(types[i][0], body, types[i][1] - 8);
		tag(CMDLINE, "abc", 4);
		assert_int_equal(finish(), 0);
		assert_warned(1, "too short");
		assert_string_equal(out.cmdline, "abc");
		assert_int_equal(out.module_count + out.mmap_count + out.rsdp_present, 0);
	}
}

static void test_text(void **state)
{
	static char text[8192];

	/* No NUL before the tag's end, and none needed. */
	begin();
	tag(CMDLINE, "abcdefgh", 8);
	assert_int_equal(finish(), 0);
	assert_string_equal(out.cmdline, "abcdefgh");

	begin();
	tag(CMDLINE, "", 0);
	assert_int_equal(finish(), 0);
	assert_string_equal(out.cmdline, "");

	memset(text, 'a', sizeof(text));
	begin();
	tag(CMDLINE, text, BOOT_CMDLINE_MAX - 1);
	assert_int_equal(finish(), 0);
	assert_warned(0, "");
	assert_int_equal(strlen(out.cmdline), BOOT_CMDLINE_MAX - 1);

	begin();
	tag(CMDLINE, text, BOOT_CMDLINE_MAX);
	assert_int_equal(finish(), 0);
	assert_warned(1, "command line is cut");
	assert_int_equal(strlen(out.cmdline), BOOT_CMDLINE_MAX - 1);

	begin();
	tag(LOADER, text, sizeof(text));
	tag(LOADER, "second", 7);
	tag(CMDLINE, "first", 6);
	tag(CMDLINE, "second", 7);
	assert_int_equal(finish(), 0);
	assert_int_equal(strlen(out.loader), sizeof(out.loader) - 1);
	assert_string_equal(out.cmdline, "first");
	assert_warned(1, "second command line");
}

static void test_modules(void **state)
{
	static char text[4096];

	begin();
	module(0x2000, 0x1fff, "backwards");
	module(0x2000, 0x3000, "good");
	assert_int_equal(finish(), 0);
	assert_warned(1, "module 1 ends at 0x1fff before it starts at 0x2000: it counts as empty");
	assert_int_equal(out.module_count, 2);
	assert_string_equal(out.modules[0].cmdline, "backwards");
	assert_int_equal(out.modules[0].size, 0);
	assert_string_equal(out.modules[1].cmdline, "good");

	memset(text, 'a', sizeof(text) - 1);
	begin();
	module(0, 1, text);
	text[BOOT_MODULE_CMDLINE - 1] = '\0';
	module(0, 0xffffffff, text);
	assert_int_equal(finish(), 0);
	assert_warned(1, "module 1's line is cut");
	assert_true(out.modules[0].cmdline_cut);
	assert_int_equal(strlen(out.modules[0].cmdline), BOOT_MODULE_CMDLINE - 1);
	assert_false(out.modules[1].cmdline_cut);
	assert_int_equal(out.modules[1].size, 0xffffffff);
}

static void begin_with_all_modules(void)
{
	begin();
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++)
		module(i, i + 1, "x");
}

/* Of modules that there is no room for it is known whose they are, each VM once. */
static void test_modules_dropped(void **state)
{
	static const char *const lines[][2] = {
		{"vm=first kernel", "vm=first"},
		{"kernel mem=256M vcpus=2 weight=100 cap=100 cpus=0 min=1M max=2M shares=5  "
		 "vm=late",
		 "vm=late"},
		{"vm=first initrd", NULL},
		{"module vmx=1 avm=2 -- vm=guests", ""},
		{"\tvm=tab\tmodule", "vm=tab"},
		{"", NULL},
		{"vm=", "vm="},
		{"vm=a2345678901234567890123456789012", "vm=a2345678901234567890123456789012"},
		{"vm=b23456789012345678901234567890123", "vm=b2345678901234567890123456789012"},
	};
	u32 n = 0;

	begin_with_all_modules();
	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		module(i, i + 1, lines[i][0]);
	assert_int_equal(finish(), 0);
	assert_int_equal(out.module_count, BOOT_MODULES_MAX);
	assert_int_equal(out.modules_dropped, ARRAY_SIZE(lines));
	assert_warned(1, "9 modules over 64");
	for (u32 i = 0; i < ARRAY_SIZE(lines); i++) {
		if (!lines[i][1])
			continue;
		assert_int_equal(out.dropped[n].number, BOOT_MODULES_MAX + i + 1);
		assert_string_equal(out.dropped[n++].vm, lines[i][1]);
	}
	assert_int_equal(out.dropped_count, n);
	assert_false(out.dropped_more);

	begin_with_all_modules();
	for (u32 i = 0; i < 3 * BOOT_DROPPED_MAX; i++) {
		char line[] = "vm=aa kernel";

		line[3] = (char)('a' + i % 26);
		line[4] = (char)('a' + i / 26);
		module(i, i + 1, line);
	}
	assert_int_equal(finish(), 0);
	assert_int_equal(out.modules_dropped, 3 * BOOT_DROPPED_MAX);
	assert_int_equal(out.dropped_count, BOOT_DROPPED_MAX);
	assert_string_equal(out.dropped[BOOT_DROPPED_MAX - 1].vm, "vm=fb");
	assert_true(out.dropped_more);
}

/* As many VMs as can be told of, each twice: nothing is not told of. One more is. */
static void test_modules_dropped_of_all_that_are_told(void **state)
{
	for (u32 more = 0; more < 2; more++) {
		begin_with_all_modules();
		for (u32 i = 0; i < 2 * BOOT_DROPPED_MAX + more; i++) {
			char line[] = "vm=!a module";

			line[4] = (char)('A' + (i < 2 * BOOT_DROPPED_MAX ? i / 2 : i));
			module(i, i + 1, line);
		}
		assert_int_equal(finish(), 0);
		assert_int_equal(out.dropped_count, BOOT_DROPPED_MAX);
		assert_true(out.dropped_more == more);
	}
}

static void test_memory_maps(void **state)
{
	static const u32 entry_sizes[] = {0, 8, 16, 20, 23, 25, 28};

	for (u32 i = 0; i < ARRAY_SIZE(entry_sizes); i++) {
		begin();
		mmap_head(16 + 24, entry_sizes[i]);
		mmap_entry(0, 4096, 1);
		assert_int_equal(finish(), 0);
		assert_int_equal(out.mmap_count, 0);
		assert_warned(1, "memory map's entries are");
	}
	/* Entries that are longer than those known, and one that is cut off. */
	begin();
	mmap_head(16 + 32 + 32 + 24, 32);
	for (u64 i = 1; i <= 3; i++) {
		mmap_entry(i << 20, i << 12, 1);
		if (i < 3)
			put64(~0ull);
	}
	assert_int_equal(finish(), 0);
	assert_warned(1, "ends inside an entry");
	assert_int_equal(out.mmap_count, 2);
	assert_int_equal(out.mmap[1].base, 2 << 20);
	/* An entry size larger than the tag. */
	begin();
	mmap_head(16 + 24, 0xfffffff8);
	mmap_entry(0, 4096, 1);
	assert_int_equal(finish(), 0);
	assert_int_equal(out.mmap_count, 0);
	/* Twice. */
	begin();
	for (u32 i = 0; i < 2; i++) {
		mmap_head(16 + 24, 24);
		mmap_entry(2 * i, 1, 1);
	}
	assert_int_equal(finish(), 0);
	assert_int_equal(out.mmap_count, 2);
	assert_warned(1, "second memory map");
}

/* What RAM comes in pieces that touch has room, however many they are. */
static void test_memory_map_in_pieces(void **state)
{
	begin();
	mmap_head(16 + 24 * (2 * BOOT_MMAP_MAX + 1), 24);
	for (u64 i = 0; i < 2 * BOOT_MMAP_MAX; i++)
		mmap_entry(i << 20, 1 << 20, 1);
	mmap_entry(1ull << 40, 1ull << 40, 1);
	assert_int_equal(finish(), 0);
	assert_warned(0, NULL);
	assert_int_equal(out.mmap_count, 2);
	assert_int_equal(out.mmap[0].base, 0);
	assert_int_equal(out.mmap[0].length, (u64)(2 * BOOT_MMAP_MAX) << 20);
	assert_int_equal(out.mmap[1].length, 1ull << 40);
	/* Of another type; with a hole; empty, and so without an end; one that wraps. */
	begin();
	mmap_head(16 + 24 * 7, 24);
	mmap_entry(0, 0x1000, 1);
	mmap_entry(0x1000, 0x1000, 2);
	mmap_entry(0x3000, 0, 2);
	mmap_entry(0x3000, 0x1000, 2);
	mmap_entry(0x8000, 0x1000, 1);
	mmap_entry(0x9000, ~0ull, 1);
	mmap_entry(0x8fff, 0x1000, 1);
	assert_int_equal(finish(), 0);
	assert_int_equal(out.mmap_count, 7);
}

/* The sum of lengths of the pieces of this type that were kept. */
static u64 kept(u32 type)
{
	u64 bytes = 0;

	for (u32 i = 0; i < out.mmap_count; i++)
		bytes += out.mmap[i].type == type ? out.mmap[i].length : 0;
	return bytes;
}

/* A memory map that has just room, of RAM of 2 MiB and less, whose pieces do not touch; and more. */
static void begin_full(u32 more)
{
	begin();
	mmap_head(16 + 24 * (BOOT_MMAP_MAX + more), 24);
	mmap_entry(0, 0x9f000, BOOT_MEM_AVAILABLE);
	for (u64 i = 1; i < BOOT_MMAP_MAX; i++)
		mmap_entry(i << 22, MIB(2) - (i << 12), BOOT_MEM_AVAILABLE);
}

static void test_memory_map_too_long(void **state)
{
	/* Where there is no room the least RAM goes: here 1028 KiB, then 1032 and 4. */
	begin_full(3);
	mmap_entry(1ull << 40, GIB(3), BOOT_MEM_AVAILABLE);
	mmap_entry(1ull << 42, 0x1000, BOOT_MEM_AVAILABLE);
	mmap_entry(1ull << 41, GIB(2), BOOT_MEM_AVAILABLE);
	assert_int_equal(finish(), 0);
	assert_warned(1, "3 pieces over 256: up to 2064 KiB of RAM are not used");
	assert_int_equal(out.mmap_count, BOOT_MMAP_MAX);
	assert_int_equal(out.mmap[253].base, 253ull << 22);
	assert_int_equal(out.mmap[254].base, 1ull << 40);
	assert_int_equal(out.mmap[255].length, GIB(2));
	/* What goes on where the last ended has room. */
	begin_full(2);
	mmap_entry(1ull << 40, GIB(3), BOOT_MEM_AVAILABLE);
	mmap_entry((1ull << 40) + GIB(3), GIB(1), BOOT_MEM_AVAILABLE);
	assert_int_equal(finish(), 0);
	assert_warned(1, "1 pieces over 256: up to 1028 KiB");
	assert_int_equal(out.mmap[255].length, GIB(4));
	/* Less than 1 KiB is told too, and so is what wraps, is empty or nothing to use. */
	begin_full(4);
	mmap_entry(1ull << 40, 0x100, BOOT_MEM_AVAILABLE);
	mmap_entry(~0xfffull, 0x2000, BOOT_MEM_AVAILABLE);
	mmap_entry(1ull << 41, 0, BOOT_MEM_AVAILABLE);
	mmap_entry(1ull << 42, 0, BOOT_MEM_RESERVED);
	assert_int_equal(finish(), 0);
	assert_warned(1, "4 pieces over 256: up to 0 KiB");
	assert_int_equal(out.mmap[255].base, 255ull << 22);
	/* One that ends with the address space does not wrap. */
	begin_full(1);
	mmap_entry(~0ull - MIB(4) + 1, MIB(4), BOOT_MEM_AVAILABLE);
	assert_int_equal(finish(), 0);
	assert_int_equal(out.mmap[255].length, MIB(4));
}

/* What is no RAM is kept, wherever it comes: any RAM may be what it lies in. */
static void test_memory_map_without_room_for_holes(void **state)
{
	static const u32 types[] = {BOOT_MEM_RESERVED, BOOT_MEM_ACPI_RECLAIM, BOOT_MEM_ACPI_NVS,
				    BOOT_MEM_BAD, 77};

	for (u32 t = 0; t < ARRAY_SIZE(types); t++) {
		begin_full(2);
		mmap_entry(1 << 22, 0x1000, types[t]);
		mmap_entry(1ull << 40, GIB(3), BOOT_MEM_AVAILABLE);
		assert_int_equal(finish(), 0);
		assert_warned(1, "2 pieces over 256: up to 2060 KiB");
		assert_int_equal(out.mmap[254].type, types[t]);
		assert_int_equal(out.mmap[254].base, 1 << 22);
		assert_int_equal(kept(types[t]), 0x1000);
		assert_int_equal(out.mmap[255].base, 1ull << 40);
	}
	/* What is below 1 MiB goes last; and where no RAM is left none comes in any more. */
	begin_full(BOOT_MMAP_MAX + 1);
	for (u64 i = 0; i < BOOT_MMAP_MAX - 1; i++)
		mmap_entry((1ull << 40) + (i << 13), 0x1000, BOOT_MEM_RESERVED);
	mmap_entry(1ull << 42, GIB(3), BOOT_MEM_AVAILABLE);
	mmap_entry(1ull << 43, GIB(3), BOOT_MEM_AVAILABLE);
	assert_int_equal(finish(), 0);
	assert_int_equal(kept(BOOT_MEM_AVAILABLE), 0x9f000);
	assert_int_equal(kept(BOOT_MEM_RESERVED), (BOOT_MMAP_MAX - 1) << 12);
	begin_full(BOOT_MMAP_MAX + 2);
	for (u64 i = 0; i < BOOT_MMAP_MAX + 1; i++)
		mmap_entry((1ull << 40) + (i << 13), 0x1000, BOOT_MEM_RESERVED);
	mmap_entry(1ull << 40, GIB(3), BOOT_MEM_AVAILABLE);
	assert_int_equal(finish(), 0);
	assert_warned(1, "258 pieces over 256");
	assert_int_equal(kept(BOOT_MEM_AVAILABLE), 0);
}

static void test_framebuffers(void **state)
{
	begin();
	framebuffer(0xb8000, 160, 25, 2); /* EGA text */
	assert_int_equal(finish(), 0);
	assert_false(out.fb.present || out.fb.palette);
	assert_warned(0, "");
	begin();
	framebuffer(0xfd000000, 800, 600, 0);
	assert_int_equal(finish(), 0);
	assert_false(out.fb.present);
	assert_true(out.fb.palette);
	assert_warned(1, "a screen of 800x600 with a palette is not used");
	/* Without any colours; and a direct one that ends before its fields. */
	for (u8 type = 0; type < 2; type++) {
		/* 3200 bytes a line, 600 lines. */
		u8 body[24] = {
			[3] = 0xfd, [9] = 0x0c, [8] = 0x80, [17] = 2, [16] = 0x58, [21] = type};

		begin();
		tag(FRAMEBUFFER, body, sizeof(body));
		assert_int_equal(finish(), 0);
		assert_false(out.fb.present);
		assert_int_equal(out.fb.palette, type == 0);
	}
	begin();
	tag(FRAMEBUFFER, "", 0);
	assert_int_equal(finish(), 0);
	assert_false(out.fb.palette);
	begin();
	framebuffer(0xffffffffffff0000, 3200, 600, 1);
	assert_int_equal(finish(), 0);
	assert_false(out.fb.present);
	assert_warned(1, "makes no sense");
	begin();
	framebuffer(0xc00000000, 0xffffffff, 0xffffffff, 1);
	assert_int_equal(finish(), 0);
	assert_false(out.fb.present);
	begin();
	framebuffer(0xc00000000, 1 << 20, 513, 1);
	assert_int_equal(finish(), 0);
	assert_false(out.fb.present);
	begin();
	framebuffer(0xc00000000, 1 << 20, 512, 1);
	assert_int_equal(finish(), 0);
	assert_true(out.fb.present);
	assert_int_equal(out.fb.addr.v, 0xc00000000);
}

/* A list that is all wrong does not push everything else out of the log. */
static void test_few_words(void **state)
{
	begin();
	for (u32 i = 0; i < 1000; i++)
		module(2, 1, "x");
	assert_int_equal(finish(), 0);
	assert_true(hosted_log_count(LOG_WARN) < 20);
	/* Of the modules that there is room for, and of all the others. */
	assert_non_null(strstr(hosted_log_last(), "49 further"));
}

/* Whatever it holds, what comes out keeps its own bounds. */
static void check_bounds(void)
{
	assert_true(strnlen(out.cmdline, sizeof(out.cmdline)) < sizeof(out.cmdline));
	assert_true(strnlen(out.loader, sizeof(out.loader)) < sizeof(out.loader));
	assert_true(out.mmap_count <= BOOT_MMAP_MAX);
	assert_true(out.module_count <= BOOT_MODULES_MAX);
	for (u32 i = 0; i < out.module_count; i++) {
		const struct boot_module *m = &out.modules[i];

		assert_true(strnlen(m->cmdline, sizeof(m->cmdline)) < sizeof(m->cmdline));
		assert_true(m->start.v + m->size <= 0xffffffff);
	}
}

static u64 random_state;

static u32 draw(void)
{
	return (u32)(random_next(&random_state) >> 32);
}

static void random_tag(void)
{
	u8 body[600];
	u32 type = draw() % 22, n = draw() % (draw() % 8 ? 64 : sizeof(body));

	for (u32 i = 0; i < n; i++)
		body[i] = (u8)(draw() % 3 ? draw() : 0);
	if (type == MMAP && draw() % 4)
		body[0] = (u8)(draw() % 2 ? 24 : 8 * (draw() % 8)), body[1] = body[2] = body[3] = 0;
	tag(type, body, n);
}

/*
 * Random lists of tags with random bytes changed after. GRUB's total may also be smaller than
 * what is there, or larger up to the limit.
 */
static void test_random(void **state)
{
	random_state = 20240229;
	for (u32 round = 0; round < 60000; round++) {
		u32 changes = draw() % 6;

		begin();
		for (u32 i = draw() % 12; i; i--)
			random_tag();
		if (draw() % 4)
			tag(END, "", 0);
		while (changes--) {
			u32 at = 8 + draw() % (size - 7);

			if (at < size)
				info[at] = (u8)(draw() % 2 ? draw() : draw() % 32);
		}
		if (parse_claiming(draw() % 8 ? size : draw() % (size + 4), size) == 0)
			check_bounds();
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_rsdp),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_no_end_tag),
		cmocka_unit_test(test_tag_sizes),
		cmocka_unit_test(test_short_tags),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_modules_dropped),
		cmocka_unit_test(test_modules_dropped_of_all_that_are_told),
		cmocka_unit_test(test_memory_maps),
		cmocka_unit_test(test_memory_map_in_pieces),
		cmocka_unit_test(test_memory_map_too_long),
		cmocka_unit_test(test_memory_map_without_room_for_holes),
		cmocka_unit_test(test_framebuffers),
		cmocka_unit_test(test_few_words),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
