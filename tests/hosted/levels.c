/* SPDX-License-Identifier: MIT */
/*
 * The order of locks on a thread of the fake machine: as strict as a debug build's on a CPU, so
 * that a test of mem/ or mmu/ meets a wrong order even when no other thread is there.
 */
#include "kernel/base/panic.h"
#include "tests/hosted/levels.h"

#define HELD_MAX 32

struct held {
	const void *lock;
	const char *name;
	enum lock_level level;
};

static _Thread_local struct held held[HELD_MAX];
static _Thread_local u32 held_count;

void levels_check(const char *name, enum lock_level level)
{
	if (held_count && level <= held[held_count - 1].level)
		panic("lock order: %s (%d) acquired while holding %s (%d)", name, level,
		      held[held_count - 1].name, held[held_count - 1].level);
}

void levels_push(const void *lock, const char *name, enum lock_level level)
{
	BUG_ON(held_count == HELD_MAX);
	held[held_count++] = (struct held){lock, name, level};
}

void levels_pop(const void *lock)
{
	for (u32 i = held_count; i-- > 0;) {
		if (held[i].lock != lock)
			continue;
		for (; i + 1 < held_count; i++)
			held[i] = held[i + 1];
		held_count--;
		return;
	}
	panic("a lock is released by a thread that does not hold it");
}

bool levels_held(const void *lock)
{
	for (u32 i = 0; i < held_count; i++) {
		if (held[i].lock == lock)
			return true;
	}
	return false;
}

u32 hosted_locks_held(void)
{
	return held_count;
}

void hosted_locks_forget(void)
{
	held_count = 0;
}
