/* SPDX-License-Identifier: MIT */
/*
 * INVEPT and INVVPID (SDM 3C 31.3): forget translations that this CPU caches. Any context, in VMX
 * operation. The hosted build shadows this header with the fake machine's.
 */
#ifndef MMU_INVEPT_H
#define MMU_INVEPT_H

#include "kernel/base/types.h"

enum invept_type {
	INVEPT_SINGLE = 1, /* of one EPT pointer, with whatever VPID */
	INVEPT_ALL = 2
};

enum invvpid_type {
	INVVPID_ADDRESS = 0, /* one address of one VPID */
	INVVPID_SINGLE = 1,  /* all addresses of one VPID */
	INVVPID_ALL = 2	     /* all VPIDs but 0 */
};

struct invept_descriptor {
	u64 eptp;
	u64 reserved;
};

struct invvpid_descriptor {
	u16 vpid;
	u16 reserved[3];
	u64 gva;
};

static_assert(sizeof(struct invept_descriptor) == 16, "SDM 3C 31.3, INVEPT");
static_assert(sizeof(struct invvpid_descriptor) == 16, "SDM 3C 31.3, INVVPID");

/* false: the CPU refused (VMfailInvalid or VMfailValid: CF or ZF). */
static inline bool invept(enum invept_type type, u64 eptp)
{
	struct invept_descriptor d = {.eptp = eptp};
	u64 wide = type;
	bool done;

	__asm__ volatile("invept %1, %2" : "=@cca"(done) : "m"(d), "r"(wide) : "memory");
	return done;
}

static inline bool invvpid_as(enum invvpid_type type, u16 vpid, u64 gva)
{
	struct invvpid_descriptor d = {.vpid = vpid, .gva = gva};
	u64 wide = type;
	bool done;

	__asm__ volatile("invvpid %1, %2" : "=@cca"(done) : "m"(d), "r"(wide) : "memory");
	return done;
}

static inline bool invvpid(enum invvpid_type type, u16 vpid)
{
	return invvpid_as(type, vpid, 0);
}

/* The address is canonical. */
static inline bool invvpid_address(u16 vpid, u64 gva)
{
	return invvpid_as(INVVPID_ADDRESS, vpid, gva);
}

#endif
