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
#include "mmu/shadow_private.h"

#define ENTRY_W	    BIT(1)
#define ENTRY_U	    BIT(2)
#define ENTRY_DIRTY BIT(6)
#define ENTRY_XD    BIT(63)
#define LEVEL_BITS  9
#define SLOTS_STAY  (~0ull) /* no array has this generation */

#define REFUSED_MAX 4u /* faults of one kind after which no race explains the next */

struct shadow_fault {
	struct mmu_vcpu *v;
	const struct guest_paging *p;
	u64 gva;
	bool write;
	struct walk_trace trace;
	gfn_t gfn;
	/* what is there */
	const struct memslot *slot;
	u64 index, seq;
	pfn_t pfn;
	bool may_write;
	bool refused; /* the tables gave already what the CPU refused, */
	u32 refusals; /* so often before */
	struct shadow_gone gone;
	/* what is to be waited for when no lock is held */
	u64 slots_generation;
	struct gmem *changing;
};

/* --- What the guest's entries are now; mmu_lock --- */

/* Without sleeping. false: it is not resident, or on its way out. */
static bool read_entry(struct mmu_vcpu *v, gpa_t gpa, u32 size, u64 *e)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	const struct memslot *s;
	u64 generation, index, seq;
	const u8 *at;
	pfn_t pfn;

	if (memslot_look_up(v->vm, gfn, false, NULL, &s, &generation))
		return false;
	index = memslot_index(s, gfn);
	seq = gmem_seq_sample(s->object, index);
	if (gmem_lookup(s->object, index, false, &pfn))
		return false;
	at = (const u8 *)pfn_to_virt(pfn) + (gpa.v & (PAGE_SIZE - 1));
	*e = size == 8 ? __atomic_load_n((const u64 *)(const void *)at, __ATOMIC_ACQUIRE)
		       : __atomic_load_n((const u32 *)(const void *)at, __ATOMIC_ACQUIRE);
	return gmem_seq_unchanged(s->object, index, seq);
}

static bool is_as_walked(const struct shadow_fault *f, u32 step)
{
	u64 e;

	return read_entry(f->v, f->trace.where[step], f->trace.entry_size, &e) &&
	       e == f->trace.entry[step];
}

/* What an entry leaves of the access. A page is not written unseen before its D is set. */
static u32 narrowed(const struct shadow_fault *f, const struct shadow_page *sp, u32 step,
		    u32 access)
{
	u64 e = f->trace.entry[step];

	if (!(e & ENTRY_W) || (step + 1 == f->trace.count && !(e & ENTRY_DIRTY)))
		access &= ~SHADOW_WRITE;
	if (!(e & ENTRY_U))
		access &= ~SHADOW_USER;
	if (sp->role.nx && (e & ENTRY_XD))
		access &= ~SHADOW_EXEC;
	return access;
}

/* --- The leaf --- */

/*
 * With CR0.WP clear the guest's supervisor writes where its entries do not allow it. The CPU always
 * has WP set: such a page is the supervisor's alone then, and a user's access changes that back.
 */
static int supervisor_write(const struct shadow_page *sp, u64 *spte)
{
	*spte |= SPTE_W;
	if (!(*spte & SPTE_U))
		return 0;
	/* The CPU would not keep the supervisor from reading what is the user's. */
	if (sp->role.smap)
		return SHADOW_EMULATE;
	*spte &= ~SPTE_U;
	if (sp->role.smep)
		*spte |= SPTE_NX;
	return 0;
}

/* The word is locked. What host and guest allow together, in *out. */
static int make_spte(struct shadow_fault *f, const struct shadow_page *sp, const u64 *word,
		     u32 access, u64 *out)
{
	u64 flags = __atomic_load_n(word, __ATOMIC_RELAXED), spte;
	bool may_write = f->may_write;

	if (flags & RMAP_PROTECTED) {
		if (f->write)
			return ERR_PERM;
		may_write = false;
	}
	if (flags & RMAP_TABLE) {
		if (f->write)
			return SHADOW_EMULATE;
		may_write = false;
	}
	if (f->slot->flags & MEMSLOT_LOG_DIRTY) {
		if (f->write)
			mmu_dirty_note(f->v->vm, f->slot, f->gfn);
		else
			may_write = false;
	}
	spte = pfn_to_hpa(f->pfn).v | SPTE_P | SPTE_ACCESSED;
	if (access & SHADOW_USER)
		spte |= SPTE_U;
	if (!(access & SHADOW_EXEC))
		spte |= SPTE_NX;
	*out = spte;
	if (access & SHADOW_WRITE)
		*out |= may_write ? SPTE_W : 0;
	else if (f->write)
		return supervisor_write(sp, out);
	return 0;
}

