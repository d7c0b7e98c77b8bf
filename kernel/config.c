/* SPDX-License-Identifier: MIT */
#include "kernel/config.h"
#include "kernel/config_cpus.h"
#include "kernel/config_memory.h"
#include "kernel/config_private.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "mem/reclaim_policy.h"

#define MEM_MAX	   GIB(1024)
#define BAUD_MAX   115200
#define WEIGHT_MAX 10000u
#define CAP_MAX	   6400u /* 64 CPUs */
#define PAGE_2M	   MIB(2)

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool next_word(const char **cursor, struct word *w)
{
	const char *p = *cursor;

	while (is_space(*p))
		p++;
	w->at = p;
	while (*p && !is_space(*p))
		p++;
	w->end = p;
	*cursor = p;
	return w->end > w->at;
}

static bool word_is(const struct word *w, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(w->end - w->at) == n && memcmp(w->at, text, n) == 0;
}

/* "key=value": the value, or false. */
static bool word_value(const struct word *w, const char *key, struct word *value)
{
	size_t n = strlen(key);

	if ((size_t)(w->end - w->at) <= n || memcmp(w->at, key, n) || w->at[n] != '=')
		return false;
	value->at = w->at + n + 1;
	value->end = w->end;
	return true;
}

static void __printf_like(2, 3) add_message(struct weir_config *c, const char *fmt, ...)
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

	if (vm->refused)
		return;
	vm->refused = true;
	va_start(ap, fmt);
	vsnprintf(vm->message, sizeof(vm->message), fmt, ap);
	va_end(ap);
}

/* --- Weir's own command line --- */

int config_parse_console(const char *at, const char *end, u16 *port, u32 *baud)
{
	const char *comma = memchr(at, ',', (size_t)(end - at));
	struct word name = {at, comma ? comma : end};
	u64 n;

	if (word_is(&name, "none"))
		n = 0;
	else if (word_is(&name, "com1"))
		n = 0x3f8;
	else if (word_is(&name, "com2"))
		n = 0x2f8;
	else if (word_is(&name, "com3"))
		n = 0x3e8;
	else if (word_is(&name, "com4"))
		n = 0x2e8;
	else if (parse_u64(name.at, name.end, &n) || n == 0 || n > 0xfff8)
		return ERR_INVAL;
	*port = (u16)n;
	if (comma) {
		if (parse_u64(comma + 1, end, &n) || n == 0 || n > BAUD_MAX || BAUD_MAX % n)
			return ERR_INVAL;
		*baud = (u32)n;
	}
	return 0;
}

static bool parse_loglevel(const struct word *w, u32 *out)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		if (word_is(w, names[i])) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool parse_apicv(const struct word *w, enum vmx_apicv *out)
{
	static const struct {
		const char *name;
		enum vmx_apicv apicv;
	} names[] = {{"on", VMX_APICV_ALL},
		     {"full", VMX_APICV_FULL},
		     {"registers", VMX_APICV_REGISTERS},
		     {"access", VMX_APICV_ACCESS},
		     {"tpr", VMX_APICV_TPR},
		     {"off", VMX_APICV_OFF}};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		if (word_is(w, names[i].name)) {
			*out = names[i].apicv;
			return true;
		}
	}
	return false;
}

static bool parse_when_done(const struct word *w, enum config_when_done *out)
{
	static const char *const names[] = {"halt", "poweroff", "reboot"};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		if (word_is(w, names[i])) {
			*out = i;
			return true;
		}
	}
	return false;
}

static void bad_value(struct weir_config *c, const struct word *w, const char *accepted)
{
	add_message(c, "command line: '%.*s' is ignored: accepted is %s", WORD_ARGS(w), accepted);
}

static void parse_swap(struct weir_config *c, const struct word *w, const struct word *v)
{
	struct swap_name name;
	size_t len = (size_t)(v->end - v->at);

	if (len >= sizeof(c->swap) || swap_name_parse(v->at, v->end, &name)) {
		bad_value(c, w, "swap=auto or swap=ataN or swap=ataNpM, N from 0 to 7, M from 1");
		return;
	}
	memcpy(c->swap, v->at, len);
	c->swap[len] = 0;
}

