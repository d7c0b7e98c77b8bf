/* SPDX-License-Identifier: MIT */
/*
 * What CPUID does not offer is not there: its instructions are undefined, its bits of CR4 and XCR0
 * cannot be set, its MSRs do not exist. And of what Weir does not virtualise CPUID offers nothing.
 * The guest runs in 32-bit mode, so that what is of 64-bit mode alone (AMX, UINTR, LAM) shows by
 * its bits.
 */
#include "guest.h"

#define VECTOR_UD 6
#define VECTOR_GP 13

#define CR4_OSXSAVE (1u << 18)

#define MSR_VMX_FIRST 0x480
#define MSR_VMX_LAST  0x493

#define JMP_INDIRECT 0x25ff
#define XCR0_LAST    31

enum reg {
	EAX,
	EBX,
	ECX,
	EDX
};

struct offer {
	u32 leaf, subleaf;
	enum reg reg;
	u32 bit;
};

static bool offered(struct offer o)
{
	u32 r[4];

	cpuid(o.leaf & 0x80000000u, 0, r);
	if (o.leaf > r[EAX])
		return false;
	if (o.leaf == 7 && o.subleaf) {
		cpuid(7, 0, r);
		if (r[EAX] < o.subleaf)
			return false;
	}
	cpuid(o.leaf, o.subleaf, r);
	return (r[o.reg] >> o.bit) & 1;
}

static void tell_unless(bool ok, const char *what, const char *name)
{
	if (ok)
		return;
	print("hidden: ");
	print(what);
	print(" ");
	print(name);
	print("\n");
}

/* --- Features that Weir gives to no guest --- */

static const struct {
	const char *name;
	struct offer offer;
} never[] = {
	{"MONITOR", {1, 0, ECX, 3}},
	{"VMX", {1, 0, ECX, 5}},
	{"SMX", {1, 0, ECX, 6}},
	{"PDCM", {1, 0, ECX, 15}},
	{"DS", {1, 0, EDX, 21}},
	{"SGX", {7, 0, EBX, 2}},
	{"HLE", {7, 0, EBX, 4}},
	{"RTM", {7, 0, EBX, 11}},
	{"MPX", {7, 0, EBX, 14}},
	{"PT", {7, 0, EBX, 25}},
	{"PKU", {7, 0, ECX, 3}},
	{"OSPKE", {7, 0, ECX, 4}},
	{"WAITPKG", {7, 0, ECX, 5}},
	{"CET_SS", {7, 0, ECX, 7}},
	{"TME", {7, 0, ECX, 13}},
	{"LA57", {7, 0, ECX, 16}},
	{"KL", {7, 0, ECX, 23}},
	{"ENQCMD", {7, 0, ECX, 29}},
	{"PKS", {7, 0, ECX, 31}},
	{"UINTR", {7, 0, EDX, 5}},
	{"PCONFIG", {7, 0, EDX, 18}},
	{"architectural LBR", {7, 0, EDX, 19}},
	{"CET_IBT", {7, 0, EDX, 20}},
	{"AMX-BF16", {7, 0, EDX, 22}},
	{"AMX-TILE", {7, 0, EDX, 24}},
	{"AMX-INT8", {7, 0, EDX, 25}},
	{"core capabilities", {7, 0, EDX, 30}},
	{"LASS", {7, 1, EAX, 6}},
	{"FRED", {7, 1, EAX, 17}},
	{"WRMSRNS", {7, 1, EAX, 19}},
	{"AMX-FP16", {7, 1, EAX, 21}},
	{"HRESET", {7, 1, EAX, 22}},
	{"LAM", {7, 1, EAX, 26}},
	{"MSRLIST", {7, 1, EAX, 27}},
	{"APX", {7, 1, EDX, 21}},
	{"state of MPX", {0xd, 0, EAX, 3}},
	{"state of PKU", {0xd, 0, EAX, 9}},
	{"state of AMX", {0xd, 0, EAX, 18}},
	{"state of APX", {0xd, 0, EAX, 19}},
	{"XSAVES", {0xd, 1, EAX, 3}},
	{"XFD", {0xd, 1, EAX, 4}},
};

