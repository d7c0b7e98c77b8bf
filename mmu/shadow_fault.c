/* SPDX-License-Identifier: MIT */
/*
 * A page fault of a guest with shadow paging. The guest's tables are walked without a lock, and the
 * page is got; then, under mmu_lock, the shadow pages on the way are found or made, and the leaf is
 * linked. Each entry of the guest's is read again there, when its table is protected from writing: one
 * that is not what the walk saw makes the guest fault again (R01).
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/fetch.h"
#include "mmu/shadow_private.h"

#define LEVEL_BITS 9
#define SLOTS_STAY (~0ull) /* no array has this generation */

#define REFUSED_MAX 4u /* faults of one kind after which no race explains the next */

struct shadow_fault {
	struct mmu_vcpu *v;
	const struct guest_paging *p;
	u64 gva;
	struct walk_trace trace;
	struct shadow_leaf leaf;
	bool in_large; /* for the guest it is part of 2 MiB or more */
	bool around;   /* the page was there before: its neighbours may be, too */
	u32 refusals;  /* so often before the tables gave what the CPU refused */
	struct shadow_gone gone;
	/* what is to be waited for when no lock is held */
	u64 slots_generation;
	struct gmem *changing;
};

/* --- What the guest's entries are now; mmu_lock --- */

/* Without sleeping. false: it is not resident, or on its way out. */
static bool read_entry(struct mmu_vcpu *v, gpa_t gpa, u32 size, u64 *e)
{
	if (!fetch_word(v, GPA(align_down(gpa.v, sizeof(u64))), e))
		return false;
	if (size == sizeof(u32))
		*e = (u32)(*e >> (gpa.v & sizeof(u32)) * 8);
	return true;
}

static bool is_as_walked(const struct shadow_fault *f, u32 step)
{
	u64 e;

	return read_entry(f->v, f->trace.where[step], f->trace.entry_size, &e) &&
	       e == f->trace.entry[step];
}

/* The guest's entry, with the D that it would have if it could be written. */
static u64 entry_of(const struct shadow_fault *f, u32 step)
{
	bool last = step + 1 == f->trace.count;

	return f->trace.entry[step] | (last && f->trace.rom_dirty ? GUEST_DIRTY : 0);
}

/* What an entry leaves of the access. A page is not written unseen before its D is set. */
static u32 access_below(const struct shadow_fault *f, const struct shadow_page *sp, u32 step,
			u32 access)
{
	return access & shadow_access_of(sp->role, entry_of(f, step), step + 1 == f->trace.count);
}

/* --- The way to it --- */

static u32 index_at(u64 gva, u32 level)
{
	return (u32)(gva >> (PAGE_SHIFT + (level - 1) * LEVEL_BITS)) & (SPTE_ENTRIES - 1);
}

/* The key of what sp's entry leads to. step: the guest's entry that is behind it; count: none. */
static void key_below(const struct shadow_fault *f, const struct shadow_page *sp, u32 step,
		      u32 access, gfn_t *gfn, union shadow_role *role)
{
	*role = sp->role;
	role->level = sp->role.level - 1u;
	role->access = access & SHADOW_ALL;
	role->quadrant = 0;
	if (step + 1 < f->trace.count) {
		*gfn = gpa_to_gfn(f->trace.where[step + 1]);
		if (role->entry_4)
			role->quadrant = index_at(f->gva, 2) & 1;
		return;
	}
	/* Of the large pages that share it all or none may be written with CR0.WP clear. */
	if (!sp->role.direct)
		role->dirty = !!(entry_of(f, step) & GUEST_DIRTY);
	role->direct = 1;
	*gfn = GFN(align_down(f->leaf.gfn.v, BIT(role->level * LEVEL_BITS)));
}

/* The page that the entry leads to, which is made to if it does not. */
static int step_down(struct shadow_fault *f, struct shadow_page *sp, u32 i, gfn_t gfn,
		     union shadow_role role, struct shadow_page **out)
{
	u64 e = page_table_read(&sp->table[i]);
	bool was;
	int err;

