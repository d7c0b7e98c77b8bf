/* SPDX-License-Identifier: MIT */
/*
 * Whether a VM can be promised what it asks for. What VMs are promised, and what each costs besides,
 * must fit into memory all at once; the rest of mem= is overcommitted. Thread context.
 */
#ifndef KERNEL_ADMISSION_H
#define KERNEL_ADMISSION_H

#include "kernel/config.h"
#include "mem/reclaim.h"

/* What a configuration says about its memory, in pages. */
struct reclaim_terms vm_terms(const struct vm_config *config);

/* 0; ERR_NOSPC: it does not fit, and message has the numbers and the remedy. */
int vm_admit(const struct vm_config *config, char *message, size_t size);

#endif
