/* SPDX-License-Identifier: MIT */
/* Commands that show what is counted, and the log. */
#include "kernel/base/log_ring.h"
#include "kernel/base/printf.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/metrics.h"
#include "kernel/monitor/pager.h"

#define LOG_LINES_DEFAULT 40
#define LOG_LINES_MOST	  100000

/* --- stat, metrics --- */

struct stat_listing {
	bool stopped;
};

static void print_counter(const struct stat_value *v, void *arg)
{
	struct stat_listing *l = arg;

	l->stopped = l->stopped || monitor_stopped();
	if (!l->stopped)
		monitor_print("%s %llu %s: %s", v->name, (unsigned long long)v->value,
			      v->desc->unit, v->desc->sentence);
}

static bool print_metric(const char *line, void *arg)
{
	(void)arg;
	monitor_print("%s", line);
	return !monitor_stopped();
}

void command_metrics(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	pager_pass();
	/* A line of the log is no OpenMetrics text. */
	log_hold();
	metrics_each_line(print_metric, NULL);
	log_release();
}

void command_stat(u32 argc, char **argv)
{
	char pattern[EDIT_LINE_MAX + 2] = "*";
	struct stat_listing l = {.stopped = false};

	if (argc && strcmp(argv[0], "-m") == 0) {
		command_metrics(0, NULL);
		return;
	}
	if (argc) {
		bool whole = strchr(argv[0], '*') || strchr(argv[0], '?');

		snprintf(pattern, sizeof(pattern), whole ? "%s" : "*%s*", argv[0]);
	}
	if (!stat_for_each(pattern, print_counter, &l))
		monitor_print("no counter's name fits '%s': stat lists all", argv[0]);
}

/* --- log --- */

void command_log(u32 argc, char **argv)
{
	static char line[LOG_PREFIX_MAX + LOG_LINE_MAX];
	u64 lines = LOG_LINES_DEFAULT, at;
	u64 end = log_mark();

	if (argc && !command_number("LINES", argv[0], &lines))
		return;
	at = log_tail((u32)min(lines, (u64)LOG_LINES_MOST));
	/* What is logged meanwhile is shown as it comes. */
	while (at < end && log_next(&at, line) && !monitor_stopped())
		monitor_print("%s", line);
}
