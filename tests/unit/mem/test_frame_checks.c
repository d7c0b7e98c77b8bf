/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c mem/memmap.c
   tests/unit/mem/frame_arena.c */
/* What the frame allocator catches: frames that are freed wrongly, or written after that. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/frame_arena.h"

struct block {
	pfn_t pfn;
	u32 order;
};

static void do_free(void *arg)
{
	struct block *b = arg;

	frame_free(b->pfn, b->order);
}

static void expect_panic(struct block b, const char *text)
{
	assert_true(hosted_catch_panic(do_free, &b));
	if (!strstr(hosted_panic_text(), text))
		fail_msg("panic said: %s", hosted_panic_text());
	hosted_locks_forget();
}

static void double_free(void **state)
{
	for (u32 order = 0; order < 4; order++) {
		struct block b = {.order = order};

		start(MIB(8));
		assert_int_equal(frame_alloc(order, 0, &b.pfn), 0);
		frame_free(b.pfn, order);
		expect_panic(b, "freed twice");
		/* From another CPU, too: it is not in that one's cache. */
		hosted_cpu_set(1);
		expect_panic(b, "freed twice");
	}
}

static void wrong_frees(void **state)
{
	struct block b = {.order = 3};

	start(MIB(8));
	assert_int_equal(frame_alloc(3, 0, &b.pfn), 0);
	expect_panic((struct block){PFN(b.pfn.v + 1), 0}, "not allocated");
	expect_panic((struct block){b.pfn, 2}, "not allocated");
	expect_panic((struct block){b.pfn, 4}, "not allocated");
	expect_panic((struct block){b.pfn, FRAME_ORDER_MAX + 1}, "not allocated");
	expect_panic((struct block){PFN(3), 0}, "not allocated");
	expect_panic((struct block){PFN(MIB(8) >> PAGE_SHIFT), 0}, "not allocated");
	expect_panic((struct block){PFN(~0ull), 0}, "not allocated");
	/* The array of frames itself is not to be freed. */
	expect_panic((struct block){PFN(MIB(1) >> PAGE_SHIFT), 0}, "not allocated");
	frame_of(b.pfn)->pins = 1;
	expect_panic(b, "pins");
	frame_of(b.pfn)->pins = 0;
	frame_of(b.pfn)->refs = 2;
	expect_panic(b, "references");
	frame_of(b.pfn)->refs = 1;
	frame_free(b.pfn, 3);
}

static void do_alloc_all(void *arg)
{
	pfn_t pfn;

	while (frame_alloc(0, 0, &pfn) == 0)
		;
}

static void write_after_free(void **state)
{
	for (u32 order = 0; order < 3; order++) {
		for (u32 offset = 0; offset < 64; offset += 63) {
			u32 last = (1u << order) - 1;
			pfn_t pfn;
			u8 *p;

			start(MIB(8));
			assert_int_equal(frame_alloc(order, 0, &pfn), 0);
			frame_free(pfn, order);
			p = pfn_to_virt(PFN(pfn.v + last));
			assert_int_equal(p[offset], FRAME_JUNK_FREE);
			p[offset] ^= 1;
			assert_true(hosted_catch_panic(do_alloc_all, NULL));
			assert_non_null(strstr(hosted_panic_text(), "after it was freed"));
			hosted_locks_forget();
		}
	}
	assert_int_not_equal(FRAME_JUNK_FREE, FRAME_JUNK_ALLOC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(double_free),
		cmocka_unit_test(wrong_frees),
		cmocka_unit_test(write_after_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
