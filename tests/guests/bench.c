/* SPDX-License-Identifier: MIT */
/*
 * What it costs a guest when an instruction leaves it, in ticks of its TSC (in Bochs a tick is an
 * instruction). One line for each operation: "bench: NAME MEDIAN MIN MAX COUNT", from what RDTSC
 * says right before and right after it, less the median of the same with nothing in between. It
 * needs no more than a PC and isa-debug-exit, so that it says the same of another hypervisor. The
 * word "memory" on its command line leaves out all but the first touches; "aged" adds touches after
 * a wait in which the host is to have aged the pages.
 */
#include "measure.h"

#define PIC_MASK    0x21
#define PIT_COUNTER 0x40
#define PIT_CONTROL 0x43
#define POST_PORT   0x80
#define PIC_MASK_2  0xa1
#define UART_STATUS 0x3fd
#define UNUSED_PORT 0x5555

#define LAPIC	       0xfee00000u
#define LAPIC_VERSION  0x30
#define LAPIC_EOI      0xb0
#define LAPIC_SVR      0xf0
#define LAPIC_ICR      0x300
#define LAPIC_TIMER    0x320
#define IOAPIC	       0xfec00000u
#define IOAPIC_WINDOW  0x10
#define IOAPIC_VERSION 1

#define MSR_APIC_BASE	   0x1b
#define MSR_TSC_DEADLINE   0x6e0
#define MSR_X2APIC	   0x800
#define MSR_X2APIC_VERSION 0x803
#define MSR_X2APIC_EOI	   0x80b
#define MSR_X2APIC_SELF	   0x83f
#define APIC_BASE_X2APIC   (1u << 10)

#define TIMER_WAKES  0x40000u
#define TIMER_VECTOR 0x42u
#define SLEEPS	     1000u
#define AGED_TICKS   1250000000ull /* 25 s where the TSC has 50 MHz: two rounds of Weir's at rest, */
#define AGED_NAPS    5		   /* which makes none where no vCPU ran since the last */
#define SLEEP_TICKS  2000000u /* KVM waits actively at first: long enough for it to sleep, too */

#define SVR_ON		 0x1ffu
#define SELF_IPI	 0x40000u
#define TIMER_DEADLINE	 0x50000u /* masked: it is the write that is measured */
#define IPI_VECTOR	 0x41u
#define CPUID_1_X2APIC	 (1u << 21)
#define CPUID_1_DEADLINE (1u << 24)

/* Pages that nothing has touched: from 16 MiB up, so the VM needs 64 MiB. */
#define FRESH	   0x1000000u
#define PAGE_SIZE  4096u
#define LARGE_PAGE 0x400000u

#define PAGES_OF_2M 512u

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static volatile u32 ipi_taken, woken_at;

static inline u32 mmio_read(u32 at)
{
	return *(volatile u32 *)at;
}

static inline void mmio_write(u32 at, u32 v)
{
	*(volatile u32 *)at = v;
}

static inline void cpuid_leaf(u32 leaf)
{
	u32 b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(leaf), "=b"(b), "+c"(c), "=d"(d));
}

/* A number that neither KVM's hypercalls nor Weir's have. */
static inline void unknown_vmcall(void)
{
	u32 a = 0x7777;

	__asm__ volatile("vmcall" : "+a"(a)::"memory");
}

static void instructions(void)
{
	MEASURE("cpuid", cpuid_leaf(0));
	MEASURE("cpuid-features", cpuid_leaf(1));
	MEASURE("vmcall", unknown_vmcall());
	MEASURE("rdmsr-apic-base", rdmsr(MSR_APIC_BASE));
	MEASURE("wrmsr-apic-base", wrmsr(MSR_APIC_BASE, 0xfee00900));
}

static void ports(void)
{
	MEASURE("in-pic", inb(PIC_MASK));
	MEASURE("out-pic", outb(PIC_MASK, 0xff));
	outb(PIT_CONTROL, 0x34);
	outb(PIT_COUNTER, 0xff);
	outb(PIT_COUNTER, 0xff);
	MEASURE("in-pit", inb(PIT_COUNTER));
	MEASURE("out-post", outb(POST_PORT, 0));
	MEASURE("out-unused", outb(UNUSED_PORT, 0));
	MEASURE("in-unused", inb(UNUSED_PORT));
	MEASURE("in-uart", inb(UART_STATUS));
}

/* How long after the write the handler begins, the stub that saves registers included. */
static void ipi_handler(struct frame *f)
{
	if (f->vector == IPI_VECTOR)
		ipi_taken = now();
	if (f->vector == TIMER_VECTOR)
		woken_at = now();
}

static void wait_for_ipi(void)
{
	while (!ipi_taken)
		;
}

static void self_ipi_xapic(void)
{
	for (u32 i = 0; i < SAMPLES; i++) {
		u32 before;

		ipi_taken = 0;
		before = now();
		mmio_write(LAPIC + LAPIC_ICR, SELF_IPI | IPI_VECTOR);
		wait_for_ipi();
		samples[i] = ipi_taken - before;
		mmio_write(LAPIC + LAPIC_EOI, 0);
	}
	report("self-ipi-xapic");
}

