/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/paravirt.c */
/*
 * The paravirtual clock as a guest computes with it, against 128-bit arithmetic at many TSC rates;
 * where it may lie; and what the CPUID leaves answer.
 */
#include "kernel/base/error.h"
#include "kernel/vcpu.h"
#include "vmx/vmx.h"

#include <cmocka.h>
#include <string.h>

#define PV_EOI	    0x4b564d04
#define SYSTEM_TIME 0x4b564d01u
#define WALL_CLOCK  0x4b564d00u
#define OLD_TIME    0x12u
#define OLD_WALL    0x11u
#define RAM_SIZE    8192u
#define SECOND	    1000000000ull

/* What the guest reads, byte by byte as Linux and KVM agreed on it. */
struct guest_clock {
	u32 version, pad;
	u64 tsc, ns;
	u32 mul;
	s8 shift;
	u8 flags, pad2[2];
};

static u8 ram[RAM_SIZE];
static u32 writes;
static u32 versions[16]; /* as each write left it at the clock's gpa */
static u64 clock_gpa;
static int write_error; /* of the next write */
static u64 khz, tsc_offset;
static bool (*leaves)(u32 leaf, struct cpuid_regs *r);

int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *bytes, u64 size)
{
	if (write_error)
		return write_error;
	if (gpa.v > RAM_SIZE || size > RAM_SIZE - gpa.v)
		return ERR_NOSLOT;
	memcpy(ram + gpa.v, bytes, size);
	memcpy(&versions[writes++ % ARRAY_SIZE(versions)], ram + clock_gpa, sizeof(u32));
	return 0;
}

static int read_error;

int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *bytes, u64 size)
{
	if (read_error)
		return read_error;
	if (gpa.v > RAM_SIZE || size > RAM_SIZE - gpa.v)
		return ERR_NOSLOT;
	memcpy(bytes, ram + gpa.v, size);
	return 0;
}

static bool tsc_is_stable = true;

bool clock_tsc_is_stable(void)
{
	return tsc_is_stable;
}

u64 clock_tsc_khz(void)
{
	return khz;
}

u64 clock_boot_wall_seconds(void)
{
	return 1700000000;
}

u64 vmx_tsc_offset(const struct vmx_vcpu *v)
{
	return tsc_offset;
}

int steal_time_wrmsr(struct vcpu *v, u64 value)
{
	return ERR_FAULT;
}

static u32 steal_forgotten, eoi_forgotten;
static u64 eoi_msr;
static enum vmx_apicv apicv;

enum vmx_apicv vmx_apicv(void)
{
	return apicv;
}

int pv_eoi_wrmsr(struct vcpu *v, u64 value)
{
	eoi_msr = value;
	return 0;
}

void pv_eoi_forget(struct vcpu *v)
{
	eoi_forgotten++;
}

void steal_time_forget(struct vcpu *v)
{
	steal_forgotten++;
}

void vmx_set_paravirt_cpuid(bool (*fn)(u32 leaf, struct cpuid_regs *regs))
{
	leaves = fn;
}

static struct vm machine;
static struct vcpu cpu;

static int start(void **state)
{
	memset(ram, 0xa5, sizeof(ram));
	machine = (struct vm){.start_ns = 3 * SECOND + 7};
	cpu = (struct vcpu){.vm = &machine};
	writes = 0;
	clock_gpa = 64;
	write_error = read_error = 0;
	khz = 2000000;
	machine.tsc_offset = tsc_offset = 0ull - 77777;
	return 0;
}

static struct guest_clock clock_at(u64 gpa)
{
	struct guest_clock c;

	memcpy(&c, ram + gpa, sizeof(c));
	return c;
}

/* As Linux computes it. */
static u64 guest_ns(const struct guest_clock *c, u64 tsc)
{
	u64 delta = tsc - c->tsc;

	delta = c->shift < 0 ? delta >> -c->shift : delta << c->shift;
	return c->ns + (u64)(((unsigned __int128)delta * c->mul) >> 32);
}

