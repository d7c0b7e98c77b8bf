/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/guest/bzimage.c kernel/guest/pvh.c kernel/guest/multiboot1.c
 *	kernel/guest/elf.c kernel/guest/layout.c kernel/guest/loader.c
 *	kernel/guest/acpi_tables.c kernel/guest/image.c @mem tests/unit/guest/guest_memory.c
 *	tests/unit/guest/images.c kernel/guest/unknown.c
 */
/*
 * Linux's 64-bit boot protocol: what a sound bzImage leaves in guest memory, and what each field of
 * its setup header is answered with where no sound file has that.
 */
#include "images.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/guest/memory.h"

#include <cmocka.h>
#include <stdio.h>

static int load_bzimage_of(u64 size, const char *cmdline)
{
	struct load l = test_load(&config, image, size, cmdline, &start);

	assert_true(bzimage_probe(&l.kernel));
	l.rsdp = 0xe0000;
	return bzimage_load(&l);
}

static int load_bzimage(const char *cmdline)
{
	return load_bzimage_of(sizeof(image), cmdline);
}

static void test_bzimage(void **state)
{
	u64 zero, cmdline, pdpt, pd;

	make_bzimage();
	test_add_module(&config, CONFIG_INITRD, 10000, 0x77, "");
	assert_int_equal(load_bzimage("console=ttyS0 quiet"), 0);
	assert_int_equal(start.mode, VMX_START_LONG);
	assert_int_equal(start.rip, MIB(16) + 0x200);
	assert_int_equal(test_ram[MIB(16)], 0xc5);

	zero = start.rsi;
	assert_memory_equal(test_ram + zero + 0x206, image + 0x206, 8);
	assert_int_equal(ram32(zero + 0x214), MIB(16));
	assert_int_equal(test_ram[zero + 0x210], 0xff);
	cmdline = ram32(zero + 0x228);
	assert_string_equal((char *)test_ram + cmdline, "console=ttyS0 quiet");
	assert_int_equal(ram32(zero + 0x21c), 10000);
	assert_int_equal(test_ram[ram32(zero + 0x218)], 0x77);
	assert_int_equal(ram32(zero + 0x218), MIB(64) - 12288);
	assert_int_equal(ram64(zero + 0x70), 0xe0000);
	assert_int_equal(test_ram[zero + 0x1e8], 6);
	assert_int_equal(ram64(zero + 0x2d0), 0);
	assert_int_equal(ram64(zero + 0x2d8), GUEST_LOW_USABLE_TOP);

	/* Identity: the entry that maps the kernel maps it to itself. */
	pdpt = ram64(start.cr3) & ~0xfffull;
	pd = ram64(pdpt) & ~0xfffull;
	assert_int_equal(ram64(pd + 8 * (MIB(16) >> 21)) & ~0xfffull, MIB(16));
	pd = ram64(pdpt + 24) & ~0xfffull;
	assert_int_equal(ram64(pd + 8 * 511) & ~0xfffull, GIB(4) - MIB(2));
	assert_int_equal(start.gdt_base, GUEST_GDT);
	assert_int_equal(ram64(GUEST_GDT + start.cs), 0x00af9b000000ffffull);
}

/* Where its own place is taken, at the next one above; never below, from where it would move up. */
static void test_bzimage_relocates(void **state)
{
	make_bzimage();
	put64(0x258, 0x90000);
	assert_int_equal(load_bzimage(""), 0);
	assert_int_equal(start.rip, MIB(2) + 0x200);

	make_bzimage();
	put64(0x258, 0x90000);
	image[0x234] = 0;
	assert_int_equal(load_bzimage(""), ERR_EXIST);
	assert_string_equal(test_message,
			    "its bzImage loads at 0x90000 only, 9 MiB, over page 0 or "
			    "0x9f000-0xfffff: build it relocatable");

	for (u8 relocatable = 0; relocatable < 2; relocatable++) {
		make_bzimage();
		config.mem = MIB(20);
		image[0x234] = relocatable;
		assert_int_equal(load_bzimage(""), ERR_NOMEM);
		assert_string_equal(test_message,
				    "its bzImage needs 9 MiB from 0x1000000: raise mem=");
	}
}