static void parse_own_word(struct weir_config *c, const struct word *w)
{
	struct word v;
	u64 n;

	if (word_value(w, "console", &v)) {
		if (config_parse_console(v.at, v.end, &c->console_port, &c->console_baud))
			bad_value(c, w,
				  "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200");
	} else if (word_value(w, "loglevel", &v)) {
		if (!parse_loglevel(&v, &c->loglevel))
			bad_value(c, w, "loglevel=error|warn|info|debug");
	} else if (word_value(w, "when_done", &v)) {
		if (!parse_when_done(&v, &c->when_done))
			bad_value(c, w, "when_done=halt|poweroff|reboot");
	} else if (word_value(w, "max_cpus", &v)) {
		if (parse_u64(v.at, v.end, &n) || n == 0 || n > 0xffff)
			bad_value(c, w, "max_cpus=N with N from 1");
		else
			c->max_cpus = (u32)n;
	} else if (word_value(w, "rma_pool", &v)) {
		if (parse_size(v.at, v.end, &n) || n == 0 || n > MEM_MAX || !is_aligned(n, PAGE_2M))
			bad_value(c, w, "rma_pool=SIZE, a multiple of 2M up to 1024G");
		else
			c->rma_pool = n;
	} else if (word_value(w, "watermarks", &v)) {
		if (config_parse_watermarks(v.at, v.end, c->watermarks))
			bad_value(c, w,
				  "watermarks=MIN,LOW,HIGH, sizes from 1M to 1024G, none less than "
				  "the one before it");
	} else if (word_value(w, "tax", &v)) {
		if (parse_u64(v.at, v.end, &n) || n > RECLAIM_TAX_MAX)
			bad_value(c, w, "tax=PERCENT with PERCENT from 0 to 99");
		else
			c->tax = (u32)n;
	} else if (word_value(w, "swap", &v)) {
		parse_swap(c, w, &v);
	} else if (word_value(w, "mitigations", &v)) {
		if (word_is(&v, "off") || word_is(&v, "on"))
			c->mitigations_off = word_is(&v, "off");
		else
			bad_value(c, w, "mitigations=on|off");
	} else if (word_value(w, "apicv", &v)) {
		if (!parse_apicv(&v, &c->apicv))
			bad_value(c, w, "apicv=on|full|registers|access|tpr|off");
	} else if (word_value(w, "unrestricted", &v)) {
		if (word_is(&v, "off") || word_is(&v, "on"))
			c->unrestricted_off = word_is(&v, "off");
		else
			bad_value(c, w, "unrestricted=on|off");
	} else if (word_is(w, "stats")) {
		c->stats = true;
	} else if (word_is(w, "monitor")) {
		c->monitor = true;
	} else if (word_value(w, "selftest", &v)) {
		size_t len = (size_t)(v.end - v.at);

		if (len == 0 || len >= sizeof(c->selftest_names)) {
			bad_value(c, w, "selftest=all or a list of names with commas");
			return;
		}
		c->selftest = true;
		memcpy(c->selftest_names, v.at, len);
		c->selftest_names[len] = 0;
	} else {
		add_message(c,
			    "command line: unknown word '%.*s' is ignored: known are console= "
			    "loglevel= when_done= max_cpus= rma_pool= watermarks= tax= swap= "
			    "mitigations= apicv= unrestricted= selftest= stats monitor",
			    WORD_ARGS(w));
	}
}

/* --- module lines --- */

/* One module line on its way into a VM. */
struct line {
	/* .at NULL: not there */
	struct word name, vcpus, mmu, on_crash, weight, cap, cpus, share;
	struct memory_words memory;
	bool kind_set;
	enum config_module_kind kind;
	const char *guest_cmdline;
	char fault[CONFIG_MESSAGE_MAX]; /* empty: none */
};

static void __printf_like(2, 3) line_fault(struct line *l, const char *fmt, ...)
{
	va_list ap;

	if (l->fault[0])
		return;
	va_start(ap, fmt);
	vsnprintf(l->fault, sizeof(l->fault), fmt, ap);
	va_end(ap);
}

static void line_key(struct line *l, struct word *slot, const struct word *w, struct word v)
{
	if (slot->at)
		line_fault(l, "'%.*s' comes a second time: keep one", WORD_ARGS(w));
	else if (v.at == v.end)
		line_fault(l, "'%.*s' has no value: give it one", WORD_ARGS(w));
	else
		*slot = v;
}

static void line_kind(struct line *l, const struct word *w, enum config_module_kind kind)
{
	if (l->kind_set)
		line_fault(l, "'%.*s' is a second kind: a module is one of kernel, initrd, module",
			   WORD_ARGS(w));
	l->kind_set = true;
	l->kind = kind;
}

