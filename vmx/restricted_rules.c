/* SPDX-License-Identifier: MIT */
#include "vmx/controls.h"
#include "vmx/restricted_rules.h"

#define PARAGRAPH	4
#define ACCESS_S	BIT(4)
#define ACCESS_PRESENT	BIT(7)
#define ACCESS_G	BIT(15)
#define ACCESS_DPL_MASK 0x60u
#define DPL_SHIFT	5
#define TYPE(a)		((a)&ACCESS_TYPE_MASK)
#define TYPE_CODE	8u
#define TYPE_CONFORMING 4u /* code; data: expand-down */
#define TYPE_READABLE	2u /* code; data: writable */
#define TYPE_ACCESSED	1u
#define TYPE_DATA_LAST	11u /* data and code that is not conforming */
#define RPL(s)		((s)&3u)

static bool is_paragraph(const struct vmx_segment *s)
{
	return s->base == (u64)s->selector << PARAGRAPH && s->limit == VM86_LIMIT &&
	       !(s->access & (ACCESS_UNUSABLE | ACCESS_BIG | ACCESS_G)) &&
	       (s->access & ACCESS_PRESENT) && (s->access & ACCESS_S);
}

/* Written and read alike: neither read-only nor expand-down. */
static bool is_plain_data(u32 access)
{
	return (TYPE(access) & ~TYPE_ACCESSED) == TYPE_READABLE;
}

static bool is_readable_code(u32 access)
{
	return (TYPE(access) & (TYPE_CODE | TYPE_READABLE)) == (TYPE_CODE | TYPE_READABLE);
}

bool restricted_fits_vm86(const struct vmx_segment s[RESTRICTED_SEGMENTS], u64 rip)
{
	for (u32 i = SEG_ES; i <= SEG_GS; i++) {
		if (!is_paragraph(&s[i]))
			return false;
		if (!is_plain_data(s[i].access) && !(i == SEG_CS && is_readable_code(s[i].access)))
			return false;
	}
	return rip <= VM86_LIMIT;
}

/* The granularity bit must agree with the limit. */
static bool limit_agrees(const struct vmx_segment *s)
{
	if ((s->limit & 0xfff) != 0xfff && (s->access & ACCESS_G))
		return false;
	return !(s->limit >> 20) || (s->access & ACCESS_G);
}

static bool code_fits(const struct vmx_segment *cs, const struct vmx_segment *ss)
{
	u32 type = TYPE(cs->access), dpl = ACCESS_DPL(cs->access), ss_dpl = ACCESS_DPL(ss->access);

	if ((cs->access & ACCESS_UNUSABLE) || !(type & TYPE_CODE) || !(type & TYPE_ACCESSED))
		return false;
	if (type & TYPE_CONFORMING ? dpl > ss_dpl : dpl != ss_dpl)
		return false;
	return (cs->access & ACCESS_S) && (cs->access & ACCESS_PRESENT) && limit_agrees(cs);
}

static bool stack_fits(const struct vmx_segment *ss, const struct vmx_segment *cs)
{
	u32 access = ss->access;

	if (RPL(ss->selector) != RPL(cs->selector) || ACCESS_DPL(access) != RPL(ss->selector))
		return false;
	if (access & ACCESS_UNUSABLE)
		return true;
	if ((TYPE(access) & ~TYPE_CONFORMING) != (TYPE_READABLE | TYPE_ACCESSED))
		return false;
	return (access & ACCESS_S) && (access & ACCESS_PRESENT) && limit_agrees(ss);
}

static bool data_fits(struct vmx_segment *s)
{
	u32 type = TYPE(s->access);

	if (s->access & ACCESS_UNUSABLE)
		return true;
	if (!(type & TYPE_ACCESSED) || ((type & TYPE_CODE) && !(type & TYPE_READABLE)))
		return false;
	if (type <= TYPE_DATA_LAST && ACCESS_DPL(s->access) < RPL(s->selector))
		s->access = (s->access & ~ACCESS_DPL_MASK) | RPL(s->selector) << DPL_SHIFT;
	return (s->access & ACCESS_S) && (s->access & ACCESS_PRESENT) && limit_agrees(s);
}

bool restricted_fits_protected(struct vmx_segment s[RESTRICTED_SEGMENTS])
{
	static const enum vmx_segment_id data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	bool fits = code_fits(&s[SEG_CS], &s[SEG_SS]) && stack_fits(&s[SEG_SS], &s[SEG_CS]);

	for (u32 i = 0; i < ARRAY_SIZE(data); i++)
		fits = data_fits(&s[data[i]]) && fits;
	return fits;
}
