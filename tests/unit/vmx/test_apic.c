/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/apic.c vmx/cr_rules.c vmx/posted.c vmx/inject.c vmx/event.c vmx/regs.c */
/*
 * What exits of the local APIC come to, and the controls by which they come. The VMCS is the fake
 * machine's; what the floor above and the emulator do is this file's.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/posted.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define LAPIC 0xfee00000ull

struct vmx_controls vmx_boot_controls;

static struct vmx_vcpu v;
static struct vmx_exit e;
static u32 page[PAGE_SIZE / 4] __aligned(PAGE_SIZE);
static u32 access_page[PAGE_SIZE / 4] __aligned(PAGE_SIZE);
static bool taken; /* by the floor above */
static u32 offered, emulated, access_seen;
static u8 length_seen;

bool exit_offer_mmio(struct vmx_vcpu *vcpu, struct vmx_exit *exit, gpa_t gpa, u32 access, u8 length,
		     enum exit_verdict *verdict)
{
	offered++;
	exit->mmio.gpa = gpa;
	access_seen = access;
	length_seen = length;
	*verdict = EXIT_RESUME;
	return taken;
}

enum exit_verdict exit_to_device(struct vmx_vcpu *vcpu, struct vmx_exit *exit, gpa_t gpa,
				 u32 access)
{
	emulated++;
	access_seen = access;
	return exit_kind(exit, vcpu->event.valid ? VMX_EXIT_ERROR : VMX_EXIT_MMIO);
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

static u8 bitmaps[2][PAGE_SIZE] __aligned(PAGE_SIZE);

const void *msr_bitmap(bool x2, bool shadow)
{
	return bitmaps[x2];
}

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
}

struct vmx_cpu vmx_cpus[CPU_MAX];
static irq_handler_t notification;

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	assert_int_equal(vector, VECTOR_POSTED);
	notification = fn;
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	memset(page, 0, sizeof(page));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	offered = emulated = 0;
	crs = (struct cr_state){0};
	v.config.device_page = GPA(LAPIC);
	v.config.apic_page = page;
	v.proc_controls = (u32)PROC_TPR_SHADOW;
	return 0;
}

static void controls(void **state)
{
	v.proc2_controls = (u32)PROC2_EPT;
	apic_setup(&v);
	assert_int_equal(vmcs_read(CTRL_VIRTUAL_APIC_ADDRESS), virt_to_phys(page).v);
	assert_int_equal(v.proc2_controls, (u32)PROC2_EPT);
	v.config.apic_access_page = access_page;
	apic_setup(&v);
	assert_int_equal(vmcs_read(CTRL_APIC_ACCESS_ADDRESS), virt_to_phys(access_page).v);
	assert_int_equal(v.proc2_controls, (u32)(PROC2_EPT | PROC2_APIC_ACCESS));
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), v.proc2_controls);
}

static void cr8_is_tpr(void **state)
{
	apic_set_cr8(&v, 7);
	assert_int_equal(page[0x80 / 4], 0x70);
	page[0x80 / 4] = 0xbf;
	assert_int_equal(apic_cr8(&v), 0xb);
}

static void threshold(void **state)
{
	vmx_set_tpr_threshold(&v, 5);
	assert_int_equal(vmcs_read(CTRL_TPR_THRESHOLD), 5);
	/* Only changes are written. */
	vmcs_write(CTRL_TPR_THRESHOLD, 99);
	vmx_set_tpr_threshold(&v, 5);
	assert_int_equal(vmcs_read(CTRL_TPR_THRESHOLD), 99);
	vmx_set_tpr_threshold(&v, 0);
	assert_int_equal(vmcs_read(CTRL_TPR_THRESHOLD), 0);
	/* No such field without a TPR shadow. */
	v.proc_controls = 0;
	vmx_set_tpr_threshold(&v, 3);
	assert_int_equal(vmcs_read(CTRL_TPR_THRESHOLD), 0);
	assert_int_equal(handle_tpr_below(&v, &e), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_TPR);
}

