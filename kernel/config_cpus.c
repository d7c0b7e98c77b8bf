/* SPDX-License-Identifier: MIT */
#include "kernel/config_cpus.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/string.h"

#define CPUS 64u

static int parse_range(const char *at, const char *end, u64 *cpus)
{
	const char *dash = memchr(at, '-', (size_t)(end - at));
	u64 first, last;

	if (parse_u64(at, dash ? dash : end, &first) || first >= CPUS)
		return ERR_INVAL;
	last = first;
	if (dash && (parse_u64(dash + 1, end, &last) || last >= CPUS || last < first))
		return ERR_INVAL;
	for (u64 cpu = first; cpu <= last; cpu++)
		*cpus |= BIT(cpu);
	return 0;
}

int config_parse_cpus(const char *at, const char *end, u64 *out)
{
	u64 cpus = 0;

	for (;;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		int err = parse_range(at, comma ? comma : end, &cpus);

		if (err)
			return err;
		if (!comma)
			break;
		at = comma + 1;
	}
	*out = cpus;
	return 0;
}

void config_cpus_text(u64 cpus, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (u32 cpu = 0; cpu < CPUS && used < size; cpu++) {
		u32 last = cpu;

		if (!(cpus & BIT(cpu)))
			continue;
		while (last + 1 < CPUS && (cpus & BIT(last + 1)))
			last++;
		used += (size_t)snprintf(text + used, size - used, used ? ",%u" : "%u", cpu);
		if (last > cpu && used < size)
			used += (size_t)snprintf(text + used, size - used, "-%u", last);
		cpu = last;
	}
}
