/* SPDX-License-Identifier: MIT */
/*
 * Where contents that several pages may have are found (mem/share.c): buckets of eight places, each a
 * word. Linear hashing (Litwin, VLDB 1980): the table grows and shrinks by one bucket at a time, so that
 * there are some one to three contents to a bucket, and nobody ever waits for a whole one to be moved.
 *
 * Keys of one lock stay with it whatever the number of buckets: while it is held their bucket is the
 * same. Thread context. LOCK_SHARE; what changes the number also takes LOCK_ZONE, apart from it.
 */
#ifndef MEM_SHARE_TABLE_H
#define MEM_SHARE_TABLE_H

#include "kernel/base/types.h"
#include "smp/spinlock.h"

#define SHARE_PLACES	8u /* of a bucket: a cache line */
#define SHARE_HASH_BITS 48 /* of a key; the group is above them */

/* ERR_NOMEM: there is no table, and there must be no keys. */
int share_table_init(void);
bool share_table_is_there(void);

struct spinlock *share_lock_of(u64 key);

/* Under the key's lock: the places of its bucket; and to count one that was free, or comes free. */
u64 *share_bucket_of(u64 key);
void share_count_place(int n);

/* Holding no lock of it, after a place was taken or came free: makes the table larger or smaller. */
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
