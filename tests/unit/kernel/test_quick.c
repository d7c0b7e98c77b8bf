/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/quick.c mmu/decode_mov.c tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/*
 * The short way of an exit against the long one: two machines get the same accesses, one by
 * vcpu_quick where it takes them, with interrupts off, where whatever sleeps is caught.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "kernel/apic_page.h"
#include "kernel/vcpu.h"
#include "tests/unit/dev/machine.h"

#include <cmocka.h>
#include <string.h>

#define ROUNDS 60000

static struct machine quick, slow;
static u64 seed = 0x2545f4914f6cdd1dull;

static u32 next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)(seed >> 11);
}

bool apic_base_moves(struct vcpu *v, u32 msr, u64 value)
{
	return false;
}

/* The vCPU's next instruction. */
static u64 gpr[GPR_COUNT];
static u8 code[FETCH_WORDS * sizeof(u64)];
static bool fetched;

static enum decode_mode mode = DECODE_64;
static u32 data_base;

u32 vmx_data_base(struct vmx_vcpu *v)
{
	return data_base;
}

u64 *vmx_get_code(struct vmx_vcpu *v, struct fetch_code *out)
{
	*out = (struct fetch_code){.mode = (u8)mode};
	return gpr;
}

const u8 *fetch_instruction(struct mmu_vcpu *v, const struct fetch_code *c, u64 words[FETCH_WORDS])
{
	memcpy(words, code, sizeof(code));
	return fetched ? (const u8 *)words : NULL;
}

static int offer(struct vmx_exit *e)
{
	bool on = irq_save();
	int err = (e->kind == VMX_EXIT_IO     ? vcpu_quick_io
		   : e->kind == VMX_EXIT_MMIO ? vcpu_quick_mmio
					      : vcpu_quick)(quick.v, e);

	assert_false(irq_enabled());
	irq_restore(on);
	assert_int_equal(hosted_locks_held(), 0);
	return err;
}

/* Both see the same interrupts, and the short way says so where there may be one. */
static void compare(int err, bool written)
{
	bool pending = platform_interrupt_pending(slow.v);

	assert_int_equal(platform_interrupt_pending(quick.v), pending);
	/* What waits without being pending may want another threshold of TPR. */
	if (written && err != ERR_FAULT && (pending || !lapic_waits(slow.v->lapic)))
		assert_int_equal(err, pending ? VMX_LOOK : 0);
}

static void take_interrupt(void)
{
	int vector = platform_interrupt_ack(slow.v);

	assert_int_equal(platform_interrupt_ack(quick.v), vector);
}

static u32 size_bits(u32 size)
{
	return ~0u >> (32 - 8 * size);
}

static void in(u16 port, u8 size)
{
	struct vmx_exit e = {.kind = VMX_EXIT_IO};
	u64 expected;
	int err;

	e.io.port = port;
	e.io.size = size;
	e.io.in = true;
	bus_read(&slow.vm->bus, slow.v, SPACE_PIO, port, size, &expected);
	err = offer(&e);
	if (err == ERR_TOO_HARD) {
		u64 value;

		bus_read(&quick.vm->bus, quick.v, SPACE_PIO, port, size, &value);
		e.io.value = (u32)value;
	} else {
		assert_int_equal(err, 0);
	}
	assert_int_equal(e.io.value & size_bits(size), (u32)expected);
	compare(err, false);
}

static void out(u16 port, u8 size, u32 value)
{
	struct vmx_exit e = {.kind = VMX_EXIT_IO};
	bool anybody;
	int err;

	value &= size_bits(size);
	e.io.port = port;
	e.io.size = size;
	e.io.value = value;
	anybody = bus_write(&slow.vm->bus, slow.v, SPACE_PIO, port, size, value);
	err = offer(&e);
	if (err == ERR_TOO_HARD) {
		bus_write(&quick.vm->bus, quick.v, SPACE_PIO, port, size, value);
		compare(err, false);
	} else if (!anybody) {
		assert_int_equal(err, 0);
	} else {
		compare(err, true);
	}
}

static int setup(void **state)
{
	machine_create(&quick, 1);
	slow = quick;
	machine_create(&quick, 1);
	return 0;
}

static int teardown(void **state)
{
	platform_vcpu_destroy(slow.v);
	platform_destroy(slow.p);
	hosted_vm_destroy(slow.vm);
	machine_destroy(&quick);
	return 0;
}

