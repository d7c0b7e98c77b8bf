/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/admission.h"
#include "kernel/apic_page.h"
#include "kernel/config_cpus.h"
#include "kernel/console.h"
#include "kernel/dev/platform.h"
#include "kernel/guest/loader.h"
#include "kernel/rma.h"
#include "kernel/vcpu.h"
#include "kernel/vm_memory.h"
#include "mem/frame.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/kernel/vm_parts.h"

#include <stdio.h>
#include <string.h>

struct weir_config config;
u32 ran, starts;
s32 parts;
u32 threads_made, fail_at, no_memory;
bool no_thread_for_ends;
u32 helps;
struct reclaim_room room = {.total = GIB(1) / PAGE_SIZE};
void (*guest)(struct vcpu *v);
bool unwanted_while_it_loads, asked_while_it_loads;
u32 alphas_gone;
bool alpha_has_all, alpha_has_ram, alpha_is_owed;
bool alpha_has_ended, beta_is_asked, beta_loads, beta_has_failed;
bool beta_fails, loads_when_alpha_is_gone;
void (*while_it_ends)(void), (*while_it_loads)(void);

static void made(void)
{
	__atomic_fetch_add(&parts, 1, __ATOMIC_SEQ_CST);
}

static void unmade(void)
{
	__atomic_fetch_sub(&parts, 1, __ATOMIC_SEQ_CST);
}

int __real_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);
int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);

int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options)
{
	if (strcmp(name, "vm ends") == 0)
		return no_thread_for_ends ? ERR_NOMEM
					  : __real_thread_create_with(out, name, fn, arg, options);
	if (threads_made == fail_at)
		return ERR_NOMEM;
	if (is_set(&alpha_has_all) && strcmp(name, "alpha") && !alpha_is_gone()) {
		set(&beta_has_failed);
		return ERR_NOMEM;
	}
	if (no_memory) {
		no_memory--;
		return ERR_NOMEM;
	}
	threads_made++;
	return __real_thread_create_with(out, name, fn, arg, options);
}

int __real_thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			 u32 cpu);

int __wrap_thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			 u32 cpu)
{
	return no_thread_for_ends ? ERR_NOMEM : __real_thread_create(out, name, fn, arg, cpu);
}

/* --- what the thread that looks after ends counts for --- */

s32 ends_lifted;
bool memory_is_short;

bool reclaim_is_short(void)
{
	return is_set(&memory_is_short);
}

void thread_lift(struct thread *t, u32 by)
{
	if (strcmp(t->name, "vm ends") == 0)
		__atomic_fetch_add(&ends_lifted, (s32)by, __ATOMIC_SEQ_CST);
}

void thread_lower(struct thread *t, u32 by)
{
	if (strcmp(t->name, "vm ends") == 0)
		__atomic_fetch_sub(&ends_lifted, (s32)by, __ATOMIC_SEQ_CST);
}

/* --- who looks for work --- */

static u32 manager_looks, ends_looks; /* atomic */

bool __real_vm_any_plan(void);
bool __wrap_vm_any_plan(void);

bool __wrap_vm_any_plan(void)
{
	bool any = __real_vm_any_plan();

	__atomic_fetch_add(&manager_looks, 1, __ATOMIC_SEQ_CST);
	return any;
}

struct vm *__real_vm_list_take_stopped(u32 *config_index);
struct vm *__wrap_vm_list_take_stopped(u32 *config_index);

struct vm *__wrap_vm_list_take_stopped(u32 *config_index)
{
	struct vm *vm = __real_vm_list_take_stopped(config_index);

	__atomic_fetch_add(&ends_looks, 1, __ATOMIC_SEQ_CST);
	return vm;
}

/* The first look may have been under way, the second has been acted upon when there is a third. */
static void wait_for_looks(const u32 *looks, void (*wake)(void))
{
	u32 before = __atomic_load_n(looks, __ATOMIC_SEQ_CST);

	WAIT_FOR((wake(), __atomic_load_n(looks, __ATOMIC_SEQ_CST) - before >= 3));
}

void wait_for_manager(void)
{
	wait_for_looks(&manager_looks, vm_wake_manager);
}

void wait_for_ends(void)
{
	wait_for_looks(&ends_looks, vm_ends_wake);
}

/* --- vCPUs --- */

void vcpu_main(struct vcpu *v, const struct vmx_start *start)
{
	__atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(start != NULL, v->id == 0);
	if (v->id == 0) {
		starts++;
		guest(v);
	}
	while (__atomic_load_n(&v->vm->end, __ATOMIC_SEQ_CST) == VM_END_NONE)
		usleep(100);
	vm_vcpu_stopped(v);
}

