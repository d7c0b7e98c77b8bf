/* SPDX-License-Identifier: MIT */
#include "kernel/base/backtrace.h"
#include "kernel/base/console.h"
#include "kernel/base/interrupt_frame.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/printf.h"
#include "kernel/base/symbols.h"
#include "kernel/base/x86.h"

#define RING_LINES 40
#define TEXT_MAX   400
#define READ_NS	   10000000000ull /* before a reboot */
#define READ_TSC   20000000000ull /* where there is no clock yet: some seconds */

static const struct panic_hooks no_hooks;
static const struct panic_hooks *registered = &no_hooks;
static bool reboot_after;
static u32 panicking; /* atomic: CPU + 1 of the first */
static char text[TEXT_MAX];

void panic_set_hooks(const struct panic_hooks *hooks)
{
	registered = hooks;
}

void panic_set_reboot(bool reboot)
{
	reboot_after = reboot;
}

static void show_exception(const struct interrupt_frame *f)
{
	char at[128];

	symbol_print(at, sizeof(at), f->rip);
	log_error("vector %lu error %#lx at %s", (unsigned long)f->vector,
		  (unsigned long)f->error_code, at);
}

static void show_registers(const struct interrupt_frame *f)
{
	log_error("rip %04lx:%016lx rsp %04lx:%016lx rflags %08lx", (unsigned long)f->cs,
		  (unsigned long)f->rip, (unsigned long)f->ss, (unsigned long)f->rsp,
		  (unsigned long)f->rflags);
	log_error("rax %016lx rbx %016lx rcx %016lx rdx %016lx", (unsigned long)f->rax,
		  (unsigned long)f->rbx, (unsigned long)f->rcx, (unsigned long)f->rdx);
	log_error("rsi %016lx rdi %016lx rbp %016lx r8  %016lx", (unsigned long)f->rsi,
		  (unsigned long)f->rdi, (unsigned long)f->rbp, (unsigned long)f->r8);
	log_error("r9  %016lx r10 %016lx r11 %016lx r12 %016lx", (unsigned long)f->r9,
		  (unsigned long)f->r10, (unsigned long)f->r11, (unsigned long)f->r12);
	log_error("r13 %016lx r14 %016lx r15 %016lx", (unsigned long)f->r13, (unsigned long)f->r14,
		  (unsigned long)f->r15);
}

/* The TSC alone would say so on a fast CPU in half the time. */
static bool had_time(u64 tsc, u64 ns)
{
	return ns ? log_clock_ns() - ns >= READ_NS : rdtsc() - tsc >= READ_TSC;
}

static void __noreturn finish(void)
{
	u64 tsc = rdtsc(), ns = log_clock_ns();

	if (reboot_after) {
		log_error("rebooting, for panic=reboot: %s", text);
		while (!had_time(tsc, ns))
			cpu_relax();
		machine_reboot();
	}
	/* Once more, for a screen may have room for the end alone. */
	log_error("halted: %s", text);
	halt_forever();
}

/*
 * The first CPU here speaks. A second one that comes by itself, before the first could stop it,
 * waits in silence; the first one coming back has failed while it spoke.
 */
static void enter(const char *fmt, va_list ap)
{
	u32 nobody = 0, me = log_cpu_id() + 1;

	irq_disable();
	console_break_locks();
	if (!__atomic_compare_exchange_n(&panicking, &nobody, me, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		if (nobody == me) {
			static bool said;

			if (!said) {
				said = true;
				log_error("panic inside the panic: %s", fmt);
			}
		}
		halt_forever();
	}
	vsnprintf(text, sizeof(text), fmt, ap);
}

/* Alone it has nothing to say of others. */
static void show_others(const struct panic_others *others)
{
	char silent[40] = "";

	if (!others->count)
		return;
	if (others->halted < others->count)
		snprintf(silent, sizeof(silent), ", CPU %u does not answer", others->silent);
	log_error("the other CPUs: %u of %u stopped%s", others->halted, others->count, silent);
}

static void __noreturn speak(const struct interrupt_frame *fault,
			     const struct interrupt_frame *call, u64 rbp)
{
	struct panic_others others = {0};
	u64 mark = log_mark();

	log_error("PANIC on cpu%u: %s", log_cpu_id(), text);
	if (registered->stop_others)
		registered->stop_others(&others);
	log_show_last(mark, RING_LINES);
	mca_show();
	if (fault)
		show_exception(fault);
	show_registers(fault ? fault : call);
	log_error("cr0 %08lx cr2 %016lx cr3 %016lx cr4 %08lx", (unsigned long)read_cr0(),
		  (unsigned long)read_cr2(), (unsigned long)read_cr3(), (unsigned long)read_cr4());
	backtrace_log(fault ? fault->rip : 0, fault ? fault->rbp : rbp);
	show_others(&others);
	finish();
}

/* call: the registers as panic was called; rbp: panic's own, from which its callers are found. */
void __noreturn panic_called(const struct interrupt_frame *call, const char *fmt, va_list ap,
			     u64 rbp);
void __noreturn panic_called(const struct interrupt_frame *call, const char *fmt, va_list ap,
			     u64 rbp)
{
	enter(fmt, ap);
	speak(registered->fault ? registered->fault() : NULL, call, rbp);
}