static u16 some_port(void)
{
	static const u16 known[] = {0x20,  0x21,  0x3f,	 0x40,	0x42,  0x43,  0x60,  0x61,  0x64,
				    0x70,  0x71,  0x80,	 0xa0,	0xa1,  0x3f8, 0x3f9, 0x3fa, 0x3fb,
				    0x3fd, 0x4d0, 0x510, 0x511, 0x600, 0x608, 0xcf8, 0xcfc, 0x5555};

	return next() & 7 ? known[next() % ARRAY_SIZE(known)] : (u16)next();
}

static void ports_alike(void **state)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		u16 port = some_port();
		u8 size = (u8)(1u << next() % 3);

		if (next() & 1)
			in(port, size);
		else
			out(port, size, next() & 3 ? next() : '\n');
		if (next() % 8 == 0)
			take_interrupt();
		if (next() % 16 == 0)
			machine_run(next() % 2000000);
	}
}

/* Every port once, and the sizes that reach over its neighbours. */
static void each_port(void **state)
{
	for (u32 port = 0; port < 0x10000; port++) {
		for (u8 size = 1; size <= 4; size = (u8)(size * 2))
			in((u16)port, size);
	}
}

static void msr(u32 index, bool write, u64 value)
{
	struct vmx_exit e = {.kind = write ? VMX_EXIT_WRMSR : VMX_EXIT_RDMSR};
	u64 read = 0;
	int err, expected;

	e.msr.index = index;
	e.msr.value = value;
	err = offer(&e);
	if (!platform_owns_msr(index)) {
		assert_int_equal(err, ERR_TOO_HARD);
		return;
	}
	expected = write ? platform_wrmsr(slow.v, index, value)
			 : platform_rdmsr(slow.v, index, &read);
	assert_int_equal(err == VMX_LOOK ? 0 : err, expected);
	if (!write && !err)
		assert_int_equal(e.msr.value, read);
	compare(err, write);
}

static void msrs_alike(void **state)
{
	static const u16 x2[] = {0x02, 0x03, 0x08, 0x0a, 0x0b, 0x0d, 0x0f, 0x10, 0x20,
				 0x28, 0x30, 0x32, 0x35, 0x37, 0x38, 0x39, 0x3e, 0x3f};

	msr(MSR_IA32_APIC_BASE, true, 0xfee00d00);
	for (u32 i = 0; i < ROUNDS; i++) {
		u32 how = next() & 15;
		u32 index = 0x800 + x2[next() % ARRAY_SIZE(x2)];
		u64 value = next() % 4 ? next() & 0xff : next();

		if (how == 0)
			index = MSR_IA32_TSC_DEADLINE;
		else if (how == 1)
			index = next();
		msr(index, next() & 1, value);
		if (next() % 4 == 0)
			take_interrupt();
		if (next() % 16 == 0)
			machine_run(next() % 100000);
		if (next() % 64 == 0)
			msr(0x80f, true, 0x1ff);
	}
}

/* The base as it is, an interrupt waiting or not: nothing changes, so there is nothing to look at. */
static void base_kept(void **state)
{
	struct vmx_exit e = {.kind = VMX_EXIT_WRMSR};

	msr(MSR_IA32_APIC_BASE, false, 0);
	msr(MSR_IA32_APIC_BASE, true, 0xfee00d00);
	msr(0x80f, true, 0x1ff);
	msr(0x83f, true, 0x41);
	e.msr.index = MSR_IA32_APIC_BASE;
	e.msr.value = 0xfee00d00;
	assert_true(platform_interrupt_pending(quick.v));
	assert_int_equal(offer(&e), 0);
	assert_true(platform_interrupt_pending(quick.v));
	/* From x2APIC mode to xAPIC mode there is no way but through off, where all is forgotten. */
	msr(MSR_IA32_APIC_BASE, true, 0xfee00900);
	msr(MSR_IA32_APIC_BASE, true, 0xfee00100);
	msr(MSR_IA32_APIC_BASE, false, 0);
	assert_false(platform_interrupt_pending(quick.v));
}

