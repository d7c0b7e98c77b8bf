/* SPDX-License-Identifier: MIT */
/*
 * The host's LAPIC as the firmware left it, in x2APIC mode, where registers are MSRs: what is
 * masked, what stays the firmware's, whose an NMI is, and that a LAPIC that errs does not fill the
 * log. The boot CPU is set up once for a process, so each test has one of its own.
 */
/* unit-sources: smp/apic.c kernel/base/acpi.c kernel/base/acpi_madt.c kernel/base/acpi_fadt.c
   kernel/base/acpi_srat.c */
#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "kernel/base/acpi.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/apic_regs.h"
#include "smp/cpu.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"

#define X2APIC	  0x800
#define RESET_LVT LVT_MASKED
#define THERMAL	  0x200 /* SMI, not masked, as some notebooks have it */

#define CPUS 3

static u32 regs[CPUS][64], last_line;
static u32 on; /* the CPU that runs */
static irq_handler_t error;

/* cmocka's assertions cannot leave another process. */
#define CHECK(x)                  \
	do {                      \
		if (!(x))         \
			_exit(1); \
	} while (0)

static u32 *lvt(u32 cpu, u32 reg)
{
	return &regs[cpu][reg / 16];
}

/* One that is not there faults. */
static void check_register(u32 reg)
{
	CHECK(reg < 0x400);
	CHECK(reg != APIC_LVT_CMCI || last_line >= 6);
	CHECK(reg != APIC_LVT_THERMAL || last_line >= 5);
}

static u64 fake_rdmsr(u32 index)
{
	if (index == MSR_IA32_APIC_BASE)
		return APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	check_register((index - X2APIC) * 16);
	if (index == X2APIC + APIC_VERSION / 16)
		return last_line << 16 | 0x15;
	return regs[on][index - X2APIC];
}

static bool is_lvt(u32 reg)
{
	return reg == APIC_LVT_CMCI || (reg >= APIC_LVT_TIMER && reg <= APIC_LVT_ERROR);
}

/* While SVR does not enable it, no entry can be unmasked (SDM 3A 10.4.7.2). */
static void fake_wrmsr(u32 index, u64 value)
{
	u32 reg = (index - X2APIC) * 16;

	check_register(reg);
	if (is_lvt(reg) && !(*lvt(on, APIC_SVR) & SVR_ENABLE))
		value |= LVT_MASKED;
	regs[on][reg / 16] = (u32)value;
}

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	CHECK(vector == VECTOR_ERROR);
	error = fn;
}

const struct smp_hooks *smp_hooks_get(void)
{
	return NULL;
}

static void bring_up(u32 cpu)
{
	on = cpu;
	apic_init_cpu();
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.rdmsr = fake_rdmsr, .wrmsr = fake_wrmsr};
	last_line = 6;
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		memset(regs[cpu], 0, sizeof(regs[cpu]));
		for (u32 reg = 0; reg < 0x400; reg += 16)
			*lvt(cpu, reg) = is_lvt(reg) ? RESET_LVT : 0;
	}
	/* The firmware runs with the boot CPU's enabled. */
	*lvt(0, APIC_SVR) = SVR_ENABLE | 0xf;
	hosted_log_reset();
	return 0;
}

static void in_a_process(void (*test)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void smis_stay(void)
{
	*lvt(0, APIC_LVT_THERMAL) = THERMAL | BIT(12); /* one is being delivered */
	*lvt(0, APIC_LVT_CMCI) = LVT_SMI | LVT_MASKED | 0x12;
	*lvt(0, APIC_LVT_PERFORMANCE) = LVT_NMI;
	bring_up(0);
	CHECK(*lvt(0, APIC_LVT_THERMAL) == (THERMAL | BIT(12)));
	CHECK(*lvt(0, APIC_LVT_CMCI) == (LVT_SMI | LVT_MASKED | 0x12));
	CHECK(*lvt(0, APIC_LVT_PERFORMANCE) == LVT_MASKED);
	bring_up(1);
	CHECK(*lvt(1, APIC_LVT_THERMAL) == THERMAL);
	CHECK(*lvt(1, APIC_LVT_CMCI) == (LVT_SMI | LVT_MASKED | 0x12));
	CHECK(*lvt(1, APIC_LVT_PERFORMANCE) == LVT_MASKED);
}

static void all_else_is_masked(void)
{
	static const u32 lines[] = {APIC_LVT_THERMAL, APIC_LVT_PERFORMANCE, APIC_LVT_CMCI,
				    APIC_LVT_LINT0, APIC_LVT_LINT1};

	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		*lvt(0, lines[i]) = 0x700 | 0x21;
	bring_up(0);
	bring_up(1);
	for (u32 cpu = 0; cpu < 2; cpu++) {
		for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
			CHECK(*lvt(cpu, lines[i]) == LVT_MASKED);
		CHECK(*lvt(cpu, APIC_LVT_ERROR) == VECTOR_ERROR);
	}
}

/* Neither read nor written: the test fails at a write. */
static void a_cpu_with_fewer_lines(void)
{
	last_line = 4;
	*lvt(0, APIC_LVT_THERMAL) = THERMAL;
	bring_up(0);
	bring_up(1);
	CHECK(*lvt(0, APIC_LVT_THERMAL) == THERMAL);
	CHECK(*lvt(1, APIC_LVT_THERMAL) == RESET_LVT);
}

static void lines(const struct acpi_nmi *nmis, u32 count)
{
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		acpi_info.cpus[cpu] = (struct acpi_cpu){.apic_id = 4 + cpu, .uid = 10 + cpu};
		*lvt(cpu, APIC_ID) = 4 + cpu;
	}
	acpi_info.cpu_count = CPUS;
	memcpy(acpi_info.nmis, nmis, count * sizeof(*nmis));
	acpi_info.nmi_count = count;
	for (u32 cpu = 0; cpu < CPUS; cpu++)
		bring_up(cpu);
}

