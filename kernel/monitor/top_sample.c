/* SPDX-License-Identifier: MIT */
/* Counters alone are read, so a VM that ends meanwhile is simply not there any more. */
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/monitor/top.h"
#include "smp/timer.h"

struct sample *top_find(struct samples *s, const char *scope)
{
	for (u32 i = 0; i < s->count; i++) {
		if (strcmp(s->of[i].scope, scope) == 0)
			return &s->of[i];
	}
	return NULL;
}

static struct sample *find_or_make(struct samples *s, const char *scope)
{
	struct sample *of = top_find(s, scope);

	if (of || s->count == CONFIG_VMS_MAX)
		return of;
	of = &s->of[s->count++];
	memset(of, 0, sizeof(*of));
	strlcpy(of->scope, scope, sizeof(of->scope));
	return of;
}

static void note_exit(const struct stat_value *v, void *arg)
{
	struct sample *of = find_or_make(arg, v->scope);

	if (of)
		of->exits[v->desc - vmx_exit_stat_descs] = v->value;
}

static void note_other(const struct stat_value *v, void *arg)
{
	static const struct {
		const char *name;
		size_t offset;
	} wanted[] = {
		{"run", offsetof(struct sample, run_ns)},
		{"vcpus", offsetof(struct sample, vcpus)},
		{"paused", offsetof(struct sample, paused)},
		{"faults", offsetof(struct sample, faults)},
		{"got_page", offsetof(struct sample, resident)},
		{"absent", offsetof(struct sample, absent)},
		{"filled", offsetof(struct sample, filled)},
		{"packed", offsetof(struct sample, packed)},
		{"shared", offsetof(struct sample, shared)},
		{"swapped", offsetof(struct sample, swapped)},
		{"packed_bytes", offsetof(struct sample, packed_bytes)},
		{"working_set", offsetof(struct sample, working_set)},
		{"refaults", offsetof(struct sample, refaults)},
	};
	struct sample *of = find_or_make(arg, v->scope);

	for (u32 i = 0; of && i < ARRAY_SIZE(wanted); i++) {
		if (strcmp(v->desc->name, wanted[i].name) == 0)
			*(u64 *)((u8 *)of + wanted[i].offset) = v->value;
	}
}

void top_take_sample(struct samples *s)
{
	s->count = 0;
	s->ns = clock_ns();
	stat_for_each("vm.*.cpu.*", note_other, s);
	stat_for_each("vm.*.mmu.faults", note_other, s);
	stat_for_each("vm.*.memory.*", note_other, s);
	stat_for_each("vm.*.reclaim.*", note_other, s);
	stat_for_each("vm.*.exits.*", note_exit, s);
}
