/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The local APIC: priorities, EOI, errors, enabling, x2APIC and its transitions, IPIs. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "tests/unit/dev/machine.h"

#define BASE PLATFORM_LAPIC_BASE
#define EN   APIC_BASE_ENABLE
#define X2   APIC_BASE_X2APIC
#define BSP  APIC_BASE_BSP

static void self_ipi(struct machine *m, u8 vector)
{
	apic_write(m, 0, APIC_ICR, (1u << 18) | vector);
}

static int msr_write(struct machine *m, u32 vcpu, u32 index, u64 value)
{
	return platform_wrmsr(m->vm->vcpus[vcpu], index, value);
}

static u64 msr_read(struct machine *m, u32 vcpu, u32 index)
{
	u64 value = 0xdead;

	assert_int_equal(platform_rdmsr(m->vm->vcpus[vcpu], index, &value), 0);
	return value;
}

/* As the CPU, or vmx/apic.c, moves to and from CR8. */
static u32 *tpr(struct machine *m)
{
	return (u32 *)((u8 *)platform_apic_page(m->v) + APIC_TPR);
}

static u32 cr8(struct machine *m)
{
	return *tpr(m) >> 4;
}

static void set_cr8(struct machine *m, u32 value)
{
	*tpr(m) = value << 4;
}

static void to_x2apic(struct machine *m, u32 vcpu)
{
	u64 base = platform_apic_base(m->vm->vcpus[vcpu]);

	assert_int_equal(msr_write(m, vcpu, MSR_IA32_APIC_BASE, base | X2), 0);
}

static void power_on(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	assert_int_equal(platform_apic_base(m.vm->vcpus[0]), BASE | EN | BSP);
	assert_int_equal(platform_apic_base(m.vm->vcpus[1]), BASE | EN);
	assert_int_equal(apic_read(&m, 1, APIC_ID), 1u << 24);
	assert_int_equal(apic_read(&m, 1, APIC_VERSION) & 0xff00ff, 0x050014);
	assert_int_equal(apic_read(&m, 1, APIC_SVR), 0xff);
	assert_int_equal(apic_read(&m, 1, APIC_DFR), 0xffffffff);
	assert_int_equal(apic_read(&m, 1, APIC_LINT0), 0x10000);
	/* vCPU 0 has the virtual wire that a firmware leaves. */
	assert_int_equal(apic_read(&m, 0, APIC_LINT0), 0x700);
	assert_int_equal(apic_read(&m, 0, APIC_LINT1), 0x400);
	assert_int_equal(apic_read(&m, 0, APIC_SVR), 0x1ff);
	machine_destroy(&m);
}

static void priorities(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	self_ipi(&m, 0x41);
	self_ipi(&m, 0x52);
	self_ipi(&m, 0x53);
	assert_true(hosted_vm_requests(m.v) & VCPU_REQ_KICK);
	assert_true(apic_bit(&m, 0, APIC_IRR, 0x41));
	assert_int_equal(platform_interrupt_ack(m.v), 0x53);
	assert_false(apic_bit(&m, 0, APIC_IRR, 0x53));
	assert_true(apic_bit(&m, 0, APIC_ISR, 0x53));
	assert_int_equal(apic_read(&m, 0, APIC_PPR), 0x50);
	/* The same class waits, a higher one does not. */
	assert_false(platform_interrupt_pending(m.v));
	assert_int_equal(platform_interrupt_ack(m.v), -1);
	self_ipi(&m, 0x60);
	assert_int_equal(platform_interrupt_ack(m.v), 0x60);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_false(apic_bit(&m, 0, APIC_ISR, 0x60));
	assert_true(apic_bit(&m, 0, APIC_ISR, 0x53));
	assert_false(platform_interrupt_pending(m.v));
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(platform_interrupt_ack(m.v), 0x52);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_int_equal(platform_interrupt_ack(m.v), 0x41);
	apic_write(&m, 0, APIC_EOI, 0);
	apic_write(&m, 0, APIC_EOI, 0); /* one too many */
	assert_false(platform_interrupt_pending(m.v));
	machine_destroy(&m);
}

