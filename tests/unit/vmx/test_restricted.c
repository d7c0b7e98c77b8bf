/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/restricted.c vmx/restricted_rules.c vmx/inject.c vmx/event.c vmx/regs.c */
/*
 * Real mode without unrestricted guest: which states an entry takes, what the VMCS has in
 * virtual-8086 mode, and that the guest's own state is back after it. The VMCS is the fake machine's.
 */
#include "kernel/base/msr.h"
#include "mmu/emulate.h"
#include "mmu/real_mode.h"
#include "tests/hosted/hosted.h"
#include "vmx/regs.h"
#include "vmx/restricted_rules.h"

#include <cmocka.h>
#include <string.h>

#define REAL_RFLAGS 0x43202ull /* IOPL 3, AC, IF */
#define RFLAGS_VM   BIT(17)
#define TSS	    0xf0000ull

static struct vmx_vcpu v;
static struct vmx_exit e;
static struct vmx_segment segment[RESTRICTED_SEGMENTS];
static u64 raised;

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
	vcpu->proc_controls = value;
}

void vmx_get_segment(struct vmx_vcpu *vcpu, enum vmx_segment_id id, struct vmx_segment *out)
{
	out->selector = (u16)vmcs_read(VMCS_SEGMENT(GUEST_ES_SELECTOR, id));
	out->limit = (u32)vmcs_read(VMCS_SEGMENT(GUEST_ES_LIMIT, id));
	out->access = (u32)vmcs_read(VMCS_SEGMENT(GUEST_ES_ACCESS, id));
	out->base = vmcs_read(VMCS_SEGMENT(GUEST_ES_BASE, id));
}

void debug_regs_raise(struct vmx_vcpu *vcpu, u64 qualification)
{
	raised = qualification;
}

const char *vcpu_name(void)
{
	return "test";
}

static void put_segments(void)
{
	for (u32 i = 0; i < RESTRICTED_SEGMENTS; i++) {
		vmcs_write(VMCS_SEGMENT(GUEST_ES_SELECTOR, i), segment[i].selector);
		vmcs_write(VMCS_SEGMENT(GUEST_ES_LIMIT, i), segment[i].limit);
		vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, i), segment[i].access);
		vmcs_write(VMCS_SEGMENT(GUEST_ES_BASE, i), segment[i].base);
	}
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	v.restricted = true;
	v.config.real_mode_tss = GPA(TSS);
	for (u32 i = 0; i < RESTRICTED_SEGMENTS; i++)
		segment[i] = (struct vmx_segment){
			.selector = (u16)(0x100 * i),
			.limit = 0xffff,
			.access = i == SEG_CS ? ACCESS_REAL_CODE : ACCESS_REAL_DATA,
			.base = 0x1000 * i,
		};
	put_segments();
	vmcs_write(CTRL_CR0_SHADOW, CR0_ET);
	vmcs_write(GUEST_CR0, CR0_PE | CR0_PG | CR0_ET);
	vmcs_write(GUEST_CR4, CR4_VME | CR4_MCE);
	vmcs_write(GUEST_SYSENTER_CS, 0x10);
	vmcs_write(GUEST_RFLAGS, REAL_RFLAGS);
	vmcs_write(GUEST_RIP, 0x1234);
	return 0;
}

/* --- which states fit --- */

static bool fits(void)
{
	return restricted_fits_vm86(segment, 0x1234);
}

static void real_mode_fits(void **state)
{
	assert_true(fits());
	assert_true(restricted_fits_vm86(segment, 0xffff));
	assert_false(restricted_fits_vm86(segment, 0x10000));
}

static void each_segment_must_be_as_loaded(void **state)
{
	for (u32 i = SEG_ES; i <= SEG_GS; i++) {
		struct vmx_segment good = segment[i];

		segment[i].limit = 0xffffffff; /* unreal mode */
		assert_false(fits());
		segment[i].limit = 0xfffe;
		assert_false(fits());
		segment[i] = good;
		segment[i].base += 0x10;
		assert_false(fits());
		segment[i] = good;
		segment[i].access |= (u32)ACCESS_BIG;
		assert_false(fits());
		segment[i].access = good.access & ~(u32)BIT(1); /* not writable, not readable */
		assert_false(fits());
		segment[i].access = good.access | (u32)ACCESS_UNUSABLE;
		assert_false(fits());
		segment[i] = good;
	}
	segment[SEG_DS].access = ACCESS_REAL_CODE;
	assert_false(fits());
}

