/* SPDX-License-Identifier: MIT */
/* Instead of vmx/, and of what else kernel/vcpu.c stands on, as little as it needs. See vcpu_loop.h. */
#include "kernel/apic_page.h"
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"
#include "kernel/hypercall.h"
#include "kernel/rma.h"
#include "mem/frame.h"
#include "mem/reclaim.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/kernel/vcpu_loop.h"
#include "tests/unit/mmu/fixture.h"

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#define CALL(h) (HYPERCALL_BASE | (h))

struct vm machine;
struct vcpu cpus[VCPUS];
struct vmx_vcpu guests[VCPUS];
gfn_t emulated_at[2];
struct vmx_table_write emulated_write;
u32 waits_here, waits_elsewhere;
u32 yielded_to[8], yields;
u32 steps[VCPUS], injected, retries, waits_told, dumps;
char dump_heading[64];
bool (*ask_crash)(void *owner);
bool interrupt[VCPUS];

static struct lapic no_interrupts;
static struct restart restart;
static guest_fn guest;
static struct gmem *ram;
static u64 free_at_start;

/* --- vmx/ --- */

/* What a vCPU's thread is at: who has not slept, or found some, is not over with it. */
static _Thread_local enum {
	AT_NOTHING,
	TRIES,
	SLEEPS
} memory_try;

void vm_wants_memory(struct vm *waiting, struct memory_wait *w)
{
	assert_int_equal(memory_try, AT_NOTHING);
	memory_try = TRIES;
}

u64 vm_waits_in_vain(struct vm *waiting, struct memory_wait *w)
{
	assert_int_equal(memory_try, TRIES);
	memory_try = SLEEPS;
	__atomic_fetch_add(&waits_told, 1, __ATOMIC_RELAXED);
	return 10000000;
}

void vm_wanted_memory(struct vm *waiting, struct memory_wait *w, bool found)
{
	assert_int_equal(memory_try, found ? TRIES : SLEEPS);
	memory_try = AT_NOTHING;
}

bool reclaim_help(struct reclaim_target *t, u32 order)
{
	(void)order;
	/* Whose memory comes anyway is told before others' is taken. */
	assert_int_equal(memory_try, TRIES);
	return false;
}

int vmx_vcpu_create(const struct vmx_config *config, struct vmx_vcpu **out)
{
	assert_ptr_equal(config->owner, &cpus[config->vcpu_id]);
	__atomic_store_n(&ask_crash, config->crash, __ATOMIC_SEQ_CST);
	*out = &guests[config->vcpu_id];
	**out = (struct vmx_vcpu){.id = config->vcpu_id, .completed = true};
	return 0;
}

void vmx_vcpu_run(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (!v->completed) {
		__atomic_fetch_add(&retries, 1, __ATOMIC_SEQ_CST);
		*e = v->exit;
		return;
	}
	v->exit = (struct vmx_exit){.kind = VMX_EXIT_HYPERCALL};
	v->completed = false;
	if (!guest(v->id, v->step++, &v->exit)) {
		vm_request_end(&machine, VM_END_POWEROFF, 0);
		v->exit.kind = VMX_EXIT_NONE;
	}
	if (v->exit.kind != VMX_EXIT_HYPERCALL)
		v->completed = true;
	*e = v->exit;
}

void vmx_complete_hypercall(struct vmx_vcpu *v, u64 rax)
{
	v->regs.gpr[RAX] = rax;
	v->completed = true;
	__atomic_store_n(&steps[v->id], v->step, __ATOMIC_SEQ_CST);
}

struct guest_regs *vmx_regs(struct vmx_vcpu *v)
{
	return &v->regs;
}

void vmx_get_segment(struct vmx_vcpu *v, enum vmx_segment_id id, struct vmx_segment *out)
{
	*out = (struct vmx_segment){.access = 0xc093};
}

u32 vmx_cpl(struct vmx_vcpu *v)
{
	return 0;
}

void vmx_vcpu_dump(struct vmx_vcpu *v)
{
	strlcpy(dump_heading, hosted_log_last(), sizeof(dump_heading));
	__atomic_fetch_add(&dumps, 1, __ATOMIC_SEQ_CST);
}

void vmx_get_paging(struct vmx_vcpu *v, struct guest_paging *out)
{
	*out = (struct guest_paging){0};
}

bool vmx_interrupt_allowed(struct vmx_vcpu *v)
{
	return v->regs.rflags & RFLAGS_IF;
}

void vmx_inject_interrupt(struct vmx_vcpu *v, u8 vector)
{
	v->regs.rflags &= ~RFLAGS_IF;
	__atomic_fetch_add(&injected, 1, __ATOMIC_SEQ_CST);
}

NOTHING(vmx_vcpu_kick, struct vmx_vcpu *v)
NOTHING(vmx_inject_nmi, struct vmx_vcpu *v)

/* --- kernel/ --- */

