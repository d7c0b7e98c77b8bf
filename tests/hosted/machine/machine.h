/* SPDX-License-Identifier: MIT */
/*
 * VMs on the fake machine, with a model beside them that knows what a guest may find. Each page of
 * guest memory has a stamp that says which object and page it is, or in some runs only of which
 * class, and a count of the writes to it;
 * the model says which page a gfn shows, or showed at some moment of an access, how often the page
 * was written, and whether somebody is moving or dropping it. What a guest CPU gets through its
 * TLB is held against that at every access.
 *
 * The model is not synchronised with anything: its words are relaxed atomics, so that it adds no
 * order to what ThreadSanitizer sees of the code under test.
 */
#ifndef TESTS_HOSTED_MACHINE_MACHINE_H
#define TESTS_HOSTED_MACHINE_MACHINE_H

#include "mem/gmem.h"
#include "mmu/mmu.h"
#include "mmu/shadow.h"
#include "tests/hosted/random.h"

#define MACHINE_VMS	2
#define MACHINE_SLOTS	16  /* of one VM */
#define MACHINE_OBJECTS 512 /* in one run */
#define MACHINE_VCPUS	4
#define MACHINE_GUARDS	64  /* pages */
#define MACHINE_VIEWS	256 /* slot arrays that are remembered */

/* Where a page has its count of writes: from 0 on, or from its stamp where that was all over it. */
#define MACHINE_COUNT_AT 8

struct machine_page {
	u64 moves; /* odd: its frame is changing */
	u64 drops; /* odd: its contents are being dropped */
	/* times of writing that surely, and at most, are in its count */
	u64 low; /* upper half: how often it was dropped */
	u64 high;
	u64 unreadable; /* the disk could not give it, and its owner was told: nobody has it again */
};

/* Stays until the run's end, without its gmem when that is gone. Its place is in its stamps. */
struct machine_object {
	struct gmem *gmem;
	u64 pages;
	struct machine_page *page;
};

struct machine_slot {
	u64 base, pages, first;
	u32 id, flags;
	struct machine_object *object;
};

/* What the slots are while nobody changes them. */
struct machine_view {
	u32 count;
	struct machine_slot slot[MACHINE_SLOTS];
};

/* What vmx/ knows of a vCPU without EPT. Of who runs it. */
struct machine_linear {
	struct guest_paging paging;
	u64 cr3; /* what the CPU got */
	u16 vpid;
	u32 cpu; /* that it has its VPID on */
};

struct machine_vm {
	struct mmu_vm mmu;
	struct mmu_vcpu vcpu[MACHINE_VCPUS];
	struct machine_linear linear[MACHINE_VCPUS]; /* with shadow paging, of each vCPU */
	bool vcpu_busy[MACHINE_VCPUS];		     /* atomic: some CPU runs it, or nobody may */
	/*
	 * 2n: the slots are view n. 2n + 1: they are on their way from view n to view n + 1, and
	 * either may be met.
	 */
	u64 version;
	struct machine_view view[MACHINE_VIEWS]; /* view n is number n % MACHINE_VIEWS */
	/*
	 * Pages from guard_base on that the guest protects by its own calls (atomic): modulo 4 it is
	 * 0 not so, 2 protected, odd on the way from one to the other.
	 */
	u64 guard_base;
	u64 guard[MACHINE_GUARDS];
};

/* One who changes a page, or its guard, has it alone in the model. False: another has it now. */
bool machine_take(u64 *word);
void machine_give(u64 *word);

/* What a scenario's runs met: those without EPT count in scenarios that are `linear`. */
#define MACHINE_MET(X)                                               \
	X(invalid)   /* faults at a slot that was INVALID */         \
	X(kicks)     /* CPUs made to leave the guest, for a flush */ \
	X(large)     /* 2 MiB mapped, */                             \
	X(split)     /* split, */                                    \
	X(collapsed) /* and collapsed */

struct machine_met {
#define MACHINE_MET_FIELD(name) u64 name;
	MACHINE_MET(MACHINE_MET_FIELD)
};

/* What a run is like, and what came of it. */
struct machine {
	u64 seed;
	bool serial;
	bool accessed_dirty;
	bool shadow; /* no EPT: guests have shadow paging */
	bool pml;
	bool failing; /* allocations fail now and then */
	bool few_pins;
	bool reclaims; /* memory is short, and pages are taken that the model is not told of */
	u32 alike; /* pages have no more than so many stamps, so that many are equal; 0: each its own */
	u32 hot_slot, hot_pages; /* where most accesses go */
	struct machine_vm vm[MACHINE_VMS];
	u32 vms;
	struct machine_object object[MACHINE_OBJECTS];
	u32 objects; /* atomic */
	u64 pages;   /* atomic; of all objects */
	u32 working; /* atomic: CPUs that have not come to the run's end, */
	u32 served;  /* and those of them that may wait for a job that serves */
	u32 guests;
	bool stopped; /* atomic: guests are to stand still */
	u32 standing; /* atomic: how many do */
	/* atomic */
	u64 accesses, writes, faults, no_slot, retries, rounds;
	struct machine_met met; /* atomic; of VMs that have ended */
};
extern struct machine machine;

