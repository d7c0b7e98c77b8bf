/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/guest/bzimage.c kernel/guest/pvh.c kernel/guest/multiboot1.c
 *	kernel/guest/elf.c kernel/guest/layout.c kernel/guest/loader.c
 *	kernel/guest/acpi_tables.c kernel/guest/image.c @mem tests/unit/guest/guest_memory.c
 *	tests/unit/guest/images.c kernel/guest/unknown.c
 */
/*
 * The boot protocols on images made here: what a sound one leaves in guest memory, what each damage
 * is answered with, and that random damage never does more than be refused.
 */
#include "images.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/guest/memory.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

/* What is lost on the swap disk is no want of memory, for which a VM would wait. */
static void test_lost_module(void **state)
{
	struct gmem nothing = {.pages = 0};
	struct image lost = {.size = PAGE_SIZE, .object = &nothing};
	struct load l;

	make_bzimage();
	l = test_load(&config, image, sizeof(image), "", &start);
	assert_int_equal(load_write_image(&l, MIB(1), &lost, 0, PAGE_SIZE), ERR_RANGE);
	assert_non_null(strstr(test_message, "cannot be read back from the swap disk"));
}

/* --- ELF and PVH --- */

/* As many segments as are accepted, a page each; the note is the last of all. */
static void make_pvh_of(u32 segments)
{
	const u64 table = 0x2000;

	make_pvh();
	put64(32, table);
	put16(56, (u16)segments);
	for (u32 i = 0; i < segments - 1; i++) {
		u64 at = table + i * 56;

		memcpy(image + at, image + 64, 56);
		put64(at + 24, MIB(16) + i * 2 * PAGE_SIZE);
		put64(at + 32, PAGE_SIZE);
		put64(at + 40, PAGE_SIZE);
	}
	memcpy(image + table + (segments - 1) * 56, image + 120, 56);
}

static int load_pvh(u64 size)
{
	struct load l = test_load(&config, image, size, "quiet", &start);

	l.rsdp = 0xe0000;
	return pvh_probe(&l.kernel) ? pvh_load(&l) : ERR_NOENT;
}

static void test_pvh_of_many_segments(void **state)
{
	make_pvh_of(64);
	for (u32 i = 0; i < CONFIG_MODULES_MAX - 1; i++)
		test_add_module(&config, i ? CONFIG_MODULE : CONFIG_INITRD, 5000, 0x55, "");
	assert_int_equal(load_pvh(sizeof(image)), 0);
	assert_int_equal(test_ram[MIB(16) + 62 * 2 * PAGE_SIZE], 0x90);
}

static void test_pvh(void **state)
{
	u64 info, modules;

	make_pvh();
	test_add_module(&config, CONFIG_INITRD, 5000, 0x55, "");
	assert_int_equal(load_pvh(sizeof(image)), 0);
	assert_int_equal(start.mode, VMX_START_PROTECTED);
	assert_int_equal(start.rip, MIB(16) + 0x10);
	assert_int_equal(test_ram[MIB(16)], 0x90);
	assert_int_equal(test_ram[MIB(16) + 0x2000], 0);
	info = start.rbx;
	assert_int_equal(ram32(info), 0x336ec578);
	assert_int_equal(ram32(info + 4), 1);
	assert_int_equal(ram32(info + 12), 1);
	modules = ram64(info + 16);
	assert_int_equal(test_ram[ram64(modules)], 0x55);
	assert_int_equal(ram64(modules + 8), 5000);
	assert_string_equal((char *)test_ram + ram64(info + 24), "quiet");
	assert_int_equal(ram64(info + 32), 0xe0000);
	assert_int_equal(ram32(info + 48), 6);
	assert_int_equal(ram64(ram64(info + 40) + 8), GUEST_LOW_USABLE_TOP);
	assert_int_equal(ram64(GUEST_GDT + start.cs), 0x00cf9b000000ffffull);
}

