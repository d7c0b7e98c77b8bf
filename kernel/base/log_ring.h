/* SPDX-License-Identifier: MIT */
/*
 * The log's pure half: a line's text, and the ring of the last 64 KiB of lines. Each line in the
 * ring is one mark byte, the text and '\n'. Pure; kernel/base/log.c guards its ring by the console
 * lock.
 */
#ifndef KERNEL_BASE_LOG_RING_H
#define KERNEL_BASE_LOG_RING_H

#include "kernel/base/log.h"

#define LOG_LINE_MAX	480 /* of the text, without the prefix */
#define LOG_PREFIX_MAX	64
#define LOG_RING_SIZE	65536 /* a power of two */
#define LOG_MARK_HIDDEN 'A'   /* plus the level: no sink has shown it */
#define LOG_MARK_SHOWN	'a'   /* plus the level */

struct log_ring {
	u64 head; /* bytes ever written; the next goes to bytes[head % LOG_RING_SIZE] */
	char bytes[LOG_RING_SIZE];
};

/* buf of LOG_PREFIX_MAX + LOG_LINE_MAX. Returns the length; no newline; always terminated. */
size_t log_format(char *buf, enum log_level level, u64 ns, u32 cpu, const char *fmt, va_list ap)
	__printf_like(5, 0);

void log_ring_add(struct log_ring *r, enum log_level level, bool shown, const char *text,
		  size_t len);

/*
 * Reads line by line. at: 0 at first, then what the last call left there; lines that the ring has
 * lost are passed over. buf of LOG_PREFIX_MAX + LOG_LINE_MAX gets the text, terminated. *mark_at
 * is the mark's place. False: no further line before end.
 */
bool log_ring_next(const struct log_ring *r, u64 *at, u64 end, char *buf, size_t *len,
		   u64 *mark_at);

/* Where the last count lines before end begin (fewer where the ring holds fewer). */
u64 log_ring_last(const struct log_ring *r, u64 end, u32 count);

static inline char *log_ring_byte(struct log_ring *r, u64 at)
{
	return &r->bytes[at % LOG_RING_SIZE];
}

#endif
