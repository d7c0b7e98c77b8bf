/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/emulation.c kernel/emulation_access.c kernel/emulation_machine.c @emulate */
/* unit-cflags: -ftrivial-auto-var-init=pattern */
/* Instructions and events of real mode in software, where the CPU has no unrestricted guest. */
#include "tests/unit/kernel/emulation_machine.h"

#define REAL_CODE	0x2000u
#define REAL_STACK	0x3000u
#define REAL_ACCESS	0x93u
#define RFLAGS_IF_FIXED 0x202u
#define RFLAGS_AC_BIT	BIT(18)

static int start_real(void **state)
{
	start(state);
	real_mode = true;
	event_waits = false;
	cr0 = 0x10;
	did = 0;
	for (u32 i = 0; i < 8; i++)
		segments[i] = (struct vmx_segment){.limit = 0xffff, .access = REAL_ACCESS};
	segments[SEG_CS].selector = REAL_CODE >> 4;
	segments[SEG_CS].base = REAL_CODE;
	tables[1] = (struct vmx_table){0, 0x3ff};
	regs.rip = 0x10;
	regs.rflags = RFLAGS_IF_FIXED;
	regs.gpr[RSP] = REAL_STACK;
	return 0;
}

static int end_real(void **state)
{
	real_mode = false;
	return 0;
}

static int run_real(const char *code, size_t n)
{
	memcpy(memory + REAL_CODE + regs.rip, code, n);
	return vcpu_emulate_state(&cpu);
}
#define RUN_REAL(code) run_real(code, sizeof(code) - 1)

static u16 word_at(u64 at)
{
	return (u16)(memory[at] | memory[at + 1] << 8);
}

static void put_vector(u8 vector, u16 cs, u16 ip)
{
	u16 entry[2] = {ip, cs};

	memcpy(memory + 4 * vector, entry, sizeof(entry));
}

static void an_event_goes_by_the_vector_table(void **state)
{
	put_vector(0x21, 0x100, 0x34);
	event_waits = true;
	event_vector = 0x21;
	regs.rflags |= RFLAGS_TF;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_false(event_waits);
	assert_true(regs.rip == 0x34 && segments[SEG_CS].selector == 0x100);
	assert_true(segments[SEG_CS].base == 0x1000);
	assert_int_equal(word_at(REAL_STACK - 2), RFLAGS_IF_FIXED | RFLAGS_TF);
	assert_int_equal(word_at(REAL_STACK - 4), REAL_CODE >> 4);
	assert_int_equal(word_at(REAL_STACK - 6), 0x10);
	assert_true(regs.rflags == 2 && regs.gpr[RSP] == REAL_STACK - 6);
	assert_int_equal(did, 0);
}

static void an_event_beyond_the_table_faults(void **state)
{
	event_waits = true;
	event_vector = 0x21;
	tables[1].limit = 0x80;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_true(event_waits); /* to be combined with what it raised */
	assert_int_equal(injected.vector, EXCEPTION_GP);
}

static void int_and_iret_come_back(void **state)
{
	put_vector(0x10, REAL_CODE >> 4, 0x80);
	assert_int_equal(RUN_REAL("\xcd\x10"), 0);
	assert_true(regs.rip == 0x80 && !(regs.rflags & BIT(9)));
	assert_int_equal(RUN_REAL("\xcf"), 0);
	assert_true(regs.rip == 0x12 && regs.rflags == RFLAGS_IF_FIXED);
	assert_int_equal(did, VMX_DID_IRET);
	assert_true(regs.gpr[RSP] == REAL_STACK);
}

static void a_single_step_traps_but_not_into_a_handler(void **state)
{
	regs.rflags |= RFLAGS_TF;
	assert_int_equal(RUN_REAL("\x90"), 0);
	assert_int_equal(did, VMX_DID_ONE_STEP);
	/* MOV SS holds it back; so does what enters a handler. */
	assert_int_equal(RUN_REAL("\x8e\xd0"), 0);
	assert_int_equal(did, VMX_DID_MOV_SS);
	put_vector(3, 0, 0);
	assert_int_equal(RUN_REAL("\xcc"), 0);
	assert_int_equal(did, 0);
	put_vector(1, REAL_CODE >> 4, 0x90);
	segments[SEG_CS] = (struct vmx_segment){REAL_CODE >> 4, 0xffff, REAL_ACCESS, REAL_CODE};
	regs.rip = 0x20;
	assert_int_equal(RUN_REAL("\xf1"), 0); /* INT1 */
	assert_true(regs.rip == 0x90 && word_at(regs.gpr[RSP]) == 0x21);
}

