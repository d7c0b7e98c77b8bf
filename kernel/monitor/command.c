/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/command.h"
#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/console.h"

#define USAGE_MAX 80

/* Cuts the line at its blanks. Returns how many words there are, which may be more than max. */
static u32 split(char *line, char **words, u32 max)
{
	u32 n = 0;

	for (;;) {
		while (*line == ' ')
			*line++ = 0;
		if (!*line)
			return n;
		if (n < max)
			words[n] = line;
		n++;
		while (*line && *line != ' ')
			line++;
	}
}

bool command_number(const char *what, const char *text, u64 *out)
{
	int err = parse_u64(text, text + strlen(text), out);

	if (err == ERR_RANGE)
		monitor_print("%s '%s' is too large: it has more than 64 bits", what, text);
	else if (err)
		monitor_print("%s '%s' is no number: give digits, or 0x and hexadecimal ones", what,
			      text);
	return err == 0;
}

/* --- finding --- */

static const struct command *find(const char *word, const char *second)
{
	for (u32 i = 0; i < command_count; i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->word, word) == 0 &&
		    (!c->second || (second && strcmp(c->second, second) == 0)))
			return c;
	}
	return NULL;
}

static bool begins_group(u32 i)
{
	return i == 0 || strcmp(commands[i - 1].word, commands[i].word);
}

/* What commands that begin so go on with: "list, show, pause". */
static void list_seconds(const char *word, char *out, size_t size)
{
	size_t at = 0;

	out[0] = 0;
	for (u32 i = 0; i < command_count; i++) {
		if (strcmp(commands[i].word, word) || !commands[i].second)
			continue;
		at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "",
				       commands[i].second);
		if (at >= size)
			return;
	}
}

static void usage(const struct command *c, char out[USAGE_MAX])
{
	snprintf(out, USAGE_MAX, "%s%s%s%s%s", c->word, c->second ? " " : "",
		 c->second ? c->second : "", *c->arguments ? " " : "", c->arguments);
}

/* --- running --- */

static bool count_fits(const struct command *c, u32 argc)
{
	u32 least = 0, most = 0;
	bool optional = false;

	for (const char *k = c->kinds; *k; k++) {
		optional = optional || *k == '|';
		most += *k != '|';
		least += *k != '|' && !optional;
	}
	return argc >= least && argc <= most;
}

static void tell_unknown(const char *word, const char *second)
{
	char seconds[160];

	list_seconds(word, seconds, sizeof(seconds));
	if (strcmp(word, "q") == 0 || strcmp(word, "quit") == 0)
		monitor_print("'%s' is no command: exit goes to the VMs' consoles, poweroff ends "
			      "Weir, help lists all",
			      word);
	else if (!seconds[0] && second && find(word, NULL))
		monitor_print("'%s %s' is no command: help lists them", word, second);
	else if (!seconds[0])
		monitor_print("'%s' is no command: help lists them", word);
	else if (second)
		monitor_print("'%s %s' is no command: after %s comes %s", word, second, word,
			      seconds);
	else
		monitor_print("'%s' alone is no command: after it comes %s", word, seconds);
}

void command_run(char *line)
{
	char *words[COMMAND_WORDS_MAX], text[USAGE_MAX];
	u32 n = split(line, words, COMMAND_WORDS_MAX), own;
	const struct command *c;

	if (n == 0)
		return;
	if (n > COMMAND_WORDS_MAX) {
		monitor_print("%u words are too many: no command has more than %u", n,
			      COMMAND_WORDS_MAX);
		return;
	}
	if (strcmp(words[0], "?") == 0)
		words[0] = "help";
	c = find(words[0], n > 1 ? words[1] : NULL);
	if (!c) {
		tell_unknown(words[0], n > 1 ? words[1] : NULL);
		return;
	}
	own = c->second ? 2 : 1;
	if (count_fits(c, n - own)) {
		c->run(n - own, words + own);
		return;
	}
	usage(c, text);
	monitor_print("it is used so: %s", text);
}

/* --- help --- */

static void print_summary(const struct command *c)
{
	char text[USAGE_MAX];

	usage(c, text);
	monitor_print("  %-28s %s", text, c->summary);
}

static void print_details(const struct command *c)
{
	char text[USAGE_MAX], line[MONITOR_LINE_MAX];
	const char *at = c->details;

	usage(c, text);
	monitor_print("%s", text);
	monitor_print("  %s", c->summary);
	while (at && *at) {
		const char *end = strchr(at, '\n');
		size_t n = end ? (size_t)(end - at) : strlen(at);

		snprintf(line, sizeof(line), "%.*s", (int)n, at);
		monitor_print("  %s", line);
		at += n + (end != NULL);
	}
}

