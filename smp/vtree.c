/* SPDX-License-Identifier: MIT */
#include "smp/vtree.h"
#include "kernel/base/panic.h"

void vtree_init(struct vtree *tree, u32 seed)
{
	*tree = (struct vtree){.seed = seed | 1};
}

/* xorshift: never 0 from a seed that is not. */
static u32 draw(struct vtree *tree)
{
	tree->seed ^= tree->seed << 13;
	tree->seed ^= tree->seed >> 17;
	tree->seed ^= tree->seed << 5;
	return tree->seed;
}

static bool before(const struct vnode *a, const struct vnode *b)
{
	if (a->key != b->key)
		return (s64)(a->key - b->key) < 0;
	return a->order < b->order;
}

/* Those of `at` that come before n, and those that come after. */
static void split(struct vnode *at, const struct vnode *n, struct vnode **low, struct vnode **high)
{
	while (at) {
		if (before(at, n)) {
			*low = at;
			low = &at->right;
			at = at->right;
		} else {
			*high = at;
			high = &at->left;
			at = at->left;
		}
	}
	*low = *high = NULL;
}

void vtree_insert(struct vtree *tree, struct vnode *n, u64 key)
{
	struct vnode **at = &tree->root;

	n->key = key;
	n->order = tree->inserted++;
	n->priority = draw(tree);
	while (*at && (*at)->priority >= n->priority)
		at = before(*at, n) ? &(*at)->right : &(*at)->left;
	split(*at, n, &n->left, &n->right);
	*at = n;
}

void vtree_remove(struct vtree *tree, struct vnode *n)
{
	struct vnode **at = &tree->root, *low = n->left, *high = n->right;

	while (*at && *at != n)
		at = before(*at, n) ? &(*at)->right : &(*at)->left;
	BUG_ON(!*at);
	while (low && high) {
		if (low->priority >= high->priority) {
			*at = low;
			at = &low->right;
			low = low->right;
		} else {
			*at = high;
			at = &high->left;
			high = high->left;
		}
	}
	*at = low ? low : high;
	n->left = n->right = NULL;
}

struct vnode *vtree_first(const struct vtree *tree)
{
	struct vnode *n = tree->root;

	while (n && n->left)
		n = n->left;
	return n;
}

struct vnode *vtree_next(const struct vtree *tree, const struct vnode *n)
{
	struct vnode *at = tree->root, *found = NULL;

	while (at) {
		if (before(n, at)) {
			found = at;
			at = at->left;
		} else {
			at = at->right;
		}
	}
	return found;
}