static void sti_has_a_shadow_once(void **state)
{
	assert_int_equal(RUN_REAL("\xfa"), 0);
	assert_true(regs.rflags == 2);
	assert_int_equal(RUN_REAL("\xfb"), 0);
	assert_int_equal(did, VMX_DID_STI);
	assert_int_equal(RUN_REAL("\xfb"), 0);
	assert_int_equal(did, 0);
}

static void lmsw_sets_pe_and_does_not_clear_it(void **state)
{
	regs.gpr[RAX] = 3;
	assert_int_equal(RUN_REAL("\x0f\x01\xf0"), 0);
	assert_true(cr0 == 0x13);
	real_mode = true;
	regs.gpr[RAX] = 0;
	segments[SEG_SS].access = REAL_ACCESS;
	assert_int_equal(RUN_REAL("\x0f\x01\xf0"), 0);
	assert_true(cr0 == 0x11);
}

static void tables_are_loaded_with_24_bits_or_32(void **state)
{
	memcpy(memory + 0x500, "\x27\x00\x78\x56\x34\x92", 6);
	assert_int_equal(RUN_REAL("\x0f\x01\x16\x00\x05"), 0);
	assert_true(tables[0].base == 0x345678 && tables[0].limit == 0x27);
	assert_int_equal(RUN_REAL("\x66\x0f\x01\x1e\x00\x05"), 0);
	assert_true(tables[1].base == 0x92345678 && tables[1].limit == 0x27);
}

static void limits_are_those_of_the_segments(void **state)
{
	/* A word at 0xffff; code that runs on past 0xffff. */
	regs.gpr[RBX] = 0xffff;
	assert_int_equal(RUN_REAL("\x8b\x07"), 0);
	assert_int_equal(injected.vector, EXCEPTION_GP);
	regs.rip = 0x10000;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_int_equal(injected.count, 2);
	/* Unreal mode: what protected mode left. */
	segments[SEG_DS].limit = 0xffffffff;
	regs.rip = 0x10;
	regs.gpr[RBX] = 0x1234;
	memory[0x1234] = 0x77;
	assert_int_equal(RUN_REAL("\x67\x8a\x03"), 0);
	assert_int_equal(injected.count, 2);
	assert_true((regs.gpr[RAX] & 0xff) == 0x77);
}

static void hlt_is_told(void **state)
{
	assert_int_equal(RUN_REAL("\xf4"), VCPU_HALTED);
	assert_true(regs.rip == 0x11);
}

static void msrs_and_cpuid_are_asked_for(void **state)
{
	regs.gpr[RCX] = 0x10;
	assert_int_equal(RUN_REAL("\x0f\x32"), 0);
	assert_true(regs.gpr[RAX] == 0x55667788 && regs.gpr[RDX] == 0x11223344);
	regs.gpr[RCX] = 0x11;
	assert_int_equal(RUN_REAL("\x0f\x32"), 0);
	assert_int_equal(injected.vector, EXCEPTION_GP);
	regs.gpr[RAX] = 7;
	regs.gpr[RCX] = 1;
	assert_int_equal(RUN_REAL("\x0f\xa2"), 0);
	assert_true(regs.gpr[RAX] == 7 && regs.gpr[RBX] == 1 && regs.gpr[RDX] == 4);
}

/* The APIC that moves is the business of the same code as for an exit. */
static void msrs_are_written_as_by_an_exit(void **state)
{
	regs.gpr[RCX] = 0x1b;
	regs.gpr[RAX] = 0xfee00c00;
	regs.gpr[RDX] = 0;
	assert_int_equal(RUN_REAL("\x0f\x30"), 0);
	assert_true(msr_written == 0xfee00c00 && tsc_moves == 0);
	regs.gpr[RCX] = 0x10;
	regs.gpr[RAX] = 5;
	assert_int_equal(RUN_REAL("\x0f\x30"), 0);
	assert_int_equal(tsc_moves, 1);
	regs.gpr[RCX] = 0xc0000102;
	assert_int_equal(RUN_REAL("\x0f\x30"), 0);
	assert_int_equal(ended, 1);
}