/* Consistent by SDM 3C 27.2.1.1, in each mode. */
static void full(void **state)
{
	const u32 both = (u32)(PROC2_X2APIC | PROC2_APIC_ACCESS);
	const u32 others = (u32)(PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY);
	u32 vectors[8] = {[3] = 0x40, [7] = 1};

	vmx_boot_controls.apicv = VMX_APICV_FULL;
	v.config.apic_access_page = access_page;
	vmcs_write(GUEST_INTERRUPT_STATUS, 0x1234);
	apic_setup(&v);
	assert_int_equal(v.proc2_controls, others | (u32)PROC2_APIC_ACCESS);
	assert_int_equal(vmcs_read(GUEST_INTERRUPT_STATUS), 0);
	vmx_set_x2apic(&v, true);
	assert_int_equal(v.proc2_controls & both, (u32)PROC2_X2APIC);
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), others | (u32)PROC2_X2APIC);
	assert_int_equal(vmcs_read(CTRL_MSR_BITMAP), virt_to_phys(bitmaps[1]).v);
	vmx_set_x2apic(&v, false);
	assert_int_equal(v.proc2_controls & both, (u32)PROC2_APIC_ACCESS);
	assert_int_equal(vmcs_read(CTRL_MSR_BITMAP), virt_to_phys(bitmaps[0]).v);
	vmx_set_interrupt_status(&v, 0x71, 0x52);
	assert_int_equal(vmcs_read(GUEST_INTERRUPT_STATUS), 0x5271);
	vmx_set_eoi_exits(&v, vectors);
	assert_int_equal(vmcs_read(CTRL_EOI_EXIT_1), 0x40ull << 32);
	assert_int_equal(vmcs_read(CTRL_EOI_EXIT_3), 1ull << 32);
	/* Registers alone. */
	setup(state);
	vmx_boot_controls.apicv = VMX_APICV_REGISTERS;
	apic_setup(&v);
	assert_int_equal(v.proc2_controls, (u32)PROC2_APIC_REGISTERS);
	vmx_set_x2apic(&v, true);
	assert_int_equal(v.proc2_controls, (u32)(PROC2_APIC_REGISTERS | PROC2_X2APIC));
	vmx_boot_controls.apicv = VMX_APICV_FULL;
	/* Who has no page of the owner's has nobody to deliver for. */
	setup(state);
	v.own_apic_page = page;
	apic_setup(&v);
	assert_int_equal(v.proc2_controls & others, 0);
	vmx_set_x2apic(&v, true);
	assert_int_equal(v.proc2_controls & both, 0);
	vmx_boot_controls.apicv = VMX_APICV_OFF;
}

static struct posted_descriptor descriptor __aligned(64);

/*
 * The entry's checks (SDM 3C 27.2.1.1): with delivery, with acknowledging; and aligned to 64 bytes.
 */
static void posted(void **state)
{
	vmx_boot_controls = (struct vmx_controls){.pin = 0x16, .exit = 0x36dff};
	vmx_boot_controls.apicv = VMX_APICV_POSTED;
	/* Nothing to post in. */
	apic_setup(&v);
	assert_false(v.posts);
	assert_int_equal(vmcs_read(CTRL_PIN), 0);
	v.config.posted = &descriptor;
	apic_setup(&v);
	assert_true(v.posts);
	assert_true(v.proc2_controls & (u32)PROC2_INTERRUPT_DELIVERY);
	assert_int_equal(vmcs_read(CTRL_PIN), 0x16 | PIN_POSTED_INTERRUPTS);
	assert_int_equal(vmcs_read(EXIT_CONTROLS), 0x36dff | EXIT_ACKNOWLEDGE_INTERRUPT);
	assert_int_equal(vmcs_read(CTRL_POSTED_VECTOR), VECTOR_POSTED);
	assert_int_equal(vmcs_read(CTRL_POSTED_DESCRIPTOR), virt_to_phys(&descriptor).v);
	/* Asked to go without, and where real mode's interrupts go in software. */
	for (u32 i = 0; i < 2; i++) {
		setup(state);
		v.config.posted = &descriptor;
		v.restricted = i == 0;
		vmx_boot_controls.apicv = i ? VMX_APICV_FULL : VMX_APICV_POSTED;
		apic_setup(&v);
		assert_false(v.posts);
		assert_int_equal(vmcs_read(CTRL_PIN), 0);
	}
	vmx_boot_controls.apicv = VMX_APICV_OFF;
}

static void notifying(void **state)
{
	hosted_cpu_set(3);
	hosted_cpu_set(0);
	v.cpu = 3;
	v.in_guest = true;
	v.config.posted = &descriptor;
	/* Whose interrupts are not posted is kicked. */
	assert_false(vmx_vcpu_notify(&v));
	v.posts = true;
	assert_true(vmx_vcpu_notify(&v));
	assert_true(hosted_notified(3));
	v.in_guest = false;
	assert_false(vmx_vcpu_notify(&v));
	v.in_guest = true;
	hosted_cpu_set(3);
	assert_false(vmx_vcpu_notify(&v));
	assert_false(hosted_notified(3));
	/* What arrives in root mode makes the entry turn back, if there is something. */
	posted_init();
	notification(NULL);
	vmx_cpus[3].owner = &v;
	notification(NULL);
	posted_look(&v);
	assert_false(v.kicked);
	descriptor.control = POSTED_ON;
	notification(NULL);
	assert_true(v.kicked);
	v.kicked = false;
	posted_look(&v);
	assert_true(v.kicked);
	v.kicked = v.posts = false;
	posted_look(&v);
	assert_false(v.kicked);
	vmx_cpus[3].owner = NULL;
	descriptor.control = 0;
	hosted_cpu_set(0);
}

