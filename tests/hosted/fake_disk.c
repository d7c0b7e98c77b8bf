/* SPDX-License-Identifier: MIT */
#include "tests/hosted/fake_disk.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/random.h"

#define WAITING_MAX SWAP_REQUESTS

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static u8 *bytes;
static u64 size;
static bool holding, holding_reads;
static struct swap_request *waiting[WAITING_MAX];
static u32 count;
static u32 fail_reads, fail_writes, reads, writes;

/* The guest may be at the page again while it is written: what is on the disk then is nobody's. */
__attribute__((no_sanitize("thread"), noinline)) static void copy(volatile u64 *to,
								  const volatile u64 *from)
{
	for (u32 i = 0; i < PAGE_SIZE / sizeof(*to); i++)
		to[i] = from[i];
}

static bool fails(u32 every, u32 *counter)
{
	return every && ++*counter % every == 0;
}

static void complete(struct swap_request *r)
{
	assert(r->block && r->block < size);
	pthread_mutex_lock(&lock);
	r->err = r->write ? (fails(fail_writes, &writes) ? ERR_IO : 0)
			  : (fails(fail_reads, &reads) ? ERR_IO : 0);
	if (!r->err && r->write)
		copy((u64 *)(void *)fake_disk_block(r->block), r->page);
	else if (!r->err)
		copy(r->page, (u64 *)(void *)fake_disk_block(r->block));
	pthread_mutex_unlock(&lock);
	r->done(r);
}

static void submit(struct swap_device *d, struct list *requests)
{
	(void)d;
	while (!list_empty(requests)) {
		struct swap_request *r = list_first(requests, struct swap_request, link);
		bool now;

		list_del(&r->link);
		pthread_mutex_lock(&lock);
		now = !holding || (!r->write && !holding_reads);
		if (!now) {
			assert(count < WAITING_MAX);
			waiting[count++] = r;
		}
		pthread_mutex_unlock(&lock);
		if (now)
			complete(r);
	}
}

struct swap_device fake_disk = {.name = "fake", .submit = submit};

void fake_disk_init(u64 blocks)
{
	free(bytes);
	size = blocks;
	bytes = aligned_alloc(PAGE_SIZE, blocks * PAGE_SIZE);
	assert(bytes);
	memset(bytes, 0xdb, blocks * PAGE_SIZE);
	holding = holding_reads = false;
	count = 0;
	fake_disk_fail(0, 0);
}

void fake_disk_hold(bool hold)
{
	pthread_mutex_lock(&lock);
	holding = holding_reads = hold;
	pthread_mutex_unlock(&lock);
}

void fake_disk_hold_writes(void)
{
	pthread_mutex_lock(&lock);
	holding = true;
	holding_reads = false;
	pthread_mutex_unlock(&lock);
}

u32 fake_disk_waiting(void)
{
	u32 n;

	pthread_mutex_lock(&lock);
	n = count;
	pthread_mutex_unlock(&lock);
	return n;
}

bool fake_disk_do(u64 *random)
{
	struct swap_request *r = NULL;

	pthread_mutex_lock(&lock);
	if (count) {
		u32 at = random ? random_below(random, count) : 0;

		r = waiting[at];
		memmove(&waiting[at], &waiting[at + 1], (--count - at) * sizeof(*waiting));
	}
	pthread_mutex_unlock(&lock);
	if (r)
		complete(r);
	return r;
}

void fake_disk_fail(u32 every_read, u32 every_write)
{
	pthread_mutex_lock(&lock);
	fail_reads = every_read;
	fail_writes = every_write;
	reads = writes = 0;
	pthread_mutex_unlock(&lock);
}

u8 *fake_disk_block(u64 block)
{
	return bytes + block * PAGE_SIZE;
}
