/* SPDX-License-Identifier: MIT */
/* What kernel/vcpu.c stands on, as far as it has nothing to do in a test, and is asked nothing. */
#include "kernel/apic_page.h"
#include "kernel/base/error.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"
#include "kernel/rma.h"
#include "kernel/vcpu.h"
#include "tests/hosted/fakes.h"

/* --- vmx/ --- */

ANSWER(bool, vmx_must_emulate, false, struct vmx_vcpu *v)
ANSWER(bool, vmx_event_waits, false, struct vmx_vcpu *v)
ANSWER(u64, vmx_tsc_offset, 0, const struct vmx_vcpu *v)
NOTHING(vmx_vcpu_kick_seen, struct vmx_vcpu *v)
NOTHING(vmx_vcpu_not_before, struct vmx_vcpu *v, u64 tsc)
NOTHING(vmx_vcpu_destroy, struct vmx_vcpu *v)
NOTHING(vmx_vcpu_sched_in, struct vmx_vcpu *v)
NOTHING(vmx_vcpu_sched_out, struct vmx_vcpu *v)
NOTHING(vmx_vcpu_sched_leave, struct vmx_vcpu *v)
NOTHING(vmx_vcpu_set_start, struct vmx_vcpu *v, const struct vmx_start *s)
NOTHING(vmx_set_interrupt_status, struct vmx_vcpu *v, u8 requested, u8 in_service)
NOTHING(vmx_set_eoi_exits, struct vmx_vcpu *v, const u32 vectors[8])
NOTHING(vmx_set_x2apic, struct vmx_vcpu *v, bool on)
NOTHING(vmx_set_tpr_threshold, struct vmx_vcpu *v, u32 class)
NOTHING(vmx_inject_exception, struct vmx_vcpu *v, u8 vector, bool has_error, u32 error_code)
NOTHING(vmx_request_interrupt_window, struct vmx_vcpu *v, bool on)
NOTHING(vmx_complete_io_in, struct vmx_vcpu *v, u32 value)
NOTHING(vmx_complete_io_out, struct vmx_vcpu *v)
NOTHING(vmx_complete_rdmsr, struct vmx_vcpu *v, u64 value)
NOTHING(vmx_complete_wrmsr, struct vmx_vcpu *v)
ANSWER(bool, vmx_nmi_allowed, true, struct vmx_vcpu *v)
ANSWER(bool, vmx_nmi_blocked, false, struct vmx_vcpu *v)
ANSWER(u64, vmx_guest_tsc, 0, struct vmx_vcpu *v)
ANSWER(bool, vmx_is_between_instructions, false, const struct vmx_vcpu *v)
ANSWER(bool, vmx_vcpu_notify, false, struct vmx_vcpu *v)

/* --- kernel/dev/ --- */

NOTHING(lapic_timer_sleep, struct lapic *l)
NOTHING(lapic_timer_woken, struct lapic *l)
ANSWER(u64, lapic_timer_take_early, 0, struct lapic *l)
NOTHING(platform_tsc_moved, struct vcpu *v)
NOTHING(lapic_pv_eoi_offer_now, struct lapic *l)
NOTHING(lapic_pv_eoi_take_back, struct lapic *l)
ANSWER(bool, platform_start_up_pending, false, struct vcpu *v)
NOTHING(platform_vcpu_poll, struct vcpu *v)
ANSWER(bool, platform_is_x2apic, false, struct vcpu *v)
ANSWER(bool, platform_apic_load, false, struct vcpu *v, struct platform_apic_state *out)
ANSWER(bool, platform_nmi_take, false, struct vcpu *v)
ANSWER(u32, platform_tpr_threshold, 0, struct vcpu *v)
ANSWER(void *, platform_apic_page, NULL, struct vcpu *v)
ANSWER(void *, platform_posted, NULL, struct vcpu *v)
ANSWER(bool, platform_owns_msr, false, u32 index)
ANSWER(int, platform_rdmsr, ERR_FAULT, struct vcpu *v, u32 index, u64 *value)
ANSWER(int, platform_wrmsr, ERR_FAULT, struct vcpu *v, u32 index, u64 value)
ANSWER(bool, bus_read, false, struct bus *b, struct vcpu *v, enum device_space space, u64 addr,
       u32 size, u64 *value)
ANSWER(bool, bus_write, false, struct bus *b, struct vcpu *v, enum device_space space, u64 addr,
       u32 size, u64 value)

/* --- kernel/ --- */

ANSWER(int, vcpu_emulate_state, 0, struct vcpu *v)
/* Every exit goes the long way. */
ANSWER(int, vcpu_quick, ERR_TOO_HARD, void *owner, struct vmx_exit *e)
ANSWER(int, vcpu_quick_io, ERR_TOO_HARD, void *owner, struct vmx_exit *e)
ANSWER(int, vcpu_quick_mmio, ERR_TOO_HARD, void *owner, struct vmx_exit *e)
NOTHING(vcpu_start_up, struct vcpu *v)
NOTHING(steal_time_out, struct vcpu *v, const struct thread *t, bool clean)
NOTHING(steal_time_in, struct vcpu *v)
NOTHING(steal_time_tell, struct vcpu *v)
NOTHING(paravirt_forget, struct vcpu *v)
ANSWER(int, paravirt_tsc_moved, 0, struct vcpu *v)
ANSWER(bool, apic_base_moves, false, struct vcpu *v, u32 msr, u64 value)
ANSWER(int, apic_page_retire, 0, struct vm *vm)
ANSWER(bool, paravirt_owns_msr, false, u32 index)
ANSWER(int, paravirt_rdmsr, ERR_FAULT, struct vcpu *v, u32 index, u64 *value)
ANSWER(int, paravirt_wrmsr, ERR_FAULT, struct vcpu *v, u32 index, u64 value)
ANSWER(int, vcpu_rma_set_up, 0, struct vcpu *v)
