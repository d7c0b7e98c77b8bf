/* SPDX-License-Identifier: MIT */
/*
 * Counters as OpenMetrics text (OpenMetrics 1.0.0): what only rises is a counter, what falls too a
 * gauge; nanoseconds become seconds. Thread context; takes LOCK_STAT, with emit called under it.
 */
#ifndef KERNEL_MONITOR_METRICS_H
#define KERNEL_MONITOR_METRICS_H

#include "kernel/base/stat.h"

#define METRICS_LINE_MAX 320

/* emit gets each line, without its end; it returns false to have no more. */
void metrics_each_line(bool (*emit)(const char *line, void *arg), void *arg);

#endif
