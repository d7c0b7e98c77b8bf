/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/types.h"

static const char *const names[] = {
	[-ERR_OK] = "ok",
	[-ERR_NOMEM] = "out of memory",
	[-ERR_INVAL] = "malformed",
	[-ERR_RANGE] = "out of range",
	[-ERR_ALIGN] = "not aligned",
	[-ERR_EXIST] = "exists already",
	[-ERR_NOENT] = "not there",
	[-ERR_BUSY] = "in use",
	[-ERR_AGAIN] = "lost a race",
	[-ERR_NOTSUP] = "not supported",
	[-ERR_FAULT] = "address does not translate",
	[-ERR_TIMEOUT] = "timed out",
	[-ERR_IO] = "hardware failure",
	[-ERR_NOSPC] = "table is full",
	[-ERR_CORRUPT] = "wrong checksum or magic",
	[-ERR_PERM] = "not allowed",
	[-ERR_TOO_HARD] = "needs thread context",
	[-ERR_NOSLOT] = "no memslot",
	[-ERR_STORED] = "not in a frame",
};

const char *error_name(int err)
{
	if (err > 0 || err <= -(int)ARRAY_SIZE(names))
		return "unknown error";
	return names[-err];
}
