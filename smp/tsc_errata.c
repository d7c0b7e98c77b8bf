/* SPDX-License-Identifier: MIT */
#include "smp/tsc_errata.h"

#define FAMILY(s)   (((s) >> 8) & 0xf)
#define MODEL(s)    ((((s) >> 4) & 0xf) | (((s) >> 12) & 0xf0))
#define STEPPING(s) ((s)&0xf)
#define ANY	    0xff

/* Family 6. Kaby Lake's models are Coffee Lake's too, whose revisions all are higher. */
static const struct {
	u8 model, stepping;
	u32 microcode;
} rows[] = {
	{0x3c, ANY, 0x22},	 {0x45, ANY, 0x20},	{0x46, ANY, 0x17}, /* Haswell */
	{0x3f, 2, 0x3a},	 {0x3f, 4, 0x0f},			   /* its servers */
	{0x3d, ANY, 0x25},	 {0x47, ANY, 0x17},			   /* Broadwell */
	{0x4f, ANY, 0x0b000020},					   /* its servers */
	{0x56, 2, 0x11},	 {0x56, 3, 0x0700000e},			   /* Broadwell-DE */
	{0x56, 4, 0x0f00000c},	 {0x56, 5, 0x0e000003}, {0x4e, ANY, 0xb2},
	{0x5e, ANY, 0xb2},				/* Skylake */
	{0x55, 3, 0x01000136},	 {0x55, 4, 0x02000014}, /* its servers */
	{0x8e, ANY, 0x52},	 {0x9e, ANY, 0x52},	/* Kaby Lake */
};

u32 tsc_deadline_microcode(u32 signature)
{
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		if (FAMILY(signature) == 6 && MODEL(signature) == rows[i].model &&
		    (rows[i].stepping == ANY || rows[i].stepping == STEPPING(signature)))
			return rows[i].microcode;
	}
	return 0;
}