/* Prints what is wrong, with the seed, and ends the program. */
#define machine_fail(...) machine_fail_at(__FILE__, __LINE__, __VA_ARGS__)
void __noreturn machine_fail_at(const char *file, int line, const char *fmt, ...)
	__printf_like(3, 4);

/* --- Runs ------------------------------------------------------------------------------------ */

struct machine_job {
	const char *name;
	void (*fn)(u64 *random); /* does one thing; again and again, with pauses */
	bool serves;		 /* others may wait for it: it ends after those that do not */
};

struct machine_scenario {
	const char *name;
	u64 memory; /* bytes */
	u32 vms;
	u32 guests;		     /* CPUs that run them */
	u64 accesses, rounds;	     /* of guests and of all jobs, until the run ends */
	bool (*enough)(void);	     /* the run goes on until it says so, too; NULL: always */
	void (*set_up)(u64 *random); /* alone, on a CPU; the VMs are there */
	struct machine_job jobs[6];
	void (*tear_down)(void); /* alone again: what set_up and the jobs left, but for slots */
	/*
	 * On a vCPU's CPU in thread context, each may be NULL: before its stays in the guest (false:
	 * it cannot run now), and now and then a call that the guest makes.
	 */
	bool (*before_entry)(struct machine_vm *vm, struct mmu_vcpu *v);
	void (*call)(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random);
	bool few_pins; /* devices may find none left */
	/*
	 * Memory is short: pages are taken that nobody names in the model, and what a guest asks for may
	 * be refused. In the place of pool_init and share_init; NULL: no. no_memory: a vCPU of the VM
	 * was refused a frame, and holds nothing.
	 */
	void (*memory_init)(void);
	void (*no_memory)(struct machine_vm *vm);
	u64 choice_ns; /* see struct hosted_way */
	u32 alike;     /* see struct machine: pages may change frames when they are written */
	bool logs;     /* some runs have CPUs that log dirty pages (PML) */
	bool linear;   /* all runs have shadow paging; else some have */
	/*
	 * Of a hundred serial runs that count, how many are to have faults that lose a race in exit
	 * context; and what ten runs that count are to meet. They go on until they have, within
	 * bounds.
	 */
	u32 races_lost;
	struct machine_met meets;
};

/*
 * Runs with seeds that follow one another, each printed; more by WEIR_FUZZ=full. Under
 * ThreadSanitizer the threads run as the host has them; else mostly one at a time, and each choice
 * comes from the seed. As many runs as there are of them have all kinds of CPUs (EPT, with A and D
 * bits, with PML, none), and twice as many each with allocations that fail and without. What goes
 * wrong ends the program.
 */
void machine_runs(const struct machine_scenario *s);

/* --- Objects and slots: set_up, tear_down, and one job for each VM --------------------------- */

/* NULL: no memory. */
struct machine_object *machine_object_new(u64 pages, u32 order);
/* The model's reference on its gmem; of the object there is no more to be found then. */
void machine_object_free(struct machine_object *o);
void machine_objects_end(void); /* of all, at the end of the run */

/* As memslot_*, results too; the model follows. */
int machine_slot_create(struct machine_vm *vm, const struct machine_slot *s);
int machine_slot_delete(struct machine_vm *vm, u32 id);
/* The last slot that shows its object, which goes with it. */
int machine_slot_delete_last(struct machine_vm *vm, u32 id);
int machine_slot_move(struct machine_vm *vm, u32 id, u64 base);
int machine_slot_flags(struct machine_vm *vm, u32 id, u32 flags);
const struct machine_view *machine_slots(const struct machine_vm *vm); /* as they are */

/* Makes mmu and vcpu; ends them with all slots, while every vCPU is busy. */
void machine_vm_start(struct machine_vm *vm);
void machine_vm_end(struct machine_vm *vm);
/* stop: when it returns no CPU runs a vCPU of the VM, nor will one, until go. */
void machine_vcpus_stop(struct machine_vm *vm);
void machine_vcpus_go(struct machine_vm *vm);

/* Fails the run unless a change that was tried is allowed to end so. Returns err. */
int machine_may_fail(int err, int allowed);

/* --- Guests ---------------------------------------------------------------------------------- */

/*
 * A vCPU's stay in the guest on this CPU: some accesses with their faults. Or one access of a
 * device's.
 */
void machine_guest_turn(u64 *random);

/* One access on this CPU, with its faults. False: a device is there, or a right is missing. */
bool machine_access(struct machine_vm *vm, struct mmu_vcpu *v, u64 gfn, u32 access);
/* The hypervisor's own: a count in the page; else a look at its stamp or its count. */
bool machine_device_access(struct machine_vm *vm, u64 gfn, bool write, bool look);

/* One of the pages, of an object or a slot, that most accesses go to. */
u64 machine_hot_page(u64 *random);

