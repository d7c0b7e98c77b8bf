/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/trace.c vmx/cr_rules.c vmx/ept.c vmx/inject.c vmx/event.c vmx/regs.c */
/*
 * What becomes of an EPT violation by the MMU's answer. The MMU is this file's, which answers as it
 * is told; the VMCS is the fake machine's.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define GPA_AT	   0x123456000ull
#define LINEAR	   0xffff800012345678ull
#define Q_READ	   BIT(0)
#define Q_WRITE	   BIT(1)
#define Q_FETCH	   BIT(2)
#define Q_LINEAR   BIT(7)
#define Q_FINAL	   BIT(8)
#define Q_NMI	   BIT(12)
#define NMI_VECTOR 2

static struct mmu_vm mmu;
static struct vmx_vcpu v;
static struct vmx_exit e;
static int fast_answer, slow_answer; /* of the MMU */
static u32 access_seen;
static bool in_thread;

int mmu_fault(struct mmu_vcpu *m, gpa_t gpa, u32 access)
{
	assert_int_equal(gpa.v, GPA_AT);
	assert_false(in_thread);
	access_seen = access;
	return fast_answer;
}

int mmu_fault_slow(struct mmu_vcpu *m, gpa_t gpa, u32 access)
{
	assert_int_equal(gpa.v, GPA_AT);
	assert_true(in_thread);
	assert_int_equal(access, access_seen);
	return slow_answer;
}

static bool overwrites; /* what vmx/overwrite.c finds */
static u32 asked;

bool vcpu_overwrite(struct vmx_vcpu *vcpu, gpa_t gpa)
{
	assert_int_equal(gpa.v, GPA_AT);
	assert_true(in_thread);
	asked++;
	return overwrites;
}

void exit_to_thread(struct vmx_vcpu *vcpu)
{
	in_thread = true;
}

enum exit_verdict exit_kind(struct vmx_exit *exit, enum vmx_exit_kind kind)
{
	exit->kind = kind;
	return EXIT_RETURN;
}

enum exit_verdict exit_gp(struct vmx_vcpu *vcpu, struct vmx_exit *exit)
{
	vmx_inject_gp(vcpu);
	return EXIT_RESUME;
}

static struct cr_state crs;

void cr_get(struct vmx_vcpu *vcpu, struct cr_state *out)
{
	*out = crs;
}

u32 vcpu_cpl(struct vmx_vcpu *vcpu)
{
	return ACCESS_DPL((u32)vmcs_read(GUEST_SS_ACCESS));
}

const char *vcpu_name(void)
{
	return "test";
}

u32 vcpu_number(void)
{
	return 0;
}

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	memset(&mmu, 0, sizeof(mmu));
	v.config.mmu = &mmu;
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	crs = (struct cr_state){.cr0 = CR0_PE | CR0_PG};
	in_thread = false;
	fast_answer = slow_answer = 0;
	overwrites = false;
	asked = 0;
	vmcs_write(GUEST_CR0, CR0_PE | CR0_PG);
	hosted_log_reset();
	return 0;
}

static enum exit_verdict violate(u64 qualification, u32 cpl)
{
	in_thread = false;
	vmcs_write(EXIT_QUALIFICATION, qualification);
	vmcs_write(EXIT_GUEST_PHYSICAL, GPA_AT);
	vmcs_write(EXIT_GUEST_LINEAR, LINEAR);
	vmcs_write(GUEST_SS_ACCESS, 0x93 | cpl << 5);
	return handle_ept_violation(&v, &e);
}

static void answers(void **state)
{
	static const struct {
		int fast, slow;
		enum exit_verdict verdict;
		enum vmx_exit_kind kind;
	} cases[] = {
		{0, 0, EXIT_RESUME, VMX_EXIT_NONE},
		{ERR_AGAIN, 0, EXIT_RESUME, VMX_EXIT_NONE},
		{ERR_NOSLOT, 0, EXIT_RETURN, VMX_EXIT_MMIO},
		{ERR_TOO_HARD, 0, EXIT_RESUME, VMX_EXIT_NONE},
		{ERR_TOO_HARD, ERR_NOSLOT, EXIT_RETURN, VMX_EXIT_MMIO},
		{ERR_TOO_HARD, ERR_NOMEM, EXIT_RETURN, VMX_EXIT_NOMEM},
		{ERR_TOO_HARD, ERR_IO, EXIT_RETURN, VMX_EXIT_ERROR},
		{ERR_STORED, 0, EXIT_RESUME, VMX_EXIT_NONE},
		{ERR_STORED, ERR_NOMEM, EXIT_RETURN, VMX_EXIT_NOMEM},
		{ERR_STORED, ERR_CORRUPT, EXIT_RETURN, VMX_EXIT_ERROR},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		fast_answer = cases[i].fast;
		slow_answer = cases[i].slow;
		assert_int_equal(violate(Q_READ | Q_LINEAR | Q_FINAL, 0), cases[i].verdict);
		assert_int_equal(e.kind, cases[i].kind);
		assert_false(v.event.valid);
	}
	setup(state);
	assert_int_equal(violate(Q_READ | Q_WRITE | Q_LINEAR, 0), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_READ | MMU_WRITE);
	assert_int_equal(violate(Q_FETCH | Q_LINEAR, 0), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_EXEC);
}

