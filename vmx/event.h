/* SPDX-License-Identifier: MIT */
/*
 * Events on their way into a guest: exceptions, interrupts, NMIs, as the VMCS describes them, and
 * what comes of one that strikes while another is being delivered (SDM 3A 6.15, table 6-5). Pure.
 */
#ifndef VMX_EVENT_H
#define VMX_EVENT_H

#include "kernel/base/types.h"

/* Interruption types (SDM 3C table 25-15). */
enum event_type {
	EVENT_INTERRUPT = 0,
	EVENT_NMI = 2,
	EVENT_EXCEPTION = 3,
	EVENT_SOFT_INTERRUPT = 4,	/* INT n */
	EVENT_PRIVILEGED_EXCEPTION = 5, /* INT1 */
	EVENT_SOFT_EXCEPTION = 6,	/* INT3, INTO */
};

#define EVENT_INFO_ERROR	 BIT(11)
#define EVENT_INFO_UNBLOCKED_NMI BIT(12) /* in the exit's interruption information */
#define EVENT_INFO_VALID	 BIT(31)

#define EXCEPTION_DE  0
#define EXCEPTION_DB  1
#define EXCEPTION_BP  3
#define EXCEPTION_OF  4
#define EXCEPTION_DF  8
#define EXCEPTION_TS  10
#define EXCEPTION_NP  11
#define EXCEPTION_SS  12
#define EXCEPTION_AC  17
#define EXCEPTION_MC  18
#define EXCEPTION_VE  20
#define EXCEPTION_CP  21
#define VECTOR_OF_NMI 2

struct event {
	bool valid;
	bool has_error;
	u8 vector;
	u8 type;   /* enum event_type */
	u8 length; /* of the instruction that raised it: types 4 to 6 */
	u32 error_code;
};

enum event_outcome {
	EVENT_SECOND,	    /* the second is delivered now; the first comes again by itself */
	EVENT_DOUBLE_FAULT, /* #DF in place of both */
	EVENT_SHUTDOWN,	    /* a third fault */
};

enum event_outcome event_combine(const struct event *first, const struct event *second);

/* From the exit's information fields. */
struct event event_from_info(u32 info, u32 error_code, u32 instruction_length);

/* For the entry's field. Without protected mode no error code is pushed (SDM 3C 27.2.1.3). */
u32 event_to_info(const struct event *e, bool protected_mode);

/* Does the saved RFLAGS image of this exception carry RF (SDM 3B 17.3.1.1)? */
bool event_sets_rf(const struct event *e);

#endif