static void task_priority(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	apic_write(&m, 0, APIC_TPR, 0x1ff);
	assert_int_equal(apic_read(&m, 0, APIC_TPR), 0xff);
	assert_int_equal(cr8(&m), 0xf);
	assert_int_equal(platform_tpr_threshold(m.v), 0);
	self_ipi(&m, 0xfe);
	assert_false(platform_interrupt_pending(m.v));
	assert_int_equal(platform_tpr_threshold(m.v), 0xf);
	set_cr8(&m, 0xe);
	assert_int_equal(platform_tpr_threshold(m.v), 0);
	assert_int_equal(apic_read(&m, 0, APIC_TPR), 0xe0);
	assert_int_equal(apic_read(&m, 0, APIC_PPR), 0xe0);
	assert_true(platform_interrupt_pending(m.v));
	set_cr8(&m, 4);
	self_ipi(&m, 0x4f);
	assert_int_equal(apic_read(&m, 0, APIC_APR), 0xf0);
	assert_int_equal(platform_interrupt_ack(m.v), 0xfe);
	/* Also where what is in service keeps it back for now: TPR will when that has ended. */
	assert_int_equal(platform_tpr_threshold(m.v), 4);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_false(platform_interrupt_pending(m.v));
	assert_int_equal(apic_read(&m, 0, APIC_APR), 0x40);
	set_cr8(&m, 3);
	assert_int_equal(platform_interrupt_ack(m.v), 0x4f);
	machine_destroy(&m);
}

static void errors(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	apic_write(&m, 0, APIC_ERROR, 0x5e);
	self_ipi(&m, 15);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0x20);
	assert_int_equal(platform_interrupt_ack(m.v), 0x5e);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0);
	/* A register that is none; one that is only read. */
	assert_int_equal(apic_read(&m, 0, 0x40), 0);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0x80);
	apic_write(&m, 0, APIC_ESR, 0);
	apic_write(&m, 0, APIC_VERSION, 0);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0);
	/* An error interrupt with an illegal vector is an error, once. */
	apic_write(&m, 0, APIC_ERROR, 3);
	self_ipi(&m, 0);
	apic_write(&m, 0, APIC_ESR, 0);
	assert_int_equal(apic_read(&m, 0, APIC_ESR), 0x60);
	machine_destroy(&m);
}

static void software_disable(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	self_ipi(&m, 0x40);
	apic_write(&m, 0, APIC_ERROR, 0x50);
	apic_write(&m, 0, APIC_SVR, 0xff);
	assert_int_equal(apic_read(&m, 0, APIC_ERROR), 0x10050);
	assert_int_equal(apic_read(&m, 0, APIC_LINT0), 0x10700);
	apic_write(&m, 0, APIC_ERROR, 0x50); /* cannot be unmasked now */
	assert_int_equal(apic_read(&m, 0, APIC_ERROR), 0x10050);
	self_ipi(&m, 0x41);
	assert_false(apic_bit(&m, 0, APIC_IRR, 0x41));
	/* What was accepted before is held and handled. */
	assert_int_equal(platform_interrupt_ack(m.v), 0x40);
	apic_write(&m, 0, APIC_SVR, 0x1ff);
	assert_int_equal(apic_read(&m, 0, APIC_ERROR), 0x10050);
	machine_destroy(&m);
}

static void lvt_bits(void **state)
{
	static const u32 offset[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};
	static const u32 kept[] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};
	struct machine m;

	machine_create(&m, 1);
	for (u32 i = 0; i < ARRAY_SIZE(offset); i++) {
		apic_write(&m, 0, offset[i], 0xffffffff);
		assert_int_equal(apic_read(&m, 0, offset[i]), kept[i]);
	}
	machine_destroy(&m);
}

/* Widths and alignments the manual leaves undefined do no harm. */
static void odd_accesses(void **state)
{
	u64 value = 0x12345678;
	struct machine m;

	machine_create(&m, 1);
	assert_true(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR), 1, false, &value));
	assert_int_equal(value, 0xff);
	assert_true(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR + 1), 1, false, &value));
	assert_int_equal(value, 0x01);
	value = 0;
	assert_true(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR + 1), 1, true, &value));
	assert_true(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR), 8, true, &value));
	assert_true(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR + 2), 4, true, &value));
	assert_int_equal(apic_read(&m, 0, APIC_SVR), 0x1ff);
	assert_true(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR), 8, false, &value));
	assert_int_equal(value, 0);
	assert_false(platform_lapic_mmio(m.v, GPA(BASE + PAGE_SIZE), 4, false, &value));
	assert_false(platform_lapic_mmio(m.v, GPA(BASE - 4), 4, false, &value));
	machine_destroy(&m);
}

