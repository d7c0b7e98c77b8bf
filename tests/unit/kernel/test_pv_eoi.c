/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/pv_eoi.c */
/* MSR_KVM_PV_EOI_EN: what it takes, and that one page is pinned for it, while it is on. */
#include "kernel/base/error.h"
#include "kernel/dev/lapic.h"
#include "kernel/vcpu.h"

#include <cmocka.h>

#define ENABLE 1

static u8 ram[PAGE_SIZE];
static u32 pins;
static int pin_error;
static struct vm machine;
static struct lapic lapic;
static struct vcpu cpu = {.vm = &machine, .lapic = &lapic};

int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin **out)
{
	static struct gpa_pin pin[2];
	struct gpa_pin *p = &pin[pin[0].at != NULL];

	if (pin_error || gpa.v >= sizeof(ram))
		return pin_error ? pin_error : ERR_NOSLOT;
	pins++;
	p->at = ram + gpa.v;
	*out = p;
	return 0;
}

void gpa_unpin(struct gpa_pin *p)
{
	if (!p)
		return;
	/* Not before the local APIC knows of the next one. */
	assert_ptr_not_equal(lapic.pv_eoi, p);
	pins--;
	p->at = NULL;
}

void lapic_pv_eoi_set(struct lapic *l, struct gpa_pin *word)
{
	l->pv_eoi = word;
}

static void on_and_off(void **state)
{
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0x100 | ENABLE), 0);
	assert_ptr_equal(lapic.pv_eoi->at, ram + 0x100);
	assert_int_equal(cpu.pv_eoi.msr, 0x101);
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0xffc | ENABLE), 0);
	assert_ptr_equal(lapic.pv_eoi->at, ram + 0xffc);
	assert_int_equal(pins, 1);
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0xffc), 0);
	assert_null(lapic.pv_eoi);
	assert_int_equal(pins, 0);
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0xffc | ENABLE), 0);
	pv_eoi_forget(&cpu);
	assert_null(lapic.pv_eoi);
	assert_int_equal(pins, 0);
	assert_int_equal(cpu.pv_eoi.msr, 0);
}

/* What was there goes on. */
static void refused(void **state)
{
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0x40 | ENABLE), 0);
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0x102 | ENABLE), ERR_FAULT);
	assert_int_equal(pv_eoi_wrmsr(&cpu, sizeof(ram) | ENABLE), ERR_FAULT);
	assert_int_equal(pv_eoi_wrmsr(&cpu, ~3ull | ENABLE), ERR_FAULT);
	pin_error = ERR_NOSPC;
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0x80 | ENABLE), ERR_FAULT);
	pin_error = ERR_NOMEM;
	assert_int_equal(pv_eoi_wrmsr(&cpu, 0x80 | ENABLE), ERR_NOMEM);
	pin_error = 0;
	assert_ptr_equal(lapic.pv_eoi->at, ram + 0x40);
	assert_int_equal(cpu.pv_eoi.msr, 0x41);
	assert_int_equal(pins, 1);
	pv_eoi_forget(&cpu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_and_off),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
