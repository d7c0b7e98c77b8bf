/* SPDX-License-Identifier: MIT */
/*
 * Runs one guest instruction in software, because it touched what is no RAM, or because the CPU
 * cannot run it as things are (vmx/restricted.c): fetches and decodes it, and answers the emulator's
 * steps from RAM, from devices, or from the vCPU. No MMU lock is held here.
 */
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "mmu/emulate.h"
#include "mmu/shadow.h"

#define RFLAGS_TF      BIT(8)
#define RFLAGS_VM      BIT(17)
#define RFLAGS_IOPL(f) ((u32)((f) >> 12) & 3)
#define SEGMENT_AR_L   BIT(13)
#define SEGMENT_AR_DB  BIT(14)
#define LINEAR_BITS    48
#define PIECES_MAX     2

/* What one emulation looks at; the paging state is a snapshot. */
struct emulation {
	struct vcpu *v;
	struct guest_paging paging;
	struct emulate_cpu cpu;
	struct insn insn;
	struct emulate e;
	u8 bytes[INSN_MAX_LENGTH];
	u32 fetched;
	u64 linear_rip;
	bool device_answered; /* a register was read: reading it again may give another value */
	bool by_state;	      /* the CPU cannot run it; not the access is why it is run here */
	bool event;	      /* it is the delivery of an interrupt or exception of real mode */
	bool single_step;
};

/* One page's part of an access. */
struct piece {
	u64 gva;
	gpa_t gpa;
	u32 size;
};

static void end_vm(struct emulation *em, const char *why, u64 gpa)
{
	char text[3 * INSN_MAX_LENGTH + 1] = "none";
	u32 n = 0;

	for (u32 i = 0; i < em->fetched; i++)
		n += (u32)snprintf(text + n, sizeof(text) - n, "%02x ", em->bytes[i]);
	log_error("vm %s: the instruction at 0x%llx (bytes %s) %s, gpa 0x%llx: the VM ends",
		  em->v->vm->name, (unsigned long long)vmx_regs(em->v->vmx)->rip, text, why,
		  (unsigned long long)gpa);
	vcpu_crash(em->v);
}

/* The guest's kernel must not meet this; a program of its, with a device mapped, gets #UD. */
static void unhandled(struct emulation *em)
{
	int err = ERR_NOSLOT;

	/* What wrote to a table of the guest's can as well write to a page that is none. */
	if (!em->by_state && em->v->vm->mmu.shadow)
		err = mmu_shadow_let_write(&em->v->mmu, em->v->mmio_gfn);
	if (err == 0)
		return;
	if (err == ERR_NOTSUP)
		end_vm(em,
		       "is not one that Weir runs in software, and writes to a page table that it "
		       "goes by itself",
		       gfn_to_gpa(em->v->mmio_gfn).v);
	else if (em->by_state)
		end_vm(em, "is not one that Weir runs in software, as real mode on this CPU wants",
		       em->linear_rip);
	else if (em->paging.cpl)
		vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
	else
		end_vm(em, "touches a device and is not one that Weir runs in software", 0);
}

static void inject_page_fault(struct emulation *em, u64 gva, u32 code)
{
	vmx_inject_page_fault(em->v->vmx, GVA(gva), code);
}

static enum decode_mode mode_of(const struct emulation *em)
{
	u32 access = em->cpu.segment[SEGMENT_CS].access;

	if ((em->paging.efer & EFER_LMA) && (access & SEGMENT_AR_L))
		return DECODE_64;
	/* Real mode leaves what protected mode left there. */
	return access & SEGMENT_AR_DB ? DECODE_32 : DECODE_16;
}

/* Both number the segments as instructions do, and LDTR and TR after them. */
static_assert((int)SEG_ES == SEGMENT_ES && (int)SEG_GS == SEGMENT_GS &&
		      (int)SEG_LDTR == EMULATE_LDTR && (int)SEG_TR == EMULATE_TR,
	      "segments are numbered alike");

