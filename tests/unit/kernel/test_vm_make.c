/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: @mem @reclaim @mmu kernel/vm_make.c kernel/admission.c kernel/apic_page.c
 *	kernel/rma.c mem/rma.c mmu/rma_setup.c mmu/real_mode.c
 *	kernel/dev/device.c kernel/dev/platform.c kernel/dev/lapic.c kernel/dev/lapic_registers.c
 *	kernel/dev/lapic_deliver.c kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c
 *	kernel/dev/lapic_pv_eoi.c kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c
 *	kernel/dev/pit_channel.c kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c
 *	kernel/dev/pm.c kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c
 *	kernel/dev/fw_cfg.c kernel/guest/bzimage.c kernel/guest/pvh.c kernel/guest/multiboot1.c
 *	kernel/guest/elf.c kernel/guest/layout.c kernel/guest/loader.c
 *	kernel/guest/acpi_tables.c kernel/guest/image.c kernel/guest/unknown.c
 *	kernel/config_cpus.c tests/unit/mmu/fixture.c
 */
/* unit-libs: -Wl,--wrap=thread_create_with -Wl,--wrap=memslot_create */
/*
 * A VM made of its real parts, with every allocation of it failing in turn, and every thread: half
 * a VM is taken apart, and all that it had comes back.
 */
#include "kernel/admission.h"
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/config_cpus.h"
#include "kernel/console.h"
#include "kernel/dev/platform.h"
#include "kernel/rma.h"
#include "kernel/vcpu.h"
#include "kernel/vm_private.h"
#include "mem/slab.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/fake_timer.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "vmx/apicv.h"
#include "vmx/vmx.h"

#include <cmocka.h>

#define VCPUS	  3
#define GUEST_MEM MIB(16)
#define KERNEL_AT KIB(64) /* in memory that is no frame's */

const u8 dsdt_aml[] = {'D', 'S', 'D', 'T'};
const u32 dsdt_aml_size = sizeof(dsdt_aml);

struct boot_info boot_info;
struct wait_queue vm_wait = WAIT_QUEUE_INIT(vm_wait);

static struct vm_config config;
static struct config_module kernel;
static struct restart restart;
static char message[256];
static u32 ran;	    /* atomic */
static u32 in_list; /* of VMs with a console */
static bool in_list_failed;
static u32 no_slot_id;
static int no_slot; /* 0, or what memslot_create returns for it */

/* --- what is not a part of a VM's, or not made here --- */

void vcpu_main(struct vcpu *v, const struct vmx_start *start)
{
	assert_int_equal(start != NULL, v->id == 0);
	__atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
}

int __real_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);
int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);

/* The one of smp/ has a stack to allocate, and what a thread's owner wants with it (vmx/vcpu.c). */
int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options)
{
	/* In a trace a vCPU is told from the others; who is alone needs no number. */
	if (config.vcpus > 1 && strcmp(name, config.name) == 0)
		assert_int_equal(options->number, ((struct vcpu *)arg)->id + 1);
	else
		assert_int_equal(options->number, 0);
	if (hosted_should_fail())
		return ERR_NOMEM;
	return __real_thread_create_with(out, name, fn, arg, options);
}

int __real_memslot_create(struct mmu_vm *m, u32 id, gfn_t base, u64 pages, struct gmem *g,
			  u64 first, u32 flags);
int __wrap_memslot_create(struct mmu_vm *m, u32 id, gfn_t base, u64 pages, struct gmem *g,
			  u64 first, u32 flags);

/* A part of RAM, or the page of the local APIC, that does not go where it would be. */
int __wrap_memslot_create(struct mmu_vm *m, u32 id, gfn_t base, u64 pages, struct gmem *g,
			  u64 first, u32 flags)
{
	if (no_slot && id == no_slot_id)
		return no_slot;
	return __real_memslot_create(m, id, base, pages, g, first, flags);
}

int console_vm_add(struct vm *m)
{
	in_list_failed = hosted_should_fail();
	if (in_list_failed)
		return ERR_NOENT;
	m->console = (struct vm_console *)m;
	in_list++;
	return 0;
}

void console_vm_remove(struct vm *m, const char *how)
{
	in_list -= m->console != NULL;
	m->console = NULL;
}

enum vmx_apicv vmx_apicv(void)
{
	return VMX_APICV_ACCESS;
}

ANSWER(bool, vmx_cpu_ready, true, u32 cpu)
ANSWER(bool, vmx_unrestricted_guest, true, void)
NOTHING(vm_life_init_vm, struct vm *m)
NOTHING(sched_group_init, struct sched_group *g, u32 weight, u32 cap)
NOTHING(sched_group_destroy, struct sched_group *g)

/* --- one VM --- */

static void put_kernel(void)
{
	const u32 flags = BIT(16), header[] = {
					   0x1badb002,	     flags,	  -(0x1badb002 + flags),
					   MIB(1),	     MIB(1),	  MIB(1) + KIB(16),
					   MIB(1) + KIB(20), MIB(1) + 64,
				   };

	memcpy(phys_to_virt(HPA(KERNEL_AT)), header, sizeof(header));
	kernel = (struct config_module){
		.kind = CONFIG_KERNEL, .start = HPA(KERNEL_AT), .size = KIB(16)};
}

