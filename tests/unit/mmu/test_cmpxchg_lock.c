/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/*
 * What Weir exchanges in guest memory it exchanges by one instruction that has LOCK. A vCPU on
 * another CPU that would notice if it had not has to come within a few cycles of a comparison that
 * succeeds (test_cmpxchg_race waits for that mostly in vain), so here the CPU steps through the
 * exchange, one instruction at a time, and the test looks which of them changed the page.
 */
#define _GNU_SOURCE 1 /* the registers of a signal */
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/exchange_page.h"

#define WATCHED	   (3 * LINE)
#define LOCK	   0xf0
#define XCHG_BYTE  0x86
#define XCHG	   0x87
#define REX	   0x40 /* to 0x4f */
#define PREFIX_MAX 14u

static struct {
	const u8 *at; /* the instruction that is done when the next signal comes */
	u8 page[WATCHED];
	u32 changes, locked;
} step;

static bool is_prefix(u8 byte)
{
	static const u8 prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3};

	return memchr(prefixes, byte, sizeof(prefixes)) || (byte & 0xf0) == REX;
}

/* XCHG with memory locks without being told to (SDM 2D). */
static bool locks(const u8 *insn)
{
	for (u32 i = 0; i < PREFIX_MAX; i++) {
		if (insn[i] == LOCK || insn[i] == XCHG || insn[i] == XCHG_BYTE)
			return true;
		if (!is_prefix(insn[i]))
			break;
	}
	return false;
}

static void stepped(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (step.at && memcmp(step.page, page, WATCHED) != 0) {
		memcpy(step.page, page, WATCHED);
		step.changes++;
		step.locked += locks(step.at);
	}
	step.at = (const u8 *)uc->uc_mcontext.gregs[REG_RIP];
}

/* The red zone of who does this is passed over. */
static void begin_steps(void)
{
	step.at = NULL;
	step.changes = step.locked = 0;
	memcpy(step.page, page, WATCHED);
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static void end_steps(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static int setup(void **state)
{
	struct sigaction steps = {.sa_sigaction = stepped, .sa_flags = SA_SIGINFO};
	exchange_page_start();
	assert_int_equal(sigaction(SIGTRAP, &steps, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	exchange_page_end();
	return 0;
}

/* From 0 to something with no byte 0: a change that takes two instructions is seen as two. */
#define BECOMES 0x8877665544332211ull

static void check_exchange(u32 offset, u32 size)
{
	u64 old = 0, now = 0;
	int err;

	memset(page, 0, PAGE_SIZE);
	begin_steps();
	err = gpa_cmpxchg(&vm, GPA((BASE << PAGE_SHIFT) + offset), size, &old, BECOMES);
	end_steps();
	assert_int_equal(err, 0);
	assert_non_null(step.at);
	memcpy(&now, page + offset, size);
	assert_true(now == (BECOMES & ~0ull >> (64 - 8 * size)));
	assert_int_equal(step.changes, 1);
	assert_int_equal(step.locked, 1);
}

static void aligned(void **state)
{
	for (u32 size = 1; size <= 8; size *= 2)
		check_exchange(LINE, size);
}

static void not_aligned(void **state)
{
	for (u32 size = 2; size <= 8; size *= 2) {
		check_exchange(LINE + 1, size);
		check_exchange(2 * LINE - size - 1, size);
	}
}

static void sixteen_bytes(void **state)
{
	u64 old[2] = {0}, becomes[2] = {BECOMES, BECOMES};
	int err;

	memset(page, 0, PAGE_SIZE);
	begin_steps();
	err = gpa_cmpxchg16(&vm, GPA((BASE << PAGE_SHIFT) + LINE), old, becomes);
	end_steps();
	assert_int_equal(err, 0);
	assert_memory_equal(page + LINE, becomes, sizeof(becomes));
	assert_int_equal(step.changes, 1);
	assert_int_equal(step.locked, 1);
}

/* The test itself: a write that is none of Weir's exchanges is seen, and has no LOCK. */
static void a_plain_write_is_seen(void **state)
{
	u64 value = BECOMES;

	memset(page, 0, PAGE_SIZE);
	begin_steps();
	assert_int_equal(gpa_write(&vm, GPA((BASE << PAGE_SHIFT) + LINE), &value, 8), 0);
	end_steps();
	assert_int_equal(step.changes, 1);
	assert_int_equal(step.locked, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(aligned, setup, teardown),
		cmocka_unit_test_setup_teardown(not_aligned, setup, teardown),
		cmocka_unit_test_setup_teardown(sixteen_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_plain_write_is_seen, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
