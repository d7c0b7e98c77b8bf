/* SPDX-License-Identifier: MIT */
/*
 * A guest in the place of a Linux that make run boots: from its words and its module it sees whether it
 * was asked for so, says what the first process of that Linux says (tests/guests/init.sh), and powers off.
 */
#include "guest.h"

#define MAGIC	     0x2badb002u
#define PM1A_CONTROL 0x604
#define SLP_EN_S5    (0x2000 | 5 << 10)
#define MODULE	     0x31307830u /* "0x01", with which the test's file begins */

struct info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
};

static bool has_word(const char *text, const char *word)
{
	for (; *text; text++) {
		const char *at = text, *want = word;

		while (*want && *at == *want)
			at++, want++;
		if (!*want && (*at == ' ' || !*at))
			return true;
	}
	return false;
}

void main(u32 magic, const struct info *info)
{
	const char *words = (const char *)info->cmdline;

	if (magic == MAGIC && info->mods_count == 1 &&
	    **(const u32 *const *)info->mods_addr == MODULE &&
	    has_word(words, "console=ttyS0,115200") && has_word(words, "quiet") &&
	    has_word(words, "weir.poweroff")) {
		print("weir-guest: shell ready\n");
		outw(PM1A_CONTROL, SLP_EN_S5);
	}
	check("it was asked for as make run asks for a Linux, and could power off", false);
	guest_end();
}
