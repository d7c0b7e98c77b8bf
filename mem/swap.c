/* SPDX-License-Identifier: MIT */
/* Pages on their way to or from the swap disk, the disk itself, statistics. */
#include "mem/swap_private.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "smp/timer.h"

struct swap_state swap = {
	.lock = SPINLOCK_INIT("swap", LOCK_SWAP),
	.room = WAIT_QUEUE_INIT(swap.room),
	.progress = WAIT_QUEUE_INIT(swap.progress),
	.idle = WAIT_QUEUE_INIT(swap.idle),
};

/* --- Ops ------------------------------------------------------------------------------------- */

static_assert(SWAP_READS_MAX < SWAP_REQUESTS && SWAP_WRITES_MAX < SWAP_REQUESTS,
	      "some are left to each");

static bool take_one(u32 *spare, u32 leave)
{
	u32 n = __atomic_load_n(spare, __ATOMIC_RELAXED);

	do {
		if (n <= leave)
			return false;
	} while (!__atomic_compare_exchange_n(spare, &n, n - 1, false, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

bool swap_op_reserve(bool write, u32 leave)
{
	u32 *of = write ? &swap.spare_writes : &swap.spare_reads;

	if (!take_one(of, leave))
		return false;
	if (take_one(&swap.spare, leave))
		return true;
	__atomic_fetch_add(of, 1, __ATOMIC_RELEASE);
	return false;
}

void swap_op_unreserve(bool write)
{
	__atomic_fetch_add(write ? &swap.spare_writes : &swap.spare_reads, 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&swap.spare, 1, __ATOMIC_RELEASE);
	/* All: one of them may wait for every op to end, and would keep the place from the next. */
	wait_wake_all(&swap.room);
	/* One of a write that was none has made others wait for it. */
	if (write)
		wait_wake_all(&swap.progress);
}

struct swap_op *swap_op_begin(struct gmem *g, u64 index, u64 *e, u64 entry,
			      enum swap_op_state state)
{
	struct swap_op *op;

	__atomic_fetch_add(&g->swapping, 1, __ATOMIC_RELAXED);
	spin_lock(&swap.lock);
	op = list_first(&swap.free_ops, struct swap_op, link);
	list_del(&op->link);
	list_add_tail(&op->link, &swap.busy_ops);
	op->g = g;
	op->index = index;
	op->e = e;
	op->entry = entry;
	op->begun_ns = clock_ns();
	op->ahead = false;
	op->state = state;
	spin_unlock(&swap.lock);
	return op;
}

void swap_release_object(struct gmem *g)
{
	if (__atomic_sub_fetch(&g->swapping, 1, __ATOMIC_ACQ_REL) == 0)
		wait_wake_all(&swap.idle);
}

void swap_op_end(struct swap_op *op)
{
	bool write = op->request.write;

	spin_lock(&swap.lock);
	op->state = OP_FREE;
	op->g = NULL;
	list_del(&op->link);
	list_add_tail(&op->link, &swap.free_ops);
	spin_unlock(&swap.lock);
	swap_op_unreserve(write);
}

void swap_forget(struct gmem *g)
{
	wait_event(&swap.idle, __atomic_load_n(&g->swapping, __ATOMIC_ACQUIRE) == 0);
}

void swap_drop_block(u64 block, bool bad)
{
	if (bad)
		swap_block_retire(block);
	else
		swap_block_put(block);
}

bool swap_is_sound(void)
{
	return __atomic_load_n(&swap.device, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&swap.given_up, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&swap.write_errors, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&swap.read_errors, __ATOMIC_RELAXED);
}

void swap_count_error(u32 *in_row, int err)
{
	bool give_up = false;

	spin_lock(&swap.lock);
	__atomic_store_n(in_row, err ? *in_row + 1 : 0, __ATOMIC_RELAXED);
	if (*in_row >= SWAP_ERRORS_MOST)
		give_up = !__atomic_exchange_n(&swap.given_up, true, __ATOMIC_RELAXED);
	spin_unlock(&swap.lock);
	if (give_up)
		log_error("swap: %u pages in a row could not be %s: no more are written; those "
			  "that are on the disk are still read",
			  SWAP_ERRORS_MOST, in_row == &swap.read_errors ? "read" : "written");
}

/* --- The device ------------------------------------------------------------------------------ */

int swap_attach(struct swap_device *d, u64 blocks, u64 seed)
{
	int err;

	if (__atomic_load_n(&swap.device, __ATOMIC_RELAXED))
		return ERR_EXIST;
	err = swap_blocks_init(blocks, seed);
	if (err)
		return err;
	list_init(&swap.free_ops);
	list_init(&swap.busy_ops);
	for (u32 i = 0; i < SWAP_REQUESTS; i++)
		list_add_tail(&swap.ops[i].link, &swap.free_ops);
	swap.stats = (struct swap_stats){0};
	swap.kept = swap.put_back = 0;
	swap.write_errors = swap.read_errors = 0;
	__atomic_store_n(&swap.given_up, false, __ATOMIC_RELAXED);
	__atomic_store_n(&swap.spare_reads, SWAP_READS_MAX, __ATOMIC_RELAXED);
	__atomic_store_n(&swap.spare_writes, SWAP_WRITES_MAX, __ATOMIC_RELAXED);
	__atomic_store_n(&swap.spare, SWAP_REQUESTS, __ATOMIC_RELEASE);
	__atomic_store_n(&swap.device, d, __ATOMIC_RELEASE);
	return 0;
}

void swap_detach(void)
{
	if (!__atomic_load_n(&swap.device, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&swap.given_up, true, __ATOMIC_RELAXED);
	wait_event(&swap.room, __atomic_load_n(&swap.spare, __ATOMIC_ACQUIRE) == SWAP_REQUESTS);
	__atomic_store_n(&swap.device, NULL, __ATOMIC_RELEASE);
	swap_blocks_end();
}

void swap_audit(void)
{
#ifdef WEIR_DEBUG
	struct swap_stats s;

	if (!__atomic_load_n(&swap.device, __ATOMIC_RELAXED))
		return;
	wait_event(&swap.room, __atomic_load_n(&swap.spare, __ATOMIC_ACQUIRE) == SWAP_REQUESTS);
	swap_get_stats(&s);
	/* What is resident, too, is no page of a VM that is gone. */
	BUG_ON(s.used != s.kept);
#endif
}

/* --- Statistics ------------------------------------------------------------------------------ */

static const struct stat_desc stat_descs[] = {SWAP_STATS(STAT_DESC)};
STAT_CHECK(swap_stats, stat_descs);

void swap_get_stats(struct swap_stats *out)
{
	struct swap_block_counts counts;

	spin_lock(&swap.lock);
	*out = swap.stats;
	spin_unlock(&swap.lock);
	swap_blocks_count(&counts);
	out->blocks = counts.blocks;
	out->used = counts.used;
	out->bad = counts.bad;
	out->writing = __atomic_load_n(&swap.device, __ATOMIC_RELAXED)
			       ? SWAP_WRITES_MAX -
					 __atomic_load_n(&swap.spare_writes, __ATOMIC_RELAXED)
			       : 0;
	out->kept = __atomic_load_n(&swap.kept, __ATOMIC_RELAXED);
	out->put_back = __atomic_load_n(&swap.put_back, __ATOMIC_RELAXED);
}

static u64 read_stat(const void *owner, u32 i)
{
	struct swap_stats s;

	(void)owner;
	swap_get_stats(&s);
	return stat_read_field(&s, i);
}

struct stat_group swap_stat_group = {
	.scope = "",
	.name = "swap",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
