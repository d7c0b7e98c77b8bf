/* SPDX-License-Identifier: MIT */
/*
 * Pages that are out of step. A table of the last level that the guest writes again and again is
 * left to it (RMAP_UNSYNC): it writes without leaving, as on a CPU that has cached what was there.
 * What was cached may be used until it is flushed, and so may the sptes, which stay as they are:
 *
 *	vCPU that writes		page			vCPU that flushes
 *	write, a fault, emulated	in step
 *	...
 *	write, a fault: let go		out of step
 *	write, write, write					MOV to CR3: the pages
 *					in step: protected,	that its root leads to
 *					each spte looked at	INVLPG: the address's spte alone
 *
 * An address that had no spte, or one with fewer rights, needs no flush: the fault reads the
 * guest's tables themselves. Where that leads to a page that is met at another address already, by
 * one more entry, the CPU cannot have cached what is below it there: it is brought in step first
 * (R04).
 *
 * Only where all pages of a table are of level 1, so what leads to other tables is always in step.
 * They go together, and a table that is to have a page more is protected before. A page that no
 * entry leads to any more, or that has none itself, goes at the next flush; one that was let go
 * again and again without a fault through it is taken for no table the next time (shadow_write.c).
 * While any is out of step each flush takes mmu_lock to see if it is its own: so one that many
 * flushes have passed by comes back, one table a flush, whoever's it is.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

/* Entries that are read at once. */
#define STRIDE 64u
/* So many entries above pages are looked at under one hold of mmu_lock: beyond that all are led to. */
#define CLIMB_MAX 1024u
/* A page that was let go so often, and not walked, is likely to be no table any more. */
#define LET_GO_MAX 4u

/* --- Out of step --- */

static bool may_be(const struct shadow_page *sp)
{
	return sp->role.level == 1 && sp->let_go < LET_GO_MAX;
}

/* How many pages the table has; 0: one of them may not be out of step, or they are too many. */
static u32 count_pages(gfn_t gfn, struct shadow_page *first)
{
	u32 n = 0;

	for (const struct shadow_page *sp = first; sp; sp = sp->next) {
		if (sp->gfn.v != gfn.v || sp->role.direct)
			continue;
		if (!may_be(sp))
			return 0;
		n++;
	}
	return n <= SHADOW_UNSYNC_OF_TABLE ? n : 0;
}

static void set_count(struct shadow *sh, u32 count)
{
	__atomic_store_n(&sh->unsync_count, count, __ATOMIC_SEQ_CST);
}

bool shadow_unsync(struct mmu_vm *vm, struct shadow_page *of)
{
	struct shadow *sh = vm->shadow;
	struct shadow_page *first = *shadow_bucket(sh, of->gfn);
	u32 n = count_pages(of->gfn, first);

	if (!n || sh->held || sh->unsync_count + n > SHADOW_UNSYNC_MAX)
		return false;
	for (struct shadow_page *sp = first; sp; sp = sp->next) {
		if (sp->gfn.v != of->gfn.v || sp->role.direct)
			continue;
		ASSERT(!sp->unsync);
		sp->unsync = true;
		sp->writes = 0;
		sp->let_go++;
		sp->passed = 0;
		list_add_tail(&sp->unsync_link, &sh->unsync);
	}
	/* Before the guest can write there: who flushes afterwards sees it (mmu_shadow_invlpg). */
	set_count(sh, sh->unsync_count + n);
	mmu_count(&vm->stats.shadow_let_go, n);
	rmap_lock(of->word);
	rmap_flag(of->word, RMAP_UNSYNC, 0);
	rmap_unlock(of->word);
	return true;
}

bool shadow_let_go(struct mmu_vm *vm, gfn_t gfn)
{
	bool may = false;

	spin_lock(&vm->mmu_lock);
	for (struct shadow_page *sp = *shadow_bucket(vm->shadow, gfn); sp; sp = sp->next) {
		if (sp->gfn.v != gfn.v || sp->role.direct)
			continue;
		may = sp->unsync || (sp->writes + 1 >= SHADOW_WRITES_MAX && shadow_unsync(vm, sp));
		if (may)
			break;
	}
	spin_unlock(&vm->mmu_lock);
	return may;
}

void shadow_sync_forget(struct mmu_vm *vm, struct shadow_page *sp)
{
	if (!sp->unsync)
		return;
	sp->unsync = false;
	list_del(&sp->unsync_link);
	list_init(&sp->unsync_link);
	set_count(vm->shadow, vm->shadow->unsync_count - 1);
}

/* --- One entry --- */

/* The spte shows the page that the guest's entry leads to now. */
static bool shows(struct mmu_vm *vm, const struct shadow_page *sp, u32 i, u64 e,
		  struct shadow_leaf *l)
{
	l->gfn = GFN((e & SPTE_ADDRESS) >> PAGE_SHIFT);
	return shadow_find_slot(vm, l) && rmap_word(l->slot, l->gfn) == sp->words[i];
}

