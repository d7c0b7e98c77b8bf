/* SPDX-License-Identifier: MIT */
/*
 * What the files of shadow paging share.
 *
 * A shadow page is one table that the CPU walks. It is the image of a table of the guest's (or, if
 * it is direct, of a stretch of guest-physical memory: the guest has a large page there, or no
 * paging), seen with certain rights. Both are its key: the gfn and the role. So two ways that lead
 * to one table with different rights have a page each (R05).
 *
 *	guest   CR3 -> [ table ] -> [ table ] -> ... -> page
 *	               |            |
 *	shadow  root = [ page  ] -> [ page  ] -> ... -> frame
 *
 * What holds while mmu_lock is not held:
 * - a spte shows what the guest's entry says, or is 0; in a page that is out of step
 *   (shadow_sync.c) what it has said at some time since each vCPU last flushed the address;
 * - a gfn with a page that is not direct has RMAP_TABLE in its word, and no spte lets it be
 *   written, unless all its pages are out of step: RMAP_UNSYNC; its region counts it among what
 *   keeps it from being mapped large;
 * - an entry of level 2 leads to a page of level 1, or maps 2 MiB: then `words` has its large word;
 * - no page has anything of a slot that is gone: the words of its leaves are cleared with them, and
 *   what stands for a table that was in it is gone, too (shadow_slot.c);
 * - no CPU in the guest uses what the tables do not have any more (R13), but for what the guest has
 *   flushed for one vCPU alone: then mmu_flush_is_owed.
 * So the guest's writes to its other tables all come to Weir.
 *
 * mmu_lock is held for whatever changes here, by sweeps of the reverse maps too. It may be held for
 * long, so interrupts are left as they are: on, but in exit context. Guest memory is read under it
 * only where that does not sleep (R06).
 */
#ifndef MMU_SHADOW_PRIVATE_H
#define MMU_SHADOW_PRIVATE_H

#include "mmu/mmu_private.h"
#include "mmu/shadow.h"

#define SPTE_P	      BIT(0)
#define SPTE_W	      BIT(1)
#define SPTE_U	      BIT(2)
#define SPTE_ACCESSED BIT(5)
#define SPTE_DIRTY    BIT(6)
#define SPTE_PAGE     BIT(7) /* at level 2: maps 2 MiB */
#define SPTE_NX	      BIT(63)
#define SPTE_ADDRESS  (BIT(52) - BIT(12))
#define SPTE_ENTRIES  512u

/* Of the guest's own entries, at every level. */
#define GUEST_P	       BIT(0)
#define GUEST_W	       BIT(1)
#define GUEST_U	       BIT(2)
#define GUEST_ACCESSED BIT(5)
#define GUEST_DIRTY    BIT(6)
#define GUEST_XD       BIT(63)

/* What the guest's entries on the way allow. */
#define SHADOW_WRITE 1u
#define SHADOW_USER  2u
#define SHADOW_EXEC  4u
#define SHADOW_ALL   7u

union shadow_role {
	struct {
		u32 level : 3;	/* 1: its entries map pages of 4 KiB */
		u32 direct : 1; /* no table of the guest's: from gfn on, all with these rights */
		u32 entry_4 : 1; /* the guest's entries have 4 bytes, so each table has several pages: */
		u32 quadrant : 2; /* which part of it this is */
		u32 access : 3; /* SHADOW_*: what the entries above it allow; direct: altogether */
		u32 dirty : 1;	/* direct: the guest's entry has D, so its supervisor may write */
		/* what else decides how the guest's entries are understood */
		u32 wp : 1, nx : 1, smep : 1, smap : 1, pse : 1;
		u32 long_mode : 1; /* bits 62:52 are the guest's to use */
	};
	u32 word;
};
static_assert(sizeof(union shadow_role) == 4, "it is compared as a word");

struct shadow_page {
	gfn_t gfn;
	union shadow_role role;
	/* mmu_lock */
	u64 *table; /* a frame; leaves change under their rmap word's lock, too */
	u64 **words; /* the rmap word that each leaf is in, else NULL; level 2: none before the first */
	u64 *word;   /* that of gfn, which has RMAP_TABLE for it; NULL if direct, or without slot */
	u32 *small;  /* with it: where gfn's region counts it */
	u64 parents; /* the sptes that lead here, as an rmap word */
	u32 roots;   /* vCPUs that have it as their root */
	u32 writes;  /* to the guest's table, since a fault last came through, or it was let go */
	u32 let_go;  /* so often it was, since a fault last came through */
	bool used;   /* a fault came through since room was last made here */
	bool invalid; /* atomic; out of the hash: what a vCPU still has as its root (R25) */
	struct shadow_page *next; /* of its hash */
	struct list link;	  /* the VM's, that used last first */
	bool unsync;		  /* the guest writes the table itself: */
	struct list unsync_link;  /* the VM's, that let go last is last */
	u32 passed;		  /* flushes since then that it was not due for */
};