static void self_ipi_x2apic(void)
{
	for (u32 i = 0; i < SAMPLES; i++) {
		u32 before;

		ipi_taken = 0;
		before = now();
		wrmsr(MSR_X2APIC_SELF, IPI_VECTOR);
		wait_for_ipi();
		samples[i] = ipi_taken - before;
		wrmsr(MSR_X2APIC_EOI, 0);
	}
	report("self-ipi-x2apic");
}

/* By 4 MiB: who walks these tables reads one entry. */
static void paging_on(void)
{
	static u32 directory[1024] __attribute__((aligned(PAGE_SIZE)));

	for (u32 i = 0; i < 1024; i++)
		directory[i] = i * LARGE_PAGE | 0x83; /* present, writable, 4 MiB */
	__asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4\n\t"
			 "mov %0, %%cr3\n\t"
			 "mov %%cr0, %%eax; or $0x80000000, %%eax; mov %%eax, %%cr0"
			 :
			 : "r"(directory)
			 : "eax", "memory");
}

static void paging_off(void)
{
	__asm__ volatile("mov %%cr0, %%eax; and $0x7fffffff, %%eax; mov %%eax, %%cr0" ::
				 : "eax", "memory");
}

static void devices(void)
{
	mmio_write(LAPIC + LAPIC_SVR, SVR_ON);
	MEASURE("lapic-read", mmio_read(LAPIC + LAPIC_VERSION));
	MEASURE("lapic-write", mmio_write(LAPIC + LAPIC_SVR, SVR_ON));
	MEASURE("lapic-eoi", mmio_write(LAPIC + LAPIC_EOI, 0));
	MEASURE("ioapic-select", mmio_write(IOAPIC, IOAPIC_VERSION));
	MEASURE("ioapic-read", mmio_read(IOAPIC + IOAPIC_WINDOW));
	paging_on();
	MEASURE("ioapic-read-paged", mmio_read(IOAPIC + IOAPIC_WINDOW));
	MEASURE("lapic-read-paged", mmio_read(LAPIC + LAPIC_VERSION));
	paging_off();
	interrupt_hook = ipi_handler;
	__asm__ volatile("sti");
	self_ipi_xapic();
	__asm__ volatile("cli");
}

/* How late it is when the handler begins that ends a HLT. */
static void halt_until_deadline(void)
{
	u32 early = 0;

	mmio_write(LAPIC + LAPIC_TIMER, TIMER_WAKES | TIMER_VECTOR);
	for (u32 i = 0; i < SLEEPS; i++) {
		u64 deadline = rdtsc() + SLEEP_TICKS;

		wrmsr(MSR_TSC_DEADLINE, deadline);
		/* Where the deadline has passed by now the interrupt still waits for the HLT. */
		__asm__ volatile("sti; hlt; cli" ::: "memory");
		samples[i] = woken_at - (u32)deadline;
		early += samples[i] >> 31;
		mmio_write(LAPIC + LAPIC_EOI, 0);
	}
	report_first("hlt-deadline", SLEEPS);
	check("no deadline's interrupt comes before it", early == 0);
}

static bool x2apic_is_on;

static void lapic_write(u32 reg, u32 value)
{
	if (x2apic_is_on)
		wrmsr(MSR_X2APIC + reg / 16, value);
	else
		mmio_write(LAPIC + reg, value);
}

/* Halts: the CPU is the host's meanwhile. */
static void sleep_for(u64 ticks)
{
	interrupt_hook = ipi_handler;
	lapic_write(LAPIC_SVR, SVR_ON);
	lapic_write(LAPIC_TIMER, TIMER_WAKES | TIMER_VECTOR);
	woken_at = 0;
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + ticks);
	while (!woken_at)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	lapic_write(LAPIC_EOI, 0);
}

static void deadline_timer(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	if (!(r[2] & CPUID_1_DEADLINE))
		return;
	mmio_write(LAPIC + LAPIC_TIMER, TIMER_DEADLINE);
	MEASURE("wrmsr-tsc-deadline", wrmsr(MSR_TSC_DEADLINE, 1ull << 62));
	wrmsr(MSR_TSC_DEADLINE, 0);
	halt_until_deadline();
}

/* There is no way back from x2APIC mode but through off: it comes last. */
static void x2apic(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	if (!(r[2] & CPUID_1_X2APIC))
		return;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
	x2apic_is_on = true;
	MEASURE("rdmsr-x2apic", rdmsr(MSR_X2APIC_VERSION));
	MEASURE("wrmsr-x2apic-eoi", wrmsr(MSR_X2APIC_EOI, 0));
	__asm__ volatile("sti");
	self_ipi_x2apic();
	__asm__ volatile("cli");
}

static void memory(void)
{
	MEASURE("first-touch", *(volatile u32 *)(FRESH + i * PAGE_SIZE) = 1);
	report_mean("first-touch-mean");
	MEASURE("second-touch", *(volatile u32 *)(FRESH + i * PAGE_SIZE) = 1);
}

