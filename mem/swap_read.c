/* SPDX-License-Identifier: MIT */
/* Pages that come back from the swap disk, and those that keep their block there. */
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/swap_private.h"
#include "mem/watermark.h"
#include "smp/timer.h"

void swap_free(u64 entry)
{
	swap_drop_block(swap_block_of(entry), entry & GMEM_LOST);
}

static void read_ended(const struct swap_op *op, int err, u64 took)
{
	spin_lock(&swap.lock);
	if (op->ahead)
		swap.stats.read_ahead++;
	else
		swap.stats.reads++;
	swap.stats.read += took;
	swap.stats.read_most = max(swap.stats.read_most, took);
	swap.stats.damaged += err == ERR_CORRUPT;
	swap.stats.read_errors += err && err != ERR_CORRUPT;
	spin_unlock(&swap.lock);
	/* Several lie beside one another and fail together, and nobody may want them: they are one. */
	if (!err || !op->ahead || !__atomic_load_n(&swap.read_errors, __ATOMIC_RELAXED))
		swap_count_error(&swap.read_errors, err);
}

/*
 * Where nobody asked for it the next who does tries again; else the page is lost, and who touches
 * it is told so.
 */
static u64 entry_of_failed(const struct swap_op *op, int err)
{
	if (op->ahead)
		return op->entry;
	return op->entry | GMEM_LOST | (err == ERR_CORRUPT ? GMEM_DAMAGED : 0);
}

/*
 * While it is not written it goes straight back the next time: to its block if it keeps that, to
 * another if it does not pack.
 */
static u64 place_of_read(const struct swap_op *op, pfn_t pfn)
{
	u64 place = pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE;

	if (op->keep && swap_blocks_plenty()) {
		frame_of(pfn)->kept = op->entry & ~GMEM_STAMP_MASK;
		__atomic_fetch_add(&swap.kept, 1, __ATOMIC_RELAXED);
		return place | GMEM_KEPT | GMEM_HARD;
	}
	swap_block_put(op->request.block);
	return place | (op->entry & GMEM_PACKS ? 0 : GMEM_HARD);
}

static u64 entry_of_read(const struct swap_op *op, pfn_t pfn)
{
	__atomic_fetch_add(&op->g->fetched, 1, __ATOMIC_RELAXED);
	return place_of_read(op, pfn) | gmem_come_back(op->g, op->entry);
}

u64 swap_put_back(pfn_t pfn)
{
	__atomic_fetch_sub(&swap.kept, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&swap.put_back, 1, __ATOMIC_RELAXED);
	return frame_of(pfn)->kept;
}

bool swap_kept_packs(pfn_t pfn)
{
	return frame_of(pfn)->kept & GMEM_PACKS;
}

void swap_unkeep(u64 entry)
{
	if (gmem_entry_state(entry) != GMEM_GOT_PAGE || !(entry & GMEM_KEPT))
		return;
	__atomic_fetch_sub(&swap.kept, 1, __ATOMIC_RELAXED);
	swap_block_put(swap_block_of(frame_of(gmem_entry_pfn(entry))->kept));
}

static void read_done(struct swap_request *r)
{
	struct swap_op *op = container_of(r, struct swap_op, request);
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
		gmem_settle(g, op->index, entry_of_read(op, pfn));
	}
	swap_release_object(g);
	swap_op_end(op);
}

/* How a page is read. */
enum reading {
	TO_BE_READ,
	TO_BE_WRITTEN,
	AHEAD,
};

/* Of one who has reserved an op. ERR_AGAIN: the entry has changed; ERR_NOMEM. */
static int begin_read(struct gmem *g, u64 index, u64 *e, u64 entry, enum reading how,
		      struct list *batch)
{
	u64 was = entry;
	struct swap_op *op;
	pfn_t pfn;

	if (frame_alloc(0, FRAME_FOR(GUEST), &pfn))
		return ERR_NOMEM;
	if (!gmem_entry_take(g, e, &was)) {
		frame_free(pfn, 0);
		return ERR_AGAIN;
	}
	op = swap_op_begin(g, index, e, entry, OP_READING);
	op->ahead = how == AHEAD;
	op->keep = how != TO_BE_WRITTEN;
	op->request = (struct swap_request){
		.block = swap_block_of(entry), .page = pfn_to_virt(pfn), .done = read_done};
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
		    swap_block_of(next) != swap_block_of(entry) + i || !gmem_may_grow(g, i + 1) ||
		    watermark_free() < watermarks.low + SWAP_READ_AHEAD)
			return;
		if (!swap_op_reserve(false, SWAP_READ_AHEAD))
			return;
		if (begin_read(g, index + i, e + i, next, AHEAD, batch)) {
			swap_op_unreserve(false);
			return;
		}
	}
}

int swap_read(struct gmem *g, u64 index, u64 *e, u64 entry, bool write)
{
	struct list batch = LIST_INIT(batch);
	int err;

	if (entry & GMEM_LOST) {
		err = entry & GMEM_DAMAGED ? ERR_CORRUPT : ERR_IO;
		if (g->on_lost)
			g->on_lost(g->on_lost_arg, index, swap_block_of(entry), err);
		return err;
	}
	if (!__atomic_load_n(&swap.device, __ATOMIC_ACQUIRE))
		return ERR_NOTSUP;
	if (!gmem_admits_back(g, true))
		return ERR_NOMEM;
	wait_event(&swap.room, swap_op_reserve(false, 0));
	err = begin_read(g, index, e, entry, write ? TO_BE_WRITTEN : TO_BE_READ, &batch);
	if (err) {
		swap_op_unreserve(false);
		return err;
	}
	read_ahead(g, index, e, entry, &batch);
	swap_submit(&batch);
	return ERR_AGAIN;
}
