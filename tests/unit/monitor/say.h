/* SPDX-License-Identifier: MIT */
/* What a command of one argument says. */
#ifndef TESTS_UNIT_MONITOR_SAY_H
#define TESTS_UNIT_MONITOR_SAY_H

#include "tests/unit/monitor/said.h"

/* With this argument, or none where it is empty. */
static const char *say(void (*command)(u32 argc, char **argv), const char *word)
{
	char text[32], *argv[] = {text};

	strlcpy(text, word, sizeof(text));
	said[0] = 0;
	command(word[0] != 0, argv);
	return said;
}

#endif
