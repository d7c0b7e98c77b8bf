/* SPDX-License-Identifier: MIT */
/* Weir's own command line: a table of its words. */
#include "kernel/config_memory.h"
#include "kernel/config_private.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "mem/reclaim_policy.h"

#define MEM_MAX	 GIB(1024)
#define BAUD_MAX CONFIG_BAUD_DEFAULT
#define PAGE_2M	 MIB(2)

int config_parse_console(const char *at, const char *end, u16 *port, u32 *baud)
{
	const char *comma = memchr(at, ',', (size_t)(end - at));
	struct word name = {at, comma ? comma : end};
	u64 n, rate;

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
	if (comma) {
		if (parse_u64(comma + 1, end, &rate) || rate == 0 || rate > BAUD_MAX ||
		    BAUD_MAX % rate)
			return ERR_INVAL;
		*baud = (u32)rate;
	}
	*port = (u16)n;
	return 0;
}

/* Each takes a value, or says that it cannot: false, and nothing is changed. */

static bool take_console(struct weir_config *c, const struct word *v)
{
	return !config_parse_console(v->at, v->end, &c->console_port, &c->console_baud);
}

static bool take_loglevel(struct weir_config *c, const struct word *v)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	int i = word_index(v, names, ARRAY_SIZE(names));

	c->loglevel = i < 0 ? c->loglevel : (u32)i;
	return i >= 0;
}

static bool take_when_done(struct weir_config *c, const struct word *v)
{
	static const char *const names[] = {"halt", "poweroff", "reboot"};
	int i = word_index(v, names, ARRAY_SIZE(names));

	c->when_done = i < 0 ? c->when_done : (enum config_when_done)i;
	return i >= 0;
}

static bool take_panic(struct weir_config *c, const struct word *v)
{
	static const char *const names[] = {"halt", "reboot"};
	int i = word_index(v, names, ARRAY_SIZE(names));

	c->panic_reboots = i < 0 ? c->panic_reboots : i == 1;
	return i >= 0;
}

static bool take_max_cpus(struct weir_config *c, const struct word *v)
{
	u64 n;

	if (parse_u64(v->at, v->end, &n) || n == 0 || n > 0xffff)
		return false;
	c->max_cpus = (u32)n;
	return true;
}

static bool take_rma_pool(struct weir_config *c, const struct word *v)
{
	u64 n;

	if (parse_size(v->at, v->end, &n) || n == 0 || n > MEM_MAX || !is_aligned(n, PAGE_2M))
		return false;
	c->rma_pool = n;
	return true;
}

static bool take_watermarks(struct weir_config *c, const struct word *v)
{
	return !config_parse_watermarks(v->at, v->end, c->watermarks);
}

static bool take_tax(struct weir_config *c, const struct word *v)
{
	u64 n;

	if (parse_u64(v->at, v->end, &n) || n > RECLAIM_TAX_MAX)
		return false;
	c->tax = (u32)n;
	return true;
}

static bool take_swap(struct weir_config *c, const struct word *v)
{
	struct swap_name name;
	size_t len = (size_t)(v->end - v->at);

	if (len >= sizeof(c->swap) || swap_name_parse(v->at, v->end, &name))
		return false;
	memcpy(c->swap, v->at, len);
	c->swap[len] = 0;
	return true;
}

static bool take_switch(const struct word *v, bool *off)
{
	static const char *const names[] = {"on", "off"};
	int i = word_index(v, names, ARRAY_SIZE(names));

	*off = i < 0 ? *off : i == 1;
	return i >= 0;
}

static bool take_mitigations(struct weir_config *c, const struct word *v)
{
	return take_switch(v, &c->mitigations_off);
}

static bool take_numa(struct weir_config *c, const struct word *v)
{
	return take_switch(v, &c->numa_off);
}

static bool take_pstate(struct weir_config *c, const struct word *v)
{
	static const char *const names[] = {"highest", "firmware"};
	int i = word_index(v, names, ARRAY_SIZE(names));

	c->pstate_firmware = i < 0 ? c->pstate_firmware : i == 1;
	return i >= 0;
}

static bool take_unrestricted(struct weir_config *c, const struct word *v)
{
	return take_switch(v, &c->unrestricted_off);
}

static bool take_apicv(struct weir_config *c, const struct word *v)
{
	static const char *const names[] = {"on",     "posted", "full", "registers",
					    "access", "tpr",	"off"};
	static const enum vmx_apicv apicv[] = {
		VMX_APICV_ALL,	  VMX_APICV_POSTED, VMX_APICV_FULL, VMX_APICV_REGISTERS,
		VMX_APICV_ACCESS, VMX_APICV_TPR,    VMX_APICV_OFF};
	int i = word_index(v, names, ARRAY_SIZE(names));

	static_assert(ARRAY_SIZE(apicv) == ARRAY_SIZE(names), "each name has one");
	c->apicv = i < 0 ? c->apicv : apicv[i];
	return i >= 0;
}

static bool take_selftest(struct weir_config *c, const struct word *v)
{
	size_t len = (size_t)(v->end - v->at);

	if (len == 0 || len >= sizeof(c->selftest_names))
		return false;
	c->selftest = true;
	memcpy(c->selftest_names, v->at, len);
	c->selftest_names[len] = 0;
	return true;
}

static const struct {
	const char *key;
	bool (*take)(struct weir_config *c, const struct word *v);
	const char *accepted;
} words[] = {
	{"console", take_console, "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
	{"loglevel", take_loglevel, "loglevel=error|warn|info|debug"},
	{"when_done", take_when_done, "when_done=halt|poweroff|reboot"},
	{"panic", take_panic, "panic=halt|reboot"},
	{"max_cpus", take_max_cpus, "max_cpus=N with N from 1"},
	{"rma_pool", take_rma_pool, "rma_pool=SIZE, a multiple of 2M up to 1024G"},
	{"watermarks", take_watermarks,
	 "watermarks=MIN,LOW,HIGH, sizes from 1M to 1024G, none less than the one before it"},
	{"tax", take_tax, "tax=PERCENT with PERCENT from 0 to 99"},
	{"numa", take_numa, "numa=on|off"},
	{"swap", take_swap, "swap=auto or swap=ataN or swap=ataNpM, N from 0 to 7, M from 1"},
	{"mitigations", take_mitigations, "mitigations=on|off"},
	{"pstate", take_pstate, "pstate=highest|firmware"},
	{"apicv", take_apicv, "apicv=on|posted|full|registers|access|tpr|off"},
	{"unrestricted", take_unrestricted, "unrestricted=on|off"},
	{"selftest", take_selftest, "selftest=all or a list of names with commas"},
};

static void tell_unknown(struct weir_config *c, const struct word *w)
{
	char known[192];
	size_t n = 0;

	for (u32 i = 0; i < ARRAY_SIZE(words); i++)
		n = min(n + (size_t)snprintf(known + n, sizeof(known) - n, " %s=", words[i].key),
			sizeof(known) - 1);
	config_message(c, "command line: unknown word '%.*s' is ignored: known are%s stats monitor",
		       WORD_ARGS(w), known);
}

void config_take_own(struct weir_config *c, const struct word *w)
{
	struct word v;

	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		if (!word_value(w, words[i].key, &v))
			continue;
		if (!words[i].take(c, &v))
			config_message(c, "command line: '%.*s' is ignored: accepted is %s",
				       WORD_ARGS(w), words[i].accepted);
		return;
	}
	if (word_is(w, "stats"))
		c->stats = true;
	else if (word_is(w, "monitor"))
		c->monitor = true;
	else
		tell_unknown(c, w);
}
