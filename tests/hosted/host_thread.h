/* SPDX-License-Identifier: MIT */
/* A thread of the host as smp/thread.h knows it. For tests/hosted/ only. */
#ifndef TESTS_HOSTED_HOST_THREAD_H
#define TESTS_HOSTED_HOST_THREAD_H

#include "smp/thread.h"

/* The caller's own: made by thread_create, or by the test as it pleased. */
struct thread *host_thread_of_caller(void);

#endif
