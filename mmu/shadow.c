/* SPDX-License-Identifier: MIT */
/* Shadow pages: their making, their keys, and how they go. shadow_private.h says what holds. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mmu/shadow_private.h"

struct shadow_page *shadow_page_of(u64 spte)
{
	return (struct shadow_page *)(void *)frame_of(hpa_to_pfn(HPA(spte & SPTE_ADDRESS)))
		->link.next;
}

static struct shadow_page *find(struct shadow *sh, gfn_t gfn, union shadow_role role)
{
	for (struct shadow_page *sp = *shadow_bucket(sh, gfn); sp; sp = sp->next) {
		if (sp->gfn.v == gfn.v && sp->role.word == role.word)
			return sp;
	}
	return NULL;
}

static bool is_table(struct shadow *sh, gfn_t gfn)
{
	for (struct shadow_page *sp = *shadow_bucket(sh, gfn); sp; sp = sp->next) {
		if (sp->gfn.v == gfn.v && !sp->role.direct)
			return true;
	}
	return false;
}

/* --- Making --- */

void shadow_protect(struct mmu_vm *vm, u64 *word, u64 set, u64 clear)
{
	struct rmap_cursor at;
	u64 *spte, e;
	bool flush = false;

	rmap_lock(word);
	rmap_flag(word, set, clear);
	rmap_for_each (spte, word, &at) {
		e = page_table_read(spte);
		while (e & SPTE_W) {
			if (!page_table_change(spte, &e, e & ~SPTE_W))
				continue;
			flush = true;
			break;
		}
	}
	if (flush)
		mmu_flush(vm);
	else
		mmu_pay_flush(vm);
	rmap_unlock(word);
}

/* The guest may have it mapped for writing: that ends before the first of its entries is read. */
static void protect(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 *word)
{
	/* Not among 2 MiB that it can write: from now on nothing there is mapped so. */
	__atomic_fetch_add(rmap_small_count(s, gfn), 1, __ATOMIC_SEQ_CST);
	shadow_split(vm, s, gfn);
	shadow_protect(vm, word, RMAP_TABLE, 0);
}

static struct shadow_page *take_spare(struct mmu_vcpu *v, gfn_t gfn, union shadow_role role)
{
	bool leaves = role.level == 1;
	struct shadow_page *sp;

	if (!v->shadow.spare_count || v->cache_count < 1u + leaves)
		return NULL;
	sp = v->shadow.spare[--v->shadow.spare_count];
	*sp = (struct shadow_page){.gfn = gfn, .role = role};
	list_init(&sp->link);
	list_init(&sp->unsync_link);
	sp->table = v->cache[--v->cache_count];
	if (leaves)
		sp->words = v->cache[--v->cache_count];
	frame_of(virt_to_pfn(sp->table))->link.next = (struct list *)(void *)sp;
	v->vm->shadow->pages++;
	mmu_count(&v->vm->stats.tables, 1);
	mmu_count_own(&v->stats.shadow_made, 1);
	return sp;
}

int shadow_make_invalid(struct mmu_vcpu *v, union shadow_role role, struct shadow_page **out)
{
	*out = take_spare(v, GFN(0), role);
	if (!*out)
		return ERR_TOO_HARD;
	(*out)->invalid = true;
	return 0;
}

/* The slot and the rmap word of a table of the guest's. */
static int word_of(struct mmu_vcpu *v, gfn_t gfn, const struct memslot **s, u64 **word)
{
	u64 generation;
	int err = memslot_look_up_cached(v->vm, gfn, false, &v->last_slot, s, &generation);

	if (err)
		return err == ERR_AGAIN ? ERR_TOO_HARD : err;
	*word = rmap_word(*s, gfn);
	return *word ? 0 : ERR_TOO_HARD;
}

int shadow_get(struct mmu_vcpu *v, gfn_t gfn, union shadow_role role, struct shadow_page **out)
{
	struct shadow *sh = v->vm->shadow;
	const struct memslot *s = NULL;
	u64 *word = NULL;
	int err;

	*out = find(sh, gfn, role);
	if (*out)
		return 0;
	if (!role.direct) {
		err = word_of(v, gfn, &s, &word);
		if (err)
			return err;
	}
	*out = take_spare(v, gfn, role);
	if (!*out)
		return ERR_TOO_HARD;
	(*out)->word = word;
	(*out)->small = word ? rmap_small_count(s, gfn) : NULL;
	if (word && !is_table(sh, gfn))
		protect(v->vm, s, gfn, word);
	else if (word)
		shadow_sync(v->vm, gfn);
	(*out)->next = *shadow_bucket(sh, gfn);
	*shadow_bucket(sh, gfn) = *out;
	list_add(&(*out)->link, &sh->active);
	return 0;
}

