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

/* A VM's name may have dots and a group's name in it: its other counters fit the pattern, too. */
static void note_exit(const struct stat_value *v, void *arg)
{
	struct sample *of = find_or_make(arg, v->scope);

	if (of && strcmp(v->group, "exits") == 0)
		of->exits[v->desc - vmx_exit_stat_descs] = v->value;
}

static void note_other(const struct stat_value *v, void *arg)
{
	static const struct {
		const char *group, *name;
		size_t offset;
	} wanted[] = {
		{"cpu", "run", offsetof(struct sample, run_ns)},
		{"cpu", "vcpus", offsetof(struct sample, vcpus)},
		{"cpu", "paused", offsetof(struct sample, paused)},
		{"mmu", "faults", offsetof(struct sample, faults)},
		{"memory", "got_page", offsetof(struct sample, resident)},
		{"memory", "absent", offsetof(struct sample, absent)},
		{"memory", "filled", offsetof(struct sample, filled)},
		{"memory", "packed", offsetof(struct sample, packed)},
		{"memory", "shared", offsetof(struct sample, shared)},
		{"memory", "swapped", offsetof(struct sample, swapped)},
		{"reclaim", "packed_bytes", offsetof(struct sample, packed_bytes)},
		{"reclaim", "working_set", offsetof(struct sample, working_set)},
		{"reclaim", "refaults", offsetof(struct sample, refaults)},
	};
	struct sample *of = find_or_make(arg, v->scope);

	for (u32 i = 0; of && i < ARRAY_SIZE(wanted); i++) {
		if (strcmp(v->group, wanted[i].group) == 0 &&
		    strcmp(v->desc->name, wanted[i].name) == 0)
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