void vcpu_request(struct vcpu *v, u64 bits)
{
}

/* --- parts --- */

static struct gmem ram;

int gmem_create_order(u64 pages, u32 order, struct gmem **out)
{
	made();
	*out = &ram;
	return 0;
}

void gmem_unref(struct gmem *g)
{
	unmade();
}

bool cpus_have_ept = true;
bool mmu_has_ept(void)
{
	return cpus_have_ept;
}

ANSWER(bool, mmu_age_unmaps, false, const struct mmu_vm *vm)
int mmu_vm_create(struct mmu_vm *vm, enum mmu_kind kind)
{
	vm->kind = kind;
	made();
	return 0;
}

void mmu_vm_destroy(struct mmu_vm *vm)
{
	unmade();
}

struct reclaim_free_text reclaim_free_text(void)
{
	return (struct reclaim_free_text){"77 frames are free, and 300 kept for min="};
}

bool reclaim_help(struct reclaim_target *t, u32 order)
{
	assert_null(t);
	assert_int_equal(order, GMEM_LARGE_ORDER);
	return helps && helps--;
}

void reclaim_get_room(struct reclaim_room *out)
{
	*out = room;
	if (alpha_is_owed && out->promised) {
		WAIT_FOR(is_set(&alpha_has_ended));
		set(&beta_has_failed);
	}
}

void reclaim_add(struct reclaim_target *t, struct gmem *object, const struct reclaim_terms *terms)
{
	assert_ptr_equal(object, &ram);
	t->terms = *terms;
	__atomic_fetch_add(&room.promised, terms->costs, __ATOMIC_SEQ_CST);
	made();
}

void reclaim_remove(struct reclaim_target *t)
{
	__atomic_fetch_sub(&room.promised, t->terms.costs, __ATOMIC_SEQ_CST);
	unmade();
}

int apic_page_create(struct vm *vm, u32 slot)
{
	made();
	vm->apic_page.pinned = true;
	return 0;
}

void apic_page_destroy(struct vm *vm)
{
	if (vm->apic_page.pinned)
		unmade();
}

int platform_create(struct vm *vm, struct platform **out)
{
	made();
	*out = (struct platform *)vm;
	return 0;
}

void platform_destroy(struct platform *p)
{
	if (while_it_ends && !strcmp(((struct vm *)p)->name, "alpha"))
		while_it_ends();
	unmade();
}

int platform_vcpu_create(struct vcpu *v)
{
	made();
	v->lapic = (struct lapic *)v;
	return 0;
}

void platform_vcpu_destroy(struct vcpu *v)
{
	if (v->lapic)
		unmade();
	v->lapic = NULL;
}

u32 offs_told;
char ends_told[64];

int console_vm_add(struct vm *vm)
{
	/* Of one that had its name nothing is left. */
	if (config.vm_count == 1)
		assert_int_equal(__atomic_load_n(&parts, __ATOMIC_SEQ_CST), 0);
	made();
	vm->console = (struct vm_console *)vm;
	return 0;
}

void console_vm_remove(struct vm *vm, const char *how)
{
	if (vm->console)
		unmade();
	if (vm->console && how)
		snprintf(ends_told + strlen(ends_told), sizeof(ends_told) - strlen(ends_told),
			 "%s. ", how);
	vm->console = NULL;
}

void console_vm_is_off(const char *name)
{
	offs_told++;
}

ANSWER(bool, reclaim_gives_first, false, const struct reclaim_target *a,
       const struct reclaim_target *b)
NOTHING(gmem_set_account, struct gmem *g, struct gmem_account *a)
NOTHING(gmem_set_share_group, struct gmem *g, u32 group)
NOTHING(mem_audit_begin, void)
NOTHING(mem_audit, u64 pages)
ANSWER(u64, images_pages, 0, void)
NOTHING(gmem_on_lost, struct gmem *g, void (*fn)(void *arg, u64 index, u64 block, int err),
	void *arg)
NOTHING(vm_rma_watch, struct vm *vm)
NOTHING(vm_rma_unwatch, struct vm *vm)
NOTHING(platform_console_flush, struct platform *p)
NOTHING(platform_resume, struct platform *p)
NOTHING(platform_nmi, struct platform *p)
NOTHING(stats_vm_add, struct vm *vm)
NOTHING(stats_vm_remove, struct vm *vm)
NOTHING(stats_log_vm, struct vm *vm)
NOTHING(stats_log_weir, void)
NOTHING(mmu_stats_get, struct mmu_vm *vm, struct mmu_stats *out)
NOTHING(frame_get_stats, struct frame_stats *s)
NOTHING(vmx_vcpu_dump, struct vmx_vcpu *v)
NOTHING(config_cpus_text, u64 cpus, char *text, size_t size)
NOTHING(sched_group_init, struct sched_group *g, u32 weight, u32 cap)
NOTHING(sched_group_destroy, struct sched_group *g)
ANSWER(int, vm_rma_create, 0, struct vm *vm, char *message, size_t size)
ANSWER(int, memslot_create, 0, struct mmu_vm *vm, u32 id, gfn_t base, u64 pages, struct gmem *g,
       u64 offset, u32 flags)
