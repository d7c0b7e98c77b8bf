/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/partition.c kernel/base/crc32.c */
/* Partition tables, good ones and such as a disk may have by accident or malice. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/crc32.h"
#include "kernel/base/error.h"
#include "kernel/disk/partition.h"

#define SECTORS	   10000u
#define TABLE	   (40u * 512) /* bytes at the disk's start that are kept */
#define GPT_HEADER 512
#define GPT_TABLE  1024

static u8 disk[TABLE + PAGE_SIZE];
static u8 page[PAGE_SIZE];
static u64 fail_sector;
static u64 first, sectors;

static int read_disk(void *arg, u64 sector, void *to)
{
	assert_true(sector * 512 + PAGE_SIZE <= sizeof(disk));
	if (sector == fail_sector)
		return ERR_IO;
	memcpy(to, disk + sector * 512, PAGE_SIZE);
	return 0;
}

static const struct partition_source source = {.read = read_disk, .sectors = SECTORS, .page = page};

static int find(u32 number)
{
	return partition_find(&source, number, &first, &sectors);
}

static void put32(u32 at, u32 value)
{
	memcpy(disk + at, &value, sizeof(value));
}

static void put64(u32 at, u64 value)
{
	memcpy(disk + at, &value, sizeof(value));
}

static void mbr_entry(u32 number, u8 type, u32 from, u32 count)
{
	u32 at = 446 + 16 * (number - 1);

	disk[at + 4] = type;
	put32(at + 8, from);
	put32(at + 12, count);
	disk[510] = 0x55;
	disk[511] = 0xaa;
}

static int setup(void **state)
{
	memset(disk, 0, sizeof(disk));
	fail_sector = ~0ull;
	return 0;
}

static void mbr(void **state)
{
	mbr_entry(1, 0x83, 2048, 1000);
	mbr_entry(3, 0x82, 9000, 1000);
	assert_int_equal(find(1), 0);
	assert_int_equal(first, 2048);
	assert_int_equal(sectors, 1000);
	assert_int_equal(find(3), 0);
	assert_int_equal(first, 9000);
	assert_int_equal(find(0), ERR_NOENT);
	assert_int_equal(find(2), ERR_NOENT);
	assert_int_equal(find(5), ERR_NOENT);
	assert_int_equal(find(~0u), ERR_NOENT);
	fail_sector = 0;
	assert_int_equal(find(1), ERR_IO);
}

static void no_table(void **state)
{
	assert_int_equal(find(1), ERR_NOENT);
	memset(disk, 0xff, sizeof(disk));
	assert_int_equal(find(1), ERR_NOENT);
}

static void bad_mbr(void **state)
{
	static const struct {
		u8 type;
		u32 from, count;
		int err;
	} cases[] = {
		{0x83, 9001, 1000, ERR_RANGE}, {0x83, 0, 100, ERR_RANGE},
		{0x83, 100, 0, ERR_RANGE},     {0x83, ~0u, ~0u, ERR_RANGE},
		{0x83, 1, ~0u, ERR_RANGE},     {0x05, 100, 100, ERR_NOTSUP},
		{0x0f, 100, 100, ERR_NOTSUP},  {0x85, 100, 100, ERR_NOTSUP},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		mbr_entry(1, cases[i].type, cases[i].from, cases[i].count);
		assert_int_equal(find(1), cases[i].err);
	}
}

static void overlapping_mbr(void **state)
{
	mbr_entry(1, 0x83, 2048, 1000);
	mbr_entry(2, 0x83, 3047, 10);
	assert_int_equal(find(1), ERR_CORRUPT);
	assert_int_equal(find(2), ERR_CORRUPT);
	mbr_entry(2, 0x83, 3048, 10);
	assert_int_equal(find(1), 0);
	assert_int_equal(find(2), 0);
	mbr_entry(4, 0x05, 100, ~0u); /* has all of them, it says */
	assert_int_equal(find(1), ERR_CORRUPT);
	mbr_entry(4, 0, 100, ~0u); /* none is there */
	assert_int_equal(find(1), 0);
}

static void sign_gpt(void)
{
	put32(GPT_HEADER + 88, crc32(0, disk + GPT_TABLE, 128 * 128));
	put32(GPT_HEADER + 16, 0);
	put32(GPT_HEADER + 16, crc32(0, disk + GPT_HEADER, 92));
}