static void debug_registers_and_their_faults(void **state)
{
	assert_int_equal(RUN_REAL("\x0f\x21\xd8"), 0); /* mov eax, dr3 */
	assert_true(regs.gpr[RAX] == 3);
	dr_error = ERR_INVAL; /* CR4.DE */
	assert_int_equal(RUN_REAL("\x0f\x21\xe0"), 0);
	assert_int_equal(injected.vector, EXCEPTION_UD);
	dr_error = ERR_BUSY; /* #DB waits already */
	assert_int_equal(RUN_REAL("\x0f\x21\xd8"), 0);
	assert_int_equal(injected.count, 1);
	assert_int_equal(completed, 1);
}

static void xsetbv_and_rdpmc(void **state)
{
	regs.gpr[RCX] = 0;
	regs.gpr[RAX] = 7;
	regs.gpr[RDX] = 1;
	assert_int_equal(RUN_REAL("\x0f\x01\xd1"), 0);
	assert_true(xcr_written == 0x100000007ull && regs.rip == 0x13);
	regs.gpr[RCX] = 1;
	assert_int_equal(RUN_REAL("\x0f\x01\xd1"), 0);
	assert_int_equal(injected.vector, EXCEPTION_GP);
	assert_int_equal(RUN_REAL("\x0f\x33"), 0);
	assert_int_equal(injected.count, 2);
	assert_int_equal(ended, 0);
}

/* Which the CPU has and the guest may not. */
static void rdtscp_and_invpcid_if_the_guest_has_them(void **state)
{
	drops = 0;
	cpuid_has_all = false;
	memset(memory + 0x600, 0, 16);
	assert_int_equal(RUN_REAL("\x0f\x01\xf9"), 0);
	assert_int_equal(injected.vector, EXCEPTION_UD);
	injected.vector = 0;
	regs.gpr[RAX] = 7;
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x07"), 0);
	assert_int_equal(injected.vector, EXCEPTION_UD);
	assert_true(injected.count == 2 && drops == 0);
	cpuid_has_all = true;
	assert_int_equal(RUN_REAL("\x0f\x01\xf9"), 0);
	assert_true(regs.gpr[RAX] == 7 && regs.gpr[RDX] == 5 && regs.gpr[RCX] == 0x55667788);
	/* What stands at DS:BX is a PCID of 0 and an address. */
	regs.gpr[RBX] = 0x600;
	regs.gpr[RAX] = 2;
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x07"), 0);
	assert_true(injected.count == 2 && drops == 1);
	regs.gpr[RSI] = 2; /* the type is in the register that ModRM.reg names */
	regs.gpr[RAX] = 4;
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x37"), 0);
	assert_true(injected.count == 2 && drops == 2);
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x07"), 0);
	assert_int_equal(injected.vector, EXCEPTION_GP);
	regs.gpr[RAX] = 1;
	memory[0x600] = 1;
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x07"), 0);
	memory[0x601] = 0x10;
	regs.gpr[RAX] = 2;
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x07"), 0);
	memory[0x600] = memory[0x601] = 0;
	memory[0x60f] = 0x40;
	regs.gpr[RAX] = 0;
	assert_int_equal(RUN_REAL("\x66\x0f\x38\x82\x07"), 0);
	memory[0x60f] = 0;
	assert_true(injected.count == 6 && ended == 0);
}

static void sysenter_is_not_in_real_mode(void **state)
{
	assert_int_equal(RUN_REAL("\x0f\x34"), 0);
	assert_int_equal(RUN_REAL("\x0f\x35"), 0);
	assert_true(injected.count == 2 && injected.vector == EXCEPTION_GP && ended == 0);
}

/* Behind the limit nothing is fetched: not from what is no RAM, nor from another page. */
static void code_ends_at_its_limit(void **state)
{
	segments[SEG_CS].base = DEVICE - 0x10000;
	regs.rip = 0xffff;
	memory[DEVICE - 1] = 0xb8; /* MOV AX, and nothing more */
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_int_equal(injected.vector, EXCEPTION_GP);
	assert_int_equal(ended, 0);
	memory[DEVICE - 1] = 0x90;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_true(regs.rip == 0x10000 && completed == 1);
}

