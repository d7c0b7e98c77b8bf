/* SPDX-License-Identifier: MIT */
#include "vmx/event.h"

enum event_class {
	CLASS_BENIGN,
	CLASS_CONTRIBUTORY,
	CLASS_PAGE_FAULT,
	CLASS_DOUBLE_FAULT,
};

/* Only what the CPU raises by itself counts: INT 13 is no #GP. */
static enum event_class class_of(const struct event *e)
{
	if (e->type != EVENT_EXCEPTION)
		return CLASS_BENIGN;
	switch (e->vector) {
	case EXCEPTION_DE:
	case EXCEPTION_TS:
	case EXCEPTION_NP:
	case EXCEPTION_SS:
	case 13: /* #GP */
	case EXCEPTION_CP:
		return CLASS_CONTRIBUTORY;
	case 14: /* #PF */
	case EXCEPTION_VE:
		return CLASS_PAGE_FAULT;
	case EXCEPTION_DF:
		return CLASS_DOUBLE_FAULT;
	default:
		return CLASS_BENIGN;
	}
}

enum event_outcome event_combine(const struct event *first, const struct event *second)
{
	enum event_class a = class_of(first), b = class_of(second);

	if (a == CLASS_BENIGN || b == CLASS_BENIGN)
		return EVENT_SECOND;
	if (a == CLASS_DOUBLE_FAULT)
		return EVENT_SHUTDOWN;
	/* A #DF that the CPU raised is a combination already. */
	if (b == CLASS_DOUBLE_FAULT)
		return EVENT_SECOND;
	if (a == CLASS_PAGE_FAULT || b == CLASS_CONTRIBUTORY)
		return EVENT_DOUBLE_FAULT;
	return EVENT_SECOND;
}

struct event event_from_info(u32 info, u32 error_code, u32 instruction_length)
{
	struct event e = {
		.valid = info & EVENT_INFO_VALID,
		.has_error = info & EVENT_INFO_ERROR,
		.vector = (u8)info,
		.type = (u8)((info >> 8) & 7),
	};

	if (e.has_error)
		e.error_code = error_code;
	if (e.type >= EVENT_SOFT_INTERRUPT)
		e.length = (u8)instruction_length;
	return e;
}

u32 event_to_info(const struct event *e, bool protected_mode)
{
	u32 info = e->vector | (u32)e->type << 8 | (u32)EVENT_INFO_VALID;

	if (e->has_error && protected_mode)
		info |= (u32)EVENT_INFO_ERROR;
	return info;
}

bool event_sets_rf(const struct event *e)
{
	if (e->type != EVENT_EXCEPTION)
		return false;
	switch (e->vector) {
	case EXCEPTION_DB: /* as the CPU that raised it saved it */
	case EXCEPTION_BP:
	case EXCEPTION_OF:
	case EXCEPTION_DF:
	case EXCEPTION_MC:
		return false;
	default:
		return true;
	}
}