/* The spte without what the entry gives no more. */
static u64 narrowed(u64 spte, u32 access)
{
	if (!(access & SHADOW_WRITE))
		spte &= ~SPTE_W;
	if (!(access & SHADOW_USER))
		spte &= ~SPTE_U;
	if (!(access & SHADOW_EXEC))
		spte |= SPTE_NX;
	return spte;
}

/* The CPU may set A and D in it meanwhile. */
static void narrow(u64 *word, u64 *spte, u32 access)
{
	u64 old = page_table_read(spte);

	rmap_lock(word);
	while (!page_table_change(spte, &old, narrowed(old, access)))
		;
	rmap_unlock(word);
}

/* e is the guest's entry now. Whether a flush is due. */
static bool sync_entry(struct mmu_vm *vm, struct shadow_page *sp, u32 i, u64 e, u64 reserved,
		       struct shadow_leaf *l)
{
	u64 *word = sp->words[i], spte = page_table_read(&sp->table[i]);
	u32 access = sp->role.access & shadow_access_of(sp->role, e, true);
	bool links = shadow_links_ahead(sp, e, reserved), flush;

	if (!word || !spte)
		return false;
	/* What was the supervisor's alone may have been so by SMEP's or SMAP's leave. */
	if (!links || !shows(vm, sp, i, e, l) || ((access & SHADOW_USER) && !(spte & SPTE_U))) {
		flush = shadow_zap_entry(sp, i);
		if (links && shadow_link_entry(vm, NULL, l, sp, i, e))
			mmu_count(&vm->stats.mapped_around, 1);
		return flush;
	}
	if (narrowed(spte, access) == spte)
		return false;
	narrow(word, &sp->table[i], access);
	return true;
}

static bool has_any(const struct shadow_page *sp, u32 i, u32 count)
{
	for (u32 n = i; n < i + count; n++) {
		if (sp->words[n])
			return true;
	}
	return false;
}

bool shadow_sync_entries(struct mmu_vm *vm, struct shadow_page *sp, u32 i, u32 count)
{
	u64 e[STRIDE], reserved = shadow_reserved(vm->shadow, sp->role);
	struct shadow_leaf l = {.ahead = true};
	bool flush = false, known;

	if (!has_any(sp, i, count))
		return false;
	known = shadow_read_entries(vm, sp, i, count, e);
	for (u32 n = 0; n < count; n++)
		flush |= known ? sync_entry(vm, sp, i + n, e[n], reserved, &l)
			       : shadow_zap_entry(sp, i + n);
	return flush;
}

/* --- In step --- */

/*
 * The table's pages go over to batch, for their sptes to be looked at: the guest cannot write it
 * any more.
 */
static u32 take_back(struct mmu_vm *vm, gfn_t gfn, struct list *batch)
{
	u64 *word = NULL;
	u32 n = 0;

	for (struct shadow_page *sp = *shadow_bucket(vm->shadow, gfn); sp; sp = sp->next) {
		if (sp->gfn.v != gfn.v || !sp->unsync)
			continue;
		shadow_sync_forget(vm, sp);
		list_add_tail(&sp->unsync_link, batch);
		sp->writes = 0;
		word = sp->word;
		n++;
	}
	if (word)
		shadow_protect(vm, word, 0, RMAP_UNSYNC);
	mmu_count(&vm->stats.shadow_synced, n);
	return n;
}

/* Whether anything is left in it. */
static bool sync_page(struct mmu_vm *vm, struct shadow_page *sp, bool *flush)
{
	bool any = false;

	for (u32 i = 0; i < SPTE_ENTRIES; i += STRIDE) {
		*flush |= shadow_sync_entries(vm, sp, i, STRIDE);
		any |= has_any(sp, i, STRIDE);
	}
	return any;
}

/* gone: pages of no use may go. */
static void sync_batch(struct mmu_vm *vm, struct list *batch, struct shadow_gone *gone)
{
	struct shadow_page *sp, *next;
	bool flush = false;

	list_for_each_entry_safe (sp, next, batch, unsync_link) {
		bool any = sync_page(vm, sp, &flush);

		list_del(&sp->unsync_link);
		list_init(&sp->unsync_link);
		if (gone && (!any || !rmap_spte(&sp->parents, 0)))
			shadow_zap(vm, sp, gone);
	}
	/* The vCPU whose flush this is flushes its own CPU. */
	if (flush)
		mmu_owe_flush(vm);
}

void shadow_sync(struct mmu_vm *vm, gfn_t gfn)
{
	struct list batch = LIST_INIT(batch);

	if (take_back(vm, gfn, &batch))
		sync_batch(vm, &batch, NULL);
}

