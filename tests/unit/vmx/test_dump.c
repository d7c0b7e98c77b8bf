/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/dump.c vmx/exit_stats.c vmx/regs.c kernel/base/log_ring.c */
/* What the log has of a vCPU's registers: all of them, in lines that fit a terminal whatever their values. */
#include "kernel/base/log_ring.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <stdarg.h>
#include <string.h>

#define COLUMNS	 80
#define LATE_NS	 99999000001000ull /* more than a day */
#define LAST_CPU 63

static struct vmx_vcpu v;
static u64 value;
static char said[8192];

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LOG_PREFIX_MAX + LOG_LINE_MAX];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = log_format(line, level, LATE_NS, LAST_CPU, fmt, ap);
	va_end(ap);
	line[n] = 0;
	if (n > COLUMNS)
		fail_msg("%zu columns: %s", n, line);
	assert_true(strlen(said) + n + 2 < sizeof(said));
	strcat(said, strchr(line, ']') + sizeof("] cpu63 info:"));
	strcat(said, "\n");
}

void cr_get(struct vmx_vcpu *vcpu, struct cr_state *out)
{
	*out = (struct cr_state){.cr0 = value, .cr3 = value, .cr4 = value, .efer = value};
}

void vmx_get_segment(struct vmx_vcpu *vcpu, enum vmx_segment_id id, struct vmx_segment *out)
{
	*out = (struct vmx_segment){.selector = (u16)value,
				    .limit = (u32)value,
				    .access = value & 0x1ffff,
				    .base = value};
}

ANSWER(u64, apic_cr8, value & 0xf, struct vmx_vcpu *vcpu)
ANSWER(const char *, vcpu_name, "test", void)
NOTHING(exit_to_thread, struct vmx_vcpu *vcpu)

static void dump_all(u64 of)
{
	value = of;
	for (u32 i = 0; i < HOSTED_VMCS_FIELDS; i++)
		hosted_vmcs[i] = value;
	vmcs_write(GUEST_INTERRUPT_STATUS, value & 0xffff);
	memset(&v, 0, sizeof(v));
	for (u32 i = 0; i < GPR_COUNT; i++)
		v.regs.gpr[i] = value;
	v.regs_here = true;
	v.regs.rip = v.regs.rflags = v.regs.cr2 = v.xcr0 = value;
	v.apic_full = true;
	v.reason = 49; /* of the longest name */
	said[0] = 0;
	vmx_vcpu_dump(&v);
}

static void lines_fit(void **state)
{
	dump_all(~0ull);
	dump_all(0);
}

static void all_is_there(void **state)
{
	static const char *const there[] = {
		"  last exit 49 (ept_misconfiguration)\n",
		"  rip  0123456789abcdef  rflags 0123456789abcdef\n",
		"  cr0  0123456789abcdef  cr2  0123456789abcdef\n",
		"  rax  0123456789abcdef  rcx  0123456789abcdef\n",
		"  r14  0123456789abcdef  r15  0123456789abcdef\n",
		"  cr3  0123456789abcdef  cr4  0123456789abcdef\n",
		"  requested 0xef in service 0xcd\n",
		"       sel  base             limit    access\n"
		"  cs   cdef 0123456789abcdef 89abcdef 1cdef\n",
		"  ldtr cdef 0123456789abcdef 89abcdef 1cdef\n"
		"  gdtr      0123456789abcdef 89abcdef\n",
	};

	dump_all(0x0123456789abcdefull);
	for (u32 i = 0; i < ARRAY_SIZE(there); i++) {
		if (!strstr(said, there[i]))
			fail_msg("no '%s' in:\n%s", there[i], said);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_fit),
		cmocka_unit_test(all_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