static void code_wraps_at_4_gib(void **state)
{
	wraps = true;
	segments[SEG_CS].base = 0xffffff00;
	regs.rip = 0xfe;
	memory[0xffe] = 0xb8; /* by the fake: the last page is the first */
	memory[0xfff] = 0x34;
	memory[0] = 0x12;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_int_equal(regs.gpr[RAX] & 0xffff, 0x1234);
	assert_true(regs.rip == 0x101);
}

/* Of a string instruction many iterations for one decode, as in protected mode; the CPU runs none here. */
static void strings_go_on(void **state)
{
	memset(memory + 0x2000, 0, 80);
	regs.gpr[RDI] = 0x2000;
	regs.gpr[RCX] = 70;
	regs.gpr[RAX] = 0x5a;
	assert_int_equal(RUN_REAL("\xf3\xaa"), 0); /* rep stosb */
	assert_true(regs.gpr[RCX] == 6 && regs.rip == 0x10 && completed == 64);
	assert_int_equal(RUN_REAL("\xf3\xaa"), 0);
	assert_true(regs.gpr[RCX] == 0 && regs.rip == 0x12 && completed == 70);
	assert_true(memory[0x2000 + 69] == 0x5a && memory[0x2000 + 70] == 0);
}

/* Of what the emulator does not know #GP is the guest's own: no such instruction has CPL 0 to itself. */
static void a_gp_of_its_own_is_the_guests(void **state)
{
	own_fault = EXCEPTION_GP;
	assert_int_equal(RUN_REAL("\x0f\x58\x07"), 0); /* ADDPS, misaligned */
	assert_int_equal(injected.vector, EXCEPTION_GP);
	assert_int_equal(ended, 0);
	/* What it knows is run: the CPU refused it for want of CPL 0. */
	assert_int_equal(RUN_REAL("\xf4"), VCPU_HALTED);
	regs.gpr[RAX] = 1;
	assert_int_equal(RUN_REAL("\x0f\x01\xf0"), 0); /* LMSW */
	assert_true(cr0 == 0x11 && completed == 2 && injected.count == 1);
}

/*
 * And #UD is, whatever the emulator knows, but of CLAC and STAC, which virtual-8086 mode has not: the
 * CPU knows best what it has.
 */
static void a_ud_of_its_own_is_the_guests(void **state)
{
	own_fault = EXCEPTION_UD;
	cpuid_has_all = true;
	assert_int_equal(RUN_REAL("\x0f\x58\xc1"), 0); /* ADDPS with CR4.OSFXSR clear */
	assert_true(injected.vector == EXCEPTION_UD && injected.count == 1);
	assert_int_equal(RUN_REAL("\xf3\x0f\xb8\xc1"), 0); /* POPCNT */
	assert_true(injected.vector == EXCEPTION_UD && injected.count == 2);
	assert_int_equal(completed + ended, 0);
	assert_int_equal(RUN_REAL("\x0f\x01\xcb"), 0); /* STAC */
	assert_true(regs.rip == 0x13 && (regs.rflags & RFLAGS_AC_BIT));
	assert_int_equal(RUN_REAL("\x0f\x01\xca"), 0); /* CLAC */
	assert_true(regs.rip == 0x16 && !(regs.rflags & RFLAGS_AC_BIT));
	assert_int_equal(completed, 2);
	cpuid_has_all = false;
	assert_int_equal(RUN_REAL("\x0f\x01\xcb"), 0);
	assert_true(injected.vector == EXCEPTION_UD && injected.count == 3);
	assert_false(regs.rflags & RFLAGS_AC_BIT);
}

static void xgetbv_is_asked_for(void **state)
{
	regs.gpr[RCX] = 0;
	regs.gpr[RAX] = regs.gpr[RDX] = ~0ull;
	assert_int_equal(RUN_REAL("\x0f\x01\xd0"), 0);
	assert_true(regs.gpr[RAX] == 7 && regs.gpr[RDX] == 1 && regs.rip == 0x13);
	regs.gpr[RCX] = 1;
	assert_int_equal(RUN_REAL("\x0f\x01\xd0"), 0);
	assert_int_equal(injected.vector, EXCEPTION_GP);
	regs.gpr[RCX] = 2;
	assert_int_equal(RUN_REAL("\x0f\x01\xd0"), 0);
	assert_true(injected.vector == EXCEPTION_UD && injected.count == 2 && ended == 0);
}

