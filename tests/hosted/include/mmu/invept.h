/* SPDX-License-Identifier: MIT */
/* Hosted: INVEPT and INVVPID as the fake machine has them: counted, and told to a test's hook. */
#ifndef MMU_INVEPT_H
#define MMU_INVEPT_H

#include "kernel/base/types.h"

enum invept_type {
	INVEPT_SINGLE = 1,
	INVEPT_ALL = 2
};

enum invvpid_type {
	INVVPID_ADDRESS = 0,
	INVVPID_SINGLE = 1,
	INVVPID_ALL = 2
};

/* Called on the CPU that executes it; may be NULL. False: the instruction fails. */
extern bool (*hosted_invept_hook)(enum invept_type type, u64 eptp);

extern bool (*hosted_invvpid_hook)(enum invvpid_type type, u16 vpid);
extern u64 hosted_invvpid_gva; /* that of the last INVVPID of an address */

/* Executed so far on this CPU. */
u32 hosted_invepts(u32 cpu);

bool invept(enum invept_type type, u64 eptp);
bool invvpid(enum invvpid_type type, u16 vpid);
bool invvpid_address(u16 vpid, u64 gva);

#endif
