/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

struct gmem *ram;
struct guest_paging paging;

void put(u64 gpa, u64 value, u32 width)
{
	assert_int_equal(gpa_write(&vm, GPA(gpa), &value, width), 0);
}

void entry(u64 table, u32 i, u64 to, u64 bits)
{
	put((table << 12) + 8ull * i, to << 12 | bits, 8);
}

void load(void)
{
	assert_int_equal(mmu_shadow_load(&vcpu, &paging), 0);
	shadow_cpu_forget();
}

void shadow_guest_start(u64 memory, u64 ram_pages)
{
	fixture_start_kind(memory, MMU_SHADOW);
	ram = object_new(ram_pages);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), ram_pages, ram, 0, 0), 0);
	paging = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr3 = 1 << 12,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA | EFER_NXE,
		.rflags = 2,
		.maxphyaddr = 39,
	};
	for (u32 table = 1; table < 4; table++)
		entry(table, 0, table + 1, MARKED);
}

int shadow_guest_end(void **state)
{
	(void)state;
	assert_null(mmu_audit(&vm));
	gmem_unref(ram);
	fixture_end();
	return 0;
}

int shadow_access(u64 gva, u32 access, u64 *at)
{
	struct shadow_answer answer = {0};
	u64 address;
	int err = 0;

	for (u32 i = 0; i < 8 && !err; i++) {
		if (shadow_cpu(&vcpu, &paging, gva, access, at ? at : &address))
			return 0;
		err = mmu_shadow_fault(&vcpu, &paging, GVA(gva), access, &answer);
	}
	assert_int_not_equal(err, 0);
	return err;
}

u64 frame_of_page(u64 index)
{
	return gmem_entry_pfn(gmem_entry(ram, index)).v;
}

u32 shadow_pages_of(u64 gfn)
{
	struct shadow_page *sp;
	u32 n = 0;

	list_for_each_entry (sp, &vm.shadow->active, link)
		n += sp->gfn.v == gfn && !sp->role.direct;
	return n;
}

struct shadow_page *shadow_page_for_table(u64 gfn)
{
	struct shadow_page *sp;

	list_for_each_entry (sp, &vm.shadow->active, link) {
		if (sp->gfn.v == gfn && !sp->role.direct)
			return sp;
	}
	fail_msg("table %#llx has no shadow page", (unsigned long long)gfn);
	return NULL;
}
