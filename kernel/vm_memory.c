/* SPDX-License-Identifier: MIT */
#include "kernel/vm_memory.h"

#include "kernel/base/log.h"
#include "kernel/base/size_text.h"
#include "kernel/vm_private.h"

/* A VM waits in vain if it tries again within GAP; for so long before any is paused; and so long
 * between two pauses, to see what one was good for. */
#define VAIN_GAP_NS    500000000ull
#define PATIENCE_NS    1000000000ull
#define DECISION_NS    1000000000ull
#define CALM_NS	       10000000000ull /* nobody else having waited for so long a VM runs on what it has */
#define LINES_AT_FIRST 4u
/* A look at all there is may take milliseconds: where nothing is to be had CPUs are not to be spent on it. */
#define SLEEP_NS      10000000ull
#define SLEEP_MOST_NS 80000000ull

static u64 decided_ns; /* atomic; when a VM was paused or went on last */

static u64 look(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static u32 reasons(const struct vm *vm)
{
	return __atomic_load_n(&vm->paused, __ATOMIC_SEQ_CST);
}

static bool within(u64 last, u64 now, u64 ns)
{
	return last && now - min(now, last) < ns;
}

/* Asleep, or at its next try, which may take long where many try on one CPU; or on its way there. */
static bool waits(const struct vm *vm, u64 now)
{
	return __atomic_load_n(&vm->memory.waiting, __ATOMIC_RELAXED) ||
	       within(look(&vm->memory.vain_ns), now, VAIN_GAP_NS);
}

/* Has waited for long. */
static bool is_patient(const struct vm *vm, u64 now)
{
	return now - min(now, look(&vm->memory.vain_since_ns)) >= PATIENCE_NS;
}

/* One thread decides at a time, and not again at once. */
static bool may_decide(u64 now)
{
	u64 last = look(&decided_ns);

	return !within(last, now, DECISION_NS) &&
	       __atomic_compare_exchange_n(&decided_ns, &last, now, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

/*
 * The first few times, and then at powers of two: a guest can make it happen as often as it likes.
 * Nor by starting again each time.
 */
static bool is_loud(const struct vm *vm, u32 pauses)
{
	return restart_is_loud(vm->restart) &&
	       (pauses <= LINES_AT_FIRST || (pauses & (pauses - 1)) == 0);
}

static u64 resident_of(const struct vm *vm)
{
	return look(&vm->ram->resident);
}

/* More memory would not help it. */
static bool has_its_max(const struct vm *vm)
{
	return resident_of(vm) >= look(&vm->ram->resident_max);
}

/* It has pages that may be taken: psize=2M counts as min=. */
static bool may_give(const struct vm *vm)
{
	return resident_of(vm) > vm->reclaim.terms.min;
}

/* --- What would help whom --- */

static void tell_wait(struct vm *vm)
{
	enum wait {
		FOR_OWN = BIT(0),
		FOR_LARGE = BIT(1),
		FOR_OTHERS = BIT(2),
	} wait = has_its_max(vm) ? FOR_OWN : vm->config.page_order ? FOR_LARGE : FOR_OTHERS;

	if (!restart_is_loud(vm->restart) ||
	    (__atomic_fetch_or(&vm->memory_waits_told, wait, __ATOMIC_RELAXED) & wait))
		return;
	if (wait == FOR_OWN)
		log_warn("vm %s: waits for memory: it has all of its max=%s, and nothing of that "
			 "can "
			 "be put away now: give it a larger max=, or Weir a swap disk",
			 vm->name, size_text(look(&vm->ram->resident_max) << PAGE_SHIFT).text);
	else if (wait == FOR_LARGE)
		log_warn("vm %s: waits for 2M of memory in one piece, %s: end another VM, or "
			 "start it without psize=2M",
			 vm->name, reclaim_free_text().text);
	else
		log_warn("vm %s: waits for memory, %s: end another VM, or start with less mem= in "
			 "all",
			 vm->name, reclaim_free_text().text);
}

/* --- Who is paused --- */

struct choice {
	struct vm *furthest; /* over its share, of those that wait and may give; NULL: none */
	struct vm *largest;  /* of the others, by what it has resident */
	u32 waiting;
};

static void choose(struct vm *const *vms, u32 n, u64 now, struct choice *c)
{
	*c = (struct choice){.waiting = 0};
	for (u32 i = 0; i < n; i++) {
		if (reasons(vms[i]) || !waits(vms[i], now))
			continue;
		c->waiting++;
		if (!may_give(vms[i]))
			continue;
		if (!c->furthest || reclaim_gives_first(&vms[i]->reclaim, &c->furthest->reclaim))
			c->furthest = vms[i];
	}
	for (u32 i = 0; i < n; i++) {
		if (vms[i] != c->furthest &&
		    (!c->largest || resident_of(vms[i]) > resident_of(c->largest)))
			c->largest = vms[i];
	}
}

static void pause(const struct choice *c, u64 now)
{
	struct vm *vm = c->furthest;
	u32 pauses = __atomic_add_fetch(&vm->memory.pauses, 1, __ATOMIC_RELAXED);

	__atomic_store_n(&vm->memory.paused_ns, now, __ATOMIC_RELAXED);
	if (is_loud(vm, pauses))
		log_warn(
			"vm %s: paused for memory, being furthest over its share with %s resident; "
			"it goes on when there is memory: end another VM (%s has %s), or start "
			"with "
			"less mem= in all",
			vm->name, size_text(resident_of(vm) << PAGE_SHIFT).text, c->largest->name,
			size_text(resident_of(c->largest) << PAGE_SHIFT).text);
	vm_set_paused(vm, VM_PAUSED_FOR_MEMORY, 0);
}

/* None of them can be taken apart until put_all: who waits for that is not to wait for a turn of a weak one's. */
static u32 refer_to_all(struct vm **vms)
{
	thread_hurry(thread_current(), HURRY_A_WHILE);
	return vm_list(vms, CONFIG_VMS_MAX);
}

static void put_all(struct vm *const *vms, u32 n)
{
	for (u32 i = 0; i < n; i++)
		vm_put(vms[i]);
	thread_hurry_no_more(thread_current());
}

static void decide(struct vm *vm, u64 now)
{
	struct vm *vms[CONFIG_VMS_MAX];
	struct choice c;
	u32 n;

	if (!is_patient(vm, now) || !may_decide(now))
		return;
	n = refer_to_all(vms);
	choose(vms, n, now, &c);
	if (c.waiting > 1 && c.furthest && is_patient(c.furthest, now))
		pause(&c, now);
	put_all(vms, n);
}

/* Not where it is its own bound, or pages of 2 MiB: nobody else's doing. */
static bool is_for_others(const struct vm *vm)
{
	return reclaim_is_short() && !has_its_max(vm);
}

static void count(struct vm *vm, struct memory_wait *w, bool counted)
{
	__atomic_fetch_add(&vm->memory.waiting, (u32)counted - w->counted, __ATOMIC_RELAXED);
	w->counted = counted;
}

void vm_wants_memory(struct vm *vm, struct memory_wait *w)
{
	bool again;

	w->begun_ns = clock_ns();
	again = w->in_vain && within(w->ended_ns, w->begun_ns, VAIN_GAP_NS);
	count(vm, w, again && is_for_others(vm));
	if (!has_its_max(vm))
		vm_list_hurry_end();
}

u64 vm_waits_in_vain(struct vm *vm, struct memory_wait *w)
{
	struct vm_memory *m = &vm->memory;
	bool again = within(w->ended_ns, w->begun_ns, SLEEP_NS), for_others = is_for_others(vm);
	u64 now = clock_ns();

	tell_wait(vm);
	w->sleep_ns = again ? min(2 * w->sleep_ns, SLEEP_MOST_NS) : SLEEP_NS;
	/* No other vCPU of it waits, nor has waited when this one began. */
	if (for_others && !waits(vm, w->begun_ns))
		__atomic_store_n(&m->vain_since_ns, now, __ATOMIC_RELAXED);
	count(vm, w, for_others);
	if (for_others) {
		__atomic_store_n(&m->vain_ns, now, __ATOMIC_RELAXED);
		decide(vm, now);
	}
	return w->sleep_ns;
}

void vm_wanted_memory(struct vm *vm, struct memory_wait *w, bool found)
{
	w->ended_ns = found ? 0 : clock_ns();
	w->in_vain = w->counted && !found;
	if (w->in_vain)
		__atomic_store_n(&vm->memory.vain_ns, w->ended_ns, __ATOMIC_RELAXED);
	count(vm, w, false);
}

/* --- Who goes on --- */

static bool has_waited_lately(const struct vm *vm, u64 now)
{
	return within(look(&vm->memory.vain_ns), now, CALM_NS);
}

/*
 * Of those that are paused for memory the one that is least over its share goes on, when nobody
 * else wants what there is, or has wanted any for long; or when nobody else is there for whom it
 * would stay paused.
 */
static bool is_its_turn(const struct vm *vm, struct vm *const *vms, u32 n, u64 now)
{
	bool others_run = false, calm = now - min(now, look(&vm->memory.paused_ns)) >= CALM_NS;

	for (u32 i = 0; i < n; i++) {
		if (vms[i] == vm)
			continue;
		calm = calm && !has_waited_lately(vms[i], now);
		if (!reasons(vms[i])) {
			others_run = true;
			if (waits(vms[i], now))
				return false;
		} else if ((reasons(vms[i]) & VM_PAUSED_FOR_MEMORY) &&
			   reclaim_gives_first(&vm->reclaim, &vms[i]->reclaim)) {
			return false;
		}
	}
	return !others_run || calm || !reclaim_is_short();
}

void vm_look_for_memory(struct vm *vm)
{
	struct vm *vms[CONFIG_VMS_MAX];
	u64 now = clock_ns();
	u32 n = refer_to_all(vms);

	if ((reasons(vm) & VM_PAUSED_FOR_MEMORY) && is_its_turn(vm, vms, n, now) &&
	    may_decide(now)) {
		if (is_loud(vm, __atomic_load_n(&vm->memory.pauses, __ATOMIC_RELAXED)))
			log_info("vm %s: goes on, after it was paused for memory for %llu ms",
				 vm->name,
				 (unsigned long long)(now - look(&vm->memory.paused_ns)) / 1000000);
		vm_set_paused(vm, 0, VM_PAUSED_FOR_MEMORY);
	}
	put_all(vms, n);
}
