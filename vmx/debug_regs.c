/* SPDX-License-Identifier: MIT */
/*
 * Debug registers. DR7 is switched by the VMCS; DR0 to DR3 and DR6 come into the CPU only for a
 * guest that uses them: MOV DR exits until the first one, then goes on by itself until another
 * vCPU needs the CPU. Weir uses none, and every VM exit switches breakpoints off in DR7.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#define DR6_FIXED	0xffff0ff0ull
#define DR6_BREAKPOINTS 0xfull
#define DR6_CAUSES	(DR6_BREAKPOINTS | BIT(13) | BIT(14)) /* and BD, BS */
#define DR6_BD		BIT(13)
#define DR7_ENABLES	0xffull
#define DR7_GD		BIT(13)
#define DR7_FIXED	BIT(10)
#define DR7_RESERVED	(BIT(11) | BIT(12) | BIT(14) | BIT(15))

static void load(struct vmx_vcpu *v)
{
	WRITE_DR(0, v->dr[0]);
	WRITE_DR(1, v->dr[1]);
	WRITE_DR(2, v->dr[2]);
	WRITE_DR(3, v->dr[3]);
	WRITE_DR(6, v->dr6);
	v->dr_loaded = true;
	vmcs_set_proc_controls(v, v->proc_controls & ~(u32)PROC_MOV_DR);
}

void debug_regs_save(struct vmx_vcpu *v)
{
	if (!v->dr_loaded)
		return;
	v->dr[0] = READ_DR(0);
	v->dr[1] = READ_DR(1);
	v->dr[2] = READ_DR(2);
	v->dr[3] = READ_DR(3);
	v->dr6 = READ_DR(6);
	v->dr_loaded = false;
}

/* VMCS current. A guest with breakpoints set needs them at once. */
void debug_regs_load(struct vmx_vcpu *v)
{
	if (vmcs_read(GUEST_DR7) & DR7_ENABLES)
		load(v);
	else
		vmcs_set_proc_controls(v, v->proc_controls | (u32)PROC_MOV_DR);
}

/* The instruction runs again, now without an exit: the CPU checks what there is to check. */
enum exit_verdict handle_mov_dr(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	load(v);
	return EXIT_RESUME;
}

/* DR4 and DR5 are DR6 and DR7, unless CR4.DE says that they are nothing (SDM 3B 18.2.2). */
static int alias(u32 *n)
{
	if (*n == 4 || *n == 5) {
		if (vmcs_read(GUEST_CR4) & CR4_DE)
			return ERR_INVAL;
		*n += 2;
	}
	return 0;
}

/* SDM 3B 18.2.4: the fault comes before the access, and switches GD off for its handler. */
static int detect(struct vmx_vcpu *v)
{
	if (!(vmcs_read(GUEST_DR7) & DR7_GD))
		return 0;
	debug_regs_raise(v, DR6_BD);
	vmx_inject_exception(v, EXCEPTION_DB, false, 0);
	return ERR_BUSY;
}

/* In all three interrupts are off, so that what is looked at stays in one place. */

int vmx_read_dr(struct vmx_vcpu *v, u32 n, u64 *value)
{
	int err = alias(&n);
	bool on;

	if (!err)
		err = detect(v);
	if (err)
		return err;
	on = irq_save();
	debug_regs_save(v);
	debug_regs_load(v);
	if (n == 7)
		*value = vmcs_read(GUEST_DR7);
	else
		*value = n == 6 ? v->dr6 : v->dr[n & 3];
	irq_restore(on);
	return 0;
}

int vmx_write_dr(struct vmx_vcpu *v, u32 n, u64 value)
{
	int err = alias(&n);
	bool on;

	if (!err)
		err = detect(v);
	if (err)
		return err;
	if ((n == 6 || n == 7) && value >> 32)
		return ERR_FAULT;
	on = irq_save();
	debug_regs_save(v);
	if (n == 7)
		vmcs_write(GUEST_DR7, (value & ~DR7_RESERVED) | DR7_FIXED);
	else if (n == 6)
		v->dr6 = (value & DR6_CAUSES) | DR6_FIXED;
	else
		v->dr[n & 3] = value;
	debug_regs_load(v);
	irq_restore(on);
	return 0;
}

/* What the CPU leaves to be done when #DB exits instead of being delivered (SDM 3C 28.1). */
void debug_regs_raise(struct vmx_vcpu *v, u64 qualification)
{
	bool on = irq_save();
	u64 dr6 = v->dr_loaded ? READ_DR(6) : v->dr6;

	dr6 = (dr6 & ~DR6_BREAKPOINTS) | (qualification & DR6_CAUSES) | DR6_FIXED;
	v->dr6 = dr6;
	if (v->dr_loaded)
		WRITE_DR(6, dr6);
	vmcs_write(GUEST_DR7, vmcs_read(GUEST_DR7) & ~DR7_GD);
	/* A single step from branch to branch is over (SDM 3B 18.4.3). */
	vmcs_write(GUEST_DEBUGCTL, vmcs_read(GUEST_DEBUGCTL) & ~DEBUGCTL_BTF);
	irq_restore(on);
}