static void line_parse(struct line *l, const char *text)
{
	struct word w, v;

	memset(l, 0, sizeof(*l));
	l->guest_cmdline = "";
	while (next_word(&text, &w)) {
		if (word_is(&w, "--")) {
			while (is_space(*text))
				text++;
			l->guest_cmdline = text;
			return;
		}
		if (word_value(&w, "vm", &v))
			line_key(l, &l->name, &w, v);
		else if (word_value(&w, "mem", &v))
			line_key(l, &l->memory.mem, &w, v);
		else if (word_value(&w, "vcpus", &v))
			line_key(l, &l->vcpus, &w, v);
		else if (word_value(&w, "mmu", &v))
			line_key(l, &l->mmu, &w, v);
		else if (word_value(&w, "rma", &v))
			line_key(l, &l->memory.rma, &w, v);
		else if (word_value(&w, "psize", &v))
			line_key(l, &l->memory.psize, &w, v);
		else if (word_value(&w, "on_crash", &v))
			line_key(l, &l->on_crash, &w, v);
		else if (word_value(&w, "weight", &v))
			line_key(l, &l->weight, &w, v);
		else if (word_value(&w, "cap", &v))
			line_key(l, &l->cap, &w, v);
		else if (word_value(&w, "cpus", &v))
			line_key(l, &l->cpus, &w, v);
		else if (word_value(&w, "min", &v))
			line_key(l, &l->memory.min, &w, v);
		else if (word_value(&w, "max", &v))
			line_key(l, &l->memory.max, &w, v);
		else if (word_value(&w, "shares", &v))
			line_key(l, &l->memory.shares, &w, v);
		else if (word_value(&w, "share", &v))
			line_key(l, &l->share, &w, v);
		else if (word_is(&w, "kernel"))
			line_kind(l, &w, CONFIG_KERNEL);
		else if (word_is(&w, "initrd"))
			line_kind(l, &w, CONFIG_INITRD);
		else if (word_is(&w, "module"))
			line_kind(l, &w, CONFIG_MODULE);
		else
			line_fault(l,
				   "unknown word '%.*s': known are vm= kernel initrd module mem= "
				   "vcpus= mmu= rma= psize= on_crash= weight= cap= cpus= min= "
				   "max= shares= share=; the guest's own words go after --",
				   WORD_ARGS(&w));
	}
}

static bool name_is_sound(const struct word *w)
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

static struct vm_config *find_vm(struct weir_config *c, const struct word *name)
{
	struct vm_config *vm;

	for (u32 i = 0; i < c->vm_count; i++) {
		if (word_is(name, c->vms[i].name))
			return &c->vms[i];
	}
	if (c->vm_count == CONFIG_VMS_MAX)
		return NULL;
	vm = &c->vms[c->vm_count++];
	memset(vm, 0, sizeof(*vm));
	memcpy(vm->name, name->at, (size_t)(name->end - name->at));
	vm->vcpus = 1;
	vm->weight = 100;
	return vm;
}

static void take_scheduling(struct vm_config *vm, const struct line *l)
{
	u64 n;

	if (l->weight.at) {
		if (parse_u64(l->weight.at, l->weight.end, &n) || n < 1 || n > WEIGHT_MAX)
			config_refuse(vm, "weight=%.*s is no weight: give 1 to %u, 100 being usual",
				      WORD_ARGS(&l->weight), WEIGHT_MAX);
		else
			vm->weight = (u32)n;
	}
	if (l->cap.at) {
		if (parse_u64(l->cap.at, l->cap.end, &n) || n > CAP_MAX)
			config_refuse(
				vm,
				"cap=%.*s is no cap: give percent of a CPU, 1 to %u, or 0 for none",
				WORD_ARGS(&l->cap), CAP_MAX);
		else
			vm->cap = (u32)n;
	}
	if (l->cpus.at && config_parse_cpus(l->cpus.at, l->cpus.end, &vm->cpus))
		config_refuse(
			vm,
			"cpus=%.*s is no list of CPUs from 0 to 63: write for example cpus=0,2-3",
			WORD_ARGS(&l->cpus));
}

static void take_share(struct vm_config *vm, const struct word *w)
{
	if (name_is_sound(w))
		memcpy(vm->share, w->at, (size_t)(w->end - w->at));
	else
		config_refuse(vm, "share=%.*s is no name: use 1 to %u of a-z A-Z 0-9 - _ .",
			      WORD_ARGS(w), CONFIG_NAME_MAX - 1);
}

