/* SPDX-License-Identifier: MIT */
#include "kernel/console.h"
#include "kernel/console_input.h"
#include "kernel/console_text.h"
#include "kernel/vm.h"

#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "mem/frame.h"

#define TEXT_MAX   240 /* of a line that shares the console with others' */
#define PIECE	   128 /* bytes of what was kept that are shown at a time */
#define PIECES_MAX (2 * CONSOLE_KEPT / PIECE)
static_assert(TEXT_MAX + CONFIG_NAME_MAX + 8 <= CONSOLE_LINE_MAX, "a line is not cut");

/* A VM's end of the console. There is one for each configured VM, for as long as Weir runs. */
struct vm_console {
	/* set once */
	char name[CONFIG_NAME_MAX];
	u8 *kept; /* NULL: there was no memory */
	/* consoles_lock */
	struct vm *vm;	  /* NULL: it does not run */
	struct list link; /* those that run, in the order of starting */
	/* output_lock */
	u64 written; /* bytes ever kept; the last CONSOLE_KEPT of them are there */
	u64 marked;  /* of them, up to the last line of keep_end */
	struct console_text text;
	u32 length;
	char line[TEXT_MAX];
};

static struct vm_console slots[CONFIG_VMS_MAX];
static u32 slot_count; /* set once */

static struct mutex consoles_lock; /* LOCK_CONSOLES */
static struct list consoles = LIST_INIT(consoles);
static u32 console_count; /* consoles_lock; read without */

/* The console's thread writes these, under output_lock; it alone may read them without. */
static struct mutex output_lock; /* LOCK_CONSOLE */
static enum console_view view, last_view;
static struct vm_console *viewed;

/* --- output --- */

/* A whole line, with its VM's name: neither another VM's nor the log's gets into it. */
static void flush_line(struct vm_console *c)
{
	char text[CONSOLE_LINE_MAX];
	int n = snprintf(text, sizeof(text), "%s| %.*s\r\n", c->name, (int)c->length, c->line);

	console_write_line(text, (size_t)n);
	c->length = 0;
}

static void add_to_line(struct vm_console *c, const u8 *text, u32 n)
{
	if (c->length + n > TEXT_MAX)
		flush_line(c);
	for (u32 i = 0; i < n; i++) {
		if (text[i] == '\n')
			flush_line(c);
		else if (text[i] == '\t' || text[i] == '\b')
			c->line[c->length++] = ' ';
		else if (text[i] != '\r')
			c->line[c->length++] = (char)text[i];
	}
}

static void write_lines(struct vm_console *c, const u8 *bytes, u32 count)
{
	u8 text[CONSOLE_TEXT_MAX];

	/* An escape sequence could move the cursor into another VM's line. */
	for (u32 i = 0; i < count; i++)
		add_to_line(c, text, console_text(&c->text, bytes[i], text));
}

static void keep(struct vm_console *c, const u8 *bytes, u32 count)
{
	for (u32 i = 0; c->kept && i < count; i++)
		c->kept[c->written++ % CONSOLE_KEPT] = bytes[i];
}

/* A line among what was kept, where a run ends. The end of line before it ends a sequence, too. */
static void keep_end(struct vm_console *c, const char *how)
{
	char text[CONSOLE_LINE_MAX];
	bool amid;
	int n;

	if (!c->kept || c->written == c->marked)
		return;
	amid = c->kept[(c->written - 1) % CONSOLE_KEPT] != '\n';
	n = snprintf(text, sizeof(text), "%s--- vm %s: %s ---\r\n", amid ? "\r\n" : "", c->name,
		     how);
	keep(c, (const u8 *)text, (u32)n);
	c->marked = c->written;
}

void vm_console_write(struct vm *vm, const u8 *bytes, u32 count)
{
	struct vm_console *c = vm->console;

	if (!c)
		return;
	mutex_lock(&output_lock);
	keep(c, bytes, count);
	if (view == CONSOLE_SHARED && (READ_ONCE(console_count) > 1 || c->length))
		write_lines(c, bytes, count);
	else if (view == CONSOLE_SHARED || (view == CONSOLE_VM && viewed == c))
		console_write(bytes, count);
	mutex_unlock(&output_lock);
}

/* output_lock is held. */
static void set_view(enum console_view v, struct vm_console *c)
{
	/* What was begun of a line is elsewhere from now on. */
	for (u32 i = 0; view == CONSOLE_SHARED && i < slot_count; i++) {
		if (slots[i].length)
			flush_line(&slots[i]);
	}
	WRITE_ONCE(view, v);
	viewed = c;
}

/*
 * Puts one piece of what was kept, from *at on, into text, and says how long it is. As text: what
 * steered the terminal once would do it to another screen now, and a terminal would answer the guest
 * questions that were answered long ago. output_lock is held.
 */
static u32 take_piece(struct vm_console *c, u64 *at, struct console_text *t, u8 *text)
{
	u32 n = 0;

	if (c->written > *at + CONSOLE_KEPT)
		*at = c->written - CONSOLE_KEPT;
	for (u32 i = 0; c->kept && i < PIECE && *at < c->written; i++, ++*at)
		n += console_text(t, c->kept[*at % CONSOLE_KEPT], text + n);
	return n;
}

/*
 * The guest writes on meanwhile, and is not made to wait for the terminal; but one that writes as
 * fast as the terminal shows waits in the end, as it does from then on.
 */