/* Rights that the one has and the other has not. */
static bool loses(u64 old, u64 new)
{
	return (old & ~new &(SPTE_W | SPTE_U)) || (new & ~old &SPTE_NX);
}

static int link_locked(struct shadow_fault *f, struct shadow_page *sp, u32 i, u64 *word, u32 access)
{
	struct mmu_vcpu *v = f->v;
	u64 *spte = &sp->table[i], old, new;
	int err;

	if (!gmem_seq_unchanged(f->slot->object, f->index, f->seq))
		return ERR_AGAIN;
	err = make_spte(f, sp, word, access, &new);
	if (err)
		return err;
	old = page_table_read(spte);
	if (!old) {
		f->gone.flush |= shadow_thin_leaves(word, v->stats.faults);
		/* First in the chain (R22). */
		err = rmap_add(word, spte, &v->rmaps);
		if (err)
			return err;
		sp->words[i] = word;
		__atomic_store_n(spte, new, __ATOMIC_SEQ_CST);
		mmu_count_own(&v->stats.mapped, 1);
		return 0;
	}
	/* Another page would have been taken away under this lock before. */
	BUG_ON((old ^ new) & SPTE_ADDRESS);
	if (!loses(new, old)) {
		mmu_count_own(&v->stats.faults_spurious, 1);
		f->refused = true;
		return 0;
	}
	/* The CPU may set A and D meanwhile: of neither anything depends that is not set here. */
	(void)__atomic_exchange_n(spte, new, __ATOMIC_SEQ_CST);
	if (loses(old, new))
		mmu_flush(v->vm);
	return 0;
}

static int link_leaf(struct shadow_fault *f, struct shadow_page *sp, u32 i, u32 access)
{
	u64 *word = rmap_word(f->slot, f->gfn);
	int err;

	if (!word)
		return ERR_TOO_HARD;
	/* What was there has another gfn, or was swept away. */
	if (sp->words[i] && (sp->words[i] != word || !page_table_read(&sp->table[i])))
		f->gone.flush |= shadow_zap_entry(sp, i);
	rmap_lock(word);
	err = link_locked(f, sp, i, word, access);
	rmap_unlock(word);
	return err;
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
		role->dirty = !!(f->trace.entry[step] & ENTRY_DIRTY);
	role->direct = 1;
	*gfn = GFN(align_down(f->gfn.v, BIT(role->level * LEVEL_BITS)));
}

/* The page that the entry leads to, which is made to if it does not. */
static int step_down(struct shadow_fault *f, struct shadow_page *sp, u32 i, gfn_t gfn,
		     union shadow_role role, struct shadow_page **out)
{
	u64 e = page_table_read(&sp->table[i]);
	int err;

	if (e) {
		*out = shadow_page_of(e);
		if ((*out)->gfn.v == gfn.v && (*out)->role.word == role.word)
			return 0;
		f->gone.flush |= shadow_zap_entry(sp, i);
	}
	err = shadow_get(f->v, gfn, role, out);
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

static struct shadow_page *root_for(const struct shadow_fault *f)
{
	const struct shadow_vcpu *s = &f->v->shadow;

	if (s->root_count == 1)
		return s->root[0];
	return s->root_count ? s->root[(f->gva >> 30) & (SHADOW_ROOTS - 1)] : NULL;
}

static int link(struct shadow_fault *f)
{
	struct shadow_page *sp = root_for(f);
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
			access = narrowed(f, sp, step, access);
		}
		sp->writes = 0;
		if (sp->role.level == 1)
			return link_leaf(f, sp, i, access);
		key_below(f, sp, step, access, &gfn, &role);
		err = step_down(f, sp, i, gfn, role, &sp);
		if (err)
			return err;
	}
}

/* --- In thread context, without a lock --- */