static void take_snapshot(struct emulation *em)
{
	struct vmx_vcpu *vmx = em->v->vmx;
	const struct guest_regs *regs = vmx_regs(vmx);
	struct vmx_table gdt, idt;
	struct vmx_segment s;

	vmx_get_paging(vmx, &em->paging);
	for (u32 i = 0; i < EMULATE_SEGMENTS; i++) {
		vmx_get_segment(vmx, (enum vmx_segment_id)i, &s);
		em->cpu.segment[i] = (struct emulate_segment){s.base, s.limit, s.access,
							      s.selector};
	}
	vmx_get_tables(vmx, &gdt, &idt);
	em->cpu.gdt = (struct emulate_table){gdt.base, gdt.limit};
	em->cpu.idt = (struct emulate_table){idt.base, idt.limit};
	em->cpu.vm86 = (em->paging.cr0 & CR0_PE) && (regs->rflags & RFLAGS_VM);
	em->cpu.protected_mode = (em->paging.cr0 & CR0_PE) && !em->cpu.vm86;
	em->cpu.long_mode = em->paging.efer & EFER_LMA;
	em->cpu.cpl = (u8)(em->cpu.vm86 ? 3 : em->paging.cpl);
	em->cpu.linear_bits = LINEAR_BITS;
	em->single_step = regs->rflags & RFLAGS_TF;
	em->linear_rip = regs->rip + em->cpu.segment[SEGMENT_CS].base;
	if (mode_of(em) == DECODE_64)
		em->linear_rip = regs->rip;
	else
		em->linear_rip &= 0xffffffffull;
}

/*
 * Reading or translating a linear address failed. Of these the guest knows nothing: no memory was
 * to be had, or its tables change too fast. The instruction runs again.
 */
static int access_failed(struct emulation *em, int err, u64 gva, u32 code, const char *why)
{
	if (err == ERR_FAULT)
		inject_page_fault(em, gva, code);
	else if (err == ERR_RANGE)
		vmx_inject_gp(em->v->vmx);
	else if (err != ERR_NOMEM && err != ERR_AGAIN)
		end_vm(em, why, gva);
	return err;
}

/* Outside 64-bit mode code ends at its segment's limit (SDM 3A 5.3). */
static bool beyond_limit(const struct emulation *em, u64 length)
{
	u64 rip = vmx_regs(em->v->vmx)->rip;

	return mode_of(em) != DECODE_64 && rip + length - 1 > em->cpu.segment[SEGMENT_CS].limit;
}

/* The next page's bytes are fetched only when the instruction goes on there. Not 0: over. */
static int fetch(struct emulation *em)
{
	u64 left_in_page = PAGE_SIZE - (em->linear_rip & (PAGE_SIZE - 1));
	u32 want = (u32)min(left_in_page, (u64)INSN_MAX_LENGTH);
	struct walk_fault fault = {0};
	int err;

	if (beyond_limit(em, 1)) {
		vmx_inject_gp(em->v->vmx);
		return ERR_FAULT;
	}
	for (;;) {
		err = gva_read(&em->v->vm->mmu, &em->paging, GVA(em->linear_rip + em->fetched),
			       em->bytes + em->fetched, want - em->fetched, MMU_EXEC, &fault);
		if (err)
			return access_failed(em, err,
					     err == ERR_FAULT ? fault.gva.v : em->linear_rip,
					     fault.error_code, "is fetched from what is no RAM");
		em->fetched = want;
		err = decode_insn(&em->insn, em->bytes, em->fetched, mode_of(em));
		if (err != ERR_AGAIN || want == INSN_MAX_LENGTH)
			break;
		want = INSN_MAX_LENGTH;
	}
	if (err == ERR_INVAL)
		vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
	else if (err == ERR_RANGE)
		vmx_inject_gp(em->v->vmx);
	else if (err)
		unhandled(em);
	else if (beyond_limit(em, em->insn.length)) {
		vmx_inject_gp(em->v->vmx);
		err = ERR_FAULT;
	}
	return err;
}

/*
 * The bytes are read after the exit, and another vCPU may have changed them since: the CPU has
 * checked the right to one port of one size, or to none. False: the instruction runs again, and
 * the CPU checks it.
 */
static bool may_use_port(const struct emulation *em, u32 port_size)
{
	u64 rflags = em->paging.rflags;

	if (em->insn.kind < INSN_INS || em->insn.kind > INSN_OUT)
		return true;
	if (!(rflags & RFLAGS_VM) && em->paging.cpl <= RFLAGS_IOPL(rflags))
		return true;
	return em->insn.kind <= INSN_OUTS && em->insn.op_size == port_size;
}

