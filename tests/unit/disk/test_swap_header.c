/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/swap_header.c kernel/base/crc32.c */
/* Signatures that are none, or not whole: each is refused with its own sentence. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/crc32.h"
#include "kernel/disk/swap_header.h"

#define SECTORS 8000u /* 1000 blocks */

static struct swap_header good(void)
{
	struct swap_header h = {
		.magic = SWAP_MAGIC, .version = SWAP_VERSION, .block_size = 4096, .blocks = 1000};

	memset(h.uuid, 0x5a, sizeof(h.uuid));
	return h;
}

static void sign(struct swap_header *h)
{
	h->crc = 0;
	h->crc = crc32(0, h, sizeof(*h));
}

static void the_crc_is_everybodys(void **state)
{
	assert_int_equal(crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(crc32(crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
	assert_int_equal(crc32(0, "", 0), 0);
}

static void a_good_one(void **state)
{
	struct swap_header h = good();

	sign(&h);
	assert_null(swap_header_fault(&h, &h, SECTORS));
	assert_null(swap_header_fault(&h, &h, SECTORS * 2)); /* the rest is left alone */
	h.blocks = SWAP_BLOCKS_MIN;
	sign(&h);
	assert_null(swap_header_fault(&h, &h, SECTORS));
}

static void zeros(struct swap_header *h)
{
	memset(h, 0, sizeof(*h));
}

static void file_system(struct swap_header *h)
{
	memset(h, 0xe5, sizeof(*h));
}

static void linux_swap(struct swap_header *h)
{
	memset(h, 0, sizeof(*h));
	memcpy((u8 *)h + 4086, "SWAPSPACE2", 10);
}

static void lower_case(struct swap_header *h)
{
	h->magic[0] = 'w';
}

static void version_1(struct swap_header *h)
{
	h->version = 1;
}

static void version_3(struct swap_header *h)
{
	h->version = 3;
}

static void first_bit(struct swap_header *h)
{
	h->blocks ^= 1;
}

static void last_bit(struct swap_header *h)
{
	h->zero[sizeof(h->zero) - 1] = 0x80;
}

static void no_crc(struct swap_header *h)
{
	h->crc = 0;
}

static void small_blocks(struct swap_header *h)
{
	h->block_size = 512;
}

static void no_blocks(struct swap_header *h)
{
	h->blocks = 0;
}

static void few_blocks(struct swap_header *h)
{
	h->blocks = SWAP_BLOCKS_MIN - 1;
}

static void a_block_more(struct swap_header *h)
{
	h->blocks = 1001;
}

static void wraps(struct swap_header *h)
{
	h->blocks = BIT(61) + 1;
}

static void no_uuid(struct swap_header *h)
{
	memset(h->uuid, 0, sizeof(h->uuid));
}

static void more_bytes(struct swap_header *h)
{
	h->zero[100] = 1;
}

static void nothing(struct swap_header *h)
{
	(void)h;
}

/* How a header is spoilt; sealed: its checksum is right all the same. */
static const struct {
	const char *name;
	void (*spoil)(struct swap_header *h);
	bool sealed;
	u64 sectors;
	const char *says;
} spoilt[] = {
	{"zeros", zeros, false, SECTORS, "signature"},
	{"a file system", file_system, false, SECTORS, "somebody's data"},
	{"Linux's swap", linux_swap, false, SECTORS, "somebody's data"},
	{"another magic", lower_case, true, SECTORS, "somebody's data"},
	{"version 1", version_1, true, SECTORS, "another version"},
	{"version 3", version_3, true, SECTORS, "another version"},
	{"a bit of blocks", first_bit, false, SECTORS, "checksum"},
	{"the last bit", last_bit, false, SECTORS, "checksum"},
	{"no checksum", no_crc, false, SECTORS, "checksum"},
	{"blocks of 512", small_blocks, true, SECTORS, "4096 bytes"},
	{"no blocks", no_blocks, true, SECTORS, "less than 64 KiB"},
	{"few blocks", few_blocks, true, SECTORS, "less than 64 KiB"},
	{"a block too many", a_block_more, true, SECTORS, "more than there is"},
	{"blocks that wrap", wraps, true, SECTORS, "more than 16 TiB"},
	{"no UUID", no_uuid, true, SECTORS, "UUID"},
	{"bytes after it", more_bytes, true, SECTORS, "does not know"},
	{"a tiny disk", nothing, true, SWAP_BLOCKS_MIN * 8 - 1, "smaller than 64 KiB"},
	{"a shorter disk", nothing, true, SECTORS - 1, "more than there is"},
};

static void spoilt_ones(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(spoilt); i++) {
		struct swap_header h = good();
		const char *fault;

		sign(&h);
		spoilt[i].spoil(&h);
		if (spoilt[i].sealed)
			sign(&h);
		fault = swap_header_fault(&h, &h, spoilt[i].sectors);
		if (!fault || !strstr(fault, spoilt[i].says))
			fail_msg("%s: %s", spoilt[i].name, fault ? fault : "taken");
		assert_null(strchr(fault, '\n'));
		assert_true(strlen(fault) < 160);
	}
}

/* Linux's md (1.2) and bcache leave the first 4 KiB as they are and have their own after them. */
static void used_by_somebody_else(void **state)
{
	struct swap_header h = good(), copy;
	const char *fault;

	sign(&h);
	/* From the first byte to the last: 65 divides 4095. */
	for (u32 at = 0; at < sizeof(copy); at += 65) {
		copy = h;
		((u8 *)&copy)[at] ^= 0x10;
		fault = swap_header_fault(&h, &copy, SECTORS);
		assert_non_null(fault);
		assert_non_null(strstr(fault, "write the signature anew"));
	}
	memset(&copy, 0, sizeof(copy)); /* as of a version without a copy */
	assert_non_null(swap_header_fault(&h, &copy, SECTORS));
	assert_null(swap_header_fault(&h, &h, SECTORS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_crc_is_everybodys),
		cmocka_unit_test(a_good_one),
		cmocka_unit_test(spoilt_ones),
		cmocka_unit_test(used_by_somebody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
