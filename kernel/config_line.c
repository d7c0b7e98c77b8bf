/* SPDX-License-Identifier: MIT */
/* A module's line, taken apart into words; whether they go together others say. */
#include "kernel/config_private.h"

#include "kernel/base/printf.h"
#include "kernel/base/string.h"

static const char *const keys[LINE_WORDS] = {
	[LINE_VM] = "vm=",	   [LINE_MEM] = "mem=",		  [LINE_VCPUS] = "vcpus=",
	[LINE_MMU] = "mmu=",	   [LINE_RMA] = "rma=",		  [LINE_PSIZE] = "psize=",
	[LINE_WEIGHT] = "weight=", [LINE_ON_CRASH] = "on_crash=", [LINE_CAP] = "cap=",
	[LINE_CPUS] = "cpus=",	   [LINE_MIN] = "min=",		  [LINE_MAX] = "max=",
	[LINE_SHARES] = "shares=", [LINE_SHARE] = "share=",	  [LINE_MODULES] = "modules=",
};

static const char *const kinds[] = {
	[CONFIG_KERNEL] = "kernel",
	[CONFIG_INITRD] = "initrd",
	[CONFIG_MODULE] = "module",
};

static void __printf_like(2, 3) line_fault(struct config_line *l, const char *fmt, ...)
{
	va_list ap;

	if (l->fault[0])
		return;
	va_start(ap, fmt);
	vsnprintf(l->fault, sizeof(l->fault), fmt, ap);
	va_end(ap);
}

static void take_value(struct config_line *l, enum line_word i, const struct word *w, struct word v)
{
	if (l->word[i].at)
		line_fault(l, "'%.*s' comes a second time: keep one", WORD_ARGS(w));
	else if (v.at == v.end)
		line_fault(l, "'%.*s' has no value: give it one", WORD_ARGS(w));
	else
		l->word[i] = v;
}

static void take_kind(struct config_line *l, const struct word *w, enum config_module_kind kind)
{
	if (l->kind_set)
		line_fault(l, "'%.*s' is a second kind: a module is one of kernel, initrd, module",
			   WORD_ARGS(w));
	l->kind_set = true;
	l->kind = kind;
}

static void tell_unknown(struct config_line *l, const struct word *w)
{
	char known[128];
	size_t n = 0;

	for (u32 i = LINE_VM + 1; i < LINE_WORDS; i++)
		n = min(n + (size_t)snprintf(known + n, sizeof(known) - n, " %s", keys[i]),
			sizeof(known) - 1);
	line_fault(l,
		   "unknown word '%.*s': known are vm= kernel initrd module%s; the guest's own "
		   "words go after --",
		   WORD_ARGS(w), known);
}

static void take_word(struct config_line *l, const struct word *w)
{
	int kind = word_index(w, kinds, ARRAY_SIZE(kinds));

	if (kind >= 0) {
		take_kind(l, w, (enum config_module_kind)kind);
		return;
	}
	for (u32 i = 0; i < LINE_WORDS; i++) {
		size_t n = strlen(keys[i]);

		if ((size_t)(w->end - w->at) >= n && memcmp(w->at, keys[i], n) == 0) {
			take_value(l, (enum line_word)i, w, (struct word){w->at + n, w->end});
			return;
		}
	}
	tell_unknown(l, w);
}

void config_line_parse(struct config_line *l, const char *text)
{
	struct word w;

	memset(l, 0, sizeof(*l));
	l->guest_cmdline = "";
	while (word_next(&text, &w)) {
		if (word_is(&w, "--")) {
			l->guest_cmdline = word_skip_blanks(text);
			return;
		}
		take_word(l, &w);
	}
}

const char *config_line_kernels_word(const struct config_line *l)
{
	for (u32 i = LINE_VM + 1; i < LINE_WORDS; i++) {
		if (l->word[i].at)
			return keys[i];
	}
	return NULL;
}