static void check_never(void)
{
	u32 shown = 0;

	for (u32 i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		bool hidden = !offered(never[i].offer);

		tell_unless(hidden, "CPUID shows", never[i].name);
		shown += !hidden;
	}
	check("CPUID shows nothing that is not virtualised", shown == 0);
}

/* --- Instructions --- */

struct insn {
	const char *name;
	struct offer offer;
	bool memory; /* the last byte is a ModRM byte, an address follows */
	u8 length, bytes[7];
};

static const struct insn insns[] = {
	{"RDPKRU", {7, 0, ECX, 4}, false, 3, {0x0f, 0x01, 0xee}},
	{"WRPKRU", {7, 0, ECX, 4}, false, 3, {0x0f, 0x01, 0xef}},
	{"UMONITOR", {7, 0, ECX, 5}, false, 4, {0xf3, 0x0f, 0xae, 0xf0}},
	{"UMWAIT", {7, 0, ECX, 5}, false, 4, {0xf2, 0x0f, 0xae, 0xf0}},
	{"TPAUSE", {7, 0, ECX, 5}, false, 4, {0x66, 0x0f, 0xae, 0xf0}},
	{"INCSSPD", {7, 0, ECX, 7}, false, 4, {0xf3, 0x0f, 0xae, 0xe8}},
	{"SETSSBSY", {7, 0, ECX, 7}, false, 4, {0xf3, 0x0f, 0x01, 0xe8}},
	{"SAVEPREVSSP", {7, 0, ECX, 7}, false, 4, {0xf3, 0x0f, 0x01, 0xea}},
	{"WRUSSD", {7, 0, ECX, 7}, true, 5, {0x66, 0x0f, 0x38, 0xf5, 0x05}},
	{"RSTORSSP", {7, 0, ECX, 7}, true, 4, {0xf3, 0x0f, 0x01, 0x2d}},
	{"RDPID", {7, 0, ECX, 22}, false, 4, {0xf3, 0x0f, 0xc7, 0xf8}},
	{"LOADIWKEY", {7, 0, ECX, 23}, false, 5, {0xf3, 0x0f, 0x38, 0xdc, 0xc1}},
	{"ENQCMD", {7, 0, ECX, 29}, true, 5, {0xf2, 0x0f, 0x38, 0xf8, 0x05}},
	{"ENQCMDS", {7, 0, ECX, 29}, true, 5, {0xf3, 0x0f, 0x38, 0xf8, 0x05}},
	{"SERIALIZE", {7, 0, EDX, 14}, false, 3, {0x0f, 0x01, 0xe8}},
	{"PCONFIG", {7, 0, EDX, 18}, false, 3, {0x0f, 0x01, 0xc5}},
	{"XTEST", {7, 0, EBX, 11}, false, 3, {0x0f, 0x01, 0xd6}},
	{"ENCLS", {7, 0, EBX, 2}, false, 3, {0x0f, 0x01, 0xcf}},
	{"ENCLU", {7, 0, EBX, 2}, false, 3, {0x0f, 0x01, 0xd7}},
	{"ENCLV", {7, 0, EBX, 2}, false, 3, {0x0f, 0x01, 0xc0}},
	{"INVPCID", {7, 0, EBX, 10}, true, 5, {0x66, 0x0f, 0x38, 0x82, 0x05}},
	{"CLAC", {7, 0, EBX, 20}, false, 3, {0x0f, 0x01, 0xca}},
	{"HRESET", {7, 1, EAX, 22}, false, 6, {0xf3, 0x0f, 0x3a, 0xf0, 0xc0, 0x00}},
	{"MONITOR", {1, 0, ECX, 3}, false, 3, {0x0f, 0x01, 0xc8}},
	{"MWAIT", {1, 0, ECX, 3}, false, 3, {0x0f, 0x01, 0xc9}},
	{"GETSEC", {1, 0, ECX, 6}, false, 2, {0x0f, 0x37}},
	{"VMFUNC", {1, 0, ECX, 5}, false, 3, {0x0f, 0x01, 0xd4}},
	{"INVEPT", {1, 0, ECX, 5}, true, 5, {0x66, 0x0f, 0x38, 0x80, 0x05}},
	{"XSAVES", {0xd, 1, EAX, 3}, true, 3, {0x0f, 0xc7, 0x2d}},
	{"XRSTORS", {0xd, 1, EAX, 3}, true, 3, {0x0f, 0xc7, 0x1d}},
};