/* Every state to every state: SDM 3A figure 11-27. */
static void base_transitions(void **state)
{
	static const u64 bits[] = {0, EN, EN | X2, X2};
	static const int expected[3][4] = {
		{0, 0, ERR_FAULT, ERR_FAULT}, /* from off */
		{0, 0, 0, ERR_FAULT},	      /* from xAPIC */
		{0, ERR_FAULT, 0, ERR_FAULT}, /* from x2APIC */
	};

	for (u32 from = 0; from < 3; from++) {
		for (u32 to = 0; to < 4; to++) {
			struct machine m;

			machine_create(&m, 1);
			if (from == 2)
				to_x2apic(&m, 0);
			if (from == 0)
				assert_int_equal(msr_write(&m, 0, MSR_IA32_APIC_BASE, BASE), 0);
			assert_int_equal(
				msr_write(&m, 0, MSR_IA32_APIC_BASE, BASE | BSP | bits[to]),
				expected[from][to]);
			assert_int_equal(msr_read(&m, 0, MSR_IA32_APIC_BASE) & (EN | X2),
					 expected[from][to] ? bits[from] : bits[to]);
			machine_destroy(&m);
		}
	}
}

static void base_reserved_bits(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	for (u32 bit = 0; bit < 64; bit++) {
		bool legal = bit == 8 || bit == 11 || (bit >= 12 && bit < 36);

		if (bit == 10 || bit == 11)
			continue;
		assert_int_equal(msr_write(&m, 0, MSR_IA32_APIC_BASE, EN | BIT(bit)),
				 legal ? 0 : ERR_FAULT);
	}
	machine_destroy(&m);
}

/* Off and on again: as after power-up, and nothing of it is there meanwhile. */
static void enable_toggle(void **state)
{
	struct machine m;
	u64 value;

	machine_create(&m, 2);
	apic_write(&m, 1, APIC_ID, 7u << 24);
	apic_enable(&m, 1);
	apic_write(&m, 1, APIC_TPR, 0x20);
	apic_write(&m, 1, APIC_ICR, (1u << 18) | 0x99);
	assert_int_equal(msr_write(&m, 1, MSR_IA32_APIC_BASE, BASE), 0);
	assert_false(platform_lapic_mmio(m.vm->vcpus[1], GPA(BASE + APIC_ID), 4, false, &value));
	assert_false(platform_interrupt_pending(m.vm->vcpus[1]));
	apic_write(&m, 0, APIC_ICR_HIGH, 1u << 24);
	apic_write(&m, 0, APIC_ICR, 0x77);
	assert_int_equal(msr_write(&m, 1, MSR_IA32_APIC_BASE, BASE | EN), 0);
	assert_int_equal(apic_read(&m, 1, APIC_ID), 1u << 24);
	assert_int_equal(apic_read(&m, 1, APIC_SVR), 0xff);
	assert_int_equal(apic_read(&m, 1, APIC_TPR), 0);
	assert_false(apic_bit(&m, 1, APIC_IRR, 0x99));
	assert_false(apic_bit(&m, 1, APIC_IRR, 0x77));
	machine_destroy(&m);
}

static void base_moves(void **state)
{
	struct machine m;
	u64 value;

	machine_create(&m, 1);
	assert_int_equal(msr_write(&m, 0, MSR_IA32_APIC_BASE, 0xd0000000ull | EN | BSP), 0);
	assert_false(platform_lapic_mmio(m.v, GPA(BASE + APIC_SVR), 4, false, &value));
	assert_true(platform_lapic_mmio(m.v, GPA(0xd0000000 + APIC_SVR), 4, false, &value));
	assert_int_equal(value, 0x1ff);
	machine_destroy(&m);
}

