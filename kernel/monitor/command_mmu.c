/* SPDX-License-Identifier: MIT */
/* Commands that look inside a VM's MMU. */
#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/monitor/command.h"
#include "kernel/vm_life.h"
#include "mmu/inspect.h"

#define SLOTS_SHOWN 32

static const char *slot_flags(u32 flags, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s%s%s", flags & MEMSLOT_READONLY ? " readonly" : "",
		 flags & MEMSLOT_INVALID ? " invalid" : "",
		 flags & MEMSLOT_PRIVATE ? " private" : "",
		 flags & MEMSLOT_LOG_DIRTY ? " log_dirty" : "",
		 flags & MEMSLOT_NO_LARGE ? " no_large" : "");
	return flags ? out : " none";
}

void command_slot(u32 argc, char **argv)
{
	static struct mmu_slot_look slots[SLOTS_SHOWN];
	struct vm *vm = command_vm_get(argv[0]);
	char flags[64];
	u64 generation;
	u32 n;

	(void)argc;
	if (!vm)
		return;
	n = mmu_look_at_slots(&vm->mmu, slots, SLOTS_SHOWN, &generation);
	vm_put(vm);
	monitor_print("%u slots, generation %llu", n, (unsigned long long)generation);
	for (u32 i = 0; i < min(n, (u32)SLOTS_SHOWN); i++) {
		const struct mmu_slot_look *s = &slots[i];

		monitor_print("slot %u: gfn %#llx to %#llx, from page %#llx of its object, flags%s",
			      s->id, (unsigned long long)s->base.v,
			      (unsigned long long)(s->base.v + s->pages),
			      (unsigned long long)s->first,
			      slot_flags(s->flags, flags, sizeof(flags)));
		monitor_print("  reverse map: %llu of %llu chunks, %llu pinned, %llu protected",
			      (unsigned long long)s->chunks_there, (unsigned long long)s->chunks,
			      (unsigned long long)s->pinned, (unsigned long long)s->protected);
	}
	if (n > SLOTS_SHOWN)
		monitor_print("and %u more", n - SLOTS_SHOWN);
}

static void print_word(const char *what, const struct mmu_word_look *w)
{
	if (!w->there) {
		monitor_print("  %s: its chunk is not there", what);
		return;
	}
	monitor_print("  %s: %#llx,%s%s%s %u spte%s", what, (unsigned long long)w->word,
		      w->word & RMAP_PINNED ? " pinned," : "",
		      w->word & RMAP_PROTECTED ? " protected," : "",
		      w->word & RMAP_YOUNG ? " young," : "", w->count, w->count == 1 ? "" : "s");
	for (u32 i = 0; i < min(w->count, (u32)MMU_LOOK_SPTES); i++)
		monitor_print("    spte at %#llx: %#llx", (unsigned long long)w->at[i].v,
			      (unsigned long long)w->value[i]);
}

static void print_page(const struct mmu_page_state *p)
{
	monitor_print("  mapped:%s%s%s%s%s%s%s%s", p->mapped ? " yes" : " no",
		      p->large ? " large" : "", p->writable ? " writable" : "",
		      p->accessed ? " accessed" : "", p->dirty ? " dirty" : "",
		      p->readonly ? " (slot readonly)" : "", p->protected ? " (protected)" : "",
		      p->stays ? " (stays)" : "");
}

void command_rmap(u32 argc, char **argv)
{
	static const char *const states[] = {
		[GMEM_ABSENT] = "absent",
		[GMEM_GOT_PAGE] = "resident",
		[GMEM_SHARED] = "shared",
		[GMEM_PACKED] = "packed",
		[GMEM_SWAPPED] = "swapped",
		[GMEM_BUSY] = "busy",
		[GMEM_FILLED] = "one word all over",
	};
	struct mmu_page_state page;
	struct mmu_gfn_look look;
	struct vm *vm;
	u64 gfn;
	int err;

	static_assert(ARRAY_SIZE(states) == GMEM_STATES, "each has a word");
	(void)argc;
	if (!command_number("GFN", argv[1], &gfn))
		return;
	vm = command_vm_get(argv[0]);
	if (!vm)
		return;
	err = mmu_look_at_gfn(&vm->mmu, GFN(gfn), &look);
	if (!err)
		err = mmu_page_state(&vm->mmu, GFN(gfn), &page);
	vm_put(vm);
	if (err == ERR_NOSLOT)
		monitor_print("no slot has gfn %#llx: slot %s lists them", (unsigned long long)gfn,
			      argv[0]);
	else if (err) /* ERR_AGAIN */
		monitor_print("gfn %#llx: its slot is on its way out, ask again",
			      (unsigned long long)gfn);
	if (err)
		return;
	monitor_print("gfn %#llx: slot %u, page %#llx of its object, %s, entry %#llx",
		      (unsigned long long)gfn, look.slot, (unsigned long long)look.index,
		      look.entry == GMEM_GIVEN ? "given back"
					       : states[gmem_entry_state(look.entry)],
		      (unsigned long long)look.entry);
	print_page(&page);
	print_word("word of 4 KiB", &look.small);
	print_word("word of 2 MiB", &look.large);
}