static u8 code[32];
static volatile u32 code_entry, code_return;
static u8 operand[4096] __attribute__((aligned(64)));

static void *put(u8 *at, const void *from, u32 length)
{
	for (u32 i = 0; i < length; i++)
		at[i] = ((const u8 *)from)[i];
	return at + length;
}

/* Runs it, and whatever it does goes on behind it. */
static bool undefined(const struct insn *insn)
{
	u32 address = (u32)operand, back = (u32)&code_return;
	u16 jump = JMP_INDIRECT;
	u8 *at = put(code, insn->bytes, insn->length);

	if (insn->memory)
		at = put(at, &address, sizeof(address));
	at = put(at, &jump, sizeof(jump));
	put(at, &back, sizeof(back));
	code_entry = (u32)code;
	return TRY("movl $1f, code_return\n\txorl %%eax, %%eax\n\txorl %%ecx, %%ecx\n\t"
		   "xorl %%edx, %%edx\n\tjmp *code_entry") &&
	       exception_vector == VECTOR_UD;
}

/* CR4.OSXSAVE is set: XSAVES is not undefined for want of it. */
static void check_instructions(void)
{
	u32 there = 0;

	for (u32 i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
		bool ok = offered(insns[i].offer) || undefined(&insns[i]);

		tell_unless(ok, "there is", insns[i].name);
		there += !ok;
	}
	check("instructions that are not offered are undefined", there == 0);
}

/* --- CR4 --- */

#define ALWAYS               \
	{                    \
		1, 0, EDX, 0 \
	} /* FPU */
#define RESERVED                       \
	{                              \
		0x80000000u, 0, EBX, 0 \
	}

static const struct offer cr4_bits[32] = {
	{1, 0, EDX, 1},			 /* VME */
	{1, 0, EDX, 1},			 /* PVI */
	{1, 0, EDX, 4},			 /* TSD */
	{1, 0, EDX, 2},			 /* DE */
	{1, 0, EDX, 3},			 /* PSE */
	{1, 0, EDX, 6},			 /* PAE */
	{1, 0, EDX, 7},			 /* MCE */
	{1, 0, EDX, 13},		 /* PGE */
	ALWAYS,				 /* PCE */
	{1, 0, EDX, 24},		 /* OSFXSR */
	{1, 0, EDX, 25},		 /* OSXMMEXCPT */
	{7, 0, ECX, 2},			 /* UMIP */
	{7, 0, ECX, 16},		 /* LA57 */
	{1, 0, ECX, 5},			 /* VMXE */
	{1, 0, ECX, 6},			 /* SMXE */
	RESERVED,	 {7, 0, EBX, 0}, /* FSGSBASE */
	RESERVED,			 /* PCIDE: not in this mode */
	{1, 0, ECX, 26},		 /* OSXSAVE */
	{7, 0, ECX, 23},		 /* KL */
	{7, 0, EBX, 7},			 /* SMEP */
	{7, 0, EBX, 20},		 /* SMAP */
	{7, 0, ECX, 3},			 /* PKE */
	{7, 0, ECX, 7},			 /* CET */
	{7, 0, ECX, 31},		 /* PKS */
	{7, 0, EDX, 5},			 /* UINTR */
	RESERVED,	 {7, 1, EAX, 6}, /* LASS */
	{7, 1, EAX, 26},		 /* LAM_SUP */
	RESERVED,	 RESERVED,	 RESERVED,
};

static volatile u32 cr4_value;

