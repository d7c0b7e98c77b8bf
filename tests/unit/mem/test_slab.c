/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/slab.c mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c */
/* Objects of all sizes: zeroed, aligned, apart, given back; and each misuse that is caught. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "mem/frame.h"
#include "mem/slab.h"
#include "tests/hosted/hosted.h"

static struct memmap map;

static void start(u64 arena)
{
	hosted_fail_after(0);
	hosted_arena_init(arena);
	memset(&map, 0, sizeof(map));
	map.count = 1;
	map.ranges[0] = (struct mem_range){MIB(1), arena};
	assert_int_equal(frame_init(&map), 0);
	slab_init();
}

static u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

static bool all_are(const u8 *p, u8 value, u64 size)
{
	for (u64 i = 0; i < size; i++) {
		if (p[i] != value)
			return false;
	}
	return true;
}

static void every_size(void **state)
{
	u64 before;

	start(MIB(64));
	before = free_now();
	for (u64 size = 1; size < 9000; size++) {
		u8 *p = kmalloc(size);

		assert_non_null(p);
		assert_true(is_aligned((uintptr_t)p, size >= 64		       ? 64
						     : size > 16 && size <= 24 ? 8
									       : 16));
		assert_true(all_are(p, 0, size));
		memset(p, 0xff, size);
		kfree(p);
		assert_int_equal(free_now(), before);
	}
	assert_null(kmalloc(0));
	kfree(NULL);
}

static void sizes_that_cannot_be(void **state)
{
	start(MIB(8));
	assert_null(kmalloc(SIZE_MAX));
	assert_null(kmalloc(SIZE_MAX - 15));
	assert_null(kmalloc(SIZE_MAX / 2));
	assert_null(kmalloc(GIB(1)));
	assert_null(kmalloc(GIB(1) + 1));
	assert_null(kmalloc(MIB(8)));
}

#define OBJECTS	   3000
#define OPERATIONS 200000

/* Contents stay: no two objects overlap. All pages come back at the end. */
static void random_operations(void **state)
{
	static struct {
		u8 *p;
		u64 size;
		u8 value;
	} objects[OBJECTS];
	u64 before;
	u32 count = 0;

	start(MIB(64));
	before = free_now();
	srandom(3);
	for (u32 i = 0; i < OPERATIONS; i++) {
		hosted_cpu_set((u32)random() % 4);
		if (count < OBJECTS && random() % 100 < 51) {
			u64 size = 1 + (u64)random() % (random() % 8 ? 300 : 6000);
			u8 *p = kmalloc(size);

			assert_non_null(p);
			assert_true(all_are(p, 0, size));
			objects[count].p = p;
			objects[count].size = size;
			objects[count].value = (u8)random();
			memset(p, objects[count].value, size);
			count++;
		} else if (count) {
			u32 which = (u32)random() % count;

			assert_true(all_are(objects[which].p, objects[which].value,
					    objects[which].size));
			kfree(objects[which].p);
			objects[which] = objects[--count];
		}
	}
	while (count--) {
		assert_true(all_are(objects[count].p, objects[count].value, objects[count].size));
		kfree(objects[count].p);
	}
	assert_int_equal(free_now(), before);
}

/* A page that was full and has a hole again is used again before another is taken. */
static void holes_are_filled(void **state)
{
	u64 before, now;
	void *first;
	u32 n = 1;

	start(MIB(8));
	before = free_now();
	first = kmalloc(100);
	now = free_now();
	assert_int_equal(before - now, 1);
	while (free_now() == now) {
		assert_non_null(kmalloc(100));
		n++;
	}
	assert_in_range(n, 10, 41);
	now = free_now();
	while (--n > 1)
		assert_non_null(kmalloc(100));
	assert_int_equal(free_now(), now);
	kfree(first);
	for (n = 0; n < 10; n++)
		assert_non_null(kmalloc(500));
	now = free_now();
	assert_ptr_equal(kmalloc(100), first);
	assert_int_equal(free_now(), now);
}

