/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's local APIC, xAPIC and x2APIC (SDM 3A chapter 11). Six files: lapic.c is its life and the
 * MSRs, lapic_registers.c the registers, lapic_deliver.c takes, ranks and sends interrupts,
 * lapic_gather.c moves those that were posted into IRR and knows who waits for that, lapic_timer.c is
 * the timer, lapic_pv_eoi.c KVM's way of ending interrupts without an exit.
 *
 * Registers are written by the vCPU's own thread only. Others read a few of them for matching
 * destinations. An interrupt that comes is posted: its bit is set atomically, from any context and
 * with no lock, and the own thread moves it into IRR, for a CPU that runs the guest may be using
 * that (lapic_page.h). ESR and the pending bits are set likewise. lapic->lock (LOCK_LAPIC) guards
 * the timer.
 */
#ifndef KERNEL_DEV_LAPIC_H
#define KERNEL_DEV_LAPIC_H

#include "kernel/base/msr.h"
#include "kernel/dev/device.h"
#include "smp/spinlock.h"
#include "smp/timer.h"

struct vm;

/* Delivery modes (SDM 3A 11.5.1, 11.6.1). */
enum lapic_mode {
	LAPIC_FIXED = 0,
	LAPIC_LOWEST = 1,
	LAPIC_SMI = 2,
	LAPIC_NMI = 4,
	LAPIC_INIT = 5,
	LAPIC_STARTUP = 6,
	LAPIC_EXTINT = 7,
};

enum lapic_shorthand {
	LAPIC_DEST_FIELD = 0,
	LAPIC_DEST_SELF = 1,
	LAPIC_DEST_ALL = 2,
	LAPIC_DEST_OTHERS = 3,
};

/* What travels between APICs. */
struct lapic_message {
	u8 mode; /* enum lapic_mode, or a reserved value that nobody takes */
	u8 vector;
	u8 shorthand;
	bool logical;
	bool wide; /* dest has 32 bits: the sender is in x2APIC mode */
	bool level;
	bool paced; /* an edge whose source rests until it is taken (lapic_send_is_idle) */
	u32 dest;
};

enum lapic_lvt {
	LVT_TIMER,
	LVT_THERMAL,
	LVT_PERF,
	LVT_LINT0,
	LVT_LINT1,
	LVT_ERROR,
	LVT_COUNT
};

#define LVT_VECTOR     0xffu
#define LVT_MODE_SHIFT 8
#define LVT_MASKED     (1u << 16)

#define LAPIC_VECTOR_MIN 16 /* lower ones are illegal in an APIC message */

#define SVR_ENABLED   (1u << 8)
#define SVR_FOCUS     (1u << 9)
#define SVR_QUIET_EOI (1u << 12) /* no EOI broadcast */

#define ESR_SEND_ILLEGAL     (1u << 5)
#define ESR_RECEIVE_ILLEGAL  (1u << 6)
#define ESR_ILLEGAL_REGISTER (1u << 7)
#define ESR_VISIBLE	     0xffu
/* Of esr_pending alone: an error has raised the interrupt, which ESR is to be written to rearm. */
#define ESR_RAISED BIT(31)

#define LAPIC_VECTOR_WORDS 8 /* 256 bits */

/* A set of vectors, and which of its words may hold some: mostly none does. */
struct lapic_vectors {
	u32 word[LAPIC_VECTOR_WORDS];
	u32 words; /* a bit for each word; set after a vector's own, so clear may be too early */
};

enum lapic_timer_mode {
	LAPIC_TIMER_ONE_SHOT = 0,
	LAPIC_TIMER_PERIODIC = 1,
	LAPIC_TIMER_DEADLINE = 2,
};

/*
 * posts: struct lapic.posted is the CPU's posted-interrupt descriptor (vmx/posted.h), and its words
 * are no summary but these two bits.
 */
#define LAPIC_ON   1u	      /* the CPU's: a notification is outstanding */
#define LAPIC_HELD (1u << 31) /* `held` has some */