/* Each MSR from 0x800 on: readable, writable with its reserved bits, or #GP. */
static void x2apic_registers(void **state)
{
	struct {
		u32 index;
		bool read;
		u64 takes; /* bits; ~0: never written */
	} known[] = {
		{0x802, true, ~0ull},	{0x803, true, ~0ull},	{0x808, true, 0xff},
		{0x80a, true, ~0ull},	{0x80b, false, 0},	{0x80d, true, ~0ull},
		{0x80f, true, 0x13ff},	{0x828, true, 0},	{0x832, true, 0x750ff},
		{0x833, true, 0x157ff}, {0x834, true, 0x157ff}, {0x835, true, 0x1f7ff},
		{0x836, true, 0x1f7ff}, {0x837, true, 0x150ff}, {0x838, true, 0xffffffff},
		{0x839, true, ~0ull},	{0x83e, true, 0xb},	{0x83f, false, 0xff},
	};
	struct machine m;
	u64 value;

	machine_create(&m, 1);
	assert_int_equal(platform_rdmsr(m.v, 0x802, &value), ERR_FAULT);
	assert_int_equal(platform_wrmsr(m.v, 0x808, 0), ERR_FAULT);
	to_x2apic(&m, 0);
	for (u32 index = 0x800; index < 0x900; index++) {
		bool vectors = index >= 0x810 && index < 0x828, read = vectors;
		u64 takes = ~0ull;

		if (index == 0x830)
			continue;
		for (u32 i = 0; i < ARRAY_SIZE(known); i++) {
			if (known[i].index == index) {
				read = known[i].read;
				takes = known[i].takes;
			}
		}
		assert_true(platform_owns_msr(index));
		assert_int_equal(platform_rdmsr(m.v, index, &value), read ? 0 : ERR_FAULT);
		if (takes == ~0ull)
			assert_int_equal(platform_wrmsr(m.v, index, 0), ERR_FAULT);
		for (u32 bit = 0; bit < 64 && takes != ~0ull; bit++) {
			assert_int_equal(platform_wrmsr(m.v, index, BIT(bit)),
					 takes & BIT(bit) ? 0 : ERR_FAULT);
		}
	}
	assert_false(platform_owns_msr(0x7ff));
	assert_false(platform_owns_msr(0x900));
	machine_destroy(&m);
}

static void x2apic_ids_and_icr(void **state)
{
	struct machine m;
	u64 value;

	machine_create(&m, 20);
	for (u32 i = 0; i < 20; i++) {
		apic_enable(&m, i);
		to_x2apic(&m, i);
		assert_int_equal(msr_read(&m, i, 0x802), i);
		assert_int_equal(msr_read(&m, i, 0x80d), (i / 16) << 16 | 1u << (i % 16));
	}
	assert_false(platform_lapic_mmio(m.v, GPA(BASE + APIC_ID), 4, false, &value));
	/* Reserved bits of ICR; the busy bit of old is let pass. */
	assert_int_equal(msr_write(&m, 0, 0x830, BIT(13)), ERR_FAULT);
	assert_int_equal(msr_write(&m, 0, 0x830, BIT(16)), ERR_FAULT);
	assert_int_equal(msr_write(&m, 0, 0x830, BIT(31)), ERR_FAULT);
	assert_int_equal(msr_write(&m, 0, 0x830, (17ull << 32) | BIT(12) | 0x44), 0);
	assert_int_equal(msr_read(&m, 0, 0x830), (17ull << 32) | 0x44);
	assert_int_equal(platform_interrupt_ack(m.vm->vcpus[17]), 0x44);
	/* Logical: cluster 1, its members 1 and 3. */
	assert_int_equal(msr_write(&m, 0, 0x830, (0x1000aull << 32) | BIT(11) | 0x45), 0);
	for (u32 i = 0; i < 20; i++) {
		int expected = i == 19 ? 0x45 : -1;

		if (i == 17) /* has 0x44 in service: waits */
			assert_int_equal(msr_read(&m, i, 0x822), 1u << 5);
		assert_int_equal(platform_interrupt_ack(m.vm->vcpus[i]), expected);
	}
	/* Broadcast. */
	assert_int_equal(msr_write(&m, 3, 0x830, (0xffffffffull << 32) | 0x66), 0);
	for (u32 i = 0; i < 20; i++)
		assert_int_equal(platform_interrupt_ack(m.vm->vcpus[i]), 0x66);
	assert_int_equal(msr_write(&m, 2, 0x83f, 0x77), 0);
	assert_int_equal(platform_interrupt_ack(m.vm->vcpus[2]), 0x77);
	machine_destroy(&m);
}

