/* SPDX-License-Identifier: MIT */
/* Events: two that meet (SDM 3A table 6-5), and their form in the VMCS. */
/* unit-sources: vmx/event.c */
#include <setjmp.h>
#include <cmocka.h>
#include "vmx/event.h"

#define VECTORS 32

/* Table 6-4 by vector: B benign, C contributory, P page fault, D double fault. */
static const char classes[VECTORS + 1] = "CBBBBBBB"
					 "DBCCCCPB"
					 "BBBBPCBB"
					 "BBBBBBBB";

static struct event exception(u8 vector)
{
	return (struct event){.valid = true, .vector = vector, .type = EVENT_EXCEPTION};
}

static enum event_outcome expected(char first, char second)
{
	/* Rows are the first, columns the second: benign, contributory, page fault. */
	if (first == 'B' || second == 'B')
		return EVENT_SECOND;
	if (first == 'D')
		return EVENT_SHUTDOWN;
	if (second == 'D')
		return EVENT_SECOND;
	if (first == 'C')
		return second == 'C' ? EVENT_DOUBLE_FAULT : EVENT_SECOND;
	return EVENT_DOUBLE_FAULT;
}

static void every_pair_of_exceptions(void **state)
{
	u32 outcomes[3] = {0};

	for (u8 i = 0; i < VECTORS; i++) {
		for (u8 j = 0; j < VECTORS; j++) {
			struct event a = exception(i), b = exception(j);
			enum event_outcome got = event_combine(&a, &b);

			if (got != expected(classes[i], classes[j]))
				fail_msg("%u then %u: %d", i, j, got);
			outcomes[got]++;
		}
	}
	/* 6 contributory with 6; 2 page faults with 8; #DF with 9, itself included. */
	assert_int_equal(outcomes[EVENT_DOUBLE_FAULT], 6 * 6 + 2 * 8);
	assert_int_equal(outcomes[EVENT_SHUTDOWN], 9);
}

static void the_manual_s_own_examples(void **state)
{
	struct event gp = exception(13), pf = exception(14), df = exception(8), de = exception(0);

	assert_int_equal(event_combine(&pf, &gp), EVENT_DOUBLE_FAULT);
	assert_int_equal(event_combine(&gp, &pf), EVENT_SECOND);
	assert_int_equal(event_combine(&pf, &pf), EVENT_DOUBLE_FAULT);
	assert_int_equal(event_combine(&de, &gp), EVENT_DOUBLE_FAULT);
	assert_int_equal(event_combine(&df, &pf), EVENT_SHUTDOWN);
}

static void only_what_the_cpu_raises_is_an_exception(void **state)
{
	static const u8 types[] = {EVENT_INTERRUPT, EVENT_NMI, EVENT_SOFT_INTERRUPT,
				   EVENT_PRIVILEGED_EXCEPTION, EVENT_SOFT_EXCEPTION};
	struct event gp = exception(13);

	for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
		struct event e = {.valid = true, .vector = 13, .type = types[i]};

		assert_int_equal(event_combine(&e, &gp), EVENT_SECOND);
		assert_int_equal(event_combine(&gp, &e), EVENT_SECOND);
	}
}

static void info_round_trip(void **state)
{
	struct event e = event_from_info(0x80000b0e, 6, 3);

	assert_true(e.valid);
	assert_int_equal(e.vector, 14);
	assert_int_equal(e.type, EVENT_EXCEPTION);
	assert_true(e.has_error);
	assert_int_equal(e.error_code, 6);
	assert_int_equal(e.length, 0);
	assert_int_equal(event_to_info(&e, true), 0x80000b0e);
	/* Real mode pushes no error code. */
	assert_int_equal(event_to_info(&e, false), 0x8000030e);
}

static void instruction_length_only_for_instructions(void **state)
{
	assert_int_equal(event_from_info(0x80000480, 0, 2).length, 2); /* INT 0x80 */
	assert_int_equal(event_from_info(0x80000603, 0, 1).length, 1); /* INT3 */
	assert_int_equal(event_from_info(0x80000501, 0, 1).length, 1); /* INT1 */
	assert_int_equal(event_from_info(0x80000020, 0, 2).length, 0); /* interrupt */
	assert_int_equal(event_from_info(0x80000202, 0, 2).length, 0); /* NMI */
	assert_false(event_from_info(0x00000b0e, 6, 0).valid);
	/* No error code is taken where none was said to be. */
	assert_int_equal(event_from_info(0x80000306, 77, 0).error_code, 0);
}

static void faults_set_rf_and_traps_do_not(void **state)
{
	static const u8 without[] = {1, 3, 4, 8, 18};
	u32 count = 0;

	for (u8 i = 0; i < VECTORS; i++) {
		struct event e = exception(i);

		count += !event_sets_rf(&e);
	}
	assert_int_equal(count, ARRAY_SIZE(without));
	for (u32 i = 0; i < ARRAY_SIZE(without); i++) {
		struct event e = exception(without[i]);

		assert_false(event_sets_rf(&e));
	}
	struct event interrupt = {.valid = true, .vector = 13, .type = EVENT_INTERRUPT};

	assert_false(event_sets_rf(&interrupt));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_of_exceptions),
		cmocka_unit_test(the_manual_s_own_examples),
		cmocka_unit_test(only_what_the_cpu_raises_is_an_exception),
		cmocka_unit_test(info_round_trip),
		cmocka_unit_test(instruction_length_only_for_instructions),
		cmocka_unit_test(faults_set_rf_and_traps_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
