/* SPDX-License-Identifier: MIT */
/*
 * A host thread goes on as another: with its stack and its thread-local storage, but without the
 * host's kernel, which takes a hundred times as long. For threads that run one at a time; each
 * stays itself to the C library and the sanitizers. For tests/hosted/ only.
 */
#ifndef TESTS_HOSTED_HOST_SWITCH_H
#define TESTS_HOSTED_HOST_SWITCH_H

#include "kernel/base/types.h"

#define HOST_PARKING_SIZE 4096u

/* One at its address for as long as its thread is parked. */
struct host_context {
	void *rsp, *fs_base;
	u32 parked, released; /* futexes, 0 before host_park */
	u32 entered;
	u8 parking[HOST_PARKING_SIZE] __aligned(16);
};

/*
 * The caller's own kernel thread sleeps until host_release; its code goes on from here as often as
 * another thread switches to it.
 */
void host_park(struct host_context *c);
void host_await_parked(struct host_context *c);
/* After its last switch away: from there on it runs by itself again. */
void host_release(struct host_context *c);

/* The caller goes on as `to`, until somebody switches to `from`, which is the caller's. */
void host_switch(struct host_context *from, struct host_context *to);

#endif