static void check_rate(u64 rate)
{
	static const u64 spans[] = {1, 1000, 1000000, 3600ull * 1000000};

	khz = rate;
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	struct guest_clock c = clock_at(clock_gpa);

	/* All 32 bits of the factor count. */
	assert_true(c.mul >= BIT(31));
	for (u32 i = 0; i < ARRAY_SIZE(spans); i++) {
		u64 cycles = spans[i] * rate / 1000 + 1; /* spans are in microseconds */
		u64 exact = (u64)((unsigned __int128)cycles * 1000000 / rate);
		u64 got = guest_ns(&c, c.tsc + cycles) - c.ns;
		/* Cut off, never too much: a part in 2^31, and the cycles that a shift drops. */
		u64 lost = exact / BIT(31) + 2 + (c.shift < 0 ? BIT(-c.shift) * 1000000 / rate : 0);

		if (got > exact || exact - got > lost)
			fail_msg("%llu kHz: %llu cycles are %llu ns, got %llu",
				 (unsigned long long)rate, (unsigned long long)cycles,
				 (unsigned long long)exact, (unsigned long long)got);
	}
}

static void every_rate_scales(void **state)
{
	for (u64 rate = 1000; rate < 12000000; rate += 997)
		check_rate(rate);
	for (u32 bit = 10; bit < 24; bit++) {
		check_rate(BIT(bit) - 1);
		check_rate(BIT(bit));
		check_rate(BIT(bit) + 1);
	}
	check_rate(500000);
	check_rate(1000000);
	check_rate(2000000);
}

/* The page's own moment is the VM's start, on this vCPU's TSC as the guest has moved it. */
static void clock_counts_from_the_start(void **state)
{
	struct guest_clock c;

	tsc_offset = machine.tsc_offset + 5000;
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	c = clock_at(clock_gpa);
	assert_int_equal(c.tsc, 5000);
	assert_int_equal(c.ns, 0);
	assert_int_equal(c.flags, 1);
	assert_int_equal(c.pad, 0);
	assert_int_equal(c.pad2[0] | c.pad2[1], 0);
	tsc_is_stable = false;
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	assert_int_equal(clock_at(clock_gpa).flags, 0);
	tsc_is_stable = true;
}

/* Whenever each wrote its page, and wherever the guest moved its TSC: the same time, to the ns. */
static void vcpus_agree(void **state)
{
	struct guest_clock first, second;

	khz = 2999997;
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	first = clock_at(clock_gpa);
	tsc_offset += 0x123456789abull;
	assert_int_equal(paravirt_tsc_moved(&cpu), 0);
	second = clock_at(clock_gpa);
	assert_true(second.version > first.version && !(second.version & 1));
	for (u64 tsc = 1; tsc < BIT(50); tsc = tsc * 3 + 1)
		assert_int_equal(guest_ns(&first, tsc), guest_ns(&second, tsc + 0x123456789abull));
	/* One that has no clock has none to move. */
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa), 0);
	writes = 0;
	assert_int_equal(paravirt_tsc_moved(&cpu), 0);
	assert_int_equal(writes, 0);
}

