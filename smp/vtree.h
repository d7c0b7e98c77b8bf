/* SPDX-License-Identifier: MIT */
/*
 * Nodes ordered by a key that may wrap: two keys are never half the range apart. Nodes of equal keys
 * come in the order they were inserted. A treap: each node draws a priority, and the tree is the one
 * that inserting in the order of priorities would give, so that its depth is logarithmic whatever
 * the order of keys. Pure; no lock of its own.
 */
#ifndef SMP_VTREE_H
#define SMP_VTREE_H

#include "kernel/base/types.h"

struct vnode {
	u64 key;
	u64 order; /* among equal keys */
	u32 priority;
	struct vnode *left, *right;
};

struct vtree {
	struct vnode *root;
	u64 inserted; /* how many ever were: the next one's order */
	u32 seed;
};

void vtree_init(struct vtree *tree, u32 seed);
void vtree_insert(struct vtree *tree, struct vnode *n, u64 key);
void vtree_remove(struct vtree *tree, struct vnode *n); /* it is in the tree */
struct vnode *vtree_first(const struct vtree *tree);	/* the least key, or NULL */
/* The one after n, which is in the tree, or NULL. */
struct vnode *vtree_next(const struct vtree *tree, const struct vnode *n);

#endif
