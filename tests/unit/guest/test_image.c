/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/guest/image.c @mem @reclaim tests/unit/mem/fixture.c */
/*
 * Modules as guest memory objects: what they hold stays what GRUB loaded, while their frames come
 * free; equal ones are one; those of nobody go.
 */
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/guest/image.h"
#include "mem/audit.h"
#include "mem/frame.h"
#include "mem/reclaim.h"
#include "mem/slab.h"
#include "mem/reclaim_private.h"
#include "mem/watermark.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define MODULES_AT MIB(8) /* reserved up to */
#define MODULES_TO MIB(12)

struct boot_info boot_info;
static struct weir_config config;
static u64 next_at;
static u32 back; /* times that all modules were there again */

/* A module of a VM; vm < 0: of nobody. Every second page does not pack. */
static struct config_module *add(int vm, u64 size, u64 seed)
{
	struct boot_module *b = &boot_info.modules[boot_info.module_count++];
	u64 random = seed, words = size / 8;
	struct config_module *m;
	u64 *p = phys_to_virt(HPA(next_at));

	for (u64 i = 0; i < words; i++)
		p[i] = i / 512 % 2 ? random_next(&random) : seed + i % 5;
	memset(p + words, (u8)seed, size % 8);
	b->start = HPA(next_at);
	b->size = size;
	next_at += align_up(size, PAGE_SIZE);
	if (vm < 0)
		return NULL;
	config.vm_count = max(config.vm_count, (u32)vm + 1);
	config.vms[vm].share_group = (u32)vm + 1;
	config.vms[vm].modules = config.modules[vm];
	m = &config.vms[vm].modules[config.vms[vm].module_count++];
	m->boot_index = boot_info.module_count - 1;
	m->start = b->start;
	m->size = size;
	return m;
}

static void check_image(const struct config_module *m, u64 seed)
{
	struct image i = image_of_module(m);
	u64 random = seed, words = m->size / 8, two[2] = {0};
	u8 rest[8];

	assert_int_equal(i.size, m->size);
	for (u64 n = 0; n < words; n++) {
		u64 word, wanted = n / 512 % 2 ? random_next(&random) : seed + n % 5;

		/* Looks that go from one page to the next, too. */
		if (n % 512 == 0 && n)
			assert_int_equal(two[1], wanted);
		if (n % 512 == 511 && n + 1 < words) {
			assert_int_equal(image_read(&i, n * 8, two, 16), 0);
			assert_int_equal(two[0], wanted);
			continue;
		}
		assert_int_equal(image_read(&i, n * 8, &word, 8), 0);
		assert_int_equal(word, wanted);
	}
	assert_int_equal(image_read(&i, words * 8, rest, m->size % 8), 0);
	for (u64 n = 0; n < m->size % 8; n++)
		assert_int_equal(rest[n], (u8)seed);
	assert_int_equal(image_read(&i, words * 8, rest, m->size % 8 + 1), ERR_RANGE);
}

static int setup(void **state)
{
	static struct memmap map;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_locks_forget();
	hosted_arena_init(MIB(16));
	memset(&map, 0, sizeof(map));
	map.count = 2;
	map.ranges[0] = (struct mem_range){MIB(1), MODULES_AT};
	map.ranges[1] = (struct mem_range){MODULES_TO, MIB(16)};
	map.ram_count = 1;
	map.ram[0] = (struct mem_range){MIB(1), MIB(16)};
	map.highest_ram = MIB(16);
	assert_int_equal(frame_init(&map), 0);
	slab_init();
	assert_int_equal(reclaim_init(&(struct reclaim_options){.tax = 75}), 0);
	memset(&boot_info, 0, sizeof(boot_info));
	memset(&config, 0, sizeof(config));
	next_at = MODULES_AT;
	back = 0;
	return 0;
}

static int teardown(void **state)
{
	memset(&watermarks, 0, sizeof(watermarks));
	return 0;
}

static u64 total_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.total;
}

/* All pages of it are taken, as kaged does when memory is short. */
static struct gmem_taken take_all(struct gmem *g)
{
	struct gmem_taken t = {0};
	u64 all[GMEM_LARGE_PAGES / 64];

	memset(all, 0xff, sizeof(all));
	for (u64 first = 0; first < g->pages; first += GMEM_LARGE_PAGES)
		gmem_take(g, first, min(g->pages - first, (u64)GMEM_LARGE_PAGES), all, &t);
	return t;
}

