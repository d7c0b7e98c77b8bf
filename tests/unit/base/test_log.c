/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/log.c kernel/base/log_ring.c */
/* Which lines of the log are shown, when, and in which order. */
#include "kernel/base/log.h"
#include "kernel/base/console.h"
#include "kernel/base/log_ring.h"
#include "kernel/base/string.h"

#include <cmocka.h>

static char shown[2 * LOG_RING_SIZE];
static bool no_sink, nested, broken;
static u32 lines_of_hold, most_of_hold;
static void (*after_hold)(void);

struct console_hold console_lock(void)
{
	lines_of_hold = 0;
	return (struct console_hold){.nested = nested};
}

void console_unlock(struct console_hold hold)
{
	void (*fn)(void) = after_hold;

	(void)hold;
	most_of_hold = max(most_of_hold, lines_of_hold);
	after_hold = NULL;
	if (fn)
		fn();
}

bool console_locks_are_broken(void)
{
	return broken;
}

/* Without the prefix, which has nothing to say here. */
bool console_emit_line(const char *text, size_t len)
{
	size_t at = strlen(shown);
	const char *colon = strstr(text, ": ");

	if (no_sink)
		return false;
	assert_true(at + len + 1 < sizeof(shown));
	strlcpy(shown + at, colon ? colon + 2 : text, sizeof(shown) - at);
	strlcpy(shown + strlen(shown), "\n", 2);
	lines_of_hold++;
	return true;
}

void console_flush(void)
{
}

static void assert_shown(const char *text)
{
	assert_string_equal(shown, text);
	shown[0] = 0;
}

static int setup(void **state)
{
	log_release();
	no_sink = nested = broken = false;
	log_set_level(LOG_INFO);
	shown[0] = 0;
	most_of_hold = 0;
	return 0;
}

/* What no sink has shown, or the level did not let through, comes when it can. */
static void lines_come_at_once_or_are_replayed(void **state)
{
	no_sink = true;
	log_info("early");
	no_sink = false;
	log_info("one");
	log_debug("two");
	assert_shown("one\n");
	log_release();
	assert_shown("");
	log_replay();
	assert_shown("early\n");
	log_set_level(LOG_DEBUG);
	log_info("three");
	assert_shown("three\n");
	log_replay();
	assert_shown("two\n");
	log_replay();
	assert_shown("");
}

static void write_amid(void)
{
	log_info("amid");
}

/* One at a time, for interrupts are off as long; and what is logged meanwhile is not before them. */
static void what_is_held_comes_in_order(void **state)
{
	log_hold();
	log_info("one");
	log_debug("of no interest");
	log_info("two");
	log_info("three");
	assert_shown("");
	after_hold = write_amid;
	log_release();
	assert_shown("one\ntwo\nthree\namid\n");
	assert_int_equal(most_of_hold, 1);
	log_info("four");
	assert_shown("four\n");
	log_replay();
	assert_shown("");
}

static u32 flood_left;

static void flood(void)
{
	if (!flood_left)
		return;
	flood_left--;
	log_info("more");
	after_hold = flood;
}

/* However fast lines come, those that waited are out in the end: who writes shows, too. */
static void a_flood_does_not_hold_it_for_ever(void **state)
{
	const u32 held = 5;

	log_hold();
	for (u32 i = 0; i < held; i++)
		log_info("held");
	flood_left = 1000;
	after_hold = flood;
	log_release();
	after_hold = NULL;
	assert_true(flood_left > 1000 - 2 * held);
	assert_int_equal(most_of_hold, 1);
}

/* A panic, and who comes back into the console, say at once what they have to say. */
static void a_panic_waits_for_nothing(void **state)
{
	log_hold();
	log_info("held");
	nested = true;
	log_info("nested");
	assert_shown("nested\n");
	nested = false;
	broken = true;
	log_error("panic");
	assert_shown("panic\n");
	log_show_last(log_mark(), 3);
	assert_non_null(strstr(shown, "not shown yet:\nheld\nnested\npanic\n"));
	shown[0] = 0;
	log_release();
	assert_shown("held\n");
	/* All of it was shown: a panic has nothing to add. */
	log_show_last(log_mark(), 3);
	assert_shown("");
}

/* Nothing is shown twice, and nothing of it is lost but what the ring has lost. */
static void the_last_of_many_are_shown(void **state)
{
	log_hold();
	for (u32 i = 0; i < 4000; i++)
		log_info("%04u", i);
	log_release();
	assert_true(strlen(shown) > LOG_RING_SIZE / 8);
	assert_string_equal(shown + strlen(shown) - 10, "3998\n3999\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(lines_come_at_once_or_are_replayed, setup),
		cmocka_unit_test_setup(what_is_held_comes_in_order, setup),
		cmocka_unit_test_setup(a_flood_does_not_hold_it_for_ever, setup),
		cmocka_unit_test_setup(a_panic_waits_for_nothing, setup),
		cmocka_unit_test_setup(the_last_of_many_are_shown, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
