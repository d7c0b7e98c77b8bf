/* SPDX-License-Identifier: MIT */
/*
 * Where contents that several pages may have are found (mem/share.c): buckets of ten places, a cache
 * line each. A key leads to two of them (Azar et al., Balanced Allocations, STOC 1994): contents go to
 * the emptier one, and where both are full something there may move to its own other one. So with
 * four places of five taken hardly any contents find none. Linear hashing (Litwin, VLDB 1980): the table
 * grows and shrinks by one bucket at a time, so that nobody ever waits for a whole one to be moved.
 *
 * Keys of one lock stay with it whatever the number of buckets: while it is held their buckets are the
 * same. Thread context. LOCK_SHARE; what changes the number also takes LOCK_ZONE, apart from it.
 */
#ifndef MEM_SHARE_TABLE_H
#define MEM_SHARE_TABLE_H

#include "kernel/base/types.h"
#include "smp/spinlock.h"

#define SHARE_PLACES	10u /* of a bucket */
#define SHARE_HASH_BITS 48  /* of a key; the group is above them */

/* No place is more than the last one. ERR_NOMEM: there is no table, and there must be no keys. */
int share_table_init(u64 last_place);
bool share_table_is_there(void);

struct spinlock *share_lock_of(u64 key);

/* Under the key's lock. A place that has the key, and is the last to be taken for others now; 0: none. */
u64 share_table_find(u64 key);
/* Under the key's lock. Nothing where the place was lost to others. */
void share_table_remove(u64 key, u64 place);
/* Holding no lock of it. Where both buckets are full others lose theirs: such as nobody found, if any. */
void share_table_add(u64 key, u64 place);
/* Holding no lock of it, after some were removed: makes the table smaller. */
void share_table_fit(void);

/* Bytes; places that are taken. */
u64 share_table_size(void);
u64 share_table_taken(void);

/* --- mem/share.c --- */

/* The key of what is there. Under its lock. */
u64 share_key_at(u64 place);
/* Contents that lost their place to others. */
void share_count_evicted(void);

#endif