static void take_kernel_words(struct vm_config *vm, const struct line *l)
{
	u64 n;

	take_scheduling(vm, l);
	config_take_memory(vm, &l->memory);
	if (l->share.at)
		take_share(vm, &l->share);
	if (l->vcpus.at) {
		if (parse_u64(l->vcpus.at, l->vcpus.end, &n) || n == 0 || n > CONFIG_VCPUS_MAX)
			config_refuse(vm, "vcpus=%.*s is not a number from 1 to %u: write vcpus=1",
				      WORD_ARGS(&l->vcpus), CONFIG_VCPUS_MAX);
		else
			vm->vcpus = (u32)n;
	}
	if (l->on_crash.at) {
		vm->restart_on_crash = word_is(&l->on_crash, "restart");
		if (!vm->restart_on_crash && !word_is(&l->on_crash, "stop"))
			config_refuse(vm, "on_crash=%.*s is unknown: accepted are restart, stop",
				      WORD_ARGS(&l->on_crash));
	}
	if (!l->mmu.at || word_is(&l->mmu, "auto"))
		vm->mmu = CONFIG_MMU_AUTO;
	else if (word_is(&l->mmu, "ept"))
		vm->mmu = CONFIG_MMU_EPT;
	else if (word_is(&l->mmu, "shadow"))
		vm->mmu = CONFIG_MMU_SHADOW;
	else
		config_refuse(vm, "mmu=%.*s is unknown: accepted are auto, ept, shadow",
			      WORD_ARGS(&l->mmu));
}

static u32 count_kind(const struct vm_config *vm, enum config_module_kind kind)
{
	u32 n = 0;

	for (u32 i = 0; i < vm->module_count; i++)
		n += vm->modules[i].kind == kind;
	return n;
}

static void take_module(struct vm_config *vm, const struct line *l, const struct boot_module *b,
			u32 index)
{
	struct config_module *m;

	if (vm->module_count == CONFIG_MODULES_MAX) {
		config_refuse(vm, "module %u is one too many: a VM has at most %u", index + 1,
			      CONFIG_MODULES_MAX);
		return;
	}
	if (l->kind != CONFIG_KERNEL &&
	    (l->memory.mem.at || l->vcpus.at || l->mmu.at || l->memory.rma.at ||
	     l->memory.psize.at || l->on_crash.at || l->weight.at || l->cap.at || l->cpus.at ||
	     l->memory.min.at || l->memory.max.at || l->memory.shares.at || l->share.at))
		config_refuse(
			vm,
			"module %u: mem=, vcpus=, mmu=, rma=, psize=, on_crash=, weight=, cap=, "
			"cpus=, min=, max=, shares= and share= belong on the kernel's line: move "
			"them",
			index + 1);
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
	if (l->kind == CONFIG_KERNEL)
		take_kernel_words(vm, l);
}

static void parse_module(struct weir_config *c, const struct boot_module *b, u32 index)
{
	static struct line l; /* too large for a stack; boot is single-threaded */
	struct vm_config *vm;

	line_parse(&l, b->cmdline);
	if (!l.name.at) {
		if (l.fault[0])
			add_message(c, "module %u is ignored: %s", index + 1, l.fault);
		else
			add_message(c,
				    "module %u is ignored: it has no vm= word: say whose it is, "
				    "as in 'vm=alpha kernel'",
				    index + 1);
		return;
	}
	if (!name_is_sound(&l.name)) {
		add_message(c,
			    "module %u is ignored: vm=%.*s is no name: use 1 to %u of a-z A-Z 0-9 "
			    "- _ .",
			    index + 1, WORD_ARGS(&l.name), CONFIG_NAME_MAX - 1);
		return;
	}
	vm = find_vm(c, &l.name);
	if (!vm) {
		add_message(c, "module %u is ignored: vm=%.*s is one VM too many: at most %u",
			    index + 1, WORD_ARGS(&l.name), CONFIG_VMS_MAX);
		return;
	}
	if (b->cmdline_cut)
		config_refuse(vm, "module %u: its line is longer than %u bytes: shorten it",
			      index + 1, BOOT_MODULE_CMDLINE - 1);
	if (l.fault[0])
		config_refuse(vm, "module %u: %s", index + 1, l.fault);
	if (!l.kind_set) {
		config_refuse(vm, "module %u has no kind: add one of kernel, initrd, module",
			      index + 1);
		return;
	}
	take_module(vm, &l, b, index);
}

static void finish_vm(struct vm_config *vm)
{
	if (!count_kind(vm, CONFIG_KERNEL))
		config_refuse(vm, "it has no kernel: add a module line 'vm=%s kernel mem=256M'",
			      vm->name);
	config_check_memory(vm);
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
	out->console_baud = BAUD_MAX;
	out->loglevel = LOG_INFO;
	out->tax = RECLAIM_TAX_DEFAULT;
	out->when_done = WHEN_DONE_HALT;
	out->apicv = VMX_APICV_ALL;
	while (next_word(&cursor, &w))
		parse_own_word(out, &w);
	for (u32 i = 0; i < boot->module_count; i++)
		parse_module(out, &boot->modules[i], i);
	if (boot->modules_dropped)
		add_message(out, "%u modules are ignored: Weir takes at most %u",
			    boot->modules_dropped, BOOT_MODULES_MAX);
	for (u32 i = 0; i < out->vm_count; i++)
		finish_vm(&out->vms[i]);
	number_groups(out);
}