/* Counts of zeros are scans where the guest is not shown them, POPCNT and random numbers #UD. */
static void counts_and_random_numbers_if_the_guest_has_them(void **state)
{
	cpuid_has_all = false;
	regs.gpr[RCX] = 0x100;
	assert_int_equal(RUN_REAL("\xf3\x0f\xbd\xc1"), 0); /* LZCNT AX, CX */
	assert_true(regs.gpr[RAX] == 8 && regs.rip == 0x14);
	assert_int_equal(RUN_REAL("\xf3\x0f\xbc\xc1"), 0); /* TZCNT */
	assert_true(regs.gpr[RAX] == 8 && regs.rip == 0x18);
	assert_int_equal(RUN_REAL("\xf3\x0f\xb8\xc1"), 0); /* POPCNT */
	assert_int_equal(RUN_REAL("\x0f\xc7\xf0"), 0);	   /* RDRAND */
	assert_int_equal(RUN_REAL("\x0f\xc7\xf8"), 0);	   /* RDSEED */
	assert_true(injected.vector == EXCEPTION_UD && injected.count == 3);
	cpuid_has_all = true;
	assert_int_equal(RUN_REAL("\xf3\x0f\xbd\xc1"), 0);
	assert_true(regs.gpr[RAX] == 7 && regs.rip == 0x1c);
	assert_int_equal(RUN_REAL("\xf3\x0f\xb8\xc1"), 0);
	assert_true(regs.gpr[RAX] == 1 && regs.rip == 0x20);
	/* The first try gives none. */
	regs.gpr[RAX] = 0xffff0000;
	assert_int_equal(RUN_REAL("\x0f\xc7\xf0"), 0);
	assert_true((u16)regs.gpr[RAX] == 1 && regs.gpr[RAX] >> 16 == 0xffff);
	assert_true((regs.rflags & 0x8d5) == 1 && regs.rip == 0x23);
	/* And there is none. */
	regs.gpr[RAX] = 0x12345678;
	assert_int_equal(RUN_REAL("\x66\x0f\xc7\xf8"), 0);
	assert_true(regs.gpr[RAX] == 0 && (regs.rflags & 0x8d5) == 0 && regs.rip == 0x27);
	assert_int_equal(injected.count + ended, 3);
}

/* Each instruction by its bit of CPUID, whatever the others are. */
static void each_by_its_bit_of_cpuid(void **state)
{
	static const struct {
		const char *code;
		size_t length;
		u32 leaf, bit;
		char reg;
		bool counts; /* it is a scan without: of 0, which leaves the register as it is */
	} cases[] = {
		{"\xf3\x0f\xb8\xc1", 4, 1, 23, 'c', false},	   /* POPCNT */
		{"\xf3\x0f\xbd\xc1", 4, 0x80000001, 5, 'c', true}, /* LZCNT */
		{"\xf3\x0f\xbc\xc1", 4, 7, 3, 'b', true},	   /* TZCNT: BMI1 */
		{"\x0f\xae\x3f", 3, 1, 19, 'd', false},		   /* CLFLUSH */
		{"\x0f\x01\xcb", 3, 7, 20, 'b', false},		   /* STAC: SMAP */
		{"\x0f\xc7\xf0", 3, 1, 30, 'c', false},		   /* RDRAND */
		{"\x0f\xc7\xf8", 3, 7, 18, 'b', false},		   /* RDSEED */
		{"\x66\x0f\x38\x82\x07", 5, 7, 10, 'b', false},	   /* INVPCID */
		{"\x0f\x01\xf9", 3, 0x80000001, 27, 'd', false},   /* RDTSCP */
	};

	for (u32 i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		u32 n = i / 2;
		bool alone = i & 1; /* or all but this one */

		start_real(NULL);
		cpuid_has_all = !alone;
		cpuid_odd.leaf = cases[n].leaf;
		cpuid_odd.reg = cases[n].reg;
		cpuid_odd.bit = cases[n].bit;
		regs.gpr[RAX] = 2; /* the type, of INVPCID */
		regs.gpr[RBX] = 0x600;
		memset(memory + 0x600, 0, 16);
		assert_int_equal(run_real(cases[n].code, cases[n].length), 0);
		assert_int_equal(ended, 0);
		assert_int_equal(injected.count, !alone && !cases[n].counts);
		assert_true(!injected.count || injected.vector == EXCEPTION_UD);
		assert_int_equal(completed, !injected.count);
		if (cases[n].counts)
			assert_int_equal(regs.gpr[RAX], alone ? 16 : 2);
	}
	cpuid_odd.reg = 0;
}