struct lapic {
	/* atomic */
	struct lapic_vectors posted;
	u32 rest[7]; /* of the descriptor */
	/* set when it is made */
	struct vcpu *v;
	u64 base_reserved; /* bits of IA32_APIC_BASE that must be 0 */
	u32 *page;	   /* lapic_page.h; a frame */
	bool shown;	   /* the CPU reads registers in the page (VMX_APICV_REGISTERS) */
	bool by_cpu;	   /* and delivers and ends interrupts by it (VMX_APICV_FULL) */
	bool posts;	   /* and takes what is posted by itself (VMX_APICV_POSTED) */
	/* own thread writes; others may read */
	u64 apic_base;
	u32 id, ldr, dfr; /* xAPIC's, whatever the mode: others see it change in one word */
	u32 svr;
	u32 lvt[LVT_COUNT];
	/* own thread */
	u32 esr;
	u8 irr_words, isr_words; /* which words of the page's may hold some; by_cpu: unused */
	bool stale;		 /* by_cpu: IRR, ISR or TMR were changed by us */
	struct gpa_pin *pv_eoi;	 /* the guest's word; NULL: it wants none */
	bool pv_eoi_offered;	 /* the guest may have ended an interrupt by it since */
	/* atomic */
	/*
	 * posts: what the CPU is not to take behind our back. Levels, for which TMR and the EOI
	 * exits are to be told first, and edges of a vector that was one; a periodic timer's, and
	 * others of which the source waits until they are taken.
	 */
	struct lapic_vectors held;
	u32 posted_level
		[LAPIC_VECTOR_WORDS]; /* of what was posted or held last, which were levels */
	u64 posted_count, notified_count, held_count; /* posts alone */
	u32 esr_pending; /* since the guest wrote ESR last, and ESR_RAISED */
	bool nmi_pending;
	u32 start_up; /* LAPIC_INIT_CAME, LAPIC_SIPI_CAME and its vector: what the vCPU is to take */
	bool lint0;   /* the line, under the platform's lock */
	/* lock */
	struct spinlock lock;
	struct timer timer;
	u32 divide_register, initial_count;
	u64 target_ns; /* when the count is 0 next */
	u64 period_ns;
	u64 tsc_deadline; /* 0: disarmed */
	bool counting;
	u32 waits;   /* atomic: LAPIC_WAITS_*: who goes on once something is taken */
	bool asleep; /* its vCPU is; own thread writes; lapic_taken comes after a waking */
	bool early;  /* the interrupt came before its time; the own thread looks without the lock */
	u64 early_tsc; /* the guest's TSC at its time */
	u64 ahead_ns;  /* how long a wake-up takes */
};

#define LAPIC_SIPI_VECTOR 0xffu
#define LAPIC_SIPI_CAME	  BIT(8) /* after the INIT, if there is one */
#define LAPIC_INIT_CAME	  BIT(9)

#define LAPIC_WAITS_TIMER BIT(0) /* its own */
#define LAPIC_WAITS_EDGES BIT(1) /* the platform's source of paced edges */

#define X2APIC_MSRS 0x100u

/* Thread context. ERR_NOMEM. Destroying waits for the timer. */
int lapic_create(struct vcpu *v, struct lapic **out);
void lapic_destroy(struct lapic *l);

/* What a firmware leaves behind: vCPU 0 enabled with LINT0 as a virtual wire. Not while it runs. */
void lapic_power_on(struct lapic *l);

/* What INIT does to it (SDM 3A 11.4.7.3): ID, base and mode stay. Own thread. */
void lapic_init(struct lapic *l);

/* The rest: see platform.h, which hands them through. */
static inline bool lapic_owns_msr(u32 index)
{
	return index - MSR_X2APIC_BASE < X2APIC_MSRS || index == MSR_IA32_APIC_BASE ||
	       index == MSR_IA32_TSC_DEADLINE;
}
static inline u64 lapic_base(const struct lapic *l)
{
	return l->apic_base;
}
int lapic_rdmsr(struct lapic *l, u32 index, u64 *value);
int lapic_wrmsr(struct lapic *l, u32 index, u64 value);

/* --- lapic_registers.c: own thread --- */

