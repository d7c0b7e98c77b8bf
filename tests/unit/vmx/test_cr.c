/* SPDX-License-Identifier: MIT */
/* Which values CR0 and CR4 take, and what they do to long mode and PAE paging. */
/* unit-sources: vmx/cr_rules.c */
#include <setjmp.h>
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "vmx/cr_rules.h"

#define OFFERED                                                                                   \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | \
	 CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |        \
	 CR4_SMEP | CR4_SMAP)

static const struct cr_state real = {.cr0 = CR0_ET};
static const struct cr_state protected = {.cr0 = CR0_PE | CR0_ET};
static const struct cr_state compat = {
	.cr0 = CR0_PE | CR0_PG | CR0_ET,
	.cr4 = CR4_PAE,
	.cr3 = 0x1000,
	.efer = EFER_LME | EFER_LMA,
};
static const struct cr_state pae = {
	.cr0 = CR0_PE | CR0_PG | CR0_ET,
	.cr4 = CR4_PAE,
};

static void cr0_refuses_what_makes_no_sense(void **state)
{
	struct cr_state out;

	assert_int_equal(cr0_write(&real, CR0_PG, &out), ERR_FAULT);
	assert_int_equal(cr0_write(&real, CR0_NW, &out), ERR_FAULT);
	assert_int_equal(cr0_write(&real, CR0_NW | CR0_CD, &out), 0);
	for (u32 bit = 32; bit < 64; bit++)
		assert_int_equal(cr0_write(&real, CR0_PE | BIT(bit), &out), ERR_FAULT);
	/* Reserved below: dropped without a fault. */
	assert_int_equal(cr0_write(&real, CR0_PE | BIT(6) | BIT(15) | BIT(28), &out), 0);
	assert_int_equal(out.cr0, CR0_PE | CR0_ET);
	assert_int_equal(cr0_write(&real, 0, &out), 0);
	assert_int_equal(out.cr0, CR0_ET);
}

static void into_long_mode_and_out(void **state)
{
	struct cr_state s = protected, out;

	s.efer = EFER_LME;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), ERR_FAULT);
	s.cr4 = CR4_PAE;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), 0);
	assert_int_equal(out.efer, EFER_LME | EFER_LMA);
	s.cs_long = true;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), ERR_FAULT);
	s.cs_long = false;
	s.tss_16 = true;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), ERR_FAULT);
	/* Of paging alone it says nothing. */
	s.efer = 0;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), 0);

	s = compat;
	assert_int_equal(cr0_write(&s, s.cr0 & ~CR0_PG, &out), 0);
	assert_int_equal(out.efer, EFER_LME);
	s.cs_long = true;
	assert_int_equal(cr0_write(&s, s.cr0 & ~CR0_PG, &out), ERR_FAULT);
	s = compat;
	s.cr4 |= CR4_PCIDE;
	assert_int_equal(cr0_write(&s, s.cr0 & ~CR0_PG, &out), ERR_FAULT);
	/* Without LME paging changes nothing in EFER. */
	s = protected;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), 0);
	assert_int_equal(out.efer, 0);
	/* Other bits leave LMA alone. */
	assert_int_equal(cr0_write(&compat, compat.cr0 | CR0_WP, &out), 0);
	assert_int_equal(out.efer, compat.efer);
}

static void cr4_takes_what_is_offered(void **state)
{
	struct cr_state s = compat, out;

	s.cr3 = 0;
	for (u32 bit = 0; bit < 64; bit++) {
		int want = OFFERED & BIT(bit) ? 0 : ERR_FAULT;

		if (cr4_write(&s, OFFERED, CR4_PAE | BIT(bit), &out) != want)
			fail_msg("bit %u", bit);
	}
	assert_int_equal(cr4_write(&s, OFFERED & ~CR4_SMEP, CR4_PAE | CR4_SMEP, &out), ERR_FAULT);
	assert_int_equal(cr4_write(&compat, OFFERED, CR4_PGE, &out), ERR_FAULT);
	assert_int_equal(cr4_write(&pae, OFFERED, CR4_PGE, &out), 0);
	assert_int_equal(out.cr4, CR4_PGE);
}