static void flat(void)
{
	for (u32 i = SEG_ES; i <= SEG_GS; i++)
		segment[i] = (struct vmx_segment){
			.selector = i == SEG_CS ? 8 : 16,
			.limit = 0xffffffff,
			.access = i == SEG_CS ? ACCESS_FLAT_CODE32 : ACCESS_FLAT_DATA,
		};
}

static void protected_mode_fits(void **state)
{
	flat();
	assert_true(restricted_fits_protected(segment));
	segment[SEG_FS].access = (u32)ACCESS_UNUSABLE;
	assert_true(restricted_fits_protected(segment));
	/* The segments of real mode, with selectors of RPL 0: as after MOV CR0 in most loaders. */
	setup(NULL);
	assert_true(restricted_fits_protected(segment));
}

static void protected_mode_wants_levels_that_agree(void **state)
{
	flat();
	segment[SEG_CS].selector = 0x11;
	assert_false(restricted_fits_protected(segment));
	flat();
	segment[SEG_SS].selector = segment[SEG_CS].selector = 0x13; /* RPL 3, DPL 0 */
	assert_false(restricted_fits_protected(segment));
	flat();
	segment[SEG_CS].access |= 0x60;
	assert_false(restricted_fits_protected(segment));
	flat();
	segment[SEG_CS].access = ACCESS_FLAT_DATA;
	assert_false(restricted_fits_protected(segment));
	flat();
	segment[SEG_SS].limit = 0xffff0000;
	assert_false(restricted_fits_protected(segment));
}

/* Nothing looks at the DPL of such a segment but the entry. */
static void a_stale_dpl_is_raised(void **state)
{
	flat();
	segment[SEG_DS].selector = 0x1003;
	assert_true(restricted_fits_protected(segment));
	assert_int_equal(ACCESS_DPL(segment[SEG_DS].access), 3);
}

/* --- into virtual-8086 mode and back --- */

static void the_vmcs_has_virtual_8086_mode(void **state)
{
	assert_true(restricted_prepare(&v, &e));
	restricted_enter(&v);
	assert_true(v.in_vm86);
	for (u32 i = SEG_ES; i <= SEG_GS; i++)
		assert_int_equal(vmcs_read(VMCS_SEGMENT(GUEST_ES_ACCESS, i)), VM86_ACCESS);
	/* IF stays, IOPL is 0: every sensitive instruction exits. AC would raise #AC. */
	assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_VM | 0x202);
	assert_int_equal(vmcs_read(GUEST_CR4), CR4_MCE);
	/* SYSENTER raises #GP. */
	assert_int_equal(vmcs_read(GUEST_SYSENTER_CS), 0);
	assert_int_equal(vmcs_read(CTRL_EXCEPTION_BITMAP), 0xffffffff);
	assert_int_equal(vmcs_read(GUEST_TR_BASE), TSS);
	assert_int_equal(vmcs_read(GUEST_TR_LIMIT), REAL_MODE_TSS_LIMIT);
	assert_int_equal(vmcs_read(GUEST_TR_ACCESS), ACCESS_TSS_BUSY);
}

static void what_the_guest_has_is_back_after_it(void **state)
{
	u64 before[HOSTED_VMCS_FIELDS];

	vmcs_write(CTRL_EXCEPTION_BITMAP, VCPU_EXCEPTIONS);
	restricted_prepare(&v, &e);
	regs_push(&v);
	memcpy(before, hosted_vmcs, sizeof(before));
	restricted_enter(&v);
	/* The guest loads a segment and changes flags. */
	vmcs_write(GUEST_DS_SELECTOR, 0x4321);
	vmcs_write(GUEST_DS_BASE, 0x43210);
	vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) | 0x40);
	restricted_leave(&v);
	assert_false(v.in_vm86);
	assert_int_equal(vmcs_read(GUEST_RFLAGS), REAL_RFLAGS | 0x40);
	assert_int_equal(vmcs_read(GUEST_DS_ACCESS), ACCESS_REAL_DATA);
	assert_int_equal(vmcs_read(GUEST_DS_BASE), 0x43210);
	vmcs_write(GUEST_DS_SELECTOR, segment[SEG_DS].selector);
	vmcs_write(GUEST_DS_BASE, segment[SEG_DS].base);
	vmcs_write(GUEST_RFLAGS, REAL_RFLAGS);
	assert_memory_equal(before, hosted_vmcs, sizeof(before));
}