/* CLFLUSH faults like a read of one byte, and of a device reads none. */
static void fences_and_clflush_do_nothing(void **state)
{
	cpuid_has_all = true;
	assert_int_equal(RUN_REAL("\x0f\xae\xe8\x0f\xae\xf0\x0f\xae\xf8"), 0);
	assert_int_equal(vcpu_emulate_state(&cpu) + vcpu_emulate_state(&cpu), 0);
	assert_true(regs.rip == 0x19 && completed == 3);
	regs.gpr[RBX] = (u16)DEVICE;
	assert_int_equal(RUN_REAL("\x0f\xae\x3f"), 0); /* [bx] */
	assert_true(regs.rip == 0x1c && completed == 4 && call_count == 0);
	regs.rip = 0x19;
	regs.gpr[RBX] = (u16)READ_ONLY;
	assert_int_equal(RUN_REAL("\x0f\xae\x3f"), 0);
	assert_true(regs.rip == 0x1c && completed == 5 && injected.count == 0);
	regs.gpr[RBX] = (u16)UNMAPPED;
	assert_int_equal(RUN_REAL("\x0f\xae\x3f"), 0);
	assert_true(injected.vector == EXCEPTION_PF && injected.cr2 == UNMAPPED);
	segments[SEG_DS].limit = 0xfff;
	regs.gpr[RBX] = 0x1000;
	assert_int_equal(RUN_REAL("\x0f\xae\x3f"), 0);
	assert_true(injected.vector == EXCEPTION_GP && injected.count == 2);
	regs.gpr[RBX] = 0xfff;
	assert_int_equal(RUN_REAL("\x0f\xae\x3f"), 0);
	assert_true(regs.rip == 0x1f && completed == 6);
	cpuid_has_all = false;
	assert_int_equal(RUN_REAL("\x0f\xae\x3f"), 0);
	assert_true(injected.vector == EXCEPTION_UD && injected.count == 3 && ended == 0);
}

/* Of what no guest has #UD needs no CPU to say it: unreal mode asks none. */
static void what_no_guest_has_is_undefined(void **state)
{
	static const struct {
		const char *code;
		size_t length;
	} cases[] = {
		{"\x0f\x0b", 2},	     /* UD2 */
		{"\x0f\xb9\xc0", 3},	     /* UD1 */
		{"\x0f\xb9\x06\x00\x05", 5}, /* UD1 [0x500] */
		{"\x0f\xff\xc0", 3},	     /* UD0 */
		{"\x0f\xaa", 2},	     /* RSM */
		{"\x0f\x37", 2},	     /* GETSEC */
		{"\x0f\x01\xc8", 3},	     /* MONITOR */
		{"\x0f\x01\xc9", 3},	     /* MWAIT */
		{"\x0f\x01\xc2", 3},	     /* VMLAUNCH */
		{"\x0f\x01\xc3", 3},	     /* VMRESUME */
		{"\x0f\x01\xc4", 3},	     /* VMXOFF */
		{"\x0f\x01\xd4", 3},	     /* VMFUNC */
		{"\x0f\x78\xc8", 3},	     /* VMREAD */
		{"\x0f\x79\xc8", 3},	     /* VMWRITE */
		{"\x0f\xc7\x37", 3},	     /* VMPTRLD */
		{"\x66\x0f\xc7\x37", 4},     /* VMCLEAR */
		{"\xf3\x0f\xc7\x37", 4},     /* VMXON */
		{"\x0f\xc7\x3f", 3},	     /* VMPTRST */
		{"\x66\x0f\x38\x80\x07", 5}, /* INVEPT */
		{"\x66\x0f\x38\x81\x07", 5}, /* INVVPID */
	};

	cpuid_has_all = true;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		injected.vector = 0;
		assert_int_equal(run_real(cases[i].code, cases[i].length), 0);
		assert_int_equal(injected.vector, EXCEPTION_UD);
		assert_int_equal(injected.count, i + 1);
	}
	assert_true(completed == 0 && ended == 0 && call_count == 0 && regs.rip == 0x10);
	cpuid_has_all = false;
	/* A hypercall is not undefined, and not done. */
	assert_int_equal(RUN_REAL("\x0f\x01\xc1"), 0);
	assert_true(injected.count == ARRAY_SIZE(cases) && ended == 1);
}