/* One NMI is told by one CPU, whether the table says all of them or names each. */
static void nmis_are_the_boot_cpus(void)
{
	static const struct acpi_nmi all = {.uid = ACPI_UID_ALL, .lint = 1};

	lines(&all, 1);
	CHECK(*lvt(0, APIC_LVT_LINT1) == LVT_NMI);
	CHECK(*lvt(0, APIC_LVT_LINT0) == LVT_MASKED);
	CHECK(*lvt(1, APIC_LVT_LINT1) == LVT_MASKED);
}

static void nmis_that_each_is_named_for(void)
{
	static const struct acpi_nmi each[] = {{.uid = 11, .lint = 0, .active_low = true},
					       {.uid = 10, .lint = 0, .active_low = true}};

	lines(each, 2);
	CHECK(*lvt(0, APIC_LVT_LINT0) == (LVT_NMI | LVT_ACTIVE_LOW));
	CHECK(*lvt(1, APIC_LVT_LINT0) == LVT_MASKED);
}

/* Where it leaves the boot CPU out, the first that it names; of each line by itself. */
static void nmis_of_another_cpu(void)
{
	static const struct acpi_nmi another[] = {
		{.uid = 12, .lint = 1}, {.uid = 11, .lint = 1}, {.uid = 10, .lint = 0}};

	lines(another, 3);
	CHECK(*lvt(2, APIC_LVT_LINT1) == LVT_MASKED);
	CHECK(*lvt(0, APIC_LVT_LINT1) == LVT_MASKED);
	CHECK(*lvt(1, APIC_LVT_LINT1) == LVT_NMI);
	CHECK(*lvt(0, APIC_LVT_LINT0) == LVT_NMI);
	CHECK(*lvt(1, APIC_LVT_LINT0) == LVT_MASKED);
}

static void errors_do_not_fill_the_log(void)
{
	bring_up(0);
	hosted_log_reset();
	for (u32 i = 0; i < 7; i++)
		error(NULL);
	CHECK(!strstr(hosted_log_last(), "are not told"));
	for (u32 i = 0; i < 1000; i++)
		error(NULL);
	CHECK(hosted_log_count(LOG_WARN) == 8);
	CHECK(strstr(hosted_log_last(), "are not told"));
	hosted_cpu_set(1);
	error(NULL);
	CHECK(hosted_log_count(LOG_WARN) == 9);
	CHECK(strstr(hosted_log_last(), "CPU 1"));
}

#define TEST(f)                            \
	static void test_##f(void **state) \
	{                                  \
		in_a_process(f);           \
	}

TEST(smis_stay)
TEST(all_else_is_masked)
TEST(a_cpu_with_fewer_lines)
TEST(nmis_are_the_boot_cpus)
TEST(nmis_that_each_is_named_for)
TEST(nmis_of_another_cpu)
TEST(errors_do_not_fill_the_log)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_smis_stay, setup),
		cmocka_unit_test_setup(test_all_else_is_masked, setup),
		cmocka_unit_test_setup(test_a_cpu_with_fewer_lines, setup),
		cmocka_unit_test_setup(test_nmis_are_the_boot_cpus, setup),
		cmocka_unit_test_setup(test_nmis_that_each_is_named_for, setup),
		cmocka_unit_test_setup(test_nmis_of_another_cpu, setup),
		cmocka_unit_test_setup(test_errors_do_not_fill_the_log, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