static void show_vm(struct vm_console *c)
{
	u8 text[PIECE * CONSOLE_TEXT_MAX];
	struct console_text t = {0};
	u64 at = 0;
	u32 n;

	for (u32 pieces = 0;; pieces++) {
		mutex_lock(&output_lock);
		n = take_piece(c, &at, &t, text);
		if (at >= c->written || pieces == PIECES_MAX)
			break;
		mutex_unlock(&output_lock);
		console_write(text, n);
	}
	for (; n || at < c->written; n = take_piece(c, &at, &t, text))
		console_write(text, n);
	set_view(CONSOLE_VM, c);
	mutex_unlock(&output_lock);
}

/* --- who has it --- */

enum console_view console_view(void)
{
	return READ_ONCE(view);
}

const char *console_shown_vm(void)
{
	return view == CONSOLE_VM ? viewed->name : NULL;
}

static struct vm_console *find_slot(const char *name)
{
	for (u32 i = 0; i < slot_count; i++) {
		if (strcmp(slots[i].name, name) == 0)
			return &slots[i];
	}
	return NULL;
}

/* The VM that is alone, and so has the console to itself. */
static struct vm_console *find_only(void)
{
	struct vm_console *c = NULL;

	mutex_lock(&consoles_lock);
	if (console_count == 1)
		c = list_first(&consoles, struct vm_console, link);
	mutex_unlock(&consoles_lock);
	return c;
}

void console_show_shared(void)
{
	struct vm_console *only = find_only();

	if (only)
		show_vm(only);
	mutex_lock(&output_lock);
	set_view(CONSOLE_SHARED, NULL);
	mutex_unlock(&output_lock);
}

int console_show_vm(const char *name)
{
	struct vm_console *c = find_slot(name);

	if (!c)
		return ERR_NOENT;
	show_vm(c);
	return 0;
}

void console_show_last(void)
{
	if (last_view == CONSOLE_VM && viewed)
		show_vm(viewed);
	else
		console_show_shared();
}

/*
 * CAN and ST end what was begun; DECSTR and the rest bring back the modes of a terminal that was
 * just switched on, as far as they would spoil text (VT420, xterm).
 */
static const char undo_terminal[] =
	"\x18\x1b\\\x0f\x1b[!p\x1b[m\x1b[4l\x1b[?7h\x1b[?25h\x1b[?1l\x1b>"
	"\x1b[?1000;1002;1003;1004;1006;2004l\x1b[?1049l\x1b[r\x1b(B\x1b[999;1H\r\n";

void console_show_monitor(void)
{
	mutex_lock(&output_lock);
	if (view != CONSOLE_MONITOR)
		last_view = view;
	set_view(CONSOLE_MONITOR, viewed);
	console_write(undo_terminal, sizeof(undo_terminal) - 1);
	mutex_unlock(&output_lock);
}

int console_deliver(const u8 *bytes, u32 count, const struct vm_console **whom)
{
	struct vm_console *c = viewed;
	int taken = (int)count; /* nobody there: typed into the void */

	mutex_lock(&consoles_lock);
	if (view == CONSOLE_SHARED)
		c = list_empty(&consoles) ? NULL : list_first(&consoles, struct vm_console, link);
	if (*whom && *whom != c)
		taken = ERR_NOENT;
	else if (c && c->vm && c->vm->platform)
		taken = (int)platform_console_input(c->vm->platform, bytes, count);
	*whom = c;
	mutex_unlock(&consoles_lock);
	return taken;
}

/* --- who there is --- */

const char *console_vm_name(u32 i)
{
	return i < slot_count ? slots[i].name : NULL;
}

u32 console_running(void)
{
	return READ_ONCE(console_count);
}

int console_vm_add(struct vm *vm)
{
	struct vm_console *c = find_slot(vm->name);

	if (!c)
		return ERR_NOENT;
	vm->console = c;
	mutex_lock(&consoles_lock);
	c->vm = vm;
	list_add_tail(&c->link, &consoles);
	WRITE_ONCE(console_count, console_count + 1);
	mutex_unlock(&consoles_lock);
	return 0;
}

void console_vm_remove(struct vm *vm, const char *how)
{
	struct vm_console *c = vm->console;

	if (!c)
		return;
	mutex_lock(&consoles_lock);
	list_del(&c->link);
	c->vm = NULL;
	WRITE_ONCE(console_count, console_count - 1);
	vm->console = NULL;
	mutex_unlock(&consoles_lock);
	mutex_lock(&output_lock);
	if (c->length)
		flush_line(c);
	c->text = (struct console_text){0};
	if (how)
		keep_end(c, how);
	mutex_unlock(&output_lock);
}

void console_vm_is_off(const char *name)
{
	bool shown;

	mutex_lock(&output_lock);
	shown = view == CONSOLE_VM && strcmp(viewed->name, name) == 0;
	mutex_unlock(&output_lock);
	if (shown && console_running())
		log_info("monitor: vm %s is off, and others run: Ctrl-] leads to the monitor, vm "
			 "console NAME there to another, exit to all",
			 name);
}

static void add_slot(const char *name)
{
	struct vm_console *c = &slots[slot_count++];
	pfn_t pfn;

	strlcpy(c->name, name, sizeof(c->name));
	list_init(&c->link);
	if (frame_alloc(CONSOLE_KEPT_ORDER, FRAME_ZERO | FRAME_FOR(CONSOLE), &pfn) == 0)
		c->kept = phys_to_virt(pfn_to_hpa(pfn));
	else
		log_warn("console: no memory for what vm %s writes: the monitor shows only what "
			 "comes from now on",
			 name);
}

void console_init(const struct weir_config *config)
{
	mutex_init(&consoles_lock, "consoles", LOCK_CONSOLES);
	mutex_init(&output_lock, "console output", LOCK_CONSOLE);
	for (u32 i = 0; i < config->vm_count; i++)
		add_slot(config->vms[i].name);
	console_input_start();
}