/* MOV between EDI's memory and a register; the exit says where that is. */
static void mmio_at(u64 base, u64 offset, bool write, u8 reg, u64 value)
{
	struct vmx_exit e = {.kind = VMX_EXIT_MMIO};
	u64 before[GPR_COUNT], seen = (u32)value, counted = quick.v->mmu.stats.faults_mmio;
	bool told;
	int err;

	for (u32 i = 0; i < GPR_COUNT; i++)
		gpr[i] = ~0ull - i;
	gpr[RDI] = next() & 1 ? 0xffffffffff5fb000 : 0xffffffffff5faffe;
	gpr[reg] = value;
	memcpy(before, gpr, sizeof(gpr));
	code[0] = reg & 8 ? 0x44 : 0x40;
	code[1] = write ? 0x89 : 0x8b;
	code[2] = (u8)((reg & 7) << 3 | RDI);
	e.mmio.gpa = GPA(base + offset);
	e.mmio.access = write ? MMU_WRITE : MMU_READ;
	/* An EOI needs no look at the instruction where the CPU tells its length. */
	told = base == PLATFORM_LAPIC_BASE && write && offset == 0xb0 && (value & 1);
	if (told) {
		e.mmio.length = 3;
		fetched = false;
	}
	err = offer(&e);
	fetched = true;
	/* What begins in the page before shows up at this one's beginning, too. */
	if ((reg == RSP && !told) || offset & 3 || (offset == 0 && (before[RDI] & 0xfff))) {
		assert_int_equal(err, ERR_TOO_HARD);
		return;
	}
	if (base == PLATFORM_LAPIC_BASE)
		assert_true(platform_lapic_mmio(slow.v, e.mmio.gpa, 4, write, &seen));
	else if (write)
		assert_true(bus_write(&slow.vm->bus, slow.v, SPACE_MMIO, e.mmio.gpa.v, 4, seen));
	else
		assert_true(bus_read(&slow.vm->bus, slow.v, SPACE_MMIO, e.mmio.gpa.v, 4, &seen));
	assert_int_equal(e.mmio.length, 3);
	assert_int_equal(quick.v->mmu.stats.faults_mmio, counted + 1);
	if (!write)
		before[reg] = (u32)seen;
	assert_memory_equal(gpr, before, sizeof(gpr));
	if (write)
		compare(err, true);
	else
		assert_int_equal(err, 0);
}

static void mmio(u64 offset, bool write, u8 reg, u64 value)
{
	mmio_at(PLATFORM_LAPIC_BASE, offset, write, reg, value);
}

/* What is selected, and what the redirection table then says; interrupts of all kinds but INIT. */
static void ioapic_alike(void **state)
{
	static const u16 windows[] = {0, 0, 0x10, 0x10, 0x10, 0x40, 0x20, 0xffc, 0x11};

	fetched = true;
	mmio(0xf0, true, RAX, 0x1ff);
	for (u32 i = 0; i < ROUNDS; i++) {
		u16 offset = windows[next() % ARRAY_SIZE(windows)];
		u64 value = (u64)next() << 32 | (next() & 0x1a9ff);

		if (offset == 0)
			value = next() % 4 ? next() % 0x40 : next();
		mmio_at(PLATFORM_IOAPIC_BASE, offset, next() & 1, next() & 15, value);
		if (next() % 4 == 0) {
			u32 gsi = next() % 24;
			bool level = next() & 1;

			platform_irq(quick.p, gsi, level);
			platform_irq(slow.p, gsi, level);
		}
		if (next() % 4 == 0)
			take_interrupt();
		if (next() % 8 == 0)
			mmio(0xb0, true, RAX, 1);
		if (next() % 16 == 0)
			machine_run(next() % 100000);
	}
}

/* The PIC's interrupt has waited for LINT0 to let it through; nothing is in the local APIC. */
static void lint0_opens(void **state)
{
	static const u8 words[] = {0x20, 4, 1, 0xfd}; /* vectors from 20h on, IRQ 1 unmasked */

	fetched = true;
	mmio(0xf0, true, RAX, 0x1ff);
	mmio(0x350, true, RAX, 0x10700);
	out(0x20, 1, 0x11);
	for (u32 i = 0; i < ARRAY_SIZE(words); i++)
		out(0x21, 1, words[i]);
	platform_irq(quick.p, 1, true);
	platform_irq(slow.p, 1, true);
	assert_false(platform_interrupt_pending(quick.v));
	mmio(0x350, true, RAX, 0x700);
	assert_true(platform_interrupt_pending(quick.v));
	take_interrupt();
}