	if (e && !(e & SPTE_PAGE)) {
		*out = shadow_page_of(e);
		if ((*out)->gfn.v == gfn.v && (*out)->role.word == role.word)
			return 0;
	}
	/*
	 * Before the new page's entries are read: the guest's table may be in the 2 MiB that were
	 * mapped here, and is written without an exit until no CPU has them (R01).
	 */
	was = shadow_zap_entry(sp, i);
	if (was && (e & SPTE_PAGE))
		mmu_flush(f->v->vm);
	else
		f->gone.flush |= was;
	err = shadow_get(f->v, gfn, role, out);
	if (!err)
		err = shadow_sync_below(f->v->vm, *out);
	if (err)
		return err == ERR_NOSLOT ? ERR_AGAIN : err;
	f->gone.flush |= shadow_thin_parents(*out, f->v->stats.faults);
	BUG_ON(!rmap_trylock(&(*out)->parents));
	err = rmap_add(&(*out)->parents, &sp->table[i], &f->v->rmaps);
	rmap_unlock_tried(&(*out)->parents);
	if (err)
		return err;
	__atomic_store_n(&sp->table[i],
			 shadow_format.level[0].make_table(virt_to_phys((*out)->table)),
			 __ATOMIC_SEQ_CST);
	return 0;
}

static struct shadow_page *root_for(const struct mmu_vcpu *v, u64 gva)
{
	const struct shadow_vcpu *s = &v->shadow;

	if (s->root_count == 1)
		return s->root[0];
	return s->root_count ? s->root[(gva >> 30) & (SHADOW_ROOTS - 1)] : NULL;
}

static int link_leaf(struct shadow_fault *f, struct shadow_page *sp, u32 i, u32 access)
{
	u32 around = min(f->v->vm->fault_around, SHADOW_AROUND_MAX);
	int err;

	f->leaf.access = access;
	err = shadow_link(f->v, &f->leaf, sp, i, &f->gone);
	if (!err && f->around && around > 1)
		shadow_link_ahead(f->v->vm, &f->v->rmaps, sp, align_down(i, around), around);
	return err;
}

/* ERR_EXIST: by 4 KiB. */
static int link_large(struct shadow_fault *f, struct shadow_page *sp, u32 step, u32 i, u32 access)
{
	if (sp->role.level != 2 || step + 1 < f->trace.count)
		return ERR_EXIST;
	f->leaf.access = access;
	return shadow_link_large(f->v, &f->leaf, sp, i, &f->gone);
}

static int link(struct shadow_fault *f)
{
	struct shadow_page *sp = root_for(f->v, f->gva);
	u32 access = SHADOW_ALL;

	if (!sp || sp->invalid)
		return ERR_AGAIN; /* it is loaded anew (R25) */
	for (u32 step = 0;; step++) {
		u32 i = index_at(f->gva, sp->role.level);
		union shadow_role role;
		gfn_t gfn;
		int err;

		if (!sp->role.direct) {
			if (!is_as_walked(f, step))
				return ERR_AGAIN;
			access = access_below(f, sp, step, access);
		}
		sp->writes = sp->let_go = 0;
		sp->used = true;
		if (sp->role.level == 1)
			return link_leaf(f, sp, i, access);
		err = link_large(f, sp, step, i, access);
		if (err != ERR_EXIST)
			return err;
		key_below(f, sp, step, access, &gfn, &role);
		err = step_down(f, sp, i, gfn, role, &sp);
		if (err)
			return err;
	}
}

/* --- In thread context, without a lock --- */

/* The rmap words of the guest's tables. In a reader. */
static int prepare_words(struct shadow_fault *f)
{
	const struct memslot *s;
	u64 generation;
	int err = 0;

	for (u32 i = 0; i < f->trace.count && !err; i++) {
		gfn_t gfn = gpa_to_gfn(f->trace.where[i]);

		err = memslot_look_up_cached(f->v->vm, gfn, false, &f->v->last_slot, &s,
					     &generation);
		err = err ? ERR_AGAIN : rmap_prepare(s, gfn);
	}
	return err;
}

/* The guest's own entry lets its page be written without another fault. */
static bool maps_writable(const struct shadow_fault *f)
{
	const struct walk_trace *t = &f->trace;

	return !t->count ||
	       (t->entry[t->count - 1] & (GUEST_W | GUEST_DIRTY)) == (GUEST_W | GUEST_DIRTY);
}

/*
 * The page if it is resident, without a lock: the sequence tells whether it still is when it is
 * linked (R08). Mapped writable at once if that can be, as h_enter.c does.
 */
static int look_up(struct shadow_fault *f)
{
	struct shadow_leaf *l = &f->leaf;
	struct gmem *g = l->slot->object;
	bool may_write = !(l->slot->flags & MEMSLOT_READONLY) && (l->write || maps_writable(f));
	int found;

	l->seq = gmem_seq_sample(g, l->index);
	if (!gmem_seq_idle(l->seq))
		return ERR_TOO_HARD;
	found = gmem_lookup_to_map(g, l->index, l->write, may_write, &l->pfn);
	l->may_write = found > 0;
	return min(found, 0);
}

