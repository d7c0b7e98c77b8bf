/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

const struct memslot *ram_slot(void)
{
	return &vm.slots->slots[0];
}

bool is_let_go(u64 table)
{
	return *rmap_word(ram_slot(), GFN(table)) & RMAP_UNSYNC;
}

int shadow_live_start(void **state)
{
	(void)state;
	shadow_guest_start(MIB(32), RAM_PAGES);
	vm.fault_around = 1;
	entry(3, 511, WINDOWS, MARKED);
	entry(WINDOWS, TABLE, TABLE, MARKED);
	for (u32 i = 0; i < 8; i++) {
		entry(TABLE, i, DATA + i, MARKED);
		entry(DATA + i, 0, 0, 0); /* resident */
		entry(DATA + 50 + i, 0, 0, 0);
	}
	load();
	return 0;
}

/* The guest's own write of an entry. Whether it did it itself. */
bool write_live(u64 table, u32 i, u64 to, u64 bits)
{
	u64 value = to << 12 | bits, at;
	int err = shadow_access(WINDOW + (table << 12) + 8ull * i, MMU_WRITE, &at);

	if (err == SHADOW_EMULATE) {
		entry(table, i, to, bits);
		return false;
	}
	assert_int_equal(err, 0);
	memcpy(hosted_arena + at, &value, sizeof(value));
	return true;
}

u64 gva_of(u32 i)
{
	return (u64)i << 12;
}

/* Which page of ram the guest reads there; 0: the fault is its own. */
u64 led_to(u64 gva)
{
	u64 at;
	int err = shadow_access(gva, MMU_READ, &at);

	if (err == ERR_FAULT)
		return 0;
	assert_int_equal(err, 0);
	for (u64 i = 0; i < RAM_PAGES; i++) {
		if (gmem_entry_state(gmem_entry(ram, i)) == GMEM_GOT_PAGE &&
		    frame_of_page(i) == at >> 12)
			return i;
	}
	fail_msg("no page is at gva %#llx", (unsigned long long)gva);
	return 0;
}

/* Its first entries are in use, and it is the guest's to write: entry 7 has been written. */
void let_go(u64 table)
{
	for (u32 i = 0; i < 3; i++)
		assert_int_not_equal(led_to(gva_of(i)), 0);
	for (u32 n = 0; n < 5 && !is_let_go(table); n++)
		(void)write_live(table, 7, DATA + 7, MARKED);
	assert_true(is_let_go(table));
}

void drop_address(u64 gva)
{
	if (mmu_shadow_invlpg(&vcpu, GVA(gva)))
		shadow_cpu_forget_address(gva);
}
