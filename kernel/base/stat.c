/* SPDX-License-Identifier: MIT */
#include "kernel/base/stat.h"
#include "kernel/base/panic.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

/* the registry's lock */
static struct list groups = LIST_INIT(groups);

/* set at boot */
static void (*lock_hook)(void);
static void (*unlock_hook)(void);

void stat_set_lock(void (*lock)(void), void (*unlock)(void))
{
	lock_hook = lock;
	unlock_hook = unlock;
}

static void registry_lock(void)
{
	if (lock_hook)
		lock_hook();
}

static void registry_unlock(void)
{
	if (unlock_hook)
		unlock_hook();
}

u64 stat_read_field(const void *owner, u32 i)
{
	return __atomic_load_n((const u64 *)owner + i, __ATOMIC_RELAXED);
}

u64 stat_sum_field(const void *first, size_t stride, u32 n, u32 i)
{
	u64 sum = 0;

	/* A level that rises on one CPU and falls on another is right in the sum alone. */
	for (u32 k = 0; k < n; k++)
		sum += stat_read_field((const u8 *)first + k * stride, i);
	return sum;
}

static bool name_is_sound(const char *name)
{
	if (!name || !*name)
		return false;
	for (; *name; name++) {
		bool ok = (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') ||
			  *name == '_';

		if (!ok)
			return false;
	}
	return true;
}

static bool desc_is_sound(const struct stat_desc *d)
{
	size_t n = d->sentence ? strlen(d->sentence) : 0;

	return name_is_sound(d->name) && name_is_sound(d->unit) && n > 1 && d->sentence[0] >= 'A' &&
	       d->sentence[0] <= 'Z' && d->sentence[n - 1] == '.';
}

static bool fits_name_max(const struct stat_group *g, const struct stat_desc *d)
{
	return strlen(g->scope) + strlen(g->name) + strlen(d->name) + 3 <= STAT_NAME_MAX;
}

static struct stat_group *find(const char *scope, const char *name)
{
	struct stat_group *g;

	list_for_each_entry (g, &groups, link) {
		if (!strcmp(g->scope, scope) && !strcmp(g->name, name))
			return g;
	}
	return NULL;
}

void stat_register(struct stat_group *g)
{
	BUG_ON(!g->read || !name_is_sound(g->name));
	for (u32 i = 0; i < g->count; i++)
		BUG_ON(!desc_is_sound(&g->descs[i]) || !fits_name_max(g, &g->descs[i]));
	registry_lock();
	BUG_ON(find(g->scope, g->name));
	list_add_tail(&g->link, &groups);
	registry_unlock();
}

void stat_unregister(struct stat_group *g)
{
	if (!g->link.next)
		return;
	registry_lock();
	list_del(&g->link);
	registry_unlock();
}

/* Where a star was met last is the only place to go back to: no more steps than one length times
 * the other. */
static bool fits(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			resume = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static void full_name(char name[STAT_NAME_MAX], const struct stat_group *g, u32 i)
{
	snprintf(name, STAT_NAME_MAX, "%s%s%s.%s", g->scope, *g->scope ? "." : "", g->name,
		 g->descs[i].name);
}

u32 stat_for_each(const char *pattern, void (*fn)(const struct stat_value *v, void *arg), void *arg)
{
	char name[STAT_NAME_MAX];
	struct stat_group *g;
	u32 fitted = 0;

	registry_lock();
	list_for_each_entry (g, &groups, link) {
		for (u32 i = 0; i < g->count; i++) {
			struct stat_value v = {.scope = g->scope,
					       .group = g->name,
					       .name = name,
					       .desc = &g->descs[i]};

			full_name(name, g, i);
			if (pattern && !fits(pattern, name))
				continue;
			v.value = g->read(g->owner, i);
			fn(&v, arg);
			fitted++;
		}
	}
	registry_unlock();
	return fitted;
}

void stat_for_each_name(void (*fn)(const char *name, void *arg), void *arg)
{
	char name[STAT_NAME_MAX];
	struct stat_group *g;

	registry_lock();
	list_for_each_entry (g, &groups, link) {
		for (u32 i = 0; i < g->count; i++) {
			full_name(name, g, i);
			fn(name, arg);
		}
	}
	registry_unlock();
}

/* Both of VMs, or of whatever else comes before the first dot. */
static bool same_kind(const char *a, const char *b)
{
	while (*a && *a != '.' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static bool same_family(const struct stat_group *a, const struct stat_group *b)
{
	return a->descs == b->descs && same_kind(a->scope, b->scope) && !strcmp(a->name, b->name);
}

static bool is_first_of_family(const struct stat_group *g)
{
	struct stat_group *other;

	list_for_each_entry (other, &groups, link) {
		if (same_family(other, g))
			return other == g;
	}
	return true;
}

static void show_family(struct stat_group *first, u32 i,
			void (*fn)(const struct stat_value *v, bool first, void *arg), void *arg)
{
	char name[STAT_NAME_MAX];

	for (struct stat_group *g = first; &g->link != &groups;
	     g = list_entry(g->link.next, struct stat_group, link)) {
		struct stat_value v = {
			.scope = g->scope, .group = g->name, .name = name, .desc = &g->descs[i]};

		if (!same_family(g, first))
			continue;
		full_name(name, g, i);
		v.value = g->read(g->owner, i);
		fn(&v, g == first, arg);
	}
}

void stat_for_each_family(void (*fn)(const struct stat_value *v, bool first, void *arg), void *arg)
{
	struct stat_group *g;

	registry_lock();
	list_for_each_entry (g, &groups, link) {
		for (u32 i = 0; i < g->count && is_first_of_family(g); i++)
			show_family(g, i, fn, arg);
	}
	registry_unlock();
}