/* With shadow paging a page fault is Weir's to look at in any mode. */
static void page_faults_exit_ever_after(void **state)
{
	v.shadow = true;
	assert_true(restricted_prepare(&v, &e));
	restricted_enter(&v);
	assert_true(vmcs_read(CTRL_EXCEPTION_BITMAP) & BIT(EXCEPTION_PF));
	restricted_leave(&v);
	assert_true(vmcs_read(CTRL_EXCEPTION_BITMAP) & BIT(EXCEPTION_PF));
	v.shadow = false;
	assert_true(restricted_prepare(&v, &e));
	restricted_enter(&v);
	restricted_leave(&v);
	assert_false(vmcs_read(CTRL_EXCEPTION_BITMAP) & BIT(EXCEPTION_PF));
}

static void what_does_not_fit_is_run_in_software(void **state)
{
	segment[SEG_ES].limit = 0xffffffff;
	put_segments();
	assert_false(restricted_prepare(&v, &e));
	assert_int_equal(e.kind, VMX_EXIT_EMULATE);
	assert_true(vmx_must_emulate(&v));
	segment[SEG_ES].limit = 0xffff;
	put_segments();
	assert_false(vmx_must_emulate(&v));
	assert_true(restricted_prepare(&v, &e));
}

static void an_event_waits_for_software(void **state)
{
	struct emulate_event event;

	assert_false(vmx_software_event(&v, &event));
	vmx_inject_interrupt(&v, 0x20);
	assert_false(restricted_prepare(&v, &e));
	assert_int_equal(e.kind, VMX_EXIT_EMULATE);
	assert_true(vmx_software_event(&v, &event));
	assert_true(event.vector == 0x20 && event.length == 0);
	vmx_software_event_done(&v);
	assert_true(restricted_prepare(&v, &e));
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
}

static void an_nmi_blocks_the_next(void **state)
{
	struct emulate_event event;

	vmx_inject_nmi(&v);
	assert_true(vmx_must_emulate(&v));
	assert_true(vmx_software_event(&v, &event) && event.vector == 2);
	vmx_software_event_done(&v);
	assert_true(vmx_nmi_blocked(&v));
	vmx_inject_nmi(&v);
	assert_false(vmx_must_emulate(&v));
}

static void a_gp_is_run_in_software_once(void **state)
{
	struct event gp = {.valid = true, .vector = EXCEPTION_GP, .type = EVENT_EXCEPTION};
	struct event ud = {.valid = true, .vector = EXCEPTION_UD, .type = EVENT_EXCEPTION};
	struct event de = {.valid = true, .vector = 0, .type = EVENT_EXCEPTION};
	const struct event *own[] = {&gp, &ud};
	u8 vector;

	for (u32 i = 0; i < ARRAY_SIZE(own); i++) {
		v.was_vm86 = false;
		assert_false(restricted_is_privileged(&v, own[i])); /* not from there */
		restricted_prepare(&v, &e);
		restricted_enter(&v);
		restricted_leave(&v);
		assert_false(restricted_is_privileged(&v, &de));
		assert_false(vmx_own_fault(&v, &vector));
		assert_true(restricted_is_privileged(&v, own[i]));
		assert_true(vmx_own_fault(&v, &vector) && vector == own[i]->vector);
		assert_false(restricted_prepare(&v, &e));
		v.emulate_once = false; /* as vmx_complete_instruction */
		assert_true(restricted_prepare(&v, &e));
	}
}

static void a_single_step_is_an_event(void **state)
{
	struct emulate_event event;

	vmcs_write(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS);
	assert_false(vmx_must_emulate(&v));
	vmcs_write(GUEST_INTERRUPTIBILITY, 0);
	assert_true(vmx_must_emulate(&v));
	assert_true(vmx_software_event(&v, &event) && event.vector == EXCEPTION_DB);
	assert_int_equal(raised, PENDING_DEBUG_BS);
	assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
}