static void exhaustion(void **state)
{
	void **chain = NULL;
	u64 before, n = 0;

	start(MIB(8));
	before = free_now();
	for (void **p; (p = kmalloc(100)); n++) {
		*p = chain;
		chain = p;
	}
	assert_int_equal(free_now(), 0);
	assert_true(n > before * 20);
	while (chain) {
		void **next = *chain;

		kfree(chain);
		chain = next;
	}
	assert_int_equal(free_now(), before);
}

/* --- What it catches ----------------------------------------------------------------------- */

static const u64 sizes[] = {1, 16, 17, 63, 64, 100, 512, 1000, 2032, 2033, 2048, 4000, 4096, 9000};

static void do_kfree(void *p)
{
	kfree(p);
}

/* The panic leaves the class's lock held: the classes begin anew, without their pages. */
static void expect_panic(void (*fn)(void *), void *arg, const char *text)
{
	assert_true(hosted_catch_panic(fn, arg));
	if (!strstr(hosted_panic_text(), text))
		fail_msg("panic said: %s", hosted_panic_text());
	hosted_locks_forget();
	slab_init();
}

static void double_free(void **state)
{
	for (u32 keep = 0; keep < 2; keep++) {
		for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
			void *p, *other;

			start(MIB(8));
			p = kmalloc(sizes[i]);
			/* With a neighbour the page stays a slab's, without it goes back. */
			other = kmalloc(sizes[i]);
			kfree(p);
			if (!keep)
				kfree(other);
			expect_panic(do_kfree, p, "free");
		}
	}
}

/* Freed before another, so it is no longer the first of its page's free objects. */
static void double_free_later(void **state)
{
	void *a, *b, *c;

	start(MIB(8));
	a = kmalloc(100);
	b = kmalloc(100);
	c = kmalloc(100);
	kfree(a);
	kfree(b);
	expect_panic(do_kfree, a, "free already");
	kfree(c);
}

static void write_past_end(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		u8 *p;

		start(MIB(8));
		p = kmalloc(sizes[i]);
		p[sizes[i]] ^= 1;
		expect_panic(do_kfree, p, "past its end");
	}
}

static void do_kmalloc_40(void *arg)
{
	for (u32 i = 0; i < 4096 / 64; i++)
		kmalloc(40);
}

static void write_after_free(void **state)
{
	for (u32 offset = 0; offset < 40; offset++) {
		u8 *p;

		start(MIB(8));
		p = kmalloc(40);
		assert_non_null(kmalloc(40)); /* keeps the page */
		kfree(p);
		p[offset] ^= 0x80;
		assert_true(hosted_catch_panic(do_kmalloc_40, NULL));
		hosted_locks_forget();
	}
}

static void wild_pointers(void **state)
{
	u8 *p;

	start(MIB(8));
	p = kmalloc(100);
	expect_panic(do_kfree, p + 1, "no object");
	expect_panic(do_kfree, p + 64, "no object");
	expect_panic(do_kfree, phys_to_virt(HPA(4096)), "not in RAM");
	p = kmalloc(9000);
	expect_panic(do_kfree, p + 16, "not the start");
	expect_panic(do_kfree, p + 4096, "not allocated");
}

static void fails_on_order(void **state)
{
	u64 before;

	start(MIB(8));
	before = free_now();
	for (u32 n = 1;; n++) {
		void *small, *large;

		hosted_fail_after(n);
		small = kmalloc(10);
		large = kmalloc(10000);
		if (!hosted_fail_happened()) {
			assert_non_null(small);
			assert_non_null(large);
			assert_int_equal(n, 5); /* two allocators deep, twice */
		} else {
			assert_true(!small ^ !large);
		}
		kfree(small);
		kfree(large);
		assert_int_equal(free_now(), before);
		if (!hosted_fail_happened())
			break;
	}
	hosted_fail_after(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size),	     cmocka_unit_test(sizes_that_cannot_be),
		cmocka_unit_test(random_operations), cmocka_unit_test(exhaustion),
		cmocka_unit_test(holes_are_filled),  cmocka_unit_test(double_free),
		cmocka_unit_test(double_free_later), cmocka_unit_test(write_past_end),
		cmocka_unit_test(write_after_free),  cmocka_unit_test(wild_pointers),
		cmocka_unit_test(fails_on_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