/*
 * What the loader owes is written over what the file has there, and nothing of it is left to
 * chance.
 */
static void test_bzimage_owes(void **state)
{
	u64 zero;

	make_bzimage();
	put32(0x214, 0x12345678); /* code32_start */
	put32(0x23c, 1);	  /* hardware_subarch */
	put64(0x240, ~0ull);	  /* its data */
	put64(0x250, 0xdeadbeef); /* setup_data, a list that the kernel would follow */
	put64(0x258, MIB(32));
	assert_int_equal(load_bzimage(""), 0);
	zero = start.rsi;
	assert_int_equal(ram32(zero + 0x214), MIB(32));
	assert_int_equal(ram32(zero + 0x23c), 0);
	assert_int_equal(ram64(zero + 0x240), 0);
	assert_int_equal(ram64(zero + 0x250), 0);
}

/* Each field that the 64-bit protocol defines with a value that no sound file has. */
static void test_bzimage_fields(void **state)
{
	const struct {
		u64 at;
		u32 size;
		u64 value;
		const char *says; /* NULL: it is taken */
	} rows[] = {
		{0x1f4, 4, 0, "syssize cannot be 0x0"},
		{0x1f4, 4, 0x20, "syssize cannot be 0x20"},
		{0x1f4, 4, 0x21, NULL}, /* as much as its entry point, and a signature behind it */
		{0x1f4, 4, (sizeof(image) - BZ_OFFSET) / 16 + 1, "of its kernel's 64016"},
		{0x1f4, 4, ~0u, "of its kernel's 68719476720: the file is cut"},
		{0x200, 2, 0x66ea, "the jump over its setup header cannot be 0x66ea"},
		{0x200, 2, 0x65eb, "the jump over its setup header cannot be 0x65eb"},
		{0x200, 2, 0x7feb, NULL},
		{0x200, 2, 0x80eb, "the jump over its setup header cannot be 0x80eb"},
		{0x230, 4, 0, "kernel_alignment cannot be 0x0"},
		{0x230, 4, 0x3000000, "kernel_alignment cannot be 0x3000000"},
		{0x235, 1, 0, NULL},
		{0x235, 1, 22, "min_alignment cannot be 0x16"},
		{0x235, 1, 0x95, "min_alignment cannot be 0x95"},
		{0x248, 8, 0x0000fa0000000000, NULL}, /* payload: all of the kernel */
		{0x248, 8, 0x0000fa0000000001, "the end of its payload cannot be 0xfa01"},
		{0x248, 8, 0x00000002ffffffff, "the end of its payload cannot be 0x100000001"},
		{0x248, 8, ~0ull, "the end of its payload cannot be 0x1fffffffe"},
		{0x258, 8, GIB(3) + 1, "pref_address cannot be 0xc0000001"},
		{0x258, 8, ~0ull, "pref_address cannot be 0xffffffffffffffff"},
		{0x260, 4, 0, "init_size cannot be 0x0"},
		{0x260, 4, sizeof(image) - BZ_OFFSET - 1, "init_size cannot be 0xf9ff"},
		{0x260, 4, 0xffffffff, "init_size cannot be 0xffffffff"}, /* and not: raise mem= */
		{0x260, 4, sizeof(image) - BZ_OFFSET, NULL},
	};

	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		make_bzimage();
		memcpy(image + rows[i].at, &rows[i].value, rows[i].size);
		assert_int_equal(load_bzimage(""), rows[i].says ? ERR_INVAL : 0);
		if (rows[i].says && !strstr(test_message, rows[i].says))
			fail_msg("row %u: %s", i, test_message);
	}
	/* Of one that is not relocatable nobody asks the alignment. */
	make_bzimage();
	put32(0x230, 0);
	image[0x234] = 0;
	assert_int_equal(load_bzimage(""), 0);
}

/* Cut anywhere it is refused, but within the last 16 bytes, as some linkers leave it. */
static void test_bzimage_cut(void **state)
{
	const u64 most = sizeof(image) - 15;

	for (u64 size = 0x268; size<sizeof(image); size += size> most - 64 ? 1 : 61) {
		make_bzimage();
		if (load_bzimage_of(size, "") != (size < most ? ERR_INVAL : 0))
			fail_msg("of %llu bytes: %s", (unsigned long long)size, test_message);
		if (size < most)
			assert_non_null(strstr(test_message, "the file is cut"));
	}
	assert_string_equal(test_message, "");
	make_bzimage();
	load_bzimage_of(BZ_OFFSET + 1000, "");
	assert_string_equal(test_message,
			    "its bzImage has 1000 bytes of its kernel's 64000: the file is cut");
}

