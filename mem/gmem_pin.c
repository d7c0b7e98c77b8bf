/* SPDX-License-Identifier: MIT */
/* Guest memory objects: pins, which keep a page where it is, and the account that bounds them. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "mem/share.h"

void gmem_set_account(struct gmem *g, struct gmem_account *a)
{
	BUG_ON(g->pins);
	g->account = a ? a : &g->own;
}

/* The pins of a page of 2 MiB are counted on its first frame. */
static struct frame *pinned_frame(const struct gmem *g, pfn_t pfn)
{
	return frame_of(PFN(align_down(pfn.v, gmem_entry_pages(g))));
}

/* The account is that of other objects too, which have locks of their own. */
static bool charge(struct gmem_account *a)
{
	u32 pins = __atomic_load_n(&a->pins, __ATOMIC_RELAXED);

	do {
		if (pins >= a->pins_max)
			return false;
	} while (!__atomic_compare_exchange_n(&a->pins, &pins, pins + 1, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return true;
}

static void uncharge(struct gmem_account *a)
{
	BUG_ON(__atomic_fetch_sub(&a->pins, 1, __ATOMIC_RELAXED) == 0);
}

static bool add_pin(struct frame *f)
{
	u16 pins = __atomic_load_n(&f->pins, __ATOMIC_RELAXED);

	do {
		if (pins == UINT16_MAX)
			return false;
	} while (!__atomic_compare_exchange_n(&f->pins, &pins, pins + 1, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return true;
}

/*
 * A frame that others show too has a count of those who do, and is one more's while it is read: a
 * pin would keep all of them from writing.
 */
static int keep(struct gmem *g, pfn_t pfn, bool own)
{
	if (unlikely(share_is_frame(pfn)))
		return own ? ERR_TOO_HARD : share_ref(pfn);
	if (!add_pin(pinned_frame(g, pfn)))
		return ERR_NOSPC;
	g->pins++;
	return 0;
}

/* The lock keeps gmem_claim from taking the page between the look at it and the pin (R37). */
static int hold_resident(struct gmem *g, u64 index, bool write, bool own, pfn_t *out)
{
	int err;

	spin_lock(&g->lock);
	err = gmem_lookup(g, index, write, out);
	if (!err)
		err = keep(g, *out, own);
	spin_unlock(&g->lock);
	return err;
}

/* own: not in a frame that others show, too. */
static int hold(struct gmem *g, u64 index, bool write, bool own, pfn_t *out)
{
	int err;

	if (index >= g->pages)
		return ERR_RANGE;
	/* A page that was just got may be gone again, or be marked dirty by another: once more. */
	while ((err = hold_resident(g, index, write, own, out)) == ERR_TOO_HARD) {
		bool leave = own && gmem_entry_state(gmem_entry(g, index)) == GMEM_SHARED;

		err = gmem_get_page(g, index, write || leave, out);
		if (err)
			break;
	}
	return err;
}

int gmem_hold(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	return hold(g, index, write, false, out);
}

void gmem_release(struct gmem *g, u64 index, pfn_t pfn, bool dirty)
{
	struct frame *f = pinned_frame(g, pfn);
	u64 *e = index < g->pages ? gmem_entry_find(g, index) : NULL;

	BUG_ON(!f || !e);
	if (unlikely(share_is_frame(pfn))) {
		(void)share_put(NULL, pfn);
		return;
	}
	spin_lock(&g->lock);
	BUG_ON(gmem_page_pfn(g, index, gmem_entry_load(e)).v != pfn.v || !g->pins);
	if (dirty)
		__atomic_fetch_or(e, GMEM_DIRTY, __ATOMIC_RELEASE);
	BUG_ON(__atomic_fetch_sub(&f->pins, 1, __ATOMIC_RELEASE) == 0);
	g->pins--;
	spin_unlock(&g->lock);
}

int gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	int err;

	if (index >= g->pages)
		return ERR_RANGE;
	if (!charge(g->account))
		return ERR_NOSPC;
	err = hold(g, index, write, true, out);
	if (err)
		uncharge(g->account);
	return err;
}

void gmem_unpin(struct gmem *g, u64 index, pfn_t pfn, bool dirty)
{
	gmem_release(g, index, pfn, dirty);
	uncharge(g->account);
}
