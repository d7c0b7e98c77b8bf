/* SPDX-License-Identifier: MIT */
#include "kernel/base/console.h"
#include "kernel/base/log_ring.h"

/* console lock */
static struct log_ring ring;
static char replay_line[LOG_PREFIX_MAX + LOG_LINE_MAX];
static bool held;
static u64 shown_to; /* in the ring: what is before it does not wait */

/* set at boot */
static enum log_level shown_level = LOG_INFO;
static u64 (*clock_source)(void);
static u32 (*cpu_id_source)(void);

void log_set_level(enum log_level level)
{
	WRITE_ONCE(shown_level, level);
}

void log_set_clock(u64 (*clock_ns)(void))
{
	WRITE_ONCE(clock_source, clock_ns);
}

void log_set_cpu_id(u32 (*cpu_id)(void))
{
	WRITE_ONCE(cpu_id_source, cpu_id);
}

u32 log_cpu_id(void)
{
	u32 (*source)(void) = READ_ONCE(cpu_id_source);

	return source ? source() : 0;
}

u64 log_clock_ns(void)
{
	u64 (*clock)(void) = READ_ONCE(clock_source);

	return clock ? clock() : 0;
}

/* The console lock is held. */
static bool show(const char *mark, const char *line, size_t len)
{
	u32 level = (u32)(*mark - LOG_MARK_HIDDEN);

	return *mark < LOG_MARK_SHOWN && level <= (u32)READ_ONCE(shown_level) &&
	       console_emit_line(line, len);
}

static void set_shown(char *mark)
{
	*mark = (char)(*mark - LOG_MARK_HIDDEN + LOG_MARK_SHOWN);
}

/*
 * The first line that waits. False: none does. The console lock is held, with interrupts off: one is as
 * much as is shown at a time.
 */
static bool show_next(void)
{
	u64 mark_at;
	size_t len;

	while (log_ring_next(&ring, &shown_to, ring.head, replay_line, &len, &mark_at)) {
		char *mark = log_ring_byte(&ring, mark_at);

		if (!show(mark, replay_line, len))
			continue;
		set_shown(mark);
		console_flush();
		return true;
	}
	return false;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[LOG_PREFIX_MAX + LOG_LINE_MAX];
	struct console_hold hold;
	bool at_once, shown;
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	len = log_format(line, level, log_clock_ns(), log_cpu_id(), fmt, ap);
	va_end(ap);

	hold = console_lock();
	at_once = hold.nested || console_locks_are_broken();
	shown = at_once && level <= READ_ONCE(shown_level) && console_emit_line(line, len);
	log_ring_add(&ring, level, shown, line, len);
	if (shown)
		console_flush();
	/* In the order of coming: it is this one, unless others wait. */
	if (!at_once && !held)
		show_next();
	console_unlock(hold);
}

void log_hold(void)
{
	struct console_hold hold = console_lock();

	held = true;
	console_unlock(hold);
}

void log_release(void)
{
	bool more = true;

	/* Who writes meanwhile shows as many as come to those that wait, so there is an end. */
	while (more) {
		struct console_hold hold = console_lock();

		held = false;
		more = show_next();
		console_unlock(hold);
	}
}

void log_replay(void)
{
	struct console_hold hold = console_lock();
	u64 at = 0, mark_at;
	size_t len;

	while (log_ring_next(&ring, &at, ring.head, replay_line, &len, &mark_at)) {
		char *mark = log_ring_byte(&ring, mark_at);

		if (show(mark, replay_line, len))
			set_shown(mark);
	}
	console_flush();
	console_unlock(hold);
}

u64 log_mark(void)
{
	return READ_ONCE(ring.head);
}

static bool any_hidden(u64 at, u64 end)
{
	u64 mark_at;
	size_t len;

	while (log_ring_next(&ring, &at, end, replay_line, &len, &mark_at)) {
		if (*log_ring_byte(&ring, mark_at) < LOG_MARK_SHOWN)
			return true;
	}
	return false;
}

void log_show_last(u64 mark, u32 lines)
{
	static const char heading[] = "--- the log before that, some of it not shown yet:";
	struct console_hold hold = console_lock();
	u64 at = log_ring_last(&ring, mark, lines), mark_at;
	size_t len;

	if (any_hidden(at, mark)) {
		console_emit_line(heading, sizeof(heading) - 1);
		while (log_ring_next(&ring, &at, mark, replay_line, &len, &mark_at))
			console_emit_line(replay_line, len);
	}
	console_flush();
	console_unlock(hold);
}

u64 log_tail(u32 lines)
{
	struct console_hold hold = console_lock();
	u64 at = log_ring_last(&ring, ring.head, lines);

	console_unlock(hold);
	return at;
}

bool log_next(u64 *at, char *line)
{
	struct console_hold hold = console_lock();
	u64 mark_at;
	size_t len;
	bool more = log_ring_next(&ring, at, ring.head, line, &len, &mark_at);

	console_unlock(hold);
	return more;
}
