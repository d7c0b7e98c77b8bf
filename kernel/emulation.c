/* SPDX-License-Identifier: MIT */
/*
 * Runs one guest instruction in software, because it touched what is no RAM, or because the CPU
 * cannot run it as things are (vmx/restricted.c): fetches and decodes it, and answers the emulator's
 * steps from RAM, from devices, or from the vCPU. No MMU lock is held here.
 */
#include "kernel/emulation_private.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/printf.h"
#include "mmu/shadow.h"

#define RFLAGS_TF      BIT(8)
#define RFLAGS_VM      BIT(17)
#define RFLAGS_IOPL(f) ((u32)((f) >> 12) & 3)
#define SEGMENT_AR_L   BIT(13)
#define SEGMENT_AR_DB  BIT(14)
#define LINEAR_BITS    48

/* Iterations of a string instruction for one decode. */
#define REPEATED_AT_ONCE 64

#define TEXT_MAX (3 * INSN_MAX_LENGTH + 1)

static const char *bytes_in_text(const struct emulation *em, char text[TEXT_MAX])
{
	u32 n = 0;

	if (!em->fetched)
		return "none";
	for (u32 i = 0; i < em->fetched; i++)
		n += (u32)snprintf(text + n, TEXT_MAX - n, "%02x ", em->bytes[i]);
	return text;
}

void emulation_end_vm(struct emulation *em, const char *why, u64 gpa)
{
	char text[TEXT_MAX];

	if (!vcpu_crash(em->v))
		return;
	log_error("vm %s: the instruction at 0x%llx (bytes %s) %s, gpa 0x%llx: the VM ends",
		  em->v->vm->name, (unsigned long long)vmx_regs(em->v->vmx)->rip,
		  bytes_in_text(em, text), why, (unsigned long long)gpa);
}

/*
 * The guest goes on, so what it can do again and again is told so often and no more, until it starts
 * anew and that is told (kernel/restart.c). All are counted.
 */
#define PROGRAMS_TOLD_MAX 4u

static void refuse_program(struct emulation *em, const char *why)
{
	u32 *told = &em->v->vm->restart->programs_told;
	char text[TEXT_MAX];

	WRITE_ONCE(em->v->refused, em->v->refused + 1);
	if (__atomic_load_n(told, __ATOMIC_RELAXED) < PROGRAMS_TOLD_MAX) {
		__atomic_fetch_add(told, 1, __ATOMIC_RELAXED);
		log_warn("vm %s: a program's instruction at 0x%llx (bytes %s) %s, gpa 0x%llx: #UD",
			 em->v->vm->name, (unsigned long long)vmx_regs(em->v->vmx)->rip,
			 bytes_in_text(em, text), why,
			 (unsigned long long)gfn_to_gpa(em->v->mmio_gfn).v);
	}
	vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
}

static void inject_own_fault(struct emulation *em, u8 vector)
{
	if (vector == EXCEPTION_GP)
		vmx_inject_gp(em->v->vmx);
	else
		vmx_inject_exception(em->v->vmx, vector, false, 0);
}

/* The guest's kernel must not meet this; a program of its, with a device mapped, gets #UD, and a line. */
void emulation_unhandled(struct emulation *em)
{
	static const char why[] = "touches a device and is not one that Weir runs in software";
	int err = ERR_NOSLOT;
	u8 vector;

	/* What wrote to a table of the guest's can as well write to a page that is none. */
	if (!em->by_state && em->v->vm->mmu.shadow)
		err = mmu_shadow_let_write(&em->v->mmu, em->v->mmio_gfn,
					   guest_regs_digest(vmx_regs(em->v->vmx)));
	if (err == 0)
		return;
	if (err == ERR_NOTSUP)
		emulation_end_vm(
			em,
			"is not one that Weir runs in software, and writes to a page table "
			"that it goes by itself",
			gfn_to_gpa(em->v->mmio_gfn).v);
	else if (em->by_state && vmx_own_fault(em->v->vmx, &vector))
		inject_own_fault(em, vector);
	else if (em->by_state)
		emulation_end_vm(
			em, "is not one that Weir runs in software, as real mode on this CPU wants",
			em->linear_rip);
	else if (em->paging.cpl)
		refuse_program(em, why);
	else
		emulation_end_vm(em, why, 0);
}

