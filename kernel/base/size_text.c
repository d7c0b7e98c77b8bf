/* SPDX-License-Identifier: MIT */
#include "kernel/base/size_text.h"
#include "kernel/base/printf.h"

struct size_text size_text(u64 bytes)
{
	static const char units[] = "KMGT";
	struct size_text t;
	u32 unit = 0;

	while (bytes && is_aligned(bytes, 1024ull) && unit < sizeof(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	if (unit)
		snprintf(t.text, sizeof(t.text), "%llu%c", (unsigned long long)bytes,
			 units[unit - 1]);
	else
		snprintf(t.text, sizeof(t.text), "%llu", (unsigned long long)bytes);
	return t;
}