static void make_gpt(void)
{
	mbr_entry(1, 0xee, 1, SECTORS - 1);
	memcpy(disk + GPT_HEADER, "EFI PART", 8);
	put32(GPT_HEADER + 8, 0x10000);
	put32(GPT_HEADER + 12, 92);
	put64(GPT_HEADER + 24, 1);
	put64(GPT_HEADER + 40, 34);
	put64(GPT_HEADER + 48, SECTORS - 34);
	put64(GPT_HEADER + 72, 2);
	put32(GPT_HEADER + 80, 128);
	put32(GPT_HEADER + 84, 128);
	for (u32 n = 0; n < 128; n += 127) { /* 1 and 128 */
		disk[GPT_TABLE + 128 * n] = 0x42;
		put64(GPT_TABLE + 128 * n + 32, 3000 + n);
		put64(GPT_TABLE + 128 * n + 40, 3000 + n + 99);
	}
	sign_gpt();
}

static void gpt(void **state)
{
	make_gpt();
	assert_int_equal(find(1), 0);
	assert_int_equal(first, 3000);
	assert_int_equal(sectors, 100);
	assert_int_equal(find(128), 0);
	assert_int_equal(first, 3127);
	assert_int_equal(find(2), ERR_NOENT);
	assert_int_equal(find(129), ERR_NOENT);
	fail_sector = 2;
	assert_int_equal(find(1), ERR_IO);
}

static void bad_gpt(void **state)
{
	static const struct {
		u32 at;
		u32 value;
		bool sealed;
		int err;
	} cases[] = {
		{GPT_HEADER, 0, true, ERR_CORRUPT},	   /* signature */
		{GPT_HEADER + 12, 91, true, ERR_CORRUPT},  /* header size */
		{GPT_HEADER + 12, 513, true, ERR_CORRUPT}, /* its checksum covers too much */
		{GPT_HEADER + 24, 2, true, ERR_CORRUPT},   /* where it is */
		{GPT_HEADER + 56, 7, false, ERR_CORRUPT},  /* a byte of the GUID */
		{GPT_HEADER + 72, 0, true, ERR_RANGE},	   /* where the entries are */
		{GPT_HEADER + 72, 9999, true, ERR_RANGE},
		{GPT_HEADER + 76, ~0u, true, ERR_RANGE},
		{GPT_HEADER + 80, 129, true, ERR_NOTSUP}, /* how many */
		{GPT_HEADER + 80, ~0u, true, ERR_NOTSUP},
		{GPT_HEADER + 84, 0, true, ERR_NOTSUP}, /* of which size */
		{GPT_HEADER + 84, 256, true, ERR_NOTSUP},
		{GPT_TABLE + 128 * 60, 1, false, ERR_CORRUPT}, /* an entry */
		{GPT_TABLE + 32, 3100, true, ERR_RANGE},       /* begins after its end */
		{GPT_TABLE + 40, 10000, true, ERR_RANGE},      /* ends after the disk's */
		{GPT_TABLE + 44, ~0u, true, ERR_RANGE},
		{GPT_TABLE + 32, 0, true, ERR_RANGE},
		{GPT_TABLE + 32, 33, true, ERR_RANGE},		 /* in the table */
		{GPT_TABLE + 40, SECTORS - 33, true, ERR_RANGE}, /* in the other table */
		{GPT_TABLE + 40, 3127, true, ERR_CORRUPT},	 /* in another partition */
		{GPT_TABLE + 128 * 127 + 32, 3099, true, ERR_CORRUPT},
		{GPT_TABLE + 128 * 127 + 32, 2000, true, ERR_CORRUPT},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(NULL);
		make_gpt();
		put32(cases[i].at, cases[i].value);
		if (cases[i].sealed)
			sign_gpt();
		assert_int_equal(find(1), cases[i].err);
	}
}

/* Its header calls all of 64 bits usable: what there is ends with the disk. */
static void gpt_of_a_larger_disk(void **state)
{
	static const struct {
		u64 last;
		int err;
	} cases[] = {{SECTORS - 1, 0}, {SECTORS, ERR_RANGE}, {~0ull - 1, ERR_RANGE}};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		make_gpt();
		put64(GPT_HEADER + 48, ~0ull);
		put64(GPT_TABLE + 32, 3300);
		put64(GPT_TABLE + 40, cases[i].last);
		sign_gpt();
		assert_int_equal(find(1), cases[i].err);
	}
	make_gpt();
	put64(GPT_HEADER + 48, 3099); /* it ends with what is usable */
	sign_gpt();
	assert_int_equal(find(1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(mbr, setup),
		cmocka_unit_test_setup(no_table, setup),
		cmocka_unit_test_setup(bad_mbr, setup),
		cmocka_unit_test_setup(gpt, setup),
		cmocka_unit_test_setup(bad_gpt, setup),
		cmocka_unit_test_setup(gpt_of_a_larger_disk, setup),
		cmocka_unit_test_setup(overlapping_mbr, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