/* The guest physical pieces of the step's access, all translated before any is touched. */
static int translate(struct emulation *em, bool write, struct piece pieces[PIECES_MAX], u32 *count)
{
	u32 access = write ? MMU_WRITE : MMU_READ;
	u64 gva = em->e.gva;
	u32 left = em->e.size;
	struct walk_result w = {0};
	int err;

	*count = 0;
	if (em->e.implicit)
		access |= (u32)WALK_IMPLICIT_SUPERVISOR;
	while (left) {
		u32 n = min(left, (u32)(PAGE_SIZE - (gva & (PAGE_SIZE - 1))));

		err = guest_walk(&em->v->vm->mmu, &em->paging, GVA(gva), access, &w);
		if (err)
			return access_failed(em, err, gva, w.error_code,
					     "goes through a page table that is not in RAM");
		pieces[(*count)++] = (struct piece){gva, w.gpa, n};
		gva += n;
		if (mode_of(em) != DECODE_64)
			gva = (u32)gva;
		left -= n;
	}
	return 0;
}

/* The guest's own protection of the page refuses the write (H_PROTECT): as vmx/ept.c answers it. */
static int refuse_write(struct emulation *em, const struct piece *p)
{
	u32 code = PAGE_FAULT_P | PAGE_FAULT_WR | (em->paging.cpl == 3 ? PAGE_FAULT_US : 0);

	inject_page_fault(em, p->gva, code);
	return ERR_FAULT;
}

/* All pieces may be written: asked before what cannot be undone. */
static int check_protection(struct emulation *em, const struct piece *pieces, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		if (mmu_is_protected(&em->v->vm->mmu, pieces[i].gpa))
			return refuse_write(em, &pieces[i]);
	}
	return 0;
}

static u64 device_read(struct vcpu *v, gpa_t gpa, u32 size)
{
	u64 value = ~0ull;

	if (!platform_lapic_mmio(v, gpa, size, false, &value))
		bus_read(&v->vm->bus, v, SPACE_MMIO, gpa.v, size, &value);
	return value;
}

static void device_write(struct vcpu *v, gpa_t gpa, u32 size, u64 value)
{
	if (!platform_lapic_mmio(v, gpa, size, true, &value))
		bus_write(&v->vm->bus, v, SPACE_MMIO, gpa.v, size, value);
}

/* A device takes 1, 2, 4 or 8 bytes at a time; a piece of another size goes byte by byte. */
static u32 device_step(u32 size)
{
	return size & (size - 1) ? 1 : size;
}

static int read_step(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u8 *to = (u8 *)&em->e.value;
	u32 count;
	int err = translate(em, em->e.for_write, pieces, &count);

	if (!err && em->e.for_write)
		err = check_protection(em, pieces, count);
	em->e.value = 0;
	for (u32 i = 0; i < count && !err; i++) {
		err = gpa_read(&em->v->vm->mmu, pieces[i].gpa, to, pieces[i].size);
		if (err == ERR_NOSLOT) {
			u32 step = device_step(pieces[i].size);

			em->device_answered = true;
			for (u32 at = 0; at < pieces[i].size; at += step) {
				u64 value = device_read(em->v, GPA(pieces[i].gpa.v + at), step);

				memcpy(to + at, &value, step);
			}
			err = 0;
		}
		to += pieces[i].size;
	}
	return err;
}

static int write_piece(struct emulation *em, const struct piece *p, const u8 *from)
{
	u64 value = 0, expected = em->e.expected;
	u32 step = device_step(p->size);
	int err;

	if (em->e.atomic && p->size == em->e.size && is_aligned(p->gpa.v, (u64)p->size))
		err = gpa_cmpxchg(&em->v->vm->mmu, p->gpa, p->size, &expected, em->e.value);
	else
		err = gpa_write(&em->v->vm->mmu, p->gpa, from, p->size);
	if (err == ERR_PERM)
		return refuse_write(em, p);
	if (err != ERR_NOSLOT)
		return err;
	for (u32 at = 0; at < p->size; at += step) {
		memcpy(&value, from + at, step);
		device_write(em->v, GPA(p->gpa.v + at), step, value);
	}
	return 0;
}