/* Who gets what: a destination and the vCPUs it must reach, of eight. */
struct destination {
	u32 high, low;
	u32 reached;
};

static void check_destinations(struct machine *m, const struct destination *d, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		u32 reached = 0;

		apic_write(m, 2, APIC_ICR_HIGH, d[i].high);
		apic_write(m, 2, APIC_ICR, d[i].low | 0x80);
		for (u32 c = 0; c < 8; c++) {
			int vector = platform_interrupt_ack(m->vm->vcpus[c]);

			assert_true(vector == -1 || vector == 0x80);
			if (vector < 0)
				continue;
			reached |= 1u << c;
			apic_write(m, c, APIC_EOI, 0);
		}
		if (reached != d[i].reached)
			fail_msg("destination %u: 0x%x", i, reached);
	}
}

static void destinations(void **state)
{
	static const struct destination flat[] = {
		{5u << 24, 0, 0x20},	       {9u << 24, 0, 0},
		{0xffu << 24, 0, 0xff},	       {0x81u << 24, 1u << 11, 0x81},
		{0xffu << 24, 1u << 11, 0xff}, {0, 1u << 11, 0},
		{5u << 24, 1u << 18, 0x04},    {5u << 24, 2u << 18, 0xff},
		{5u << 24, 3u << 18, 0xfb},
	};
	static const struct destination cluster[] = {
		{0x13u << 24, 1u << 11, 0x30}, {0x0fu << 24, 1u << 11, 0x0f},
		{0x20u << 24, 1u << 11, 0},    {0x21u << 24, 1u << 11, 0},
		{0xffu << 24, 1u << 11, 0xff},
	};
	struct machine m;

	machine_create(&m, 8);
	for (u32 i = 0; i < 8; i++) {
		apic_enable(&m, i);
		apic_write(&m, i, APIC_LDR, 1u << (24 + i));
	}
	check_destinations(&m, flat, ARRAY_SIZE(flat));
	for (u32 i = 0; i < 8; i++) {
		apic_write(&m, i, APIC_DFR, 0);
		assert_int_equal(apic_read(&m, i, APIC_DFR), 0x0fffffff);
		apic_write(&m, i, APIC_LDR, ((i / 4) << 28) | (1u << (24 + i % 4)));
	}
	check_destinations(&m, cluster, ARRAY_SIZE(cluster));
	machine_destroy(&m);
}

static void lowest_priority(void **state)
{
	u32 hits[4] = {0};
	struct machine m;

	machine_create(&m, 4);
	for (u32 i = 0; i < 4; i++) {
		apic_write(&m, i, APIC_LDR, 1u << (24 + i));
		if (i != 3)
			apic_enable(&m, i);
	}
	apic_write(&m, 1, APIC_TPR, 0x20);
	apic_write(&m, 0, APIC_ICR_HIGH, 0xfu << 24);
	for (u32 n = 0; n < 32; n++) {
		apic_write(&m, 0, APIC_ICR, (1u << 11) | (1u << 8) | 0x90);
		for (u32 i = 0; i < 4; i++) {
			if (platform_interrupt_ack(m.vm->vcpus[i]) < 0)
				continue;
			apic_write(&m, i, APIC_EOI, 0);
			hits[i]++;
		}
	}
	/* One each; never the busier one nor the disabled; equals share. */
	assert_int_equal(hits[0] + hits[2], 32);
	assert_int_equal(hits[1] + hits[3], 0);
	assert_true(hits[0] > 4 && hits[2] > 4);
	machine_destroy(&m);
}

static void nmi_and_nobodys_modes(void **state)
{
	struct machine m;

	machine_create(&m, 3);
	apic_write(&m, 0, APIC_ICR_HIGH, 1u << 24);
	apic_write(&m, 0, APIC_ICR, 4u << 8);
	assert_true(hosted_vm_requests(m.vm->vcpus[1]) & VCPU_REQ_KICK);
	assert_false(platform_nmi_take(m.vm->vcpus[0]));
	assert_true(platform_nmi_take(m.vm->vcpus[1])); /* though its APIC is not enabled */
	assert_false(platform_nmi_take(m.vm->vcpus[1]));
	/* SMI, remote read and the reserved mode are dropped. */
	apic_write(&m, 0, APIC_ICR, (2u << 18) | 0x200);
	apic_write(&m, 0, APIC_ICR, (2u << 18) | 0x300);
	apic_write(&m, 0, APIC_ICR, (2u << 18) | 0x700);
	assert_false(platform_interrupt_pending(m.v));
	machine_destroy(&m);
}