void emulation_page_fault(struct emulation *em, u64 gva, u32 code)
{
	/* The guest need not flush what it makes present then (SDM 3A 4.10.4.1). */
	vmx_drop_page(em->v->vmx, GVA(gva));
	vmx_inject_page_fault(em->v->vmx, GVA(gva), code);
}

enum decode_mode emulation_mode(const struct emulation *em)
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

static void read_segment(struct emulation *em, u32 i)
{
	struct vmx_segment s;

	vmx_get_segment(em->v->vmx, (enum vmx_segment_id)i, &s);
	em->cpu.segment[i] = (struct emulate_segment){s.base, s.limit, s.access, s.selector};
}

/* Of the others, CS being known, those that the instruction asks for. */
static void read_segments(struct emulation *em)
{
	u32 uses = emulate_uses(&em->insn), left = uses & (BIT(EMULATE_SEGMENTS) - 1);
	struct vmx_table gdt, idt;

	for (left &= ~(u32)BIT(SEGMENT_CS); left; left &= left - 1)
		read_segment(em, (u32)__builtin_ctz(left));
	if (!(uses & EMULATE_USES_TABLES))
		return;
	vmx_get_tables(em->v->vmx, &gdt, &idt);
	em->cpu.gdt = (struct emulate_table){gdt.base, gdt.limit};
	em->cpu.idt = (struct emulate_table){idt.base, idt.limit};
}

/* But of what `paging` has. */
static void take_snapshot(struct emulation *em)
{
	struct vmx_vcpu *vmx = em->v->vmx;
	const struct guest_regs *regs = vmx_regs(vmx);

	read_segment(em, SEGMENT_CS);
	em->cpu.vm86 = (em->paging.cr0 & CR0_PE) && (regs->rflags & RFLAGS_VM);
	em->cpu.protected_mode = (em->paging.cr0 & CR0_PE) && !em->cpu.vm86;
	em->cpu.long_mode = em->paging.efer & EFER_LMA;
	em->cpu.umip = em->paging.cr4 & CR4_UMIP;
	em->cpu.x87_absent = em->paging.cr0 & CR0_EM;
	em->cpu.sse = (em->paging.cr4 & CR4_OSFXSR) && !em->cpu.x87_absent;
	em->cpu.task_switched = em->paging.cr0 & CR0_TS;
	em->cpu.cpl = (u8)(em->cpu.vm86 ? 3 : em->paging.cpl);
	em->cpu.linear_bits = LINEAR_BITS;
	em->single_step = regs->rflags & RFLAGS_TF;
	em->rip = regs->rip;
	em->linear_rip = regs->rip + em->cpu.segment[SEGMENT_CS].base;
	if (emulation_mode(em) == DECODE_64)
		em->linear_rip = regs->rip;
	else
		em->linear_rip &= 0xffffffffull;
}

static bool is_lost(int err)
{
	return err == ERR_IO || err == ERR_CORRUPT;
}

int emulation_access_failed(struct emulation *em, int err, u64 gva, u32 code, const char *why)
{
	if (err == ERR_FAULT)
		emulation_page_fault(em, gva, code);
	else if (err == ERR_RANGE)
		vmx_inject_gp(em->v->vmx);
	else if (err != ERR_NOMEM && err != ERR_AGAIN && !is_lost(err))
		emulation_end_vm(em, why, gva);
	return err;
}