/* --- Taking out --- */

/* Its word is locked. */
static bool drop_leaf(struct shadow_page *sp, u32 i)
{
	u64 *word = sp->words[i], e;

	e = __atomic_exchange_n(&sp->table[i], 0, __ATOMIC_SEQ_CST);
	if (e)
		rmap_remove(word, &sp->table[i]);
	if (e & SPTE_ACCESSED)
		rmap_flag(word, RMAP_YOUNG, 0);
	sp->words[i] = NULL;
	return e;
}

static bool zap_leaf(struct shadow_page *sp, u32 i)
{
	u64 *word = sp->words[i];
	bool was;

	if (!word)
		return false;
	rmap_lock(word);
	was = drop_leaf(sp, i);
	rmap_unlock(word);
	return was;
}

/* Whose spte that is, and which. */
static struct shadow_page *owner(u64 *spte, u32 *i)
{
	struct shadow_page *sp = shadow_page_of(virt_to_phys(spte).v);

	*i = (u32)(spte - sp->table);
	return sp;
}

void shadow_leaf_gone(u64 *spte)
{
	u32 i;
	struct shadow_page *sp = owner(spte, &i);

	sp->words[i] = NULL;
}

bool shadow_thin_leaves(u64 *word, u64 pick)
{
	struct shadow_page *sp;
	u32 i;

	if (!rmap_is_full(word))
		return false;
	sp = owner(rmap_spte(word, (u32)(pick % RMAP_CHAIN_MAX)), &i);
	return drop_leaf(sp, i);
}

u32 shadow_drop_chain(u64 *word)
{
	u32 dropped = 0, i;
	u64 *spte;

	while ((spte = rmap_spte(word, 0))) {
		struct shadow_page *sp = owner(spte, &i);

		dropped += drop_leaf(sp, i);
	}
	return dropped;
}

bool shadow_thin_parents(struct shadow_page *sp, u64 pick)
{
	struct shadow_page *parent;
	u32 i;

	if (!rmap_is_full(&sp->parents))
		return false;
	parent = owner(rmap_spte(&sp->parents, (u32)(pick % RMAP_CHAIN_MAX)), &i);
	return shadow_zap_entry(parent, i);
}

static void remove_parent(struct shadow_page *child, u64 *spte)
{
	BUG_ON(!rmap_trylock(&child->parents)); /* mmu_lock guards it; its bit is for rmap.c */
	rmap_remove(&child->parents, spte);
	rmap_unlock_tried(&child->parents);
}

bool shadow_zap_entry(struct shadow_page *sp, u32 i)
{
	u64 e;

	if (sp->words && (sp->role.level == 1 || sp->words[i]))
		return zap_leaf(sp, i);
	if (!page_table_read(&sp->table[i]))
		return false;
	e = __atomic_exchange_n(&sp->table[i], 0, __ATOMIC_SEQ_CST);
	remove_parent(shadow_page_of(e), &sp->table[i]);
	return true;
}

static void unhash(struct mmu_vm *vm, struct shadow_page *sp)
{
	struct shadow_page **at = shadow_bucket(vm->shadow, sp->gfn);

	while (*at != sp)
		at = &(*at)->next;
	*at = sp->next;
	list_del(&sp->link);
	list_init(&sp->link);
	shadow_sync_forget(vm, sp);
	if (!sp->word || is_table(vm->shadow, sp->gfn))
		return;
	rmap_lock(sp->word);
	rmap_flag(sp->word, 0, RMAP_TABLE | RMAP_UNSYNC);
	rmap_unlock(sp->word);
	__atomic_fetch_sub(sp->small, 1, __ATOMIC_SEQ_CST);
}

/* Of most tables most is empty. */
static bool has_entry(const struct shadow_page *sp, u32 i)
{
	if (sp->words && sp->words[i])
		return true;
	return sp->role.level > 1 && page_table_read(&sp->table[i]);
}