bool vm_request_end(struct vm *m, enum vm_end cause, u32 code)
{
	enum vm_end none = VM_END_NONE;

	if (!__atomic_compare_exchange_n(&m->end, &none, cause, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	for (u32 i = 0; i < VCPUS; i++)
		vcpu_request(&cpus[i], VCPU_REQ_STOP);
	return true;
}

void vcpu_attend(struct vcpu *v)
{
	fail();
}

void vm_vcpu_stopped(struct vcpu *v)
{
	/* Its local APIC goes then, at which switches to it would look. */
	assert_null(thread_current()->sched_in);
	assert_int_equal(memory_try, AT_NOTHING);
	__atomic_store_n(&v->stopped, true, __ATOMIC_SEQ_CST);
	/* As long as another may prod it. */
	for (u32 i = 0; i < VCPUS; i++) {
		while (!__atomic_load_n(&cpus[i].stopped, __ATOMIC_SEQ_CST))
			usleep(100);
	}
}

bool platform_interrupt_pending(struct vcpu *v)
{
	return __atomic_load_n(&interrupt[v->id], __ATOMIC_SEQ_CST);
}

bool platform_injection_pending(struct vcpu *v)
{
	return platform_interrupt_pending(v);
}

int platform_interrupt_ack(struct vcpu *v)
{
	__atomic_store_n(&interrupt[v->id], false, __ATOMIC_SEQ_CST);
	return 0x40;
}

int vcpu_emulate(struct vcpu *v, u32 port_size)
{
	emulated_at[port_size != 0] = v->mmio_gfn;
	return 0;
}

int vcpu_emulate_write(struct vcpu *v, const struct vmx_table_write *w)
{
	emulated_at[0] = v->mmio_gfn;
	emulated_write = *w;
	return 0;
}

int paravirt_was_paused(struct vcpu *v)
{
	return 0;
}

bool lapic_send_to(struct lapic *l, const struct lapic_message *m)
{
	return false;
}

/* --- smp/ --- */

static u32 id_of(const struct thread *t)
{
	for (u32 i = 0; i < machine.vcpu_count; i++) {
		if (machine.vcpus[i]->thread == t)
			return i;
	}
	return 31;
}

bool thread_waits_here(const struct thread *t)
{
	return waits_here & BIT(id_of(t));
}

bool thread_waits_elsewhere(const struct thread *t)
{
	return waits_elsewhere & BIT(id_of(t));
}

void thread_yield_to(struct thread *t)
{
	assert_true(yields < ARRAY_SIZE(yielded_to));
	yielded_to[yields++] = id_of(t);
}

/* --- Running one --- */

int vcpu_loop_setup(void **state)
{
	machine_start(MIB(16));
	free_at_start = frames_free();
	memset(&machine, 0, sizeof(machine));
	memset(cpus, 0, sizeof(cpus));
	memset(steps, 0, sizeof(steps));
	memset(interrupt, 0, sizeof(interrupt));
	injected = retries = dumps = 0;
	restart = (struct restart){.silent = false};
	machine.restart = &restart;
	machine.vcpu_count = VCPUS;
	machine.pins.pins_max = 100;
	assert_int_equal(gmem_create(1024, &ram), 0);
	gmem_set_account(ram, &machine.pins);
	assert_int_equal(mmu_vm_create(&machine.mmu, MMU_AUTO), 0);
	assert_int_equal(memslot_create(&machine.mmu, 1, GFN(BASE >> 12), 1024, ram, 0, 0), 0);
	for (u32 i = 0; i < VCPUS; i++) {
		cpus[i].vm = &machine;
		cpus[i].lapic = &no_interrupts;
		cpus[i].id = i;
		machine.vcpus[i] = &cpus[i];
	}
	return 0;
}

int vcpu_loop_teardown(void **state)
{
	mmu_vm_destroy(&machine.mmu);
	gmem_unref(ram);
	assert_int_equal(frames_free(), free_at_start);
	return 0;
}

static void run_vcpu(void *arg)
{
	static const struct vmx_start start;

	vcpu_main(arg, &start);
}

void vcpus_start(guest_fn fn)
{
	guest = fn;
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(thread_create(&cpus[i].thread, "vcpu", run_vcpu, &cpus[i], 2 + i),
				 0);
}

void vcpus_end(void)
{
	for (u32 i = 0; i < VCPUS; i++)
		thread_join(cpus[i].thread);
}

void make_call(u32 id, struct vmx_exit *e, u64 token, u64 rbx, u64 rcx, u64 rdx)
{
	struct guest_regs *r = &guests[id].regs;

	r->gpr[RAX] = e->hypercall = CALL(token);
	r->gpr[RBX] = rbx;
	r->gpr[RCX] = rcx;
	r->gpr[RDX] = rdx;
	r->gpr[RSI] = 0;
}

bool idle(u32 id, struct vmx_exit *e)
{
	(void)id;
	usleep(200);
	e->kind = VMX_EXIT_NONE;
	return true;
}

void settle(void)
{
	usleep(30000);
}

void wait_steps(u32 id, u32 n)
{
	while (look(&steps[id]) < n)
		usleep(200);
}