/* The page, and after it its word: who is refused the one, memory being short, gets no other. */
static int find_page(struct shadow_fault *f)
{
	struct shadow_leaf *l = &f->leaf;
	int err = look_up(f);

	f->around = !err;
	if (err) {
		err = gmem_get_page(l->slot->object, l->index, l->write, &l->pfn);
		if (!err)
			err = look_up(f);
	}
	return err ? err : rmap_prepare(l->slot, l->gfn);
}

/* A table, which is known before the way to it is made. What is no table any more may be written so, too. */
static bool writes_table(const struct shadow_leaf *l)
{
	const u64 *word = rmap_word(l->slot, l->gfn);

	return l->write && (__atomic_load_n(word, __ATOMIC_RELAXED) &
			    (RMAP_TABLE | RMAP_UNSYNC | RMAP_PROTECTED)) == RMAP_TABLE;
}

static int link_once(struct shadow_fault *f)
{
	int err;

	spin_lock(&f->v->vm->mmu_lock);
	err = link(f);
	shadow_finish(f->v->vm, &f->gone);
	spin_unlock(&f->v->vm->mmu_lock);
	return err;
}

static int enter(struct shadow_fault *f)
{
	struct shadow_leaf *l = &f->leaf;
	int err, words;

	l->index = memslot_index(l->slot, l->gfn);
	err = find_page(f);
	if (err)
		return err;
	/* As with EPT (fault.c): it may be the last of its 2 MiB. */
	if (!f->around && f->in_large)
		(void)mmu_collapse(f->v->vm, l->slot, l->gfn);
	if (writes_table(l) && !shadow_let_go(f->v->vm, l->gfn))
		return SHADOW_EMULATE;
	err = link_once(f);
	if (err == SHADOW_OUT_OF_STEP) {
		shadow_hold_step(f->v->vm);
		err = link_once(f);
		shadow_release_step(f->v->vm);
	}
	if (err != ERR_TOO_HARD)
		return err;
	/* Mostly they are there. */
	words = prepare_words(f);
	return words ? words : err;
}