/* What the vCPU has to do about it. Of a page that is lost, who reads the log has been told. */
static int outcome(struct emulation *em, int err)
{
	if (is_lost(err))
		vcpu_crash(em->v);
	return err == ERR_NOMEM ? err : 0;
}

/* Bytes from rip on that may be an instruction's: outside 64-bit mode code ends at its segment's limit. */
static u32 fetch_limit(const struct emulation *em)
{
	u64 rip = vmx_regs(em->v->vmx)->rip, limit = em->cpu.segment[SEGMENT_CS].limit;

	if (emulation_mode(em) == DECODE_64)
		return INSN_MAX_LENGTH;
	return rip > limit ? 0 : (u32)min(limit - rip + 1, (u64)INSN_MAX_LENGTH);
}

/* Where there is no RAM there is no code: for a program #UD, as all ones are on a machine. */
static int fetch_bytes(struct emulation *em, u32 want)
{
	static const char why[] = "is fetched from what is no RAM";
	u64 from = em->linear_rip + em->fetched;
	struct walk_fault fault = {0};
	int err;

	if (emulation_mode(em) != DECODE_64)
		from = (u32)from;
	err = gva_read(&em->v->vm->mmu, &em->paging, GVA(from), em->bytes + em->fetched,
		       want - em->fetched, MMU_EXEC, &fault);
	if (err == ERR_NOSLOT && em->paging.cpl) {
		refuse_program(em, why);
		return err;
	}
	if (err)
		return emulation_access_failed(em, err, err == ERR_FAULT ? fault.gva.v : from,
					       fault.error_code, why);
	em->fetched = want;
	return 0;
}

/* The next page's bytes are fetched only when the instruction goes on there. Not 0: over. */
static int fetch(struct emulation *em)
{
	u64 left_in_page = PAGE_SIZE - (em->linear_rip & (PAGE_SIZE - 1));
	u32 most = fetch_limit(em), want = (u32)min(left_in_page, (u64)most);
	int err = ERR_AGAIN;

	while (err == ERR_AGAIN && em->fetched < most) {
		err = fetch_bytes(em, want);
		if (err)
			return err;
		err = decode_insn(&em->insn, em->bytes, em->fetched, emulation_mode(em));
		want = most;
	}
	/* VEX and its like are there in protected mode only (SDM 2A 2.3). */
	if (err == ERR_INVAL || (err == ERR_NOTSUP && !em->cpu.protected_mode))
		vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
	else if (err == ERR_RANGE || err == ERR_AGAIN) /* too long, or beyond the limit */
		vmx_inject_gp(em->v->vmx);
	else if (err)
		emulation_unhandled(em);
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
		vmx_software_event_done(em->v->vmx);
	em->repeats = em->insn.kind >= INSN_MOVS && em->insn.kind <= INSN_OUTS &&
		      vmx_regs(em->v->vmx)->rip == em->rip;
	vmx_complete_instruction(em->v->vmx, did);
	return effects & EMULATE_HALTED ? VCPU_HALTED : 0;
}

/* An error leaves the registers as they were: a fault is queued, or the guest retries. */
static int run(struct emulation *em)
{
	enum emulate_step step;
	int err = 0;

	em->committed = em->device = em->repeats = false;
	emulate_start(&em->e, &em->insn, vmx_regs(em->v->vmx), &em->cpu);
	while (!err) {
		step = emulate_next(&em->e);
		switch (step) {
		case EMULATE_READ:
			err = emulation_read(em);
			break;
		case EMULATE_WRITE:
			err = emulation_write(em);
			break;
		case EMULATE_TOUCH:
			err = emulation_touch(em);
			break;
		case EMULATE_IN:
			err = emulation_in(em);
			break;
		case EMULATE_OUT:
			err = emulation_out(em);
			break;
		case EMULATE_DONE:
			return done(em);
		case EMULATE_FAULT:
			vmx_inject_exception(em->v->vmx, em->e.vector,
					     emulate_has_error_code(em->e.vector),
					     em->e.error_code);
			return 0;
		case EMULATE_UNHANDLED:
			emulation_unhandled(em);
			return 0;
		default:
			err = emulation_ask(em, step);
			break;
		}
	}
	return outcome(em, err);
}