/* The rmap words of the guest's tables, and of the page. In a reader. */
static int prepare_words(struct shadow_fault *f)
{
	int err = rmap_prepare(f->slot, f->gfn);
	const struct memslot *s;
	u64 generation;

	for (u32 i = 0; i < f->trace.count && !err; i++) {
		gfn_t gfn = gpa_to_gfn(f->trace.where[i]);

		err = memslot_look_up(f->v->vm, gfn, false, NULL, &s, &generation);
		err = err ? ERR_AGAIN : rmap_prepare(s, gfn);
	}
	return err;
}

/* The guest's own entry lets its page be written without another fault. */
static bool maps_writable(const struct shadow_fault *f)
{
	const struct walk_trace *t = &f->trace;

	return !t->count ||
	       (t->entry[t->count - 1] & (ENTRY_W | ENTRY_DIRTY)) == (ENTRY_W | ENTRY_DIRTY);
}

/*
 * The page if it is resident, without a lock: the sequence tells whether it still is when it is
 * linked (R08). Mapped writable at once if that can be, as h_enter.c does.
 */
static int look_up(struct shadow_fault *f)
{
	struct gmem *g = f->slot->object;
	bool wants = !(f->slot->flags & MEMSLOT_READONLY) &&
		     (f->write || (maps_writable(f) && !gmem_is_hard(g, f->index)));

	f->seq = gmem_seq_sample(g, f->index);
	if (!gmem_seq_idle(f->seq))
		return ERR_TOO_HARD;
	f->may_write = wants && gmem_lookup(g, f->index, true, &f->pfn) == 0;
	if (f->may_write)
		return 0;
	return f->write ? ERR_TOO_HARD : gmem_lookup(g, f->index, false, &f->pfn);
}

/* The page, and after it the words: who is refused the one, memory being short, gets no other. */
static int find_page(struct shadow_fault *f)
{
	int err = look_up(f);

	if (err) {
		err = gmem_get_page(f->slot->object, f->index, f->write, &f->pfn);
		if (!err)
			err = look_up(f);
	}
	return err ? err : prepare_words(f);
}

static int enter(struct shadow_fault *f)
{
	bool on;
	int err;

	f->index = memslot_index(f->slot, f->gfn);
	err = find_page(f);
	if (err)
		return err;
	on = spin_lock_irqsave(&f->v->vm->mmu_lock);
	err = link(f);
	shadow_finish(f->v->vm, &f->gone);
	spin_unlock_irqrestore(&f->v->vm->mmu_lock, on);
	return err;
}

static int fault_once(struct shadow_fault *f)
{
	struct mmu_vm *vm = f->v->vm;
	u32 reader = srcu_read_lock(&vm->srcu);
	int err = memslot_look_up(vm, f->gfn, f->write, &f->v->last_slot, &f->slot,
				  &f->slots_generation);

	if (err == ERR_NOSLOT)
		mmu_count_own(f->slot ? &f->v->stats.faults_readonly : &f->v->stats.faults_mmio, 1);
	else if (!err)
		f->slots_generation = SLOTS_STAY;
	if (!err)
		err = enter(f);
	if (err == ERR_TOO_HARD) {
		f->changing = f->slot->object;
		gmem_ref(f->changing);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/* Who changes the slot or the page may take long: waited for outside the reader (R24). */
static void wait_for_change(struct shadow_fault *f)
{
	if (f->changing) {
		gmem_wait_idle(f->changing, f->index);
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

	if (f->refused) {
		s->refused = f->refusals + 1;
		s->refused_gva = f->gva;
	}
	if (f->write && s->let_write_gfn == f->gfn.v)
		s->let_write = 0;
}

int mmu_shadow_fault(struct mmu_vcpu *v, const struct guest_paging *p, gva_t gva, u32 access,
		     struct shadow_answer *out)
{
	struct shadow_fault f = {
		.v = v,
		.p = p,
		.gva = p->efer & EFER_LMA ? gva.v : (u32)gva.v,
		.write = access & MMU_WRITE,
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
	}
	if (err)
		return err == ERR_NOSLOT ? ERR_NOENT : err == ERR_AGAIN ? 0 : err;
	out->gpa = w.gpa;
	f.gfn = gpa_to_gfn(w.gpa);
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
