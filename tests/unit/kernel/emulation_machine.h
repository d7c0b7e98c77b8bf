/* SPDX-License-Identifier: MIT */
/*
 * What kernel/emulation.c finds around it: guest memory, page tables, devices and a vCPU, all fakes.
 * For the test_emulation*.c, each of which includes it once.
 */
#ifndef TESTS_UNIT_KERNEL_EMULATION_MACHINE_H
#define TESTS_UNIT_KERNEL_EMULATION_MACHINE_H

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/dev/platform.h"
#include "kernel/vcpu.h"
#include "mmu/emulate.h"
#include "mmu/walk.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <string.h>

#define PAGES	   16
#define CODE	   0x100ull
#define DATA	   0x1000ull
#define DEVICE	   0x8000ull
#define DEVICE_END 0xa000ull
#define READ_ONLY  0xe000ull
#define UNMAPPED   0xf000ull
#define NO_TABLE   0x10000ull
#define RFLAGS_TF  BIT(8)
#define IOPL_3	   0x3000ull
#define CALLS_MAX  80

static u8 memory[PAGES * PAGE_SIZE]; /* the device's too */
static struct guest_regs regs;
static u32 cpl;
static struct {
	u64 addr, value;
	u32 size;
	bool write, port;
} calls[CALLS_MAX];
static u32 call_count;
static struct {
	u32 count, vector, error;
	u64 cr2;
} injected;
static u64 dropped_page;
static u32 completed, ended, did;
/* of a guest in real mode */
static bool real_mode, event_waits;
static u8 event_vector;
static u16 event_error;
static struct vmx_segment segments[8];
static struct vmx_table tables[2]; /* GDTR, IDTR */
static u64 cr0, cr4;
static u32 walks; /* of guest_walk */
static int walk_error, read_error, write_error, dr_error;
static u64 failing_page;   /* that alone write_error and read_error are about, or 0: all */
static u64 tableless_page; /* that alone walk_error is about, or 0: all */
static u8 own_fault;	   /* #GP or #UD of virtual-8086 mode, or 0 */
static bool wraps;	   /* the last page below 4 GiB is the first */
static u64 msr_written, xcr_written;
static u32 tsc_moves, drops;
static bool cpuid_has_all;
static struct {
	u32 leaf, bit;
	char reg; /* b, c or d; 0: there is none */
} cpuid_odd;	  /* the one feature that is not as cpuid_has_all says */
static u32 waits_until_memory, iterations_until_wanted; /* 0: nobody wants it */
static bool ends_while_waiting;
static bool tables_go_by_port; /* when a port is read there is no memory for any from then on */
static u64 second_device;      /* a page more of devices */
static bool memory_changes;    /* before a compare-and-exchange */
static u64 protected_page;     /* by the guest, from all who write */
static bool protected_late;    /* after the emulator has looked */

/* --- the fakes --- */

static u64 low_bytes(u64 value, u32 size)
{
	return size < 8 ? value & (BIT(8 * size) - 1) : value;
}

static bool is_device(u64 gpa)
{
	return (gpa >= DEVICE && gpa < DEVICE_END) ||
	       (second_device && gpa - second_device < PAGE_SIZE);
}

static bool fails_at(u64 gpa)
{
	return !failing_page || gpa - failing_page < PAGE_SIZE;
}

static bool is_protected(u64 gpa)
{
	return protected_page && gpa - protected_page < PAGE_SIZE;
}

static int translate_page(u64 gva, u32 access, u32 *code)
{
	*code = access & MMU_WRITE ? PAGE_FAULT_WR : 0;
	if (walk_error && (!tableless_page || gva - tableless_page < PAGE_SIZE))
		return walk_error;
	if (gva >= NO_TABLE)
		return ERR_NOSLOT;
	if (gva >= UNMAPPED)
		return ERR_FAULT;
	if (gva >= READ_ONLY && (access & MMU_WRITE)) {
		*code |= PAGE_FAULT_P;
		return ERR_FAULT;
	}
	return 0;
}

int guest_walk(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, u32 access,
	       struct walk_result *out)
{
	walks++;
	out->gpa = GPA(gva.v);
	return translate_page(gva.v, access, &out->error_code);
}