static void count_back(void)
{
	mem_audit_begin(); /* the objects themselves stay */
	mem_audit(images_pages());
	back++;
}

static u32 looks_left = ~0u; /* until it is enough */

static bool is_enough(void)
{
	looks_left -= looks_left != ~0u && looks_left;
	return !looks_left;
}

static void taken_and_read_again(void **state)
{
	struct config_module *m = add(0, KIB(100) + 13, 77);
	u64 total = total_now(), free = free_now();
	struct gmem_taken t;
	struct image i;

	images_start(&config);
	i = image_of_module(m);
	assert_null(i.data);
	assert_int_equal(total_now(), total + 26);
	assert_int_equal(i.object->pages, 26);
	assert_true(free_now() + 6 >= free); /* the object itself */
	free = free_now();
	check_image(m, 77);
	t = take_all(i.object);
	assert_int_equal(t.packed + t.hard, 26);
	assert_true(t.packed >= 13);
	assert_true(free_now() > free);
	check_image(m, 77);
	(void)take_all(i.object);
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 1);
	assert_int_equal(free_now(), free);
	check_image(m, 77);
}

/* What does not pack is on the swap disk, and nothing is there any more when all are back. */
static void back_from_the_disk(void **state)
{
	struct config_module *m = add(0, KIB(100), 77);
	struct swap_stats stats;

	fake_disk_init(100);
	assert_int_equal(swap_attach(&fake_disk, 100, 4711), 0);
	images_start(&config);
	(void)take_all(image_of_module(m).object);
	swap_get_stats(&stats);
	assert_int_equal(stats.used, 12);
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 1);
	check_image(m, 77);
	/* Those that were read keep their blocks. */
	(void)take_all(image_of_module(m).object);
	check_image(m, 77);
	swap_get_stats(&stats);
	assert_int_equal(stats.kept, 12);
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 2);
	/* A page that is lost stays there, and does not keep the others from coming back. */
	(void)take_all(image_of_module(m).object);
	fake_disk_block(gmem_entry(image_of_module(m).object, 1) >> GMEM_PFN_SHIFT)[77] ^= 1;
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 2);
	swap_get_stats(&stats);
	assert_int_equal(stats.used, 1);
	assert_int_equal(gmem_drop_range(image_of_module(m).object, 0, 25, NULL), 0);
	swap_detach();
}

/* Weir ends: nothing is read nor unpacked from then on; but where all are there they are audited. */
static void back_until_it_is_enough(void **state)
{
	struct config_module *m = add(0, KIB(100), 77);
	struct gmem *g;

	fake_disk_init(100);
	assert_int_equal(swap_attach(&fake_disk, 100, 4711), 0);
	images_start(&config);
	g = image_of_module(m).object;
	(void)take_all(g);
	assert_int_equal(g->resident, 0);
	looks_left = 0;
	images_bring_back(count_back, is_enough);
	assert_int_equal(g->resident, 0);
	looks_left = 5;
	images_bring_back(count_back, is_enough);
	assert_int_equal(g->resident, 4);
	assert_int_equal(back, 0);
	looks_left = ~0u;
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 1);
	looks_left = 0;
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 2);
	looks_left = ~0u;
	assert_int_equal(gmem_drop_range(g, 0, 25, NULL), 0);
	swap_detach();
}

static void equal_ones_are_one(void **state)
{
	struct config_module *a = add(0, KIB(64) + 1, 5), *b = add(1, KIB(64) + 1, 5);
	struct config_module *other = add(1, KIB(64) + 1, 6), *less = add(2, KIB(64), 5);
	u64 total = total_now(), free = free_now();

	images_start(&config);
	assert_ptr_equal(image_of_module(a).object, image_of_module(b).object);
	assert_ptr_not_equal(image_of_module(a).object, image_of_module(other).object);
	assert_ptr_not_equal(image_of_module(a).object, image_of_module(less).object);
	assert_int_equal(total_now(), total + 17 + 17 + 17 + 16);
	assert_true(free_now() >= free + 17 - 9);
	assert_int_equal(images_pages(), 17 + 17 + 16);
	(void)take_all(image_of_module(a).object);
	check_image(b, 5);
	check_image(a, 5);
	check_image(other, 6);
	check_image(less, 5);
}

