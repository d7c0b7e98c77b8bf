/* SPDX-License-Identifier: MIT */
/* R16: the tags' 16 bits as they are on the target: each number once, never 0, then a flush. */
/* unit-sources: vmx/vpid.c */
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "tests/hosted/hosted.h"
#include "vmx/vpid.h"

#include <cmocka.h>
#include <string.h>

static bool used[VPID_LAST + 1];
static u32 flushes;

static bool flush(enum invvpid_type type, u16 vpid)
{
	memset(used, 0, sizeof(used));
	flushes++;
	return true;
}

static void every_number_once_in_a_generation(void **state)
{
	struct vpid_tag t = {0};

	hosted_invvpid_hook = flush;
	hosted_cpu_set(CPU_MAX - 1);
	irq_disable();
	for (u32 i = 0; i < 3 * VPID_LAST; i++) {
		vpid_take(&t);
		assert_int_not_equal(t.vpid, 0);
		assert_false(used[t.vpid]);
		used[t.vpid] = true;
	}
	assert_int_equal(flushes, 3);
	vpid_take(&t);
	assert_int_equal(flushes, 4);
	irq_enable();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_number_once_in_a_generation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
