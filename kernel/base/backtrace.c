/* SPDX-License-Identifier: MIT */
#include "kernel/base/addr.h"
#include "kernel/base/backtrace.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/symbols.h"
#include "kernel/base/x86.h"

#define BACKTRACE_MAX 32
#define STACK_SPAN    KIB(64) /* no stack is larger: a frame further up is not one */
#define LEVELS	      4
#define PTE_PRESENT   BIT(0)
#define PTE_LARGE     BIT(7)
#define PTE_ADDRESS   0x000ffffffffff000ull

/* --- The image's table of symbols (tests/tools/symbols.py) --- */

extern const u32 symbol_count;
extern const struct symbol symbol_table[];
extern const char symbol_names[];
extern const u8 image_text_start[], image_text_end[];

bool symbol_is_text(u64 addr)
{
	return addr >= (u64)image_text_start && addr < (u64)image_text_end;
}

void symbol_print(char *buf, size_t size, u64 addr)
{
	const struct symbols all = {symbol_table, symbol_count, symbol_names};
	const char *name = NULL;
	u32 within;

	if (symbol_is_text(addr))
		name = symbols_find(&all, (u32)(addr - IMAGE_BASE), &within);
	if (name)
		snprintf(buf, size, "%s+%#x", name, within);
	else
		snprintf(buf, size, "not in Weir's text");
}

/* --- Walking --- */

/* One page of 4-level paging (SDM 3A 4.5). The tables are in RAM, so the direct map shows them. */
static bool page_is_mapped(u64 addr)
{
	u64 table = read_cr3() & PTE_ADDRESS;

	if ((u64)((s64)(addr << 16) >> 16) != addr)
		return false; /* not canonical */
	for (int level = LEVELS - 1; level >= 0; level--) {
		u32 index = (addr >> (PAGE_SHIFT + 9 * level)) & 511;
		u64 entry = ((const u64 *)phys_to_virt(HPA(table)))[index];

		if (!(entry & PTE_PRESENT))
			return false;
		if (level == 0 || ((entry & PTE_LARGE) && level < LEVELS - 1))
			return true;
		table = entry & PTE_ADDRESS;
	}
	return false;
}

bool backtrace_readable(u64 addr, u64 size)
{
	u64 last = addr + size - 1;

	if (size == 0 || last < addr)
		return false;
	for (u64 page = addr & PAGE_MASK; page <= last; page += PAGE_SIZE) {
		if (!page_is_mapped(page))
			return false;
	}
	return true;
}

static void log_call(u32 depth, u64 rip, bool is_return)
{
	char name[128];

	/* A return address may be the next function's first byte, after a call that never returns. */
	symbol_print(name, sizeof(name), is_return ? rip - 1 : rip);
	log_error("  #%-2u 0x%016lx %s", depth, (unsigned long)rip, name);
}

void backtrace_log(u64 rip, u64 rbp)
{
	u64 first = rbp;
	u32 depth = 0;

	log_error("backtrace:");
	if (rip)
		log_call(depth++, rip, false);
	while (depth < BACKTRACE_MAX && rbp) {
		const u64 *frame = (const u64 *)rbp; /* the caller's rbp, then the return address */

		if (rbp % 8 || rbp < DIRECT_MAP_BASE || rbp - first > STACK_SPAN ||
		    !backtrace_readable(rbp, 16)) {
			log_error("  the frame at %#lx makes no sense", (unsigned long)rbp);
			break;
		}
		if (!symbol_is_text(frame[1]))
			break;
		log_call(depth++, frame[1], true);
		if (frame[0] && frame[0] <= rbp) {
			log_error("  the frame below %#lx does not go up", (unsigned long)rbp);
			break;
		}
		rbp = frame[0];
	}
}