NOTHING(images_start, const struct weir_config *c)

bool decided;
u32 brought_back;

bool is_decided(void)
{
	return is_set(&decided);
}

void images_bring_back(void (*all_are_back)(void), bool (*is_enough)(void))
{
	if (is_enough())
		return;
	brought_back++;
	all_are_back();
}

u32 released;

/* Loaded from them it is, and none of its vCPUs runs. */
u64 images_release(const struct vm_config *vm)
{
	struct vm *started = vm_find(vm->name);
	u64 let_go_ns;

	assert_non_null(started);
	let_go_ns = started->let_go_ns;
	vm_put(started);
	assert_int_equal(let_go_ns, 0);
	__atomic_fetch_add(&released, 1, __ATOMIC_SEQ_CST);
	return KIB(77);
}

ANSWER(u64, gmem_resident_peak, 0, const struct gmem *g)
ANSWER(bool, vmx_cpu_ready, true, u32 cpu)
ANSWER(int, gpa_read, ERR_NOSLOT, struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)

void vm_rma_destroy(struct vm *vm)
{
	if (!strcmp(vm->name, "alpha"))
		__atomic_fetch_add(&alphas_gone, 1, __ATOMIC_SEQ_CST);
}

int loader_load(struct vm *vm, struct vmx_start *start, char *message, size_t size)
{
	if (while_it_loads)
		while_it_loads();
	if (unwanted_while_it_loads)
		assert_int_equal(vm_stay_off(vm->name), 0);
	if (asked_while_it_loads && starts == 1)
		assert_int_equal(vm_start(vm->name), 0);
	if (alpha_has_all && !strcmp(vm->name, "beta"))
		WAIT_FOR(is_set(&alpha_has_ended));
	if (alpha_has_ram && !strcmp(vm->name, "beta")) {
		WAIT_FOR(is_set(&alpha_has_ended));
		if (!alpha_is_gone()) {
			set(&beta_has_failed);
			snprintf(message, size, "no memory for what is loaded");
			return ERR_NOMEM;
		}
	}
	if (beta_fails && !strcmp(vm->name, "beta")) {
		if (is_set(&beta_is_asked)) {
			u32 ends = vm_list_ends();

			set(&beta_loads);
			WAIT_FOR(vm_list_ends() != ends);
		}
		return ERR_INVAL;
	}
	if (loads_when_alpha_is_gone && !strcmp(vm->name, "beta")) {
		set(&beta_loads);
		WAIT_FOR(alpha_is_gone());
	}
	return 0;
}

void run_all(void)
{
	vm_list_init(&config);
	vm_run_all(&config, is_decided);
}

int setup(void **state)
{
	memset(&config, 0, sizeof(config));
	config.vm_count = 1;
	config.vms[0] = (struct vm_config){.name = "alpha", .mem = MIB(256), .vcpus = VCPUS};
	ran = starts = threads_made = 0;
	parts = 0;
	fail_at = NOWHERE;
	no_memory = helps = 0;
	alphas_gone = released = 0;
	alpha_has_all = alpha_has_ram = alpha_is_owed = false;
	alpha_has_ended = beta_is_asked = beta_loads = beta_fails = beta_has_failed =
		loads_when_alpha_is_gone = false;
	while_it_ends = while_it_loads = NULL;
	decided = false;
	hosted_log_reset();
	return 0;
}

int teardown(void **state)
{
	assert_int_equal(parts, 0);
	assert_true(vm_list_empty());
	return 0;
}

void add_beta(void)
{
	config.vm_count = 2;
	config.vms[1] = (struct vm_config){.name = "beta", .mem = MIB(1), .vcpus = 1};
}

void power_off(struct vcpu *v)
{
	vm_request_end(v->vm, VM_END_POWEROFF, 0);
}

void crash(struct vcpu *v)
{
	vm_request_end(v->vm, VM_END_CRASH, 0);
}

void reset_once(struct vcpu *v)
{
	vm_request_end(v->vm, starts == 1 ? VM_END_RESET : VM_END_POWEROFF, 0);
}

void reset_always(struct vcpu *v)
{
	vm_request_end(v->vm, VM_END_RESET, 0);
}
