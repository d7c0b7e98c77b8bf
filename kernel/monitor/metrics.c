/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/metrics.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define NS_PER_S 1000000000ull
#define NAME_MAX 160

struct metrics {
	bool (*emit)(const char *line, void *arg);
	void *arg;
	bool stopped;
};

static void put(struct metrics *m, const char *line)
{
	if (!m->stopped)
		m->stopped = !m->emit(line, m->arg);
}

/* The unit as the name ends with it; NULL: a plain number has none. */
static const char *unit_of(const struct stat_desc *d)
{
	if (strcmp(d->unit, "count") == 0)
		return NULL;
	return strcmp(d->unit, "ns") == 0 ? "seconds" : d->unit;
}

static bool ends_with(const char *name, const char *unit)
{
	size_t n = strlen(name), u = strlen(unit);

	return n >= u && strcmp(name + n - u, unit) == 0 && (n == u || name[n - u - 1] == '_');
}

/* "vm.alpha" is of the kind "vm", and the one whose name comes after its dot. */
static int kind_length(const char *scope)
{
	const char *dot = strchr(scope, '.');

	return dot ? (int)(dot - scope) : 0;
}

static void family_name(const struct stat_value *v, char name[NAME_MAX])
{
	const char *unit = unit_of(v->desc);
	int kind = kind_length(v->scope);
	int n = snprintf(name, NAME_MAX, "weir_%.*s%s%s_%s", kind, v->scope, kind ? "_" : "",
			 v->group, v->desc->name);

	if (unit && !ends_with(v->desc->name, unit))
		snprintf(name + n, NAME_MAX - (size_t)n, "_%s", unit);
}

static void put_help(struct metrics *m, const char *name, const char *sentence)
{
	char line[METRICS_LINE_MAX];
	size_t n = (size_t)snprintf(line, sizeof(line), "# HELP %s ", name);

	for (; *sentence && n < sizeof(line) - 2; sentence++) {
		if (*sentence == '"' || *sentence == '\\')
			line[n++] = '\\';
		line[n++] = *sentence;
	}
	line[n] = 0;
	put(m, line);
}

static void put_family(struct metrics *m, const struct stat_value *v, const char *name)
{
	char line[METRICS_LINE_MAX];
	const char *unit = unit_of(v->desc);

	snprintf(line, sizeof(line), "# TYPE %s %s", name, v->desc->level ? "gauge" : "counter");
	put(m, line);
	if (unit) {
		snprintf(line, sizeof(line), "# UNIT %s %s", name, unit);
		put(m, line);
	}
	put_help(m, name, v->desc->sentence);
}

/* A VM's name has no character that a label would have to escape (docs/configuration.md). */
static void put_value(struct metrics *m, const struct stat_value *v, const char *name)
{
	char line[METRICS_LINE_MAX], label[64] = "";
	unsigned long long value = v->value;
	int kind = kind_length(v->scope), n;

	if (kind)
		snprintf(label, sizeof(label), "{%.*s=\"%s\"}", kind, v->scope,
			 v->scope + kind + 1);
	n = snprintf(line, sizeof(line), "%s%s%s ", name, v->desc->level ? "" : "_total", label);
	if (strcmp(v->desc->unit, "ns") == 0)
		snprintf(line + n, sizeof(line) - (size_t)n, "%llu.%09llu", value / NS_PER_S,
			 value % NS_PER_S);
	else
		snprintf(line + n, sizeof(line) - (size_t)n, "%llu", value);
	put(m, line);
}

static void show(const struct stat_value *v, bool first, void *arg)
{
	struct metrics *m = arg;
	char name[NAME_MAX];

	if (m->stopped)
		return;
	family_name(v, name);
	if (first)
		put_family(m, v, name);
	put_value(m, v, name);
}

void metrics_each_line(bool (*emit)(const char *line, void *arg), void *arg)
{
	struct metrics m = {.emit = emit, .arg = arg};

	stat_for_each_family(show, &m);
	put(&m, "# EOF");
}