static inline bool lapic_is_at(const struct lapic *l, gpa_t gpa)
{
	return ((gpa.v ^ l->apic_base) & PAGE_MASK) == 0;
}
bool lapic_mmio(struct lapic *l, gpa_t gpa, u32 size, bool write, u64 *value);
int lapic_x2apic_read(struct lapic *l, u32 reg, u64 *value); /* 0, or ERR_FAULT: #GP */
int lapic_x2apic_write(struct lapic *l, u32 reg, u64 value);
/* shown: the guest's CPU has written the register at offset into the page. */
void lapic_page_written(struct lapic *l, u32 offset);
/* shown: all registers as they are go into the page, for the CPU to read. */
void lapic_show_all(struct lapic *l);

/* --- lapic_deliver.c --- */

bool lapic_enabled(const struct lapic *l); /* IA32_APIC_BASE.EN */
bool lapic_is_x2apic(const struct lapic *l);
u32 lapic_x2apic_ldr(const struct lapic *l); /* in that mode; it follows from the ID */

/* Sends to all whom m names; sender NULL: not a CPU. True where one took it. Any context. */
bool lapic_send(struct vm *vm, const struct lapic_message *m, struct lapic *sender);
bool lapic_send_to(struct lapic *l, const struct lapic_message *m); /* to this one, if it is on */
bool lapic_matches(const struct lapic *l, const struct lapic_message *m);
/* By its shorthand, or as lapic_matches. */
bool lapic_is_named(const struct lapic *l, const struct lapic_message *m,
		    const struct lapic *sender);
struct lapic *lapic_of(struct vm *vm, u32 i); /* the vCPU's, or NULL: it has none yet, or no more */
void lapic_kick_all(struct vm *vm);

/*
 * Nothing would come of m now: whom it names does not listen, or has yet to take one like it. Whoever asks
 * rests then until chipset_resume_edges. Under the platform's lock.
 */
bool lapic_send_is_idle(struct vm *vm, const struct lapic_message *m);

/*
 * Around a change by which this APIC may take what it did not before: edges until then were for the old
 * state, levels and later edges are for the new one. Own thread; they take the platform's lock.
 */
void lapic_before_change(struct lapic *l);
void lapic_retry_ioapic(struct lapic *l);

/* The line to LINT0. Under the platform's lock. */
void lapic_set_lint0(struct lapic *l, bool level);
bool lapic_takes_lint0_extint(const struct lapic *l);

/*
 * Own thread. Highest vector above the processor's priority, or -1; ack moves it into service,
 * where the CPU does not.
 * waits: there is one, above it or not; by_cpu: one that the CPU does not know of.
 */
int lapic_pending_vector(struct lapic *l);
int lapic_ack(struct lapic *l);
static inline bool lapic_waits(const struct lapic *l)
{
	return (l->by_cpu ? l->stale : l->irr_words) ||
	       __atomic_load_n(&l->posted.words, __ATOMIC_SEQ_CST);
}
/* The priority class below which TPR has to fall to let an interrupt in that waits; 0: none. */
u32 lapic_tpr_threshold(struct lapic *l);
/*
 * by_cpu: what vmx_set_interrupt_status and vmx_set_eoi_exits are to be told. false: nothing new.
 * Own thread, before an entry.
 */
bool lapic_load(struct lapic *l, u8 *requested, u8 *in_service, u32 level[LAPIC_VECTOR_WORDS]);
/* by_cpu: the CPU has ended this interrupt. Own thread. */
void lapic_ended(struct lapic *l, u8 vector);

/* Of those in service the highest, or -1; whether it was a level. Own thread, or a moment ago. */
int lapic_in_service(const struct lapic *l);
bool lapic_is_level(const struct lapic *l, u8 vector);

/*
 * Own thread, around taking what has come: edges until then are part of it; and who waited for that
 * goes on. A full barrier, the taking itself, comes between. taken also where an error may be seen or
 * heard anew.
 */
void lapic_before_taking(struct lapic *l);
void lapic_taken(struct lapic *l);

