/* SPDX-License-Identifier: MIT */
/* Self-tests of a guest that switches paging on and off by itself: PAE, long mode and back. */
#include "kernel/base/msr.h"
#include "kernel/selftest_vmx.h"

/* The tables, below selftest_vmx_guest.S's CR3 values; 4 KiB each. */
#define PDPT_PAE   0x1000
#define PD_FIRST   0x2000 /* the first GiB */
#define PD_LAST	   0x3000 /* the last below 4 GiB: the code */
#define PML4	   0x4000
#define PDPT_LONG  0x5000
#define DATA	   0x6000
#define PT	   0x7000 /* 2 MiB to 4 MiB */
#define PRESENT	   BIT(0)
#define WRITABLE   BIT(1)
#define LARGE	   BIT(7)
#define MAPPED	   0xda7ada7au
#define LAST_2M	   0xffe00000ull
#define PDPTE_EVIL BIT(1) /* reserved in PAE paging */

static void put(struct machine *m, u64 table, u32 index, u64 entry)
{
	EXPECT(m->t, gpa_write(&m->mmu, GPA(table + index * 8), &entry, sizeof(entry)) == 0);
}

static void write_tables(struct machine *m, u64 evil)
{
	put(m, PDPT_PAE, 0, PD_FIRST | PRESENT | evil);
	put(m, PDPT_PAE, 3, PD_LAST | PRESENT);
	put(m, PML4, 0, PDPT_LONG | PRESENT | WRITABLE);
	put(m, PDPT_LONG, 0, PD_FIRST | PRESENT | WRITABLE);
	put(m, PDPT_LONG, 3, PD_LAST | PRESENT | WRITABLE);
	put(m, PD_FIRST, 1, PT | PRESENT | WRITABLE);
	put(m, PD_LAST, 511, LAST_2M | PRESENT | WRITABLE | LARGE);
	put(m, PT, 0, DATA | PRESENT | WRITABLE);
	put(m, DATA, 0, MAPPED);
}

static bool begin(struct selftest *t, struct machine *m, const u8 *code, u64 evil)
{
	struct vmx_start start = {
		.mode = VMX_START_PROTECTED,
		.rip = MACHINE_CODE + (u64)(code - vmx_guest_page),
		.cs = 0x08,
		.ds = 0x10,
	};

	if (!machine_make(t, m, &start, true))
		return false;
	write_tables(m, evil);
	machine_attach(m);
	return true;
}

static void check_pae(struct machine *m)
{
	const u64 *r = vmx_regs(m->v)->gpr;
	struct guest_paging p;

	machine_expect_halt(m);
	EXPECT(m->t, r[RBX] == MAPPED);
	vmx_get_paging(m->v, &p);
	EXPECT(m->t, (p.cr0 & CR0_PG) && (p.cr4 & CR4_PAE) && !(p.efer & EFER_LMA));
	EXPECT(m->t, (p.pdpte[0] & ~BIT(5)) == (PD_FIRST | PRESENT));
	machine_expect_halt(m);
	EXPECT(m->t, r[RSI] == MAPPED && r[RDI] == MAPPED);
	vmx_get_paging(m->v, &p);
	/* What the guest reads back is what it wrote, whatever the CPU runs with. */
	EXPECT(m->t, p.cr0 & CR0_CD);
}

static void test_pae(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (begin(t, &m, vmx_guest_pae, 0)) {
		check_pae(&m);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

/* A reserved bit in a PDPTE is #GP at the MOV to CR0; without an IDT that is the end. */
static void test_pae_reserved(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (begin(t, &m, vmx_guest_pae, PDPTE_EVIL)) {
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_SHUTDOWN);
		EXPECT(t, vmx_regs(m.v)->gpr[RBX] == 0);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

static void test_long_mode(struct selftest *t)
{
	struct guest_paging p;
	struct machine m;
	const u64 *r;

	if (!selftest_have_vmx(t))
		return;
	if (begin(t, &m, vmx_guest_long, 0)) {
		r = vmx_regs(m.v)->gpr;
		machine_expect_halt(&m);
		EXPECT(t, r[RBX] == MAPPED);
		EXPECT(t, r[RAX] == (EFER_LME | EFER_LMA));
		vmx_get_paging(m.v, &p);
		EXPECT(t, p.efer == (EFER_LME | EFER_LMA));
		machine_expect_halt(&m);
		EXPECT(t, r[RAX] == EFER_LME);
		vmx_get_paging(m.v, &p);
		EXPECT(t, p.efer == EFER_LME && !(p.cr0 & CR0_PG));
		machine_detach(&m);
	}
	machine_unmake(&m);
}

const struct selftest_case selftest_vmx_paging[] = {
	{.name = "vmx_pae", .fn = test_pae},
	{.name = "vmx_pae_reserved", .fn = test_pae_reserved},
	{.name = "vmx_long_mode", .fn = test_long_mode},
	{.name = NULL},
};
