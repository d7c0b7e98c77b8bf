/* SPDX-License-Identifier: MIT */
/*
 * Power-off on a board made up: which ports are written, in which order, and how long it waits.
 * The board ends by leaving from a port's write; where nothing ends it Weir halts, which here
 * aborts.
 */
/* unit-sources: kernel/base/machine.c */
#include <cmocka.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "kernel/base/acpi.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"

#define PM1A_EVENT 0x400
#define PM1A	   0x404
#define PM1B_EVENT 0x500
#define PM1B	   0x504
#define GPE0	   0x420
#define SMI	   0xb2
#define KHZ	   1000

struct acpi_info acpi_info;

static sigjmp_buf end;
static u64 tsc, sci_on_at;
static u16 pm1[2];
static bool hypervisor, works;
static u32 stops;
static char written[4096];

static void leave(int how)
{
	siglongjmp(end, how);
}

static u64 fake_tsc(void)
{
	return tsc += KHZ / 2;
}

/* Before the first port. */
static void stop_others(void)
{
	assert_string_equal(written, "");
	stops++;
}

static u32 fake_in(u16 port, u32 size)
{
	switch (port) {
	case PM1A:
		return pm1[0] | (sci_on_at && tsc >= sci_on_at ? 1 : 0);
	case PM1B:
		return pm1[1];
	case PM1A_EVENT + 2:
		return 0x4721; /* with PCIEXP_WAKE_DIS, RTC_EN and PWRBTN_EN */
	case PM1B_EVENT + 2:
		return 0x0221; /* with neither of them */
	}
	fail_msg("port %#x is read", port);
	return 0;
}

static void fake_out(u16 port, u32 size, u32 value)
{
	char one[32];

	snprintf(one, sizeof(one), "%x.%u=%x ", port, size, value);
	strcat(written, one);
	if (port == SMI)
		sci_on_at = tsc + 700 * KHZ;
	if (port == PM1A)
		pm1[0] = (u16)(value & ~0x2000u);
	if (port == PM1B && (value & 0x2000) && works)
		leave(1);
	if (port == 0xf4)
		leave(2);
}

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){.ecx = leaf == 1 && hypervisor ? BIT(31) : 0};
}

static const struct machine_acpi_poweroff board = {
	.pm1a_port = PM1A,
	.pm1b_port = PM1B,
	.sleep_type_a = 7,
	.sleep_type_b = 5,
	.smi_port = SMI,
	.acpi_enable = 0xa1,
	.pm1a_events = {PM1A_EVENT, 4},
	.pm1b_events = {PM1B_EVENT, 4},
	.gpe0 = {GPE0, 4},
};

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){
		.in = fake_in, .out = fake_out, .cpuid = fake_cpuid, .tsc = fake_tsc};
	tsc = 1;
	sci_on_at = 0;
	pm1[0] = 0x1c02;
	pm1[1] = 0;
	hypervisor = works = false;
	written[0] = 0;
	acpi_info.bochs_tables = false;
	machine_set_tsc_khz(KHZ);
	machine_set_stop_others(stop_others);
	stops = 0;
	signal(SIGABRT, leave);
	hosted_log_reset();
	return 0;
}

static int off(const struct machine_acpi_poweroff *how)
{
	int ended = sigsetjmp(end, 1);

	if (ended)
		return ended;
	machine_set_acpi_poweroff(how);
	machine_poweroff();
}

#define QUIET "402.2=4100 400.2=c731 502.2=0 500.2=c731 422.1=0 423.1=0 420.1=ff 421.1=ff "
#define SLEEP "404.2=1c03 404.2=3c03 504.2=1400 504.2=3400 "

/* ACPI mode first, which comes late; then what may wake, and the sleep last. */
static void the_order(void **state)
{
	works = true;
	assert_int_equal(off(&board), 1);
	assert_int_equal(stops, 1);
	assert_string_equal(written, "b2.1=a1 " QUIET SLEEP);
	assert_in_range(tsc, 700 * KHZ, 1100 * KHZ);
	setup(state);
	works = true;
	sci_on_at = 1;
	assert_int_equal(off(&board), 1);
	assert_string_equal(written, QUIET SLEEP);
}

static void firmware_that_never_says_so(void **state)
{
	struct machine_acpi_poweroff deaf = board;

	deaf.smi_port = 0xb3;
	works = true;
	assert_int_equal(off(&deaf), 1);
	assert_in_range(tsc, 3000 * KHZ, 4600 * KHZ);
}

/* On a board the ports of emulators are somebody else's, and it is given its time. */
static void a_board_that_stays_on(void **state)
{
	sci_on_at = 1;
	assert_int_equal(off(&board), SIGABRT);
	assert_string_equal(written, QUIET SLEEP);
	assert_in_range(tsc, 2000 * KHZ, 2200 * KHZ);
	assert_non_null(strstr(hosted_log_last(), "does not switch itself off"));
}

static void an_emulator_that_stays_on(void **state)
{
	acpi_info.bochs_tables = true;
	sci_on_at = 1;
	assert_int_equal(off(&board), 2);
	assert_non_null(strstr(written, "8900.1=53 8900.1=68"));
	assert_non_null(strstr(written, "604.2=2000 f4.4=10"));
	assert_in_range(tsc, 50 * KHZ, 100 * KHZ);
	setup(state);
	hypervisor = true;
	sci_on_at = 1;
	assert_int_equal(off(&board), 2);
}

/* Neither events nor a second register, nor anything at all. */
static void less_is_there(void **state)
{
	static const struct machine_acpi_poweroff least = {.pm1a_port = PM1A, .sleep_type_a = 7};
	static const struct machine_acpi_poweroff none = {0};

	sci_on_at = 1;
	assert_int_equal(off(&least), SIGABRT);
	assert_string_equal(written, "404.2=1c03 404.2=3c03 ");
	written[0] = 0;
	assert_int_equal(off(&none), SIGABRT);
	assert_string_equal(written, "");
}

/* The longest block there can be. */
static void all_general_events(void **state)
{
	struct machine_acpi_poweroff many = board;

	many.gpe0 = (struct machine_acpi_events){0};
	many.gpe1 = (struct machine_acpi_events){0xfe00, 255};
	works = true;
	sci_on_at = 1;
	assert_int_equal(off(&many), 1);
	assert_non_null(strstr(written, "500.2=c731 fe7f.1=0 "));
	assert_non_null(strstr(written, " fefd.1=0 fe00.1=ff "));
	assert_non_null(strstr(written, " fe7e.1=ff 404"));
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_order),
		TEST(firmware_that_never_says_so),
		TEST(a_board_that_stays_on),
		TEST(an_emulator_that_stays_on),
		TEST(less_is_there),
		TEST(all_general_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
