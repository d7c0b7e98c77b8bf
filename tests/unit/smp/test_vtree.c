/* SPDX-License-Identifier: MIT */
/* Against a sorted array: order, ties, removal from anywhere, keys that wrap, and depth. */
/* unit-sources: smp/vtree.c */
#include <cmocka.h>
#include <string.h>
#include "smp/vtree.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"

#define NODES 300

static struct vnode nodes[NODES];
static struct vnode *sorted[NODES];
static u32 count;
static struct vtree tree;

static int setup(void **state)
{
	memset(nodes, 0, sizeof(nodes));
	count = 0;
	vtree_init(&tree, 7);
	return 0;
}

static void insert(struct vnode *n, u64 key)
{
	u32 at = count;

	vtree_insert(&tree, n, key);
	while (at && (s64)(sorted[at - 1]->key - key) > 0)
		at--;
	memmove(&sorted[at + 1], &sorted[at], (count - at) * sizeof(sorted[0]));
	sorted[at] = n;
	count++;
}

static void remove_at(u32 at)
{
	vtree_remove(&tree, sorted[at]);
	count--;
	memmove(&sorted[at], &sorted[at + 1], (count - at) * sizeof(sorted[0]));
}

static u32 depth(const struct vnode *n)
{
	return n ? 1 + max(depth(n->left), depth(n->right)) : 0;
}

static void check(void)
{
	struct vnode *n = vtree_first(&tree);

	for (u32 i = 0; i < count; i++, n = vtree_next(&tree, n))
		assert_ptr_equal(n, sorted[i]);
	assert_null(n);
}

static void equal_keys_keep_their_order(void **state)
{
	for (u32 i = 0; i < 20; i++)
		insert(&nodes[i], 5);
	check();
	for (u32 i = 0; i < 20; i++)
		assert_ptr_equal(sorted[i], &nodes[i]);
}

static void ascending_keys_make_no_list(void **state)
{
	for (u32 i = 0; i < NODES; i++)
		insert(&nodes[i], i);
	check();
	assert_in_range(depth(tree.root), 9, 40);
}

static void keys_may_wrap(void **state)
{
	u64 base = ~0ull - 100;

	for (u32 i = 0; i < 30; i++)
		insert(&nodes[i], base + i * 37 % 211);
	check();
	assert_true(sorted[0]->key > sorted[29]->key);
}

static void random_walk(void **state)
{
	u64 seed = 3, base = ~0ull - 500000;
	bool in[NODES] = {false};

	for (u32 step = 0; step < 30000; step++, base += 50) {
		u32 i = random_below(&seed, NODES);

		if (!in[i]) {
			insert(&nodes[i], base + random_below(&seed, 1000));
			in[i] = true;
		} else {
			u32 at = random_below(&seed, count);

			in[sorted[at] - nodes] = false;
			remove_at(at);
		}
		if (step % 64 == 0)
			check();
	}
	check();
	assert_true(depth(tree.root) < 40);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(equal_keys_keep_their_order),
		TEST(ascending_keys_make_no_list),
		TEST(keys_may_wrap),
		TEST(random_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
