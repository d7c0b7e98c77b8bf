/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/output.h"
#include "kernel/base/console.h"
#include "kernel/base/printf.h"
#include "kernel/console_input.h"
#include "kernel/monitor/keys.h"
#include "kernel/monitor/pager.h"

#define DELETE 0x7f

void monitor_emit(const char *line, size_t n)
{
	struct console_hold hold = console_lock();

	console_emit_line(line, n);
	console_flush();
	console_unlock(hold);
}

void monitor_print(const char *fmt, ...)
{
	char line[MONITOR_LINE_MAX];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = min((size_t)vsnprintf(line, sizeof(line), fmt, ap), sizeof(line) - 1);
	va_end(ap);
	for (size_t i = 0; i < n; i++) {
		if ((u8)line[i] < ' ' || (u8)line[i] >= DELETE)
			line[i] = '?';
	}
	pager_put(line, n);
}

void monitor_draw(const char *bytes, size_t n)
{
	console_write(bytes, n);
}

bool monitor_stopped(void)
{
	bool stopped = console_interrupted();

	if (stopped)
		pager_drop();
	return stopped;
}

enum key monitor_key(u64 deadline_ns, char *c)
{
	static struct key_decoder decoder;
	int byte;

	while ((byte = console_getc(deadline_ns)) >= 0) {
		enum key key = key_decode(&decoder, (u8)byte);

		if (key == KEY_NONE)
			continue;
		*c = decoder.character;
		return key;
	}
	return KEY_NONE;
}