static void help_all(void)
{
	for (u32 i = 0; i < command_count; i++)
		print_summary(&commands[i]);
	monitor_print(
		"help COMMAND tells more. Tab completes, up and down bring back lines, Ctrl-C");
	monitor_print("stops a command. Ctrl-] leads here from a VM's console, and back to it.");
}

void command_help(u32 argc, char **argv)
{
	u32 found = 0;
	const char *second = argc > 1 ? argv[1] : NULL;

	if (!argc) {
		help_all();
		return;
	}
	for (u32 i = 0; i < command_count; i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->word, argv[0]) ||
		    (second && (!c->second || strcmp(c->second, second))))
			continue;
		found++;
		if (second || !c->second)
			print_details(c);
		else
			print_summary(c);
	}
	if (!found)
		tell_unknown(argv[0], second);
}

/* --- completion --- */

static void offer_words(const char *options, struct edit_completion *c)
{
	char word[32];

	while (options && *options) {
		const char *end = strchr(options, ' ');
		size_t n = end ? (size_t)(end - options) : strlen(options);

		snprintf(word, sizeof(word), "%.*s", (int)n, options);
		edit_offer(c, word);
		options += n + (end != NULL);
	}
}

struct counter_names {
	struct edit_completion *c;
	char last[STAT_NAME_MAX];
};

/*
 * How long the part of a counter's name is that ends at the next dot after what is there. A VM's name
 * is in one part, though it may have dots: else such VMs would be found by parts of their names, each
 * anew for every VM that has it. 0: it is the rest.
 */
static size_t counter_part(const char *name, u32 typed)
{
	const char *dot = strchr(name + typed, '.'), *vm;
	size_t part = dot ? (size_t)(dot + 1 - name) : 0, scope = strlen("vm."), end;

	if (!dot || typed < scope || strncmp(name, "vm.", scope))
		return part;
	for (u32 i = 0; (vm = console_vm_name(i)); i++) {
		end = scope + strlen(vm);
		if (end >= part && strncmp(name + scope, vm, end - scope) == 0 && name[end] == '.')
			part = end + 1;
	}
	return part;
}

/* Each part once: there are hundreds of names. */
static void offer_counter(const char *name, void *arg)
{
	struct counter_names *names = arg;
	char part[STAT_NAME_MAX];
	size_t n;

	if (strncmp(name, names->c->word, names->c->length))
		return;
	n = counter_part(name, names->c->length);
	snprintf(part, sizeof(part), "%.*s", n ? (int)n : STAT_NAME_MAX, name);
	if (strcmp(part, names->last) == 0)
		return;
	strlcpy(names->last, part, sizeof(names->last));
	names->c->open = n != 0;
	edit_offer(names->c, part);
}

static void offer_commands(struct edit_completion *c)
{
	for (u32 i = 0; i < command_count; i++) {
		if (begins_group(i))
			edit_offer(c, commands[i].word);
	}
}

static void offer_seconds(const char *word, struct edit_completion *c)
{
	for (u32 i = 0; i < command_count; i++) {
		if (commands[i].second && strcmp(commands[i].word, word) == 0)
			edit_offer(c, commands[i].second);
	}
}

static void offer_argument(const struct command *command, u32 index, char **words,
			   struct edit_completion *c)
{
	struct counter_names names = {.c = c};
	const char *kind = command->kinds;

	for (; *kind && (*kind == '|' || index); kind++)
		index -= *kind != '|';
	switch (*kind) {
	case 'v':
		for (u32 i = 0; console_vm_name(i); i++)
			edit_offer(c, console_vm_name(i));
		break;
	case 's':
		offer_words(command->options, c);
		stat_for_each_name(offer_counter, &names);
		break;
	case 'o':
		offer_words(command->options, c);
		break;
	case 'c':
		if (kind == command->kinds || kind[-1] == '|')
			offer_commands(c);
		else
			offer_seconds(words[1], c);
		break;
	default:
		break;
	}
}

void command_complete(void *arg, const char *line, u32 cursor, struct edit_completion *c)
{
	char text[EDIT_LINE_MAX], *words[COMMAND_WORDS_MAX];
	const struct command *command;
	u32 n, own;

	(void)arg;
	memcpy(text, line, cursor - c->length);
	text[cursor - c->length] = 0;
	n = split(text, words, COMMAND_WORDS_MAX);
	if (n == 0) {
		offer_commands(c);
		return;
	}
	if (n == 1)
		offer_seconds(words[0], c);
	command = n <= COMMAND_WORDS_MAX ? find(words[0], n > 1 ? words[1] : NULL) : NULL;
	if (!command)
		return;
	own = command->second ? 2 : 1;
	offer_argument(command, n - own, words, c);
}