static int quick(void *owner, struct vmx_exit *exit)
{
	offered++;
	return taken ? 0 : VMX_LOOK;
}

static void traps(void **state)
{
	v.config.quick = quick;
	taken = true;
	vmcs_write(GUEST_RIP, 0x1000);
	vmcs_write(EXIT_QUALIFICATION, 0x320);
	assert_int_equal(handle_apic_write(&v, &e), EXIT_RESUME);
	assert_int_equal(e.kind, VMX_EXIT_APIC_WRITE);
	assert_int_equal(e.apic, 0x320);
	vmcs_write(EXIT_QUALIFICATION, 0x66);
	assert_int_equal(handle_apic_eoi(&v, &e), EXIT_RESUME);
	assert_int_equal(e.kind, VMX_EXIT_APIC_EOI);
	assert_int_equal(e.apic, 0x66);
	taken = false;
	assert_int_equal(handle_apic_eoi(&v, &e), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_NONE);
	assert_int_equal(offered, 3);
	/* The instruction is over. */
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1000);
}

static enum exit_verdict touch(u32 type, u32 offset)
{
	vmcs_write(EXIT_QUALIFICATION, type << 12 | offset);
	vmcs_write(EXIT_INSTRUCTION_LENGTH, 6);
	return handle_apic_access(&v, &e);
}

static void accesses(void **state)
{
	taken = true;
	assert_int_equal(touch(0, 0x30), EXIT_RESUME);
	assert_int_equal(e.mmio.gpa.v, LAPIC + 0x30);
	assert_int_equal(access_seen, MMU_READ);
	assert_int_equal(length_seen, 0);
	assert_int_equal(touch(1, 0xb0), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_WRITE);
	assert_int_equal(length_seen, 6);
	/* No length is as good as a wrong one. */
	vmcs_write(EXIT_INSTRUCTION_LENGTH, 16);
	assert_int_equal(handle_apic_access(&v, &e), EXIT_RESUME);
	assert_int_equal(length_seen, 0);
	assert_int_equal(emulated, 0);
	taken = false;
	assert_int_equal(touch(1, 0xb0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	assert_int_equal(emulated, 1);
}

/* Fetches, page walks, deliveries: none of them is a MOV's own access. */
static void other_types(void **state)
{
	taken = true;
	assert_int_equal(touch(2, 0x30), EXIT_RETURN);
	assert_int_equal(access_seen, MMU_EXEC);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	assert_int_equal(touch(15, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	vmcs_write(EXIT_VECTORING_INFO, 0x41 | EVENT_INFO_VALID);
	assert_int_equal(touch(3, 0x30), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	v.event.valid = false;
	assert_int_equal(touch(10, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_int_equal(offered, 0);
}

/* MOV CR3 of the page's address with PAE paging; page tables there with any. */
static void pdptes_in_the_page_are_gp(void **state)
{
	crs = (struct cr_state){.cr0 = CR0_PE | CR0_PG, .cr4 = CR4_PAE};
	assert_int_equal(touch(15, 0), EXIT_RESUME);
	assert_true(v.event.valid && v.event.vector == EXCEPTION_GP && v.event.error_code == 0);
	assert_int_equal(emulated, 0);
	/* While something is delivered it is no MOV CR. */
	v.event.valid = false;
	vmcs_write(EXIT_VECTORING_INFO, 0x41 | EVENT_INFO_VALID);
	assert_int_equal(touch(15, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	vmcs_write(EXIT_VECTORING_INFO, 0);
	v.event.valid = false;
	assert_int_equal(touch(3, 0), EXIT_RETURN);
	crs.efer = EFER_LMA;
	assert_int_equal(touch(15, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	crs.cr4 = crs.efer = 0;
	assert_int_equal(touch(15, 0), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	assert_int_equal(emulated, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(controls, setup),
		cmocka_unit_test_setup(cr8_is_tpr, setup),
		cmocka_unit_test_setup(threshold, setup),
		cmocka_unit_test_setup(full, setup),
		cmocka_unit_test_setup(posted, setup),
		cmocka_unit_test_setup(notifying, setup),
		cmocka_unit_test_setup(traps, setup),
		cmocka_unit_test_setup(accesses, setup),
		cmocka_unit_test_setup(other_types, setup),
		cmocka_unit_test_setup(pdptes_in_the_page_are_gp, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