static void test_elf_refusals(void **state)
{
	make_pvh();
	put64(64 + 32, sizeof(image)); /* more than the file has */
	put64(64 + 40, sizeof(image));
	assert_int_equal(load_pvh(sizeof(image)), ERR_INVAL);
	assert_non_null(strstr(test_message, "is not inside the file"));
	make_pvh();
	put64(64 + 40, 0x1000); /* memsz below filesz */
	assert_int_equal(load_pvh(sizeof(image)), ERR_INVAL);
	make_pvh();
	put64(64 + 24, MIB(64) - 0x1000);
	assert_int_equal(load_pvh(sizeof(image)), ERR_RANGE);
	assert_non_null(strstr(test_message, "raise mem="));
	make_pvh();
	put64(64 + 24, 0xffffffff80100000); /* linked high, and p_paddr as p_vaddr: no mem= helps */
	assert_int_equal(load_pvh(sizeof(image)), ERR_RANGE);
	assert_non_null(strstr(test_message, "below 3 GiB"));
	make_pvh();
	put64(64 + 24, 0x9e000);
	assert_int_equal(load_pvh(sizeof(image)), ERR_EXIST);
	make_pvh();
	put64(64 + 24, ~0ull - 0xfff);
	assert_int_equal(load_pvh(sizeof(image)), ERR_RANGE);
	make_pvh();
	put32(NOTE_AT + 36, MIB(20));
	assert_int_equal(load_pvh(sizeof(image)), ERR_INVAL);
	assert_non_null(strstr(test_message, "is outside what the file loads"));
	make_pvh();
	put32(NOTE_AT + 24, 3); /* a descriptor that is too short */
	assert_int_equal(load_pvh(sizeof(image)), ERR_NOENT);
	make_pvh();
	put16(56, 200);
	assert_int_equal(load_pvh(sizeof(image)), ERR_INVAL);
}

/* --- multiboot 1 --- */

static int load_multiboot(u64 size)
{
	struct load l = test_load(&config, image, size, "arg1 arg2", &start);

	return multiboot1_probe(&l.kernel) ? multiboot1_load(&l) : ERR_NOENT;
}

static void test_multiboot(void **state)
{
	u64 info, mods, mmap;

	make_multiboot();
	test_add_module(&config, CONFIG_MODULE, 4097, 0x11, "first words");
	test_add_module(&config, CONFIG_MODULE, 10, 0x22, "");
	assert_int_equal(load_multiboot(sizeof(image)), 0);
	assert_int_equal(start.rip, MIB(1) + 0x100);
	assert_int_equal(start.rax, 0x2badb002);
	assert_int_equal(test_ram[MIB(1) + 0x7fff], 0xf4);
	assert_int_equal(test_ram[MIB(1) + 0x8000], 0);
	info = start.rbx;
	assert_true(info >= PAGE_SIZE);
	assert_int_equal(ram32(info) & (BIT(0) | BIT(2) | BIT(3) | BIT(6)),
			 BIT(0) | BIT(2) | BIT(3) | BIT(6));
	assert_int_equal(ram32(info + 8), (MIB(64) - MIB(1)) >> 10);
	assert_string_equal((char *)test_ram + ram32(info + 16), "alpha arg1 arg2");
	assert_int_equal(ram32(info + 20), 2);
	mods = ram32(info + 24);
	assert_int_equal(test_ram[ram32(mods)], 0x11);
	assert_int_equal(ram32(mods + 4) - ram32(mods), 4097);
	assert_true(ram32(mods) >= MIB(1) + 0x20000);
	assert_string_equal((char *)test_ram + ram32(mods + 8), "module0 first words");
	assert_int_equal(test_ram[ram32(mods + 16)], 0x22);
	assert_string_equal((char *)test_ram + ram32(mods + 16 + 8), "module1");
	mmap = ram32(info + 48);
	assert_int_equal(ram32(info + 44), 6 * 24);
	assert_int_equal(ram32(mmap), 20);
	assert_int_equal(ram64(mmap + 12), GUEST_LOW_USABLE_TOP);
}