/* KVM's PVCLOCK_GUEST_STOPPED, which the guest takes away when it has seen it; nothing else changes. */
static void a_pause_is_told(void **state)
{
	struct guest_clock before, after;

	assert_int_equal(paravirt_was_paused(&cpu), 0); /* who has no clock cannot be told */
	assert_int_equal(writes, 0);
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	before = clock_at(clock_gpa);
	writes = 0;
	assert_int_equal(paravirt_was_paused(&cpu), 0);
	after = clock_at(clock_gpa);
	assert_int_equal(after.flags, BIT(0) | BIT(1));
	assert_int_equal(writes, 2);
	assert_int_equal(versions[0], before.version + 1);
	assert_int_equal(versions[1], before.version + 2);
	assert_int_equal(guest_ns(&after, after.tsc + 12345), guest_ns(&before, after.tsc + 12345));

	/* It stays until the guest has seen it. */
	assert_int_equal(paravirt_tsc_moved(&cpu), 0);
	assert_int_equal(clock_at(clock_gpa).flags, BIT(0) | BIT(1));
	ram[clock_gpa + offsetof(struct guest_clock, flags)] = 0xfd;
	assert_int_equal(paravirt_tsc_moved(&cpu), 0);
	assert_int_equal(clock_at(clock_gpa).flags, BIT(0));

	write_error = ERR_NOMEM;
	assert_int_equal(paravirt_was_paused(&cpu), ERR_NOMEM);
	write_error = ERR_PERM;
	assert_int_equal(paravirt_was_paused(&cpu), ERR_FAULT);
	read_error = ERR_NOMEM;
	assert_int_equal(paravirt_tsc_moved(&cpu), ERR_NOMEM);
	read_error = ERR_NOSLOT;
	assert_int_equal(paravirt_tsc_moved(&cpu), ERR_FAULT);
	read_error = 0;
}

/* A reader that sees an odd version, or two that differ, reads again. */
static void version_is_odd_while_it_changes(void **state)
{
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	assert_int_equal(writes, 6);
	for (u32 i = 0; i < 6; i++) {
		assert_int_equal(versions[i] & 1, !(i & 1));
		if (i)
			assert_true(versions[i] > versions[i - 1]);
	}
	/* Nothing beside the 32 bytes. */
	assert_int_equal(ram[clock_gpa - 1], 0xa5);
	assert_int_equal(ram[clock_gpa + 32], 0xa5);
}

static void where_a_clock_may_lie(void **state)
{
	u64 value = 0;

	clock_gpa = 4096 - 8; /* across two pages */
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	assert_int_equal(clock_at(clock_gpa).tsc, 0);
	assert_int_equal(paravirt_rdmsr(&cpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, clock_gpa | 1);

	/* Odd places and places without RAM: #GP, and the MSR stays. */
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, 64 | 2 | 1), ERR_FAULT);
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, (RAM_SIZE - 4) | 1), ERR_FAULT);
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, ~0ull - 2), ERR_FAULT);
	assert_int_equal(paravirt_wrmsr(&cpu, WALL_CLOCK, RAM_SIZE - 8), ERR_FAULT);
	assert_int_equal(paravirt_wrmsr(&cpu, WALL_CLOCK, 65), ERR_FAULT);
	assert_int_equal(paravirt_rdmsr(&cpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, clock_gpa | 1);

	/* Off: nothing is written, wherever it points. */
	writes = 0;
	assert_int_equal(paravirt_wrmsr(&cpu, OLD_TIME, 0xfffffffff000), 0);
	assert_int_equal(writes, 0);
	assert_int_equal(paravirt_rdmsr(&cpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, 0xfffffffff000);
}

static void no_memory_is_not_the_guests_fault(void **state)
{
	u64 value = 1;

	write_error = ERR_NOMEM;
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), ERR_NOMEM);
	assert_int_equal(paravirt_wrmsr(&cpu, WALL_CLOCK, clock_gpa), ERR_NOMEM);
	assert_int_equal(paravirt_rdmsr(&cpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, 0);
}

/* It cannot have its clock in a page that it keeps Weir from writing: #GP, and the MSRs stay. */
static void a_page_that_the_guest_protected(void **state)
{
	u64 value = 1;

	write_error = ERR_PERM;
	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), ERR_FAULT);
	assert_int_equal(paravirt_wrmsr(&cpu, WALL_CLOCK, clock_gpa), ERR_FAULT);
	assert_int_equal(paravirt_rdmsr(&cpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, 0);
	value = 1;
	assert_int_equal(paravirt_rdmsr(&cpu, WALL_CLOCK, &value), 0);
	assert_int_equal(value, 0);
}

