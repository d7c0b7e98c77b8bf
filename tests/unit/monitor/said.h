/* SPDX-License-Identifier: MIT */
/* What commands print, a line each: `said` has it all, from where the test emptied it on. */
#ifndef TESTS_UNIT_MONITOR_SAID_H
#define TESTS_UNIT_MONITOR_SAID_H

#include <string.h>
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/monitor/output.h"

static char said[8192];

void monitor_print(const char *fmt, ...)
{
	size_t at = strlen(said);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said + at, sizeof(said) - at, fmt, ap);
	va_end(ap);
	strlcpy(said + strlen(said), "\n", sizeof(said) - strlen(said));
}

#endif