static int fault_once(struct shadow_fault *f)
{
	struct mmu_vm *vm = f->v->vm;
	u32 reader = srcu_read_lock(&vm->srcu);
	struct shadow_leaf *l = &f->leaf;
	int err = memslot_look_up_cached(vm, l->gfn, l->write, &f->v->last_slot, &l->slot,
					 &f->slots_generation);

	if (err == ERR_NOSLOT)
		mmu_count_own(l->slot ? &f->v->stats.faults_readonly : &f->v->stats.faults_mmio, 1);
	else if (!err)
		f->slots_generation = SLOTS_STAY;
	if (!err)
		err = enter(f);
	if (err == ERR_TOO_HARD) {
		f->changing = l->slot->object;
		gmem_ref(f->changing);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/* Who changes the slot or the page may take long: waited for outside the reader (R24). */
static void wait_for_change(struct shadow_fault *f)
{
	if (f->changing) {
		gmem_wait_idle(f->changing, f->leaf.index);
		gmem_unref(f->changing);
	} else if (f->slots_generation != SLOTS_STAY) {
		memslots_wait_change(f->v->vm, f->slots_generation);
	}
}

static bool must_load(const struct mmu_vcpu *v)
{
	for (u32 i = 0; i < v->shadow.root_count; i++) {
		if (v->shadow.root[i] &&
		    __atomic_load_n(&v->shadow.root[i]->invalid, __ATOMIC_RELAXED))
			return true;
	}
	return !v->shadow.root_count;
}

/*
 * By a race with another vCPU the CPU has been refused what the tables give now, but not again and
 * again. With AC set it is what SMAP makes of an implicit access, of which the CPU tells nothing
 * (SDM 3A 4.6.1): to a descriptor, say.
 */
static u32 access_as_refused(struct shadow_fault *f, u32 access)
{
	struct shadow_vcpu *s = &f->v->shadow;

	f->refusals = s->refused_gva == f->gva ? s->refused : 0;
	s->refused = 0;
	if (likely(f->refusals < REFUSED_MAX) || f->p->cpl == 3)
		return access;
	return access | (u32)WALK_IMPLICIT_SUPERVISOR;
}

/* After a fault that has been served. */
static void note_served(const struct shadow_fault *f)
{
	struct shadow_vcpu *s = &f->v->shadow;

	if (f->leaf.refused) {
		s->refused = f->refusals + 1;
		s->refused_gva = f->gva;
	}
}

/* At a fault the CPU forgets what it knows of the address (SDM 3A 4.10.4.1). */
static bool forget_address(struct shadow_fault *f, struct shadow_page *sp, gpa_t where)
{
	u32 from, to;

	return sp->unsync &&
	       shadow_entries_of(sp, where.v & (PAGE_SIZE - 1), f->trace.entry_size, &from, &to) &&
	       shadow_sync_entries(f->v->vm, sp, from, to - from);
}

/* The guest's own fault is a use of its tables, too: it is likely to write to one of them now. */
static void note_use(struct shadow_fault *f)
{
	struct mmu_vm *vm = f->v->vm;
	u32 reader = srcu_read_lock(&vm->srcu);
	bool owed = false;

	spin_lock(&vm->mmu_lock);
	for (u32 i = 0; i < f->trace.count; i++) {
		gfn_t gfn = gpa_to_gfn(f->trace.where[i]);

		for (struct shadow_page *sp = *shadow_bucket(vm->shadow, gfn); sp; sp = sp->next) {
			if (sp->gfn.v != gfn.v)
				continue;
			sp->writes = sp->let_go = 0;
			owed |= forget_address(f, sp, f->trace.where[i]);
		}
	}
	/* This CPU has forgotten it by itself, and other vCPUs have had no fault. */
	if (owed)
		mmu_owe_flush(vm);
	spin_unlock(&vm->mmu_lock);
	srcu_read_unlock(&vm->srcu, reader);
}

/* Whether the vCPU's translations for the address changed. mmu_lock; in a reader. */
static bool sync_address(struct mmu_vcpu *v, u64 gva)
{
	struct shadow_page *sp = root_for(v, gva);

	while (sp) {
		u32 i = index_at(gva, sp->role.level);
		u64 e = page_table_read(&sp->table[i]);

		if (sp->role.level == 1)
			return sp->unsync && shadow_sync_entries(v->vm, sp, i, 1);
		sp = e && !(e & SPTE_PAGE) ? shadow_page_of(e) : NULL;
	}
	return false;
}

bool mmu_shadow_invlpg(struct mmu_vcpu *v, gva_t gva)
{
	struct mmu_vm *vm = v->vm;
	u32 reader;
	bool owed;

	/* The entry was written before, and its page was out of step by then. */
	if (shadow_in_step(vm))
		return mmu_flush_is_owed(vm);
	reader = srcu_read_lock(&vm->srcu);
	spin_lock(&vm->mmu_lock);
	if (sync_address(v, gva.v))
		mmu_owe_flush(vm);
	/* By whoever: this CPU may have it, too. */
	owed = mmu_flush_is_owed(vm);
	spin_unlock(&vm->mmu_lock);
	srcu_read_unlock(&vm->srcu, reader);
	return owed;
}

int mmu_shadow_fault(struct mmu_vcpu *v, const struct guest_paging *p, gva_t gva, u32 access,
		     struct shadow_answer *out)
{
	struct shadow_fault f = {
		.v = v,
		.p = p,
		.gva = p->efer & EFER_LMA ? gva.v : (u32)gva.v,
		.leaf.write = access & MMU_WRITE,
		.leaf.fetch = access & MMU_EXEC,
	};
	struct walk_result w;
	int err;

	list_init(&f.gone.pages);
	mmu_count_own(&v->stats.faults, 1);
	access = access_as_refused(&f, access);
	err = must_load(v) ? mmu_shadow_load(v, p) : 0;
	if (!err)
		err = shadow_topup(v);
	if (err)
		return err;
	err = guest_walk_trace(v->vm, p, gva, access, &w, &f.trace);
	if (err == ERR_FAULT) {
		out->error_code = w.error_code;
		mmu_count_own(&v->stats.guest_faults, 1);
		note_use(&f);
	}
	if (err)
		return err == ERR_NOSLOT ? ERR_NOENT : err == ERR_AGAIN ? 0 : err;
	out->gpa = w.gpa;
	f.leaf.gfn = gpa_to_gfn(w.gpa);
	f.in_large = !f.trace.count || w.page_size > PAGE_SIZE;
	rwsem_read_lock(&v->vm->mem_sem);
	err = fault_once(&f);
	rwsem_read_unlock(&v->vm->mem_sem);
	if (!err)
		note_served(&f);
	if (err != ERR_AGAIN && err != ERR_TOO_HARD)
		return err;
	mmu_count_own(&v->stats.faults_retry, 1);
	wait_for_change(&f);
	return 0;
}