/* The first byte of a page that faults may be the third of four. */
static void mmio_across_pages(void **state)
{
	struct vmx_exit e = {.kind = VMX_EXIT_MMIO};

	fetched = true;
	e.mmio.gpa = GPA(PLATFORM_IOAPIC_BASE);
	e.mmio.access = MMU_READ;
	memset(gpr, 0, sizeof(gpr));
	memcpy(code, "\x8b\x07", 2);
	for (u64 at = 0; at < 2 * PAGE_SIZE; at++) {
		gpr[RDI] = 0xffffffffff5fc000 + at;
		gpr[RAX] = ~0ull;
		mode = DECODE_64;
		data_base = 0x800; /* counts for nothing there */
		assert_int_equal(offer(&e), at % PAGE_SIZE ? ERR_TOO_HARD : 0);
		mode = DECODE_32;
		assert_int_equal(offer(&e), at % PAGE_SIZE == 0x800 ? 0 : ERR_TOO_HARD);
	}
	mode = DECODE_64;
	/* Nobody, whoever is there decodes four bytes at once, and the page ends. */
	e.mmio.gpa = GPA(PLATFORM_IOAPIC_BASE + PAGE_SIZE + 4);
	assert_int_equal(offer(&e), ERR_TOO_HARD);
}

static void lapic_alike(void **state)
{
	static const u16 registers[] = {0x20,  0x30,  0x80,  0x90,  0xa0,  0xb0,  0xd0,	 0xe0,
					0xf0,  0x100, 0x200, 0x280, 0x300, 0x310, 0x320, 0x350,
					0x370, 0x380, 0x390, 0x3e0, 0x84,  0x3f0, 0x33,	 0};

	fetched = true;
	for (u32 i = 0; i < ROUNDS; i++) {
		u16 offset = registers[next() % ARRAY_SIZE(registers)];
		u64 value = (u64)next() << 32 | (next() % 4 ? next() & 0xff : next());

		/* Self-IPIs rather than INIT for oneself. */
		if (offset == 0x300)
			value = (1u << 18) | (value & 0xff);
		mmio(offset, next() & 1, next() & 15, value);
		if (next() % 4 == 0)
			take_interrupt();
		if (next() % 16 == 0)
			machine_run(next() % 100000);
		if (next() % 64 == 0)
			mmio(0xf0, true, RAX, 0x1ff);
	}
}

static void mmio_too_hard(void **state)
{
	struct vmx_exit e = {.kind = VMX_EXIT_MMIO};

	e.mmio.gpa = GPA(PLATFORM_LAPIC_BASE + 0x30);
	e.mmio.access = MMU_READ;
	memcpy(code, "\x8b\x07", 2);
	fetched = false;
	assert_int_equal(offer(&e), ERR_TOO_HARD);
	fetched = true;
	assert_int_equal(offer(&e), 0);
	/* The CPU wanted to write, or the instruction is another by now. */
	e.mmio.access = MMU_WRITE;
	assert_int_equal(offer(&e), ERR_TOO_HARD);
	e.mmio.access = MMU_READ;
	memcpy(code, "\x03\x07", 2);
	assert_int_equal(offer(&e), ERR_TOO_HARD);
	/* R31: the registers are elsewhere by now, or reached by MSR. */
	memcpy(code, "\x8b\x07", 2);
	assert_int_equal(platform_wrmsr(quick.v, MSR_IA32_APIC_BASE, 0xfee10900), 0);
	assert_int_equal(offer(&e), ERR_TOO_HARD);
	assert_int_equal(platform_wrmsr(quick.v, MSR_IA32_APIC_BASE, 0xfee00900), 0);
	assert_int_equal(offer(&e), 0);
	assert_int_equal(platform_wrmsr(quick.v, MSR_IA32_APIC_BASE, 0xfee00d00), 0);
	assert_int_equal(offer(&e), ERR_TOO_HARD);
}

static void others(void **state)
{
	struct vmx_exit e = {.kind = VMX_EXIT_IO};

	e.io.port = 0x21;
	e.io.size = 1;
	e.io.in = true;
	e.io.string = true;
	assert_int_equal(offer(&e), ERR_TOO_HARD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(each_port, setup, teardown),
		cmocka_unit_test_setup_teardown(msrs_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(base_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(lapic_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(ioapic_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(lint0_opens, setup, teardown),
		cmocka_unit_test_setup_teardown(mmio_across_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(mmio_too_hard, setup, teardown),
		cmocka_unit_test_setup_teardown(others, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