static int write_step(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	const u8 *from = (const u8 *)&em->e.value;
	u32 count;
	int err = translate(em, true, pieces, &count);

	/* One piece says so itself when it is written. */
	if (!err && count > 1)
		err = check_protection(em, pieces, count);
	for (u32 i = 0; i < count && !err; i++) {
		err = write_piece(em, &pieces[i], from);
		from += pieces[i].size;
	}
	return err;
}

/*
 * INS: its destination must be writable, and there, before the port is read: what a device gave
 * cannot be given back.
 */
static int port_in(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u32 count;
	int err = 0;

	if (em->insn.kind == INSN_INS) {
		err = translate(em, true, pieces, &count);
		if (!err)
			err = check_protection(em, pieces, count);
		for (u32 i = 0; i < count && !err; i++) {
			u64 unused;

			err = gpa_read(&em->v->vm->mmu, pieces[i].gpa, &unused, pieces[i].size);
			if (err == ERR_NOSLOT) /* a device's register: it is there */
				err = 0;
		}
	}
	if (err)
		return err;
	bus_read(&em->v->vm->bus, em->v, SPACE_PIO, em->e.port, em->e.size, &em->e.value);
	return 0;
}

static int port_out(struct emulation *em)
{
	bus_write(&em->v->vm->bus, em->v, SPACE_PIO, em->e.port, em->e.size, em->e.value);
	return 0;
}

/*
 * What a device gave cannot be given back: where there is no frame for its destination, the
 * instruction does not begin again but waits.
 */
