/* SPDX-License-Identifier: MIT */
/*
 * Counters that describe themselves. A table names each counter of a group once, with its unit and
 * one English sentence; the storage and the descriptions are both made from it, so none of them can
 * be without the others:
 *
 *	#define POND_STATS(X) \
 *		X(leaps, "count", "Frogs that jumped in.") \
 *		X(depth, "pages", "Pages that hold water now.", STAT_LEVEL)
 *
 *	struct pond_stats { POND_STATS(STAT_FIELD) };
 *	const struct stat_desc pond_stat_descs[] = {POND_STATS(STAT_DESC)};
 *	STAT_CHECK(pond_stats, pond_stat_descs);
 *
 * A counter's full name is scope.group.id, as in vm.alpha.pond.leaps; what belongs to no VM has no
 * scope. Counting is the owner's business and needs nothing of this module: a counter that is hot is
 * kept once for each CPU or vCPU, so that no line of memory is shared, and added up when it is read.
 *
 * Registration and iteration: thread context; both take the lock given to stat_set_lock.
 */
#ifndef KERNEL_BASE_STAT_H
#define KERNEL_BASE_STAT_H

#include "kernel/base/list.h"

#define STAT_NAME_MAX 96 /* of a full name, its end included */

struct stat_desc {
	const char *name;     /* a-z 0-9 _ */
	const char *unit;     /* one word in the plural: count, pages, ns */
	const char *sentence; /* begins with a capital, ends with a full stop */
	bool level;	      /* it falls, too: what there is now, not what has happened */
};

/*
 * Makers of a table's rows. Unit and sentence are literals, and not empty; a row of what is a level
 * has STAT_LEVEL after them.
 */
#define STAT_LEVEL true
#define STAT_FIELD(id, unit, sentence, ...)                                                \
	u64 id;                                                                            \
	static_assert(sizeof("" unit) > 1 && sizeof("" sentence) > 1, "a counter needs a " \
								      "unit and a sentence");
#define STAT_DESC(id, unit, sentence, ...) {#id, "" unit, "" sentence, __VA_ARGS__ + 0},
#define STAT_CHECK(type, descs)                                               \
	static_assert(sizeof(struct type) == ARRAY_SIZE(descs) * sizeof(u64), \
		      "every field of the group has its row")

/* The i-th of a structure of STAT_FIELDs, read as one word. A `read` for groups kept in one place. */
u64 stat_read_field(const void *owner, u32 i);
/* The sum of n such structures, the first at `first` and each `stride` bytes after the last one. */
u64 stat_sum_field(const void *first, size_t stride, u32 n, u32 i);

struct stat_group {
	struct list link;  /* the registry's */
	const char *scope; /* "vm.alpha", "node.0"; "" for the machine. Stays while registered */
	const char *name;
	const struct stat_desc *descs;
	u32 count;
	/* Value of descs[i]; thread context, under the registry's lock: may sleep, not register. */
	u64 (*read)(const void *owner, u32 i);
	const void *owner;
};

/*
 * What the floors above lend: before it is called there is one CPU and no lock is needed. The lock
 * is one that may be slept under (LOCK_STAT).
 */
void stat_set_lock(void (*lock)(void), void (*unlock)(void));

/* The caller filled the group and keeps it until it has unregistered it. A row that breaks the
 * rules above, or a group whose name its scope has already, is a bug. */
void stat_register(struct stat_group *g);
void stat_unregister(struct stat_group *g); /* no-op for one that never was registered: zeroed */

struct stat_value {
	const char *scope; /* the group's */
	const char *group;
	const char *name; /* full; for the time of the call */
	u64 value;
	const struct stat_desc *desc;
};

/*
 * Calls fn for every counter whose full name fits the pattern, in the order of registration. In a
 * pattern * stands for any text, dots too, and ? for one character; NULL fits all. A VM's name may
 * have dots, so more than the group that is named may fit vm.*.exits.*: what is only right for one
 * group has to look at v->group. Returns how many fitted. fn may sleep and log, but not register.
 */
u32 stat_for_each(const char *pattern, void (*fn)(const struct stat_value *v, void *arg),
		  void *arg);

/* The names alone: no value is read. */
void stat_for_each_name(void (*fn)(const char *name, void *arg), void *arg);

/*
 * Family by family: calls fn for a counter of one scope, then for the same one of every other,
 * before it goes on to the next. first: a family begins.
 */
void stat_for_each_family(void (*fn)(const struct stat_value *v, bool first, void *arg), void *arg);

#endif