#define ICR_INIT 0x4500u
#define ICR_SIPI 0x4600u

static void ipi_to(struct machine *m, u32 dest, u32 low)
{
	apic_write(m, 0, APIC_ICR_HIGH, dest << 24);
	apic_write(m, 0, APIC_ICR, low);
}

static void start_up_is(struct vcpu *v, bool init, bool sipi, u8 vector)
{
	struct platform_start_up s = platform_start_up_take(v);

	assert_int_equal(s.init, init);
	assert_int_equal(s.sipi, sipi);
	assert_int_equal(s.vector, vector);
	assert_false(platform_start_up_pending(v));
}

/* What a vCPU finds that looks only after several of them came. */
static void start_up_in_order(void **state)
{
	struct machine m;
	struct vcpu *v;

	machine_create(&m, 2);
	v = m.vm->vcpus[1];
	start_up_is(v, false, false, 0);
	ipi_to(&m, 1, ICR_INIT);
	assert_true(platform_start_up_pending(v));
	assert_int_not_equal(hosted_vm_requests(v), 0);
	start_up_is(v, true, false, 0);
	/* The second start-up IPI finds it started by the first. */
	ipi_to(&m, 1, ICR_INIT);
	ipi_to(&m, 1, ICR_SIPI | 0x12);
	ipi_to(&m, 1, ICR_SIPI | 0x34);
	start_up_is(v, true, true, 0x12);
	/* An INIT forgets what came before it, and not what comes after. */
	ipi_to(&m, 1, ICR_SIPI | 0x12);
	ipi_to(&m, 1, ICR_INIT);
	start_up_is(v, true, false, 0);
	ipi_to(&m, 1, ICR_INIT);
	ipi_to(&m, 1, ICR_SIPI | 0x12);
	ipi_to(&m, 1, ICR_INIT);
	ipi_to(&m, 1, ICR_SIPI | 0xff);
	start_up_is(v, true, true, 0xff);
	/* All but oneself; to oneself neither goes; nor does the end of an INIT's level. */
	apic_write(&m, 0, APIC_ICR, 0xc0000 | ICR_INIT);
	start_up_is(v, true, false, 0);
	start_up_is(m.v, false, false, 0);
	apic_write(&m, 0, APIC_ICR, 0x80000 | ICR_INIT);
	ipi_to(&m, 1, 0x8500);
	start_up_is(v, false, false, 0);
	/* INIT reaches the boot processor, too. */
	apic_write(&m, 1, APIC_ICR, 0xc0000 | ICR_INIT);
	start_up_is(m.v, true, false, 0);
	machine_destroy(&m);
}

static void init_keeps_id_and_mode(void **state)
{
	struct machine m;

	machine_create(&m, 2);
	apic_enable(&m, 1);
	apic_write(&m, 1, APIC_ID, 9u << 24);
	apic_write(&m, 1, APIC_LDR, 2u << 24);
	apic_write(&m, 1, APIC_TPR, 0x30);
	apic_write(&m, 1, APIC_TIMER, 0x20040);
	apic_write(&m, 1, APIC_INITIAL, 1000);
	apic_write(&m, 1, APIC_ICR, 0x40000 | 0x50);
	apic_write(&m, 0, APIC_ICR, 0xc0000 | 0x400); /* NMI to the other */
	platform_init(m.vm->vcpus[1]);
	assert_int_equal(apic_read(&m, 1, APIC_ID), 9u << 24);
	assert_int_equal(apic_read(&m, 1, APIC_LDR), 0);
	assert_int_equal(apic_read(&m, 1, APIC_TPR), 0);
	assert_int_equal(apic_read(&m, 1, APIC_SVR), 0xff);
	assert_int_equal(apic_read(&m, 1, APIC_TIMER), 0x10000);
	assert_false(apic_bit(&m, 1, APIC_IRR, 0x50));
	assert_false(platform_nmi_take(m.vm->vcpus[1]));
	machine_run(10000);
	assert_false(platform_interrupt_pending(m.vm->vcpus[1]));
	to_x2apic(&m, 1);
	assert_int_equal(msr_write(&m, 1, X2APIC(APIC_TPR), 0x40), 0);
	platform_init(m.vm->vcpus[1]);
	assert_int_equal(msr_read(&m, 1, X2APIC(APIC_TPR)), 0);
	assert_int_equal(msr_read(&m, 1, X2APIC(APIC_ID)), 1);
	assert_int_equal(msr_read(&m, 1, X2APIC(APIC_LDR)), 2);
	machine_destroy(&m);
}