/* What was posted goes into IRR and TMR. */
void lapic_gather_posted(struct lapic *l);
static inline void lapic_gather(struct lapic *l)
{
	if (unlikely(__atomic_load_n(&l->posted.words, __ATOMIC_SEQ_CST)))
		lapic_gather_posted(l);
}
void lapic_eoi(struct lapic *l);
bool lapic_nmi_take(struct lapic *l);
/* INIT and start-up IPIs that came since the last look, as in lapic.start_up. */
u32 lapic_start_up_take(struct lapic *l);
void lapic_nmi_button(struct lapic *l); /* any context */
u32 lapic_ppr(const struct lapic *l);	/* any context */
u32 lapic_apr(struct lapic *l);

/* An interrupt of a local source, as its LVT entry says. Any context. */
void lapic_local_interrupt(struct lapic *l, enum lapic_lvt source);
/*
 * SDM 3A 11.5.3: the bit is gathered for ESR. The first error since ESR was written raises the error's
 * interrupt, if that is not masked.
 */
void lapic_error(struct lapic *l, u32 esr_bit);
/*
 * One more interrupt with this vector that the own thread gathers (ACCEPT_HELD_EDGE) would be none
 * besides: the one before is not gathered yet, or waits in IRR while the vCPU sleeps, or of one more
 * illegal vector the guest would neither see nor hear. Any context.
 */
bool lapic_vector_is_untaken(const struct lapic *l, u8 vector);

/* --- lapic_pv_eoi.c: own thread --- */

/* word stays pinned until another is set; not with by_cpu, where no EOI exits that may not. */
void lapic_pv_eoi_set(struct lapic *l, struct gpa_pin *word);
/* The last thing before an entry. */
void lapic_pv_eoi_offer_now(struct lapic *l);
static inline void lapic_pv_eoi_offer(struct lapic *l)
{
	if (unlikely(l->pv_eoi) && l->isr_words)
		lapic_pv_eoi_offer_now(l);
}
/* After an exit, before anything that depends on what is in service. */
void lapic_pv_eoi_take_back(struct lapic *l);
static inline void lapic_pv_eoi_settle(struct lapic *l)
{
	if (unlikely(l->pv_eoi_offered))
		lapic_pv_eoi_take_back(l);
}

/* --- lapic_timer.c: all take the lock themselves; own thread --- */

/*
 * Such a timer rests until the thread has taken its interrupt, so with posted interrupts, too, it
 * is that which takes it.
 */
#define LVT_TIMER_MODE_SHIFT 17
static inline u32 lapic_timer_mode(u32 lvt)
{
	return (lvt >> LVT_TIMER_MODE_SHIFT) & 3;
}
static inline bool lapic_timer_is_periodic(u32 lvt)
{
	return lapic_timer_mode(lvt) == LAPIC_TIMER_PERIODIC;
}
void lapic_timer_init(struct lapic *l);
void lapic_timer_reset(struct lapic *l);
void lapic_timer_cancel(struct lapic *l);
/* LVT timer, mask or enable change: old entries end before, new begin after. */
void lapic_timer_set_lvt(struct lapic *l, u32 lvt);
void lapic_timer_set_initial(struct lapic *l, u32 count);
void lapic_timer_set_divide(struct lapic *l, u32 value);
u32 lapic_timer_current(struct lapic *l);
/*
 * To wake a vCPU takes time, and to enter its guest, so while it sleeps its timer comes before its
 * time: by as much as wake-ups took of late, LAPIC_AHEAD_MAX_NS at most. Who is to enter the guest
 * then waits for what is left. The thread that halts says when it may be woken, and that it was.
 */
#define LAPIC_AHEAD_MAX_NS 100000ull
void lapic_timer_sleep(struct lapic *l);
void lapic_timer_woken(struct lapic *l);
static inline bool lapic_timer_is_early(const struct lapic *l)
{
	return READ_ONCE(l->early);
}
/* Once for each: what the guest's TSC is to be before it may see the interrupt. */
u64 lapic_timer_take_early(struct lapic *l);
/* What came due meanwhile, and the next alarm: after a pause, or another TSC. Any context. */
void lapic_timer_resume(struct lapic *l);
u64 lapic_timer_deadline(struct lapic *l);
void lapic_timer_set_deadline(struct lapic *l, u64 tsc);

#endif
