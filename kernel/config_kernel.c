/* SPDX-License-Identifier: MIT */
/* The words of a kernel's line that are not about memory. */
#include "kernel/config_cpus.h"
#include "kernel/config_private.h"

#include "kernel/base/string.h"

#define WEIGHT_MAX 10000u
#define CAP_MAX	   6400u /* 64 CPUs */

static void take_weight(struct vm_config *vm, const struct word *w)
{
	u64 n;

	if (parse_u64(w->at, w->end, &n) || n < 1 || n > WEIGHT_MAX)
		config_refuse(vm, "weight=%.*s is no weight: give 1 to %u, 100 being usual",
			      WORD_ARGS(w), WEIGHT_MAX);
	else
		vm->weight = (u32)n;
}

static void take_cap(struct vm_config *vm, const struct word *w)
{
	u64 n;

	if (parse_u64(w->at, w->end, &n) || n > CAP_MAX)
		config_refuse(vm,
			      "cap=%.*s is no cap: give percent of a CPU, 1 to %u, or 0 for none",
			      WORD_ARGS(w), CAP_MAX);
	else
		vm->cap = (u32)n;
}

static void take_cpus(struct vm_config *vm, const struct word *w)
{
	if (config_parse_cpus(w->at, w->end, &vm->cpus))
		config_refuse(
			vm,
			"cpus=%.*s is no list of CPUs from 0 to 63: write for example cpus=0,2-3",
			WORD_ARGS(w));
}

static void take_share(struct vm_config *vm, const struct word *w)
{
	if (word_is_name(w))
		memcpy(vm->share, w->at, (size_t)(w->end - w->at));
	else
		config_refuse(vm, "share=%.*s is no name: use 1 to %u of a-z A-Z 0-9 - _ .",
			      WORD_ARGS(w), CONFIG_NAME_MAX - 1);
}

static void take_vcpus(struct vm_config *vm, const struct word *w)
{
	u64 n;

	if (parse_u64(w->at, w->end, &n) || n == 0 || n > CONFIG_VCPUS_MAX)
		config_refuse(vm, "vcpus=%.*s is not a number from 1 to %u: write vcpus=1",
			      WORD_ARGS(w), CONFIG_VCPUS_MAX);
	else
		vm->vcpus = (u32)n;
}

static void take_on_crash(struct vm_config *vm, const struct word *w)
{
	vm->restart_on_crash = word_is(w, "restart");
	if (!vm->restart_on_crash && !word_is(w, "stop"))
		config_refuse(vm, "on_crash=%.*s is unknown: accepted are restart, stop",
			      WORD_ARGS(w));
}

static void take_modules(struct vm_config *vm, const struct word *w)
{
	vm->release_modules = word_is(w, "release");
	if (!vm->release_modules && !word_is(w, "keep"))
		config_refuse(vm, "modules=%.*s is unknown: accepted are keep, release",
			      WORD_ARGS(w));
}

static void take_mmu(struct vm_config *vm, const struct word *w)
{
	static const char *const names[] = {
		[CONFIG_MMU_AUTO] = "auto",
		[CONFIG_MMU_EPT] = "ept",
		[CONFIG_MMU_SHADOW] = "shadow",
	};
	int i = word_index(w, names, ARRAY_SIZE(names));

	if (i < 0)
		config_refuse(vm, "mmu=%.*s is unknown: accepted are auto, ept, shadow",
			      WORD_ARGS(w));
	else
		vm->mmu = (u32)i;
}

void config_take_kernel(struct vm_config *vm, const struct config_line *l)
{
	static const struct {
		enum line_word word;
		void (*take)(struct vm_config *vm, const struct word *w);
	} takers[] = {
		{LINE_WEIGHT, take_weight}, {LINE_CAP, take_cap},
		{LINE_CPUS, take_cpus},	    {LINE_SHARE, take_share},
		{LINE_VCPUS, take_vcpus},   {LINE_ON_CRASH, take_on_crash},
		{LINE_MMU, take_mmu},	    {LINE_MODULES, take_modules},
	};

	config_take_memory(vm, l);
	for (u32 i = 0; i < ARRAY_SIZE(takers); i++) {
		const struct word *w = &l->word[takers[i].word];

		if (w->at)
			takers[i].take(vm, w);
	}
	if (vm->restart_on_crash && vm->release_modules)
		config_refuse(vm, "on_crash=restart needs the modules that modules=release gives "
				  "back: leave one of the two out");
}