static int setup(void **state)
{
	machine_start(MIB(64));
	hosted_timers_forget();
	put_kernel();
	config = (struct vm_config){
		.name = "alpha",
		.mem = GUEST_MEM,
		.shares = 16,
		.vcpus = VCPUS,
		.weight = 100,
		.share_group = 1,
		.module_count = 1,
		.modules = &kernel,
	};
	rma_start(0);
	return 0;
}

static void run_and_unmake(struct vm *made)
{
	u32 before = ran;

	vm_let_go(made);
	for (u32 i = 0; i < made->vcpu_count; i++)
		thread_join(made->vcpus[i]->thread);
	assert_int_equal(ran, before + VCPUS);
	vm_unmake(made);
}

/* What is out, of frames and of the slab's objects. */
struct stock {
	u64 frames, objects;
};

static struct stock take_stock(void)
{
	struct stock s = {.frames = frames_free()};

	for (u32 i = 0; i < slab_stat_group.count; i++)
		s.objects += slab_stat_group.read(NULL, i);
	return s;
}

static void check_nothing_is_left(struct stock before)
{
	struct reclaim_room room;
	struct stock now;

	rcu_barrier();
	now = take_stock();
	reclaim_get_room(&room);
	assert_int_equal(room.promised, 0);
	assert_int_equal(in_list, 0);
	assert_int_equal(hosted_locks_held(), 0);
	assert_int_equal(hosted_timers_next(), ~0ull);
	assert_int_equal(now.objects, before.objects);
	assert_int_equal(now.frames, before.frames);
}

/* With the n-th allocation, thread or entry in a list failing, for each n that there is. */
static void fail_each(u32 at_least)
{
	u32 refused = 0, in_spite = 0;
	struct vm *made;
	struct stock before;

	assert_int_equal(vm_make(&config, &restart, &made, message, sizeof(message)), 0);
	run_and_unmake(made);
	rcu_barrier();
	before = take_stock(); /* some frames are the slab's by now */
	for (u32 n = 1;; n++) {
		bool failed;
		int err;

		message[0] = 0;
		hosted_fail_after(n);
		err = vm_make(&config, &restart, &made, message, sizeof(message));
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		if (!err)
			run_and_unmake(made);
		else
			assert_int_equal(err, in_list_failed ? ERR_NOENT : ERR_NOMEM);
		check_nothing_is_left(before);
		if (!failed)
			break;
		refused += err != 0;
		in_spite += !err;
	}
	print_message("%u times refused, %u times made all the same\n", refused, in_spite);
	assert_true(refused >= at_least);
}

static void each_part_fails(void **state)
{
	fail_each(VCPUS * 3);
}

static void with_shadow_paging(void **state)
{
	config.mmu = CONFIG_MMU_SHADOW;
	fail_each(VCPUS * 3);
}

static void with_a_real_mode_area(void **state)
{
	rma_start(MIB(2));
	config.rma = MIB(1);
	fail_each(VCPUS * 3);
}

/* Where aging unmaps, what is not used is looked at less often. */
static void ages_as_its_cpu_can(void **state)
{
	struct vm *made;

	for (u32 marks = 0; marks < 2; marks++) {
		mmu_hw.ept_ad = marks;
		assert_int_equal(vm_make(&config, &restart, &made, message, sizeof(message)), 0);
		assert_int_equal(made->reclaim.terms.sample, !marks);
		run_and_unmake(made);
	}
}

/* By its own layout no VM gets there: what it would say is seen all the same, and all comes back. */
static void ram_that_does_not_go_where_it_would_be(void **state)
{
	static const struct {
		u32 slot;
		int err;
		const char *message;
	} cases[] = {
		{0, ERR_ALIGN,
		 "psize=4K: 640K of RAM from byte 0x0 on cannot be at guest address 0x0, "
		 "elsewhere in their page: give psize=4K"},
		{1, ERR_ALIGN,
		 "psize=4K: 15488K of RAM from byte 0xe0000 on cannot be at guest address 0xe0000, "
		 "elsewhere in their page: give psize=4K"},
		{1, ERR_RANGE,
		 "mem=16M: 15488K of it would be at guest address 0xe0000, which is more than this "
		 "CPU can address: give less mem="},
	};
	struct stock before;
	struct vm *made;

	assert_int_equal(vm_make(&config, &restart, &made, message, sizeof(message)), 0);
	run_and_unmake(made);
	rcu_barrier();
	before = take_stock();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		no_slot_id = cases[i].slot;
		no_slot = cases[i].err;
		assert_int_equal(vm_make(&config, &restart, &made, message, sizeof(message)),
				 cases[i].err);
		no_slot = 0;
		assert_string_equal(message, cases[i].message);
		check_nothing_is_left(before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_part_fails, setup),
		cmocka_unit_test_setup(with_shadow_paging, setup),
		cmocka_unit_test_setup(with_a_real_mode_area, setup),
		cmocka_unit_test_setup(ages_as_its_cpu_can, setup),
		cmocka_unit_test_setup(ram_that_does_not_go_where_it_would_be, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