int gva_read(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, void *buf, u64 size,
	     u32 access, struct walk_fault *fault)
{
	if (wraps && gva.v >> PAGE_SHIFT == 0xfffff)
		gva.v &= PAGE_SIZE - 1;
	for (u64 i = 0; i < size; i++) {
		int err = translate_page(gva.v + i, access, &fault->error_code);

		fault->gva = GVA(gva.v + i);
		if (err)
			return err;
		if (is_device(gva.v + i))
			return ERR_NOSLOT;
		((u8 *)buf)[i] = memory[gva.v + i];
	}
	return 0;
}

int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)
{
	assert_true(gpa.v / PAGE_SIZE == (gpa.v + size - 1) / PAGE_SIZE);
	if (is_device(gpa.v))
		return ERR_NOSLOT;
	if (read_error && fails_at(gpa.v))
		return read_error;
	memcpy(buf, memory + gpa.v, size);
	return 0;
}

int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *buf, u64 size)
{
	assert_true(size <= 8); /* 16 bytes in one would be copied in any order */
	assert_true(gpa.v / PAGE_SIZE == (gpa.v + size - 1) / PAGE_SIZE);
	if (is_device(gpa.v))
		return ERR_NOSLOT;
	if (is_protected(gpa.v))
		return ERR_PERM;
	if (write_error && fails_at(gpa.v))
		return write_error;
	memcpy(memory + gpa.v, buf, size);
	return 0;
}

bool mmu_is_protected(struct mmu_vm *vm, gpa_t gpa)
{
	return is_protected(gpa.v) && !protected_late;
}

static u64 shadowed;	     /* the page of a table that has shadow pages, or 0 */
static bool let_write_tired; /* it goes on being one */

int mmu_shadow_let_write(struct mmu_vcpu *v, gfn_t gfn, u64 digest)
{
	bool was = shadowed && gfn.v == shadowed / PAGE_SIZE;

	if (let_write_tired)
		return ERR_NOTSUP;
	shadowed = 0;
	return was ? 0 : ERR_NOSLOT;
}

static u32 written_as_table; /* so often yet what is written is one; at the start, for ever */

bool mmu_shadow_is_table(struct mmu_vm *vm, gfn_t gfn)
{
	return written_as_table && written_as_table--;
}

int gpa_cmpxchg(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value)
{
	assert_true(gpa.v / PAGE_SIZE == (gpa.v + size - 1) / PAGE_SIZE);
	if (is_device(gpa.v))
		return ERR_NOSLOT;
	if (is_protected(gpa.v))
		return ERR_PERM;
	if (memory_changes)
		memory[gpa.v] ^= 0x80;
	if (memcmp(memory + gpa.v, old, size))
		return ERR_AGAIN;
	memcpy(memory + gpa.v, &new_value, size);
	return 0;
}

int gpa_cmpxchg16(struct mmu_vm *vm, gpa_t gpa, u64 old[2], const u64 new_value[2])
{
	assert_int_equal(gpa.v % 16, 0);
	if (is_device(gpa.v))
		return ERR_NOSLOT;
	if (memory_changes)
		memory[gpa.v + 8] ^= 0x80;
	if (memcmp(memory + gpa.v, old, 16))
		return ERR_AGAIN;
	memcpy(memory + gpa.v, new_value, 16);
	return 0;
}

static u64 xmm[16][2];
static u16 x87_status, x87_control;
static u32 x87_inits;

void vmx_read_xmm(struct vmx_vcpu *v, u32 n, u64 half[2])
{
	memcpy(half, xmm[n], 16);
}

void vmx_write_xmm(struct vmx_vcpu *v, u32 n, const u64 half[2])
{
	memcpy(xmm[n], half, 16);
}

u16 vmx_x87_status(struct vmx_vcpu *v)
{
	return x87_status;
}

u16 vmx_x87_control(struct vmx_vcpu *v)
{
	return x87_control;
}

void vmx_set_x87_control(struct vmx_vcpu *v, u16 value)
{
	x87_control = value;
}

void vmx_init_x87(struct vmx_vcpu *v)
{
	x87_inits++;
}

