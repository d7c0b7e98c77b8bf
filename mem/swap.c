/* SPDX-License-Identifier: MIT */
#include "mem/swap.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/swap_blocks.h"
#include "mem/watermark.h"
#include "smp/timer.h"

enum op_state {
	OP_FREE,
	OP_READING,
	OP_WRITING,    /* the page may be taken back */
	OP_GIVEN_BACK, /* it was: entry and frame are not the op's any more */
	OP_SETTLING,   /* written; the entry is about to say so */
};

/* One page on its way. */
struct op {
	struct swap_request request;
	struct list link;    /* lock: free_ops or busy_ops */
	enum op_state state; /* lock */
	/* set while it is under way */
	struct gmem *g;
	u64 index;
	u64 *e;
	u64 entry; /* as it was claimed */
	u64 begun_ns;
	bool ahead; /* nobody asked for it */
};

static struct spinlock lock = SPINLOCK_INIT("swap", LOCK_SWAP);
static struct op ops[SWAP_REQUESTS];
static struct list free_ops, busy_ops; /* lock */
static struct swap_stats stats;	       /* lock */
static u32 write_errors_in_row;	       /* lock */

static struct swap_device *device; /* atomic */
static bool given_up;		   /* atomic: nothing is written any more */
/* atomic: ops that nobody has laid claim to */
static u32 spare;
static u32 writing;
static u64 written; /* writes that ended */

/* Who waits for an op, for a write to end, for an object to have none. */
static struct wait_queue room = WAIT_QUEUE_INIT(room);
static struct wait_queue progress = WAIT_QUEUE_INIT(progress);
static struct wait_queue idle = WAIT_QUEUE_INIT(idle);

static u64 block_of(u64 entry)
{
	return entry >> GMEM_PFN_SHIFT;
}

/* --- Ops ------------------------------------------------------------------------------------- */

