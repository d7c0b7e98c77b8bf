/* SPDX-License-Identifier: MIT */
/* unit-sources: mmu/real_mode.c */
/* The real-mode TSS and the identity map, read as the CPU reads them. */
#include <cmocka.h>
#include <string.h>
#include "mmu/real_mode.h"

static u8 page[REAL_MODE_TSS_PAGES][4096];

static u8 tss_byte(u32 offset)
{
	return page[offset / 4096][offset % 4096];
}

/*
 * IN or OUT of virtual-8086 mode (SDM 1, "I/O permission bit map"): the two bytes from the port's on
 * are read, both within the limit, and the bits of all its bytes must be clear.
 */
static bool port_allowed(u32 port, u32 size)
{
	u32 at = (u32)(tss_byte(0x66) | tss_byte(0x67) << 8) + port / 8, bits;

	if (at + 1 > REAL_MODE_TSS_LIMIT)
		return false;
	bits = (u32)(tss_byte(at) | tss_byte(at + 1) << 8);
	return (bits >> port % 8 & ((1u << size) - 1)) == 0;
}

static void build(void)
{
	u8 *const pages[] = {page[0], page[1], page[2]};

	memset(page, 0xee, sizeof(page));
	real_mode_build_tss(pages);
}

static void tss(void **state)
{
	u32 redirection;

	build();
	/* No port is denied, but what reaches beyond the last one is. */
	for (u32 port = 0; port < 65536; port++) {
		for (u32 size = 1; size <= 4; size *= 2)
			assert_int_equal(port_allowed(port, size), port + size <= 65536);
	}
	/* The 32 bytes before the I/O map send each INT n to the program's own table. */
	redirection = (u32)(tss_byte(0x66) | tss_byte(0x67) << 8) - 32;
	assert_true(redirection >= 0x68);
	for (u32 i = 0; i < 32; i++)
		assert_int_equal(tss_byte(redirection + i), 0);
	/* Back link, stacks, registers and the T bit are zero; so is what follows the end. */
	for (u32 i = 0; i < 0x66; i++)
		assert_int_equal(tss_byte(i), 0);
	assert_int_equal(tss_byte(REAL_MODE_TSS_LIMIT), 0xff);
	for (u32 i = REAL_MODE_TSS_LIMIT + 1; i < sizeof(page); i++)
		assert_int_equal(tss_byte(i), 0);
	/* The limit of a 32-bit TSS is at least 0x67 (SDM 3A 8.2.2). */
	assert_true(REAL_MODE_TSS_LIMIT >= 0x67 && REAL_MODE_TSS_LIMIT < sizeof(page));
}

/* 32-bit paging with CR4.PSE and 4 MiB pages (SDM 3A 4.3): every address leads to itself. */
static void identity_map(void **state)
{
	static u32 directory[1024];

	memset(directory, 0xee, sizeof(directory));
	real_mode_build_identity_map(directory);
	for (u64 va = 0; va < 1ull << 32; va += 0x3ffff) {
		u32 e = directory[va >> 22];
		u64 pa = (e & 0xffc00000u) | (u64)(e >> 13 & 0xff) << 32 | (va & 0x3fffff);

		assert_int_equal(e & 0x7, 0x7);	  /* present, writable, for user mode too */
		assert_int_equal(e & 0x18, 0);	  /* write-back */
		assert_int_equal(e & 0xe0, 0xe0); /* 4 MiB, dirty and accessed already */
		assert_int_equal(e & (1u << 12 | 1u << 21), 0); /* PAT, and reserved */
		assert_int_equal(pa, va);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tss),
		cmocka_unit_test(identity_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
