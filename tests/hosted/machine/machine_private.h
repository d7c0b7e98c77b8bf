/* SPDX-License-Identifier: MIT */
/*
 * What the machine's own files share: the model's words, and the window of time in which an access
 * is judged. machine.h is for scenarios.
 */
#ifndef TESTS_HOSTED_MACHINE_MACHINE_PRIVATE_H
#define TESTS_HOSTED_MACHINE_MACHINE_PRIVATE_H

#include "mmu/shadow.h"
#include "tests/hosted/machine/fake_cpu.h"
#include "tests/hosted/machine/machine.h"
#include "tests/hosted/points_off.h"

#define relaxed(p)	  __atomic_load_n((p), __ATOMIC_RELAXED)
#define relaxed_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define relaxed_add(p, n) __atomic_fetch_add((p), (n), __ATOMIC_RELAXED)

/* What the model's readers copy while its one writer writes elsewhere. */
#define MODEL __attribute__((no_sanitize("thread"), noinline))

enum page_word {
	PAGE_STAMP,
	PAGE_COUNT,
};

#define LOW_COUNT     0xffffffffull /* of machine_page.low */
#define COUNT_UNKNOWN (~0ull)

/* --- machine_model.c ------------------------------------------------------------------------- */

/* A page that an access may meet. */
struct candidate {
	struct machine_slot slot;
	struct machine_page *page;
	u64 index;
	bool early; /* was one when the access began: the rest is from then */
	u64 moves, drops, low, entry;
	u64 taken; /* pages of the object that had been put away */
	bool unreadable;
};

#define CANDIDATES_MAX 8
struct window {
	u64 from, to; /* versions */
	u32 count;
	struct candidate candidate[CANDIDATES_MAX];
	bool always;	  /* every view has a slot there */
	bool writable;	  /* every view has one that may be written */
	bool lost;	  /* too many to judge */
	const u64 *guard; /* NULL: the page has none */
	u64 guarded;	  /* what it was when the window opened */
};

void window_open(const struct machine_vm *vm, struct window *w, u64 gfn);
/* What is shown up to now may be met too. */
void window_close(const struct machine_vm *vm, struct window *w, u64 gfn);

u64 stamp_of(const struct candidate *c);

/* The access may be told that the page is lost. Fails the run unless one that it may meet is. */
void judge_lost(const struct window *w, u64 gfn, int err);

/* All the time the guest's own protection let it write, or kept it from that. */
bool always_open(const struct window *w);
bool always_guarded(const struct window *w);

/*
 * The page that was accessed; NULL where several may have been. Fails the run when what was found
 * is none of them. pfn: NULL where it is not known. stamp 0: not written yet, or not known.
 */
const struct candidate *judge(const struct window *w, u64 gfn, u32 access, const pfn_t *pfn,
			      u64 stamp, u64 count);

/* Around a write. to: the page that was written; NULL: any of them. */
void write_begins(void);
void write_ended(const struct window *w, const struct candidate *to);
void write_never(void); /* it failed, and nothing was written */

/* A gfn to access. Most are near one another, so that CPUs meet. */
u64 pick_gfn(const struct machine_vm *vm, u64 *random);

/* Around the VM's end: its slots go, and are gone. */
void slots_vanish(struct machine_vm *vm);
void slots_vanished(struct machine_vm *vm);

/* --- machine_guest.c ------------------------------------------------------------------------- */

/* For a guest's CPU with nothing to do: stands still where it is to, or lets others go on. */
void machine_stand(void);
/* The CPUs log dirty pages. Before a run. */
void machine_logs(void);
void machine_drain(struct mmu_vm *vm);
/* The scenario's. */
extern void (*machine_memory_init)(void);
extern void (*machine_no_memory)(struct machine_vm *vm);
extern bool (*machine_before_entry)(struct machine_vm *vm, struct mmu_vcpu *v);
extern void (*machine_call)(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random);

/* --- machine_linear.c: vCPUs without EPT ----------------------------------------------------- */

#define LINEAR_GFNS BIT(32 - PAGE_SHIFT) /* that a guest without paging reaches */

/* A root, if it has none. False: no memory. */
bool linear_load(struct machine_vm *vm, struct mmu_vcpu *v);
/* VM entry; the rest on the same CPU, as fake_linear.h says. */
void linear_enter(struct machine_vm *vm, struct mmu_vcpu *v);
enum fake_outcome linear_translate(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva, u32 access,
				   pfn_t *out);
void linear_speculate(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva, u64 *random);
/* In thread context: as vmx/shadow.c. */
int linear_fault(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva, u32 access,
		 struct shadow_answer *answer);

/* --- machine_jobs.c -------------------------------------------------------------------------- */

/* Device emulation: reads a page, or counts in it, by the hypervisor's own functions. */
void device_access(struct machine_vm *vm, u64 *random);

/* --- machine_on.c ---------------------------------------------------------------------------- */

/* Points, of one that waits for others. */
#define LOOK_AGAIN 200

/* The machine with this much memory and nothing in it; machine's words say what its CPUs can do. */
void machine_on(u64 memory, u64 random);
/* The end, by some job: all frames have come back. machine_rcu_job returns. */
void machine_off(void);
/* A job that runs the callbacks of RCU and SRCU. */
void machine_rcu_job(void *arg);

/*
 * Runs fn(arg) in a process of its own, so that no run depends on those before it. Returns its
 * status: 0, it came back.
 */
int machine_apart(void (*fn)(void *arg), void *arg);
/* Zeroed memory that such processes have in common. */
void *machine_shared(u64 size);

/*
 * Time on the host's CPUs, of this process and those it has made; what WEIR_SEED says, or the date.
 */
u64 run_clock_ns(void);
u64 run_seed(void);
/* Whether WEIR_FUZZ is full; the time that it gives: half of the short one where it is quick. */
bool run_is_full(void);
u64 run_budget_ns(u64 short_ns, u64 full_ns);

#endif
