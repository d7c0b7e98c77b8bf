/* SPDX-License-Identifier: MIT */
#include "kernel/config_private.h"

#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "mem/reclaim_policy.h"

/* --- words --- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

const char *word_skip_blanks(const char *at)
{
	while (is_space(*at))
		at++;
	return at;
}

bool word_next(const char **cursor, struct word *w)
{
	const char *p = word_skip_blanks(*cursor);

	w->at = p;
	while (*p && !is_space(*p))
		p++;
	w->end = p;
	*cursor = p;
	return w->end > w->at;
}

bool word_is(const struct word *w, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(w->end - w->at) == n && memcmp(w->at, text, n) == 0;
}

bool word_value(const struct word *w, const char *key, struct word *value)
{
	size_t n = strlen(key);

	if ((size_t)(w->end - w->at) <= n || memcmp(w->at, key, n) || w->at[n] != '=')
		return false;
	value->at = w->at + n + 1;
	value->end = w->end;
	return true;
}

int word_index(const struct word *w, const char *const *names, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		if (word_is(w, names[i]))
			return (int)i;
	}
	return -1;
}

bool word_is_name(const struct word *w)
{
	if ((size_t)(w->end - w->at) >= CONFIG_NAME_MAX)
		return false;
	for (const char *p = w->at; p < w->end; p++) {
		bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			  (*p >= '0' && *p <= '9') || *p == '-' || *p == '_' || *p == '.';

		if (!ok)
			return false;
	}
	return true;
}

/* --- what is wrong --- */

void config_message(struct weir_config *c, const char *fmt, ...)
{
	va_list ap;

	if (c->message_count < ARRAY_SIZE(c->messages)) {
		va_start(ap, fmt);
		vsnprintf(c->messages[c->message_count], CONFIG_MESSAGE_MAX, fmt, ap);
		va_end(ap);
	}
	c->message_count++;
}

void config_refuse(struct vm_config *vm, const char *fmt, ...)
{
	va_list ap;
	int used = 0;

	if (vm->refused)
		return;
	vm->refused = true;
	if (vm->line)
		used = snprintf(vm->message, sizeof(vm->message), "module %u: ", vm->line);
	va_start(ap, fmt);
	vsnprintf(vm->message + used, sizeof(vm->message) - (size_t)used, fmt, ap);
	va_end(ap);
}

/* --- modules --- */

static struct vm_config *find_vm(struct weir_config *c, const struct word *name)
{
	struct vm_config *vm;

	for (u32 i = 0; i < c->vm_count; i++) {
		if (word_is(name, c->vms[i].name))
			return &c->vms[i];
	}
	if (c->vm_count == CONFIG_VMS_MAX)
		return NULL;
	vm = &c->vms[c->vm_count];
	memset(vm, 0, sizeof(*vm));
	vm->modules = c->modules[c->vm_count++];
	memcpy(vm->name, name->at, (size_t)(name->end - name->at));
	vm->vcpus = 1;
	vm->weight = 100;
	return vm;
}

static u32 count_kind(const struct vm_config *vm, enum config_module_kind kind)
{
	u32 n = 0;

	for (u32 i = 0; i < vm->module_count; i++)
		n += vm->modules[i].kind == kind;
	return n;
}

static void take_module(struct vm_config *vm, const struct config_line *l,
			const struct boot_module *b, u32 index)
{
	const char *kernels = config_line_kernels_word(l);
	struct config_module *m;

	if (vm->module_count == CONFIG_MODULES_MAX) {
		config_refuse(vm, "module %u is one too many: a VM has at most %u", index + 1,
			      CONFIG_MODULES_MAX);
		return;
	}
	if (l->kind != CONFIG_KERNEL && kernels)
		config_refuse(vm, "module %u: %s belongs on the kernel's line: move it", index + 1,
			      kernels);
	if (l->kind != CONFIG_MODULE && count_kind(vm, l->kind))
		config_refuse(vm,
			      "module %u is a second %s: keep one (others are of kind 'module')",
			      index + 1, l->kind == CONFIG_KERNEL ? "kernel" : "initrd");
	if (b->size == 0)
		config_refuse(vm, "module %u is empty: check the file that GRUB loaded", index + 1);
	m = &vm->modules[vm->module_count++];
	m->kind = l->kind;
	m->boot_index = index;
	m->start = b->start;
	m->size = b->size;
	if (strlcpy(m->cmdline, l->guest_cmdline, sizeof(m->cmdline)) >= sizeof(m->cmdline))
		config_refuse(
			vm, "module %u: the words after -- are longer than %u bytes: shorten them",
			index + 1, CONFIG_CMDLINE_MAX - 1);
	if (l->kind == CONFIG_KERNEL) {
		vm->line = index + 1;
		config_take_kernel(vm, l);
		vm->line = 0;
	}
}