static void note(u64 addr, u32 size, bool write, bool port, u64 value)
{
	assert_true(call_count < CALLS_MAX);
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	calls[call_count].addr = addr;
	calls[call_count].size = size;
	calls[call_count].write = write;
	calls[call_count].port = port;
	calls[call_count++].value = value;
}

bool bus_read(struct bus *b, struct vcpu *v, enum device_space space, u64 addr, u32 size,
	      u64 *value)
{
	note(addr, size, false, space == SPACE_PIO, 0);
	*value = 0;
	if (space == SPACE_PIO && tables_go_by_port)
		walk_error = ERR_NOMEM;
	if (space == SPACE_PIO)
		*value = low_bytes(0x8877665544332211ull, size);
	else
		memcpy(value, memory + addr, size);
	return true;
}

bool bus_write(struct bus *b, struct vcpu *v, enum device_space space, u64 addr, u32 size,
	       u64 value)
{
	note(addr, size, true, space == SPACE_PIO, low_bytes(value, size));
	return true;
}

bool platform_lapic_mmio(struct vcpu *v, gpa_t gpa, u32 size, bool write, u64 *value)
{
	return false;
}

struct guest_regs *vmx_regs(struct vmx_vcpu *v)
{
	return &regs;
}

void vmx_get_paging(struct vmx_vcpu *v, struct guest_paging *out)
{
	*out = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG,
		.cr4 = CR4_PAE | CR4_OSFXSR,
		.efer = EFER_LMA | EFER_LME,
		.rflags = regs.rflags,
		.cpl = cpl,
		.maxphyaddr = 40,
	};
	if (real_mode)
		*out = (struct guest_paging){.cr0 = cr0, .cr4 = cr4, .rflags = regs.rflags};
}

void vmx_get_segment(struct vmx_vcpu *v, enum vmx_segment_id id, struct vmx_segment *out)
{
	u32 access = (id == SEG_CS ? 0xa09bu : 0xc093u) | cpl << 5;

	*out = (struct vmx_segment){.limit = 0xffffffff, .access = access};
	if (real_mode)
		*out = segments[id];
}

void vmx_inject_exception(struct vmx_vcpu *v, u8 vector, bool has_error, u32 error_code)
{
	injected.count++;
	injected.vector = vector;
	injected.error = error_code;
	assert_int_equal(has_error, vector != EXCEPTION_UD);
}

void vmx_inject_page_fault(struct vmx_vcpu *v, gva_t gva, u32 error_code)
{
	injected.cr2 = gva.v;
	vmx_inject_exception(v, EXCEPTION_PF, true, error_code);
}

void vmx_complete_instruction(struct vmx_vcpu *v, u32 what)
{
	completed++;
	did = what;
}

void vmx_set_segment(struct vmx_vcpu *v, enum vmx_segment_id id, const struct vmx_segment *s)
{
	segments[id] = *s;
}

void vmx_get_tables(struct vmx_vcpu *v, struct vmx_table *gdt, struct vmx_table *idt)
{
	*gdt = tables[0];
	*idt = tables[1];
}

void vmx_set_gdt(struct vmx_vcpu *v, const struct vmx_table *t)
{
	tables[0] = *t;
}

void vmx_set_idt(struct vmx_vcpu *v, const struct vmx_table *t)
{
	tables[1] = *t;
}

u64 vmx_read_cr(struct vmx_vcpu *v, u32 n)
{
	return n == 0 ? cr0 : 0;
}

int vmx_write_cr(struct vmx_vcpu *v, u32 n, u64 value)
{
	assert_int_equal(n, 0);
	if (value >> 32)
		return ERR_FAULT;
	cr0 = value;
	return 0;
}

int vmx_read_dr(struct vmx_vcpu *v, u32 n, u64 *value)
{
	*value = n;
	return dr_error;
}

int vmx_write_dr(struct vmx_vcpu *v, u32 n, u64 value)
{
	return ERR_FAULT;
}

int vmx_set_xcr(struct vmx_vcpu *v, u32 n, u64 value)
{
	xcr_written = value;
	return n ? ERR_FAULT : 0;
}

int vmx_get_xcr(struct vmx_vcpu *v, u32 n, u64 *value)
{
	*value = 0x100000007ull;
	return n == 1 ? ERR_FAULT : n ? ERR_INVAL : 0;
}