/* With mmu_lock held, for which others spin, no more pages go than so many. */
#define SHADOW_ZAP_STEP 32u

/* So many of a VM's pages may be out of step, for a MOV to CR3 may look at all of them. */
#define SHADOW_UNSYNC_MAX 16u
/* A table has no more of them: they come back under one hold of mmu_lock. */
#define SHADOW_UNSYNC_OF_TABLE 4u

/*
 * So many flushes of others have passed a table by, each of which took mmu_lock for it: it comes back,
 * for the root above it may never be loaded again.
 */
#define SHADOW_PASSED_MAX 64u

/* Of what makes tables, besides errors: pages are to be in step first (shadow_hold_step). */
#define SHADOW_OUT_OF_STEP 2

/* Chains of pages, by their gfns. */
struct shadow_hash {
	struct shadow_page **bucket;
	u32 bits;
};

/* A VM's shadow pages. mmu_lock. */
struct shadow {
	u64 odd; /* set once: where gfns go in the hash is not for a guest to choose */
	u32 pages, limit;
	u64 owed;	      /* bytes of the last of memory, that its pages are to give back */
	u32 vcpus;	      /* atomic: that have loaded a root */
	u64 limit_generation; /* the slots that limit was made for */
	u32 maxphyaddr;	      /* atomic: the guest's, the same for all its vCPUs */
	struct list active;   /* pages, that used last first */
	struct list unsync;   /* pages out of step */
	u32 unsync_count;     /* atomic */
	u32 held;	      /* vCPUs that need all pages in step: none goes out of step */
	struct shadow_hash hash;
	/* while it grows: what was there before; its first `moved` chains are in hash already */
	struct shadow_hash old;
	u64 moved;
};

static inline struct shadow_page **shadow_bucket(struct shadow *sh, gfn_t gfn)
{
	u64 h = gfn.v * sh->odd;

	/* Once more: neighbours come far apart whatever number `odd` is. */
	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ull;
	if (unlikely(sh->old.bucket) && h >> (64 - sh->old.bits) >= sh->moved)
		return &sh->old.bucket[h >> (64 - sh->old.bits)];
	return &sh->hash.bucket[h >> (64 - sh->hash.bits)];
}

extern const struct page_table_format shadow_format;

/* --- shadow.c: pages. mmu_lock is held and the caller is in a reader --- */

/* Pages that are out and wait for a flush. */
struct shadow_gone {
	struct list pages;
	bool flush;
};

struct shadow_page *shadow_page_of(u64 spte);

/*
 * The page for a key, made if need be from what the vCPU has in its caches; what is there may be, or
 * lead to, what is out of step (R04). ERR_TOO_HARD: they are empty, or the slot has no words there
 * yet, or is on its way out. ERR_NOSLOT.
 */
int shadow_get(struct mmu_vcpu *v, gfn_t gfn, union shadow_role role, struct shadow_page **out);

/* Takes an entry out; whether there was one. */
bool shadow_zap_entry(struct shadow_page *sp, u32 i);
/* A sweep has taken the leaf out: its page knows its word no more, which may go with its slot. */
void shadow_leaf_gone(u64 *spte);
/*
 * Where the chain is full one of its sptes goes; pick says which, so that it is not always the same.
 * The word of a leaf is locked, a page's parents are not.
 */
bool shadow_thin_leaves(u64 *word, u64 pick);
bool shadow_thin_parents(struct shadow_page *sp, u64 pick);
/* All the sptes of a word, which is locked, go. How many. The caller flushes. */
u32 shadow_drop_chain(u64 *word);
/* Takes the right to write from a word's sptes, and sets and clears flags of it. Flushes. */
void shadow_protect(struct mmu_vm *vm, u64 *word, u64 set, u64 clear);
/* Takes the whole page out. One that is a root stays as an empty, invalid one. */
void shadow_zap(struct mmu_vm *vm, struct shadow_page *sp, struct shadow_gone *gone);
/* An empty page that is in no hash, for a root that is not in RAM. */
int shadow_make_invalid(struct mmu_vcpu *v, union shadow_role role, struct shadow_page **out);
void shadow_put_root(struct mmu_vm *vm, struct shadow_page *sp, struct shadow_gone *gone);
/* Flushes and frees. Before mmu_lock is released. */
void shadow_finish(struct mmu_vm *vm, struct shadow_gone *gone);
#define SHADOW_GONE(g)                        \
	{                                     \
		.pages = LIST_INIT((g).pages) \
	}