static void go_between_the_modes(void)
{
	vmcs_write(CTRL_CR0_SHADOW, CR0_ET | CR0_PE);
	segment[SEG_SS].selector = 0x1001;
	put_segments();
	v.segments_odd = true;
}

static void between_the_modes_events_go_in_software(void **state)
{
	struct emulate_event event;

	go_between_the_modes();
	assert_true(vmx_must_emulate(&v));
	assert_false(vmx_software_event(&v, &event));
	assert_true(vmx_interrupt_allowed(&v));
	vmx_inject_interrupt(&v, 0x21);
	assert_false(restricted_prepare(&v, &e));
	assert_int_equal(e.kind, VMX_EXIT_EMULATE);
	assert_true(vmx_software_event(&v, &event));
	assert_true(event.vector == 0x21 && !event.software && !event.has_error);
	vmx_software_event_done(&v);
	/* So does the end of a single step. */
	vmcs_write(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
	assert_true(vmx_must_emulate(&v));
	assert_true(vmx_software_event(&v, &event) && event.vector == EXCEPTION_DB);
	assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
	vmx_software_event_done(&v);
	/* The CPU delivers where it can. */
	flat();
	put_segments();
	vmx_inject_interrupt(&v, 0x22);
	assert_true(restricted_prepare(&v, &e));
	assert_false(vmx_must_emulate(&v));
	assert_false(vmx_software_event(&v, &event));
	assert_false(v.segments_odd);
	restricted_enter(&v);
	assert_false(v.in_vm86);
}

static void an_exception_there_has_its_error_code(void **state)
{
	struct emulate_event event;

	go_between_the_modes();
	vmx_inject_exception(&v, 13, true, 0x1234);
	assert_true(vmx_software_event(&v, &event));
	assert_true(event.vector == 13 && !event.software && event.has_error);
	assert_int_equal(event.error_code, 0x1234);
	v.event = (struct event){
		.valid = true, .vector = 3, .type = EVENT_SOFT_EXCEPTION, .length = 1};
	assert_true(vmx_software_event(&v, &event));
	assert_true(event.software && event.length == 1 && !event.has_error);
}

/* Three faults in a row: #DF, and then nothing is run any more, be the state what it may. */
static void a_triple_fault_is_the_end(void **state)
{
	struct emulate_event event;

	for (u32 real = 0; real < 2; real++) {
		setup(NULL);
		if (real) {
			segment[SEG_ES].limit = 0xffffffff;
			put_segments();
		} else {
			go_between_the_modes();
		}
		vmx_inject_exception(&v, 13, true, 0x1234);
		vmx_inject_exception(&v, 11, true, 0x63);
		assert_true(vmx_software_event(&v, &event));
		assert_true(event.vector == 8 && event.has_error && event.error_code == 0);
		vmx_inject_exception(&v, 13, true, 0x43);
		assert_true(v.shutdown);
		assert_false(vmx_software_event(&v, &event));
		assert_false(vmx_must_emulate(&v));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(real_mode_fits, setup),
		cmocka_unit_test_setup(each_segment_must_be_as_loaded, setup),
		cmocka_unit_test_setup(protected_mode_fits, setup),
		cmocka_unit_test_setup(protected_mode_wants_levels_that_agree, setup),
		cmocka_unit_test_setup(a_stale_dpl_is_raised, setup),
		cmocka_unit_test_setup(the_vmcs_has_virtual_8086_mode, setup),
		cmocka_unit_test_setup(what_the_guest_has_is_back_after_it, setup),
		cmocka_unit_test_setup(page_faults_exit_ever_after, setup),
		cmocka_unit_test_setup(what_does_not_fit_is_run_in_software, setup),
		cmocka_unit_test_setup(an_event_waits_for_software, setup),
		cmocka_unit_test_setup(an_nmi_blocks_the_next, setup),
		cmocka_unit_test_setup(a_gp_is_run_in_software_once, setup),
		cmocka_unit_test_setup(a_single_step_is_an_event, setup),
		cmocka_unit_test_setup(between_the_modes_events_go_in_software, setup),
		cmocka_unit_test_setup(an_exception_there_has_its_error_code, setup),
		cmocka_unit_test_setup(a_triple_fault_is_the_end, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