static u32 read_cr4(void)
{
	u32 value;

	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

static bool cr4_takes(u32 value)
{
	cr4_value = value;
	return !TRY("movl cr4_value, %%eax\n\tmov %%eax, %%cr4") || exception_vector != VECTOR_GP;
}

static void check_cr4(void)
{
	u32 before = read_cr4(), wrong = 0;

	for (u32 bit = 0; bit < 32; bit++) {
		bool may = offered(cr4_bits[bit]);

		if (cr4_takes(before | 1u << bit) != may ||
		    (read_cr4() != (may ? before | 1u << bit : before)))
			wrong |= 1u << bit;
		cr4_takes(before);
	}
	if (wrong) {
		print("hidden: CR4 bits ");
		print_hex(wrong);
		print("\n");
	}
	check("CR4 takes what is offered, and nothing else", !wrong && read_cr4() == before);
}

/* --- XCR0 --- */

static volatile u32 xcr0_value;

static bool xcr0_takes(u32 value)
{
	xcr0_value = value;
	return !TRY("xorl %%ecx, %%ecx\n\txorl %%edx, %%edx\n\tmovl xcr0_value, %%eax\n\txsetbv") ||
	       exception_vector != VECTOR_GP;
}

/* Some bits want others; so each is tried with all that are offered, too. */
static void check_xcr0(void)
{
	u32 r[4], wrong = 0;

	cpuid(0xd, 0, r);
	check("XCR0 takes all that is offered", xcr0_takes(r[EAX]) && r[EDX] == 0);
	for (u32 bit = 1; bit <= XCR0_LAST; bit++) {
		if (!((r[EAX] >> bit) & 1) &&
		    (xcr0_takes(1 | 1u << bit) || xcr0_takes(r[EAX] | 1u << bit)))
			wrong |= 1u << bit;
	}
	/* Two at once: BNDREG and BNDCSR, XTILECFG and XTILEDATA. */
	if (!(r[EAX] & 0x18) && xcr0_takes(r[EAX] | 0x18))
		wrong |= 0x18;
	if (!(r[EAX] & 0x60000) && xcr0_takes(r[EAX] | 0x60000))
		wrong |= 0x60000;
	if (wrong) {
		print("hidden: XCR0 bits ");
		print_hex(wrong);
		print("\n");
	}
	check("XCR0 takes nothing else", !wrong);
}

/* --- MSRs --- */

static const struct {
	u32 index;
	const char *name;
} msrs[] = {
	{0x33, "TEST_CTRL"},
	{0x8c, "SGXLEPUBKEYHASH0"},
	{0xcf, "CORE_CAPABILITIES"},
	{0xe1, "UMWAIT_CONTROL"},
	{0x10b, "FLUSH_CMD"},
	{0x122, "TSX_CTRL"},
	{0x123, "MCU_OPT_CTRL"},
	{0x187, "PERFEVTSEL1"},
	{0x1c4, "XFD"},
	{0x1c5, "XFD_ERR"},
	{0x345, "PERF_CAPABILITIES"},
	{0x38f, "PERF_GLOBAL_CTRL"},
	{0x570, "RTIT_CTL"},
	{0x6a0, "U_CET"},
	{0x6a2, "S_CET"},
	{0x6a4, "PL0_SSP"},
	{0x6a7, "PL3_SSP"},
	{0x6a8, "INTERRUPT_SSP_TABLE_ADDR"},
	{0x6e1, "PKRS"},
	{0x985, "UINTR_RR"},
	{0x986, "UINTR_HANDLER"},
	{0x988, "UINTR_MISC"},
	{0x98a, "UINTR_TT"},
	{0xd90, "BNDCFGS"},
	{0xd93, "PASID"},
	{0xda0, "XSS"},
	{0x14ce, "LBR_CTL"},
	{0x17d0, "HW_FEEDBACK_PTR"},
	{0x17da, "HRESET_ENABLE"},
};

static volatile u32 msr_index;

static bool msr_is_there(u32 index)
{
	msr_index = index;
	if (!TRY("movl msr_index, %%ecx\n\trdmsr") || exception_vector != VECTOR_GP)
		return true;
	return !TRY("movl msr_index, %%ecx\n\txorl %%eax, %%eax\n\txorl %%edx, %%edx\n\twrmsr") ||
	       exception_vector != VECTOR_GP;
}

static void check_msrs(void)
{
	u32 there = 0;

	for (u32 i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		bool is = msr_is_there(msrs[i].index);

		tell_unless(!is, "there is the MSR", msrs[i].name);
		there += is;
	}
	for (u32 index = MSR_VMX_FIRST; index <= MSR_VMX_LAST; index++)
		there += msr_is_there(index);
	check("MSRs of what is not offered are not there", there == 0);
}

void main(void)
{
	interrupts_init();
	check_never();
	check_cr4();
	if (offered((struct offer){1, 0, ECX, 26})) {
		check("CR4.OSXSAVE", cr4_takes(read_cr4() | CR4_OSXSAVE));
		check_xcr0();
	}
	check_instructions();
	check_msrs();
	guest_end();
}