void shadow_zap(struct mmu_vm *vm, struct shadow_page *sp, struct shadow_gone *gone)
{
	u64 *spte;

	for (u32 i = 0; i < SPTE_ENTRIES; i++) {
		if (has_entry(sp, i))
			gone->flush |= shadow_zap_entry(sp, i);
	}
	while ((spte = rmap_spte(&sp->parents, 0))) {
		__atomic_store_n(spte, 0, __ATOMIC_SEQ_CST);
		remove_parent(sp, spte);
		gone->flush = true;
	}
	unhash(vm, sp);
	mmu_count(&vm->stats.shadow_zapped, 1);
	if (sp->roots)
		__atomic_store_n(&sp->invalid, true, __ATOMIC_RELAXED);
	else
		list_add(&sp->link, &gone->pages);
}

void shadow_put_root(struct mmu_vm *vm, struct shadow_page *sp, struct shadow_gone *gone)
{
	(void)vm;
	ASSERT(sp->roots);
	if (--sp->roots == 0 && sp->invalid)
		list_add(&sp->link, &gone->pages);
}

static void free_page(struct mmu_vm *vm, struct shadow_page *sp)
{
	frame_free_page(sp->table);
	if (sp->words)
		frame_free_page(sp->words);
	kfree(sp);
	vm->shadow->pages--;
	mmu_count(&vm->stats.tables, -1ull);
}

/* CPUs cache ways to tables, too: nothing is freed before they have been flushed. */
void shadow_finish(struct mmu_vm *vm, struct shadow_gone *gone)
{
	struct shadow_page *sp, *next;

	if (gone->flush || !list_empty(&gone->pages))
		mmu_flush(vm);
	list_for_each_entry_safe (sp, next, &gone->pages, link) {
		list_del(&sp->link);
		free_page(vm, sp);
	}
	gone->flush = false;
}

/* --- Life --- */

int shadow_create(struct mmu_vm *vm)
{
	vm->shadow = kmalloc(sizeof(*vm->shadow));
	if (!vm->shadow)
		return ERR_NOMEM;
	if (shadow_hash_create(vm)) {
		kfree(vm->shadow);
		return ERR_NOMEM;
	}
	list_init(&vm->shadow->active);
	list_init(&vm->shadow->unsync);
	/* Two gfns have one bucket by chance alone (Dietzfelbinger et al., J. Algorithms 1997). */
	vm->shadow->odd = (u64)rdtsc() * 0x9e3779b97f4a7c15ull | 1;
	return 0;
}

/* Some of them; whether there are more. */
static bool zap_some(struct mmu_vm *vm)
{
	struct shadow_gone gone = SHADOW_GONE(gone);
	struct list *active = &vm->shadow->active;
	u32 left = SHADOW_ZAP_STEP;

	spin_lock(&vm->mmu_lock);
	for (; left && !list_empty(active); left--)
		shadow_zap(vm, list_first(active, struct shadow_page, link), &gone);
	shadow_finish(vm, &gone);
	spin_unlock(&vm->mmu_lock);
	return !left;
}

void shadow_zap_all(struct mmu_vm *vm)
{
	while (zap_some(vm))
		cpu_relax();
}

void shadow_destroy(struct mmu_vm *vm)
{
	BUG_ON(vm->shadow->pages);
	shadow_hash_destroy(vm);
	kfree(vm->shadow);
	vm->shadow = NULL;
}

u32 shadow_zap_table(struct mmu_vm *vm, gfn_t gfn, u32 most, struct shadow_gone *gone)
{
	struct shadow_page *sp = *shadow_bucket(vm->shadow, gfn), *next;
	u32 zapped = 0;

	for (; sp && zapped < most; sp = next) {
		next = sp->next;
		if (sp->gfn.v != gfn.v || sp->role.direct)
			continue;
		shadow_zap(vm, sp, gone);
		zapped++;
	}
	return zapped;
}

void shadow_forget(struct mmu_vm *vm, gfn_t gfn)
{
	u32 zapped;

	do {
		struct shadow_gone gone = SHADOW_GONE(gone);

		spin_lock(&vm->mmu_lock);
		zapped = shadow_zap_table(vm, gfn, SHADOW_ZAP_STEP, &gone);
		shadow_finish(vm, &gone);
		spin_unlock(&vm->mmu_lock);
	} while (zapped == SHADOW_ZAP_STEP);
}