/*
 * At the next iteration the guest would leave, too. Where it wrote to what was a table and is none
 * any more the CPU does the rest, many times as fast: a page that is cleared to be used anew.
 */
static bool would_leave(const struct emulation *em)
{
	return em->by_state || em->device || mmu_shadow_is_table(&em->v->vm->mmu, em->v->mmio_gfn);
}

/* More iterations of the same instruction are to come, and nothing else comes before them. */
static bool goes_on(const struct emulation *em)
{
	return em->repeats && !em->single_step && !vmx_event_waits(em->v->vmx) &&
	       !vcpu_is_wanted(em->v) && would_leave(em);
}

/* The bytes count as they were when the instruction began, as on a CPU. */
static int run_repeated(struct emulation *em)
{
	int err;

	read_segments(em);
	err = run(em);
	for (u32 i = 1; i < REPEATED_AT_ONCE && !err && goes_on(em); i++)
		err = run(em);
	return err;
}

/*
 * It touches neither memory nor a port, so it is not what made the guest exit: another vCPU has
 * written it there since, as who sets a breakpoint does. The CPU runs it, with all its checks. What
 * INT touches it touches while it is delivered, and an exit in a delivery does not come here.
 */
static bool is_for_the_cpu(const struct emulation *em)
{
	u32 kind = em->insn.kind;

	return (kind >= INSN_INT && kind <= INSN_INT1) || kind == INSN_SYSENTER ||
	       (kind >= INSN_HLT && kind <= INSN_CLTS) ||
	       (kind >= INSN_INVLPG && kind <= INSN_INVD);
}

/* All that is looked at before it is set: the rest, the emulator's log above all, is large. */
static void begin(struct emulation *em, struct vcpu *v, const struct vmx_table_write *w)
{
	em->v = v;
	em->translated = w;
	em->fetched = 0;
	em->by_state = em->event = false;
	if (w)
		em->paging = w->paging;
	else
		vmx_get_paging(v->vmx, &em->paging);
}

static int fetch_and_run(struct emulation *em, u32 port_size)
{
	int err;

	take_snapshot(em);
	err = fetch(em);
	if (err || is_for_the_cpu(em) || !may_use_port(em, port_size))
		return outcome(em, err);
	return run_repeated(em);
}

int vcpu_emulate(struct vcpu *v, u32 port_size)
{
	struct emulation em;

	begin(&em, v, NULL);
	return fetch_and_run(&em, port_size);
}

int vcpu_emulate_write(struct vcpu *v, const struct vmx_table_write *w)
{
	struct emulation em;

	begin(&em, v, w);
	return fetch_and_run(&em, 0);
}

/* #UD in virtual-8086 mode alone: any other is the CPU's word on what it has. */
static bool is_for_real_mode(const struct emulation *em)
{
	return em->insn.kind == INSN_CLAC || em->insn.kind == INSN_STAC;
}

int vcpu_emulate_state(struct vcpu *v)
{
	struct emulate_event event;
	struct emulation em;
	u8 vector;
	int err;

	begin(&em, v, NULL);
	em.by_state = true;
	take_snapshot(&em);
	em.event = vmx_software_event(v->vmx, &event);
	if (em.event) {
		emulate_make_event(&em.insn, &event, emulation_mode(&em));
		read_segments(&em);
		return run(&em);
	}
	err = fetch(&em);
	if (err)
		return outcome(&em, err);
	if (vmx_own_fault(v->vmx, &vector) && vector == EXCEPTION_UD && !is_for_real_mode(&em)) {
		inject_own_fault(&em, vector);
		return 0;
	}
	return run_repeated(&em);
}