/* The others go on for a while. */
void machine_pause(u64 *random);

/* No guest runs and no device is emulated until machine_resume. By one job at a time. */
void machine_stop(void);
void machine_resume(void);

/* --- Guests with tables of their own (machine_linear.c) -------------------------------------- */

/* MOV to CR3, or a change of mode. False: no memory. */
bool machine_linear_load(struct machine_vm *vm, struct mmu_vcpu *v, const struct guest_paging *p);
void machine_linear_invlpg(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva);
void machine_linear_user(struct machine_vm *vm, struct mmu_vcpu *v, bool user);

/* An access at a linear address; fn is called in the guest, with where it leads to. */
struct machine_touch {
	u64 gva;
	u32 access;
	void (*fn)(void *arg, u8 *at);
	void *arg;
	struct shadow_answer answer;
};
/* With its faults. 0, or what mmu_shadow_fault answers and no CPU goes on with. */
int machine_linear_touch(struct machine_vm *vm, struct mmu_vcpu *v, struct machine_touch *t);

/* --- What others do to pages (machine_jobs.c) ------------------------------------------------ */

/* Some pages of the object go to other frames, and the old ones are overwritten and freed. */
void machine_reclaim(struct machine_object *o, u64 *random);
void machine_reclaim_pages(struct machine_object *o, u64 first, u64 n);
/*
 * As kaged takes pages: their frames go, their contents are put away, and come back by a fault.
 * Returns how many were packed.
 */
u64 machine_put_away(struct machine_object *o, u64 *random);
/* Of up to 64 pages within 2 MiB those with a bit. */
u64 machine_put_away_pages(struct machine_object *o, u64 first, u64 n, u64 marked);
/*
 * Pages that are resident go straight to the disk when they are taken. Those that the disk has, too,
 * are left as they are: there it counts whether they were written.
 */
void machine_harden(struct machine_object *o);
/* The contents of a page are dropped. */
void machine_drop(struct machine_object *o, u64 *random);
void machine_drop_page(struct machine_object *o, u64 index);
/* The same by someone else: false, somebody has it. Around it; dropped: it came to that. */
bool machine_drop_begins(struct machine_page *page);
void machine_drop_ended(struct machine_page *page, bool dropped);
/* The page's stamp is all over it, also where it counts; in runs whose pages are alike. */
void machine_fill(struct machine_object *o, u64 index);
/* Some pages are aged, or asked whether they are young. */
void machine_age(struct machine_object *o, u64 *random);

/* Nothing runs: every page holds what it should. */
void machine_check_contents(void);

/* --- A disk that they go to (machine_disk.c, tests/hosted/fake_disk.h) ------------------------ */

/* In set_up. The seed of its marks is what random is. */
void machine_disk_attach(u64 blocks, const u64 *random);
/* machine_put_away, mostly of pages that are hard: they go to the disk, not to the pool. */
void machine_put_away_hard(struct machine_object *o, u64 *random);
/* A job: some requests that wait are done, fewer than 8, or than most. */
void machine_disk(u64 *random);
void machine_disk_turn(u64 *random, u32 most);
/* Pages have been written, and read back; or allocations fail, and perhaps none can be. */
bool machine_disk_was_used(void);
/* One read in so many fails from now on; 0: none any more. After machine_disk_attach. */
void machine_disk_fail_reads(u32 every);
/* The object's owner is told that this page is lost: whoever wants it is told so, too, from now on. */
void machine_page_is_lost(struct machine_object *o, u64 index);
/* In tear_down: what is still on its way gets there, and nothing was damaged that was not to be. */
void machine_disk_finish(void);
/* That; then the object's pages are dropped, no block may be left, and the disk goes. */
void machine_disk_end(struct machine_object *o);

/* --- Pairs of operations (machine_pairs.c) --------------------------------------------------- */

struct machine_operation {
	const char *name;
	void (*fn)(struct mmu_vcpu *v);
};

struct machine_pair {
	const char *first, *second;
};

struct machine_pairs {
	const char *name;
	u64 memory; /* bytes */
	bool logs;  /* as a scenario's */
	u32 variants;
	void (*set_up)(u32 variant); /* alone, on a CPU; a VM is there */
	void (*prepare)(struct mmu_vcpu *v,
			u32 variant); /* on the CPU of each, one after the other */
	const struct machine_operation *operations;
	u32 count;
	const struct machine_pair *known; /* that went wrong before: each time, first */
	u32 known_count;
	void (*look)(struct mmu_vcpu *v); /* on the CPU of each of the two, after both */
	void (*check)(void);		  /* alone again */
};

/*
 * Operations side by side, all pairs in turn from one that the seed names: one of the two is
 * stopped at a point of its, for all of the other; or each is stopped once. In every second pair
 * allocations fail. WEIR_FUZZ=full: at every single point of the first, and at as many pairs of
 * points.
 */
void machine_pairs(const struct machine_pairs *p);

#endif