/* Watermarks are those of all memory, modules' too: what was too much of the rest may be had. */
static void watermarks_of_all_memory(void **state)
{
	struct reclaim_options o = {.min = 1, .low = 2, .high = total_now() / 2 + 8, .tax = 75};

	assert_int_equal(reclaim_init(&o), 0);
	assert_true(watermarks.high > 2 && watermarks.high < o.high);
	(void)add(0, KIB(80), 5);
	images_start(&config);
	assert_int_equal(watermarks.min, 1);
	assert_int_equal(watermarks.high, o.high);
	o.high = total_now() / 2 + 1;
	reclaim_set_watermarks(&o);
	reclaim_memory_is_known();
	assert_true(watermarks.min > 1 && watermarks.high < o.high);
}

/* Beside as many VMs: pages of each are taken, and each counts as promised. */
static void as_many_as_there_can_be(void **state)
{
	static struct reclaim_target vms[CONFIG_VMS_MAX];
	const struct reclaim_terms none = {.max = ~0ull, .shares = 1};
	struct config_module *m[BOOT_MODULES_MAX];
	struct gmem *ram[CONFIG_VMS_MAX];
	struct reclaim_room room;

	for (u32 i = 0; i < BOOT_MODULES_MAX; i++)
		m[i] = add((int)(i % CONFIG_VMS_MAX), KIB(16), 1000 + i);
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++) {
		assert_int_equal(gmem_create(16, &ram[i]), 0);
		reclaim_add(&vms[i], ram[i], &none);
	}
	images_start(&config);
	reclaim_get_room(&room);
	assert_int_equal(room.promised, 4 * BOOT_MODULES_MAX);
	watermarks.min = watermarks.low = watermarks.high = free_now() + 1000;
	watermarks.wake = reclaim_wake;
	for (u32 i = 0; i < 100; i++)
		(void)reclaim_help(NULL, 0);
	memset(&watermarks, 0, sizeof(watermarks));
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++) {
		struct image image = image_of_module(m[i]);

		assert_int_equal(image.object->resident, 2); /* which do not pack */
		check_image(m[i], 1000 + i);
	}
	images_bring_back(count_back, is_enough);
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++) {
		reclaim_remove(&vms[i]);
		gmem_unref(ram[i]);
	}
}

/* Of a VM that will not start, and of none. */
static void nobodys_are_released(void **state)
{
	u64 free = free_now();

	add(-1, KIB(40), 1);
	add(0, KIB(20), 2);
	config.vms[0].refused = true;
	images_start(&config);
	assert_int_equal(free_now(), free + 15);
}

static void look_at(void *module)
{
	(void)image_of_module(module);
}

/* Those of a VM that does not start again: at once, or with the last VM that needs an equal one. */
static void released_by_the_last(void **state)
{
	struct config_module *own = add(0, KIB(40) + 1, 4), *a = add(0, KIB(64) + 1, 5);
	struct config_module *twice = add(0, KIB(64) + 1, 5), *b = add(1, KIB(64) + 1, 5);
	struct config_module *kept = add(1, KIB(20), 6), *stays = add(2, KIB(20), 6);
	struct reclaim_room room;
	u64 free;

	images_start(&config);
	assert_int_equal(images_pages(), 11 + 17 + 5);
	free = free_now();
	assert_int_equal(images_release(&config.vms[0]), KIB(40) + 1);
	assert_true(free_now() >= free + 11);
	assert_int_equal(images_pages(), 17 + 5);
	check_image(b, 5);
	assert_ptr_equal(image_of_module(a).object, image_of_module(twice).object);
	reclaim_get_room(&room);
	assert_int_equal(room.promised, 17 + 5);
	/* Whatever became of its pages. */
	(void)take_all(image_of_module(b).object);
	assert_int_equal(images_release(&config.vms[1]), KIB(64) + 1);
	assert_int_equal(images_pages(), 5);
	reclaim_get_room(&room);
	assert_int_equal(room.promised, 5);
	assert_ptr_equal(image_of_module(kept).object, image_of_module(stays).object);
	check_image(stays, 6);
	/* Nobody reads what is not there. */
	assert_true(hosted_catch_panic(look_at, own));
	assert_true(hosted_catch_panic(look_at, twice));
	assert_true(hosted_catch_panic(look_at, b));
	images_bring_back(count_back, is_enough);
	assert_int_equal(back, 1);
	check_image(kept, 6);
}

