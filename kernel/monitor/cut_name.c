/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/cut_name.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

struct cut_name cut_name(const char *name, u32 columns)
{
	u32 n = (u32)strlen(name), left = columns / 2, right = columns - left - 1;
	struct cut_name cut;

	if (n > columns)
		snprintf(cut.text, sizeof(cut.text), "%.*s~%s", (int)left, name, name + n - right);
	else
		strlcpy(cut.text, name, sizeof(cut.text));
	return cut;
}
