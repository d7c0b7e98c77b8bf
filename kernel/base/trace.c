/* SPDX-License-Identifier: MIT */
#include "kernel/base/trace.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"

struct trace_ring {
	struct trace_record *records; /* atomic; set once */
	u64 written;		      /* atomic; its own CPU writes it */
} __aligned(64);

bool trace_is_on;

static struct trace_ring rings[TRACE_CPUS_MAX];

void trace_put(enum trace_kind kind, u32 what, u64 a, u64 b, const char *who, u32 number)
{
	bool on = irq_save();
	struct trace_ring *ring = &rings[log_cpu_id() % TRACE_CPUS_MAX];
	struct trace_record *records = __atomic_load_n(&ring->records, __ATOMIC_ACQUIRE), *r;
	u64 at = ring->written;

	if (records) {
		r = &records[at % TRACE_RING_RECORDS];
		r->ns = log_clock_ns();
		r->kind = (u16)kind;
		r->number = (u16)number;
		r->what = what;
		r->a = a;
		r->b = b;
		strlcpy(r->who, who, sizeof(r->who));
		__atomic_store_n(&ring->written, at + 1, __ATOMIC_RELEASE);
	}
	irq_restore(on);
}

void trace_set_ring(u32 cpu, void *memory)
{
	if (cpu < TRACE_CPUS_MAX)
		__atomic_store_n(&rings[cpu].records, memory, __ATOMIC_RELEASE);
}

bool trace_has_ring(u32 cpu)
{
	return cpu >= TRACE_CPUS_MAX || rings[cpu].records;
}

void trace_switch(bool on)
{
	WRITE_ONCE(trace_is_on, on);
}

/* Copies record `at`. False: it was written over meanwhile, or may have been. */
static bool read_record(const struct trace_ring *ring, u64 at, struct trace_record *out)
{
	*out = ring->records[at % TRACE_RING_RECORDS];
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	out->who[sizeof(out->who) - 1] = 0;
	return __atomic_load_n(&ring->written, __ATOMIC_ACQUIRE) < at + TRACE_RING_RECORDS;
}

struct cursor {
	u64 at, end;
	struct trace_record next;
};

/* Reads the next record that is whole. */
static void advance(struct cursor *c, u32 cpu)
{
	while (c->at < c->end && !read_record(&rings[cpu], c->at, &c->next))
		c->at++;
}

static void begin(struct cursor *c, u32 cpu)
{
	c->end = __atomic_load_n(&rings[cpu].written, __ATOMIC_ACQUIRE);
	if (!rings[cpu].records)
		c->end = 0;
	c->at = c->end > TRACE_RING_RECORDS ? c->end - TRACE_RING_RECORDS : 0;
	advance(c, cpu);
}

static struct cursor cursors[TRACE_CPUS_MAX]; /* the one caller's */

/* The CPU whose next record is the oldest, or TRACE_CPUS_MAX. */
static u32 oldest(void)
{
	u32 best = TRACE_CPUS_MAX;

	for (u32 cpu = 0; cpu < TRACE_CPUS_MAX; cpu++) {
		const struct cursor *c = &cursors[cpu];

		if (c->at < c->end &&
		    (best == TRACE_CPUS_MAX || c->next.ns < cursors[best].next.ns))
			best = cpu;
	}
	return best;
}

void trace_for_each(u64 count, bool (*fn)(u32 cpu, const struct trace_record *r, void *arg),
		    void *arg)
{
	u64 total = 0;
	u32 cpu;

	for (cpu = 0; cpu < TRACE_CPUS_MAX; cpu++) {
		begin(&cursors[cpu], cpu);
		total += cursors[cpu].end - cursors[cpu].at;
	}
	while ((cpu = oldest()) != TRACE_CPUS_MAX) {
		struct cursor *c = &cursors[cpu];

		if (total-- <= count && !fn(cpu, &c->next, arg))
			return;
		c->at++;
		advance(c, cpu);
	}
}
