/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <string.h>
#include "tests/unit/dev/machine.h"

enum vmx_apicv machine_apicv = VMX_APICV_OFF;

enum vmx_apicv vmx_apicv(void)
{
	return machine_apicv;
}

void machine_create(struct machine *m, u32 vcpus)
{
	hosted_timers_forget();
	hosted_clock_set(MACHINE_START_NS);
	m->vm = hosted_vm_create(vcpus, MIB(256));
	assert_int_equal(platform_create(m->vm, &m->p), 0);
	m->vm->platform = m->p;
	for (u32 i = 0; i < vcpus; i++)
		assert_int_equal(platform_vcpu_create(m->vm->vcpus[i]), 0);
	m->v = m->vm->vcpus[0];
}

void machine_destroy(struct machine *m)
{
	for (u32 i = 0; i < m->vm->vcpu_count; i++)
		platform_vcpu_destroy(m->vm->vcpus[i]);
	platform_destroy(m->p);
	hosted_vm_destroy(m->vm);
	assert_int_equal(hosted_timers_next(), ~0ull);
	assert_int_equal(hosted_locks_held(), 0);
}

u32 machine_run(u64 ns)
{
	return hosted_timers_run(clock_ns() + ns);
}

static u32 in(struct machine *m, u16 port, u32 size)
{
	u64 value;

	bus_read(&m->vm->bus, m->v, SPACE_PIO, port, size, &value);
	return (u32)value;
}

u8 in8(struct machine *m, u16 port)
{
	return (u8)in(m, port, 1);
}

u16 in16(struct machine *m, u16 port)
{
	return (u16)in(m, port, 2);
}

u32 in32(struct machine *m, u16 port)
{
	return in(m, port, 4);
}

void out8(struct machine *m, u16 port, u8 value)
{
	bus_write(&m->vm->bus, m->v, SPACE_PIO, port, 1, value);
}

void out16(struct machine *m, u16 port, u16 value)
{
	bus_write(&m->vm->bus, m->v, SPACE_PIO, port, 2, value);
}

void out32(struct machine *m, u16 port, u32 value)
{
	bus_write(&m->vm->bus, m->v, SPACE_PIO, port, 4, value);
}

u32 apic_read(struct machine *m, u32 vcpu, u32 offset)
{
	u64 value = 0;

	assert_true(platform_lapic_mmio(m->vm->vcpus[vcpu], GPA(PLATFORM_LAPIC_BASE + offset), 4,
					false, &value));
	return (u32)value;
}

void apic_write(struct machine *m, u32 vcpu, u32 offset, u32 value)
{
	u64 wide = value;

	assert_true(platform_lapic_mmio(m->vm->vcpus[vcpu], GPA(PLATFORM_LAPIC_BASE + offset), 4,
					true, &wide));
}

void apic_enable(struct machine *m, u32 vcpu)
{
	apic_write(m, vcpu, APIC_SVR, 0x1ff);
}

bool apic_bit(struct machine *m, u32 vcpu, u32 base, u8 vector)
{
	return apic_read(m, vcpu, base + vector / 32 * 0x10) & (1u << (vector % 32));
}

u32 ioapic_get(struct machine *m, u32 reg)
{
	u64 value;

	bus_write(&m->vm->bus, m->v, SPACE_MMIO, PLATFORM_IOAPIC_BASE, 4, reg);
	assert_true(
		bus_read(&m->vm->bus, m->v, SPACE_MMIO, PLATFORM_IOAPIC_BASE + 0x10, 4, &value));
	return (u32)value;
}

void ioapic_put(struct machine *m, u32 reg, u32 value)
{
	bus_write(&m->vm->bus, m->v, SPACE_MMIO, PLATFORM_IOAPIC_BASE, 4, reg);
	bus_write(&m->vm->bus, m->v, SPACE_MMIO, PLATFORM_IOAPIC_BASE + 0x10, 4, value);
}

void ioapic_route(struct machine *m, u32 pin, u32 dest, u32 low)
{
	ioapic_put(m, 0x11 + 2 * pin, dest << 24);
	ioapic_put(m, 0x10 + 2 * pin, low);
}

void pit_setup(struct machine *m, u8 control, u16 count)
{
	out8(m, 0x43, control);
	out8(m, 0x40, (u8)count);
	out8(m, 0x40, (u8)(count >> 8));
}

void pic_setup(struct machine *m, u16 mask)
{
	out8(m, 0x20, 0x11);
	out8(m, 0x21, 0x30);
	out8(m, 0x21, 0x04);
	out8(m, 0x21, 0x01);
	out8(m, 0xa0, 0x11);
	out8(m, 0xa1, 0x38);
	out8(m, 0xa1, 0x02);
	out8(m, 0xa1, 0x01);
	out8(m, 0x21, (u8)mask);
	out8(m, 0xa1, (u8)(mask >> 8));
}