bool vmx_own_fault(const struct vmx_vcpu *v, u8 *vector)
{
	*vector = own_fault;
	return own_fault;
}

void vmx_cpuid(struct vmx_vcpu *v, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
	*out = (struct cpuid_regs){leaf, subleaf, 3, 4};
	if (cpuid_has_all)
		out->ebx = out->ecx = out->edx = ~0u;
	if (!cpuid_odd.reg || leaf != cpuid_odd.leaf || subleaf)
		return;
	*(cpuid_odd.reg == 'b'	 ? &out->ebx
	  : cpuid_odd.reg == 'c' ? &out->ecx
				 : &out->edx) ^= (u32)BIT(cpuid_odd.bit);
}

int vmx_read_msr(struct vmx_vcpu *v, u32 index, u64 *value)
{
	*value = 0x1122334455667788ull;
	return index == 0x10 || index == MSR_TSC_AUX ? 0 : ERR_NOSLOT;
}

static u64 tsc_offset;

int vmx_write_msr(struct vmx_vcpu *v, u32 index, u64 value)
{
	if (index == 0x10)
		tsc_offset = value;
	else if (index == 0x1b)
		return ERR_NOSLOT;
	return index == 0x10 ? 0 : ERR_NOTSUP;
}

u64 vmx_tsc_offset(const struct vmx_vcpu *v)
{
	return tsc_offset;
}

void vcpu_tsc_moved(struct vcpu *v)
{
	tsc_moves++;
}

int vcpu_read_msr(struct vcpu *v, u32 index, u64 *value)
{
	return ERR_FAULT;
}

int vcpu_write_msr(struct vcpu *v, u32 index, u64 value)
{
	msr_written = value;
	return 0;
}

u64 vmx_guest_tsc(struct vmx_vcpu *v)
{
	return 0x500000007ull;
}

void vmx_flush_guest_tlb(struct vmx_vcpu *v)
{
	drops++;
}

void vmx_drop_page(struct vmx_vcpu *v, gva_t gva)
{
	dropped_page = gva.v;
}

bool vmx_software_event(struct vmx_vcpu *v, struct emulate_event *out)
{
	*out = (struct emulate_event){
		.vector = event_vector,
		.has_error = emulate_has_error_code(event_vector),
		.error_code = event_error,
	};
	return event_waits;
}

void vmx_software_event_done(struct vmx_vcpu *v)
{
	event_waits = false;
}

bool vcpu_is_wanted(struct vcpu *v)
{
	return iterations_until_wanted && --iterations_until_wanted == 0;
}

bool vmx_event_waits(struct vmx_vcpu *v)
{
	return event_waits;
}

void vcpu_wait_for_memory(struct vcpu *v)
{
	assert_true(waits_until_memory > 0);
	if (--waits_until_memory == 0)
		walk_error = write_error = read_error = 0;
	if (ends_while_waiting)
		v->vm->end = VM_END_KILLED;
}

static bool end_is_told = true;

bool vcpu_crash(struct vcpu *v)
{
	ended++;
	return end_is_told;
}

static struct vm machine;
static struct vcpu cpu;
static struct restart configured; /* the machine's */

static int start(void **state)
{
	for (u32 i = 0; i < sizeof(memory); i++)
		memory[i] = (u8)(i * 7 + (i >> 8));
	configured = (struct restart){0};
	machine = (struct vm){.name = "test", .restart = &configured};
	cpu = (struct vcpu){.vm = &machine};
	regs = (struct guest_regs){.rip = CODE, .rflags = 2};
	cpl = 0;
	call_count = completed = ended = 0;
	memset(&injected, 0, sizeof(injected));
	walk_error = read_error = write_error = dr_error = 0;
	failing_page = tableless_page = msr_written = xcr_written = tsc_offset = 0;
	tsc_moves = 0;
	own_fault = 0;
	wraps = false;
	memory_changes = protected_late = false;
	second_device = protected_page = shadowed = 0;
	written_as_table = ~0u;
	let_write_tired = false;
	waits_until_memory = iterations_until_wanted = 0;
	event_waits = false;
	ends_while_waiting = tables_go_by_port = false;
	return 0;
}

#endif
