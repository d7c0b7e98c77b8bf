/* SPDX-License-Identifier: MIT */
#include "kernel/base/log_ring.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define NS_PER_US 1000
#define US_PER_S  1000000

static const char *const level_names[] = {"error", "warn", "info", "debug"};

size_t log_format(char *buf, enum log_level level, u64 ns, u32 cpu, const char *fmt, va_list ap)
{
	u64 us = ns / NS_PER_US;
	int prefix = snprintf(buf, LOG_PREFIX_MAX,
			      "[%4llu.%06llu] cpu%u %s: ", (unsigned long long)(us / US_PER_S),
			      (unsigned long long)(us % US_PER_S), cpu, level_names[level]);
	int text = vsnprintf(buf + prefix, LOG_LINE_MAX, fmt, ap);
	size_t len = (size_t)prefix + (size_t)min(text, LOG_LINE_MAX - 1);

	for (char *c = buf + prefix; c < buf + len; c++) {
		if ((u8)*c < ' ' || (u8)*c == 0x7f)
			*c = '?';
	}
	return len;
}

static void ring_put(struct log_ring *r, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		r->bytes[(r->head + i) % LOG_RING_SIZE] = bytes[i];
	r->head += n;
}

void log_ring_add(struct log_ring *r, enum log_level level, bool shown, const char *text,
		  size_t len)
{
	char mark = (char)((shown ? LOG_MARK_SHOWN : LOG_MARK_HIDDEN) + level);

	ring_put(r, &mark, 1);
	ring_put(r, text, len);
	ring_put(r, "\n", 1);
}

static char ring_get(const struct log_ring *r, u64 at)
{
	return r->bytes[at % LOG_RING_SIZE];
}

/* The first line of which nothing is lost. */
static u64 ring_oldest(const struct log_ring *r)
{
	u64 at;

	if (r->head <= LOG_RING_SIZE)
		return 0;
	for (at = r->head - LOG_RING_SIZE; at < r->head && ring_get(r, at) != '\n'; at++)
		;
	return at + 1;
}

bool log_ring_next(const struct log_ring *r, u64 *at, u64 end, char *buf, size_t *len, u64 *mark_at)
{
	u64 p = *at + LOG_RING_SIZE < r->head ? ring_oldest(r) : *at;
	size_t n = 0;

	if (end > r->head)
		end = r->head;
	if (p >= end)
		return false;
	*mark_at = p++;
	for (; p < end && ring_get(r, p) != '\n'; p++) {
		if (n < LOG_PREFIX_MAX + LOG_LINE_MAX - 1)
			buf[n++] = ring_get(r, p);
	}
	buf[n] = '\0';
	*len = n;
	*at = p + 1;
	return true;
}

u64 log_ring_last(const struct log_ring *r, u64 end, u32 count)
{
	u64 oldest = ring_oldest(r), at = end;

	if (end <= oldest)
		return end;
	/* Each step back: over the newline that ends a line, then to the one before it. */
	while (count-- && at > oldest) {
		at--;
		while (at > oldest && ring_get(r, at - 1) != '\n')
			at--;
	}
	return at;
}