/* A write of the guest's own, not of a table's entry nor of an IRET's. What is done is not done again. */
static void overwritten(void **state)
{
	fast_answer = ERR_STORED;
	slow_answer = ERR_IO;
	overwrites = true;
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	assert_int_equal(asked, 1);
	slow_answer = 0;
	assert_int_equal(violate(Q_WRITE | Q_LINEAR, 0), EXIT_RESUME);
	assert_int_equal(violate(Q_WRITE, 0), EXIT_RESUME);
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL | Q_NMI, 0), EXIT_RESUME);
	assert_int_equal(asked, 1);
	fast_answer = ERR_TOO_HARD;
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	assert_int_equal(asked, 1);
}

static enum exit_verdict load_pdptes(int fast, int slow)
{
	setup(NULL);
	crs.cr4 = CR4_PAE;
	fast_answer = fast;
	slow_answer = slow;
	return violate(Q_READ, 0);
}

/* MOV CR3 with PAE paging, to where no RAM is: it would be run again for ever. */
static void pdptes_that_are_not_there_are_gp(void **state)
{
	assert_int_equal(load_pdptes(ERR_NOSLOT, 0), EXIT_RESUME);
	assert_true(v.event.valid && v.event.vector == EXCEPTION_GP);
	assert_true(v.event.has_error && v.event.error_code == 0);
	assert_int_equal(load_pdptes(ERR_TOO_HARD, ERR_NOSLOT), EXIT_RESUME);
	assert_true(v.event.valid && v.event.vector == EXCEPTION_GP);
	/* Those that are there are loaded. */
	assert_int_equal(load_pdptes(0, 0), EXIT_RESUME);
	assert_false(v.event.valid);
	/* What has a linear address is no PDPTE, nor what is delivered; IA-32e mode has none. */
	setup(state);
	crs.cr4 = CR4_PAE;
	fast_answer = ERR_NOSLOT;
	v.event.valid = true;
	assert_int_equal(violate(Q_READ, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	v.event.valid = false;
	assert_int_equal(violate(Q_READ | Q_LINEAR, 0), EXIT_RETURN);
	crs.efer = EFER_LMA;
	assert_int_equal(violate(Q_READ, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	assert_false(v.event.valid);
}

/* --- Where devices are --- */

#define AREA_BEFORE (3 * PAGE_SIZE)

static int quick_answer;
static u32 offered;

static int quick(void *owner, struct vmx_exit *exit)
{
	assert_int_equal(exit->kind, VMX_EXIT_MMIO);
	assert_int_equal(exit->mmio.gpa.v, GPA_AT);
	assert_false(in_thread);
	offered++;
	exit->mmio.length = 7;
	return quick_answer;
}

static enum exit_verdict device(u64 qualification, int answer)
{
	setup(NULL);
	v.config.quick_mmio = quick;
	v.config.device_area = GPA((GPA_AT & ~0xfffull) - AREA_BEFORE);
	v.config.device_area_size = AREA_BEFORE + PAGE_SIZE;
	v.config.device_page = GPA(GPA_AT & ~0xfffull);
	vmcs_write(GUEST_RIP, 0x1000);
	vmcs_write(GUEST_RFLAGS, RFLAGS_RF | 2);
	offered = 0;
	quick_answer = answer;
	fast_answer = ERR_NOSLOT;
	return violate(qualification, 0);
}

static void device_page(void **state)
{
	static const u64 not_own[] = {Q_READ, Q_READ | Q_LINEAR, Q_READ | Q_FINAL,
				      Q_FETCH | Q_LINEAR | Q_FINAL,
				      Q_READ | Q_LINEAR | Q_FINAL | Q_NMI};
	const u64 own = Q_READ | Q_LINEAR | Q_FINAL;

	assert_int_equal(device(own, 0), EXIT_RESUME);
	assert_int_equal(offered, 1);
	assert_int_equal(e.mmio.access, MMU_READ);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1007);
	assert_int_equal(vmcs_read(GUEST_RFLAGS), 2);

	assert_int_equal(device(own, VMX_LOOK), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_NONE);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1007);

	/* The long way, and the instruction is still to be done. */
	assert_int_equal(device(own, ERR_TOO_HARD), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1000);
	for (u32 i = 0; i < ARRAY_SIZE(not_own); i++) {
		assert_int_equal(device(not_own[i], 0), EXIT_RETURN);
		assert_int_equal(offered, 0);
		assert_int_equal(vmcs_read(GUEST_RIP), 0x1000);
	}
}

/* R31: that the page is a device's is asked each time; where it is none by now the slots tell. */
static void device_page_no_more(void **state)
{
	static const int answers[] = {0, ERR_AGAIN};

	for (u32 i = 0; i < ARRAY_SIZE(answers); i++) {
		device(Q_WRITE | Q_LINEAR | Q_FINAL, ERR_TOO_HARD);
		fast_answer = answers[i];
		access_seen = 0;
		assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
		assert_int_equal(access_seen, MMU_WRITE);
		assert_int_equal(vmcs_read(GUEST_RIP), 0x1000);
	}
}

/* The APIC-access page is to be mapped there, and makes accesses exit by themselves then. */
static void device_page_with_a_slot(void **state)
{
	device(Q_READ | Q_LINEAR | Q_FINAL, 0);
	offered = access_seen = 0;
	mmu.private_slots = 1;
	fast_answer = 0;
	assert_int_equal(violate(Q_READ | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_READ);
	assert_int_equal(offered, 0);
	/* Another's page is none of that. */
	v.config.device_page = GPA((GPA_AT & ~0xfffull) - PAGE_SIZE);
	assert_int_equal(violate(Q_READ | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	assert_int_equal(offered, 1);
}

/* Beside it on both sides there is RAM. */
static void device_area_ends(void **state)
{
	static const u64 before[] = {AREA_BEFORE, PAGE_SIZE};

	for (u32 i = 0; i < ARRAY_SIZE(before); i++) {
		device(Q_READ | Q_LINEAR | Q_FINAL, 0);
		v.config.device_area = i ? GPA((GPA_AT & ~0xfffull) - before[i])
					 : GPA((GPA_AT & ~0xfffull) + PAGE_SIZE);
		v.config.device_area_size = before[i];
		offered = access_seen = 0;
		fast_answer = 0;
		assert_int_equal(violate(Q_READ | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
		assert_int_equal(access_seen, MMU_READ);
		assert_int_equal(offered, 0);
	}
}

/* A single step traps after it, and a shadow ends with it. */
static void device_page_shadow_and_step(void **state)
{
	setup(NULL);
	v.config.quick_mmio = quick;
	v.config.device_area = GPA((GPA_AT & ~0xfffull) - AREA_BEFORE);
	v.config.device_area_size = AREA_BEFORE + PAGE_SIZE;
	v.config.device_page = GPA(GPA_AT & ~0xfffull);
	quick_answer = 0;
	vmcs_write(GUEST_RIP, 0x1000);
	vmcs_write(GUEST_RFLAGS, RFLAGS_RF | RFLAGS_TF | 2);
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI);
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	regs_push(&v);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1007);
	assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_TF | 2);
	assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
	assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_BS);
}

static void expect_page_fault(u32 error_code)
{
	assert_true(v.event.valid);
	assert_int_equal(v.event.vector, EXCEPTION_PF);
	assert_true(v.event.has_error);
	assert_int_equal(v.event.error_code, error_code);
	assert_int_equal(v.regs.cr2, LINEAR);
}

/* The guest protected the page: its write is a page fault, as its own tables would make it. */
static void a_refused_write_is_a_page_fault(void **state)
{
	fast_answer = ERR_PERM;
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	expect_page_fault(3);
	setup(state);
	fast_answer = ERR_PERM;
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 3), EXIT_RESUME);
	expect_page_fault(7);
	/* The slow half may be the one to say so. */
	setup(state);
	fast_answer = ERR_TOO_HARD;
	slow_answer = ERR_PERM;
	assert_int_equal(violate(Q_READ | Q_WRITE | Q_LINEAR | Q_FINAL, 3), EXIT_RESUME);
	expect_page_fault(7);
	/* The CPU's write to the tables on its way. */
	setup(state);
	fast_answer = ERR_PERM;
	assert_int_equal(violate(Q_READ | Q_WRITE | Q_LINEAR, 0), EXIT_RESUME);
	expect_page_fault(3);
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
}

static void without_a_linear_address_the_vm_ends(void **state)
{
	fast_answer = ERR_PERM;
	assert_int_equal(violate(Q_WRITE, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_true(in_thread);
	assert_false(v.event.valid);
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
	assert_non_null(strstr(hosted_log_last(), "vm test: a write to gpa 0x123456000"));
}

static bool end_is_not_told(void *owner)
{
	assert_true(in_thread);
	return false;
}

/* The VM has ended already, or has told enough. */
static void no_line_where_none_is_wanted(void **state)
{
	v.config.crash = end_is_not_told;
	fast_answer = ERR_PERM;
	assert_int_equal(violate(Q_WRITE, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	fast_answer = ERR_NOTSUP;
	assert_int_equal(violate(Q_WRITE, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	fast_answer = ERR_NOSLOT;
	v.event.valid = true;
	assert_int_equal(violate(Q_WRITE, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_int_equal(handle_ept_misconfiguration(&v, &e), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
}

static struct event delivering(u8 type, u8 vector)
{
	return (struct event){.valid = true, .type = type, .vector = vector};
}

/* The stack, say, on which an event was to be put: the two combine (SDM 3A table 6-5). */
static void during_delivery(void **state)
{
	fast_answer = ERR_PERM;
	/* An interrupt waits; from user mode to a kernel's stack is no user's write. */
	v.event = delivering(EVENT_INTERRUPT, 0x31);
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 3), EXIT_RESUME);
	expect_page_fault(3);
	assert_true(v.deferred.valid);
	assert_int_equal(v.deferred.vector, 0x31);
	/* So does an NMI. */
	setup(state);
	fast_answer = ERR_PERM;
	v.event = delivering(EVENT_NMI, NMI_VECTOR);
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	expect_page_fault(3);
	assert_true(v.nmi_pending);
	/* The page fault itself: a double fault; and that: the end. */
	setup(state);
	fast_answer = ERR_PERM;
	v.event = delivering(EVENT_EXCEPTION, EXCEPTION_PF);
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	assert_int_equal(v.event.vector, EXCEPTION_DF);
	assert_false(v.shutdown);
	assert_int_equal(violate(Q_WRITE | Q_LINEAR | Q_FINAL, 0), EXIT_RESUME);
	assert_true(v.shutdown);
	assert_false(v.event.valid);
}

/* An IRET that faulted had unblocked NMIs; it runs again, so they are blocked. */
static void iret_keeps_nmis_blocked(void **state)
{
	violate(Q_READ | Q_LINEAR | Q_NMI, 0);
	assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
	setup(state);
	v.event = delivering(EVENT_EXCEPTION, EXCEPTION_PF);
	violate(Q_READ | Q_LINEAR | Q_NMI, 0);
	assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
}

/* None comes of what a guest does: its VM ends, with the address. */
static void a_misconfiguration_ends_the_vm(void **state)
{
	vmcs_write(EXIT_GUEST_PHYSICAL, GPA_AT);
	assert_int_equal(handle_ept_misconfiguration(&v, &e), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_true(in_thread);
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
	assert_non_null(
		strstr(hosted_log_last(), "vm test: EPT misconfiguration at gpa 0x123456000"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(answers, setup),
		cmocka_unit_test_setup(overwritten, setup),
		cmocka_unit_test_setup(pdptes_that_are_not_there_are_gp, setup),
		cmocka_unit_test_setup(no_line_where_none_is_wanted, setup),
		cmocka_unit_test_setup(device_page, setup),
		cmocka_unit_test_setup(device_page_no_more, setup),
		cmocka_unit_test_setup(device_page_with_a_slot, setup),
		cmocka_unit_test_setup(device_page_shadow_and_step, setup),
		cmocka_unit_test_setup(device_area_ends, setup),
		cmocka_unit_test_setup(a_refused_write_is_a_page_fault, setup),
		cmocka_unit_test_setup(without_a_linear_address_the_vm_ends, setup),
		cmocka_unit_test_setup(during_delivery, setup),
		cmocka_unit_test_setup(iret_keeps_nmis_blocked, setup),
		cmocka_unit_test_setup(a_misconfiguration_ends_the_vm, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
