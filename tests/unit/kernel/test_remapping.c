/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/remapping.c */
/* Remapping units that the firmware left on are told of once, whichever it is. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/remapping.h"
#include "tests/hosted/hosted.h"

static u32 units[3][PAGE_SIZE / 4];
static bool no_memory;
static struct acpi_info acpi;

static u8 *map(hpa_t hpa, u64 size)
{
	u64 at = (hpa.v - 0xfed90000) / PAGE_SIZE;

	assert_int_equal(hpa.v % PAGE_SIZE, 0);
	assert_true(at < ARRAY_SIZE(units));
	assert_int_equal(size, PAGE_SIZE);
	return no_memory ? NULL : (u8 *)units[at];
}

static int setup(void **state)
{
	memset(units, 0, sizeof(units));
	memset(&acpi, 0, sizeof(acpi));
	acpi.dmar_count = 5;
	for (u32 i = 0; i < 3; i++)
		acpi.dmars[i] = 0xfed90000 + i * PAGE_SIZE;
	acpi.dmars[4] = 0xfed90010; /* none is there; dmars[3] is 0 */
	no_memory = false;
	hosted_log_reset();
	return 0;
}

static void warned(const char *what)
{
	hosted_log_reset();
	remapping_warn(&acpi, map);
	assert_int_equal(hosted_log_count(LOG_WARN), what ? 1 : 0);
	if (what)
		assert_non_null(strstr(hosted_log_last(), what));
}

static void what_is_on(void **state)
{
	units[0][7] = 0x51000000; /* root table set, queue and compatibility formats on */
	warned(NULL);
	units[1][7] = 0x80000000;
	warned("left DMA remapping on (VT-d): a swap disk");
	units[2][7] = 0x02000000;
	warned("left DMA and interrupt remapping on (VT-d): interrupts");
	units[1][7] = 0;
	warned("left interrupt remapping");
}

static void protected_memory(void **state)
{
	units[0][25] = 0x80000000; /* asked for, and not on */
	warned(NULL);
	units[1][25] = 0x80000001;
	warned("left protected memory regions on (VT-d): a swap disk");
	units[2][7] = 0x02000000;
	warned("left interrupt remapping and protected memory regions on (VT-d): interrupts");
}

static void what_does_not_answer(void **state)
{
	units[0][7] = units[0][25] = ~0u;
	warned(NULL);
	units[1][7] = 0x80000000;
	no_memory = true;
	warned(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_is_on, setup),
		cmocka_unit_test_setup(protected_memory, setup),
		cmocka_unit_test_setup(what_does_not_answer, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
