/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command_mmu.c */
/* What slot and rmap say of what they find. */
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/monitor/command.h"
#include "kernel/vm_life.h"
#include "mmu/inspect.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/monitor/said.h"

#include <cmocka.h>
#include <string.h>

static struct vm alpha;
static u32 references;
static struct mmu_gfn_look look;
static struct mmu_page_state page;
static int look_error;
static u32 slots;

bool command_number(const char *what, const char *text, u64 *out)
{
	return parse_u64(text, text + strlen(text), out) == 0;
}

struct vm *command_vm_get(const char *name)
{
	if (strcmp(name, "alpha")) {
		monitor_print("no VM %s", name);
		return NULL;
	}
	references++;
	return &alpha;
}

void vm_put(struct vm *vm)
{
	references--;
}

u32 mmu_look_at_slots(struct mmu_vm *vm, struct mmu_slot_look *out, u32 max, u64 *generation)
{
	for (u32 i = 0; i < slots && i < max; i++)
		out[i] = (struct mmu_slot_look){.id = i, .flags = MEMSLOT_READONLY, .pages = 16};
	*generation = 8;
	return slots;
}

int mmu_look_at_gfn(struct mmu_vm *vm, gfn_t gfn, struct mmu_gfn_look *out)
{
	*out = look;
	return look_error;
}

int mmu_page_state(struct mmu_vm *vm, gfn_t gfn, struct mmu_page_state *out)
{
	*out = page;
	return 0;
}

static const char *ask(void (*command)(u32, char **), char *a, char *b)
{
	char *argv[] = {a, b};

	said[0] = 0;
	command(2, argv);
	assert_int_equal(references, 0);
	return said;
}

static void every_state_has_its_word(void **state)
{
	static const struct {
		enum gmem_state state;
		const char *word;
	} states[] = {{GMEM_ABSENT, ", absent, "},	     {GMEM_GOT_PAGE, ", resident, "},
		      {GMEM_SHARED, ", shared, "},	     {GMEM_PACKED, ", packed, "},
		      {GMEM_SWAPPED, ", swapped, "},	     {GMEM_BUSY, ", busy, "},
		      {GMEM_FILLED, ", one word all over, "}};

	for (u32 i = 0; i < ARRAY_SIZE(states); i++) {
		look.entry = states[i].state;
		assert_non_null(strstr(ask(command_rmap, "alpha", "0x10"), states[i].word));
	}
}

static void words_of_the_reverse_map(void **state)
{
	look.small.there = false;
	look.large = (struct mmu_word_look){.there = true, .word = RMAP_PINNED, .count = 1};
	ask(command_rmap, "alpha", "0x10");
	assert_non_null(strstr(said, "\n  word of 4 KiB: its chunk is not there\n"));
	assert_non_null(strstr(said, " pinned, 1 spte\n    spte at 0: 0\n"));
	look.small = (struct mmu_word_look){.there = true};
	ask(command_rmap, "alpha", "0x10");
	assert_non_null(strstr(said, "\n  word of 4 KiB: 0, 0 sptes\n"));
}

static void what_is_not_there(void **state)
{
	assert_string_equal(ask(command_rmap, "beta", "1"), "no VM beta\n");
	assert_string_equal(ask(command_slot, "beta", NULL), "no VM beta\n");
	look_error = ERR_NOSLOT;
	assert_string_equal(ask(command_rmap, "alpha", "17"),
			    "no slot has gfn 0x11: slot alpha lists them\n");
	look_error = ERR_AGAIN;
	assert_string_equal(ask(command_rmap, "alpha", "17"),
			    "gfn 0x11: its slot is on its way out, ask again\n");
	look_error = 0;
}

static void more_slots_than_are_shown(void **state)
{
	slots = 40;
	assert_non_null(strstr(ask(command_slot, "alpha", NULL), "slot 31: "));
	assert_non_null(strstr(said, "flags readonly\n"));
	assert_null(strstr(said, "slot 32: "));
	assert_non_null(strstr(said, "and 8 more\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_has_its_word),
		cmocka_unit_test(words_of_the_reverse_map),
		cmocka_unit_test(what_is_not_there),
		cmocka_unit_test(more_slots_than_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
