/* SPDX-License-Identifier: MIT */
/* A guest's RAM for the loaders' tests: gpa_write lands in one block, its holes are errors. */
#ifndef TESTS_UNIT_GUEST_GUEST_MEMORY_H
#define TESTS_UNIT_GUEST_GUEST_MEMORY_H

#include "kernel/guest/load.h"

#define TEST_RAM MIB(64)

extern u8 test_ram[TEST_RAM];
extern char test_message[256];

/* So many writes find no memory, and so often some is found by asking for it. */
extern u32 test_no_memory, test_helps;

/* A load into mem bytes of zeroed RAM, with this kernel image and command line. */
struct load test_load(struct vm_config *config, const void *kernel, u64 size, const char *cmdline,
		      struct vmx_start *start);
/* Adds a module whose bytes are all fill. */
void test_add_module(struct vm_config *config, enum config_module_kind kind, u64 size, u8 fill,
		     const char *cmdline);

#endif