static void pcid_wants_long_mode_and_pcid_0(void **state)
{
	struct cr_state s = compat, out;

	assert_int_equal(cr4_write(&s, OFFERED, CR4_PAE | CR4_PCIDE, &out), 0);
	s.cr3 = 0x1001;
	assert_int_equal(cr4_write(&s, OFFERED, CR4_PAE | CR4_PCIDE, &out), ERR_FAULT);
	s.cr4 |= CR4_PCIDE; /* it is on already */
	assert_int_equal(cr4_write(&s, OFFERED, CR4_PAE | CR4_PCIDE, &out), 0);
	assert_int_equal(cr4_write(&pae, OFFERED, CR4_PAE | CR4_PCIDE, &out), ERR_FAULT);
}

static void pdptes_are_loaded_when_pae_paging_begins_or_changes(void **state)
{
	struct cr_state s = protected, out;

	s.cr4 = CR4_PAE;
	assert_int_equal(cr0_write(&s, s.cr0 | CR0_PG, &out), 0);
	assert_true(cr_pae_paging(&out));
	assert_true(cr_loads_pdptes(&s, &out));
	assert_int_equal(cr4_write(&pae, OFFERED, CR4_PAE | CR4_PGE, &out), 0);
	assert_true(cr_loads_pdptes(&pae, &out));
	assert_int_equal(cr4_write(&pae, OFFERED, CR4_PAE | CR4_DE, &out), 0);
	assert_false(cr_loads_pdptes(&pae, &out));
	assert_int_equal(cr0_write(&pae, pae.cr0 | CR0_CD, &out), 0);
	assert_true(cr_loads_pdptes(&pae, &out));
	assert_int_equal(cr0_write(&pae, pae.cr0 | CR0_TS, &out), 0);
	assert_false(cr_loads_pdptes(&pae, &out));
	assert_false(cr_pae_paging(&compat));
	assert_int_equal(cr4_write(&compat, OFFERED, CR4_PAE | CR4_PGE, &out), 0);
	assert_false(cr_loads_pdptes(&compat, &out));
	assert_int_equal(cr0_write(&pae, pae.cr0 & ~CR0_PG, &out), 0);
	assert_false(cr_loads_pdptes(&pae, &out));
}

static void translations_are_dropped(void **state)
{
	struct cr_state out;

	cr4_write(&compat, OFFERED, CR4_PAE | CR4_PGE, &out);
	assert_true(cr_flushes(&compat, &out));
	cr4_write(&compat, OFFERED, CR4_PAE | CR4_SMEP, &out);
	assert_true(cr_flushes(&compat, &out));
	cr4_write(&compat, OFFERED, CR4_PAE | CR4_OSFXSR, &out);
	assert_false(cr_flushes(&compat, &out));
	cr0_write(&compat, compat.cr0 & ~CR0_PG, &out);
	assert_true(cr_flushes(&compat, &out));
	cr0_write(&compat, compat.cr0 | CR0_TS, &out);
	assert_false(cr_flushes(&compat, &out));
}

static void pdptes(void **state)
{
	u64 good[4] = {0x1001, 0x7ffffff009ull & ~BIT(3) & ~0ull, 0, ~BIT(0)};

	good[1] = 0x7ffffff001ull | BIT(3) | BIT(4) | BIT(9) | BIT(10) | BIT(11);
	assert_true(cr_pdptes_valid(good, 39));
	for (u32 bit = 0; bit < 64; bit++) {
		bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 39;
		u64 p[4] = {0, 0, 0x1001 | BIT(bit), 0};

		if (cr_pdptes_valid(p, 39) == reserved)
			fail_msg("bit %u", bit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cr0_refuses_what_makes_no_sense),
		cmocka_unit_test(into_long_mode_and_out),
		cmocka_unit_test(cr4_takes_what_is_offered),
		cmocka_unit_test(pcid_wants_long_mode_and_pcid_0),
		cmocka_unit_test(pdptes_are_loaded_when_pae_paging_begins_or_changes),
		cmocka_unit_test(translations_are_dropped),
		cmocka_unit_test(pdptes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