/* --- the same file; mmu_lock is not held --- */

int shadow_create(struct mmu_vm *vm);
void shadow_destroy(struct mmu_vm *vm);
/* Every page goes. Nobody makes any more: at the VM's end, and in tests. Thread context. */
void shadow_zap_all(struct mmu_vm *vm);
/* At most so many of the pages of a table of the guest's; how many. mmu_lock is held. */
u32 shadow_zap_table(struct mmu_vm *vm, gfn_t gfn, u32 most, struct shadow_gone *gone);
/*
 * The pages of a table of the guest's go. In a reader, or slots_lock is held. Any context but
 * interrupt.
 */
void shadow_forget(struct mmu_vm *vm, gfn_t gfn);
void shadow_vcpu_destroy(struct mmu_vcpu *v);

/* --- shadow_room.c; mmu_lock is not held --- */

/* How many pages a VM may have by its slots. In a reader, or slots_lock is held. */
u32 shadow_limit_of(struct mmu_vm *vm);
/* So much in the caches that one fault, or one load, needs no more. Thread context. ERR_NOMEM. */
int shadow_topup(struct mmu_vcpu *v);

/* --- shadow_link.c: leaves. mmu_lock is held and the caller is in a reader --- */

/* A page to be shown. */
struct shadow_leaf {
	gfn_t gfn;
	const struct memslot *slot;
	u64 index; /* in the slot's object */
	u64 seq;   /* sampled before the page was looked up */
	pfn_t pfn;
	u32 access;	/* SHADOW_*: what the guest's entries give */
	bool write;	/* is wanted */
	bool fetch;	/* is wanted */
	bool large;	/* the 2 MiB that gfn is the first of */
	bool may_write; /* so far as the object is concerned */
	bool ahead;	/* nothing is wanted of it yet */
	bool refused;	/* answer: the tables gave already what the CPU refused */
};

/* What an entry of the guest's gives. A page is not written unseen before its D is set. */
u32 shadow_access_of(union shadow_role role, u64 e, bool maps_page);

/* 0, ERR_AGAIN, ERR_TOO_HARD, ERR_PERM, SHADOW_EMULATE. sp is of level 1. */
int shadow_link(struct mmu_vcpu *v, struct shadow_leaf *l, struct shadow_page *sp, u32 i,
		struct shadow_gone *gone);

/*
 * Links those of sp's entries from i on that are empty and whose pages are resident, where the
 * guest's entry has A: it is as if they had been used, and the guest cannot tell. rmaps may be NULL.
 */
#define SHADOW_AROUND_MAX 16u
void shadow_link_ahead(struct mmu_vm *vm, struct rmap_cache *rmaps, struct shadow_page *sp, u32 i,
		       u32 count);

/* The same of entry e, which is sp's i-th; it is one that may be linked so. */
bool shadow_links_ahead(const struct shadow_page *sp, u64 e, u64 reserved);
bool shadow_link_entry(struct mmu_vm *vm, struct rmap_cache *rmaps, struct shadow_leaf *l,
		       struct shadow_page *sp, u32 i, u64 e);

/* The slot that shows l->gfn, in l->slot, which has one already or NULL. */
bool shadow_find_slot(struct mmu_vm *vm, struct shadow_leaf *l);

/* The guest's entries from the page's i on. false: its table is not resident, or on its way out. */
bool shadow_read_entries(struct mmu_vm *vm, const struct shadow_page *sp, u32 i, u32 count, u64 *e);

/* Bits for which the CPU would refuse an entry (SDM 3A 4.3, 4.4.2, 4.5). */
u64 shadow_reserved(const struct shadow *sh, union shadow_role role);

/* --- shadow_sync.c: pages out of step. mmu_lock is held and the caller is in a reader --- */

/* The guest may write sp's table itself from now on. false: it may not. */
bool shadow_unsync(struct mmu_vm *vm, struct shadow_page *sp);
/* The pages of a gfn are in step again, and its table is protected. Flushes. */
void shadow_sync(struct mmu_vm *vm, gfn_t gfn);
/*
 * What sp leads to is to be met at an address where it was not before (R04). Flushes.
 * SHADOW_OUT_OF_STEP: that may be too much to look at under one hold of the lock.
 */