/* An op of which at least so many others are left. */
static bool reserve(u32 leave)
{
	u32 n = __atomic_load_n(&spare, __ATOMIC_RELAXED);

	do {
		if (n <= leave)
			return false;
	} while (!__atomic_compare_exchange_n(&spare, &n, n - 1, false, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

static void unreserve(void)
{
	__atomic_fetch_add(&spare, 1, __ATOMIC_RELEASE);
	/* All: one of them may wait for every op to end, and would keep the place from the next. */
	wait_wake_all(&room);
}

/* Of one who has reserved it. It is under way from now on, and the object does not go meanwhile. */
static struct op *begin_op(struct gmem *g, u64 index, u64 *e, u64 entry, enum op_state state)
{
	struct op *op;

	__atomic_fetch_add(&g->swapping, 1, __ATOMIC_RELAXED);
	spin_lock(&lock);
	op = list_first(&free_ops, struct op, link);
	list_del(&op->link);
	list_add_tail(&op->link, &busy_ops);
	op->g = g;
	op->index = index;
	op->e = e;
	op->entry = entry;
	op->begun_ns = clock_ns();
	op->ahead = false;
	op->state = state;
	spin_unlock(&lock);
	return op;
}

/* The last that is done for the object: it may be gone on return. */
static void release_object(struct gmem *g)
{
	if (__atomic_sub_fetch(&g->swapping, 1, __ATOMIC_ACQ_REL) == 0)
		wait_wake_all(&idle);
}

static void end_op(struct op *op)
{
	spin_lock(&lock);
	op->state = OP_FREE;
	op->g = NULL;
	list_del(&op->link);
	list_add_tail(&op->link, &free_ops);
	spin_unlock(&lock);
	unreserve();
}

void swap_forget(struct gmem *g)
{
	wait_event(&idle, __atomic_load_n(&g->swapping, __ATOMIC_ACQUIRE) == 0);
}

/* --- Writing --------------------------------------------------------------------------------- */

static bool may_write(void)
{
	return __atomic_load_n(&device, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&given_up, __ATOMIC_RELAXED) && swap_blocks_free();
}

static bool has_room(void)
{
	return __atomic_load_n(&spare, __ATOMIC_RELAXED) > SWAP_REQUESTS - SWAP_WRITES_MAX;
}

bool swap_takes(void)
{
	return may_write() && has_room();
}

bool swap_is_busy(void)
{
	return may_write() && !has_room();
}

static void write_ended(int err, u64 took)
{
	bool give_up = false;

	spin_lock(&lock);
	stats.writes += !err;
	stats.write_ns += took;
	stats.write_errors += err != 0;
	write_errors_in_row = err ? write_errors_in_row + 1 : 0;
	if (write_errors_in_row >= SWAP_WRITE_ERRORS)
		give_up = !__atomic_exchange_n(&given_up, true, __ATOMIC_RELAXED);
	spin_unlock(&lock);
	if (give_up)
		log_error("swap: %u pages in a row could not be written: no more are; those that "
			  "are on the disk are still read",
			  SWAP_WRITE_ERRORS);
}

/* The op's block is free, or not worth being used again. */
static void drop_block(u64 block, int err)
{
	if (err)
		swap_block_retire(block);
	else
		swap_block_put(block);
}

/* Whether the entry is still the op's to settle. */
static bool take_settling(struct op *op)
{
	bool mine;

	spin_lock(&lock);
	mine = op->state == OP_WRITING;
	if (mine)
		op->state = OP_SETTLING;
	spin_unlock(&lock);
	return mine;
}

static void finish_write(struct op *op, int err)
{
	u64 block = op->request.block;
	struct gmem *g = op->g;

	if (!take_settling(op)) {
		drop_block(block, err);
	} else if (err) {
		drop_block(block, err);
		gmem_settle(g, op->index, op->entry);
		release_object(g);
	} else {
		frame_free(gmem_entry_pfn(op->entry), 0);
		gmem_settle(g, op->index,
			    block << GMEM_PFN_SHIFT | gmem_stamp_bits(g) | GMEM_SWAPPED);
		__atomic_fetch_add(&g->taken, 1, __ATOMIC_RELAXED);
		release_object(g);
	}
	end_op(op);
	__atomic_fetch_sub(&writing, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&written, 1, __ATOMIC_RELEASE);
	wait_wake_all(&progress);
}

static void write_done(struct swap_request *r)
{
	struct op *op = container_of(r, struct op, request);

	write_ended(r->err, clock_ns() - op->begun_ns);
	finish_write(op, r->err);
}

bool swap_write(struct gmem *g, u64 index, u64 *e, u64 entry, struct list *batch)
{
	void *page = pfn_to_virt(gmem_entry_pfn(entry));
	struct op *op;
	u64 block;

	if (!swap_takes() || !reserve(SWAP_REQUESTS - SWAP_WRITES_MAX))
		return false;
	block = swap_block_get();
	if (!block) {
		unreserve();
		return false;
	}
	/* Before anybody can take the page back and write to it. */
	swap_block_sum(block, page);
	__atomic_fetch_add(&writing, 1, __ATOMIC_RELAXED);
	op = begin_op(g, index, e, entry, OP_WRITING);
	op->request = (struct swap_request){
		.block = block, .page = page, .write = true, .done = write_done};
	list_add_tail(&op->request.link, batch);
	/* Who marked it before the op was to be found has looked for it in vain. */
	if (gmem_entry_load(e) & GMEM_WANTED)
		swap_give_back(g, index);
	return true;
}

/* What was given back by now need not be written. */
static void drop_given_back(struct list *batch)
{
	struct swap_request *r, *next;

	list_for_each_entry_safe (r, next, batch, link) {
		struct op *op = container_of(r, struct op, request);
		bool given_back;

		spin_lock(&lock);
		given_back = op->state == OP_GIVEN_BACK;
		spin_unlock(&lock);
		if (!given_back)
			continue;
		list_del(&r->link);
		finish_write(op, 0);
	}
}

void swap_submit(struct list *batch)
{
	struct swap_device *d = __atomic_load_n(&device, __ATOMIC_ACQUIRE);

	drop_given_back(batch);
	if (!list_empty(batch))
		d->submit(d, batch);
}

void swap_give_back(struct gmem *g, u64 index)
{
	struct op *op, *found = NULL;
	u64 entry = 0;

	if (!__atomic_load_n(&device, __ATOMIC_ACQUIRE))
		return;
	spin_lock(&lock);
	list_for_each_entry (op, &busy_ops, link) {
		if (op->state == OP_WRITING && op->g == g && op->index == index)
			found = op;
	}
	if (found) {
		found->state = OP_GIVEN_BACK;
		entry = found->entry;
		stats.given_back++;
	}
	spin_unlock(&lock);
	if (!found)
		return;
	gmem_settle(g, index, (entry & ~GMEM_GEN_MASK) | gmem_generation_bits(g));
	release_object(g);
}

bool swap_wait_written(u64 deadline_ns)
{
	u64 before = __atomic_load_n(&written, __ATOMIC_ACQUIRE);

	if (!__atomic_load_n(&writing, __ATOMIC_RELAXED))
		return false;
	(void)wait_event_until(&progress, __atomic_load_n(&written, __ATOMIC_ACQUIRE) != before,
			       deadline_ns);
	return true;
}

/* --- Reading --------------------------------------------------------------------------------- */

void swap_free(u64 entry)
{
	drop_block(block_of(entry), entry & GMEM_LOST);
}

static void read_ended(const struct op *op, int err, u64 took)
{
	spin_lock(&lock);
	if (op->ahead)
		stats.read_ahead++;
	else
		stats.reads++;
	stats.read_ns += took;
	stats.read_most_ns = max(stats.read_most_ns, took);
	stats.damaged += err == ERR_CORRUPT;
	stats.read_errors += err && err != ERR_CORRUPT;
	spin_unlock(&lock);
}

/*
 * Where nobody asked for it the next who does tries again; else the page is lost, and who touches
 * it is told so.
 */
static u64 entry_of_failed(const struct op *op, int err)
{
	if (op->ahead)
		return op->entry;
	return op->entry | GMEM_LOST | (err == ERR_CORRUPT ? GMEM_DAMAGED : 0);
}

/* It did not pack when it went: while it is not written it goes straight back the next time. */
static u64 entry_of_read(const struct op *op, pfn_t pfn)
{
	struct gmem *g = op->g;
	bool near = gmem_refault_is_near(g, op->entry);

	__atomic_fetch_add(&g->fetched, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&g->refaults, near, __ATOMIC_RELAXED);
	return pfn.v << GMEM_PFN_SHIFT | GMEM_HARD | GMEM_GOT_PAGE |
	       (near ? gmem_generation_bits(g) : gmem_cold_bits(g));
}

static void read_done(struct swap_request *r)
{
	struct op *op = container_of(r, struct op, request);
	pfn_t pfn = virt_to_pfn(r->page);
	struct gmem *g = op->g;
	int err = r->err;

	if (!err && !swap_block_sum_is(r->block, r->page))
		err = ERR_CORRUPT;
	read_ended(op, err, clock_ns() - op->begun_ns);
	if (err) {
		frame_free(pfn, 0);
		gmem_settle(g, op->index, entry_of_failed(op, err));
	} else {
		swap_block_put(r->block);
		gmem_settle(g, op->index, entry_of_read(op, pfn));
	}
	release_object(g);
	end_op(op);
}

/* Of one who has reserved an op. ERR_AGAIN: the entry has changed; ERR_NOMEM. */
static int begin_read(struct gmem *g, u64 index, u64 *e, u64 entry, bool ahead, struct list *batch)
{
	u64 was = entry;
	struct op *op;
	pfn_t pfn;

	if (frame_alloc(0, 0, &pfn))
		return ERR_NOMEM;
	if (!gmem_entry_take(g, e, &was)) {
		frame_free(pfn, 0);
		return ERR_AGAIN;
	}
	op = begin_op(g, index, e, entry, OP_READING);
	op->ahead = ahead;
	op->request = (struct swap_request){
		.block = block_of(entry), .page = pfn_to_virt(pfn), .done = read_done};
	list_add_tail(&op->request.link, batch);
	return 0;
}

/*
 * Neighbours that lie behind it on the disk, too, while memory is not short and the object may have
 * them: none of those before is counted yet.
 */
static void read_ahead(struct gmem *g, u64 index, u64 *e, u64 entry, struct list *batch)
{
	u64 left = min(g->pages - index, GMEM_LARGE_PAGES - index % GMEM_LARGE_PAGES);

	for (u64 i = 1; i < min(left, (u64)SWAP_READ_AHEAD); i++) {
		u64 next = gmem_entry_load(e + i);

		if (gmem_entry_state(next) != GMEM_SWAPPED || (next & GMEM_LOST) ||
		    block_of(next) != block_of(entry) + i || !gmem_may_grow(g, i + 1) ||
		    watermark_free() < watermarks.low + SWAP_READ_AHEAD)
			return;
		if (!reserve(SWAP_READ_AHEAD))
			return;
		if (begin_read(g, index + i, e + i, next, true, batch)) {
			unreserve();
			return;
		}
	}
}

int swap_read(struct gmem *g, u64 index, u64 *e, u64 entry)
{
	struct list batch = LIST_INIT(batch);
	int err;

	if (entry & GMEM_LOST) {
		err = entry & GMEM_DAMAGED ? ERR_CORRUPT : ERR_IO;
		if (g->on_lost)
			g->on_lost(g->on_lost_arg, index, block_of(entry), err);
		return err;
	}
	if (!__atomic_load_n(&device, __ATOMIC_ACQUIRE))
		return ERR_NOTSUP;
	if (!gmem_admits_back(g))
		return ERR_NOMEM;
	wait_event(&room, reserve(0));
	err = begin_read(g, index, e, entry, false, &batch);
	if (err) {
		unreserve();
		return err;
	}
	read_ahead(g, index, e, entry, &batch);
	swap_submit(&batch);
	return ERR_AGAIN;
}

/* --- The device ------------------------------------------------------------------------------ */

int swap_attach(struct swap_device *d, u64 blocks, u64 seed)
{
	int err;

	if (__atomic_load_n(&device, __ATOMIC_RELAXED))
		return ERR_EXIST;
	err = swap_blocks_init(blocks, seed);
	if (err)
		return err;
	list_init(&free_ops);
	list_init(&busy_ops);
	for (u32 i = 0; i < SWAP_REQUESTS; i++)
		list_add_tail(&ops[i].link, &free_ops);
	stats = (struct swap_stats){0};
	write_errors_in_row = 0;
	__atomic_store_n(&given_up, false, __ATOMIC_RELAXED);
	__atomic_store_n(&spare, SWAP_REQUESTS, __ATOMIC_RELEASE);
	__atomic_store_n(&device, d, __ATOMIC_RELEASE);
	return 0;
}

void swap_detach(void)
{
	if (!__atomic_load_n(&device, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&given_up, true, __ATOMIC_RELAXED);
	wait_event(&room, __atomic_load_n(&spare, __ATOMIC_ACQUIRE) == SWAP_REQUESTS);
	__atomic_store_n(&device, NULL, __ATOMIC_RELEASE);
	swap_blocks_end();
}

void swap_audit(void)
{
#ifdef WEIR_DEBUG
	struct swap_stats s;

	if (!__atomic_load_n(&device, __ATOMIC_RELAXED))
		return;
	wait_event(&room, __atomic_load_n(&spare, __ATOMIC_ACQUIRE) == SWAP_REQUESTS);
	swap_get_stats(&s);
	BUG_ON(s.used);
#endif
}

/* --- Statistics ------------------------------------------------------------------------------ */

static const struct stat_desc stat_descs[] = {SWAP_STATS(STAT_DESC)};
STAT_CHECK(swap_stats, stat_descs);

void swap_get_stats(struct swap_stats *out)
{
	struct swap_block_counts counts;

	spin_lock(&lock);
	*out = stats;
	spin_unlock(&lock);
	swap_blocks_count(&counts);
	out->blocks = counts.blocks;
	out->used = counts.used;
	out->bad = counts.bad;
	out->writing = __atomic_load_n(&writing, __ATOMIC_RELAXED);
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