static void wall_clock_is_of_the_vms_start(void **state)
{
	u32 w[3];

	assert_int_equal(paravirt_wrmsr(&cpu, OLD_WALL, 128), 0);
	memcpy(w, ram + 128, sizeof(w));
	assert_int_equal(w[0] & 1, 0);
	assert_int_equal(w[1], 1700000003);
	assert_int_equal(w[2], 7);
	assert_int_equal(ram[128 + 12], 0xa5);
}

static void cpuid_leaves(void **state)
{
	struct cpuid_regs r = {1, 2, 3, 4};

	paravirt_init();
	apicv = VMX_APICV_FULL;
	assert_true(leaves(0x40000000, &r));
	assert_int_equal(r.eax, 0x40000001);
	assert_memory_equal(&r.ebx, "KVMKVMKVM\0\0\0", 12);
	assert_true(leaves(0x40000001, &r));
	assert_int_equal(r.eax, BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(9) | BIT(11) |
					BIT(13) | BIT(24));
	tsc_is_stable = false;
	assert_true(leaves(0x40000001, &r));
	assert_false(r.eax & BIT(24));
	tsc_is_stable = true;
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
	assert_true(leaves(0x40000100, &r));
	assert_int_equal(r.eax, 0x40000102);
	assert_memory_equal(&r.ebx, "WeirWeirWeir", 12);
	assert_true(leaves(0x40000101, &r));
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
	assert_true(leaves(0x40000102, &r));
	assert_int_equal(r.eax, 0x3f);
	assert_int_equal(r.ebx, 0x57490000);
	assert_int_equal(r.ecx, 512);
	assert_int_equal(r.edx, 1024);
	assert_false(leaves(0x40000103, &r));
	r = (struct cpuid_regs){1, 2, 3, 4};
	assert_false(leaves(0x40000002, &r));
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
}

/* Where the CPU does EOIs by itself the MSR is not there. */
static void eoi_without_apicv(void **state)
{
	struct cpuid_regs r;

	paravirt_init();
	for (apicv = VMX_APICV_OFF; apicv <= VMX_APICV_POSTED; apicv++) {
		assert_int_equal(paravirt_owns_msr(PV_EOI), apicv < VMX_APICV_FULL);
		assert_true(leaves(0x40000001, &r));
		assert_int_equal(!!(r.eax & BIT(6)), apicv < VMX_APICV_FULL);
	}
	assert_int_equal(paravirt_wrmsr(&cpu, PV_EOI, 4711), 0);
	assert_int_equal(eoi_msr, 4711);
}

/* Who starts it next may have other uses for that memory. */
static void init_ends_it(void **state)
{
	u64 value = 1;

	assert_int_equal(paravirt_wrmsr(&cpu, SYSTEM_TIME, clock_gpa | 1), 0);
	writes = steal_forgotten = eoi_forgotten = 0;
	paravirt_forget(&cpu);
	assert_int_equal(paravirt_tsc_moved(&cpu), 0);
	assert_int_equal(writes, 0);
	assert_int_equal(steal_forgotten, 1);
	assert_int_equal(eoi_forgotten, 1);
	assert_int_equal(paravirt_rdmsr(&cpu, SYSTEM_TIME, &value), 0);
	assert_int_equal(value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_rate_scales, start),
		cmocka_unit_test_setup(clock_counts_from_the_start, start),
		cmocka_unit_test_setup(vcpus_agree, start),
		cmocka_unit_test_setup(a_pause_is_told, start),
		cmocka_unit_test_setup(version_is_odd_while_it_changes, start),
		cmocka_unit_test_setup(where_a_clock_may_lie, start),
		cmocka_unit_test_setup(no_memory_is_not_the_guests_fault, start),
		cmocka_unit_test_setup(a_page_that_the_guest_protected, start),
		cmocka_unit_test_setup(wall_clock_is_of_the_vms_start, start),
		cmocka_unit_test_setup(cpuid_leaves, start),
		cmocka_unit_test_setup(eoi_without_apicv, start),
		cmocka_unit_test_setup(init_ends_it, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