/* All pages are there and mapped, and nothing touches them for long. */
static void aged_memory(void)
{
	for (u32 i = 0; i < SAMPLES; i++)
		*(volatile u32 *)(FRESH + i * PAGE_SIZE) = 1;
	print("bench: to be aged\n"); /* kvm_aged.py waits for it */
	for (u32 i = 0; i < AGED_NAPS; i++)
		sleep_for(AGED_TICKS / AGED_NAPS);
	MEASURE("touch-aged", *(volatile u32 *)(FRESH + i * PAGE_SIZE) = 1);
}

/* --- What only Weir has: docs/hypercalls.md --- */

#define CPUID_WEIR 0x40000100u
#define H_REMOVE   0x57490004u
#define H_ENTER	   0x57490008u
#define H_READ	   0x5749000cu
#define H_PROTECT  0x57490018u
#define H_ON	   1u
#define H_WRITE	   1u

#define IN_MEMORY 1u /* what H_READ says in EBX, and in ECX */
#define MAPPED	  (1u << 0)

static inline int hypercall_told(u32 number, u32 page, u32 flags, u32 *b, u32 *c)
{
	int result;

	__asm__ volatile("vmcall"
			 : "=a"(result), "=b"(*b), "=c"(*c)
			 : "a"(number), "b"(FRESH + page * PAGE_SIZE), "c"(1), "d"(flags), "S"(0)
			 : "memory");
	return result;
}

static inline int hypercall(u32 number, u32 page, u32 flags)
{
	u32 b, c;

	return hypercall_told(number, page, flags, &b, &c);
}

static u32 refused;

static void call_on_page(const char *name, u32 number, u32 flags)
{
	MEASURE(name, refused += hypercall(number, i, flags) != 0);
}

static void touch_again(const char *name)
{
	MEASURE(name, *(volatile u32 *)(FRESH + i * PAGE_SIZE) = 1);
}

/* Weir runs it in software, and writes where it leads to: the page is there then, and not mapped. */
static void let_weir_write(u32 to)
{
	__asm__ volatile("cld; insb" : "+D"(to) : "d"(UNUSED_PORT) : "memory");
}

/*
 * Pages that are resident, written and not mapped, one at a time. The last page of each 2 MiB comes
 * last: until then nothing there looks like a large page. The 15 beside it lack that one neighbour,
 * and of the group of 16 of each other page all others are mapped. Inlined, so that there is nothing
 * but the access between the readings.
 */
static inline __attribute__((always_inline)) void touch_unmapped(const char *name, bool write)
{
	u32 odd = 0;

	for (u32 i = PAGES_OF_2M - 1; i < SAMPLES; i += PAGES_OF_2M)
		refused += hypercall(H_REMOVE, i, 0) != 0;
	for (u32 i = 0; i < SAMPLES; i++) {
		u32 before, where, mapped, page = FRESH + i * PAGE_SIZE;

		refused += hypercall(H_REMOVE, i, 0) != 0;
		let_weir_write(page);
		refused += hypercall_told(H_READ, i, 0, &where, &mapped) != 0;
		odd += where != IN_MEMORY || (mapped & MAPPED);
		before = now();
		if (write)
			mmio_write(page, 1);
		else
			mmio_read(page);
		samples[i] = now() - before;
	}
	report(name);
	check("each page was in memory and not mapped before it was touched", odd == 0);
}

/* After memory(): all its pages are there and mapped. */
static void memory_calls(void)
{
	u32 r[4];

	cpuid(CPUID_WEIR, 0, r);
	if (r[1] != 0x72696557 || r[2] != r[1] || r[3] != r[1]) /* WeirWeirWeir */
		return;
	call_on_page("h-read", H_READ, 0);
	call_on_page("h-protect", H_PROTECT, H_ON);
	call_on_page("h-release", H_PROTECT, 0);
	touch_again("touch-resident");
	call_on_page("h-remove", H_REMOVE, 0);
	touch_again("touch-removed");
	call_on_page("h-enter-mapped", H_ENTER, H_WRITE);
	call_on_page("h-remove-again", H_REMOVE, 0);
	call_on_page("h-enter-absent", H_ENTER, H_WRITE);
	touch_unmapped("touch-unmapped", true);
	touch_unmapped("read-unmapped", false);
	check("every hypercall is a success", refused == 0);
}

static bool is_asked_for(const struct multiboot_info *info, const char *word)
{
	for (const char *at = (const char *)info->cmdline; *at; at++) {
		u32 n = 0;

		while (word[n] && at[n] == word[n])
			n++;
		if (!word[n])
			return true;
	}
	return false;
}

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	interrupts_init();
	outb(PIC_MASK, 0xff);
	outb(PIC_MASK_2, 0xff);
	measure_nothing();
	if (is_asked_for(info, "memory")) {
		memory();
		if (is_asked_for(info, "aged")) {
			aged_memory();
			report_mean("touch-aged-mean");
		}
		guest_end();
	}
	instructions();
	ports();
	devices();
	deadline_timer();
	x2apic();
	memory();
	memory_calls();
	if (is_asked_for(info, "aged"))
		aged_memory();
	guest_end();
}