/* Whose the line is, the module's with this number; NULL, with a message: nobody's. */
static struct vm_config *vm_of_line(struct weir_config *c, const struct config_line *l, u32 number)
{
	const struct word *name = &l->word[LINE_VM];
	struct vm_config *vm;

	if (!name->at) {
		if (l->fault[0])
			config_message(c, "module %u is ignored: %s", number, l->fault);
		else
			config_message(c,
				       "module %u is ignored: it has no vm= word: say whose it is, "
				       "as in 'vm=alpha kernel'",
				       number);
		return NULL;
	}
	if (!word_is_name(name)) {
		config_message(
			c,
			"module %u is ignored: vm=%.*s is no name: use 1 to %u of a-z A-Z 0-9 "
			"- _ .",
			number, WORD_ARGS(name), CONFIG_NAME_MAX - 1);
		return NULL;
	}
	vm = find_vm(c, name);
	if (!vm)
		config_message(c, "module %u is ignored: vm=%.*s is one VM too many: at most %u",
			       number, WORD_ARGS(name), CONFIG_VMS_MAX);
	return vm;
}

static struct config_line line; /* too large for a stack; boot is single-threaded */

static void parse_module(struct weir_config *c, const struct boot_module *b, u32 index)
{
	struct config_line *l = &line;
	struct vm_config *vm;

	config_line_parse(l, b->cmdline);
	vm = vm_of_line(c, l, index + 1);
	if (!vm)
		return;
	if (b->cmdline_cut)
		config_refuse(vm, "module %u: its line is longer than %u bytes: shorten it",
			      index + 1, BOOT_MODULE_CMDLINE - 1);
	if (l->fault[0])
		config_refuse(vm, "module %u: %s", index + 1, l->fault);
	if (!l->kind_set) {
		config_refuse(vm, "module %u has no kind: add one of kernel, initrd, module",
			      index + 1);
		return;
	}
	take_module(vm, l, b, index);
}

/* Without it the VM is not what was asked for; it may have lost all of its modules. */
static void parse_dropped(struct weir_config *c, const struct boot_dropped *d)
{
	struct vm_config *vm;

	config_line_parse(&line, d->vm);
	vm = vm_of_line(c, &line, d->number);
	if (vm)
		config_refuse(vm, "module %u is one too many: Weir takes at most %u", d->number,
			      BOOT_MODULES_MAX);
}

static void finish_vm(struct vm_config *vm)
{
	if (!count_kind(vm, CONFIG_KERNEL))
		config_refuse(vm, "it has no kernel: add a module line 'vm=%s kernel mem=256M'",
			      vm->name);
	for (u32 i = 0; i < vm->module_count; i++) {
		if (vm->modules[i].kind == CONFIG_KERNEL)
			vm->line = vm->modules[i].boot_index + 1;
	}
	config_check_memory(vm);
	vm->line = 0;
}

/* The number of a group is that of its first VM, from 1; who names none has one of its own. */
static void number_groups(struct weir_config *c)
{
	for (u32 i = 0; i < c->vm_count; i++) {
		u32 first = 0;

		while (first < i &&
		       (!c->vms[i].share[0] || strcmp(c->vms[i].share, c->vms[first].share) != 0))
			first++;
		c->vms[i].share_group = first + 1;
	}
}

void config_parse(const struct boot_info *boot, struct weir_config *out)
{
	const char *cursor = boot->cmdline;
	struct word w;

	memset(out, 0, sizeof(*out));
	out->console_port = 0x3f8;
	out->console_baud = CONFIG_BAUD_DEFAULT;
	out->loglevel = LOG_INFO;
	out->tax = RECLAIM_TAX_DEFAULT;
	out->when_done = WHEN_DONE_HALT;
	out->apicv = VMX_APICV_ALL;
	while (word_next(&cursor, &w))
		config_take_own(out, &w);
	for (u32 i = 0; i < boot->module_count; i++)
		parse_module(out, &boot->modules[i], i);
	for (u32 i = 0; i < boot->dropped_count; i++)
		parse_dropped(out, &boot->dropped[i]);
	for (u32 i = 0; boot->dropped_more && i < out->vm_count; i++)
		config_refuse(&out->vms[i], "it may have lost a module: Weir takes at most %u",
			      BOOT_MODULES_MAX);
	if (boot->modules_dropped)
		config_message(out, "%u modules are ignored: Weir takes at most %u",
			       boot->modules_dropped, BOOT_MODULES_MAX);
	for (u32 i = 0; i < out->vm_count; i++)
		finish_vm(&out->vms[i]);
	number_groups(out);
}