/* Others send while it goes to x2APIC mode: at each store of that it has one ID, whichever mode. */
static void the_mode_changes_in_one_word(void **state)
{
	struct lapic_message physical = {.mode = LAPIC_FIXED, .vector = 0x50, .dest = 1};
	struct lapic_message logical = {.mode = LAPIC_FIXED, .vector = 0x51, .logical = true};
	struct machine m;
	struct lapic *l;

	machine_create(&m, 2);
	apic_enable(&m, 1);
	l = m.vm->vcpus[1]->lapic;
	apic_write(&m, 1, APIC_LDR, 2u << 24);
	logical.dest = 2;
	assert_true(lapic_matches(l, &physical));
	assert_true(lapic_matches(l, &logical));
	l->apic_base |= X2;
	assert_true(lapic_matches(l, &physical));
	assert_true(lapic_matches(l, &logical));
	l->apic_base &= ~X2;
	to_x2apic(&m, 1);
	l->apic_base &= ~X2;
	assert_true(lapic_matches(l, &physical));
	assert_true(lapic_matches(l, &logical));
	machine_destroy(&m);
}

/* Ten milliseconds in which the guest takes what comes. Returns how often timers went off. */
static u32 run_and_take(struct machine *m)
{
	u32 fired = 0;

	for (u32 i = 0; i < 10; i++) {
		fired += machine_run(1000000);
		if (lapic_ack(m->v->lapic) >= 0)
			apic_write(m, 0, APIC_EOI, 0);
	}
	return fired;
}

/* Paused, its timers stand; resumed, what came due comes once. */
static void timers_stand_while_paused(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	apic_write(&m, 0, APIC_DIVIDE, DIVIDE_BY_1);
	apic_write(&m, 0, APIC_TIMER, 0x20040); /* periodic */
	apic_write(&m, 0, APIC_INITIAL, 1000000);
	pic_setup(&m, 0xfffe);
	out8(&m, 0x43, 0x34);
	out8(&m, 0x40, 0xa9);
	out8(&m, 0x40, 0x04);
	assert_true(run_and_take(&m) >= 9);
	m.vm->paused = true;
	assert_true(machine_run(10000000) <= 2);
	assert_int_equal(machine_run(1000000000), 0);
	assert_int_equal(lapic_ack(m.v->lapic), 0x40);
	apic_write(&m, 0, APIC_EOI, 0);
	m.vm->paused = false;
	platform_resume(m.p);
	assert_int_equal(lapic_ack(m.v->lapic), 0x40);
	apic_write(&m, 0, APIC_EOI, 0);
	assert_true(run_and_take(&m) >= 9);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_up_in_order),
		cmocka_unit_test(init_keeps_id_and_mode),
		cmocka_unit_test(the_mode_changes_in_one_word),
		cmocka_unit_test(timers_stand_while_paused),
		cmocka_unit_test(power_on),
		cmocka_unit_test(priorities),
		cmocka_unit_test(task_priority),
		cmocka_unit_test(errors),
		cmocka_unit_test(software_disable),
		cmocka_unit_test(lvt_bits),
		cmocka_unit_test(odd_accesses),
		cmocka_unit_test(base_transitions),
		cmocka_unit_test(base_reserved_bits),
		cmocka_unit_test(enable_toggle),
		cmocka_unit_test(base_moves),
		cmocka_unit_test(x2apic_registers),
		cmocka_unit_test(x2apic_ids_and_icr),
		cmocka_unit_test(destinations),
		cmocka_unit_test(lowest_priority),
		cmocka_unit_test(nmi_and_nobodys_modes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