/* In real mode C4, C5 and 62 with a register, and 8F with a number but 0, are no prefixes. */
static void there_is_no_vex(void **state)
{
	assert_int_equal(RUN_REAL("\xc5\xf8\x28\x03"), 0);
	assert_int_equal(injected.vector, EXCEPTION_UD);
	assert_int_equal(RUN_REAL("\x8f\x32\x00\x00"), 0);
	assert_int_equal(injected.count, 2);
	assert_int_equal(ended, 0);
}

/* --- protected mode, with segments that an entry refuses --- */

#define GDT	   0x4000u
#define IDT	   0x4400u
#define HANDLER	   0x5000u
#define SEL_CODE   0x08u
#define SEL_RING3  0x10u
#define SEL_ABSENT 0x18u
#define SEL_DATA   0x20u
#define GATE_TRAP  0x8f00u
#define RFLAGS_NT  BIT(14)
#define RFLAGS_RF  BIT(16)
#define EVENT_UD   6
#define EVENT_GP   13

static void put_qword(u64 at, u64 value)
{
	memcpy(memory + at, &value, sizeof(value));
}

static void put_gate(u8 vector, u64 type, u64 selector)
{
	put_qword(IDT + 8 * vector, HANDLER | selector << 16 | type << 32);
}

static void go_between(void)
{
	cr0 |= CR0_PE;
	segments[SEG_SS].selector = 1;
	put_qword(GDT + SEL_CODE, 0x00cf9a000000ffff);
	put_qword(GDT + SEL_RING3, 0x00cffa000000ffff);
	put_qword(GDT + SEL_ABSENT, 0x00cf1a000000ffff);
	put_qword(GDT + SEL_DATA, 0x00cf92000000ffff);
	tables[0] = (struct vmx_table){GDT, 0x27};
	tables[1] = (struct vmx_table){IDT, 0xff};
}

static u32 dword_at(u64 at)
{
	return word_at(at) | (u32)word_at(at + 2) << 16;
}

static void an_exception_goes_by_a_gate(void **state)
{
	go_between();
	put_gate(EVENT_GP, GATE_TRAP, SEL_CODE | 3);
	event_waits = true;
	event_vector = EVENT_GP;
	event_error = 0x1238;
	regs.rflags |= RFLAGS_TF | RFLAGS_NT | RFLAGS_RF;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_false(event_waits);
	assert_true(regs.rip == HANDLER && segments[SEG_CS].selector == SEL_CODE);
	assert_true(segments[SEG_CS].base == 0 && segments[SEG_CS].limit == 0xffffffff);
	assert_true(memory[GDT + SEL_CODE + 5] == 0x9b); /* accessed */
	assert_true(regs.gpr[RSP] == REAL_STACK - 16 && regs.rflags == RFLAGS_IF_FIXED);
	assert_int_equal(dword_at(REAL_STACK - 16), 0x1238);
	assert_int_equal(dword_at(REAL_STACK - 12), 0x10);
	assert_int_equal(dword_at(REAL_STACK - 8), REAL_CODE >> 4);
	assert_int_equal(dword_at(REAL_STACK - 4),
			 RFLAGS_IF_FIXED | RFLAGS_TF | RFLAGS_NT | RFLAGS_RF);
	assert_int_equal(did, 0);
}