/* One that has no object is where GRUB put it, for good. */
static void nothing_to_release(void **state)
{
	struct config_module *low;
	u64 free;

	next_at = PAGE_SIZE;
	low = add(0, KIB(9), 3);
	images_start(&config);
	free = free_now();
	assert_int_equal(images_release(&config.vms[0]), 0);
	assert_int_equal(free_now(), free);
	check_image(low, 3);
}

/* GRUB puts small ones there under UEFI. That memory has no frames: it stays as it is, of whomever. */
static void below_1_mib(void **state)
{
	struct config_module *twin = add(1, KIB(9), 3), *low;
	u64 total = total_now();

	next_at = PAGE_SIZE;
	low = add(1, KIB(9), 3);
	add(-1, KIB(40), 1);
	add(0, KIB(20), 2);
	config.vms[0].refused = true;
	hosted_log_reset();
	images_start(&config);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	assert_int_equal(hosted_log_count(LOG_INFO), 0); /* nothing was released */
	assert_int_equal(total_now(), total + 3);
	assert_ptr_equal(image_of_module(low).data, phys_to_virt(low->start));
	check_image(low, 3);
	check_image(twin, 3);
}

/* Without memory for an object it stays where it is, and is read there. */
static void no_memory_for_an_object(void **state)
{
	struct config_module *m = add(0, KIB(20), 3);

	for (u64 n = 1;; n++) {
		struct image i;

		hosted_fail_after(n);
		images_start(&config);
		i = image_of_module(m);
		check_image(m, 3);
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		assert_ptr_equal(i.data, phys_to_virt(m->start));
	}
	hosted_fail_after(0);
	assert_non_null(image_of_module(m).object);
}

/* A page that is away and for which there is no memory: the read says so, and succeeds later. */
static void no_memory_to_read(void **state)
{
	struct config_module *m = add(0, KIB(20), 3);
	struct image i;
	u64 word;

	images_start(&config);
	i = image_of_module(m);
	(void)take_all(i.object);
	watermarks.min = watermarks.low = watermarks.high = 1u << 20;
	assert_int_equal(image_read(&i, 0, &word, 8), ERR_NOMEM);
	watermarks.min = watermarks.low = watermarks.high = 0;
	check_image(m, 3);
}

/* The module goes where another one is, or within a page of its. */
static struct config_module *add_at(int vm, u64 at, u64 size)
{
	u64 next = next_at;
	struct config_module *m;

	next_at = MODULES_TO - KIB(64); /* what it would hold is written elsewhere */
	m = add(vm, size, 1);
	boot_info.modules[boot_info.module_count - 1].start = HPA(at);
	if (m)
		m->start = HPA(at);
	next_at = next;
	return m;
}

/* What GRUB says of its modules is not believed: no frame is given away that holds something else. */
static void malformed_places(void **state)
{
	u64 total = total_now(), alone_at;
	struct config_module *m[6];

	m[0] = add(0, KIB(20), 1);
	m[1] = add_at(1, m[0]->start.v, KIB(20)); /* the same one twice */
	add_at(-1, m[0]->start.v + KIB(8), KIB(4));
	m[2] = add(0, KIB(9), 2);
	m[3] = add_at(0, m[2]->start.v + KIB(9), 512); /* in its last page */
	m[4] = add(0, KIB(8), 3);
	boot_info.image_start = HPA(m[4]->start.v + KIB(4));
	boot_info.image_end = HPA(m[4]->start.v + KIB(64));
	next_at = MODULES_AT + MIB(1);
	alone_at = next_at;
	m[5] = add(0, KIB(8), 4);
	images_start(&config);
	for (u32 i = 0; i < 5; i++)
		assert_ptr_equal(image_of_module(m[i]).data, phys_to_virt(m[i]->start));
	assert_int_equal(m[5]->start.v, alone_at);
	assert_non_null(image_of_module(m[5]).object);
	assert_int_equal(total_now(), total + 2);
	check_image(m[0], 1);
	check_image(m[2], 2);
	check_image(m[5], 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(malformed_places, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_and_read_again, setup, teardown),
		cmocka_unit_test_setup_teardown(back_from_the_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(back_until_it_is_enough, setup, teardown),
		cmocka_unit_test_setup_teardown(equal_ones_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(watermarks_of_all_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(as_many_as_there_can_be, setup, teardown),
		cmocka_unit_test_setup_teardown(nobodys_are_released, setup, teardown),
		cmocka_unit_test_setup_teardown(released_by_the_last, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_to_release, setup, teardown),
		cmocka_unit_test_setup_teardown(below_1_mib, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_for_an_object, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_to_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