/* Where a kernel wants its initrd more memory is no remedy for. */
static void test_bzimage_initrd_limit(void **state)
{
	const u32 limits[] = {0, MIB(1), MIB(16) + 5000};

	for (u32 i = 0; i < ARRAY_SIZE(limits); i++) {
		make_bzimage();
		put64(0x258, MIB(2));
		put32(0x260, MIB(14));
		put32(0x22c, limits[i]);
		test_add_module(&config, CONFIG_INITRD, MIB(2), 1, "");
		assert_int_equal(load_bzimage(""), ERR_RANGE);
		if (!limits[i])
			assert_string_equal(
				test_message,
				"an initrd of 2048 KiB does not fit below 0x1, where the "
				"kernel wants it: make it smaller");
		assert_null(strstr(test_message, "raise mem="));
		config.module_count = 0; /* without one nobody asks */
		assert_int_equal(load_bzimage(""), 0);
	}
	make_bzimage();
	put32(0x22c, ~0u);
	test_add_module(&config, CONFIG_INITRD, MIB(1), 1, "");
	assert_int_equal(load_bzimage(""), 0);
	assert_int_equal(ram32(start.rsi + 0x218), MIB(63));
}

/* Memory that others have to give first is waited for, as long as they give some. */
static void test_bzimage_waits_for_memory(void **state)
{
	make_bzimage();
	test_no_memory = test_helps = 3;
	assert_int_equal(load_bzimage("quiet"), 0);
	assert_int_equal(test_helps, 0);

	make_bzimage();
	test_no_memory = 3;
	test_helps = 2;
	assert_int_equal(load_bzimage("quiet"), ERR_NOMEM);
	assert_non_null(strstr(test_message, "no memory"));

	/* What others give goes elsewhere each time: it ends. */
	make_bzimage();
	test_no_memory = test_helps = 1u << 20;
	assert_int_equal(load_bzimage("quiet"), ERR_NOMEM);
	test_no_memory = test_helps = 0;
}

static void test_bzimage_refusals(void **state)
{
	char line[3000];

	make_bzimage();
	put16(0x206, 0x020b);
	assert_int_equal(load_bzimage(""), ERR_NOTSUP);
	assert_string_equal(test_message, "its bzImage speaks boot protocol 2.11: 2.12 or later "
					  "is accepted (Linux 3.8)");
	make_bzimage();
	image[0x211] = 0;
	assert_int_equal(load_bzimage(""), ERR_NOTSUP);
	assert_string_equal(test_message, "its kernel is a zImage that loads low: build a bzImage");
	make_bzimage();
	put16(0x236, 2);
	assert_int_equal(load_bzimage(""), ERR_NOTSUP);
	assert_string_equal(test_message,
			    "its bzImage has no 64-bit entry point: take a 64-bit kernel");
	make_bzimage();
	memset(line, 'x', sizeof(line));
	line[2048] = 0;
	assert_int_equal(load_bzimage(line), ERR_RANGE);
	make_bzimage();
	image[0x1f1] = 200;
	assert_int_equal(load_bzimage(""), ERR_INVAL);
	assert_string_equal(test_message,
			    "its bzImage ends before the kernel begins: the file is cut");
	make_bzimage();
	test_add_module(&config, CONFIG_INITRD, MIB(50), 1, "");
	assert_int_equal(load_bzimage(""), ERR_NOMEM);
	assert_non_null(strstr(test_message, "raise mem="));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),
		cmocka_unit_test(test_bzimage_relocates),
		cmocka_unit_test(test_bzimage_refusals),
		cmocka_unit_test(test_bzimage_owes),
		cmocka_unit_test(test_bzimage_fields),
		cmocka_unit_test(test_bzimage_cut),
		cmocka_unit_test(test_bzimage_initrd_limit),
		cmocka_unit_test(test_bzimage_waits_for_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