int shadow_sync_below(struct mmu_vm *vm, struct shadow_page *sp);
/* Of a page that is out of step these entries are looked at anew. Whether a flush is due. */
bool shadow_sync_entries(struct mmu_vm *vm, struct shadow_page *sp, u32 i, u32 count);
/* It is on its way out. */
void shadow_sync_forget(struct mmu_vm *vm, struct shadow_page *sp);

/* --- the same file; mmu_lock is not held --- */

/*
 * No page is out of step, and what those that were have lost is flushed: they are counted as in
 * step before that, under mmu_lock. Any context.
 */
bool shadow_in_step(const struct mmu_vm *vm);
/*
 * A vCPU flushes its translations: what its roots lead to and was out of step when it began is in
 * step; or, of all of the VM's pages. In thread context.
 */
void shadow_sync_roots(struct mmu_vcpu *v);
void shadow_sync_all(struct mmu_vm *vm);
/* All pages are in step, and stay so until as many have let go. In thread context. */
void shadow_hold_step(struct mmu_vm *vm);
void shadow_release_step(struct mmu_vm *vm);
/*
 * The guest is about to write gfn, one of its tables: true, it may do that itself. In a reader; any
 * context but interrupt.
 */
bool shadow_let_go(struct mmu_vm *vm, gfn_t gfn);

/* --- shadow_large.c: mappings of 2 MiB --- */

/*
 * Maps gfn's 2 MiB by sp's entry, sp being of level 2, where the guest has one page there, or no
 * paging. As shadow_link; ERR_EXIST: not in one piece. mmu_lock is held and the caller is in a
 * reader.
 */
int shadow_link_large(struct mmu_vcpu *v, struct shadow_leaf *l, struct shadow_page *sp, u32 i,
		      struct shadow_gone *gone);

/*
 * What maps gfn's region large goes, and is flushed. If there was something, which it returns, the
 * region is mapped by 4 KiB from then on, until mmu_collapse. mmu_lock is held.
 */
bool shadow_split(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn);

/*
 * The region that begins at base may be mapped large: what stands for it in direct pages goes, so
 * that the next fault does it. Whether anything stood in the way. Takes mmu_lock.
 */
bool shadow_collapse(struct mmu_vm *vm, const struct memslot *s, gfn_t base);

/*
 * Some of the direct pages of level 1 that stand for the region; how many. mmu_lock is held. Flushes.
 */
u32 shadow_zap_direct(struct mmu_vm *vm, gfn_t base);

/* --- shadow_hash.c --- */

/* Before any page is made, and when none is left. ERR_NOMEM. Thread context. */
int shadow_hash_create(struct mmu_vm *vm);
void shadow_hash_destroy(struct mmu_vm *vm);
/*
 * For so many pages, so far as there is memory: else there are fewer chains, which are longer.
 * slots_lock is held. Thread context; takes mmu_lock.
 */
void shadow_hash_grow(struct mmu_vm *vm, u32 pages);

/* --- shadow_slot.c --- */

/* The VM has a slot more, so it may have more pages: the hash grows. slots_lock is held. As above. */
void shadow_slots_grew(struct mmu_vm *vm);

/*
 * The pages of a slot that is INVALID, or at the VM's end, and whose leaves are gone: those of the
 * guest's tables in it, and direct ones. slots_lock is held. Thread context; takes mmu_lock.
 */
void shadow_zap_slot(struct mmu_vm *vm, const struct memslot *s);
/* All slots are gone: no page knows anything of one, whose words are freed. At the VM's end. */
void shadow_check_no_slot(struct mmu_vm *vm);

/* --- shadow_write.c --- */

/* Writes to a page, without a use of it, after which it is no table any more, or let go. */
#define SHADOW_WRITES_MAX 3u

/* Which of the page's entries stand for these bytes of the guest's table: none, or [*from, *to). */
bool shadow_entries_of(const struct shadow_page *sp, u64 offset, u64 size, u32 *from, u32 *to);

/* Bytes of guest memory were written by Weir. In a reader; any context but interrupt. */
void shadow_written(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa, u64 size);
/*
 * A walk has marked an entry of 4 bytes. For who has the table with entries of 8 these bits may be of
 * an address. Context as above.
 */
void shadow_marked(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa);

/* --- shadow_audit.c --- */
const char *shadow_audit(struct mmu_vm *vm);

#endif