/* By which the CPU tells what could not be delivered: the gate or the selector, and EXT. */
static void a_gate_that_is_none_faults(void **state)
{
	static const struct {
		u64 type, selector;
		u32 vector, error;
	} gates[] = {
		{0x0f00, SEL_CODE, 11, 8 * EVENT_UD + 3},
		{0x8200, SEL_CODE, 13, 8 * EVENT_UD + 3},
		{0x9f00, SEL_CODE, 13, 8 * EVENT_UD + 3},
		{0x8f00, 3, 13, 1},
		{0x8f00, SEL_DATA | 1, 13, SEL_DATA + 1},
		{0x8f00, 0x28, 13, 0x29},
		{0x8f00, SEL_RING3, 13, SEL_RING3 + 1},
		{0x8f00, SEL_ABSENT | 2, 11, SEL_ABSENT + 1},
	};

	go_between();
	event_waits = true;
	event_vector = EVENT_UD;
	for (u32 i = 0; i < ARRAY_SIZE(gates); i++) {
		put_gate(EVENT_UD, gates[i].type, gates[i].selector);
		assert_int_equal(vcpu_emulate_state(&cpu), 0);
		assert_int_equal(injected.vector, gates[i].vector);
		assert_int_equal(injected.error, gates[i].error);
		assert_true(event_waits && regs.rip == 0x10 && regs.gpr[RSP] == REAL_STACK);
		assert_int_equal(injected.count, i + 1);
	}
	tables[1].limit = 8 * EVENT_UD + 6;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_int_equal(injected.error, 8 * EVENT_UD + 3);
	assert_int_equal(ended, 0);
}

static void no_room_for_the_frame_faults(void **state)
{
	go_between();
	put_gate(EVENT_UD, GATE_TRAP, SEL_CODE);
	segments[SEG_SS].limit = 0xfff;
	event_waits = true;
	event_vector = EVENT_UD;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_true(injected.vector == 12 && injected.error == 1);
	/* Beyond the handler's segment. */
	segments[SEG_SS].limit = 0xffff;
	put_qword(GDT + SEL_CODE, 0x00009a0000000fff);
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_true(injected.vector == 13 && injected.error == 1);
	/* INT is no event from outside. */
	event_waits = false;
	put_gate(0x10, GATE_TRAP, SEL_CODE);
	assert_int_equal(RUN_REAL("\xcd\x10"), 0);
	assert_true(injected.vector == 13 && injected.error == 0);
	assert_int_equal(ended, 0);
}

/* A task gate, and a handler of an inner level. */
static void gates_that_are_not_done_end_the_vm(void **state)
{
	go_between();
	put_gate(EVENT_UD, 0x8500, SEL_CODE);
	event_waits = true;
	event_vector = EVENT_UD;
	assert_int_equal(vcpu_emulate_state(&cpu), 0);
	assert_int_equal(ended, 1);
	assert_int_equal(injected.count, 0);
}

static void what_is_not_run_ends_the_vm(void **state)
{
	assert_int_equal(RUN_REAL("\x0f\x58\xc1"), 0); /* ADDPS */
	assert_int_equal(ended, 1);
	assert_int_equal(completed, 0);
}

#define REAL(test) cmocka_unit_test_setup_teardown(test, start_real, end_real)

int main(void)
{
	const struct CMUnitTest tests[] = {
		REAL(an_event_goes_by_the_vector_table),
		REAL(an_event_beyond_the_table_faults),
		REAL(int_and_iret_come_back),
		REAL(a_single_step_traps_but_not_into_a_handler),
		REAL(sti_has_a_shadow_once),
		REAL(lmsw_sets_pe_and_does_not_clear_it),
		REAL(tables_are_loaded_with_24_bits_or_32),
		REAL(limits_are_those_of_the_segments),
		REAL(hlt_is_told),
		REAL(msrs_and_cpuid_are_asked_for),
		REAL(msrs_are_written_as_by_an_exit),
		REAL(debug_registers_and_their_faults),
		REAL(xsetbv_and_rdpmc),
		REAL(rdtscp_and_invpcid_if_the_guest_has_them),
		REAL(sysenter_is_not_in_real_mode),
		REAL(code_ends_at_its_limit),
		REAL(code_wraps_at_4_gib),
		REAL(strings_go_on),
		REAL(a_gp_of_its_own_is_the_guests),
		REAL(a_ud_of_its_own_is_the_guests),
		REAL(xgetbv_is_asked_for),
		REAL(counts_and_random_numbers_if_the_guest_has_them),
		REAL(each_by_its_bit_of_cpuid),
		REAL(fences_and_clflush_do_nothing),
		REAL(what_no_guest_has_is_undefined),
		REAL(there_is_no_vex),
		REAL(an_exception_goes_by_a_gate),
		REAL(a_gate_that_is_none_faults),
		REAL(no_room_for_the_frame_faults),
		REAL(gates_that_are_not_done_end_the_vm),
		REAL(what_is_not_run_ends_the_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