static int write_answer(struct emulation *em)
{
	int err;

	for (;;) {
		err = write_step(em);
		if (err != ERR_NOMEM || !em->device_answered)
			return err;
		if (__atomic_load_n(&em->v->vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE)
			return err;
		vcpu_wait_for_memory(em->v);
	}
}

/* --- what the vCPU itself has --- */

static int read_msr(struct emulation *em)
{
	int err = vmx_read_msr(em->v->vmx, em->e.index, &em->e.value);

	if (err != ERR_NOSLOT)
		return err;
	if (platform_owns_msr(em->e.index))
		return platform_rdmsr(em->v, em->e.index, &em->e.value);
	if (paravirt_owns_msr(em->e.index))
		return paravirt_rdmsr(em->v, em->e.index, &em->e.value);
	return ERR_FAULT;
}

static int write_msr(struct emulation *em)
{
	int err = vmx_write_msr(em->v->vmx, em->e.index, em->e.value);

	if (err != ERR_NOSLOT)
		return err;
	if (platform_owns_msr(em->e.index))
		return platform_wrmsr(em->v, em->e.index, em->e.value);
	if (paravirt_owns_msr(em->e.index))
		return paravirt_wrmsr(em->v, em->e.index, em->e.value);
	return ERR_FAULT;
}

static int identify(struct emulation *em)
{
	struct cpuid_regs r;

	vmx_cpuid(em->v->vmx, em->e.index, (u32)em->e.value, &r);
	em->e.cpuid[0] = r.eax;
	em->e.cpuid[1] = r.ebx;
	em->e.cpuid[2] = r.ecx;
	em->e.cpuid[3] = r.edx;
	return 0;
}

/* An error but ERR_NOMEM is the guest's #GP, unless Weir does not do it at all. */
static int machine_step(struct emulation *em, enum emulate_step step)
{
	struct vmx_vcpu *vmx = em->v->vmx;

	switch (step) {
	case EMULATE_READ_CR:
		em->e.value = vmx_read_cr(vmx, em->e.index);
		return 0;
	case EMULATE_WRITE_CR:
		return vmx_write_cr(vmx, em->e.index, em->e.value);
	case EMULATE_READ_DR:
		em->e.value = vmx_read_dr(vmx, em->e.index);
		return 0;
	case EMULATE_WRITE_DR:
		return vmx_write_dr(vmx, em->e.index, em->e.value);
	case EMULATE_RDMSR:
		return read_msr(em);
	case EMULATE_WRMSR:
		return write_msr(em);
	case EMULATE_CPUID:
		return identify(em);
	case EMULATE_RDTSC:
		em->e.value = vmx_guest_tsc(vmx);
		return 0;
	default: /* EMULATE_INVLPG */
		vmx_drop_page(vmx, GVA(em->e.gva));
		return 0;
	}
}

static int do_machine_step(struct emulation *em, enum emulate_step step)
{
	int err = machine_step(em, step);

	if (err == ERR_NOTSUP)
		unhandled(em);
	else if (err && err != ERR_NOMEM)
		vmx_inject_gp(em->v->vmx);
	return err;
}

/* --- the end of an instruction --- */

static void take_over(struct emulation *em)
{
	const struct emulate *e = &em->e;
	struct vmx_vcpu *vmx = em->v->vmx;
	struct vmx_table t;

	for (u32 i = 0; i < EMULATE_SEGMENTS; i++) {
		const struct emulate_segment *s = &e->sys.segment[i];
		struct vmx_segment changed = {s->selector, s->limit, s->access, s->base};

		if (e->changed & BIT(i))
			vmx_set_segment(vmx, (enum vmx_segment_id)i, &changed);
	}
	if (e->changed & EMULATE_CHANGED_GDT) {
		t = (struct vmx_table){e->sys.gdt.base, e->sys.gdt.limit};
		vmx_set_gdt(vmx, &t);
	}
	if (e->changed & EMULATE_CHANGED_IDT) {
		t = (struct vmx_table){e->sys.idt.base, e->sys.idt.limit};
		vmx_set_idt(vmx, &t);
	}
}

static int done(struct emulation *em)
{
	u32 effects = em->e.effects, did = 0;

	if (em->e.changed)
		take_over(em);
	if (effects & EMULATE_STI_SHADOW)
		did |= (u32)VMX_DID_STI;
	if (effects & EMULATE_SS_SHADOW)
		did |= (u32)VMX_DID_MOV_SS;
	if (effects & EMULATE_RETURNED)
		did |= (u32)VMX_DID_IRET;
	if (em->single_step && !(effects & (EMULATE_SS_SHADOW | EMULATE_NO_STEP_TRAP)))
		did |= (u32)VMX_DID_ONE_STEP;
	if (em->event)
		vmx_real_mode_event_done(em->v->vmx);
	vmx_complete_instruction(em->v->vmx, did);
	return effects & EMULATE_HALTED ? VCPU_HALTED : 0;
}

/* An error leaves the registers as they were: a fault is queued, or the guest retries. */
static int run(struct emulation *em)
{
	enum emulate_step step;
	int err = 0;

	emulate_start(&em->e, &em->insn, vmx_regs(em->v->vmx), &em->cpu);
	while (!err) {
		step = emulate_next(&em->e);
		switch (step) {
		case EMULATE_READ:
			err = read_step(em);
			break;
		case EMULATE_WRITE:
			err = write_answer(em);
			break;
		case EMULATE_IN:
			err = port_in(em);
			break;
		case EMULATE_OUT:
			err = port_out(em);
			break;
		case EMULATE_DONE:
			return done(em);
		case EMULATE_FAULT:
			vmx_inject_exception(em->v->vmx, em->e.vector,
					     emulate_has_error_code(em->e.vector),
					     em->e.error_code);
			return 0;
		case EMULATE_UNHANDLED:
			unhandled(em);
			return 0;
		default:
			err = do_machine_step(em, step);
			break;
		}
	}
	return err == ERR_NOMEM ? err : 0;
}

int vcpu_emulate(struct vcpu *v, u32 port_size)
{
	struct emulation em = {.v = v};
	int err;

	take_snapshot(&em);
	err = fetch(&em);
	if (err || !may_use_port(&em, port_size))
		return err == ERR_NOMEM ? err : 0;
	return run(&em);
}

int vcpu_emulate_state(struct vcpu *v)
{
	struct emulation em = {.v = v, .by_state = true};
	u8 vector, length;
	int err;

	take_snapshot(&em);
	em.event = vmx_real_mode_event(v->vmx, &vector, &length);
	if (em.event) {
		emulate_make_event(&em.insn, vector, length, mode_of(&em));
		return run(&em);
	}
	err = fetch(&em);
	if (err)
		return err == ERR_NOMEM ? err : 0;
	return run(&em);
}