/* Kernels that map themselves high say their entry point there: it is where the segment was loaded. */
static void test_multiboot_elf(void **state)
{
	const u64 high = 0xffffffff80000000ull;

	make_pvh();
	put32(0x800, 0x1badb002);
	put32(0x808, -0x1badb002u);
	put64(24, high + 0x10);
	put64(64 + 16, high);
	assert_int_equal(load_multiboot(sizeof(image)), 0);
	assert_int_equal(start.mode, VMX_START_PROTECTED);
	assert_int_equal(start.rip, MIB(16) + 0x10);
	put64(24, MIB(16) + 0x20);
	assert_int_equal(load_multiboot(sizeof(image)), 0);
	assert_int_equal(start.rip, MIB(16) + 0x20);
	put64(24, high + 0x5000);
	assert_int_equal(load_multiboot(sizeof(image)), ERR_INVAL);
	assert_non_null(strstr(test_message, "entry point 0xffffffff80005000 is outside"));
}

/* It is found wherever it may be, and nowhere else. */
static void test_multiboot_header(void **state)
{
	memset(image, 0, sizeof(image));
	for (u64 at = 0; at <= KIB(8) + 64; at++) {
		struct image i = {image, sizeof(image), NULL};

		put32(at, 0x1badb002);
		put32(at + 8, -0x1badb002u);
		assert_int_equal(multiboot1_probe(&i), at % 4 == 0 && at + 12 <= KIB(8));
		i.size = at + 11;
		assert_false(multiboot1_probe(&i));
		put32(at, 0);
		put32(at + 8, 0);
	}
}

static void test_multiboot_refusals(void **state)
{
	make_multiboot();
	put32(MB_AT + 8, 1);
	assert_int_equal(load_multiboot(sizeof(image)), ERR_NOENT);
	make_multiboot();
	put32(MB_AT + 4, BIT(16) | BIT(5));
	put32(MB_AT + 8, -(0x1badb002 + (u32)(BIT(16) | BIT(5))));
	assert_int_equal(load_multiboot(sizeof(image)), ERR_NOTSUP);
	assert_string_equal(test_message, "its multiboot header demands flags 0x20: known are 0x7");
	make_multiboot();
	put32(MB_AT + 16, MIB(1) + MB_AT + 4); /* loads from behind the header */
	assert_int_equal(load_multiboot(sizeof(image)), ERR_INVAL);
	make_multiboot();
	put32(MB_AT + 16, 0x1000); /* further before the header than the file begins */
	assert_int_equal(load_multiboot(sizeof(image)), ERR_INVAL);
	make_multiboot();
	put32(MB_AT + 20, MIB(2)); /* ends beyond the file */
	assert_int_equal(load_multiboot(sizeof(image)), ERR_INVAL);
	make_multiboot();
	put32(MB_AT + 28, MIB(2)); /* entry outside */
	assert_int_equal(load_multiboot(sizeof(image)), ERR_INVAL);
	make_multiboot();
	put32(MB_AT + 24, GIB(2)); /* more bss than RAM */
	assert_int_equal(load_multiboot(sizeof(image)), ERR_RANGE);
	make_multiboot();
	test_add_module(&config, CONFIG_MODULE, MIB(63), 1, "");
	assert_int_equal(load_multiboot(sizeof(image)), ERR_NOMEM);
	assert_non_null(strstr(test_message, "raise mem="));
}

/* --- damage, and tables --- */