/*
 * Whether a way leads from top to the page, or too many entries do to say. A page is at its level in
 * whatever table leads to it, so there are no more steps than levels.
 */
static bool leads_to(const struct shadow_page *top, const struct shadow_page *sp, u32 *looks)
{
	struct rmap_cursor at;
	u64 *spte;

	if (sp == top)
		return true;
	if (sp->role.level >= top->role.level)
		return false;
	rmap_for_each (spte, &sp->parents, &at) {
		if (!*looks)
			return true;
		(*looks)--;
		if (leads_to(top, shadow_page_of(virt_to_phys(spte).v), looks))
			return true;
	}
	return false;
}

int shadow_sync_below(struct mmu_vm *vm, struct shadow_page *sp)
{
	const struct shadow_page *page;
	u32 looks = CLIMB_MAX;

	if (sp->unsync)
		shadow_sync(vm, sp->gfn);
	if (sp->role.level == 1)
		return 0;
	list_for_each_entry (page, &vm->shadow->unsync, unsync_link) {
		if (leads_to(sp, page, &looks))
			return SHADOW_OUT_OF_STEP;
	}
	return 0;
}

/* A vCPU's flush is to bring it back; v NULL: all. What nothing leads to is to go. */
static bool is_due(const struct mmu_vcpu *v, const struct shadow_page *sp, u32 *looks)
{
	if (!v || !rmap_spte(&sp->parents, 0))
		return true;
	for (u32 i = 0; i < v->shadow.root_count; i++) {
		if (v->shadow.root[i] && leads_to(v->shadow.root[i], sp, looks))
			return true;
	}
	return false;
}

static u32 take_back_first(struct mmu_vm *vm, const struct mmu_vcpu *v, struct list *batch)
{
	const struct shadow_page *sp;
	u32 looks = CLIMB_MAX;

	list_for_each_entry (sp, &vm->shadow->unsync, unsync_link) {
		if (is_due(v, sp, &looks))
			return take_back(vm, sp->gfn, batch);
	}
	return 0;
}

/* None is due: the flush passes all of them by, but for the first, when it has been too often. */
static void pass_by(struct mmu_vm *vm, struct list *batch)
{
	struct shadow_page *sp, *first = NULL;

	list_for_each_entry (sp, &vm->shadow->unsync, unsync_link) {
		first = first ? first : sp;
		sp->passed++;
	}
	if (first && first->passed >= SHADOW_PASSED_MAX)
		(void)take_back(vm, first->gfn, batch);
}

bool shadow_in_step(const struct mmu_vm *vm)
{
	return !__atomic_load_n(&vm->shadow->unsync_count, __ATOMIC_SEQ_CST) &&
	       spin_is_free(&vm->mmu_lock);
}

/* What is let go meanwhile comes last: it need not be looked at. */
static void bring_back(struct mmu_vm *vm, const struct mmu_vcpu *v)
{
	u32 left, reader;

	if (shadow_in_step(vm))
		return;
	left = max(__atomic_load_n(&vm->shadow->unsync_count, __ATOMIC_SEQ_CST), 1u);
	reader = srcu_read_lock(&vm->srcu);
	while (left) {
		struct shadow_gone gone = SHADOW_GONE(gone);
		struct list batch = LIST_INIT(batch);
		u32 n;

		spin_lock(&vm->mmu_lock);
		n = take_back_first(vm, v, &batch);
		if (!n)
			pass_by(vm, &batch);
		sync_batch(vm, &batch, &gone);
		shadow_finish(vm, &gone);
		spin_unlock(&vm->mmu_lock);
		left = n ? left - min(left, n) : 0;
	}
	srcu_read_unlock(&vm->srcu, reader);
}

void shadow_sync_all(struct mmu_vm *vm)
{
	bring_back(vm, NULL);
}

/* What others' roots lead to waits for them; but not so that no table finds a place any more. */
void shadow_sync_roots(struct mmu_vcpu *v)
{
	u32 *count = &v->vm->shadow->unsync_count;
	bool many = __atomic_load_n(count, __ATOMIC_RELAXED) > SHADOW_UNSYNC_MAX / 2;

	bring_back(v->vm, many ? NULL : v);
}

/* Those that other vCPUs let go while these are brought back would be without an end. */
void shadow_hold_step(struct mmu_vm *vm)
{
	spin_lock(&vm->mmu_lock);
	vm->shadow->held++;
	spin_unlock(&vm->mmu_lock);
	shadow_sync_all(vm);
}

void shadow_release_step(struct mmu_vm *vm)
{
	spin_lock(&vm->mmu_lock);
	vm->shadow->held--;
	spin_unlock(&vm->mmu_lock);
}
