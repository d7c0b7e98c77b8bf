/* SPDX-License-Identifier: MIT */
/*
 * What the manager of VMs finds around it: parts that are counted, not made, and vCPUs that are real
 * threads and do what the test says. VMs are "alpha", of VCPUS, and where a test adds it "beta", of one.
 * The test needs --wrap of thread_create_with, thread_create, vm_any_plan and vm_list_take_stopped.
 */
#ifndef TESTS_UNIT_KERNEL_VM_PARTS_H
#define TESTS_UNIT_KERNEL_VM_PARTS_H

#include "kernel/vm_private.h"
#include "mem/reclaim.h"

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#define VCPUS	4
#define NOWHERE (~0u)

extern struct weir_config config;
/* atomic */
extern u32 ran, starts;
extern s32 parts; /* made and not yet taken apart */
extern u32 threads_made, fail_at, no_memory;
extern bool no_thread_for_ends;
extern u32 helps; /* times that there is something to be taken */
extern struct reclaim_room room;
extern void (*guest)(struct vcpu *v); /* what vCPU 0 does, once for each start */
extern bool unwanted_while_it_loads, asked_while_it_loads;
/* atomic; "alpha" */
extern u32 alphas_gone;	   /* how often nothing of it was left */
extern bool alpha_has_all; /* no thread of another can be made while it is there */
extern bool alpha_has_ram; /* nor is one loaded; */
extern bool alpha_is_owed; /* or admitted */
extern bool alpha_has_ended, beta_is_asked, beta_loads, beta_has_failed;
extern bool beta_fails, loads_when_alpha_is_gone; /* "beta" */
extern char ends_told[64];			  /* what its console was told of each end */
extern u32 offs_told; /* how often who looks at a console was told that its VM is off */
extern void (*while_it_ends)(void);  /* before its devices go */
extern void (*while_it_loads)(void); /* any VM */

/* atomic: what the thread that looks after ends was lifted by */
extern s32 ends_lifted;
extern bool memory_is_short;
extern bool cpus_have_ept;

/* Of what does not come for long the test fails. */
#define WAIT_US 30000000u
#define WAIT_FOR(condition)                                   \
	do {                                                  \
		for (u32 us_ = 0; !(condition); us_ += 100) { \
			assert_true(us_ < WAIT_US);           \
			usleep(100);                          \
		}                                             \
	} while (0)

static inline bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

static inline void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_SEQ_CST);
}

static inline bool alpha_is_gone(void)
{
	return __atomic_load_n(&alphas_gone, __ATOMIC_SEQ_CST) != 0;
}

/* atomic: Weir's end; and how often modules came back after all VMs', because it was not */
extern bool decided;
extern u32 brought_back;
extern u32 released; /* atomic: how often a VM's modules were */
bool is_decided(void);

/* Weir boots: all are to start, and do. */
void run_all(void);

int setup(void **state);
int teardown(void **state);
void add_beta(void);

/*
 * Until the manager, or the thread that looks after ends, has done, or left, what it might do by what
 * is so by now, and looks again. Not on that thread.
 */
void wait_for_manager(void);
void wait_for_ends(void);

/* Guests. */
void power_off(struct vcpu *v);
void crash(struct vcpu *v);
void reset_once(struct vcpu *v);
void reset_always(struct vcpu *v);

#endif
