/* SPDX-License-Identifier: MIT */
#include "vmx/vpid.h"

#define WORD_BITS 64

/* VPID 0 is Weir's own. */
static u64 taken[VPID_MAX / WORD_BITS] = {1};

u16 vpid_alloc(void)
{
	for (u32 i = 0; i < VPID_MAX / WORD_BITS; i++) {
		u64 old = __atomic_load_n(&taken[i], __ATOMIC_RELAXED);

		while (~old) {
			u32 bit = (u32)__builtin_ctzll(~old);

			if (__atomic_compare_exchange_n(&taken[i], &old, old | BIT(bit), false,
							__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
				return (u16)(i * WORD_BITS + bit);
		}
	}
	return 0;
}

void vpid_free(u16 vpid)
{
	if (vpid)
		__atomic_fetch_and(&taken[vpid / WORD_BITS], ~BIT(vpid % WORD_BITS),
				   __ATOMIC_ACQ_REL);
}