static void damage_and_load(void (*make)(void), unsigned *seed)
{
	u64 size = sizeof(image);

	make();
	for (u32 i = 0, n = 1 + rand_r(seed) % 6; i < n; i++) {
		u32 at = rand_r(seed) % 0x480;

		if (rand_r(seed) & 1)
			put32(at & ~3u,
			      rand_r(seed) & 1 ? ~0u << (rand_r(seed) % 32) : (u32)rand_r(seed));
		else
			image[at] ^= 1 << (rand_r(seed) % 8);
	}
	if (rand_r(seed) % 8 == 0)
		size = rand_r(seed) % sizeof(image);

	/* A copy of the exact size, so that the sanitizer sees a read past the end. */
	u8 *copy = malloc(size ? size : 1);
	struct load l;

	memcpy(copy, image, size);
	l = test_load(&config, copy, size, "quiet", &start);
	if (bzimage_probe(&l.kernel))
		(void)bzimage_load(&l);
	else if (pvh_probe(&l.kernel))
		(void)pvh_load(&l);
	else if (multiboot1_probe(&l.kernel))
		(void)multiboot1_load(&l);
	free(copy);
}

static void make_small_bzimage(void)
{
	make_bzimage();
	config.mem = MIB(32);
}

static void make_small_pvh(void)
{
	make_pvh();
	config.mem = MIB(18);
}

static void test_random_damage(void **state)
{
	unsigned seed = 42;

	for (u32 i = 0; i < 250; i++) {
		damage_and_load(make_small_bzimage, &seed);
		damage_and_load(make_small_pvh, &seed);
		damage_and_load(make_multiboot, &seed);
	}
}

static u8 sum(u64 at, u64 size)
{
	u8 s = 0;

	while (size--)
		s += test_ram[at++];
	return s;
}

static void test_acpi(void **state)
{
	struct load l;
	u64 rsdt, xsdt, fadt, madt;

	fresh(MIB(4));
	l = test_load(&config, image, sizeof(image), "", &start);
	assert_int_equal(load_acpi(&l), 0);
	assert_memory_equal(test_ram + l.rsdp, "RSD PTR ", 8);
	assert_true(is_aligned(l.rsdp, 16ull));
	assert_int_equal(sum(l.rsdp, 20), 0);
	assert_int_equal(sum(l.rsdp, 36), 0);
	xsdt = ram64(l.rsdp + 24);
	assert_memory_equal(test_ram + xsdt, "XSDT", 4);
	assert_int_equal(ram32(xsdt + 4), 36 + 16);
	fadt = ram64(xsdt + 36);
	madt = ram64(xsdt + 44);
	assert_memory_equal(test_ram + fadt, "FACP", 4);
	assert_memory_equal(test_ram + madt, "APIC", 4);
	assert_int_equal(sum(xsdt, ram32(xsdt + 4)), 0);
	assert_int_equal(sum(fadt, ram32(fadt + 4)), 0);
	assert_int_equal(sum(madt, ram32(madt + 4)), 0);
	assert_memory_equal(test_ram + ram32(fadt + 36), "FACS", 4);
	assert_true(is_aligned(ram32(fadt + 36), 64u));
	assert_memory_equal(test_ram + ram64(fadt + 140), "DSDT", 4);
	assert_int_equal(ram32(madt + 4), 44 + 8 + 12 + 10 + 10 + 6);
	/* The same tables for kernels that know no XSDT, as seL4 and MINIX 3. */
	rsdt = ram32(l.rsdp + 16);
	assert_memory_equal(test_ram + rsdt, "RSDT", 4);
	assert_int_equal(ram32(rsdt + 4), 36 + 8);
	assert_int_equal(ram32(rsdt + 36), fadt);
	assert_int_equal(ram32(rsdt + 40), madt);
	assert_int_equal(sum(rsdt, ram32(rsdt + 4)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_module),
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_pvh_of_many_segments),
		cmocka_unit_test(test_elf_refusals),
		cmocka_unit_test(test_multiboot),
		cmocka_unit_test(test_multiboot_elf),
		cmocka_unit_test(test_multiboot_header),
		cmocka_unit_test(test_multiboot_refusals),
		cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_acpi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
