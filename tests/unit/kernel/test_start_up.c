/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/start_up.c */
/* What INIT and start-up IPIs do to a vCPU that runs, to one that waits, and to the boot processor. */
#include "kernel/base/msr.h"
#include "kernel/dev/platform.h"
#include "kernel/vcpu.h"

#include <cmocka.h>

static struct vcpu cpu;
static struct platform_start_up next;
static u64 apic_base;
static u32 apic_inits, inits, sipis, forgotten;
static u8 vector;

struct platform_start_up platform_start_up_take(struct vcpu *v)
{
	return next;
}

u64 platform_apic_base(struct vcpu *v)
{
	return apic_base;
}

void platform_init(struct vcpu *v)
{
	apic_inits++;
}

void paravirt_forget(struct vcpu *v)
{
	forgotten++;
}

void vmx_vcpu_init(struct vmx_vcpu *v)
{
	inits++;
	assert_int_equal(sipis, 0);
}

void vmx_vcpu_sipi(struct vmx_vcpu *v, u8 n)
{
	sipis++;
	vector = n;
}

static void take(bool init, bool sipi, u8 n)
{
	next = (struct platform_start_up){init, sipi, n};
	apic_inits = inits = sipis = forgotten = 0;
	vcpu_start_up(&cpu);
	assert_int_equal(apic_inits, inits);
	assert_int_equal(forgotten, inits);
}

static void others_wait(void **state)
{
	apic_base = APIC_BASE_ENABLE;
	cpu.waits_for_sipi = true;
	take(false, false, 0);
	assert_true(cpu.waits_for_sipi);
	assert_int_equal(inits + sipis, 0);
	take(false, true, 0x9a);
	assert_false(cpu.waits_for_sipi);
	assert_int_equal(sipis, 1);
	assert_int_equal(vector, 0x9a);
	/* It runs: the second one is lost. */
	take(false, true, 0x9b);
	assert_int_equal(sipis, 0);
	take(true, false, 0);
	assert_true(cpu.waits_for_sipi);
	assert_int_equal(inits, 1);
	assert_int_equal(sipis, 0);
	take(true, true, 7);
	assert_false(cpu.waits_for_sipi);
	assert_int_equal(inits, 1);
	assert_int_equal(sipis, 1);
	assert_int_equal(vector, 7);
}

static void the_boot_processor_goes_on(void **state)
{
	apic_base = APIC_BASE_ENABLE | APIC_BASE_BSP;
	cpu.waits_for_sipi = false;
	take(true, true, 7);
	assert_false(cpu.waits_for_sipi);
	assert_int_equal(inits, 1);
	assert_int_equal(sipis, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_wait),
		cmocka_unit_test(the_boot_processor_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
